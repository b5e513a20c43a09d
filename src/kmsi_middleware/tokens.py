"""Access tokens for calling APIs as the signed-in person.

    token = await access_token_async(request)     # async code: Starlette, FastAPI
    token = access_token(request)                 # sync code: Flask, Django, FastAPI's plain functions

``request``: a request of Starlette, FastAPI, Flask or Django, an ASGI scope, or a WSGI environ. The token is good for
about a minute more at least; one that ends before is replaced first, if the setting ``scope`` has ``offline_access``.

Both raise

* :class:`~kmsi_middleware.errors.SessionRequired` where nobody is signed in;
* :class:`~kmsi_middleware.errors.SessionEnded` where the session is over since the request began, also because the
  issuer does not stand behind it any more;
* :class:`~kmsi_middleware.errors.NoAccessToken` where the issuer gave none (``no_access_token``), or the one it gave
  is over and can't be replaced (``access_token_expired``);
* :class:`~kmsi_middleware.errors.Unavailable` where the issuer or the session store does not answer: nobody is signed
  out by it;
* :class:`~kmsi_middleware.errors.ProtocolError` where the issuer's answer can't be accepted.

An app need not catch the first two, nor the last but one: if it fails because of them before its response has
started, the person is sent to sign in, or told why not, as with any request that comes without a session.
"""

from __future__ import annotations

from typing import Any

from .edges.token_access import TOKENS, Carrier, TokenAccess

__all__ = ["access_token", "access_token_async"]


def access_token(request: Any) -> str:
    """The access token of the signed-in person. For sync code; in async code it raises :class:`RuntimeError`."""
    carrier = _carrier(request)
    return _middleware(carrier).access_token(carrier)


async def access_token_async(request: Any) -> str:
    """The access token of the signed-in person. For async code."""
    carrier = _carrier(request)
    return await _middleware(carrier).access_token_async(carrier)


def _carrier(request: Any) -> Carrier:
    for name in ("scope", "environ"):
        found = getattr(request, name, None)
        if isinstance(found, dict):
            return found
    if isinstance(request, dict):
        return request
    raise TypeError(f"give a request, a scope or an environ, not {type(request).__name__}")


def _middleware(carrier: Carrier) -> TokenAccess:
    if TOKENS not in carrier:
        raise RuntimeError("this request did not come through KMSIMiddleware")
    middleware: TokenAccess = carrier[TOKENS][0]
    return middleware

"""The provider as an ASGI application, and the endpoints that need no browser."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from . import bridge, pages
from .authorize import authorize, consent, second_factor, sign_in
from .config import IdPConfig, default_config
from .devices import devices
from .grants import AUTH_METHODS, SCOPES, OAuthRequest, Revocation
from .loopback import check_issuer, refusal
from .provider import CLAIMS, OAuth2Error, Provider
from .sign_out import end_session, sign_out
from .site import Refused, Site, form
from .step_up import CONTEXTS
from .store import Store
from .user_store import UserStore
from .users import users

Endpoint = Callable[[Site, Request], Awaitable[Response]]
_NO_STORE = {"Cache-Control": "no-store"}


async def discovery(site: Site, _request: Request) -> Response:
    """OpenID Connect Discovery 1.0, section 4, with the members of the logout specifications, RFC 8414 and RFC 9207."""
    issuer = site.issuer
    document: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks",
        "end_session_endpoint": f"{issuer}/end-session",
        "revocation_endpoint": f"{issuer}/revoke",
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": CLAIMS,
        "claims_parameter_supported": True,
        "acr_values_supported": CONTEXTS,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
        "frontchannel_logout_supported": True,
        "frontchannel_logout_session_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
    }
    return JSONResponse(document, headers=_NO_STORE)


async def jwks(site: Site, _request: Request) -> Response:
    key = site.store.signing_key()
    return JSONResponse({"keys": [key.as_dict(private=False)]}, headers=_NO_STORE)


async def token(site: Site, request: Request) -> Response:
    """OpenID Connect Core, sections 3.1.3 and 12."""
    return await _for_clients(request, Provider(site).create_token_response)


async def revoke(site: Site, request: Request) -> Response:
    """RFC 7009."""
    return await _for_clients(request, partial(Provider(site).create_endpoint_response, Revocation.ENDPOINT_NAME))


async def _for_clients(request: Request, respond: Callable[[OAuthRequest], Response]) -> Response:
    """What an app posts, which proves itself with it."""
    try:
        return respond(OAuthRequest("POST", await form(request), request.headers))
    except Refused as refused:
        body = {"error": "invalid_request", "error_description": refused.message}
        return JSONResponse(body, refused.status, _NO_STORE)
    except UnicodeError:
        # Authlib decodes the credentials of the Authorization header without looking.
        return JSONResponse({"error": "invalid_client"}, 401, {**_NO_STORE, "WWW-Authenticate": "Basic"})


async def userinfo(site: Site, request: Request) -> Response:
    provider = Provider(site)
    try:
        claims = provider.userinfo(OAuthRequest("GET", {}, request.headers))
    except OAuth2Error as error:
        answer: Response = provider.handle_error_response(None, error)
        if answer.status_code == 401:
            answer.headers.setdefault("WWW-Authenticate", "Bearer")
        return answer
    return JSONResponse(claims, headers=_NO_STORE)


ENDPOINTS: dict[str, tuple[list[str], Endpoint]] = {
    "/.well-known/openid-configuration": (["GET"], discovery),
    "/jwks": (["GET"], jwks),
    "/authorize": (["GET", "POST"], authorize),
    "/sign-in": (["POST"], sign_in),
    "/second-factor": (["POST"], second_factor),
    "/consent": (["POST"], consent),
    "/devices": (["GET", "POST"], devices),
    "/users": (["GET", "POST"], users),
    "/token": (["POST"], token),
    "/userinfo": (["GET", "POST"], userinfo),
    "/revoke": (["POST"], revoke),
    "/end-session": (["GET", "POST"], end_session),
    "/sign-out": (["POST"], sign_out),
}


class EmbeddedIdP:
    """An OpenID provider for examples, tests and developers without a tenant. An ASGI application.

    ``folder`` keeps its state in ``idp.sqlite3``. With ``issuer`` the issuer is fixed; it may have a path.
    Without, it follows from each request: scheme, Host and mount path (``root_path``, or ``SCRIPT_NAME`` through
    :attr:`wsgi`). ``clock`` answers seconds since the epoch. ``backchannel`` replaces the network for logout
    tokens.

    It serves loopback only. Raises :class:`ValueError` for an issuer that is not this machine's.
    """

    def __init__(
        self,
        config: IdPConfig | None = None,
        *,
        folder: Path,
        issuer: str | None = None,
        clock: Callable[[], float] = time.time,
        backchannel: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if issuer is not None:
            check_issuer(issuer)
        self.config = config if config is not None else default_config()
        self.issuer = issuer
        self._clock = clock
        self._backchannel = backchannel
        self._store = Store(folder, clock)
        routes = [
            Route(path, self._route(endpoint), methods=methods) for path, (methods, endpoint) in ENDPOINTS.items()
        ]
        self._router = Router(routes, redirect_slashes=False, default=_not_found)

    def close(self) -> None:
        """Closes the database. The next request opens it again."""
        self._store.close()

    def async_transport(self) -> httpx.AsyncBaseTransport:
        """Reaches the provider in this process, without a network. The mount path is told from the
        endpoint."""
        return bridge.AsyncTransport(self, tuple(ENDPOINTS))

    def sync_transport(self) -> httpx.BaseTransport:
        """The same for synchronous callers, in any thread, whether or not an event loop runs in it."""
        return bridge.SyncTransport(self, tuple(ENDPOINTS))

    @property
    def wsgi(self) -> bridge.WSGIApplication:
        """The provider as a WSGI application."""
        return bridge.wsgi(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        if reason := refusal(scope):
            text = f"The embedded identity provider is for this machine only: {reason}.\n"
            await PlainTextResponse(text, 403, _NO_STORE)(scope, receive, send)
            return
        base, path = self._split(scope)
        if path in ("/authorize", "/end-session") and _is_idle(scope):
            await Response(None, 405, {**_NO_STORE, "Allow": "GET, POST"})(scope, receive, send)
            return
        await self._router({**scope, "root_path": base, "path": base + path}, receive, send)

    def _split(self, scope: Scope) -> tuple[str, str]:
        """Mount path and path below it. Some servers repeat the mount path in the path, some do not."""
        path: str = scope["path"]
        mounted = scope.get("root_path", "").rstrip("/")
        fixed = urlsplit(self.issuer).path if self.issuer else ""
        for base in (mounted, fixed):
            if base and (path == base or path.startswith(f"{base}/")):
                return base, path[len(base) :]
        return mounted, path

    def _route(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(self._site(request), request)
            except Refused as refused:
                return pages.error_page(refused.status, refused.title, refused.message, refused.code)

        return answer

    def _site(self, request: Request) -> Site:
        origin = f"{request.url.scheme}://{request.headers['host'].lower()}"
        path: str = request.scope["root_path"]
        issuer = self.issuer if self.issuer is not None else origin + path
        return Site(
            issuer=issuer,
            path=path,
            origin=origin,
            config=UserStore(self._store).applied(self.config.at(issuer)),
            store=self._store,
            clock=self._clock,
            backchannel=self._backchannel,
        )


def _is_idle(scope: Scope) -> bool:
    """A HEAD or a prefetch: it must neither sign anybody in nor out."""
    return scope["method"] == "HEAD" or any(name.lower() == b"sec-purpose" for name, _ in scope["headers"])


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    answer = pages.error_page(404, "There is nothing here", "The identity provider has no such page.", "not_found")
    await answer(scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

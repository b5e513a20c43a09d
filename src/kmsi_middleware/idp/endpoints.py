"""The endpoints that need no browser: metadata, keys, tokens, claims, revocation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .grants import AUTH_METHODS, SCOPES, OAuthRequest, Revocation
from .provider import CLAIMS, OAuth2Error, Provider
from .site import Refused, Site, form
from .step_up import CONTEXTS

NO_STORE = {"Cache-Control": "no-store"}


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
    return JSONResponse(document, headers=NO_STORE)


async def jwks(site: Site, _request: Request) -> Response:
    key = site.store.signing_key()
    return JSONResponse({"keys": [key.as_dict(private=False)]}, headers=NO_STORE)


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
        return JSONResponse(body, refused.status, NO_STORE)
    except UnicodeError:
        # Authlib decodes the credentials of the Authorization header without looking.
        return JSONResponse({"error": "invalid_client"}, 401, {**NO_STORE, "WWW-Authenticate": "Basic"})


async def userinfo(site: Site, request: Request) -> Response:
    provider = Provider(site)
    try:
        claims = provider.userinfo(OAuthRequest("GET", {}, request.headers))
    except OAuth2Error as error:
        answer: Response = provider.handle_error_response(None, error)
        if answer.status_code == 401:
            answer.headers.setdefault("WWW-Authenticate", "Bearer")
        return answer
    return JSONResponse(claims, headers=NO_STORE)

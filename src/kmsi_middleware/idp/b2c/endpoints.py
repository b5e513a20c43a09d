"""The addresses of a tenant, as Azure AD B2C has them: each user flow has its own metadata document and endpoints.

Policies' names are the same in small letters and in capitals. All user flows have the tenant's issuer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..config import IdPConfig
from ..endpoints import NO_STORE, jwks, token, userinfo
from ..grants import AUTH_METHODS, SCOPES
from ..site import Refused, Site
from . import federated, journey, sign_out

Endpoint = Callable[[Site, Request], Awaitable[Response]]


async def discovery(site: Site, _request: Request) -> Response:
    """OpenID Connect Discovery 1.0, section 4, with the members that B2C has. It offers no logout by ``sid``."""
    flow = f"{site.root}/{site.config.tenant_name}/{site.user_flow.lower()}"
    document = {
        "issuer": site.issuer,
        "authorization_endpoint": f"{flow}/oauth2/v2.0/authorize",
        "token_endpoint": f"{flow}/oauth2/v2.0/token",
        "userinfo_endpoint": f"{flow}/openid/v2.0/userinfo",
        "end_session_endpoint": f"{flow}/oauth2/v2.0/logout",
        "jwks_uri": f"{flow}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "form_post"],
        "response_types_supported": ["code"],
        "scopes_supported": SCOPES,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "auth_time", "tfp", "name", "idp"],
    }
    return JSONResponse(document, headers=NO_STORE)


_OF_A_FLOW: dict[str, tuple[list[str], Endpoint]] = {
    "/v2.0/.well-known/openid-configuration": (["GET"], discovery),
    "/discovery/v2.0/keys": (["GET"], jwks),
    "/oauth2/v2.0/authorize": (["GET", "POST"], journey.authorize),
    "/oauth2/v2.0/token": (["POST"], token),
    "/oauth2/v2.0/logout": (["GET", "POST"], sign_out.logout),
    "/openid/v2.0/userinfo": (["GET", "POST"], userinfo),
    "/sign-in": (["POST"], journey.sign_in),
    "/second-factor": (["POST"], journey.second_factor),
    "/password": (["POST"], journey.password),
    "/profile": (["POST"], journey.profile),
    "/leave": (["GET"], journey.leave),
    "/federated": (["GET"], federated.choose),
}
ENDPOINTS: dict[str, tuple[list[str], Endpoint]] = {
    **{"/{tenant}/{user_flow}" + path: endpoint for path, endpoint in _OF_A_FLOW.items()},
    "/{tenant}/oauth2/authresp": (["GET"], federated.answer),
    "/{tenant}/oauth2/logoutresp": (["GET"], sign_out.returned),
}


def paths(config: IdPConfig) -> tuple[str, ...]:
    """Every path that an app's server asks for, below the mount path."""
    names = dict.fromkeys(spelling for name in config.user_flows for spelling in (name, name.lower()))
    return tuple(f"/{config.tenant_name}/{name}{path}" for name in names for path in _OF_A_FLOW)


def within(site: Site, given: Mapping[str, str]) -> Site:
    """The site of a request, whose path names tenant and user flow. Raises :class:`Refused`."""
    config = site.config
    tenant, name = given.get("tenant"), given.get("user_flow")
    known = config.user_flows.known(name) if name is not None else ""
    if (
        tenant is not None and tenant.casefold() not in (config.tenant_name, config.tenant.casefold())
    ) or known is None:
        problem = "The identity provider has no such tenant, or no such user flow."
        raise Refused("unknown_user_flow", problem, status=404, title="There is nothing here")
    return replace(site, issuer=f"{site.root}/{config.tenant}/v2.0/", user_flow=known)

"""The protocol side: Authlib's authorization server, told how this provider keeps clients, codes and tokens.

Rules:

1. Only here and in :mod:`.grants` is Authlib touched. It has no types, hence the ignores.
2. Every time in a token comes from the clock that was handed in; Authlib's own defaults call ``time.time``.
3. One :class:`Provider` per request: its issuer is the request's.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from authlib.oauth2 import OAuth2Error  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]
    AuthorizationServer,
    InvalidGrantError,
    InvalidRequestError,
    ResourceProtector,
)
from authlib.oauth2.rfc6750 import (  # type: ignore[import-untyped]
    BearerTokenGenerator,
    BearerTokenValidator,
    InvalidTokenError,
)
from authlib.oidc.core import OpenIDCode  # type: ignore[import-untyped]
from authlib.oidc.rpinitiated import EndSessionEndpoint  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from starlette.responses import Response

from .config import App, User
from .grant_store import TOKEN_SECONDS, Grant, GrantStore, Issued
from .grants import S256, Client, CodeGrant, GrantRecord, OAuthRequest, RefreshGrant, Revocation
from .site import Site

# fmt: off
CLAIMS = (
    "iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "sid", "auth_time", "amr", "acct",
    "acr", "acrs", "name", "preferred_username", "email", "oid", "tid", "deviceid", "xms_dev",
)
# fmt: on
STALE_SECONDS = 24 * 3600

__all__ = ["CLAIMS", "InvalidRequestError", "OAuth2Error", "Provider"]


class IDToken(OpenIDCode):  # type: ignore[misc]
    """OpenID Connect Core, section 2. Prompts are the authorization endpoint's matter, so only the token hook
    of the base class is registered."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider

    def __call__(self, grant: CodeGrant | RefreshGrant) -> None:
        grant.register_hook("after_create_token_response", self.process_token)

    def resolve_client_private_key(self, _client: Client) -> RSAKey:
        return self.provider.key

    def get_encode_header(self, _client: Client) -> dict[str, str | None]:
        return {"alg": "RS256", "kid": self.provider.key.kid}

    def get_compatible_claims(self, request: OAuthRequest) -> dict[str, Any]:
        now = int(self.provider.site.clock())
        data = (request.authorization_code or request.refresh_token).data
        claims = {
            "iss": self.provider.site.issuer,
            "aud": request.client.client_id,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "auth_time": int(data["auth_time"]),
            "amr": list(data["amr"]),
            "sid": data["sid"],
        }
        app: App = request.client.app
        if app.auth_time == "never":
            del claims["auth_time"]
        elif app.auth_time == "stale":
            claims["auth_time"] -= STALE_SECONDS
        if contexts := data.get("contexts"):
            claims |= {"acr": contexts[0], "acrs": list(contexts)}
        if device := self.provider.site.config.device(data.get("device") or ""):
            claims |= device.claims
        if user_flow := self.provider.site.user_flow:
            # As Azure AD B2C: the policy's name, and neither session nor methods.
            claims |= {"tfp": user_flow, "nbf": now, "ver": "1.0"}
            del claims["sid"], claims["amr"]
        return claims

    def get_authorization_code_claims(self, authorization_code: GrantRecord) -> dict[str, Any]:
        nonce = authorization_code.data["nonce"]
        return {"nonce": nonce} if nonce else {}

    def generate_user_info(self, user: User, scope: str) -> dict[str, Any]:
        return self.provider.claims(user, scope)


class TokenValidator(BearerTokenValidator):  # type: ignore[misc]
    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider

    def authenticate_token(self, token_string: str) -> GrantRecord | None:
        grant = self.provider.grants.find_token(token_string, "access")
        return GrantRecord(grant) if grant else None


class EndSession(EndSessionEndpoint):  # type: ignore[misc]
    """OpenID Connect RP-Initiated Logout 1.0, sections 2 and 3."""

    def _validate_id_token_hint(self, id_token_hint: str) -> dict[str, Any]:
        claims = self.server.read_hint(id_token_hint)
        if claims is None:
            raise InvalidRequestError("id_token_hint is not an ID token of this provider")
        return dict(claims)

    def is_post_logout_redirect_uri_legitimate(
        self,
        _request: OAuthRequest,
        _uri: str,
        client: Client | None,
        _hint: str | None,
    ) -> bool:
        # Without an ID token the person is asked first, so that the exact match with what was registered will
        # do.
        return client is not None


class Provider(AuthorizationServer):  # type: ignore[misc]
    """Authlib's authorization server for one request."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.grants = GrantStore(site.store)
        token = self._id_token = IDToken(self)
        self.register_grant(CodeGrant, [S256(required=True), token])
        self.register_grant(RefreshGrant, [token])
        self.register_endpoint(EndSession)
        self.register_endpoint(Revocation)
        self.register_token_generator(
            "default",
            BearerTokenGenerator(
                lambda **_: secrets.token_urlsafe(32), lambda **_: secrets.token_urlsafe(32), TOKEN_SECONDS
            ),
        )

    @property
    def key(self) -> RSAKey:
        return self.site.store.signing_key()

    def record_of(self, grant: Grant | None) -> GrantRecord | None:
        """A grant belongs to the issuer under which it began, since a provider may be reached under several names, and
        to the user flow."""
        begun = grant and (grant.data.get("issuer"), grant.data.get("user_flow", ""))
        return GrantRecord(grant) if grant and begun == (self.site.issuer, self.site.user_flow) else None

    def user_of(self, record: GrantRecord) -> User | None:
        """The person, unless unknown by now or disabled."""
        return self.site.config.active(record.data["username"])

    def claims(self, user: User, scope: str) -> dict[str, Any]:
        """What the ID token says about the person."""
        granted = scope.split()
        claims: dict[str, Any] = {
            "sub": user.sub,
            "oid": user.oid,
            "tid": self.site.config.tenant,
            "acct": user.acct,
            **user.claims,
        }
        if "profile" in granted:
            claims |= {"name": user.name, "preferred_username": user.email or user.username}
        if "email" in granted and user.email:
            claims["email"] = user.email
        if federated := self.site.config.identity_provider(user.identity_provider):
            claims["idp"] = federated.issuer
        return claims

    def read_hint(self, id_token_hint: str) -> dict[str, Any] | None:
        """The claims of an ID token that this provider issued, expired or not; ``None`` for any other
        text."""
        try:
            claims = jwt.decode(id_token_hint, self.key, algorithms=["RS256"]).claims
        except (JoseError, ValueError, TypeError):
            return None
        return dict(claims) if claims.get("iss") == self.site.issuer and "events" not in claims else None

    def logout_token(self, client_id: str, sub: str, sid: str | None) -> str:
        """OpenID Connect Back-Channel Logout 1.0, section 2.4. Valid for two minutes. Without ``sid`` it means every
        session of the person."""
        now = int(self.site.clock())
        claims = {
            "iss": self.site.issuer,
            "aud": client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(16),
            "sub": sub,
            **({"sid": sid} if sid is not None else {}),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        }
        header = {"alg": "RS256", "kid": self.key.kid, "typ": "logout+jwt"}
        return jwt.encode(header, claims, self.key, ["RS256"])

    def userinfo(self, request: OAuthRequest) -> dict[str, Any]:
        """OpenID Connect Core, section 5.3. Raises Authlib's ``OAuth2Error``."""
        protector = ResourceProtector()
        protector.register_token_validator(TokenValidator(self))
        record = protector.validate_request(["openid"], request)
        user = self.user_of(record)
        if user is None:
            raise InvalidTokenError("The person can't sign in any more")
        own = ("sub", "name", "preferred_username", "email")
        return {name: value for name, value in self.claims(user, record.get_scope()).items() if name in own}

    # What Authlib asks of a framework ----------------------------------------------------------------------

    def query_client(self, client_id: str) -> Client | None:
        app = self.site.config.app(client_id)
        return Client(app) if app else None

    def save_token(self, token: dict[str, Any], request: OAuthRequest) -> None:
        record: GrantRecord = request.authorization_code or request.refresh_token
        used = request.form["refresh_token"] if request.refresh_token else None
        issued = Issued(token["access_token"], token.get("refresh_token"), token["scope"])
        if not self.grants.save_tokens(record.grant, issued, used=used):
            raise InvalidGrantError("The grant was revoked")

    def create_oauth2_request(self, request: OAuthRequest) -> OAuthRequest:
        return request

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def handle_response(self, status_code: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        text = json.dumps(body) if isinstance(body, dict) else body
        return Response(text, status_code, dict(headers))

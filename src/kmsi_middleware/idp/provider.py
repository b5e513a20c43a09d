"""The protocol side: Authlib's authorization server, told how this provider keeps clients, codes and tokens.

Rules:

1. Only here is Authlib touched. It has no types, hence the ignores.
2. Every time in a token comes from the clock that was handed in; Authlib's own defaults call ``time.time``.
3. One :class:`Provider` per request: its issuer is the request's.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from authlib.oauth2 import OAuth2Error  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]
    AuthorizationCodeMixin,
    AuthorizationServer,
    ClientMixin,
    InvalidRequestError,
    OAuth2Request,
    ResourceProtector,
    TokenMixin,
)
from authlib.oauth2.rfc6749.grants import (  # type: ignore[import-untyped]
    AuthorizationCodeGrant,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload  # type: ignore[import-untyped]
from authlib.oauth2.rfc6750 import BearerTokenGenerator, BearerTokenValidator  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import CodeChallenge  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636.challenge import compare_s256_code_challenge  # type: ignore[import-untyped]
from authlib.oidc.core import OpenIDCode  # type: ignore[import-untyped]
from authlib.oidc.rpinitiated import EndSessionEndpoint  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from starlette.responses import Response

from .config import App, User
from .site import Site
from .store import TOKEN_SECONDS, BrowserSession, Grant

SCOPES = ("openid", "profile", "email", "offline_access")
# fmt: off
CLAIMS = (
    "iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "sid", "auth_time", "amr", "acct",
    "acr", "acrs", "name", "preferred_username", "email", "oid", "tid", "deviceid", "xms_dev",
)
# fmt: on
STALE_SECONDS = 24 * 3600
AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]

__all__ = [
    "AUTH_METHODS",
    "CLAIMS",
    "SCOPES",
    "InvalidRequestError",
    "OAuth2Error",
    "OAuthRequest",
    "Provider",
]


class OAuthRequest(OAuth2Request):  # type: ignore[misc]
    """Parameters and headers, as Authlib wants them."""

    session: BrowserSession | None = None
    contexts: tuple[str, ...] = ()
    device: str | None = None

    def __init__(self, method: str, values: dict[str, str], headers: Mapping[str, str]) -> None:
        # Authlib's transport check knows no *.localhost. The loopback guard has decided long before.
        super().__init__(method, "http://localhost/", headers=headers)
        self.payload = BasicOAuth2Payload(values)
        self._values = values

    @property
    def form(self) -> dict[str, str]:
        return self._values


class Client(ClientMixin):  # type: ignore[misc]
    """An :class:`App`, as Authlib wants it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.client_id = app.client_id
        self.client_metadata = {"post_logout_redirect_uris": app.post_logout_redirect_uris}

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        return None  # OpenID Connect Core, 3.1.2.1: redirect_uri is required

    def get_allowed_scope(self, scope: str | None) -> str:
        return " ".join(known for known in SCOPES if known in (scope or "").split())

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.app.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        known = self.app.client_secret
        return known is not None and hmac.compare_digest(known.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return (method == "none") == (self.app.client_secret is None)

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


class GrantRecord(AuthorizationCodeMixin, TokenMixin):  # type: ignore[misc]
    """A stored grant, as Authlib wants a code, an access token and a refresh token."""

    code_challenge_method = "S256"

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.data = grant.data
        self.code_challenge: str = grant.data["code_challenge"]

    def get_redirect_uri(self) -> str:
        return str(self.data["redirect_uri"])

    def get_scope(self) -> str:
        return str(self.data["scope"])

    def check_client(self, client: Client) -> bool:
        return self.grant.client_id == client.client_id

    def is_expired(self) -> bool:
        return False  # the store answers none that is

    def is_revoked(self) -> bool:
        return False


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def issue(self, session: BrowserSession, contexts: tuple[str, ...], device: str | None) -> str:
        """A code for whoever is signed in with ``session``; the authorization request was validated before.
        ``contexts`` are those that hold, ``device`` is the id of the one that the browser is on."""
        self.request.session, self.request.contexts, self.request.device = session, contexts, device
        code: str = self.generate_authorization_code()
        self.save_authorization_code(code, self.request)
        return code

    def save_authorization_code(self, code: str, request: OAuthRequest) -> None:
        values, session = request.payload.data, request.session
        assert session is not None
        data = {
            "redirect_uri": values["redirect_uri"],
            "scope": request.scope,
            "nonce": values.get("nonce"),
            "code_challenge": values["code_challenge"],
            "username": session.username,
            "auth_time": session.auth_time,
            "amr": session.amr,
            "contexts": request.contexts,
            "device": request.device,
        }
        self.server.site.store.save_code(code, request.client.client_id, session, data)

    def query_authorization_code(self, code: str, client: Client) -> GrantRecord | None:
        # Redeemed before PKCE is checked: whoever fails the check has used the code up.
        grant = self.server.site.store.redeem_code(code, client.client_id)
        return GrantRecord(grant) if grant else None

    def delete_authorization_code(self, authorization_code: GrantRecord) -> None:
        """Nothing: the used code stays known, so that a replay is recognised."""

    def authenticate_user(self, authorization_code: GrantRecord) -> User | None:
        provider: Provider = self.server
        return provider.user_of(authorization_code)

    def generate_token(self, **options: Any) -> Any:
        options["include_refresh_token"] = "offline_access" in options["scope"].split()
        return super().generate_token(**options)


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> GrantRecord | None:
        grant = self.server.site.store.redeem_refresh_token(refresh_token, self.request.client.client_id)
        return GrantRecord(grant) if grant else None

    def authenticate_user(self, refresh_token: GrantRecord) -> User | None:
        provider: Provider = self.server
        return provider.user_of(refresh_token)

    def revoke_old_credential(self, refresh_token: GrantRecord) -> None:
        """Nothing: it was used up when it was redeemed."""


class S256(CodeChallenge):  # type: ignore[misc]
    """PKCE for everyone, and no ``plain`` (RFC 9700, section 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012  # Authlib's own shape
    CODE_CHALLENGE_METHODS = {"S256": compare_s256_code_challenge}  # noqa: RUF012

    def validate_code_challenge(self, grant: CodeGrant, redirect_uri: str) -> None:
        if grant.request.payload.data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE is required: code_challenge with code_challenge_method=S256")
        super().validate_code_challenge(grant, redirect_uri)


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
        grant = self.provider.site.store.find_token(token_string)
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
        token = self._id_token = IDToken(self)
        self.register_grant(CodeGrant, [S256(required=True), token])
        self.register_grant(RefreshGrant, [token])
        self.register_endpoint(EndSession)
        self.register_token_generator(
            "default",
            BearerTokenGenerator(
                lambda **_: secrets.token_urlsafe(32), lambda **_: secrets.token_urlsafe(32), TOKEN_SECONDS
            ),
        )

    @property
    def key(self) -> RSAKey:
        return self.site.store.signing_key()

    def user_of(self, record: GrantRecord) -> User | None:
        return self.site.config.user(record.data["username"])

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
        return claims

    def read_hint(self, id_token_hint: str) -> dict[str, Any] | None:
        """The claims of an ID token that this provider issued, expired or not; ``None`` for any other
        text."""
        try:
            claims = jwt.decode(id_token_hint, self.key, algorithms=["RS256"]).claims
        except (JoseError, ValueError, TypeError):
            return None
        return dict(claims) if claims.get("iss") == self.site.issuer and "events" not in claims else None

    def logout_token(self, client_id: str, sub: str, sid: str) -> str:
        """OpenID Connect Back-Channel Logout 1.0, section 2.4. Valid for two minutes."""
        now = int(self.site.clock())
        claims = {
            "iss": self.site.issuer,
            "aud": client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(16),
            "sub": sub,
            "sid": sid,
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
            raise InvalidRequestError("The user is no longer known")
        own = ("sub", "name", "preferred_username", "email")
        return {name: value for name, value in self.claims(user, record.get_scope()).items() if name in own}

    # What Authlib asks of a framework ----------------------------------------------------------------------

    def query_client(self, client_id: str) -> Client | None:
        app = self.site.config.app(client_id)
        return Client(app) if app else None

    def save_token(self, token: dict[str, Any], request: OAuthRequest) -> None:
        record: GrantRecord = request.authorization_code or request.refresh_token
        store = self.site.store
        store.save_token("access", token["access_token"], record.grant, {**record.data, "scope": token["scope"]})
        if "refresh_token" in token:
            store.save_token("refresh", token["refresh_token"], record.grant, record.data)

    def create_oauth2_request(self, request: OAuthRequest) -> OAuthRequest:
        return request

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def handle_response(self, status_code: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        text = json.dumps(body) if isinstance(body, dict) else body
        return Response(text, status_code, dict(headers))

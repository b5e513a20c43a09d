"""The protocol's grants, on Authlib: codes, refresh tokens, and their revocation.

1. Whatever is wrong with a grant, or with the person, is ``invalid_grant``.
2. A refresh that is refused uses its token up no more than one that never came.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]
    AuthorizationCodeMixin,
    ClientMixin,
    InvalidGrantError,
    InvalidRequestError,
    OAuth2Request,
    TokenMixin,
)
from authlib.oauth2.rfc6749.grants import (  # type: ignore[import-untyped]
    AuthorizationCodeGrant,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload  # type: ignore[import-untyped]
from authlib.oauth2.rfc7009 import RevocationEndpoint  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import CodeChallenge  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636.challenge import compare_s256_code_challenge  # type: ignore[import-untyped]

from .config import App, User
from .grant_store import Grant
from .store import BrowserSession

if TYPE_CHECKING:
    from .provider import Provider

SCOPES = ("openid", "profile", "email", "offline_access")
AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]


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
        provider: Provider = self.server
        data = {
            "issuer": provider.site.issuer,
            "user_flow": provider.site.user_flow,
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
        provider.grants.save_code(code, request.client.client_id, session, data)

    def query_authorization_code(self, code: str, client: Client) -> GrantRecord | None:
        # Redeemed before PKCE is checked: whoever fails the check has used the code up.
        provider: Provider = self.server
        return provider.record_of(provider.grants.redeem_code(code, client.client_id))

    def delete_authorization_code(self, authorization_code: GrantRecord) -> None:
        """Nothing: the used code stays known, so that a replay is recognised."""

    def authenticate_user(self, authorization_code: GrantRecord) -> User | None:
        provider: Provider = self.server
        return provider.user_of(authorization_code)

    def generate_token(self, **options: Any) -> Any:
        options["include_refresh_token"] = "offline_access" in options["scope"].split()
        return super().generate_token(**options)


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    """RFC 6749, section 6, with rotation."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> GrantRecord | None:
        provider: Provider = self.server
        return provider.record_of(provider.grants.find_token(refresh_token, "refresh"))

    def authenticate_user(self, refresh_token: GrantRecord) -> User:
        provider: Provider = self.server
        user = provider.user_of(refresh_token)
        if user is None:
            raise InvalidGrantError("The person can't sign in any more")
        return user

    def revoke_old_credential(self, refresh_token: GrantRecord) -> None:
        """Nothing: it was used up when the new ones were saved."""


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    """RFC 7009. Another app's token is refused; an unknown one counts as revoked."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def check_params(self, request: OAuthRequest, _client: Client) -> None:
        # A hint that means nothing is to be ignored (section 2.2), which Authlib does not.
        if "token" not in request.form:
            raise InvalidRequestError("token is missing")

    def query_token(self, token: str, _token_type_hint: str | None) -> GrantRecord | None:
        provider: Provider = self.server
        grant = provider.grants.find_token(token)
        return GrantRecord(grant) if grant else None

    def revoke_token(self, _token: GrantRecord, request: OAuthRequest) -> None:
        provider: Provider = self.server
        provider.grants.revoke_token(request.form["token"])


class S256(CodeChallenge):  # type: ignore[misc]
    """PKCE for everyone, and no ``plain`` (RFC 9700, section 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012  # Authlib's own shape
    CODE_CHALLENGE_METHODS = {"S256": compare_s256_code_challenge}  # noqa: RUF012

    def validate_code_challenge(self, grant: CodeGrant, redirect_uri: str) -> None:
        if grant.request.payload.data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE is required: code_challenge with code_challenge_method=S256")
        super().validate_code_challenge(grant, redirect_uri)

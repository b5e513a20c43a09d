"""An OpenID provider that does everything right, except what a test tells it to do otherwise.

It answers requests: called by the relying party behind a mock transport, by the tests' browser as one of its
servers, or on a socket. To the relying party it is strict: client authentication, PKCE and the redirect URI are held
against what was asked for, and a code is good once. Its tokens are made by ``cryptography`` alone.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import itertools
import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import httpx
from tests.rules.oidc.oidc_support import b64, jwk, jwks, token
from tests.shells.shell_servers import Answer, Headers

SECRET = "a secret of the app: 100 % & more"
ALICE: dict[str, Any] = {"sub": "alice", "name": "Alice", "email": "alice@example.com"}
EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Provider:
    """What it is told to do otherwise is told by methods that answer the provider itself. In all of them ``...``
    leaves a member out."""

    def __init__(self, issuer: str, clock: Callable[[], float]) -> None:
        self.issuer, self.clock = issuer, clock
        self.requests: list[httpx.Request] = []
        self.published = [jwk()]
        self.metadata: dict[str, Any] = {
            "issuer": issuer,
            **{name: self.url(path) for name, path in _ENDPOINTS.items()},
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
        self.frames: list[str] = []
        """Front-channel logout URIs on its page after a sign-out; without any it goes straight back."""
        self.notifies: list[Callable[[], Any]] = []
        """What it does in a sign-out before it answers: back-channel requests."""
        self._claims: dict[str, Any] = {}
        self._answer: dict[str, Any] = {}
        self._tokens: dict[str, Any] = {}
        self._refreshed: dict[str, Any] = {"nonce": ...}
        self._userinfo: dict[str, Any] = {}
        self._grants: dict[str, dict[str, str]] = {}
        self.accepted: set[str] = set()
        """Access tokens that userinfo takes."""
        self._return: dict[str, Any] = {}
        self._signature: Callable[[dict[str, Any]], str] = token_of("RS256")
        self._which = 0
        self._form_post = self._basic = True
        self._auth_time_only_with_max_age = False
        self._page: int | None = None
        self._rotates_before = ""
        self._codes: dict[str, dict[str, str]] = {}
        self._hints: set[str] = set()
        self._numbers = itertools.count(1)

    def url(self, path: str) -> str:
        return f"{self.issuer.rstrip('/')}/{path}"

    # What it does otherwise -------------------------------------------------------------------------------------

    def publishes(self, **members: Any) -> Self:
        """Members of its metadata."""
        self.metadata |= members
        return self

    def publishes_keys(self, *keys: dict[str, Any]) -> Self:
        """The whole of its JWKS."""
        self.published = list(keys)
        return self

    def answers(self, **parameters: Any) -> Self:
        """Parameters of the authorization response."""
        self._answer |= parameters
        return self

    def ignores_form_post(self) -> Self:
        self._form_post = False
        return self

    def gives(self, **members: Any) -> Self:
        """Members of the token response."""
        self._tokens |= members
        return self

    def sends(self, **claims: Any) -> Self:
        """Claims of the ID token."""
        self._claims |= claims
        return self

    def refreshes(self, **claims: Any) -> Self:
        """Claims of the ID token that comes with a refresh; without a nonce unless it is given here."""
        self._refreshed |= claims
        return self

    def says(self, **members: Any) -> Self:
        """Members of the userinfo response."""
        self._userinfo |= members
        return self

    def tells_auth_time_only_with_max_age(self) -> Self:
        self._auth_time_only_with_max_age = True
        return self

    def refuses_basic(self) -> Self:
        """Offers ``client_secret_basic``, and then does not take it."""
        self._basic = False
        return self

    def shows(self, status: int | None) -> Self:
        """A page of its own in place of an authorization response; ``None``: no more."""
        self._page = status
        return self

    def signs(self, algorithm: str = "RS256", *, spoils: bool = False, which: int = 0, **header: Any) -> Self:
        """How the ID token is signed. ``spoils``: and what of the signature is changed afterwards is one bit."""
        self._which = which
        self._signature = token_of(algorithm, spoils=spoils, which=which, **header)
        return self

    def rotates(self, *, before: str = "") -> Self:
        """Have new keys and no others: at once, or just before the next request of a path is answered."""
        if before:
            self._rotates_before = before
            return self
        self._rotates_before = ""
        which = next(self._numbers)
        return self.publishes_keys(jwk(which=which)).signs(which=which)

    def returns(self, **parameters: Any) -> Self:
        """Parameters with which the browser comes back from a sign-out."""
        self._return |= parameters
        return self

    # What it is asked -------------------------------------------------------------------------------------------

    @property
    def asked(self) -> list[str]:
        """The paths that were asked for, below the issuer. Asked for again at once (keys), one counts once."""
        paths = [str(request.url).partition("?")[0] for request in self.requests]
        return [path.removeprefix(self.url("")) for path, _ in itertools.groupby(paths)]

    def last(self, path: str) -> dict[str, str]:
        """What was sent with the last request of that path, in its query or its form."""
        found = [request for request in self.requests if str(request.url).partition("?")[0] == self.url(path)]
        return _given(found[-1])

    def respond(self, request: httpx.Request) -> httpx.Response:
        """Any request, the relying party's or the browser's."""
        self.requests.append(request)
        path = str(request.url).partition("?")[0].removeprefix(self.url(""))
        given = _given(request)
        if path == self._rotates_before:
            self.rotates()
        match request.method, path:
            case "GET", ".well-known/openid-configuration":
                return httpx.Response(200, json=_without_gaps(self.metadata))
            case "GET", _ if self.url(path) == self.metadata["jwks_uri"]:
                return httpx.Response(200, json=jwks(*self.published))
            case "GET", "authorize":
                return self._authorize(given)
            case "POST", "token":
                return self._token(request, given)
            case "POST", "register":
                client = json.loads(request.content)
                assert client["redirect_uris"]
                return httpx.Response(201, json=client | {"client_id": "a-new-client", "client_secret": SECRET})
            case "GET", "userinfo":
                if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.accepted:
                    return httpx.Response(401)
                return httpx.Response(200, json=_without_gaps(ALICE | self._userinfo))
            case "GET", "end_session":
                return self._end_session(given)
        return httpx.Response(404)

    def __call__(self, method: str, url: str, headers: Headers, body: bytes = b"", peer: str = "") -> Answer:
        """The same, as one of a browser's servers."""
        response = self.respond(httpx.Request(method, url, headers=list(headers), content=body))
        said = [(name.lower(), value) for name, value in response.headers.items()]
        return Answer(response.status_code, said, response.content, url)

    def logout_token(self, algorithm: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """One that is in order, but for what is said here."""
        now = int(self.clock())
        number = next(self._numbers)
        whole = {
            "iss": self.issuer,
            "iat": now,
            "exp": now + 120,
            "jti": f"{number:08}",
            "events": {EVENT: {}},
        } | claims
        head = {"typ": "logout+jwt"} | (header or {})
        return token_of(algorithm, which=self._which, **head)(_without_gaps(whole))

    def notify(self, server: Callable[..., Answer], url: str, logout_token: str) -> Answer:
        """A back-channel logout request to an app's server; it says nothing about itself."""
        said = [("content-type", "application/x-www-form-urlencoded")]
        return server("POST", url, said, urlencode({"logout_token": logout_token, "ignored": "yes"}).encode())

    def sync_transport(self) -> httpx.BaseTransport:
        return httpx.MockTransport(self.respond)

    def async_transport(self) -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(self.respond)

    # How it answers ---------------------------------------------------------------------------------------------

    def _authorize(self, asked: dict[str, str]) -> httpx.Response:
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        if self._page is not None:
            return httpx.Response(self._page, html="<h1>This is the provider")
        code = f"code-{next(self._numbers)}"
        self._codes[code] = asked
        answer = _without_gaps({"code": code, "state": asked["state"]} | self._answer)
        if asked.get("response_mode") == "form_post" and self._form_post:
            return _form(asked["redirect_uri"], answer)
        return _redirect(asked["redirect_uri"], answer)

    def _token(self, request: httpx.Request, form: dict[str, str]) -> httpx.Response:
        is_refresh = form["grant_type"] == "refresh_token"
        asked = self._grants.pop(form["refresh_token"], None) if is_refresh else self._codes.pop(form["code"], None)
        if asked is None:
            return httpx.Response(400, json={"error": "invalid_grant"})
        is_basic = "authorization" in request.headers
        if _client(request, form) != (asked["client_id"], SECRET) or (is_basic and not self._basic):
            return httpx.Response(401, json={"error": "invalid_client"})
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        proofs = (challenge, form.get("redirect_uri")), (asked["code_challenge"], asked["redirect_uri"])
        if not is_refresh and proofs[0] != proofs[1]:
            return httpx.Response(400, json={"error": "invalid_grant"})
        number = next(self._numbers)
        answer = {"token_type": "Bearer", "access_token": f"access {number}", "expires_in": 300}
        self.accepted.add(f"access {number}")
        if "offline_access" in asked["scope"].split():
            answer["refresh_token"] = f"refresh {number}"
            self._grants[f"refresh {number}"] = asked
        answer["id_token"] = self._id_token(asked, number, self._refreshed if is_refresh else {})
        return httpx.Response(200, json=_without_gaps(answer | self._tokens))

    def _id_token(self, asked: dict[str, str], number: int, changed: dict[str, Any]) -> str:
        now = int(self.clock())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": asked["client_id"],
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "nonce": asked["nonce"],
            "sid": f"a session at the provider, number {number}",
            "at_hash": b64(hashlib.sha256(f"access {number}".encode()).digest()[:16]),
        }
        if self._auth_time_only_with_max_age and "max_age" not in asked:
            del claims["auth_time"]
        id_token = self._signature(_without_gaps(ALICE | claims | self._claims | changed))
        self._hints.add(id_token)
        return id_token

    def _end_session(self, asked: dict[str, str]) -> httpx.Response:
        if asked.get("id_token_hint") not in self._hints:
            return httpx.Response(400, html="<h1>Nobody is signed in")
        for notify in self.notifies:
            notify()
        back = _without_gaps({"state": asked["state"]} | self._return)
        if not self.frames:
            return _redirect(asked["post_logout_redirect_uri"], back)
        frames = "".join(f'<iframe src="{html.escape(url)}"></iframe>' for url in self.frames)
        url = f"{asked['post_logout_redirect_uri']}?{urlencode(back)}"
        return httpx.Response(200, html=f'{frames}<meta http-equiv="refresh" content="0; url={html.escape(url)}">')


_ENDPOINTS = {
    "authorization_endpoint": "authorize",
    "token_endpoint": "token",
    "jwks_uri": "jwks",
    "userinfo_endpoint": "userinfo",
    "end_session_endpoint": "end_session",
    "registration_endpoint": "register",
}


def token_of(algorithm: str, *, spoils: bool = False, which: int = 0, **header: Any) -> Callable[[dict[str, Any]], str]:
    """Makes a signed token of claims."""

    def make(claims: dict[str, Any]) -> str:
        if algorithm == "none" or algorithm.startswith("HS"):
            head = b64(json.dumps({"alg": algorithm, "kid": "k0", **header}).encode())
            content = f"{head}.{b64(json.dumps(claims).encode())}"
            mac = b"" if algorithm == "none" else hmac.digest(SECRET.encode(), content.encode(), "sha256")
            made = f"{content}.{b64(mac)}"
        else:
            made = token(algorithm, claims, which=which, **header)
        if spoils:
            at = made.rindex(".") + 6
            made = made[:at] + ("A" if made[at] != "A" else "B") + made[at + 1 :]
        return made

    return make


def _given(request: httpx.Request) -> dict[str, str]:
    text = request.content.decode() if request.method == "POST" else urlsplit(str(request.url)).query
    return dict(parse_qsl(text, keep_blank_values=True))


def _client(request: httpx.Request, form: dict[str, str]) -> tuple[str, str]:
    """Who asks, and by what secret (RFC 6749 §2.3.1)."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    name, _, secret = b64decode(value).decode().partition(":")
    return unquote_plus(name), unquote_plus(secret)


def _without_gaps(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ...}


def _redirect(uri: str, parameters: dict[str, str]) -> httpx.Response:
    return httpx.Response(303, headers={"location": f"{uri}?{urlencode(parameters)}" if parameters else uri})


def _form(uri: str, parameters: dict[str, str]) -> httpx.Response:
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in parameters.items()
    )
    return httpx.Response(200, html=f'<form method="post" action="{html.escape(uri)}">{fields}</form>')

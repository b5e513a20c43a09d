"""A settable clock, a browser that keeps cookies, and apps that do their half by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from kmsi_middleware.idp import App, EmbeddedIdP

ISSUER = "http://localhost:8400"
SHOP = App(
    client_id="shop",
    client_secret="shop-secret",
    name="Shop",
    redirect_uris=("http://shop.localhost:9001/cb", "http://shop.localhost:9001/cb?tenant=1"),
    post_logout_redirect_uris=("http://shop.localhost:9001/bye",),
    frontchannel_logout_uri="http://shop.localhost:9001/fc",
)
BLOG = App(
    client_id="blog",
    name="Blog",
    redirect_uris=("http://127.0.0.1:9002/cb",),
    post_logout_redirect_uris=("http://127.0.0.1:9002/bye",),
    frontchannel_logout_uri="http://127.0.0.1:9002/fc?site=1",
    backchannel_logout_uri="http://127.0.0.1:9002/bc",
)
VAULT = App(
    client_id="vault",
    client_secret="vault-secret",
    name="Vault",
    redirect_uris=("http://vault.localhost:9003/cb",),
    require_consent=True,
)
EVERYTHING = "openid profile email offline_access"


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Page(HTMLParser):
    """The form, the frames and the rest that the tests look at."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.buttons: set[str] = set()
        self.picks: list[str] = []
        self.frames: list[str] = []
        self.links: list[str] = []
        self.refresh: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = dict(attrs)
        if tag == "form":
            self.action = at["action"]
        elif tag == "input" and at.get("name"):
            self.fields[str(at["name"])] = at.get("value") or ""
        elif tag == "button" and at.get("name"):
            self.buttons.add(str(at["name"]))
            if at["name"] == "pick":
                self.picks.append(str(at["value"]))
        elif tag == "iframe":
            self.frames.append(str(at["src"]))
        elif tag == "a":
            self.links.append(str(at["href"]))
        elif tag == "meta" and at.get("http-equiv") == "refresh":
            self.refresh = at["content"]


class Browser(httpx.Client):
    """Follows the provider's own redirects and stops at the first that leads to an app."""

    def __init__(self, idp: EmbeddedIdP, issuer: str = ISSUER) -> None:
        super().__init__(transport=idp.sync_transport())
        self.idp, self.issuer = idp, issuer

    def visit(self, url: str, params: dict[str, str] | None = None) -> httpx.Response:
        return self._follow(self.get(url, params=params))

    def submit(self, page: httpx.Response, /, **answers: str) -> httpx.Response:
        form = Page(page.text)
        assert form.action is not None
        hidden = {name: value for name, value in form.fields.items() if name in ("ticket", "client_id")}
        url = page.request.url.join(form.action)
        return self._follow(self.post(url, data={**hidden, **answers}, headers={"Origin": _origin(str(url))}))

    def _follow(self, response: httpx.Response) -> httpx.Response:
        while response.has_redirect_location and str(response.next_request.url).startswith(self.issuer):
            response = self.get(response.next_request.url)
        return response


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def answer_of(response: httpx.Response) -> dict[str, str]:
    """The authorization response that the browser was sent away with."""
    assert response.status_code == 303, response.text
    return dict(parse_qsl(urlsplit(response.headers["location"]).query))


def verified(id_token: str, jwks: dict[str, Any]) -> dict[str, Any]:
    """The claims, after a check of the RS256 signature that uses no JWT library."""
    head, body, signature = id_token.split(".")
    header = json.loads(_bytes(head))
    assert header["alg"] == "RS256"
    (key,) = [key for key in jwks["keys"] if key["kid"] == header["kid"]]
    assert "d" not in key
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(_bytes(key[part]), "big") for part in ("e", "n")))
    numbers.public_key().verify(_bytes(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), SHA256())
    claims: dict[str, Any] = json.loads(_bytes(body))
    return claims


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Party:
    """A relying party, by hand."""

    app: App
    browser: Browser
    issuer: str = ISSUER
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def ask(self, **changes: str | None) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        values = {
            "client_id": self.app.client_id,
            "redirect_uri": self.app.redirect_uris[0],
            "response_type": "code",
            "scope": "openid profile email",
            "state": "st/ate + 1",
            "nonce": "n-1",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}

    def authorize(self, **changes: str | None) -> httpx.Response:
        return self.browser.visit(f"{self.issuer}/authorize", self.ask(**changes))

    def redeem(self, code: str, **changes: str | None) -> httpx.Response:
        data = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.app.redirect_uris[0],
            "code_verifier": self.verifier,
            **changes,
        }
        return self.token({name: value for name, value in data.items() if value is not None})

    def token(self, data: dict[str, str]) -> httpx.Response:
        return self._post("/token", data)

    def refresh(self, token: str, **extra: str) -> httpx.Response:
        return self._post("/token", {"grant_type": "refresh_token", "refresh_token": token, **extra})

    def revoke(self, token: str, **extra: str) -> httpx.Response:
        return self._post("/revoke", {"token": token, **extra})

    def _post(self, path: str, data: dict[str, str]) -> httpx.Response:
        if self.app.client_secret is None:
            return self.browser.post(f"{self.issuer}{path}", data={"client_id": self.app.client_id, **data})
        secret = (self.app.client_id, self.app.client_secret)
        return self.browser.post(f"{self.issuer}{path}", data=data, auth=secret)

    def userinfo(self, access_token: str) -> httpx.Response:
        return self.browser.get(f"{self.issuer}/userinfo", headers={"Authorization": f"Bearer {access_token}"})

    def verified(self, id_token: str) -> dict[str, Any]:
        return verified(id_token, self.browser.get(f"{self.issuer}/jwks").json())

    def sign_in(self, username: str = "mia", **changes: str | None) -> dict[str, Any]:
        """The whole round; the token response, with the verified claims as ``claims``."""
        response = self.authorize(**changes)
        if response.status_code == 200:
            response = self.browser.submit(response, username=username, password=f"{username}-password")
        tokens: dict[str, Any] = self.redeem(answer_of(response)["code"]).json()
        tokens["claims"] = self.verified(tokens["id_token"])
        return tokens

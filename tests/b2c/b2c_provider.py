"""A tenant served by the embedded provider, a second provider that it federates with, and people at their browsers."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from tests.idp.idp_support import Clock, Page, verified

from kmsi_middleware.idp import App, EmbeddedIdP, FederatedProvider, IdPConfig, User

HERE, THERE = "http://localhost:8400", "http://localhost:8411"
TENANT = "contoso.onmicrosoft.com"
TENANT_ID = "11111111-2222-4333-8444-555555555555"
ISSUER = f"{HERE}/{TENANT_ID}/v2.0/"
SIGN_IN, OTHER, EDIT, RESET, SIGN_UP = "B2C_1_sign_in", "B2C_1A_other", "B2C_1_edit", "B2C_1_reset", "B2C_1_sign_up"
KINDS = {SIGN_IN: "sign_up_and_sign_in", OTHER: "sign_in", EDIT: "profile_editing", RESET: "password_reset"}
KINDS[SIGN_UP] = "sign_up"
USERS = (
    User("mia", "Mia Member", password="mia-password", email="mia@contoso.example", second_factor="100001"),
    User("gus", "Gus Guest", password="gus-password", second_factor="100002"),
)


def an_app(name: str, port: int) -> App:
    home = f"http://{name}.localhost:{port}"
    return App(
        client_id=name,
        name=name.capitalize(),
        redirect_uris=(f"{home}/cb",),
        post_logout_redirect_uris=(f"{home}/bye",),
        frontchannel_logout_uri=f"{home}/out",
    )


GROCERIES, PHARMACY, BAKERY = an_app("groceries", 9001), an_app("pharmacy", 9002), an_app("bakery", 9003)
EMPLOYEES = FederatedProvider("employees", "Contoso employees", THERE, "contoso-b2c", "b2c-secret")
B2C_AS_AN_APP = App(
    client_id="contoso-b2c",
    client_secret="b2c-secret",
    name="Contoso B2C",
    redirect_uris=(f"{HERE}/{TENANT}/oauth2/authresp",),
    post_logout_redirect_uris=(f"{HERE}/{TENANT}/oauth2/logoutresp",),
)


def flows(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """The tenant's user flows; by name, properties of their own. ``every``: of all that sign in."""
    every = properties.get("every", {})
    return {
        name: {"kind": kind, **(every if name in (SIGN_IN, OTHER) else {}), **properties.get(name, {})}
        for name, kind in KINDS.items()
    }


class Tenant:
    """Both providers, and what reaches them."""

    def __init__(self, folder: Path, user_flows: Mapping[str, Any] | None = None, **config: Any) -> None:
        self.clock = Clock()
        given: dict[str, Any] = {
            "users": USERS,
            "apps": (GROCERIES, PHARMACY, BAKERY),
            "show_passwords": True,
            "behaviour": "b2c",
            "federated": (EMPLOYEES,),
            "user_flows": flows() if user_flows is None else user_flows,
            **config,
        }
        there = IdPConfig(users=(User("erin", "Erin Employee", password="erin-password"),), apps=(B2C_AS_AN_APP,))
        self.there = EmbeddedIdP(there, folder=folder / "there", issuer=THERE, clock=self.clock)
        self.here = EmbeddedIdP(
            IdPConfig(**given),
            folder=folder / "here",
            issuer=HERE,
            clock=self.clock,
            backchannel=Web({THERE: self.there.async_transport()}),
        )
        self._web = {HERE: self.here.sync_transport(), THERE: self.there.sync_transport()}

    def person(self) -> Person:
        return Person(self, httpx.Client(transport=SyncWeb(self._web)))

    def close(self) -> None:
        self.here.close()
        self.there.close()


@contextmanager
def tenant(user_flows: Mapping[str, Any] | None = None, **config: Any) -> Iterator[Tenant]:
    with tempfile.TemporaryDirectory() as folder:
        made = Tenant(Path(folder), user_flows, **config)
        try:
            yield made
        finally:
            made.close()


class Web(httpx.AsyncBaseTransport):
    """What listens where; nothing else does."""

    def __init__(self, places: Mapping[str, httpx.AsyncBaseTransport]) -> None:
        self.places = places

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        place = self.places.get(_origin(str(request.url)))
        if place is None:
            raise httpx.ConnectError("nothing listens there")
        return await place.handle_async_request(request)


class SyncWeb(httpx.BaseTransport):
    def __init__(self, places: Mapping[str, httpx.BaseTransport]) -> None:
        self.places = places

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.places[_origin(str(request.url))].handle_request(request)


class Answer(dict[str, str]):
    """What the app gets: the parameters of the redirect to it."""


Seen = httpx.Response | Answer
NOTHING: Mapping[str, str] = MappingProxyType({})


class Person:
    """At one browser. Follows the providers, and stops at a page that asks or at an app."""

    def __init__(self, tenant: Tenant, client: httpx.Client) -> None:
        self.tenant, self.client = tenant, client
        self.trail: list[str] = []
        self.verifier = "v" * 64

    def ask(self, app: App, flow: str = SIGN_IN, **changes: str) -> Seen:
        """Open an app's sign-in."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        values = {
            "client_id": app.client_id,
            "redirect_uri": app.redirect_uris[0],
            "response_type": "code",
            "scope": "openid profile email",
            "state": "s",
            "nonce": "n",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return self.go(f"{of(flow)}/oauth2/v2.0/authorize", values)

    def go(self, url: str, params: Mapping[str, str] = NOTHING) -> Seen:
        self.trail = []
        return self._arrive(self.client.get(url, params=params or None))

    def submit(self, page: Seen, /, **answers: str) -> Seen:
        assert isinstance(page, httpx.Response), page
        form = Page(page.text)
        assert form.action is not None
        url = page.request.url.join(form.action)
        ticket = {"ticket": form.fields["ticket"]}
        response = self.client.post(url, data={**ticket, **answers}, headers={"Origin": _origin(str(url))})
        return self._arrive(response)

    def follow(self, page: Seen, part: str) -> Seen:
        """The link whose address has ``part``."""
        assert isinstance(page, httpx.Response), page
        (link,) = [link for link in Page(page.text).links if part in link]
        return self._arrive(self.client.get(page.request.url.join(link)))

    def _arrive(self, response: httpx.Response) -> Seen:
        while True:
            self.trail.append(str(response.request.url))
            target = response.headers.get("location")
            if target is None and "One moment" in response.text:
                target = (Page(response.text).refresh or "").partition("url=")[2]
            if target is None:
                return response
            target = str(response.request.url.join(target))
            if _origin(target) not in (HERE, THERE):
                self.trail.append(target)
                return Answer(parse_qsl(urlsplit(target).query))
            response = self.client.get(target)

    def sign_in(
        self, app: App, flow: str = SIGN_IN, user: str = "mia", *, keep: bool = False, **changes: str
    ) -> Answer:
        """The whole way, with the password; and the code where it is asked for."""
        page = self.ask(app, flow, **changes)
        assert asks_for_password(page), page
        kept = {"keep_me_signed_in": "yes"} if keep else {}
        answer = self.submit(page, username=user, password=f"{user}-password", **kept)
        return self.show_code(answer) if asks_for_code(answer) else arrived(answer)

    def show_code(self, page: Seen, code: str = "100001") -> Answer:
        return arrived(self.submit(page, code=code))

    def sign_in_there(self, app: App, flow: str = SIGN_IN) -> Answer:
        page = self.follow(self.ask(app, flow), "provider=employees")
        assert self.trail[-1].startswith(THERE)
        return arrived(self.submit(page, username="erin", password="erin-password"))

    def tokens(self, app: App, answer: Seen, flow: str = SIGN_IN) -> httpx.Response:
        data = {
            "grant_type": "authorization_code",
            "code": arrived(answer)["code"],
            "redirect_uri": app.redirect_uris[0],
            "code_verifier": self.verifier,
            "client_id": app.client_id,
        }
        return self.client.post(f"{of(flow)}/oauth2/v2.0/token", data=data)

    def claims(self, app: App, answer: Seen, flow: str = SIGN_IN) -> dict[str, Any]:
        keys = self.client.get(f"{of(flow)}/discovery/v2.0/keys").json()
        return verified(self.tokens(app, answer, flow).json()["id_token"], keys)

    def id_token(self, app: App, flow: str = SIGN_IN) -> str:
        """Of an app that the person is signed in to."""
        return str(self.tokens(app, self.ask(app, flow), flow).json()["id_token"])

    def sign_out(self, app: App | None, flow: str = SIGN_IN, **parameters: str) -> Seen:
        named = {"client_id": app.client_id} if app else {}
        return self.go(f"{of(flow)}/oauth2/v2.0/logout", {**named, **parameters})

    def cookies(self) -> dict[str, Any]:
        """Of the tenant's single sign-on, by name: when the browser drops it, or ``None``."""
        jar = self.client.cookies.jar
        return {cookie.name: cookie.expires for cookie in jar if "sso." in cookie.name}

    def close_browser(self) -> None:
        """Only what is persistent is there afterwards."""
        for cookie in list(self.client.cookies.jar):
            if cookie.expires is None:
                self.client.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)


def of(flow: str) -> str:
    return f"{HERE}/{TENANT}/{flow.lower()}"


def asks_for_password(seen: Seen) -> bool:
    return isinstance(seen, httpx.Response) and "Password</label>" in seen.text


def asks_for_code(seen: Seen) -> bool:
    return isinstance(seen, httpx.Response) and 'name="code"' in seen.text


def arrived(seen: Seen) -> Answer:
    assert isinstance(seen, Answer), seen.text
    assert "code" in seen, seen
    return seen


def is_silent(seen: Seen) -> bool:
    """Whether the person was asked nothing."""
    return isinstance(seen, Answer) and "code" in seen


def frames(seen: Seen) -> list[str]:
    assert isinstance(seen, httpx.Response), seen
    return Page(seen.text).frames


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"

"""What a test of a conformance module is made of: a world with the middleware and a provider in it, and two verdicts.

assert refused(world, provider.sends(iss="https://other.example"), code="id_token_iss")
assert signs_in(world, provider.sends(aud=[world.client_id]))
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.misbehaving_provider import SECRET, Provider
from tests.shells.shell_servers import Answer, Server
from tests.shells.shell_support import HOME, IDP, Browser, Page, World
from tests.shells.token_app import TokenApp

DISCOVERED = [".well-known/openid-configuration"]
AUTHORIZED = [*DISCOVERED, "authorize"]
REDEEMED = [*AUTHORIZED, "token", "jwks"]
"""What is asked for in a sign-in, in this order. Userinfo is not: the middleware never asks for it."""

PAGE = "/?x=1"
"""What a person asks for who has to sign in first."""

WAYS = {"query": "asgi-asyncio", "form_post": "wsgi"}
"""Each module runs with both response modes, and on that occasion through both shells."""


def module(*names: str) -> pytest.MarkDecorator:
    """Which modules of the conformance suite a test is for."""
    return pytest.mark.module(*names)


class ConformanceWorld(World):
    """The middleware, a provider, and browsers. ``way`` is one of ``WAYS``."""

    client_id = HOME
    asks_itself: tuple[str, ...] = ()
    """What the app asks the provider for when it is shown."""

    def __init__(self, way: str, folder: Path) -> None:
        super().__init__(WAYS[way], "memory", folder)
        self.response_mode = way

    def deploy(self, issuer: str = IDP, **settings: Any) -> Provider:
        """Put the middleware in front of an app, over a provider that has not been asked for anything yet."""
        self.misbehaving = made = Provider(issuer, self.clock)
        self._provider = made  # type: ignore[assignment]
        self.at[IDP] = made  # type: ignore[assignment]
        fixed: dict[str, Any] = {
            "issuer": issuer,
            "client_secret": SECRET,
            "response_mode": self.response_mode,
            "show_option_to_remain_signed_in": False,
        }
        self.client(**fixed | settings)
        return made

    def app(self, origin: str = HOME, server: dict[str, Any] | None = None, **settings: Any) -> Server:
        """One that uses access tokens."""
        app = TokenApp()
        inner = app.wsgi if self.shell == "wsgi" else app.asgi
        return self.serve(self.middleware(inner, **settings), origin, small=app, **(server or {}))


def go(browser: Browser, url: str) -> Answer:
    """Go there, and wherever that leads: at the provider nobody is asked for anything."""
    page = browser.visit(url)
    for _ in range(6):
        if not Page(page.text).action.endswith("/.auth/callback"):
            return page
        page = browser.submit(page)  # form_post, which a script would do
    raise AssertionError("sent round in circles")


def code_on(page: Answer) -> str:
    """The stable code on a page that says what went wrong."""
    found = re.search(r'<dt>Code</dt><dd class="mono">(\w+)</dd>', page.text)
    return found[1] if found else f"no code, but {page.status} at {page.url}"


def refused(
    world: ConformanceWorld, provider: Provider, *, code: str, asked: list[str] = REDEEMED, at: str = PAGE
) -> bool:
    """A sign-in there ends with a page that has this code, and without a session; and of the provider nothing was
    asked for beyond ``asked``."""
    browser = world.browser()
    page = go(browser, HOME + at)
    assert code_on(page) == code
    assert 400 <= page.status < 600
    assert page.url.startswith(HOME)
    assert browser.who() is None
    assert browser.session_cookie() is None
    assert provider.asked == asked
    return True


def signs_in(
    world: ConformanceWorld,
    provider: Provider,
    browser: Browser | None = None,
    *,
    asked: list[str] = REDEEMED,
    at: str = PAGE,
    to: str = PAGE,
) -> bool:
    """A sign-in there leads to the page that was asked for, with a session."""
    browser = browser or world.browser()
    page = go(browser, HOME + at)
    assert (page.status, page.url) == (200, HOME + to), code_on(page)
    assert browser.who() == "Alice"
    assert provider.asked == [*asked, *world.asks_itself]
    return True


def signs_out(world: ConformanceWorld, provider: Provider) -> bool:
    """A sign-out by the app's own button leads to the provider and back, to a page that says so."""
    browser = world.browser()
    assert signs_in(world, provider, browser)
    page = browser.sign_out()
    assert page.url.startswith(f"{HOME}/.auth/logged-out")
    assert page.status == 200
    assert browser.who() is None
    assert provider.asked == [*REDEEMED, "end_session"]
    return True


def notified(world: ConformanceWorld, logout_token: str) -> Answer:
    """The answer to a back-channel logout request."""
    answer = world.misbehaving.notify(world.at[HOME], f"{HOME}/.auth/backchannel-logout", logout_token)
    assert answer.header("cache-control") == "no-store"
    assert answer.cookies == []
    return answer


def with_refresh_tokens(world: ConformanceWorld) -> Provider:
    """Deploy anew, so that the provider gives refresh tokens too."""
    return world.deploy(scope="openid profile email offline_access")


def refreshed(world: ConformanceWorld, provider: Provider) -> str:
    """The new access token that the app gets when the first one is over, or the code of what it gets instead."""
    browser = world.browser()
    assert signs_in(world, provider, browser)
    first = browser.visit(f"{HOME}/token").json()["token"]
    world.clock.pass_(300)
    provider.requests.clear()
    said = browser.visit(f"{HOME}/caught").json()
    assert provider.asked == ["token"]
    assert provider.last("token")["grant_type"] == "refresh_token"
    assert said.get("token") != first
    assert browser.who() == "Alice"
    return str(said.get("token") or said["code"])

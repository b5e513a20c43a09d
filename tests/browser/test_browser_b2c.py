"""Three apps, a tenant of Azure AD B2C and a provider that it federates with, in a browser: single sign-on, and the
single sign-out with third-party cookies blocked and allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.b2c.b2c_running import Running
from tests.browser.browser import Browser, nothing_went_wrong
from tests.browser.kinds import EVERY, played_in
from tests.browser.test_browser_pages import looks_right

HEADING = "Sign in or sign up"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("b2c")) as running:
        yield running


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The apps on https, with the second cookie."""
    with Running(tmp_path_factory.mktemp("b2c"), https=True, front_channel_logout_cookie=True) as running:
        yield running


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "b2c", hanging="Bakery") as running:
        yield running


def home(running: Running, name: str) -> str:
    return f"{running.places.apps[name]}/"


def sign_in_everywhere(browser: Browser, running: Running) -> None:
    browser.open(home(running, "Groceries"))
    browser.sees(HEADING)
    browser.click("button[value=mia]")
    for name in ("Groceries", "Pharmacy", "Bakery"):
        if name != "Groceries":
            browser.open(home(running, name))
        browser.is_at(home(running, name), name)


def sign_out(browser: Browser, running: Running) -> None:
    """Of Groceries; the tenant tells the others, and leads back by itself."""
    browser.open(home(running, "Groceries"))
    browser.sees("Groceries")
    browser.press("Sign out")
    browser.is_signed_out(home(running, "Groceries"))
    told = [fetched for fetched in browser.fetched if fetched.path == "/.auth/frontchannel-logout"]
    assert [(fetched.status, fetched.url) for fetched in sorted(told, key=lambda it: it.url)] == [
        (200, f"{home(running, name)}.auth/frontchannel-logout") for name in ("Bakery", "Pharmacy")
    ]


def is_signed_out(browser: Browser, running: Running, name: str) -> bool:
    """At an app that was told."""
    browser.open(f"{home(running, name)}.auth/me")
    browser.wait("The answer", lambda: "{" in browser.text)
    return '"user"' not in browser.text


@played_in("chromium-blocked")
def test_one_sign_in_is_enough_and_one_sign_out_tells_all(running: Running, bare_browser: Browser) -> None:
    """Third-party cookies are blocked. B2C names no session, so who is told can do nothing; no page says otherwise."""
    browser = bare_browser
    sign_in_everywhere(browser, running)
    sign_out(browser, running)
    assert "Groceries" not in browser.heading
    assert is_signed_out(browser, running, "Groceries")
    assert not is_signed_out(browser, running, "Pharmacy")
    browser.open(home(running, "Groceries"))
    browser.sees(HEADING)
    nothing_went_wrong(browser, running.places.tenant)


def test_an_app_that_never_answers_holds_nobody_up(hanging: Running, bare_browser: Browser) -> None:
    """Its frame keeps the page from ever being complete, which a plain refresh would wait for."""
    browser = bare_browser
    sign_in_everywhere(browser, hanging)
    browser.open(home(hanging, "Groceries"))
    browser.sees("Groceries")
    browser.press("Sign out")
    browser.wait("The tenant", lambda: browser.url.startswith(hanging.places.tenant))
    browser.is_signed_out(home(hanging, "Groceries"))
    told = [fetched for fetched in browser.fetched if fetched.url.startswith(home(hanging, "Pharmacy"))]
    assert [fetched.status for fetched in told if fetched.path == "/.auth/frontchannel-logout"] == [200]


@played_in("chromium-blocked")
def test_every_page_of_the_tenant(running: Running, bare_browser: Browser) -> None:
    browser = bare_browser
    browser.open(home(running, "Groceries"))
    browser.sees(HEADING)
    looks_right(browser, "tenant-sign-in")
    browser.press("Forgot your password?")
    browser.sees("Choose a new password")
    looks_right(browser, "tenant-password")
    browser.press("Cancel")
    browser.sees(HEADING)
    browser.write("#username", "mia")
    browser.write("#password", "wrong")
    browser.press("Sign in")
    browser.wait("The error", lambda: browser.is_shown("[role=alert]"))
    looks_right(browser, "tenant-sign-in-wrong")
    browser.press("Sign in with Contoso employees")
    browser.wait("The other provider", lambda: browser.url.startswith(running.places.employees))
    browser.pick("erin")
    browser.is_at(home(running, "Groceries"), "Groceries")
    looks_right(browser, "tenant-app")
    browser.open(home(running, "Pharmacy"))
    browser.is_at(home(running, "Pharmacy"), "Pharmacy")
    browser.press("Edit your profile")
    browser.sees("Your profile")
    looks_right(browser, "tenant-profile")
    browser.press("Cancel")
    browser.is_at(home(running, "Pharmacy"), "Pharmacy")
    browser.press("Sign out")
    browser.sees("Sign out?")
    assert browser.url.startswith(running.places.employees)
    browser.press("Sign out")
    browser.wait("The tenant", lambda: browser.url.startswith(running.places.tenant))
    browser.sees("You are signed out")
    browser.js("window.stop()")
    assert "You were also taken to Contoso employees" in browser.text
    looks_right(browser, "tenant-signed-out")
    browser.press("Continue")
    browser.is_signed_out(home(running, "Pharmacy"))


@played_in(*EVERY)
def test_the_second_cookie_ends_the_session_where_the_browser_sends_it(
    https: Running, bare_browser: Browser, installed: str
) -> None:
    browser = bare_browser
    sign_in_everywhere(browser, https)
    assert browser.cookies()["__Host-kmsi.o"].same_site == "None"
    sign_out(browser, https)
    for name in ("Pharmacy", "Bakery"):
        assert is_signed_out(browser, https, name) is installed.endswith("-allowed")

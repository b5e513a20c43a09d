"""Revocation, as the people whose sessions end meet it; with the provider's own session still there."""

from __future__ import annotations

import pytest
from tests.shells.shell_support import HOME, HOUR, IDP, MINUTE, Browser, Page, World

from kmsi_middleware.sessions import Sessions


def sessions_of(world: World) -> Sessions:
    """As an app's own view has them: over the middleware's store."""
    return Sessions(store=world.at[HOME].parts.services.store, clock=world.clock)


def revoke(world: World, browser: Browser) -> None:
    """All sessions of the person in this browser."""
    user = browser.fetch("/.auth/me").json()["user"]
    assert sessions_of(world).revoke_user(issuer=user["issuer"], subject=user["claims"]["sub"])


def asks_who_it_is(page: object) -> bool:
    """Whether the provider shows its sign-in instead of passing on who it knows."""
    return "pick" in Page(page.text).buttons  # type: ignore[attr-defined]


@pytest.fixture
def signed_in(any_world: World) -> Browser:
    any_world.provider(HOME)
    any_world.client()
    browser = any_world.browser()
    browser.sign_in("mia", "yes")
    return browser


def test_a_user_is_signed_out_everywhere_at_once(any_world: World, signed_in: Browser) -> None:
    other = any_world.browser()
    other.sign_in("mia", "no")
    calls = len(any_world.at[HOME].small.calls)
    revoke(any_world, signed_in)
    for browser in (signed_in, other):
        assert browser.fetch("/page").json()["reason"] == "revoked"
        assert browser.who() is None
    assert len(any_world.at[HOME].small.calls) == calls


def test_the_next_sign_in_is_a_real_one_although_the_provider_knows_the_person(
    any_world: World, signed_in: Browser
) -> None:
    any_world.clock.pass_(MINUTE)
    revoke(any_world, signed_in)
    any_world.clock.pass_(MINUTE)
    page = signed_in.visit(signed_in.fetch("/page").json()["login_url"], source=f"{HOME}/page")
    assert asks_who_it_is(page)
    page = signed_in.submit(signed_in.submit(page, pick="mia"), answer="no")
    assert page.url == f"{HOME}/"
    assert signed_in.who() == "Mia Member"


def test_so_it_is_where_the_browser_has_forgotten_our_cookie(any_world: World, signed_in: Browser) -> None:
    any_world.clock.pass_(MINUTE)
    revoke(any_world, signed_in)
    any_world.clock.pass_(2 * HOUR)
    signed_in.jar = {key: cookie for key, cookie in signed_in.jar.items() if cookie.host != "localhost"}
    page = signed_in.visit("/page")
    silently = [hop.url.partition("?")[0] for hop in page.trail]
    assert silently == [f"{HOME}/page", f"{IDP}/authorize", f"{HOME}/.auth/callback"]
    assert asks_who_it_is(page)
    page = signed_in.submit(signed_in.submit(page, pick="mia"), answer="no")
    assert page.url == f"{HOME}/page"
    signed_in.sign_out()
    any_world.clock.pass_(MINUTE)
    signed_in.sign_in("mia", "no")


def test_an_app_can_end_sessions_in_the_middle_of_a_request(any_world: World, signed_in: Browser) -> None:
    """Its own too: what it saves then is not kept, and the next request does not pass."""
    app = any_world.at[HOME]
    app.small.during = lambda: revoked.append(sessions_of(any_world).revoke_everything())
    revoked: list[int] = []
    assert signed_in.visit("/page").status == 200
    signed_in.visit("/wait")
    assert revoked == [1]
    assert signed_in.fetch("/page").json()["reason"] == "revoked"


def test_a_question_that_was_open_during_a_revocation_leads_to_a_page_that_says_so(any_world: World) -> None:
    any_world.provider(HOME)
    any_world.client()
    browser = any_world.browser()
    question = browser.submit(browser.visit("/page"), pick="mia")
    any_world.clock.pass_(MINUTE)
    assert sessions_of(any_world).revoke_everything() == 0
    page = browser.submit(question, answer="yes")
    assert page.status == 403
    assert "sign_in_revoked" in page.text
    any_world.clock.pass_(2 * MINUTE)
    (retry,) = Page(page.text).links
    page = browser.click(retry, on=page)
    assert asks_who_it_is(page)
    assert browser.submit(browser.submit(page, pick="mia"), answer="yes").url == f"{HOME}/page"

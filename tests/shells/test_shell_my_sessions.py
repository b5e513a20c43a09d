"""``/.auth/sessions`` through every shell, with a real provider."""

from __future__ import annotations

import re

import pytest
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import HOME, HOUR, IDP, MINUTE, Browser, Page, World, _sources
from tests.shells.test_shell_policies import BLOCK, policy

PAGE = f"{HOME}/.auth/sessions"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


@pytest.fixture
def world(any_world: World) -> World:
    any_world.provider(HOME)
    any_world.client()
    return any_world


def signed_in(world: World, **more: str) -> Browser:
    browser = world.browser(**more)
    browser.sign_in("mia", "yes")
    return browser


def names(page: Answer) -> list[str]:
    assert page.status == 200
    return [" ".join(re.sub("<[^>]*>", " ", name).split()) for name in re.findall(r"<h2>(.*?)</h2>", page.text)]


def press(browser: Browser, page: Answer, **fields: str) -> Answer:
    """One of the page's forms; its Content-Security-Policy is kept, for redirects too."""
    return browser.post(PAGE, fields, source=PAGE, allowed=_sources(page, "form-action"))


def test_a_person_sees_their_sessions_and_signs_out_all_others(world: World) -> None:
    here, other = signed_in(world), signed_in(world, user_agent=FIREFOX, address="127.0.0.9")
    world.browser().sign_in("gus", None)
    page = here.visit(PAGE)
    assert names(page) == ["Unknown browser This browser", "Firefox on Linux"]
    assert "127.0.0.9" in page.text
    assert page.header("cache-control") == "no-store"
    after = press(here, page, others="1")
    assert "One session was signed out." in after.text
    assert names(after) == ["Unknown browser This browser"]
    assert other.who() is None
    assert here.who() == "Mia Member"


def test_one_is_signed_out_by_its_button(world: World) -> None:
    here, other, third = signed_in(world), signed_in(world, user_agent=FIREFOX), signed_in(world)
    page = here.visit(PAGE)
    (session,) = re.findall(r'value="([0-9a-f]{64})">\s*<button[^>]*>Sign out<span[^>]*> <bdi>Firefox', page.text)
    assert "One session was signed out." in press(here, page, session=session).text
    assert (other.who(), third.who()) == (None, "Mia Member")


def test_an_older_sign_in_is_renewed_first_and_then_the_page_is_there(world: World) -> None:
    browser = signed_in(world)
    world.clock.pass_(HOUR)
    page = browser.visit(PAGE)
    assert page.url.startswith(f"{IDP}/authorize?")
    back = browser.submit(page, pick="mia")
    assert back.url == PAGE
    assert names(back) == ["Unknown browser This browser"]


def test_a_form_from_a_page_that_was_left_open_ends_nothing_and_leads_to_a_fresh_sign_in(world: World) -> None:
    here, other = signed_in(world), signed_in(world)
    page = here.visit(PAGE)
    world.clock.pass_(15 * MINUTE)
    asked = press(here, page, others="1")
    assert asked.url.startswith(f"{IDP}/authorize?")
    assert other.who() == "Mia Member"
    assert here.submit(asked, pick="mia").url == PAGE


def test_who_is_nobody_signs_in_first(world: World) -> None:
    browser = world.browser()
    page = browser.visit(PAGE)
    assert "pick" in Page(page.text).buttons
    assert browser.submit(browser.submit(page, pick="mia"), answer="no").url == PAGE


def test_the_page_never_reaches_the_app(world: World) -> None:
    signed_in(world).visit(PAGE)
    assert [call for call in world.at[HOME].small.calls if ".auth" in call] == []


def test_who_is_blocked_by_a_policy_sees_and_ends_nothing(any_world: World) -> None:
    """A stolen cookie, on a device that a policy keeps out."""
    no_macs = policy("No Macs", conditions={"platforms": {"includePlatforms": ["macOS"]}}, grant=BLOCK)
    any_world.provider(HOME)
    any_world.client(policies=[no_macs])
    here, other = (signed_in(any_world, user_agent=FIREFOX) for _ in range(2))
    page = here.visit(PAGE)
    here.user_agent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.1 Safari/605.1.15"
    for blocked in (here.visit(PAGE), press(here, page, others="1")):
        assert blocked.status == 403
        assert "blocked_by_policy" in blocked.text
    assert other.who() == "Mia Member"

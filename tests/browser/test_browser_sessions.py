"""Where a person is signed in, in real browsers: seen from one of them, signed out in another.

Nobody else in these tests is Carl, so no session of his is left from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from examples.demo_servers import Demo
from selenium.webdriver.common.keys import Keys
from tests.browser.browser import Browser, nothing_went_wrong
from tests.browser.kinds import played_in

Install = Callable[..., Browser]
SESSIONS = "Where you’re signed in"


def rows(browser: Browser) -> list[str]:
    """The sessions' names, as they are read."""
    return browser.texts_of(".sessions h2")


@played_in("chromium-blocked")
def test_a_person_signs_out_another_browser_and_there_it_is_told(
    browser: Browser, install: Install, demo: Demo, notebook: str
) -> None:
    """By keyboard alone."""
    agent = "Chrome on Linux"
    lost = install("lost")
    lost.sign_in(notebook, "Notebook", user="carl", answer="")
    browser.sign_in(notebook, "Notebook", user="carl", answer="")
    browser.press(SESSIONS)
    browser.sees(SESSIONS)
    assert rows(browser) == [f"{agent} This browser", agent]
    assert "127.0.0.1" in browser.text
    names = browser.texts_of("li button")
    assert all(name.startswith(f"Sign out {agent}, signed in 20") for name in names)
    for _ in range(2):
        browser.keys(Keys.TAB)
    with browser.leaving():
        browser.keys(Keys.ENTER)
    browser.wait("What was done", lambda: "One session was signed out." in browser.text)
    revoked = int(time.time())
    assert rows(browser) == [f"{agent} This browser"]
    assert "in this browser only" in browser.text

    lost.open(notebook)
    lost.sees("Your session was ended")
    lost.reload()
    lost.sees("Your session was ended")
    # A sign-in that begins in the very second of the revocation counts as one that was under way.
    lost.wait("The next second", lambda: int(time.time()) > revoked)
    lost.press("Sign in")
    lost.sees("Sign in")  # at the provider, which still knows the person, and asks all the same
    lost.click("button[value=carl]")
    lost.is_at(notebook, "Notebook")
    for each in (lost, browser):
        each.open(notebook)
        each.sign_out(notebook)
    nothing_went_wrong(lost, demo.issuer)


@played_in("chromium-blocked")
def test_all_others_are_signed_out_and_this_one_too_if_one_likes(
    browser: Browser, install: Install, notebook: str
) -> None:
    other = install("other")
    other.sign_in(notebook, "Notebook", user="eve", answer="No")
    browser.sign_in(notebook, "Notebook", user="eve", answer="No")
    browser.open(f"{notebook}.auth/sessions")
    browser.sees(SESSIONS)
    browser.press("Sign out all others")
    browser.sees(SESSIONS)
    assert "in this browser only" in browser.text
    other.open(notebook)
    other.sees("Your session was ended")
    with browser.leaving():
        browser.click_on(browser.element(".sessions button"))
    browser.sees("You are signed out")

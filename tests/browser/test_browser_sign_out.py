"""Sign-out in a browser: what signs out and what asks, the way through the provider and back, and what is left."""

from __future__ import annotations

import re
from pathlib import Path

from tests.browser.browser import Browser
from tests.browser.kinds import played_in

BROWSERS = Path(__file__).parent.parent.parent / "docs" / "browsers.md"
ASKS = "Sign out?"


def still_in(browser: Browser, notebook: str) -> None:
    browser.open(notebook)
    browser.is_at(notebook, "Notebook")


def test_a_form_of_the_app_signs_out(browser: Browser, notebook: str) -> None:
    browser.sign_in(notebook, "Notebook")
    browser.sign_out(notebook)
    out = [fetched for fetched in browser.fetched if fetched.path in ("/.auth/logout", "/end-session")]
    assert [(fetched.method, fetched.status) for fetched in out] == [("POST", 303), ("GET", 200)]
    browser.press("Sign in again")
    browser.sees("Sign in")


def test_an_address_that_is_typed_asks(browser: Browser, notebook: str) -> None:
    browser.sign_in(notebook, "Notebook")
    browser.open(f"{notebook}.auth/logout")
    browser.sees(ASKS)
    browser.press("Cancel")
    browser.is_at(notebook, "Notebook")
    browser.open(f"{notebook}.auth/logout")
    browser.sees(ASKS)
    # Its form leads to the provider by a redirect, which form-action must allow.
    browser.sign_out(notebook)
    browser.open(notebook)
    browser.sees("Sign in")


def test_a_link_within_the_app_signs_out(browser: Browser, notebook: str) -> None:
    browser.sign_in(notebook, "Notebook")
    browser.follow_a_link(f"{notebook}.auth/logout")
    browser.is_signed_out(notebook)


def test_a_link_on_another_site_asks(browser: Browser, notebook: str, tea: str) -> None:
    browser.sign_in(notebook, "Notebook")
    browser.open(f"{tea}about")
    browser.sees("Tea counter")
    browser.follow_a_link(f"{notebook}.auth/logout")
    browser.sees(ASKS)
    still_in(browser, notebook)


def test_a_form_on_another_site_does_nothing(browser: Browser, notebook: str, tea: str) -> None:
    browser.sign_in(notebook, "Notebook")
    browser.open(f"{tea}about")
    browser.sees("Tea counter")
    with browser.leaving():
        browser.js(
            "const form = document.createElement('form'); form.method = 'post'; form.action = arguments[0]; "
            "document.body.append(form); form.submit()",
            f"{notebook}.auth/logout",
        )
    browser.sees("That did not work")
    assert "cross_site_form" in browser.text
    still_in(browser, notebook)


def test_images_and_frames_of_another_site_do_nothing(browser: Browser, notebook: str, tea: str) -> None:
    browser.sign_in(notebook, "Notebook")
    browser.open(f"{tea}about")
    browser.sees("Tea counter")
    browser.js(
        "for (const name of ['img', 'iframe']) { const it = document.createElement(name); it.src = arguments[0]; "
        "window.tried = 0; it.onload = it.onerror = () => window.tried += 1; document.body.append(it) }",
        f"{notebook}.auth/logout",
    )
    browser.wait("Both", lambda: browser.js("return window.tried") == 2)
    still_in(browser, notebook)
    # The frame and the image are this test's own; what the browser says of them is that they were refused.
    refused = [line for line in browser.console if "frame-ancestors" in line or "X-Frame-Options" in line]
    assert refused == browser.console
    browser.console.clear()
    browser.fetched[:] = [fetched for fetched in browser.fetched if fetched.kind != "Image"]


def test_what_a_browser_keeps_of_a_page_that_was_left(browser: Browser, installed: str, notebook: str) -> None:
    """While one is signed in. Chromium shows a page again as it was left, although it is no-store, and asks nobody;
    Firefox asks."""
    browser.sign_in(notebook, "Notebook")
    browser.open(f"{notebook}about")
    browser.sees("Public page")
    seen = len(browser.fetched)
    browser.back()
    browser.is_at(notebook, "Notebook")
    asked = [fetched.url for fetched in browser.fetched[seen:] if fetched.kind == "Document"]
    assert asked == ([] if installed.startswith("chromium") else [notebook])


@played_in("chromium-blocked")  # the only one that keeps such pages
def test_a_kept_page_can_look_for_itself_whether_it_may_be_seen(browser: Browser, notebook: str, tea: str) -> None:
    """As docs/browsers.md tells apps to."""
    (script,) = re.findall(r"```js\n(.+?)```", BROWSERS.read_text(encoding="utf-8"), re.DOTALL)
    browser.sign_in(tea, "Tea counter")
    browser.js(script)
    first = browser.tab
    browser.open(f"{notebook}about")
    browser.sees("Public page")
    browser.new_tab()
    browser.open(notebook)
    browser.sees("Stay signed in?")
    browser.press("No")
    browser.is_at(notebook, "Notebook")
    browser.sign_out(notebook)
    browser.go_to(first)
    browser.back()
    browser.is_at(tea, "You are signed out")
    (asked,) = [fetched for fetched in browser.fetched if fetched.kind == "Fetch"]
    assert (asked.path, asked.status) == ("/.auth/me", 401)
    browser.fetched.remove(asked)


def test_the_back_button_shows_nothing_private(browser: Browser, notebook: str, tea: str) -> None:
    """In the tab that signed out, and in another. Chromium keeps the app's page whole, no-store or not, until its
    cookie goes or it is told to forget."""
    browser.sign_in(notebook, "Notebook")
    browser.write("#note", "Private")
    browser.press("Keep it")
    browser.is_at(notebook, "Notebook")
    first = browser.tab
    other = browser.new_tab()
    browser.open(notebook)
    browser.is_at(notebook, "Notebook")
    browser.open(f"{tea}about")
    browser.sees("Tea counter")
    browser.go_to(first)
    browser.sign_out(notebook)
    for tab, steps in ((first, 2), (other, 1)):
        browser.go_to(tab)
        seen = len(browser.fetched)
        browser.back(steps)
        browser.sees("Sign in")
        asked = [fetched for fetched in browser.fetched[seen:] if fetched.url == notebook]
        assert [fetched.status for fetched in asked] == [303]


@played_in("chromium-blocked")
def test_a_form_that_comes_too_late_says_so(browser: Browser, notebook: str) -> None:
    """The session ended in another tab; here, a form is sent."""
    browser.sign_in(notebook, "Notebook")
    first = browser.tab
    browser.new_tab()
    browser.open(notebook)
    browser.sign_out(notebook)
    browser.go_to(first)
    browser.press("Keep it")
    browser.sees("Please sign in")
    assert "no_session" in browser.text
    browser.press("Sign in")
    browser.pick("mia")
    browser.sees("Stay signed in?")
    browser.press("No")
    browser.is_at(notebook, "Notebook")


@played_in("chromium-blocked")
def test_the_app_that_is_told_says_why(browser: Browser, notebook: str, tea: str) -> None:
    browser.sign_in(tea, "Tea counter")
    first = browser.tab
    browser.new_tab()
    browser.open(notebook)
    browser.sees("Stay signed in?")
    browser.press("No")
    browser.is_at(notebook, "Notebook")
    browser.sign_out(notebook)
    browser.go_to(first)
    browser.press("One more cup")
    browser.sees("You are signed out")
    assert "signed_out" in browser.text


@played_in("chromium-blocked")
def test_a_question_in_another_tab_is_forgotten(browser: Browser, notebook: str) -> None:
    """Whoever finds the browser after a sign-out can't be signed in by a question that was left open."""
    browser.open(notebook)
    browser.pick("mia")
    browser.sees("Stay signed in?")
    waiting = browser.tab
    browser.new_tab()
    browser.open(notebook)
    browser.sees("Stay signed in?")
    browser.press("No")
    browser.is_at(notebook, "Notebook")
    browser.sign_out(notebook)
    browser.go_to(waiting)
    browser.press("Yes")
    browser.sees("Please sign in again")
    browser.open(f"{notebook}.auth/me")
    browser.wait("The refusal", lambda: '"no_session"' in browser.text)

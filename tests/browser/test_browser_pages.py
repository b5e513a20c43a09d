"""Every page, in a real browser: narrow and wide, light and dark; for the eye, and for who can't use it.

``TEST_SCREENSHOTS=/tmp/pages`` keeps a picture of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.demo_servers import Demo
from selenium.webdriver.common.keys import Keys
from tests.browser.browser import Browser
from tests.browser.kinds import played_in

NARROW, WIDE = 320, 1280  # 320: WCAG 2.2, 1.4.10
TARGET = 24  # WCAG 2.2, 2.5.8

LAYOUT = """
const boxes = [...document.querySelectorAll("main button, main a.button, main input:not([type=hidden])")];
return {
  lang: document.documentElement.lang,
  title: document.title,
  mains: document.querySelectorAll("main").length,
  headings: document.querySelectorAll("h1").length,
  beside: document.documentElement.scrollWidth - window.innerWidth,
  smallest: Math.min(999, ...boxes.map(it => (it.closest("label") ?? it).getBoundingClientRect().height)),
  page: getComputedStyle(document.body).backgroundColor,
}
"""


def pages(browser: Browser, demo: Demo, notebook: str, tea: str) -> Iterator[str]:
    """Go to each page, one after the other, and give its name."""
    yield from _signing_in(browser, notebook, tea)
    yield from _asking_and_failing(browser, demo, notebook)
    yield from _signing_out(browser, demo, notebook)


def _signing_in(browser: Browser, notebook: str, tea: str) -> Iterator[str]:
    browser.open(notebook)
    browser.sees("Sign in")
    yield "provider-sign-in"
    browser.write("#username", "mia")
    browser.write("#password", "wrong")
    browser.press("Sign in")
    browser.sees("Sign in")
    assert browser.is_shown("[role=alert]")
    yield "provider-sign-in-wrong"
    browser.click("button[value=mia]")
    browser.sees("Stay signed in?")
    yield "interrupt"
    browser.press("Yes")
    browser.sees("Notebook")
    yield "notebook"
    browser.open(tea)
    browser.sees("Stay signed in?")
    browser.press("No")
    browser.sees("Tea counter")
    yield "tea"


def _asking_and_failing(browser: Browser, demo: Demo, notebook: str) -> Iterator[str]:
    browser.press("Where you’re signed in")
    browser.sees("Where you’re signed in")
    yield "sessions"
    browser.open(f"{notebook}.auth/logout")
    browser.sees("Sign out?")
    yield "sign-out-asks"
    browser.open(f"{demo.issuer}/end-session")
    browser.sees("Sign out?")
    yield "provider-sign-out-asks"
    browser.open(f"{demo.issuer}/nothing")
    browser.sees("There is nothing here")
    yield "provider-error"
    browser.open(f"{notebook}.auth/callback?state=none")
    browser.sees("That did not work")
    yield "error-unmatched"
    browser.open(f"{notebook}.auth/login?prompt=consent")
    browser.sees("Allow access?")
    yield "provider-consent"
    browser.press("Deny")
    browser.sees("The sign-in was not completed")
    yield "error-cancelled"


def _signing_out(browser: Browser, demo: Demo, notebook: str) -> Iterator[str]:
    browser.open(notebook)
    browser.press("Sign out")
    browser.wait("The provider", lambda: browser.url.startswith(demo.issuer))
    browser.sees("You are signed out")
    browser.js("window.stop()")  # it would go on by itself
    yield "provider-signed-out"
    browser.press("Continue")
    browser.is_signed_out(notebook)
    yield "signed-out"
    browser.open(f"{notebook}.auth/logout")
    browser.sees("You are not signed in here")
    yield "sign-out-asks-nobody"
    browser.open(f"{notebook}about")
    browser.sees("Public page")
    yield "notebook-public"
    with browser.leaving():
        browser.js(
            "const form = document.createElement('form'); form.method = 'post'; form.action = '/note'; "
            "document.body.append(form); form.submit()"
        )
    browser.sees("Please sign in")
    yield "session-ended"


def test_every_page_narrow_and_wide_light_and_dark(browser: Browser, demo: Demo, notebook: str, tea: str) -> None:
    seen = []
    for name in pages(browser, demo, notebook, tea):
        looks_right(browser, name)
        seen.append(name)
    assert len(seen) == len(set(seen)) == 17


def looks_right(browser: Browser, name: str) -> None:
    """The page that the browser is at: narrow and wide, light and dark."""
    colours = set()
    for width in (NARROW, WIDE):
        for scheme in ("light", "dark"):
            with browser.emulating(width, scheme):
                layout: dict[str, Any] = browser.js(LAYOUT)
                picture(browser, f"{name}-{scheme}-{width}")
            where = f"{name}, {width} pixels, {scheme}: {layout}"
            assert (layout["lang"], layout["mains"], layout["headings"]) == ("en", 1, 1), where
            assert layout["title"], where
            assert layout["beside"] <= 0, where
            assert layout["smallest"] >= TARGET, where
            colours.add((width, layout["page"]))
    assert len(colours) == 4, f"{name} looks the same in the dark: {colours}"
    assert browser.unnamed("button", "link", "checkbox", "textbox") == [], name


def picture(browser: Browser, name: str) -> None:
    if folder := os.environ.get("TEST_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}-{browser.calls_itself.lower()}.png").write_bytes(browser.picture())


@played_in("chromium-blocked")
def test_what_was_written_when_the_session_ended_is_not_lost(browser: Browser, notebook: str) -> None:
    """By keyboard, as far as it is ours: the main action is another tab's sign-in, and a reload sends it again."""
    browser.sign_in(notebook, "Notebook")
    browser.write("#note", "A long letter")
    browser.forget_cookies()
    browser.press("Keep it")
    browser.sees("Please sign in")
    assert "What you have just sent was not saved" in browser.text
    here = browser.tab
    assert browser.tab_to("Sign in in another tab") == 2
    browser.keys(Keys.ENTER)
    browser.wait("Another tab", lambda: len(browser.tabs) == 2)
    browser.go_to(next(tab for tab in browser.tabs if tab != here))
    browser.pick("mia")
    browser.sees("Stay signed in?")
    browser.press("Yes")
    browser.is_at(notebook, "Notebook")
    browser.go_to(here)
    browser.reload()
    browser.is_at(notebook, "Notebook")
    assert browser.value_of("#note") == "A long letter"

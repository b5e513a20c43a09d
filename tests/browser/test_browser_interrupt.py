"""“Stay signed in?” as people meet it: by keyboard, by double click, with the back button, in ten tabs, or left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest
from examples.demo_servers import Demo
from selenium.webdriver.common.keys import Keys
from tests.browser.browser import Browser
from tests.browser.kinds import played_in

KEPT, NOT_KEPT = "kept when the browser closes", "ends when the browser closes"
QUESTION = "Stay signed in?"
FOCUS = """
const it = document.activeElement, box = it.getBoundingClientRect(), style = getComputedStyle(it);
const within = box.top >= 0 && box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
return {
  visible: it.matches(":focus-visible") && within,
  style: style.outlineStyle,
  width: parseFloat(style.outlineWidth),
  colour: style.outlineColor.match(/\\d+/g).map(Number),
  behind: getComputedStyle(it.closest("main")).backgroundColor.match(/\\d+/g).map(Number),
}
"""


def sign_ins(demo: Demo, since: int = 0) -> list[dict[str, Any]]:
    """The Notebook's sign-in log, without the first ``since`` records."""
    command = [sys.executable, "-m", "kmsi_middleware.cli", "sign-ins", "--json"]
    command += ["--store", f"sqlite:{demo.store('starlette-app')}"]
    output = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout
    records = [json.loads(line) for line in output.splitlines()]
    records.sort(key=lambda record: record["createdDateTime"])
    return records[since:]


def codes(records: list[dict[str, Any]]) -> Counter[int]:
    return Counter(record["status"]["errorCode"] for record in records)


def decision(browser: Browser) -> str:
    return browser.text_of("dd code")


def test_by_keyboard_alone(browser: Browser, notebook: str) -> None:
    """The focus goes as one reads, the careful answer first, and is seen wherever it is, in the dark too."""
    browser.open(notebook)
    browser.sees("Sign in")
    browser.keys("mia", Keys.TAB, "mia-password")  # the first field has the focus already
    with browser.leaving():
        browser.keys(Keys.ENTER)
    browser.sees(QUESTION)
    for what in ("dont_show_again", "No", "Yes"):
        assert browser.tab_to(what) == 1
        for scheme in ("light", "dark"):
            with browser.emulating(320, scheme):
                focus = browser.js(FOCUS)
            assert focus["visible"], (what, scheme)
            assert focus["style"] == "solid", (what, scheme)
            assert focus["width"] >= 2, (what, scheme)  # WCAG 2.2, 2.4.13
            assert contrast(focus["colour"], focus["behind"]) >= 3, (what, scheme, focus)
    with browser.leaving():
        browser.keys(Keys.SPACE)
    browser.is_at(notebook, "Notebook")
    assert KEPT in browser.text
    assert decision(browser) == "answered_yes"


def test_enter_in_the_checkbox_is_the_careful_answer_and_is_remembered(browser: Browser, notebook: str) -> None:
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.tab_to("dont_show_again")
    browser.keys(Keys.SPACE)
    assert browser.is_checked("[name=dont_show_again]")
    with browser.leaving():
        browser.keys(Keys.ENTER)
    browser.is_at(notebook, "Notebook")
    assert NOT_KEPT in browser.text
    # Signed out and in again: not asked.
    browser.sign_out(notebook)
    browser.sign_in(notebook, "Notebook", answer="")
    assert NOT_KEPT in browser.text
    assert decision(browser) == "remembered_answer"
    # And that can be taken back.
    browser.open(f"{notebook}.auth/sessions")
    browser.press("Ask me again about staying signed in")
    browser.wait("What was done", lambda: "You will be asked again" in browser.text)
    browser.open(notebook)
    browser.is_at(notebook, "Notebook")
    browser.sign_out(notebook)
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)


def test_a_no_in_another_tab_holds_and_a_late_answer_is_asked_for_again(browser: Browser, notebook: str) -> None:
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    there, first = browser.url, browser.tab
    second = browser.new_tab()
    browser.open(there)
    browser.sees(QUESTION)
    browser.press("Yes")
    browser.is_at(notebook, "Notebook")
    assert KEPT in browser.text
    browser.go_to(first)
    browser.press("No")
    browser.is_at(notebook, "Notebook")
    assert NOT_KEPT in browser.text
    assert decision(browser) == "answered_no"
    # Signed out in the one tab, while the next question stands in the other.
    browser.open(f"{notebook}.auth/login?prompt=login")
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.go_to(second)
    browser.open(notebook)
    browser.press("Sign out")
    browser.is_signed_out(notebook)
    browser.go_to(first)
    browser.press("Yes")
    browser.sees("Please sign in again")
    assert "You were signed out meanwhile" in browser.text
    browser.press("Sign in")
    browser.pick("mia")
    browser.sees(QUESTION)


@played_in("chromium-blocked")
def test_a_remembered_yes_holds_until_the_sign_out(browser: Browser, notebook: str) -> None:
    again = f"{notebook}.auth/login?prompt=login"
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.click_on(browser.element(".check"))  # the words belong to the box
    browser.press("Yes")
    browser.is_at(notebook, "Notebook")
    browser.open(again)
    browser.pick("mia")
    browser.is_at(notebook, "Notebook")
    assert KEPT in browser.text
    assert decision(browser) == "remembered_answer"
    browser.sign_out(notebook)
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)


def test_a_double_click_is_one_answer(browser: Browser, demo: Demo, notebook: str) -> None:
    before = len(sign_ins(demo))
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    with browser.leaving():
        browser.click_on(browser.element("button[value=yes]"), times=2)
    browser.is_at(notebook, "Notebook")
    assert KEPT in browser.text
    assert codes(sign_ins(demo, before)) == {50140: 1, 0: 1}
    browser.reload()
    browser.is_at(notebook, "Notebook")


def test_reload_and_the_back_button_are_harmless(browser: Browser, demo: Demo, notebook: str) -> None:
    before = len(sign_ins(demo))
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.reload()
    browser.sees(QUESTION)
    browser.press("No")
    browser.is_at(notebook, "Notebook")
    answered = browser.cookies()[f"kmsi-{demo.starlette.port}"].value
    browser.back()
    browser.is_at(notebook, "Notebook")  # the question is not asked again
    browser.reload()
    browser.is_at(notebook, "Notebook")
    assert browser.cookies()[f"kmsi-{demo.starlette.port}"].value == answered
    assert codes(sign_ins(demo, before)) == {50140: 1, 0: 1}


@played_in("chromium-blocked")
def test_left_alone_there_is_no_session(browser: Browser, demo: Demo, notebook: str) -> None:
    before = len(sign_ins(demo))
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.open(f"{notebook}.auth/me")
    browser.wait("The refusal", lambda: '"no_session"' in browser.text)
    browser.open(notebook)
    browser.sees(QUESTION)  # a sign-in of its own, because there was none
    assert codes(sign_ins(demo, before)) == {50140: 2}


def contrast(one: list[int], other: list[int]) -> float:
    """WCAG 2.2's contrast ratio, of two colours in sRGB."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: list[int]) -> float:
    parts = [part / 255 for part in colour[:3]]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("moment", ["one after another", "all at the question"])
def test_ten_tabs_at_once(browser: Browser, notebook: str, moment: str) -> None:
    """Each ends at its own page; of different answers, the last holds."""
    here = browser.tab
    pages = [f"{notebook}?page={number}" for number in range(10)]
    browser.js("for (const page of arguments[0]) window.open(page, '_blank', 'noopener')", pages)
    browser.wait("Ten tabs", lambda: len(browser.tabs) == 11)
    tabs = [tab for tab in browser.tabs if tab != here]
    for tab in tabs:
        browser.go_to(tab)
        browser.pick("mia")
        if moment == "one after another" and tab == tabs[0]:
            browser.sees(QUESTION)
            browser.press("Yes")
    if moment == "all at the question":
        for number, tab in enumerate(tabs):
            browser.go_to(tab)
            browser.sees(QUESTION)
            browser.press("No" if number % 2 else "Yes")
    arrived = []
    for tab in tabs:
        browser.go_to(tab)
        browser.sees("Notebook")
        arrived.append(browser.url)
    assert sorted(arrived) == sorted(pages)
    browser.reload()
    browser.sees("Notebook")
    assert decision(browser) == ("answered_yes" if moment == "one after another" else "answered_no")
    ours = f"kmsi-{urlsplit(notebook).port}"
    assert [name for name in browser.cookies() if name.startswith(ours)] == [ours]  # one session, nothing else
    kept = [len(sent.headers.get("cookie", "")) for sent in browser.sent_to("/.auth/callback", 10)]
    assert 0 < min(kept) <= max(kept) <= 4_096


@played_in("chromium-blocked")
@pytest.mark.parametrize(
    ("user", "reason"),
    [("gus", "guest"), ("rita", "high_risk"), ("sam", "shared_device"), ("iwa", "silent")],
)
def test_who_is_not_asked(browser: Browser, notebook: str, tea: str, user: str, reason: str) -> None:
    browser.sign_in(notebook, "Notebook", user=user, answer="")
    assert NOT_KEPT in browser.text
    assert decision(browser) == reason
    browser.open(tea)
    browser.is_at(tea, "Tea counter")
    assert decision(browser) == reason


@played_in("chromium-blocked")
def test_a_consent_is_not_asked_twice_and_can_be_denied(browser: Browser, notebook: str) -> None:
    browser.open(f"{notebook}.auth/login?prompt=consent")
    browser.pick("mia")
    browser.sees("Allow access?")
    browser.press("Deny")
    browser.sees("The sign-in was not completed")
    assert "access_denied" in browser.text
    browser.press("Try again")
    browser.sees(QUESTION)  # the provider knows her by now; this time it was not asked for her consent
    browser.open(f"{notebook}.auth/login?prompt=consent")
    browser.sees("Allow access?")
    browser.press("Allow")
    browser.is_at(notebook, "Notebook")
    assert decision(browser) == "consent"
    assert NOT_KEPT in browser.text


def test_all_of_it_without_scripts(browser: Browser, notebook: str, tea: str) -> None:
    with browser.without_scripts():
        browser.sign_in(notebook, "Notebook")
        browser.open(tea)
        browser.sees(QUESTION)
        browser.press("Yes")
        browser.is_at(tea, "Tea counter")
        browser.sign_out(tea)
        browser.open(notebook)
        browser.sees("You are signed out")
        browser.press("Sign in")
        browser.sees("Sign in")

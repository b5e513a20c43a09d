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
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from tests.browser.chromium import Chromium

KEPT, NOT_KEPT = "kept when the browser closes", "ends when the browser closes"
QUESTION = "Stay signed in?"


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


def decision(browser: Chromium) -> str:
    return str(browser.element("dd code").text)


def test_by_keyboard_alone(browser: Chromium, demo: Demo, notebook: str) -> None:
    browser.open(notebook)
    browser.sees("Sign in")
    browser.keys("mia", Keys.TAB, "mia-password")  # the first field has the focus already
    with browser.leaving():
        browser.keys(Keys.ENTER)
    browser.sees(QUESTION)
    assert [browser.tab_to(what) for what in ("dont_show_again", "No", "Yes")] == [1, 1, 1]
    with browser.leaving():
        browser.keys(Keys.SPACE)
    browser.is_at(notebook, "Notebook")
    assert KEPT in browser.text
    assert decision(browser) == "answered_yes"


def test_enter_in_the_checkbox_is_the_careful_answer_and_is_remembered(browser: Chromium, notebook: str) -> None:
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.tab_to("dont_show_again")
    browser.keys(Keys.SPACE)
    assert browser.element("[name=dont_show_again]").is_selected()
    with browser.leaving():
        browser.keys(Keys.ENTER)
    browser.is_at(notebook, "Notebook")
    assert NOT_KEPT in browser.text
    # Signed out and in again: not asked.
    browser.sign_out(notebook)
    browser.sign_in(notebook, "Notebook", answer="")
    assert NOT_KEPT in browser.text
    assert decision(browser) == "remembered_answer"


def test_a_remembered_yes_holds_until_the_sign_out(browser: Chromium, notebook: str) -> None:
    again = f"{notebook}.auth/login?prompt=login"
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.element(".check").click()  # the words belong to the box
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


def test_a_double_click_is_one_answer(browser: Chromium, demo: Demo, notebook: str) -> None:
    before = len(sign_ins(demo))
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    with browser.leaving():
        ActionChains(browser.driver, duration=0).double_click(browser.element("button[value=yes]")).perform()
    browser.is_at(notebook, "Notebook")
    assert KEPT in browser.text
    assert codes(sign_ins(demo, before)) == {50140: 1, 0: 1}
    browser.reload()
    browser.is_at(notebook, "Notebook")


def test_reload_and_the_back_button_are_harmless(browser: Chromium, demo: Demo, notebook: str) -> None:
    before = len(sign_ins(demo))
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.reload()
    browser.sees(QUESTION)
    browser.press("No")
    browser.is_at(notebook, "Notebook")
    answered = browser.cookies()[f"kmsi-{demo.starlette.port}"]["value"]
    browser.back()
    browser.is_at(notebook, "Notebook")  # the question is not asked again
    browser.reload()
    browser.is_at(notebook, "Notebook")
    assert browser.cookies()[f"kmsi-{demo.starlette.port}"]["value"] == answered
    assert codes(sign_ins(demo, before)) == {50140: 1, 0: 1}


def test_left_alone_there_is_no_session(browser: Chromium, demo: Demo, notebook: str) -> None:
    before = len(sign_ins(demo))
    browser.open(notebook)
    browser.pick("mia")
    browser.sees(QUESTION)
    browser.open(f"{notebook}.auth/me")
    browser.wait("The refusal", lambda: '"no_session"' in browser.text)
    browser.open(notebook)
    browser.sees(QUESTION)  # a sign-in of its own, because there was none
    assert codes(sign_ins(demo, before)) == {50140: 2}


@pytest.mark.parametrize("moment", ["one after another", "all at the question"])
def test_ten_tabs_at_once(browser: Chromium, notebook: str, moment: str) -> None:
    """Each ends at its own page; of different answers, the last holds."""
    driver = browser.driver
    here = driver.current_window_handle
    pages = [f"{notebook}?page={number}" for number in range(10)]
    browser.js("for (const page of arguments[0]) window.open(page, '_blank', 'noopener')", pages)
    browser.wait("Ten tabs", lambda: len(driver.window_handles) == 11)
    tabs = [handle for handle in driver.window_handles if handle != here]
    for tab in tabs:
        driver.switch_to.window(tab)
        browser.pick("mia")
        if moment == "one after another" and tab == tabs[0]:
            browser.sees(QUESTION)
            browser.press("Yes")
    if moment == "all at the question":
        for number, tab in enumerate(tabs):
            driver.switch_to.window(tab)
            browser.sees(QUESTION)
            browser.press("No" if number % 2 else "Yes")
    arrived = []
    for tab in tabs:
        driver.switch_to.window(tab)
        browser.sees("Notebook")
        arrived.append(browser.url)
    assert sorted(arrived) == sorted(pages)
    browser.reload()
    browser.sees("Notebook")
    assert decision(browser) == ("answered_yes" if moment == "one after another" else "answered_no")
    ours = f"kmsi-{urlsplit(notebook).port}"
    assert [name for name in browser.cookies() if name.startswith(ours)] == [ours]  # one session, nothing else
    assert all(len(fetched.sent.get("cookie", "")) <= 4_096 for fetched in browser.fetched)


@pytest.mark.parametrize(
    ("user", "reason"),
    [("gus", "guest"), ("rita", "high_risk"), ("sam", "shared_device"), ("iwa", "silent")],
)
def test_who_is_not_asked(browser: Chromium, notebook: str, tea: str, user: str, reason: str) -> None:
    browser.sign_in(notebook, "Notebook", user=user, answer="")
    assert NOT_KEPT in browser.text
    assert decision(browser) == reason
    browser.open(tea)
    browser.is_at(tea, "Tea counter")
    assert decision(browser) == reason


def test_a_consent_is_not_asked_twice_and_can_be_denied(browser: Chromium, notebook: str) -> None:
    browser.open(f"{notebook}.auth/login?prompt=consent")
    browser.pick("mia")
    browser.sees("Allow access?")
    browser.press("Deny")
    browser.sees("Sign-in was cancelled")
    assert "access_denied" in browser.text
    browser.press("Try again")
    browser.sees(QUESTION)  # the provider knows her by now; this time it was not asked for her consent
    browser.open(f"{notebook}.auth/login?prompt=consent")
    browser.sees("Allow access?")
    browser.press("Allow")
    browser.is_at(notebook, "Notebook")
    assert decision(browser) == "consent"
    assert NOT_KEPT in browser.text


def test_all_of_it_without_scripts(browser: Chromium, notebook: str, tea: str) -> None:
    browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
    try:
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
    finally:
        browser.cdp("Emulation.setScriptExecutionDisabled", value=False)

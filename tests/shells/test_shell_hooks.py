"""A ``sign_in_signals`` hook that fails: nobody is let in, the person is told what to do, and the app's developers
find out why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.shells.shell_support import Browser, Page, World, query_of

from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.signals import SignInFacts, SignInSignals


def raises(facts: SignInFacts) -> SignInSignals:
    raise ZeroDivisionError("the risk service is away")


def runs_into_a_timeout(facts: SignInFacts) -> SignInSignals:
    raise TimeoutError


def misspells_a_keyword(facts: SignInFacts) -> SignInSignals:
    return SignInSignals(gest=True)  # type: ignore[call-arg]


HOOKS: dict[str, tuple[Callable[[SignInFacts], Any], str]] = {
    "raises": (raises, "ZeroDivisionError: the risk service is away"),
    "times out": (runs_into_a_timeout, "TimeoutError"),
    "raises in our own class": (misspells_a_keyword, "TypeError: "),
    "misspelt": (lambda _: {"gest": True}, "KMSIError: sign_in_signals must return SignInSignals"),
    "one of two misspelt": (lambda _: {"risk": "low", "shareddevice": True}, "KMSIError: sign_in_signals must return"),
    "text": (lambda _: "low", "KMSIError: sign_in_signals must return"),
    "list": (lambda _: ["risk"], "KMSIError: sign_in_signals must return"),
    "true": (lambda _: True, "KMSIError: sign_in_signals must return"),
    "zero": (lambda _: 0, "KMSIError: sign_in_signals must return"),
    "the class": (lambda _: SignInSignals, "KMSIError: sign_in_signals must return"),
    "no such risk": (lambda _: {"risk": "High"}, "KMSIError: sign_in_signals: risk must be none"),
    "risk as a number": (lambda _: SignInSignals(risk=3), "KMSIError: sign_in_signals: risk must be none"),  # type: ignore[arg-type]
    "guest as a text": (lambda _: {"guest": "no"}, "KMSIError: sign_in_signals: guest must be True"),
    "consent as a list": (lambda _: {"consent": []}, "KMSIError: sign_in_signals: consent must be True"),
}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_fails_lets_nobody_in_and_says_so(
    world: World, browser: Browser, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    hook, why = HOOKS[name]
    app = world.app(sign_in_signals=hook)
    page = browser.submit(browser.visit("/orders?page=2"), pick="mia")
    assert page.status == 500
    assert page.header("content-type").startswith("text/html")
    assert page.header("cache-control") == "no-store"
    assert page.header("location") == ""

    (record,) = app.parts.services.log.read(now=world.clock.now)
    assert record["kmsi"]["code"] == "signals_failed"
    assert record["status"]["errorCode"] not in (0, 50140)
    assert (record["userId"], record["userPrincipalName"]) == ("", "")
    assert record["status"]["failureReason"] == "the app could not judge this sign-in"

    for shown in ("signals_failed", record["correlationId"], "Try again", "The app could not judge this sign-in."):
        assert shown in page.text
    (retry,) = (link for link in Page(page.text).links if "/.auth/login" in link)
    assert query_of(retry)["post_login_redirect_uri"] == "/orders?page=2"

    assert browser.names() == [], "neither a session nor a sign-in under way"
    assert browser.who() is None
    assert app.small.calls == []

    (logged,) = (entry for entry in caplog.records if entry.message == "sign_in_signals failed")
    assert (logged.name, logged.levelno) == ("kmsi_middleware", logging.ERROR)
    assert logged.exc_info is not None
    assert why in caplog.text
    assert 'File "' in caplog.text
    assert "away" not in page.text, "what went wrong is nobody's business but the developers'"
    assert why not in page.text


def test_try_again_signs_in_once_the_hook_works(world: World, browser: Browser) -> None:
    answers: list[Any] = [{"gest": True}, {"guest": True}]
    app = world.app(sign_in_signals=lambda _: answers.pop(0))
    page = browser.submit(browser.visit("/orders"), pick="mia")
    assert page.status == 500
    (retry,) = (link for link in Page(page.text).links if "/.auth/login" in link)
    page = browser.click(retry, page)
    if "pick" in Page(page.text).buttons:
        page = browser.submit(page, pick="mia")
    assert page.json()["kmsi"] == {"name": "Mia Member", "persistent": False}
    assert page.json()["path"] == "/orders"
    codes = [record["kmsi"]["code"] for record in app.parts.services.log.read(now=world.clock.now)]
    assert codes == ["", "signals_failed"]


def test_the_failed_sign_ins_code_can_not_be_used_again(world: World, browser: Browser) -> None:
    asked: list[SignInFacts] = []

    def hook(facts: SignInFacts) -> None:
        asked.append(facts)
        raises(facts)

    world.app(sign_in_signals=hook)
    page = browser.submit(browser.visit("/orders"), pick="mia")
    again = browser.visit(page.url, source=page.url)
    assert (again.status, "signals_failed" in again.text) == (500, True), "a reload says the same"
    assert len(asked) == 1
    assert browser.who() is None


def test_a_hook_that_fails_disturbs_no_session_that_there_is(world: World, browser: Browser) -> None:
    works = True

    def hook(facts: SignInFacts) -> Any:
        return None if works else {"gest": True}

    world.app(sign_in_signals=hook)
    browser.sign_in("mia")
    works = False
    page = browser.visit(
        "/.auth/login?prompt=select_account&post_login_redirect_uri=/orders", source="http://localhost:8000/"
    )
    page = browser.submit(page, pick="gus")
    assert page.status == 500
    assert "signals_failed" in page.text
    assert browser.who() == "Mia Member"


@pytest.mark.parametrize("answer", [None, {}, {"risk": None}, SignInSignals(), {"guest": False, "risk": "none"}])
def test_a_hook_that_knows_nothing_changes_nothing(world: World, browser: Browser, answer: Any) -> None:
    world.app(sign_in_signals=lambda _: answer)
    assert browser.sign_in("mia").json()["kmsi"] == {"name": "Mia Member", "persistent": True}


async def raises_later(facts: SignInFacts) -> SignInSignals:
    return raises(facts)


async def misspelt_later(facts: SignInFacts) -> Any:
    return {"gest": True}


class Object:
    async def __call__(self, facts: SignInFacts) -> SignInSignals:
        return raises(facts)


@pytest.mark.parametrize("hook", [raises_later, misspelt_later, Object(), lambda facts: raises_later(facts)])
def test_an_async_hook_that_fails_is_told_in_the_same_way(
    asgi_world: World, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = asgi_world.app(sign_in_signals=hook)
    browser = asgi_world.browser()
    page = browser.submit(browser.visit("/orders"), pick="mia")
    assert page.status == 500
    (record,) = app.parts.services.log.read(now=asgi_world.clock.now)
    assert record["kmsi"]["code"] == "signals_failed"
    assert record["correlationId"] in page.text
    assert browser.who() is None
    (logged,) = (entry for entry in caplog.records if entry.message == "sign_in_signals failed")
    assert logged.exc_info is not None


@pytest.mark.parametrize("hook", [raises_later, Object()])
def test_the_risk_of_a_session_is_not_asked_for_asynchronously(world: World, hook: Any) -> None:
    with pytest.raises(SettingsError, match=r"current_risk.*give a plain, quick function"):
        world.app(current_risk=hook)

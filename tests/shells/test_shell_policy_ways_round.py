"""Ways round a policy that must not exist, and loops that must not come about."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.shells.shell_support import DAY, HOME, HOUR, MINUTE, Answer, Browser, Page, World
from tests.shells.test_shell_policies import BLOCK, HOURLY, NEVER, PAYMENTS, asked, code, every, policy

MFA = {"operator": "OR", "builtInControls": ["mfa"]}
CONTEXTS = {"/payments/*": "c1"}


def deaf_provider(world: World, **settings: Any) -> None:
    """A provider that knows nothing of contexts and second factors."""
    world.provider(HOME)
    idp = world._provider
    assert idp is not None
    idp.config = idp.config.with_app(replace(idp.config.app(HOME), step_up=False))
    world.client(HOME, **settings)


def with_code(browser: Browser, page: Answer) -> Answer:
    """Password, code, answer."""
    page = browser.submit(browser.submit(page, pick="mia"), code="100001")
    return browser.submit(page, answer="yes") if "answer" in Page(page.text).buttons else page


# Every time means a sign-in, not a redirect ------------------------------------------------------------------------


def test_a_silent_sign_in_is_no_fresh_one(world: World, browser: Browser) -> None:
    world.app(policies=[PAYMENTS], auth_contexts=CONTEXTS)
    browser.sign_in("mia", "yes")
    world.clock.pass_(5 * HOUR)
    for name in [name for name in browser.jar if "idp" not in str(name)]:
        del browser.jar[name]  # the app's session is lost, the provider's lives
    assert asked(browser.visit("/payments/1"))


@pytest.mark.parametrize("prompt", ["none", "consent"])
def test_a_sign_in_that_is_asked_for_by_hand_is_no_way_round(world: World, browser: Browser, prompt: str) -> None:
    world.app(policies=[PAYMENTS], auth_contexts=CONTEXTS)
    browser.sign_in("mia", "yes")
    world.clock.pass_(5 * HOUR)
    browser.visit(f"/.auth/login?prompt={prompt}", source=f"{HOME}/")
    assert browser.fetch("/payments/1").status == 401


@pytest.mark.parametrize("step_up", ["acr_values", "claims"])
def test_a_context_that_the_provider_confirms_is_reached_and_no_other(
    world: World, browser: Browser, step_up: str
) -> None:
    world.app(policies=[PAYMENTS], auth_contexts=CONTEXTS, step_up=step_up)
    browser.sign_in("mia", "yes")
    page = with_code(browser, browser.visit("/payments/1"))
    assert page.url == f"{HOME}/payments/1"
    assert browser.fetch("/payments/1").status == 200


@pytest.mark.parametrize("step_up", ["acr_values", "claims"])
def test_a_context_that_the_provider_does_not_confirm_ends_on_a_page(
    world: World, browser: Browser, step_up: str
) -> None:
    deaf_provider(world, policies=[PAYMENTS], auth_contexts=CONTEXTS, step_up=step_up)
    browser.sign_in("mia", "yes")
    page = browser.visit("/payments/1")
    assert page.status == 403
    assert "step_up_failed" in page.text


# What is wanting altogether is no matter of time -------------------------------------------------------------------


def test_a_second_factor_that_was_never_shown_has_no_grace(world: World, browser: Browser, tmp_path: Any) -> None:
    file = tmp_path / "policies.json"
    file.write_text("[]")
    world.app(policies=str(file))
    browser.sign_in("mia", "yes")
    weekly = every(12, authenticationType="secondaryAuthentication")
    file.write_text(json.dumps([policy("Second factor", signInFrequency=weekly)]))
    world.clock.pass_(2)
    assert browser.fetch("/page").status == 401
    page = with_code(browser, browser.visit("/page"))
    assert page.url == f"{HOME}/page"
    assert browser.fetch("/page").status == 200


@pytest.mark.parametrize("deaf", [False, True])
def test_a_policy_that_arrives_asks_a_live_session_once_and_never_in_a_loop(
    world: World, browser: Browser, tmp_path: Any, deaf: bool
) -> None:
    file = tmp_path / "policies.json"
    file.write_text("[]")
    if deaf:
        deaf_provider(world, policies=str(file))
    else:
        world.app(policies=str(file))
    browser.sign_in("mia", "yes")
    file.write_text(json.dumps([policy("Two", grant=MFA)]))
    world.clock.pass_(2)
    page = browser.visit("/page")
    if deaf:
        assert page.status == 403
        assert "second_factor_missing" in page.text
    else:
        assert with_code(browser, page).url == f"{HOME}/page"
        assert browser.visit("/page").status == 200


def test_a_risk_that_only_the_current_one_tells_counts_at_the_sign_in_too(world: World, browser: Browser) -> None:
    risk = {"now": "none"}
    risky = policy("Risky", conditions={"signInRiskLevels": ["high"]}, grant=BLOCK)
    world.app(policies=[risky], current_risk=lambda _: {"risk": risk["now"]})
    browser.sign_in("mia", "yes")
    assert browser.visit("/page").status == 200
    browser.sign_out()
    risk["now"] = "high"
    assert browser.sign_in("mia", None).status == 403


def test_a_risk_that_changes_in_the_middle_of_a_request_is_not_taken_for_the_old_one(
    world: World, browser: Browser
) -> None:
    answers = iter(["none"] * 6 + ["high"] * 50)
    risky = policy("Risky", conditions={"signInRiskLevels": ["high"]}, grant=BLOCK)
    world.app(
        policies=[risky], sign_in_signals=lambda _: {"risk": "none"}, current_risk=lambda _: {"risk": next(answers)}
    )
    browser.sign_in("mia", "yes")
    for _ in range(8):
        last = browser.visit("/page").status
    assert last == 403


# A new password ----------------------------------------------------------------------------------------------------


def password_app(world: World, known: dict[str, Any]) -> None:
    wanted = policy(
        "Risky users",
        conditions={"userRiskLevels": ["high"]},
        grant={"operator": "AND", "builtInControls": ["mfa", "passwordChange"]},
    )
    world.app(
        policies=[wanted],
        public_paths=["/password"],
        password_change_url=f"{HOME}/password",
        sign_in_signals=lambda _: dict(known),
        current_risk=lambda _: {"user_risk": known["user_risk"]},
    )


def test_the_second_factor_comes_before_the_new_password(world: World, browser: Browser) -> None:
    password_app(world, {"user_risk": "high"})
    page = browser.submit(browser.visit("/page"), pick="mia")
    assert asked(page)
    page = with_code(browser, page)
    assert f"{HOME}/password" in Page(page.text).links


def test_who_signs_in_with_the_old_password_is_told_so_and_has_both_ways_again(world: World, browser: Browser) -> None:
    """It may have been changed only after that sign-in, or the provider is slow to tell."""
    known: dict[str, Any] = {"user_risk": "high", "second_factor": True}
    password_app(world, known)
    page = browser.sign_in("mia", "yes", at="/page")
    assert "still the old one" not in page.text
    world.clock.pass_(60)
    page = browser.submit(browser.click(Page(page.text).links[0], page), pick="mia")
    assert page.status == 403
    assert "still the old one" in page.text
    world.clock.pass_(60)
    known["password_changed_at"] = int(world.clock.now)
    sign_in, there = Page(page.text).links
    assert there == f"{HOME}/password"
    page = browser.submit(browser.click(sign_in, page), pick="mia")
    assert (page.status, page.url) == (200, f"{HOME}/page")


def test_a_new_rise_of_the_risk_demands_a_new_password(world: World, browser: Browser) -> None:
    known: dict[str, Any] = {"user_risk": "high", "second_factor": True}
    password_app(world, known)
    browser.sign_in("mia", "yes")
    world.clock.pass_(60)
    known["password_changed_at"] = int(world.clock.now)
    page = browser.visit("/page")
    browser.submit(browser.click(Page(page.text).links[0], page), pick="mia")
    assert browser.visit("/page").status == 200
    known["user_risk"] = "none"
    assert browser.visit("/page").status == 200
    world.clock.pass_(DAY // 2)
    known["user_risk"] = "high"
    assert f"{HOME}/password" in Page(browser.visit("/page").text).links


# Cookies, public paths, forms, links -------------------------------------------------------------------------------


def test_a_cookie_is_narrowed_whatever_the_first_answer_is(world: World, browser: Browser, tmp_path: Any) -> None:
    file = tmp_path / "policies.json"
    file.write_text("[]")
    world.app(policies=str(file), auth_contexts=CONTEXTS)
    browser.sign_in("mia", "yes")
    world.clock.pass_(6 * MINUTE)
    file.write_text(json.dumps([NEVER, PAYMENTS]))
    assert browser.fetch("/payments/1").status == 401
    cookie = browser.session_cookie()
    assert cookie is not None
    assert cookie.until is None


def test_a_context_holds_on_a_public_path(world: World, browser: Browser) -> None:
    world.app(policies=[PAYMENTS], auth_contexts={"/shop/pay": "c1"}, public_paths=["/shop/*"])
    browser.sign_in("mia", "yes")
    world.clock.pass_(6 * MINUTE)
    assert browser.fetch("/shop/x").status == 200
    assert browser.fetch("/shop/pay").status == 401


def test_whom_a_policy_keeps_out_is_nobody_on_a_public_path(world: World, browser: Browser, tmp_path: Any) -> None:
    file = tmp_path / "policies.json"
    file.write_text("[]")
    world.app(policies=str(file), public_paths=["/about"])
    browser.sign_in("mia", "yes")
    assert browser.fetch("/about").json()["kmsi"] is not None
    file.write_text(json.dumps([policy("Out", grant=BLOCK)]))
    world.clock.pass_(1)
    assert browser.fetch("/about").json()["kmsi"] is None


def test_a_posted_form_is_the_person_and_not_the_background(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY])
    browser.sign_in("mia", "yes")
    world.clock.pass_(HOUR)
    page = browser.post("/page", {"x": "1"}, source=f"{HOME}/")
    assert page.status == 401
    assert page.header("content-type").startswith("text/html")


def test_the_link_in_a_refusal_leads_to_the_sign_in_that_is_wanted(world: World, browser: Browser) -> None:
    world.app(policies=[PAYMENTS], auth_contexts=CONTEXTS)
    browser.sign_in("mia", "yes")
    world.clock.pass_(6 * MINUTE)
    refused = browser.fetch("/payments/1")
    assert code(refused) == "insufficient_user_authentication"
    page = browser.visit(refused.json()["login_url"], source=f"{HOME}/")
    assert asked(page)
    browser.submit(page, pick="mia")
    assert browser.fetch("/payments/1").status == 200


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_a_fresh_sign_in_keeps_the_answer_that_was_given_before(world: World, browser: Browser, answer: str) -> None:
    world.app(policies=[HOURLY])
    browser.sign_in("mia", answer)
    world.clock.pass_(HOUR)
    browser.sign_in("mia", None)  # nobody is asked once more
    cookie = browser.session_cookie()
    assert cookie is not None
    assert (cookie.until is not None) is (answer == "yes")


def test_another_person_at_the_fresh_sign_in_is_asked_for_themselves(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY])
    browser.sign_in("mia", "yes")
    world.clock.pass_(HOUR)
    page = browser.submit(browser.visit("/page"), pick="carl")
    assert "answer" in Page(page.text).buttons

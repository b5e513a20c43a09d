"""Conditional Access in earnest, through both shells: the examples of the seed, and what policies do to sessions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.shells.shell_support import DAY, HOME, HOUR, MINUTE, Answer, Browser, Page, World

EVERYONE: dict[str, Any] = {
    "users": {"includeUsers": ["All"]},
    "applications": {"includeApplications": ["All"]},
    "clientAppTypes": ["all"],
}


def policy(name: str, *, state: str = "enabled", conditions: Any = None, grant: Any = None, **session: Any) -> Any:
    """A policy in Graph's JSON."""
    return {
        "displayName": name,
        "state": state,
        "conditions": EVERYONE | (conditions or {}),
        "grantControls": grant,
        "sessionControls": session or None,
    }


def every(hours: int | None, **more: Any) -> dict[str, Any]:
    """A sign-in frequency; ``None``: every time."""
    if hours is None:
        return {"isEnabled": True, "frequencyInterval": "everyTime"} | more
    return {"isEnabled": True, "frequencyInterval": "timeBased", "value": hours, "type": "hours"} | more


HOURLY = policy("Hourly", signInFrequency=every(1))
PAYMENTS = policy(
    "Payments",
    conditions={"applications": {"includeAuthenticationContextClassReferences": ["c1"]}},
    signInFrequency=every(None),
)
BLOCK = {"operator": "OR", "builtInControls": ["block"]}
NEVER = policy("Never", persistentBrowser={"isEnabled": True, "mode": "never"})
ALWAYS = policy("Always", persistentBrowser={"isEnabled": True, "mode": "always"})


def asked(answer: Answer) -> bool:
    """Whether the provider asks for the password."""
    return "pick" in Page(answer.text).buttons


def code(answer: Answer) -> str:
    return str(json.loads(answer.text)["code"])


def records(world: World) -> list[Any]:
    """The sign-in log, newest first."""
    return list(world._last.services.log.read(now=world.clock.now))


# Sign-in frequency ---------------------------------------------------------------------------------------------


def test_example_1_after_an_hour_of_work_one_signs_in_again(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY])
    browser.sign_in("mia", "yes")
    world.clock.pass_(HOUR - 1)
    assert browser.visit("/page").status == 200
    world.clock.pass_(1)
    assert asked(browser.visit("/page"))


def test_after_the_fresh_sign_in_one_is_back_at_the_page_with_ones_data(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY])
    browser.sign_in("mia", "yes", at="/set?n=1")
    world.clock.pass_(HOUR)
    page = browser.sign_in("mia", None, at="/page?x=1")
    assert page.url == f"{HOME}/page?x=1"
    assert json.loads(page.text)["data"] == {"n": "1"}
    world.clock.pass_(HOUR - 1)
    assert browser.visit("/page").status == 200


def test_no_loop_where_a_path_in_base_url_is_not_stripped(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY])
    browser.sign_in("mia", "yes")
    world.clock.pass_(HOUR)
    page = browser.visit("/portal/.auth/callback?code=x&state=y")
    assert page.status == 421
    assert "base_url_mismatch" in page.text


def test_example_2_the_background_goes_on_until_the_person_comes_back(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY])
    browser.sign_in("mia", "yes")
    for _ in range(16):  # an upload, every ten minutes up to 02:40
        world.clock.pass_(10 * MINUTE)
        assert browser.fetch("/page").status == 200
    world.clock.pass_(5 * MINUTE)
    assert asked(browser.visit("/page"))
    refused = browser.fetch("/page")
    assert refused.status == 401
    assert code(refused) == "sign_in_frequency"
    assert "insufficient_user_authentication" in refused.header("www-authenticate")


def test_the_background_does_not_go_on_for_ever(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY], background_grace=600)
    browser.sign_in("mia", "yes")
    world.clock.pass_(HOUR + 599)
    assert browser.fetch("/page").status == 200
    world.clock.pass_(1)
    assert browser.fetch("/page").status == 401


def test_who_signed_in_a_moment_ago_is_not_asked_again_by_another_policy(world: World, browser: Browser) -> None:
    world.app(policies=[HOURLY, PAYMENTS], auth_contexts={"/payments/*": "c1"})
    browser.sign_in("mia", "yes", at="/payments/1")
    world.clock.pass_(5 * MINUTE - 1)
    assert browser.visit("/payments/2").status == 200
    world.clock.pass_(1)
    assert asked(browser.visit("/payments/2"))


# Every time, for what matters ----------------------------------------------------------------------------------


def test_a_route_with_a_context_asks_for_a_fresh_sign_in_and_no_other_does(world: World, browser: Browser) -> None:
    world.app(policies=[PAYMENTS], auth_contexts={"/payments/*": "c1"})
    browser.sign_in("mia", "yes")
    world.clock.pass_(6 * MINUTE)
    for _ in range(2):  # in turns, on the fast path too
        assert browser.visit("/page").status == 200
        refused = browser.fetch("/payments/1")
        assert (refused.status, code(refused)) == (401, "insufficient_user_authentication")
        assert 'acr_values="c1"' in refused.header("www-authenticate")
    assert "This needs a fresh sign-in." in browser.post("/payments/1", {}).text
    page = browser.sign_in("mia", None, at="/payments/1?sum=5")
    assert page.url == f"{HOME}/payments/1?sum=5"
    assert browser.fetch("/payments/1").status == 200


@pytest.mark.parametrize("path", ["/payments", "/payments/", "/payments//1", "/x/../payments/1"])
def test_no_spelling_of_the_path_goes_round_it(world: World, browser: Browser, path: str) -> None:
    world.app(policies=[PAYMENTS], auth_contexts={"/payments/*": "c1"})
    browser.sign_in("mia", "yes")
    world.clock.pass_(6 * MINUTE)
    assert browser.fetch(path).status == 401


# Persistent browser session ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policies", "persistent"), [([NEVER], False), ([ALWAYS], True), ([ALWAYS, NEVER], False)])
def test_a_policy_decides_on_persistence_and_nobody_is_asked(
    world: World, browser: Browser, policies: Any, persistent: bool
) -> None:
    world.app(policies=policies)
    browser.sign_in("mia", None)
    cookie = browser.session_cookie()
    assert cookie is not None
    assert (cookie.until is not None) is persistent
    assert records(world)[0]["kmsi"]["decision"] == "policy"


def test_a_new_never_reaches_a_live_persistent_session_at_once(world: World, browser: Browser, tmp_path: Any) -> None:
    file = tmp_path / "policies.json"
    file.write_text("[]")
    world.app(policies=str(file))
    browser.sign_in("mia", "yes")
    assert browser.visit("/page").cookies == []
    file.write_text(json.dumps([NEVER]))
    world.clock.pass_(2)
    assert browser.visit("/page").status == 200
    cookie = browser.session_cookie()
    assert cookie is not None
    assert cookie.until is None
    file.write_text(json.dumps([ALWAYS]))
    world.clock.pass_(2)
    assert browser.visit("/page").status == 200
    cookie = browser.session_cookie()
    assert cookie is not None
    assert cookie.until is None, "nothing is widened without a sign-in"


# Block, grants, and live sessions --------------------------------------------------------------------------------


def test_a_blocked_sign_in_ends_on_a_page_and_in_the_log(world: World, browser: Browser) -> None:
    world.app(policies=[policy("Out", grant=BLOCK)])
    page = browser.sign_in("mia", None)
    assert page.status == 403
    assert "blocked_by_policy" in page.text
    assert browser.who() is None
    record = records(world)[0]
    assert record["status"]["errorCode"] == 53003
    assert record["conditionalAccessStatus"] == "failure"
    assert record["userPrincipalName"] == "mia@contoso.example"
    assert "<bdi>Mia Member (mia<wbr>@contoso.example)</bdi>" in page.text
    assert record["correlationId"] in page.text
    again = browser.visit(page.url)  # a reload says the same, but for the name
    assert (again.status, "blocked_by_policy" in again.text, "Mia" in again.text) == (403, True, False)


@pytest.mark.parametrize("control", ["block", "compliantDevice", "domainJoinedDevice"])
def test_whom_a_policy_refuses_may_use_another_account(world: World, browser: Browser, control: str) -> None:
    """The provider would sign the same person in again, silently, and the same policy would refuse them."""
    grant = {"operator": "OR", "builtInControls": [control]}
    but_eve = {"users": {"includeUsers": ["All"], "excludeUsers": [EVE]}}
    world.app(policies=[policy("Only Eve", conditions=but_eve, grant=grant)])
    page = browser.sign_in("mia", None, at="/page?x=1")
    assert page.status == 403
    again, other = Page(page.text).links
    assert browser.click(again, page).status == 403
    page = browser.submit(browser.submit(browser.click(other, page), pick="eve"), answer="no")
    assert page.url == f"{HOME}/page?x=1"
    assert browser.who() == "Eve Emergency"


EVE = "6b1f0a52-2c1e-4f0a-9d55-0f4b7c1a0911"
NO_MACS = policy("No Macs", conditions={"platforms": {"includePlatforms": ["macOS"]}}, grant=BLOCK)
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.1 Safari/605.1.15"


def test_whom_a_policy_keeps_from_going_on_checks_again_or_signs_out(world: World, browser: Browser) -> None:
    world.app(policies=[NO_MACS])
    browser.user_agent = LINUX
    browser.sign_in("mia", "yes")
    browser.user_agent = MAC
    page = browser.visit("/page?x=1")
    assert page.status == 403
    correlation_id = records(world)[0]["correlationId"]
    for shown in ("You can’t go on just now", "(No Macs)", "Mia Member (mia<wbr>@contoso.example)", correlation_id):
        assert shown in page.text
    home, again = Page(page.text).links
    assert (home, again) == ("/", "/page?x=1")
    assert browser.click(again, page).status == 403
    browser.user_agent = LINUX
    assert browser.click(again, page).status == 200
    browser.finish(browser.submit(page))
    assert asked(browser.visit("/page"))


def test_at_the_start_page_and_after_a_form_no_way_leads_to_where_one_is_kept_from(
    world: World, browser: Browser
) -> None:
    world.app(policies=[NO_MACS])
    browser.user_agent = LINUX
    browser.sign_in("mia", "yes")
    browser.user_agent = MAC
    assert Page(browser.visit("/").text).links == ["/"]
    sent = browser.post("/page", {"note": "long"})
    assert sent.status == 403
    assert "What you have just sent was not saved." in sent.text
    assert Page(sent.text).links == ["/"]
    refused = json.loads(browser.fetch("/page").text)
    assert refused["code"] == "blocked_by_policy"
    assert "login_url" not in refused


def test_a_file_that_blocks_reaches_a_session_that_passes_by_the_fast_path(
    world: World, browser: Browser, tmp_path: Any
) -> None:
    file = tmp_path / "policies.json"
    file.write_text(json.dumps([policy("Out", state="disabled", grant=BLOCK)]))
    world.app(policies=str(file))
    browser.sign_in("mia", "yes")
    for _ in range(3):
        assert browser.visit("/page").status == 200
    file.write_text(json.dumps([policy("Out", grant=BLOCK)]))
    world.clock.pass_(1)
    assert browser.visit("/page").status == 403
    file.write_text("{ broken")
    world.clock.pass_(1)
    assert browser.visit("/page").status == 403, "a broken file keeps the last good one"
    file.write_text("[]")
    world.clock.pass_(1)
    assert browser.visit("/page").status == 200, "and nobody was signed out"


def test_another_address_is_judged_anew(world: World, browser: Browser) -> None:
    office = {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "office",
        "displayName": "Office",
        "isTrusted": True,
        "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "127.0.0.0/8"}],
    }
    outside = {"locations": {"includeLocations": ["All"], "excludeLocations": ["AllTrusted"]}}
    world.app(policies=[office, policy("Inside", conditions=outside, grant=BLOCK)])
    browser.sign_in("mia", "yes")
    for _ in range(2):
        browser.address = "127.0.0.1"
        assert browser.visit("/page").status == 200
        assert browser.visit("/page").status == 200
        browser.address = "203.0.113.9"
        assert browser.visit("/page").status == 403


def test_a_risk_that_rises_is_judged_at_the_next_request(world: World, browser: Browser) -> None:
    risk = {"now": "none"}
    risky = policy("Risky", conditions={"signInRiskLevels": ["high"]}, grant=BLOCK)
    world.app(
        policies=[risky], sign_in_signals=lambda _: {"risk": "none"}, current_risk=lambda _: {"risk": risk["now"]}
    )
    browser.sign_in("mia", "yes")
    assert [browser.visit("/page").status for _ in range(3)] == [200, 200, 200]
    risk["now"] = "high"
    assert browser.visit("/page").status == 403
    risk["now"] = "low"
    assert browser.visit("/page").status == 200


def test_a_second_factor_that_the_provider_does_not_show_ends_on_a_page_never_in_a_loop(
    world: World, browser: Browser
) -> None:
    world.provider(HOME)
    provider = world._provider
    assert provider is not None
    deaf = replace(provider.config.app(HOME), step_up=False)  # a provider that knows nothing of what is asked
    provider.config = provider.config.with_app(deaf)
    world.client(HOME, policies=[policy("Two", grant={"operator": "OR", "builtInControls": ["mfa"]})])
    page = browser.sign_in("mia", None)
    assert page.status == 403
    assert "second_factor_missing" in page.text
    assert browser.who() is None


def test_a_second_factor_is_asked_for_and_shown(world: World, browser: Browser) -> None:
    world.app(policies=[policy("Two", grant={"operator": "OR", "builtInControls": ["mfa"]})])
    page = browser.submit(browser.visit("/page"), pick="mia")
    assert asked(page), "who signs in is known only now, and with that the policy"
    page = browser.submit(page, pick="mia")
    page = browser.submit(browser.submit(page, code="100001"), answer="yes")
    assert page.url == f"{HOME}/page"
    assert browser.who() == "Mia Member"


def test_a_second_factor_that_the_hook_vouches_for_will_do(world: World, browser: Browser) -> None:
    two = policy("Two", grant={"operator": "OR", "builtInControls": ["mfa"]})
    world.app(policies=[two], sign_in_signals=lambda _: {"second_factor": True})
    browser.sign_in("mia", "yes")
    assert browser.who() == "Mia Member"


def test_a_device_that_is_not_compliant_stays_out_and_one_that_is_comes_in(world: World, browser: Browser) -> None:
    device = {"isCompliant": False}
    wanted = policy("Compliant", grant={"operator": "OR", "builtInControls": ["compliantDevice"]})
    world.app(policies=[wanted], sign_in_signals=lambda _: {"device": dict(device)})
    assert browser.sign_in("mia", None).status == 403
    device["isCompliant"] = True
    browser.sign_in("mia", "yes")
    assert browser.who() == "Mia Member"


def test_a_new_password_is_demanded_then_a_fresh_sign_in_and_then_one_is_in(world: World, browser: Browser) -> None:
    changed: dict[str, int] = {}
    wanted = policy(
        "Risky users",
        conditions={"userRiskLevels": ["high"]},
        grant={"operator": "AND", "builtInControls": ["mfa", "passwordChange"]},
        signInFrequency=every(None),
    )
    world.app(
        policies=[wanted],
        password_change_url=f"{HOME}/password",
        public_paths=["/password"],
        sign_in_signals=lambda _: {"user_risk": "high", "second_factor": True, **changed},
    )
    browser.sign_in("mia", "yes")
    refused = browser.fetch("/page")
    assert (refused.status, code(refused)) == (401, "password_change_required")
    told = browser.post("/page", {})
    assert told.status == 401
    assert "Please change your password" in told.text
    assert records(world)[0]["correlationId"] in told.text
    page = browser.visit("/page?x=1")
    assert (page.status, page.url) == (403, f"{HOME}/page?x=1")
    assert "Mia Member (mia<wbr>@contoso.example)" in page.text
    sign_in, there = Page(page.text).links
    assert there == f"{HOME}/password"
    world.clock.pass_(30)
    changed["password_changed_at"] = int(world.clock.now)
    world.clock.pass_(30)
    assert browser.visit("/page").status == 403, "nobody is told of it but by a sign-in"
    page = browser.click(sign_in, page)
    assert asked(page)
    assert browser.submit(page, pick="mia").url == f"{HOME}/page?x=1"
    assert browser.visit("/page").status == 200


# Report-only ---------------------------------------------------------------------------------------------------


def test_report_only_changes_nothing_and_is_in_the_log(world: World, browser: Browser) -> None:
    state = "enabledForReportingButNotEnforced"
    world.app(
        policies=[
            policy("Would block", state=state, grant=BLOCK),
            policy("Would ask", state=state, signInFrequency=every(1)),
        ]
    )
    browser.sign_in("mia", "yes")
    assert browser.who() == "Mia Member"
    world.clock.pass_(DAY)
    assert browser.visit("/page").status == 200
    (success,) = [item for item in records(world) if item["isInteractive"] and not item["status"]["errorCode"]]
    results = {item["displayName"]: item["result"] for item in success["appliedConditionalAccessPolicies"]}
    assert results == {"Would block": "reportOnlyFailure", "Would ask": "reportOnlySuccess"}
    assert success["conditionalAccessStatus"] == "notApplied"


# Devices -------------------------------------------------------------------------------------------------------


class Desk:
    """Mia at her joined laptop. It is 00:00."""

    def __init__(self, world: World, browser: Browser) -> None:
        self.world, self.browser, self.midnight = world, browser, world.clock.now
        world.app(policies=[HOURLY])
        self.does("use")
        self.does("device_sign_in")

    def at(self, hours: int, minutes: int, seconds: int = 0) -> None:
        self.world.clock.now = self.midnight + hours * HOUR + minutes * MINUTE + seconds

    def does(self, event: str) -> None:
        page = f"{HOME}/.auth/idp/devices"
        self.browser.post(page, {"device": "d0e1c2b3-0001-4a5b-8c9d-1e2f3a4b5c6d", "event": event}, source=page)

    def works(self) -> bool:
        """Whether a page comes, without a question."""
        page = self.browser.visit("/page")
        return page.url == f"{HOME}/page" and page.status == 200


def test_example_3_scenario_1_unlocking_within_the_cycle_does_not_help(world: World, browser: Browser) -> None:
    desk = Desk(world, browser)
    assert desk.works()
    desk.at(0, 30)
    desk.does("lock")
    desk.at(0, 45)
    desk.does("unlock")
    desk.at(0, 59, 59)
    assert desk.works()
    desk.at(1, 0)
    assert asked(browser.visit("/page"))


def test_example_3_scenario_2_unlocking_after_four_hours_is_a_sign_in(world: World, browser: Browser) -> None:
    desk = Desk(world, browser)
    assert desk.works()
    desk.at(0, 30)
    desk.does("lock")
    desk.at(4, 45)
    desk.does("unlock")
    assert desk.works()
    desk.at(5, 44, 59)
    assert desk.works()
    desk.at(5, 45)
    assert asked(browser.visit("/page"))


def test_report_only_tells_whom_a_frequency_would_have_interrupted(world: World, browser: Browser) -> None:
    """Not at the sign-in, but when it falls due: once for each session."""
    state = "enabledForReportingButNotEnforced"
    world.app(policies=[policy("Would ask", state=state, signInFrequency=every(1))])
    browser.sign_in("mia", "yes")
    before = len(records(world))
    for _ in range(8):
        world.clock.pass_(15 * MINUTE)
        assert browser.visit("/page").status == 200
    assert len(records(world)) == before + 1
    record = records(world)[0]
    assert [item["result"] for item in record["appliedConditionalAccessPolicies"]] == ["reportOnlyInterrupted"]
    assert record["isInteractive"] is False
    assert record["correlationId"] == records(world)[1]["correlationId"]

"""Sign-in: to the provider and back, and what can go wrong on the way."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    CLIENT_ID,
    COOKIE,
    CROSS_SITE,
    DAY,
    HOUR,
    ISSUER,
    MINUTE,
    NAVIGATION,
    NOW,
    ORIGIN,
    SCRIPT,
    Browser,
    World,
    cleared,
    code_of,
    cookie_names,
    forwarded,
    headers_of,
    location,
    page_of,
    play_between,
    problem_of,
    query_of,
    set_cookies,
    ways_of,
)

from kmsi_middleware.flows import dispatch
from kmsi_middleware.rules import cookies
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProtocolError, ProviderUnavailable, StoreUnavailable
from kmsi_middleware.vocabulary.messages import HttpResponse
from kmsi_middleware.vocabulary.signals import SignInSignals

QUIET = {"show_option_to_remain_signed_in": False}
"""Settings under which nobody is asked "Stay signed in?"."""


@pytest.fixture
def quiet() -> World:
    return World(**QUIET)


# The way there ---------------------------------------------------------------------------------------------


def test_the_authorization_request_asks_for_the_code_flow_with_pkce(world: World, browser: Browser) -> None:
    asked = query_of(browser.begin("/orders"))
    assert asked.keys() == {
        *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method"),
    }
    assert asked["response_type"] == "code"
    assert asked["client_id"] == CLIENT_ID
    assert asked["redirect_uri"] == f"{ORIGIN}/.auth/callback"
    assert asked["scope"] == "openid profile email"
    assert asked["code_challenge_method"] == "S256"
    assert re.fullmatch(r"[\w-]{43}", asked["code_challenge"])
    assert re.fullmatch(r"[\w-]{43}", asked["nonce"])


def test_form_post_is_asked_for_where_it_is_set() -> None:
    asked = query_of(Browser(World(response_mode="form_post")).begin())
    assert asked["response_mode"] == "form_post"


def test_each_transaction_has_a_small_short_lived_cookie_of_its_own(world: World, browser: Browser) -> None:
    asked = [query_of(browser.begin()) for _ in range(2)]
    assert len(browser.jar) == 2
    for name, cookie in browser.jar.items():
        assert re.fullmatch(re.escape(COOKIE) + r"\.t\.[\w-]{8}", name)
        assert cookie.until == NOW + HOUR
        assert len(name) + len(cookie.value) < 180
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]


def test_the_cookie_does_not_give_away_the_nonce_and_the_state_not_the_target(browser: Browser) -> None:
    url = browser.begin("/secret-page")
    assert "secret-page" not in url
    (cookie,) = browser.jar.values()
    assert query_of(url)["nonce"] not in cookie.value


def test_a_sign_in_starts_a_session_and_returns_to_the_page_that_was_asked_for(quiet: World) -> None:
    browser = Browser(quiet)
    outcome = browser.come_back(browser.begin("/orders?page=2"))
    assert location(outcome) == "/orders?page=2"
    assert cleared(outcome) == [name for name in cookie_names(outcome) if ".t." in name]
    assert list(browser.jar) == [COOKIE]
    session = forwarded(browser.get("/orders?page=2"))
    assert session is not None
    assert (session.issuer, session.subject, session.sids) == (ISSUER, "alice", ("sid-1",))
    assert (session.started_at, session.auth_time) == (NOW, NOW)
    assert session.decision == "option_off"
    assert not session.persistent
    assert not browser.persistent


def test_a_success_is_logged_with_the_person_and_the_reason(quiet: World) -> None:
    browser = Browser(quiet)
    browser.come_back(browser.begin())
    (record,) = quiet.log
    assert record["status"] == {"errorCode": 0, "failureReason": None, "additionalDetails": None}
    assert record["userPrincipalName"] == "alice@example.com"
    assert record["ipAddress"] == browser.address
    assert record["userAgent"] == "Firefox"
    assert record["kmsi"] == {"code": "", "decision": "option_off", "persistent": False}
    assert browser.session is not None
    assert record["correlationId"] == browser.session.correlation_id


def test_the_hook_is_told_the_claims_and_what_the_browser_said(quiet: World) -> None:
    browser = Browser(quiet, address="192.0.2.9")
    browser.come_back(browser.begin())
    (facts,) = quiet.facts
    assert facts.claims["sub"] == "alice"
    assert (facts.client_address, facts.user_agent) == ("192.0.2.9", "Firefox")


def test_the_issuers_tokens_lie_sealed(quiet: World) -> None:
    browser = Browser(quiet)
    browser.come_back(browser.begin())
    assert browser.session is not None
    assert browser.session.sealed
    assert b"access token" not in browser.session.sealed
    assert "access token" not in str(quiet.store._sessions)


# Many tabs -------------------------------------------------------------------------------------------------


def test_ten_tabs_can_sign_in_at_the_same_time(quiet: World) -> None:
    """The first one signs in; each of the others, coming back late, simply goes to its page."""
    browser = Browser(quiet)
    urls = [browser.begin(f"/page/{number}") for number in range(10)]
    assert len(browser.jar) == 10
    for number in reversed(range(10)):
        assert location(browser.come_back(urls[number])) == f"/page/{number}"
    assert list(browser.jar) == [COOKIE]
    assert len(quiet.live()) == 1
    assert [record["status"]["errorCode"] for record in quiet.log] == [0]


@pytest.mark.parametrize("number", range(10))
def test_each_of_ten_tabs_can_be_the_first_to_come_back(quiet: World, number: int) -> None:
    browser = Browser(quiet)
    urls = [browser.begin(f"/page/{tab}") for tab in range(10)]
    assert location(browser.come_back(urls[number])) == f"/page/{number}"
    assert forwarded(browser.get("/"))


def test_a_late_tab_redeems_nothing_and_keeps_the_session(quiet: World) -> None:
    browser = Browser(quiet)
    late = browser.begin("/late")
    browser.come_back(browser.begin("/"))
    token = browser.token
    outcome = browser.come_back(late, BOB)
    assert location(outcome) == "/late"
    assert quiet.asked_for(ask.Fetch, ask.CreateSession, ask.EndSession, ask.PutTicket) == []
    assert browser.token == token
    assert len(cleared(outcome)) == 1


def test_outstanding_transactions_are_bounded_and_the_oldest_goes(world: World, browser: Browser) -> None:
    names = []
    for _ in range(40):
        browser.begin()
        world.now += 1
        names.append(list(browser.jar)[-1])
    assert list(browser.jar) == names[-cookies.MOST_TRANSACTIONS :]


def test_of_cookies_in_any_order_the_oldest_goes_and_a_broken_one_before_it(world: World, browser: Browser) -> None:
    for _ in range(cookies.MOST_TRANSACTIONS):
        browser.begin()
        world.now += 1
    names = list(browser.jar)
    browser.jar = dict(reversed(browser.jar.items()))
    assert cleared(browser.get("/")) == [names[0]]
    broken = list(browser.jar)[5]
    browser.jar[broken].value = "broken"
    assert cleared(browser.get("/")) == [broken]


@pytest.mark.parametrize("cookie_name", ["kmsi", "k" * 40])
def test_all_our_cookies_together_never_exceed_4096_bytes(cookie_name: str) -> None:
    """A person who says "don't show this again", and opens more tabs than anybody would."""
    world = World(cookie_name=cookie_name)
    browser = Browser(world)
    browser.sign_in(answer="no", dont_show_again="1")
    for number in range(30):
        url = location(browser.get(f"/.auth/login?prompt=login&post_login_redirect_uri=/{number}/{'x' * 900}"))
        if number % 2:
            location(browser.come_back(url, {**BOB, "sub": "b" * 255}))
        for _ in range(2):
            browser.get("/.auth/login?prompt=login")
        world.now += 1
        assert len(browser.cookie_header()) <= 4_096
    kinds = [name.removeprefix(world.site.cookie_name)[:3] for name in browser.jar]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "": 1,
        ".r": 1,
        ".t.": cookies.MOST_TRANSACTIONS,
        ".p.": cookies.MOST_PENDING,
    }


# Whose transaction it is -----------------------------------------------------------------------------------


def test_a_browser_that_keeps_no_cookies_gets_a_page_that_says_so_and_never_a_loop(quiet: World) -> None:
    browser = Browser(quiet, keeps_cookies=False)
    outcome = browser.come_back(browser.begin("/orders"))
    page = page_of(outcome, 400)
    assert page.name == "error.html"
    assert page.context["code"] == "no_cookies"
    assert "cookie" in page.context["message"]
    assert query_of(ways_of(page)["Try again"])["post_login_redirect_uri"] == "/orders"
    assert quiet.log == []
    assert quiet.unmatched.totals() == {"callback": 1}


def test_anothers_answer_is_not_taken(quiet: World) -> None:
    """Mallory signs in, and has Alice's browser finish it: Alice must not end up in Mallory's account."""
    mallory, alice = Browser(quiet), Browser(quiet)
    answer = quiet.idp.sign_in(mallory.begin(), {"sub": "mallory"}, quiet.now)
    alice.begin()
    outcome = alice.get(f"/.auth/callback?{urlencode(answer)}", CROSS_SITE)
    assert code_of(outcome) == "no_cookies"
    assert quiet.live() == []
    assert quiet.asked_for(ask.Fetch, ask.PutTicket) == []


def test_a_cookie_of_another_transaction_under_the_right_name_is_not_taken(quiet: World) -> None:
    mallory, alice = Browser(quiet), Browser(quiet)
    answer = quiet.idp.sign_in(mallory.begin(), {"sub": "mallory"}, quiet.now)
    alice.begin()
    (right_name,) = mallory.jar
    (cookie,) = alice.jar.values()
    alice.jar = {right_name: cookie}
    assert code_of(alice.get(f"/.auth/callback?{urlencode(answer)}")) == "no_cookies"


def test_an_answer_for_another_transaction_of_the_same_browser_is_refused(quiet: World) -> None:
    """The code of one, the state of the other: the nonce and the verifier don't fit."""
    browser = Browser(quiet)
    one, other = browser.begin("/one"), browser.begin("/other")
    code = quiet.idp.sign_in(one, ALICE, quiet.now)["code"]
    outcome = browser.get(f"/.auth/callback?{urlencode({'code': code, 'state': query_of(other)['state']})}")
    assert code_of(outcome) == "token_refused"
    assert quiet.live() == []


def test_the_transaction_and_the_cookie_are_good_for_an_hour_to_the_second(quiet: World) -> None:
    for seconds, works in ((HOUR - 1, True), (HOUR, False), (HOUR + 1, False)):
        browser = Browser(quiet)
        url = browser.begin("/orders")
        quiet.now += seconds
        outcome = browser.come_back(url)
        assert (location(outcome) if works else code_of(outcome)) in ("/orders", "no_cookies", "state_unknown")
        assert (browser.session is not None) is works


def test_a_replayed_callback_is_refused(quiet: World) -> None:
    """Even with the transaction's cookie put back, after the session has ended."""
    browser = Browser(quiet)
    url = browser.begin()
    jar = dict(browser.jar)
    answer = urlencode(quiet.idp.sign_in(url, ALICE, quiet.now))
    browser.get(f"/.auth/callback?{answer}")
    browser.jar = jar
    outcome = browser.get(f"/.auth/callback?{answer}")
    assert page_of(outcome, 400).context["code"] == "sign_in_used"
    assert quiet.asked_for(ask.Fetch, ask.CreateSession) == []
    assert len(quiet.live()) == 1
    assert quiet.unmatched.totals() == {"callback": 1}


def test_a_reload_of_a_failed_callback_says_what_it_said(world: World, browser: Browser) -> None:
    """Although its cookie is gone by then; in whatever process, because it is the store that knows."""
    denied = {"error": "access_denied", "state": query_of(browser.begin("/orders"))["state"]}
    at = f"/.auth/callback?{urlencode(denied)}"
    first = page_of(browser.get(at, CROSS_SITE), 403)
    assert browser.jar == {}
    world.now += HOUR - 1
    again = browser.get(at)
    assert again.status == 403  # type: ignore[union-attr]
    assert page_of(again, 403).context == {**first.context, "time": "2027-01-15T08:59:59Z"}
    assert problem_of(browser.get(at, SCRIPT), 403)["code"] == "access_denied"
    assert len(world.log) == 1


def test_so_does_a_reload_where_the_provider_or_the_store_was_in_the_way() -> None:
    world = World()
    browser = Browser(world)
    for broken, status, code, retry_after in (
        (HttpResponse(400, {}, b'{"error": "invalid_grant"}'), 502, "token_refused", None),
        (HttpResponse(200, {}, b"<html>"), 503, "token_response_invalid", "5"),
    ):
        world.idp.token_answer = broken
        at = f"/.auth/callback?{urlencode(world.idp.sign_in(browser.begin(), ALICE, world.now))}"
        first = browser.get(at)
        for outcome in (first, browser.get(at)):
            assert page_of(outcome, status) == page_of(first, status)
            assert code_of(outcome) == code
            assert headers_of(outcome).get("retry-after") == retry_after
    world.idp.token_answer = None
    world.broken[ask.CreateSession] = StoreUnavailable("full")
    world.configure(**QUIET)
    at = f"/.auth/callback?{urlencode(world.idp.sign_in(browser.begin(), ALICE, world.now))}"
    first = browser.get(at)
    assert page_of(browser.get(at), 503) == page_of(first, 503)
    assert code_of(first) == "store_unavailable"


def test_a_callback_that_was_taken_up_once_stays_so_whatever_came_of_it(quiet: World) -> None:
    """Also with its cookie put back: a second try at the same transaction is none."""
    browser = Browser(quiet)
    url = browser.begin()
    jar = dict(browser.jar)
    answer = quiet.idp.sign_in(url, ALICE, quiet.now)
    denied = {"error": "access_denied", "state": answer["state"]}
    assert code_of(browser.get(f"/.auth/callback?{urlencode(denied)}")) == "access_denied"
    for cookies_put_back in ({}, jar):
        browser.jar = dict(cookies_put_back)
        assert code_of(browser.get(f"/.auth/callback?{urlencode(answer)}")) == "access_denied"
        assert quiet.asked_for(ask.Fetch, ask.CreateSession) == []
        assert browser.jar == {}
    assert quiet.live() == []


def test_whoever_else_opens_a_used_callback_learns_no_more_than_that_and_gets_no_cookie(quiet: World) -> None:
    browser, other = Browser(quiet), Browser(quiet)
    answer = urlencode(quiet.idp.sign_in(browser.begin("/orders"), ALICE, quiet.now))
    browser.get(f"/.auth/callback?{answer}")
    outcome = other.get(f"/.auth/callback?{answer}")
    page = page_of(outcome, 400)
    assert (page.context["code"], page.context["title"]) == ("sign_in_used", "This sign-in is over")
    assert page.context["ways"] == [("Sign in", "/.auth/login?post_login_redirect_uri=%2Forders")]
    assert set_cookies(outcome) == ()
    assert "alice" not in str(page.context).lower()
    assert len(quiet.live()) == 1


def test_a_used_callback_that_is_opened_after_the_sign_out_is_over_and_no_browsers_fault(quiet: World) -> None:
    browser = Browser(quiet)
    answer = urlencode(quiet.idp.sign_in(browser.begin(), ALICE, quiet.now))
    browser.get(f"/.auth/callback?{answer}")
    browser.post("/.auth/logout")
    assert code_of(browser.get(f"/.auth/callback?{answer}")) == "sign_in_used"
    assert quiet.live() == []


def test_a_replayed_callback_beside_the_session_goes_to_its_page(quiet: World) -> None:
    browser = Browser(quiet)
    answer = urlencode(quiet.idp.sign_in(browser.begin("/orders"), ALICE, quiet.now))
    browser.get(f"/.auth/callback?{answer}")
    assert location(browser.get(f"/.auth/callback?{answer}")) == "/orders"


def test_of_two_callbacks_at_the_same_time_one_redeems_the_code(quiet: World) -> None:
    browser = Browser(quiet)
    answer = urlencode(quiet.idp.sign_in(browser.begin(), ALICE, quiet.now))
    request = browser.request("GET", f"/.auth/callback?{answer}")
    outcomes = play_between(quiet, [dispatch.answer(quiet.app, request, quiet.now) for _ in range(2)])
    assert len(quiet.asked_for(ask.Fetch)) == 1
    assert sorted(outcome.status for outcome in outcomes) == [303, 400]


@pytest.mark.parametrize("state", ["", "x", "é", "A" * 200, "A" * 60_000])
def test_a_state_that_we_did_not_make_is_refused_and_counted_not_stored(world: World, state: str) -> None:
    browser = Browser(world)
    browser.begin()
    jar = dict(browser.jar)
    outcome = browser.get(f"/.auth/callback?{urlencode({'code': 'c', 'state': state})}", CROSS_SITE)
    assert page_of(outcome, 400).context["code"] == "state_unknown"
    assert set_cookies(outcome) == ()
    assert browser.jar == jar
    assert world.log == []
    assert world.unmatched.totals() == {"callback": 1}
    assert [type(effect) for effect in world.asked] == [ask.CountUnmatched]


def test_a_state_of_another_deployments_key_is_refused(quiet: World) -> None:
    browser = Browser(quiet)
    url = browser.begin()
    quiet.configure(secret_keys=("another key another key another key",))
    assert code_of(browser.come_back(url)) == "state_unknown"


def test_keys_rotate_without_stopping_who_is_on_the_way(quiet: World) -> None:
    browser = Browser(quiet)
    url = browser.begin()
    old = quiet.given["secret_keys"][0]
    quiet.configure(secret_keys=(old, "second key second key second key second"))
    assert location(browser.come_back(url)) == "/"
    assert forwarded(browser.get("/"))


# The answer as a posted form -------------------------------------------------------------------------------


def bounced(browser: Browser, answer: dict[str, str]) -> str:
    """Post the provider's answer from the provider's page, without cookies. Where it leads to."""
    headers = {**CROSS_SITE, "origin": "https://login.example.com"}
    outcome = browser.post("/.auth/callback", answer, headers, cookies=False)
    assert browser.world.asked == []
    assert set_cookies(outcome) == ()
    return location(outcome)


def test_a_posted_answer_decides_nothing_and_goes_on_as_a_get_with_its_parameters_sealed(quiet: World) -> None:
    browser = Browser(quiet)
    answer = quiet.idp.sign_in(browser.begin("/orders"), ALICE, quiet.now)
    at = bounced(browser, answer)
    assert query_of(at).keys() == {"ticket"}
    assert answer["code"] not in at
    assert answer["state"] not in at
    assert location(browser.get(at, CROSS_SITE)) == "/orders"
    assert forwarded(browser.get("/orders"))


def test_the_sealed_parameters_are_good_for_a_minute(quiet: World) -> None:
    for seconds, code in ((MINUTE, None), (MINUTE + 1, "sign_in_late")):
        browser = Browser(quiet)
        at = bounced(browser, quiet.idp.sign_in(browser.begin(), ALICE, quiet.now))
        quiet.now += seconds
        outcome = browser.get(at)
        if code is None:
            location(outcome)
        else:
            assert code_of(outcome) == code
    assert quiet.unmatched.totals() == {"callback": 1}


def test_a_reload_of_the_sealed_parameters_says_what_it_said_when_the_minute_is_over(quiet: World) -> None:
    browser = Browser(quiet)
    state = query_of(browser.begin())["state"]
    at = bounced(browser, {"error": "access_denied", "state": state})
    browser.get(at)
    quiet.now += MINUTE + 1
    assert code_of(browser.get(at)) == "access_denied"
    assert code_of(browser.get(f"{at}x")) == "sign_in_late"


def test_the_sealed_parameters_do_not_replace_the_browsers_cookie(quiet: World) -> None:
    mallory, alice = Browser(quiet), Browser(quiet)
    at = bounced(mallory, quiet.idp.sign_in(mallory.begin(), {"sub": "mallory"}, quiet.now))
    assert code_of(alice.get(at)) == "no_cookies"


def test_what_a_form_carries_beyond_the_answer_is_dropped_and_what_is_too_long_refused(quiet: World) -> None:
    browser = Browser(quiet)
    answer = quiet.idp.sign_in(browser.begin(), ALICE, quiet.now)
    assert location(browser.get(bounced(browser, answer | {"scope": "x" * 9_000}))) == "/"
    outcome = browser.post("/.auth/callback", answer | {"code": "x" * 9_000}, CROSS_SITE)
    assert code_of(outcome) == "callback_too_large"


def test_a_posted_error_is_shown_too(quiet: World) -> None:
    browser = Browser(quiet)
    state = query_of(browser.begin())["state"]
    outcome = browser.get(bounced(browser, {"error": "access_denied", "state": state}))
    assert page_of(outcome, 403).context["code"] == "access_denied"


# What goes wrong at the provider ---------------------------------------------------------------------------


def failed(world: World, outcome: Any, status: int, code: str, target: str = "/orders") -> Any:
    """The page of a failed sign-in: a code, a correlation id, the time, "try again"; and its record in the log."""
    page = page_of(outcome, status)
    assert page.name == "error.html"
    shown = page.context
    assert shown["code"] == code
    assert uuid.UUID(shown["correlation_id"])
    assert shown["time"] == "2027-01-15T08:00:00Z"
    assert query_of(ways_of(page)["Try again"])["post_login_redirect_uri"] == target
    (record,) = world.log
    assert record["kmsi"]["code"] == code
    assert record["correlationId"] == shown["correlation_id"]
    assert record["status"]["errorCode"] not in (0, 50140)
    assert record["userId"] == ""
    assert world.live() == []
    return record


@pytest.mark.parametrize(
    ("error", "status", "code", "number"),
    [
        ("access_denied", 403, "access_denied", 65004),
        ("login_required", 400, "provider_error", 50058),
        ("server_error", 400, "provider_error", 40008),
        ("temporarily_unavailable", 400, "provider_error", 40010),
        ("made_up", 400, "provider_error", 40008),
    ],
)
def test_an_error_of_the_provider_gives_a_page_and_a_record(
    world: World, browser: Browser, error: str, status: int, code: str, number: int
) -> None:
    state = query_of(browser.begin("/orders"))["state"]
    answer = {"error": error, "error_description": "<b>said so</b>", "state": state}
    outcome = browser.get(f"/.auth/callback?{urlencode(answer)}", CROSS_SITE)
    record = failed(world, outcome, status, code)
    assert page_of(outcome, status).context["detail"] == ""
    assert record["status"]["errorCode"] == number
    assert f"{error}: <b>said so</b>" in record["status"]["additionalDetails"]
    assert "said so" not in str(outcome)  # what a stranger may have written is not on our page
    assert browser.jar == {}


def test_a_declined_sign_in_alarms_nobody_who_cancelled_it_and_helps_whom_the_issuer_refused(
    world: World, browser: Browser
) -> None:
    """``access_denied`` is the answer to both (RFC 6749 §4.1.2.1)."""
    state = query_of(browser.begin("/orders"))["state"]
    page = page_of(browser.get(f"/.auth/callback?{urlencode({'error': 'access_denied', 'state': state})}"), 403)
    assert page.context["title"] == "The sign-in was not completed"
    assert page.context["message"] == "You have cancelled the sign-in, or your sign-in service did not let you in."
    assert page.context["is_neutral"]
    assert list(ways_of(page)) == ["Use another account", "Try again"]
    other = query_of(ways_of(page)["Use another account"])
    assert other == {"post_login_redirect_uri": "/orders", "prompt": "select_account"}


def test_a_person_is_told_what_failed_and_whom_they_ask_for_help_in_the_protocols_words(quiet: World) -> None:
    browser = Browser(quiet)
    outcome = browser.come_back(browser.begin("/orders"), {**ALICE, "aud": "another app"})
    page = page_of(outcome, 502)
    assert page.context["message"] == "Your sign-in service did not give an answer that can be accepted."
    assert "ID token" in page.context["detail"]
    assert not page.context["is_neutral"]
    assert list(ways_of(page)) == ["Try again"]


def test_a_failed_sign_in_can_be_tried_again(quiet: World) -> None:
    browser = Browser(quiet)
    state = query_of(browser.begin("/orders"))["state"]
    outcome = browser.get(f"/.auth/callback?{urlencode({'error': 'access_denied', 'state': state})}")
    again = browser.begin(ways_of(page_of(outcome, 403))["Try again"])
    assert location(browser.come_back(again)) == "/orders"


def test_a_script_is_told_of_a_failure_as_a_problem(world: World, browser: Browser) -> None:
    state = query_of(browser.begin("/orders"))["state"]
    outcome = browser.get(f"/.auth/callback?{urlencode({'error': 'access_denied', 'state': state})}", SCRIPT)
    assert problem_of(outcome, 403)["code"] == "access_denied"


UNREACHABLE = ProviderUnavailable("GET https://internal.example failed: ConnectError")


def test_a_provider_that_is_unreachable_at_the_start_gives_the_page_and_no_redirect(
    world: World, browser: Browser
) -> None:
    world.broken[ask.GetProvider] = UNREACHABLE
    outcome = browser.get("/orders")
    failed(world, outcome, 503, "provider_unavailable")
    assert headers_of(outcome)["retry-after"] == "5"
    assert "internal.example" not in str(outcome)
    assert set_cookies(outcome) == ()


@pytest.mark.parametrize("effect", [ask.GetProvider, ask.Fetch, ask.GetKeys])
def test_a_provider_that_is_unreachable_on_the_way_back_gives_the_page_and_no_redirect(
    world: World, browser: Browser, effect: type[ask.Effect]
) -> None:
    url = browser.begin("/orders")
    world.broken[effect] = UNREACHABLE
    outcome = browser.come_back(url)
    failed(world, outcome, 503, "provider_unavailable")
    assert headers_of(outcome)["retry-after"] == "5"
    assert browser.jar == {}


def test_while_the_provider_is_away_the_log_cannot_be_filled_from_one_address(world: World, browser: Browser) -> None:
    world.broken[ask.GetProvider] = UNREACHABLE
    for _ in range(20):
        page_of(browser.get("/orders"), 503)
    assert len(world.log) == 3
    Browser(world, address="198.51.100.7").get("/orders")
    assert len(world.log) == 4


def test_metadata_that_is_not_the_issuers_gives_the_page(world: World, browser: Browser) -> None:
    world.broken[ask.GetProvider] = ProtocolError("issuer_mismatch", "another issuer", status=502)
    failed(world, browser.get("/orders"), 502, "issuer_mismatch")


@pytest.mark.parametrize("effect", [ask.PutTicket, ask.CreateSession])
def test_a_store_that_fails_on_the_way_back_is_503_and_begins_no_session(
    quiet: World, effect: type[ask.Effect]
) -> None:
    browser = Browser(quiet)
    url = browser.begin("/orders")
    quiet.broken[effect] = StoreUnavailable("the disk is full")
    outcome = browser.come_back(url)
    page = page_of(outcome, 503)
    assert page.context["code"] == "store_unavailable"
    assert headers_of(outcome)["retry-after"] == "5"
    assert COOKIE not in cookie_names(outcome)
    assert browser.session is None
    assert quiet.live() == []


def test_a_store_that_fails_after_the_code_was_redeemed_is_a_failure_in_the_log(world: World) -> None:
    for settings in (QUIET, {"show_option_to_remain_signed_in": True}):
        world = World(**settings)
        browser = Browser(world)
        url = browser.begin("/orders")
        steps = itertools.chain([None], itertools.repeat(StoreUnavailable("full")))
        put = world.store.put_ticket

        def failing(*given: Any, steps: Any = steps, put: Callable[..., bool] = put) -> bool:
            if (error := next(steps)) is not None:
                raise error
            return put(*given)

        world.store.put_ticket = failing  # type: ignore[method-assign]
        world.broken[ask.CreateSession] = StoreUnavailable("full")
        record = failed(world, browser.come_back(url), 503, "store_unavailable")
        assert record["status"]["errorCode"] == 90033


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": "another-app"}, "id_token_aud"),
        ({"iss": "https://evil.example"}, "id_token_iss"),
        ({"nonce": "another"}, "id_token_nonce"),
        ({"nonce": None}, "id_token_nonce"),
        ({"exp": NOW - 61}, "id_token_expired"),
        ({"iat": NOW + 61}, "id_token_iat"),
        ({"sub": None}, "id_token_sub"),
        ({"azp": "another-app"}, "id_token_azp"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "id_token_at_hash"),
    ],
)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    world: World, browser: Browser, claims: dict[str, Any], code: str
) -> None:
    failed(world, browser.come_back(browser.begin("/orders"), {**ALICE, **claims}), 502, code)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (HttpResponse(400, {}, b'{"error": "invalid_grant"}'), 502, "token_refused"),
        (HttpResponse(200, {}, b"<html>"), 503, "token_response_invalid"),
        (HttpResponse(200, {}, b"{}"), 502, "id_token_missing"),
        (HttpResponse(200, {}, b'{"id_token": "x.y"}'), 502, "id_token_malformed"),
        (HttpResponse(500, {}, b""), 503, "provider_unavailable"),
        (HttpResponse(429, {}, b""), 503, "provider_unavailable"),
    ],
)
def test_a_token_endpoint_that_answers_nonsense_gives_the_page(
    world: World, browser: Browser, answer: HttpResponse, status: int, code: str
) -> None:
    world.idp.token_answer = answer
    failed(world, browser.come_back(browser.begin("/orders")), status, code)


def test_an_answer_without_a_code_and_one_from_another_issuer_are_refused(world: World, browser: Browser) -> None:
    state = query_of(browser.begin("/orders"))["state"]
    failed(world, browser.get(f"/.auth/callback?{urlencode({'state': state})}"), 400, "code_missing")
    world.log.clear()
    outcome = browser.come_back(browser.begin("/orders"), iss="https://evil.example")
    failed(world, outcome, 400, "response_iss_mismatch")


def test_a_repeated_parameter_is_refused_and_uses_nothing_up(quiet: World) -> None:
    browser = Browser(quiet)
    answer = urlencode(quiet.idp.sign_in(browser.begin(), ALICE, quiet.now))
    assert code_of(browser.get(f"/.auth/callback?{answer}&code=other")) == "parameter_repeated"
    assert location(browser.get(f"/.auth/callback?{answer}")) == "/"


# Keys of the provider --------------------------------------------------------------------------------------


def test_keys_are_fetched_once_more_for_a_key_that_is_not_among_them(quiet: World) -> None:
    Browser(quiet).come_back(Browser(quiet).begin())
    first = Browser(quiet)
    first.come_back(first.begin())
    assert [effect.unknown_kid for effect in quiet.asked_for(ask.GetKeys)] == [False]
    quiet.idp.rotate()
    second = Browser(quiet)
    second.come_back(second.begin())
    assert [effect.unknown_kid for effect in quiet.asked_for(ask.GetKeys)] == [False, True]
    assert forwarded(second.get("/"))


def test_a_key_that_is_not_published_at_all_is_asked_for_only_once_more(world: World, browser: Browser) -> None:
    published = world.idp.published
    world.idp.rotate()
    world.idp.published = published
    outcome = browser.come_back(browser.begin("/orders"))
    assert len(world.asked_for(ask.GetKeys)) == 2
    failed(world, outcome, 502, "id_token_key_unknown")


def test_a_token_signed_by_anothers_key_under_a_published_name_is_refused(world: World, browser: Browser) -> None:
    good = world.idp.key
    world.idp.rotate()
    forged = {**world.idp.key.as_dict(private=True), "kid": good.kid}
    world.idp.published = [good]
    world.idp.key = type(good).import_key(forged)
    failed(world, browser.come_back(browser.begin("/orders")), 502, "id_token_signature")


# Started on purpose ----------------------------------------------------------------------------------------


def test_login_goes_to_the_provider_and_returns_to_the_target(quiet: World) -> None:
    browser = Browser(quiet)
    url = browser.begin("/.auth/login?post_login_redirect_uri=%2Forders%3Fpage%3D2")
    assert "prompt" not in query_of(url)
    assert location(browser.come_back(url)) == "/orders?page=2"


def test_login_with_a_session_goes_straight_to_the_target(quiet: World) -> None:
    browser = Browser(quiet)
    browser.come_back(browser.begin())
    assert location(browser.get("/.auth/login?post_login_redirect_uri=/orders")) == "/orders"
    assert quiet.asked_for(ask.GetProvider) == []


@pytest.mark.parametrize("prompt", ["login", "consent", "select_account", "none", "create", "login consent"])
def test_login_with_a_prompt_asks_the_provider_again_although_there_is_a_session(quiet: World, prompt: str) -> None:
    browser = Browser(quiet)
    browser.come_back(browser.begin())
    token = browser.token
    url = browser.begin("/.auth/login?" + urlencode({"prompt": prompt, "post_login_redirect_uri": "/orders"}))
    assert query_of(url)["prompt"] == prompt
    assert location(browser.come_back(url)) == "/orders"
    assert browser.token != token
    assert len(quiet.live()) == 1


@pytest.mark.parametrize("prompt", ["loginn", "login none", "none login", "login<script>"])
def test_login_with_an_unknown_prompt_is_refused(browser: Browser, prompt: str) -> None:
    outcome = browser.get("/.auth/login?" + urlencode({"prompt": prompt}))
    assert page_of(outcome, 400).context["code"] == "bad_prompt"


def test_login_passes_a_login_hint_on_and_cuts_it(browser: Browser) -> None:
    url = browser.begin("/.auth/login?" + urlencode({"login_hint": "a" * 1_000}))
    assert query_of(url)["login_hint"] == "a" * 320


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        f"{ORIGIN}.evil.example/",
        f"{ORIGIN}@evil.example/",
        f"{ORIGIN}//evil.example/",
        "javascript:alert(1)",
        "orders",
        "/a\r\nset-cookie: x=y",
        "/\tx",
        " /x",
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/.auth/login?post_login_redirect_uri={}", "/.auth/initiate-login?iss=" + ISSUER + "&target_link_uri={}"],
)
def test_a_return_target_is_a_path_of_this_origin_and_nothing_else(browser: Browser, target: str, path: str) -> None:
    outcome = browser.get(path.format(urlencode({"": target})[1:]))
    assert page_of(outcome, 400).context["code"] == "bad_return_target"
    assert set_cookies(outcome) == ()


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("", "/"),
        (f"{ORIGIN}/orders", "/orders"),
        (ORIGIN.upper() + "/orders", "/orders"),
        (f"{ORIGIN}", "/"),
        ("/" + "x" * 1_100, "/"),
        ("/.auth/logout", "/"),
        ("/.auth/login?prompt=login", "/"),
        ("/orders?next=//evil.example", "/orders?next=//evil.example"),
        ("/größe", "/gr%C3%B6%C3%9Fe"),
    ],
)
def test_where_a_sign_in_returns_to(quiet: World, target: str, reached: str) -> None:
    browser = Browser(quiet)
    url = browser.begin("/.auth/login?" + urlencode({"post_login_redirect_uri": target}))
    assert location(browser.come_back(url)) == reached


# Started by a third party (OpenID Connect Core 1.0 §4) -----------------------------------------------------

THIRD_PARTY = {"iss": ISSUER, "login_hint": "alice@example.com", "target_link_uri": f"{ORIGIN}/orders"}


def test_a_third_party_can_start_a_sign_in_by_get(quiet: World) -> None:
    browser = Browser(quiet)
    url = browser.begin("/.auth/initiate-login?" + urlencode(THIRD_PARTY), CROSS_SITE)
    assert query_of(url)["login_hint"] == "alice@example.com"
    assert location(browser.come_back(url)) == "/orders"


def test_a_third_party_can_start_a_sign_in_by_post(quiet: World) -> None:
    """A cross-site POST has no cookies, so it goes on as a GET, which has them."""
    browser = Browser(quiet)
    headers = {**CROSS_SITE, "origin": "https://portal.example"}
    here = location(browser.post("/.auth/initiate-login", THIRD_PARTY | {"more": "x"}, headers, cookies=False))
    assert query_of(here) == THIRD_PARTY
    assert location(browser.come_back(browser.begin(here, CROSS_SITE))) == "/orders"


def test_with_a_session_a_third_partys_start_goes_straight_to_the_target(quiet: World) -> None:
    browser = Browser(quiet)
    browser.come_back(browser.begin())
    assert location(browser.get("/.auth/initiate-login?" + urlencode(THIRD_PARTY), CROSS_SITE)) == "/orders"
    here = location(browser.post("/.auth/initiate-login", THIRD_PARTY, CROSS_SITE, cookies=False))
    assert location(browser.get(here, CROSS_SITE)) == "/orders"


@pytest.mark.parametrize("issuer", [None, "", "https://evil.example", ISSUER + "/", ISSUER.upper()])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_third_partys_start_for_another_issuer_is_refused(browser: Browser, issuer: str | None, method: str) -> None:
    given = {name: value for name, value in (THIRD_PARTY | {"iss": issuer}).items() if value is not None}
    if method == "GET":
        outcome = browser.get("/.auth/initiate-login?" + urlencode(given), CROSS_SITE)
    else:
        outcome = browser.post("/.auth/initiate-login", given, CROSS_SITE)
    assert page_of(outcome, 400).context["code"] == "initiate_login_issuer"


def test_a_third_partys_start_with_the_provider_away_gives_the_page_to_try_again(
    world: World, browser: Browser
) -> None:
    world.broken[ask.GetProvider] = UNREACHABLE
    failed(world, browser.get("/.auth/initiate-login?" + urlencode(THIRD_PARTY)), 503, "provider_unavailable")


# The rows of the table -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "claims", "signals", "reason", "persistent"),
    [
        ({"show_option_to_remain_signed_in": False}, {}, {}, "option_off", False),
        ({"keep_me_signed_in_days": 0}, {}, {}, "keeping_off", False),
        ({}, {"amr": ["wia"]}, {}, "silent", False),
        ({}, {"auth_time": NOW - 61}, {}, "silent", False),
        ({}, {}, {"silent": True}, "silent", False),
        ({}, {"acct": 1}, {}, "guest", False),
        ({}, {}, {"risk": "high"}, "high_risk", False),
        ({}, {}, {"shared_device": True}, "shared_device", False),
        ({}, {}, {"consent": True}, "consent", False),
        ({}, {"signin_state": ["kmsi"]}, {}, "said_yes_at_issuer", True),
        ({}, {"psso": True}, {}, "said_yes_at_issuer", True),
        ({}, {"psso": True, "acct": 1}, {}, "guest", False),
    ],
)
def test_where_nobody_is_asked_the_session_begins_at_once_and_the_reason_is_recorded(
    settings: dict[str, Any], claims: dict[str, Any], signals: dict[str, Any], reason: str, persistent: bool
) -> None:
    world = World(**settings)
    world.signals = SignInSignals(**signals)
    browser = Browser(world)
    assert location(browser.come_back(browser.begin("/orders"), {**ALICE, **claims})) == "/orders"
    (record,) = world.log
    assert record["kmsi"] == {"code": "", "decision": reason, "persistent": persistent}
    assert browser.persistent is persistent
    assert browser.session is not None
    assert (browser.session.decision, browser.session.persistent) == (reason, persistent)
    assert browser.session.expires_at == NOW + (30 * DAY if persistent else DAY)


def test_a_sign_in_that_we_asked_consent_for_is_not_followed_by_the_question(browser: Browser) -> None:
    url = browser.begin("/.auth/login?prompt=consent")
    assert location(browser.come_back(url)) == "/"
    assert browser.session is not None
    assert browser.session.decision == "consent"


@pytest.mark.parametrize("claims", [{"auth_time": None}, {"auth_time": NOW - 60}, {"auth_time": 0}, {"acct": 0}])
def test_who_really_signed_in_is_asked(browser: Browser, claims: dict[str, Any]) -> None:
    browser.to_interrupt({**ALICE, **claims})


def test_the_issuers_session_state_stands_in_for_a_missing_sid(quiet: World) -> None:
    browser = Browser(quiet)
    browser.come_back(browser.begin(), {**ALICE, "sid": None}, session_state="state-of-the-session")
    assert browser.session is not None
    assert browser.session.sids == ("state-of-the-session",)


def test_entras_tenants_sign_in_under_their_own_issuer(quiet: World) -> None:
    from dataclasses import replace

    quiet.configure(issuer="https://login.example.com/common/v2.0", allowed_tenants=("contoso",))
    quiet.idp.metadata = replace(quiet.idp.metadata, issuer="https://login.example.com/{tenantid}/v2.0")
    for tenant, status in (("contoso", 303), ("fabrikam", 403)):
        browser = Browser(quiet)
        claims = {**ALICE, "tid": tenant, "iss": f"https://login.example.com/{tenant}/v2.0"}
        outcome = browser.come_back(browser.begin(), claims)
        assert getattr(outcome, "status", None) == status
        assert (browser.session is not None) is (status == 303)
    assert quiet.log[-1]["kmsi"]["code"] == "tenant_not_allowed"
    page = page_of(outcome, 403)
    assert (page.context["message"], page.context["detail"]) == (
        "Your organization may not sign in to this app.",
        "",
    )
    assert list(ways_of(page)) == ["Try again", "Use another account"]


def test_navigations_with_old_browsers_headers_sign_in_too(quiet: World) -> None:
    browser = Browser(quiet)
    url = browser.begin("/orders", {"accept": "text/html"})
    answer = urlencode(quiet.idp.sign_in(url, ALICE, quiet.now))
    assert location(browser.get(f"/.auth/callback?{answer}", {})) == "/orders"
    assert NAVIGATION["sec-fetch-mode"] == "navigate"

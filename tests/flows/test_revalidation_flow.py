"""Asking the issuer whether a session still stands: by refresh token, or by a navigation that goes there and back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    CROSS_SITE,
    FRAME,
    HOUR,
    NAVIGATION,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    cleared,
    forwarded,
    headers_of,
    location,
    page_of,
    problem_of,
    query_of,
)

from kmsi_middleware.flows import dispatch, sessions
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProtocolError, ProviderUnavailable, StoreUnavailable
from kmsi_middleware.vocabulary.messages import Forward, HttpResponse, Outcome, Reply

EVERY, GRACE = 900, 7_200
OFFLINE = "openid offline_access"


@pytest.fixture
def world() -> World:
    return World(revalidate_every=EVERY)


@pytest.fixture
def browser(world: World) -> Browser:
    made = Browser(world)
    made.sign_in({**ALICE, "sid": "first"}, answer="yes")
    return made


@pytest.fixture
def offline() -> Browser:
    """One with a refresh token."""
    world = World(revalidate_every=EVERY, scope=OFFLINE)
    made = Browser(world)
    made.sign_in({**ALICE, "sid": "first"}, answer="yes")
    return made


def to_issuer(outcome: Outcome) -> dict[str, str]:
    """What the browser that is sent to the issuer is to ask there."""
    at = location(outcome)
    assert at.startswith("https://login.example.com/tenant/authorize?")
    return query_of(at)


def back(browser: Browser, url: str, person: Any = ALICE, **more: str) -> Outcome:
    """The issuer confirms whoever it is."""
    return browser.come_back(url, person, **more)


def answered(browser: Browser, url: str, error: str) -> Outcome:
    """The issuer answers with an error."""
    query = {"error": error, "error_description": "said the issuer", "state": query_of(url)["state"]}
    return browser.get(f"/.auth/callback?{urlencode(query)}", CROSS_SITE)


# Not due ------------------------------------------------------------------------------------------------------


def test_until_it_is_due_nobody_is_asked(world: World, browser: Browser) -> None:
    world.now += EVERY - 1
    outcome = browser.get("/", NAVIGATION)
    assert isinstance(outcome, Forward)
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]
    assert outcome.until == world.now + 1


def test_switched_off_it_is_never_due(browser: Browser) -> None:
    browser.world.configure(revalidate_every=0)
    browser.world.now += 20 * EVERY
    assert forwarded(browser.get("/", NAVIGATION)) is not None
    assert browser.world.asked_for(ask.Fetch, ask.MayAsk) == []


def test_a_shorter_interval_reaches_live_sessions(world: World, browser: Browser) -> None:
    world.now += 300
    assert forwarded(browser.get("/", NAVIGATION)) is not None
    world.configure(revalidate_every=300)
    assert to_issuer(browser.get("/", NAVIGATION))["prompt"] == "none"


# By refresh token ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [NAVIGATION, SCRIPT, PREFETCH, FRAME])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_request_that_is_due_asks(offline: Browser, headers: dict[str, str], method: str) -> None:
    world = offline.world
    world.now += EVERY
    outcome = offline.send(offline.request(method, "/", headers))
    session = forwarded(outcome)
    assert session is not None
    assert session.confirmed_at == world.now
    assert len(world.idp.refreshed) == 1
    world.now += EVERY - 1
    assert forwarded(offline.get("/", SCRIPT)) is not None
    assert len(world.idp.refreshed) == 1


def test_a_session_that_the_issuer_gave_up_is_over_with_that_very_request(offline: Browser) -> None:
    world = offline.world
    world.now += EVERY
    world.idp.grants.clear()
    problem = problem_of(offline.get("/", SCRIPT), 401)
    assert (problem["code"], problem["reason"]) == ("session_revoked", "revoked")
    assert world.tombstones() == ["revoked"]
    assert world.log[-1]["kmsi"]["code"] == "session_revoked"
    assert problem_of(offline.get("/", SCRIPT), 401)["code"] == "session_revoked"  # told why, as often as they ask
    assert len(world.idp.refreshed) == 1


def test_a_person_is_told_and_taken_to_a_real_sign_in_then(offline: Browser) -> None:
    offline.world.now += EVERY
    offline.world.idp.grants.clear()
    page = page_of(offline.get("/", NAVIGATION), 401)
    assert page.context["reason"] == "revoked"
    assert offline.world.notes[-1]["reason"] == "revoked"
    assert to_issuer(offline.get(page.context["login_url"]))["prompt"] == "login"


@pytest.mark.parametrize(
    "answer",
    [ProviderUnavailable("hangs"), HttpResponse(503, {}, b""), HttpResponse(401, {}, b'{"error": "invalid_client"}')],
)
def test_what_the_issuer_can_not_answer_is_put_off(offline: Browser, answer: Any) -> None:
    world = offline.world
    world.now += EVERY
    world.idp.refresh_answer = answer
    assert forwarded(offline.get("/", SCRIPT)) is not None
    assert len(world.idp.refreshed) == 1
    outcome = offline.get("/", SCRIPT)
    assert isinstance(outcome, Forward)
    assert outcome.until == world.now + 60  # settled up to then, in every process
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]
    world.now += 60
    world.idp.refresh_answer = None
    assert forwarded(offline.get("/", SCRIPT)) is not None
    assert offline.session is not None
    assert (offline.session.confirmed_at, offline.session.put_off_until) == (world.now, None)


def test_it_is_put_off_for_as_long_as_it_takes(offline: Browser) -> None:
    """An issuer that is away for a week ends nobody."""
    world = offline.world
    world.configure(session_expiry="absolute")
    world.idp.is_away = True
    for _ in range(7 * 24):
        world.now += HOUR
        assert forwarded(offline.get("/", SCRIPT)) is not None


def test_an_issuer_that_failed_just_now_is_not_asked(offline: Browser) -> None:
    world = offline.world
    world.now += EVERY
    world.may_ask = False
    assert forwarded(offline.get("/", SCRIPT)) is not None
    assert world.idp.refreshed == []
    assert offline.session is not None
    assert offline.session.put_off_until == world.now + 60


def test_who_finds_another_request_at_it_goes_on(offline: Browser) -> None:
    world = offline.world
    world.now += EVERY
    assert offline.session is not None
    world.asked = []
    first = world.steps(dispatch.answer(world.app, offline.request("GET", "/", SCRIPT), world.now))
    while not world.asked_for(ask.PutTicket):
        next(first)
    outcome = world.answer(offline.request("GET", "/", NAVIGATION))
    assert isinstance(outcome, Forward)
    assert outcome.until == 0
    assert world.idp.refreshed == []


def test_settings_that_can_not_work_are_in_the_log_and_end_nobody(offline: Browser) -> None:
    world = offline.world
    world.now += EVERY
    world.idp.refresh_answer = HttpResponse(
        401, {}, b'{"error": "invalid_client", "error_description": "AADSTS7000222"}'
    )
    assert forwarded(offline.get("/", SCRIPT)) is not None
    record = world.log[-1]
    assert record["kmsi"]["code"] == "refresh_refused"
    assert record["status"]["errorCode"] == 7000222


def test_a_store_that_can_not_be_written_is_a_503_and_ends_nobody(offline: Browser) -> None:
    world = offline.world
    world.now += EVERY
    world.broken[ask.PutTicket] = StoreUnavailable("read-only")
    assert problem_of(offline.get("/", SCRIPT), 503)["code"] == "store_unavailable"
    assert world.idp.refreshed == []
    world.broken.clear()
    assert forwarded(offline.get("/", SCRIPT)) is not None


def test_sealed_tokens_that_can_not_be_opened_leave_it_to_the_browser(offline: Browser) -> None:
    world, session = offline.world, offline.session
    assert session is not None
    world.store.save(replace(session, sealed=b"damaged" * 20, version=session.version + 1), world.now)
    world.now += EVERY
    assert forwarded(offline.get("/", NAVIGATION)) is not None
    assert to_issuer(offline.get("/", NAVIGATION))["prompt"] == "none"


def test_a_renewed_cookie_goes_out_with_it(offline: Browser) -> None:
    """A rolling session that is due for both keeps its cookie going."""
    offline.world.now += 2 * HOUR
    outcome = offline.get("/", NAVIGATION)
    assert isinstance(outcome, Forward)
    assert len(outcome.set_cookies) == 1
    assert offline.world.idp.refreshed


# By a navigation -------------------------------------------------------------------------------------------------


def test_a_navigation_goes_by_way_of_the_issuer_and_back(world: World, browser: Browser) -> None:
    cookie, before = browser.token, browser.session
    world.play(sessions.save_data(before, {"note": 1}, frozenset()))  # type: ignore[arg-type]
    world.now += EVERY
    outcome = browser.get("/page?x=1", NAVIGATION)
    asked = to_issuer(outcome)
    assert (asked["prompt"], asked["login_hint"]) == ("none", "alice@example.com")
    outcome = back(browser, location(outcome), {**ALICE, "sid": "second", "auth_time": 1_800_000_000})
    assert location(outcome) == "/page?x=1"
    assert browser.token == cookie
    after = browser.session
    assert before is not None
    assert after is not None
    assert (after.confirmed_at, after.put_off_until) == (world.now, None)
    same = ("key", "started_at", "renewed_at", "expires_at", "persistent", "begun_at", "decision", "correlation_id")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert json.loads(after.data) == {"note": 1}
    assert after.sids == ("first", "second")
    assert not [name for name in browser.jar if ".t." in name]
    assert forwarded(browser.get("/page?x=1", NAVIGATION)) is not None
    assert len(world.live()) == 1
    assert world.tombstones() == []


def test_it_is_no_sign_in_and_asks_nothing_of_the_person(world: World, browser: Browser) -> None:
    world.now += EVERY
    records = len(world.log)
    back(browser, location(browser.get("/", NAVIGATION)))
    assert len(world.log) == records
    assert browser.persistent


def test_the_issuers_word_on_the_sign_in_itself_counts(world: World, browser: Browser) -> None:
    """The person may have signed in anew there, for another app."""
    world.now += EVERY
    url = location(browser.get("/", NAVIGATION))
    world.now += 5
    back(browser, url, {**ALICE, "auth_time": int(world.now) - 60, "amr": ["pwd", "mfa"], "groups": ["g"]})
    assert browser.session is not None
    assert browser.session.auth_time == world.now - 60
    assert browser.session.second_factor_at == world.now - 60
    assert browser.session.claims["groups"] == ["g"]


def test_what_the_issuer_leaves_unsaid_stays_known(world: World) -> None:
    browser = Browser(world)
    browser.sign_in({**ALICE, "amr": ["pwd", "mfa"]})
    assert browser.session is not None
    before = browser.session
    world.now += EVERY
    back(browser, location(browser.get("/", NAVIGATION)), {**ALICE, "auth_time": None, "amr": None})
    assert browser.session.auth_time == before.auth_time
    assert browser.session.second_factor_at == before.second_factor_at
    assert browser.session.claims["amr"] == ["pwd", "mfa"]


@pytest.mark.parametrize(
    "error",
    ["login_required", "interaction_required", "consent_required", "account_selection_required", "access_denied"],
)
def test_an_issuer_that_does_not_confirm_ends_the_session(world: World, browser: Browser, error: str) -> None:
    world.now += EVERY
    url = location(browser.get("/page", NAVIGATION))
    outcome = answered(browser, url, error)
    asked = to_issuer(outcome)  # and the person signs in
    assert "prompt" not in asked
    assert asked["login_hint"] == "alice@example.com"
    assert world.tombstones() == ["revoked"]
    record = world.log[-1]
    assert (record["kmsi"]["code"], record["isInteractive"]) == ("session_revoked", False)
    assert error in record["status"]["additionalDetails"]
    assert [name for name in cleared(outcome) if ".t." in name]
    assert problem_of(browser.get("/", SCRIPT), 401)["code"] == "session_revoked"
    assert location(back(browser, location(outcome))).startswith("/.auth/kmsi")


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable", "invalid_request", "invalid_scope", "x"])
def test_any_other_answer_tells_nothing(world: World, browser: Browser, error: str) -> None:
    world.now += EVERY
    url = location(browser.get("/page", NAVIGATION))
    assert location(answered(browser, url, error)) == "/page"
    assert world.log[-1]["kmsi"]["code"] == "provider_error"
    outcome = browser.get("/page", NAVIGATION)  # no circle
    assert isinstance(outcome, Forward)
    assert outcome.until == world.now + 300
    world.now += 299
    assert forwarded(browser.get("/page", NAVIGATION)) is not None
    world.now += 1
    assert to_issuer(browser.get("/page", NAVIGATION))["prompt"] == "none"


def test_a_code_that_can_not_be_redeemed_tells_nothing(world: World, browser: Browser) -> None:
    world.now += EVERY
    url = location(browser.get("/page", NAVIGATION))
    world.idp.token_answer = HttpResponse(503, {}, b"")
    assert location(back(browser, url)) == "/page"
    assert forwarded(browser.get("/page", NAVIGATION)) is not None


def test_an_issuer_that_keeps_the_browser_never_gets_it_again_at_once(world: World, browser: Browser) -> None:
    """``prompt=none`` answered by a form or a 500: the person presses Back."""
    world.now += EVERY
    to_issuer(browser.get("/page", NAVIGATION))
    for _ in range(3):
        assert forwarded(browser.get("/page", NAVIGATION)) is not None
        world.now += 99


def test_another_person_at_the_issuer_is_signed_in_as_that_person(world: World, browser: Browser) -> None:
    session = browser.session
    assert session is not None
    world.play(sessions.save_data(session, {"note": "of Alice"}, frozenset()))
    world.now += EVERY
    url = location(browser.get("/page", NAVIGATION))
    world.now += 120  # the issuer's session is older than our question: a silent sign-in
    back(browser, url, {**BOB, "auth_time": int(world.now) - HOUR})
    assert browser.session is not None
    assert browser.session.subject == "bob"
    assert browser.session.data == b"{}"
    assert not browser.session.persistent
    assert world.tombstones() == ["replaced"]


def test_a_session_that_ended_while_the_browser_was_away_is_not_revived(world: World, browser: Browser) -> None:
    world.now += EVERY
    url = location(browser.get("/page", NAVIGATION))
    browser.post("/.auth/logout")
    outcome = back(browser, url)
    assert page_of(outcome, 400).context["code"] == "no_cookies"
    assert browser.session is None


def test_of_many_tabs_each_comes_back_to_its_page(world: World, browser: Browser) -> None:
    world.now += EVERY
    request = browser.request("GET", "/one", NAVIGATION)
    first = location(browser.get("/one", NAVIGATION))
    # The second was on its way already when the first was sent.
    session = browser.session
    assert session is not None
    world.store.save(replace(session, put_off_until=None, version=session.version + 1), world.now)
    second = location(browser.send(replace(request, path="/two", target="/two")))
    world.now += 2
    assert location(back(browser, first)) == "/one"
    redeemed = len(world.idp.codes)
    assert location(back(browser, second)) == "/two"
    assert len(world.idp.codes) == redeemed + 1  # it was confirmed since: nothing to redeem
    assert len(world.live()) == 1


def test_the_browser_is_not_sent_to_an_issuer_that_is_away(world: World, browser: Browser) -> None:
    world.now += EVERY
    world.idp.is_away = True
    assert forwarded(browser.get("/page", NAVIGATION)) is not None
    outcome = browser.get("/page", NAVIGATION)
    assert isinstance(outcome, Forward)
    assert outcome.until == world.now + 60
    world.now += 20 * HOUR
    assert forwarded(browser.get("/page", NAVIGATION)) is not None
    assert forwarded(browser.get("/page", SCRIPT)) is not None
    world.idp.is_away = False
    world.now += 61
    assert "prompt" not in to_issuer(browser.get("/page", NAVIGATION))


@pytest.mark.parametrize("failure", [ProviderUnavailable("away"), ProtocolError("discovery_invalid", "x", status=502)])
def test_nor_to_one_whose_metadata_are_not_in_order(world: World, browser: Browser, failure: Any) -> None:
    world.now += EVERY
    world.broken[ask.GetProvider] = failure
    assert forwarded(browser.get("/page", NAVIGATION)) is not None


@pytest.mark.parametrize("headers", [SCRIPT, PREFETCH, FRAME])
def test_in_the_background_it_goes_on_for_the_grace(world: World, browser: Browser, headers: dict[str, str]) -> None:
    world.configure(session_expiry="absolute")
    world.now += EVERY + GRACE - 1
    outcome = browser.get("/", headers)
    assert isinstance(outcome, Forward)
    assert outcome.until == 0  # a navigation is not to pass on the fast path
    world.now += 1
    outcome = browser.get("/", headers)
    assert isinstance(outcome, Reply)
    assert outcome.status == 401
    assert headers_of(outcome)["www-authenticate"].startswith("Cookie ")


def test_the_401_leads_to_where_it_is_confirmed(world: World, browser: Browser) -> None:
    world.now += EVERY + GRACE
    problem = problem_of(browser.get("/", {**SCRIPT, "referer": "https://app.example.com/page"}), 401)
    assert problem["code"] == "session_unconfirmed"
    posted = page_of(browser.post("/"), 401)
    assert posted.context["correlation_id"] == world.live()[0].correlation_id
    page = location(browser.get(problem["login_url"], NAVIGATION))
    assert page == "/page"
    assert to_issuer(browser.get(page, NAVIGATION))["prompt"] == "none"
    assert world.live()


def test_after_the_grace_who_never_answered_signs_in(world: World, browser: Browser) -> None:
    """And it works: the answer is taken although there is a session."""
    world.now += EVERY
    to_issuer(browser.get("/page", NAVIGATION))
    world.now += GRACE
    outcome = browser.get("/page", NAVIGATION)
    assert "prompt" not in to_issuer(outcome)
    assert location(back(browser, location(outcome))) == "/page"
    assert browser.persistent  # the answer that was given before holds
    assert forwarded(browser.get("/page", NAVIGATION)) is not None
    assert world.tombstones() == ["replaced"]


def test_a_public_page_is_no_place_to_be_sent_away_from(world: World, browser: Browser) -> None:
    world.configure(public_paths=["/about"])
    world.now += EVERY
    assert forwarded(browser.get("/about", NAVIGATION)) is not None
    world.now += GRACE
    assert forwarded(browser.get("/about", NAVIGATION)) is None  # as nobody


def test_with_protect_none_a_navigation_asks_all_the_same(world: World, browser: Browser) -> None:
    world.configure(protect="none")
    world.now += EVERY
    assert to_issuer(browser.get("/", NAVIGATION))["prompt"] == "none"


def test_looking_at_oneself_asks_nobody(world: World, browser: Browser) -> None:
    world.now += EVERY + GRACE
    outcome = browser.get("/.auth/me", SCRIPT)
    assert isinstance(outcome, Reply)
    assert outcome.status == 200
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]


def test_a_silent_sign_in_that_the_app_asks_for_is_none_of_this(world: World, browser: Browser) -> None:
    url = location(browser.get("/.auth/login?prompt=none", {**NAVIGATION, "sec-fetch-site": "same-origin"}))
    assert page_of(answered(browser, url, "login_required"), 400).context["code"] == "provider_error"
    assert len(world.live()) == 1


def test_an_unanswered_question_of_a_session_that_is_gone_signs_in(world: World, browser: Browser) -> None:
    world.now += EVERY
    url = location(browser.get("/page", NAVIGATION))
    session = browser.session
    assert session is not None
    world.store.end(session.key, "back_channel", world.now)
    assert "prompt" not in to_issuer(answered(browser, url, "login_required"))
    assert world.tombstones() == ["back_channel"]

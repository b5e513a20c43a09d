"""Sessions: kept alive, replaced, carried over, cut short."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    COOKIE,
    DAY,
    HOUR,
    ISSUER,
    MINUTE,
    NOW,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    finished,
    forwarded,
    location,
    problem_of,
    set_cookies,
)

from kmsi_middleware.flows import dispatch, sessions
from kmsi_middleware.rules.seals import key_of
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import StoreConflict, Unavailable
from kmsi_middleware.vocabulary.messages import Forward
from kmsi_middleware.vocabulary.session import Session


def signed_in(browser: Browser) -> bool:
    """Whether a script's request passes."""
    outcome = browser.get("/", SCRIPT)
    if isinstance(outcome, Forward):
        assert outcome.session is not None
        return True
    problem_of(outcome, 401)
    return False


# Kept alive ------------------------------------------------------------------------------------------------


def test_a_passing_request_writes_nothing_and_sets_no_cookie(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes")
    for _ in range(5):
        outcome = browser.get("/orders")
        assert set_cookies(outcome) == ()
        assert [type(effect) for effect in world.asked] == [ask.LoadSession]
        world.now += 10


def test_a_renewal_writes_once_and_sets_the_persistent_cookie_to_what_is_left(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes")
    token = browser.token
    world.now += 3 * DAY
    outcome = browser.get("/orders")
    assert [type(effect) for effect in world.asked] == [ask.LoadSession, ask.SaveSession]
    assert len(set_cookies(outcome)) == 1
    assert isinstance(outcome, Forward)
    assert outcome.until == 0  # what was loaded is not what is there now
    assert browser.token == token
    assert browser.jar[COOKIE].until == world.now + 30 * DAY
    assert browser.session is not None
    assert browser.session.expires_at == world.now + 30 * DAY
    assert browser.session.version == 2
    assert set_cookies(browser.get("/orders")) == ()
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]


@pytest.mark.parametrize(
    ("answer", "lifetime", "step"), [("yes", DAY, HOUR), ("no", DAY, HOUR), ("no", HOUR, 6 * MINUTE)]
)
def test_a_session_is_renewed_when_a_tenth_of_its_lifetime_or_an_hour_has_gone(
    answer: str, lifetime: int, step: int
) -> None:
    world = World(session_lifetime=lifetime)
    browser = Browser(world)
    browser.sign_in(answer=answer)
    for seconds, renewed in ((step - 1, False), (1, True)):
        world.now += seconds
        assert forwarded(browser.get("/"))
        assert bool(world.asked_for(ask.SaveSession)) is renewed


def test_a_renewal_of_a_non_persistent_session_sets_no_cookie(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += 3 * HOUR
    outcome = browser.get("/orders")
    assert set_cookies(outcome) == ()
    assert [type(effect) for effect in world.asked] == [ask.LoadSession, ask.SaveSession]
    assert not browser.persistent


@pytest.mark.parametrize("answer", ["yes", "no"])
@pytest.mark.parametrize("fixed", [{"session_expiry": "absolute"}, {"session_max_age": 1, "session_lifetime": DAY}])
def test_where_the_end_is_fixed_the_use_is_noted_without_a_cookie(fixed: dict[str, Any], answer: str) -> None:
    world = World(**fixed)
    browser = Browser(world)
    browser.sign_in(answer=answer)
    before, cookie = browser.session, browser.jar[COOKIE]
    assert before is not None
    for _ in range(20):
        world.now += HOUR
        outcome = browser.get("/orders")
        assert [type(effect) for effect in world.asked] == [ask.LoadSession, ask.SaveSession]
        assert set_cookies(outcome) == ()
        assert browser.session is not None
        assert (browser.session.renewed_at, browser.session.expires_at) == (world.now, before.expires_at)
    assert browser.jar[COOKIE] == cookie


def test_the_app_sees_the_renewed_session(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += 3 * HOUR
    assert forwarded(browser.get("/")) == browser.session


def test_a_renewal_that_another_request_made_first_is_not_repeated(world: World, browser: Browser) -> None:
    """The save conflicts; the session is loaded again and needs nothing any more."""
    browser.sign_in()
    world.now += 3 * HOUR
    other = Browser(world, jar=browser.jar)
    flow = world.steps(dispatch.answer(world.app, browser.request("GET", "/"), world.now))
    next(flow)
    next(flow)  # loaded, and about to save
    assert forwarded(other.get("/"))
    world.asked = []
    outcome = finished(flow)
    assert [type(effect) for effect in world.asked] == [ask.SaveSession, ask.LoadSession]
    assert forwarded(outcome) == browser.session


def test_a_renewal_that_meets_a_sign_out_does_not_pass(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += 3 * HOUR
    session = browser.session
    assert session is not None
    save = world.store.save

    def end_first(changed: Session, now: float) -> None:
        world.store.end(session.key, "revoked", now)
        save(changed, now)

    world.store.save = end_first  # type: ignore[method-assign]
    assert problem_of(browser.get("/", SCRIPT), 401)["code"] == "session_revoked"


def test_a_renewal_that_never_wins_still_lets_a_good_session_pass(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += 3 * HOUR
    world.broken[ask.SaveSession] = StoreConflict("always another")
    assert forwarded(browser.get("/")) == browser.session
    assert len(world.asked) == 2 * sessions.MOST_ATTEMPTS


@pytest.mark.parametrize("answer", ["yes", "no"])
@pytest.mark.parametrize("expiry", ["rolling", "absolute"])
@pytest.mark.parametrize(("seconds", "good"), [(-1, True), (0, False), (1, False)])
def test_an_idle_session_ends_at_the_second_that_was_promised(
    answer: str, expiry: str, seconds: int, good: bool
) -> None:
    world = World(session_expiry=expiry)
    browser = Browser(world)
    browser.sign_in(answer=answer)
    for cookie in browser.jar.values():
        cookie.until = None  # a browser that restores what should be gone
    world.now += (30 * DAY if answer == "yes" else DAY) + seconds
    assert signed_in(browser) is good


def test_activity_keeps_a_rolling_session_up_to_its_greatest_age() -> None:
    world = World(session_max_age=3)
    browser = Browser(world)
    browser.sign_in()
    while world.now < NOW + 3 * DAY - HOUR:
        world.now += HOUR
        assert signed_in(browser)
    world.now = NOW + 3 * DAY - 1
    assert signed_in(browser)
    world.now += 1
    assert problem_of(browser.get("/", SCRIPT), 401)["reason"] == "absolute"


# A new sign-in ---------------------------------------------------------------------------------------------


def again(browser: Browser, person: dict[str, Any] = ALICE, answer: str = "no") -> None:
    """Sign in anew while there is a session."""
    at = location(browser.come_back(browser.begin("/.auth/login?prompt=login"), person))
    browser.reply_to(at, answer)


@pytest.mark.parametrize("person", [ALICE, BOB])
def test_each_sign_in_gives_a_new_token_and_the_old_one_stops_working(
    world: World, browser: Browser, person: dict[str, Any]
) -> None:
    browser.sign_in()
    old = Browser(world, jar=dict(browser.jar))
    again(browser, person)
    assert browser.token != old.token
    assert [session.key for session in world.live()] == [key_of(browser.token)]
    assert problem_of(old.get("/", SCRIPT), 401)["code"] == "session_replaced"


def test_a_fresh_sign_in_begins_both_limits_anew() -> None:
    """NIST SP 800-63B-4 §5.2: the inactivity timeout and the overall one."""
    world = World(session_max_age=3, session_lifetime=DAY)
    browser = Browser(world)
    browser.sign_in()
    for _ in range(5):
        world.now += DAY // 2
        assert signed_in(browser)
    again(browser)
    for _ in range(5):
        world.now += DAY // 2
        assert signed_in(browser)
    world.now += DAY // 2
    assert problem_of(browser.get("/", SCRIPT), 401)["reason"] == "absolute"


def test_an_abandoned_sign_in_leaves_the_session_that_was_there(world: World, browser: Browser) -> None:
    browser.sign_in()
    before = browser.session
    browser.come_back(browser.begin("/.auth/login?prompt=login"), BOB)
    assert forwarded(browser.get("/")) == before


def test_the_new_session_is_there_before_the_old_one_is_ended(world: World, browser: Browser) -> None:
    browser.sign_in()
    again(browser)
    kinds = [type(effect) for effect in world.asked_for(ask.CreateSession, ask.EndSession)]
    assert kinds == [ask.CreateSession, ask.EndSession]


def put_data(world: World, browser: Browser, **data: Any) -> None:
    session = browser.session
    assert session is not None
    world.play(sessions.save_data(session, data, frozenset()))


def test_the_apps_data_and_older_sids_are_carried_over_for_the_same_person(world: World, browser: Browser) -> None:
    browser.sign_in()
    put_data(world, browser, cart=["book"])
    again(browser)
    assert browser.session is not None
    assert browser.session.data == b'{"cart":["book"]}'
    assert browser.session.sids == ("sid-1", "sid-2")
    assert [s.key for s in world.store.find("sid-1", ISSUER, world.now)] == [browser.session.key]


@pytest.mark.parametrize("person", [BOB, {**ALICE, "iss": "https://other.example"}])
def test_nothing_is_carried_over_to_another_person(world: World, browser: Browser, person: dict[str, Any]) -> None:
    """The same subject at another issuer is another person."""
    browser.sign_in()
    put_data(world, browser, cart=["book"])
    if "iss" in person:
        world.configure(issuer=person["iss"])
        world.idp.metadata = replace(world.idp.metadata, issuer=person["iss"])
    again(browser, person)
    assert browser.session is not None
    assert browser.session.data == b"{}"
    assert browser.session.sids == ("sid-2",)


def test_a_new_sign_in_ends_for_good_what_a_tightened_setting_had_ended(world: World, browser: Browser) -> None:
    browser.sign_in()
    old = Browser(world, jar=dict(browser.jar))
    world.configure(session_lifetime=HOUR)
    world.now += 2 * HOUR
    browser.sign_in()
    world.configure(session_lifetime=DAY)
    assert not signed_in(old)
    assert signed_in(browser)


def test_what_ran_out_is_not_carried_over(world: World, browser: Browser) -> None:
    browser.sign_in()
    put_data(world, browser, cart=["book"])
    world.now += DAY
    browser.sign_in()
    assert browser.session is not None
    assert (browser.session.data, browser.session.sids) == (b"{}", ("sid-2",))


def test_older_sids_are_bounded_and_the_newest_stay(world: World, browser: Browser) -> None:
    browser.sign_in()
    for _ in range(12):
        again(browser)
    assert browser.session is not None
    assert browser.session.sids == tuple(f"sid-{number}" for number in range(6, 14))


# The app's data --------------------------------------------------------------------------------------------


def test_data_is_merged_by_top_level_key_when_another_request_was_faster(world: World, browser: Browser) -> None:
    browser.sign_in()
    mine = browser.session
    assert mine is not None
    put_data(world, browser, a=1, b=1, c=1)
    saved = world.play(sessions.save_data(mine, {"b": 2}, frozenset({"c"})))
    assert [type(effect) for effect in world.asked] == [ask.SaveSession, ask.LoadSession, ask.SaveSession]
    assert saved == browser.session
    assert saved.data == b'{"a":1,"b":2}'


def test_data_of_a_session_that_ended_meanwhile_is_not_saved(world: World, browser: Browser) -> None:
    browser.sign_in()
    mine = browser.session
    assert mine is not None
    browser.post("/.auth/logout")
    assert world.play(sessions.save_data(mine, {"b": 2}, frozenset())) is None
    assert world.live() == []


def test_data_that_never_wins_is_not_available(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.broken[ask.SaveSession] = StoreConflict("always another")
    with pytest.raises(Unavailable, match="too quickly"):
        put_data(world, browser, a=1)


def test_a_prefetch_whose_app_writes_data_does_not_put_off_the_next_renewal(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += 20 * HOUR
    seen = forwarded(browser.get("/", PREFETCH))
    assert seen is not None
    world.play(sessions.save_data(seen, {"seen": 1}, frozenset()))
    world.now += MINUTE
    assert forwarded(browser.get("/"))
    assert browser.session is not None
    assert browser.session.expires_at == world.now + DAY


# Settings that change --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "settings", "age"),
    [
        ("no", {"session_lifetime": HOUR}, HOUR),
        ("yes", {"keep_me_signed_in_days": 2}, 2 * DAY),
        ("yes", {"session_max_age": 1}, DAY),
        ("no", {"session_max_age": 1, "session_expiry": "absolute", "session_lifetime": 3 * HOUR}, 3 * HOUR),
    ],
)
def test_a_tightened_setting_ends_the_sessions_that_no_longer_fit_at_once(
    answer: str, settings: dict[str, Any], age: int
) -> None:
    for seconds in (-1, 0):
        world = World()
        browser = Browser(world)
        browser.sign_in(answer=answer)
        world.now += age + seconds
        world.configure(**settings)
        assert signed_in(browser) is (seconds < 0)


def test_a_loosened_setting_reaches_a_session_with_its_next_renewal_only(world: World, browser: Browser) -> None:
    world.configure(session_lifetime=HOUR)
    browser.sign_in()
    world.configure(session_lifetime=DAY)
    world.now += HOUR
    assert not signed_in(browser)


def test_keeping_switched_off_makes_a_persistent_session_and_its_cookie_non_persistent(
    world: World, browser: Browser
) -> None:
    browser.sign_in(answer="yes")
    world.now += HOUR
    world.configure(keep_me_signed_in_days=0)
    assert browser.persistent
    outcome = browser.get("/")
    assert forwarded(outcome)
    assert len(set_cookies(outcome)) == 1
    assert not browser.persistent
    assert browser.session is not None
    assert not browser.session.persistent
    assert browser.session.expires_at == NOW + DAY
    world.now = NOW + DAY + 10 * MINUTE
    assert not signed_in(browser)


def test_a_yes_to_a_question_that_outlasted_the_setting_keeps_nobody(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    world.configure(keep_me_signed_in_days=0)
    browser.reply_to(at, "yes")
    assert not browser.persistent
    assert browser.session is not None
    assert (browser.session.persistent, browser.session.expires_at) == (False, NOW + DAY)


def test_keeping_switched_off_ends_who_was_away_for_longer_than_a_session_lasts(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes")
    world.configure(keep_me_signed_in_days=0)
    world.now += DAY
    assert not signed_in(browser)


def test_hiding_the_question_does_not_touch_sessions_that_were_kept_before(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes")
    world.configure(show_option_to_remain_signed_in=False)
    world.now += 29 * DAY
    assert signed_in(browser)
    assert browser.persistent

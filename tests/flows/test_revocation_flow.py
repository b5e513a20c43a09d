"""Ending sessions from outside, and what becomes of the sign-ins around it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    DAY,
    HOUR,
    ISSUER,
    MINUTE,
    NAVIGATION,
    NOW,
    SCRIPT,
    Browser,
    World,
    cleared,
    code_of,
    finished,
    forwarded,
    location,
    page_of,
    play_between,
    problem_of,
    query_of,
    ways_of,
    with_headers,
)

from kmsi_middleware.flows import dispatch, revocation
from kmsi_middleware.rules.revocation import MARK_SECONDS
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import EVERYBODY, Mark, user_key

ALICE_KEY = user_key(ISSUER, "alice")
ENTRA = {**ALICE, "tid": "tenant", "oid": "object"}


def revoke_user(world: World, user: bytes = ALICE_KEY) -> int:
    ended: int = world.play(revocation.revoke_user(user, world.now, "python"))
    return ended


def signed_in(world: World, person: dict[str, Any], count: int = 1) -> list[Browser]:
    browsers = [Browser(world) for _ in range(count)]
    for browser in browsers:
        browser.sign_in(person)
    return browsers


def subjects(world: World) -> list[str]:
    return sorted(session.subject for session in world.live())


def mark_of(world: World, *keys: bytes) -> Mark:
    mark: Mark = world.store.read_mark(keys, world.now)
    return mark


# Ending ----------------------------------------------------------------------------------------------------


def test_one_session_ends_and_no_other(world: World) -> None:
    one, two = signed_in(world, ALICE, 2)
    assert one.session is not None
    assert world.play(revocation.revoke(one.session.key, world.now, "cli")) == 1
    assert problem_of(one.get("/", SCRIPT), 401)["reason"] == "revoked"
    assert forwarded(two.get("/", SCRIPT))
    assert mark_of(world, ALICE_KEY) == Mark()


def test_what_is_not_there_any_more_is_not_ended_again(world: World, browser: Browser) -> None:
    browser.sign_in()
    session = browser.session
    assert session is not None
    assert world.play(revocation.revoke(b"nobody's key".ljust(32), world.now, "cli")) == 0
    browser.post("/.auth/logout")
    assert world.play(revocation.revoke(session.key, world.now, "cli")) == 0
    assert world.tombstones() == ["signed_out"]


def test_a_session_that_ran_out_keeps_its_reason(world: World, browser: Browser) -> None:
    browser.sign_in()
    session = browser.session
    assert session is not None
    world.now += DAY
    assert world.play(revocation.revoke(session.key, world.now, "cli")) == 0
    assert revoke_user(world) == 0
    assert problem_of(browser.get("/", SCRIPT), 401)["reason"] == "idle"


def test_all_sessions_of_a_user_end(world: World) -> None:
    mine = signed_in(world, ALICE, 3)
    signed_in(world, BOB)
    assert revoke_user(world) == 3
    assert subjects(world) == ["bob"]
    for browser in mine:
        assert problem_of(browser.get("/", SCRIPT), 401)["code"] == "session_revoked"
    assert revoke_user(world) == 0


def test_a_user_of_entra_is_known_by_tenant_and_object_id(world: World) -> None:
    signed_in(world, ENTRA)
    signed_in(world, {**ENTRA, "sub": "alice in another app"})
    signed_in(world, {**ENTRA, "oid": "another object"})
    assert revoke_user(world, user_key("tenant", "object")) == 2
    assert len(world.live()) == 1


def test_all_others_end_and_this_one_stays(world: World) -> None:
    here, *others = signed_in(world, ALICE, 3)
    signed_in(world, BOB)
    assert here.session is not None
    assert world.play(revocation.revoke_others(here.session, world.now, "page")) == 2
    assert forwarded(here.get("/", SCRIPT))
    for browser in others:
        problem_of(browser.get("/", SCRIPT), 401)
    assert subjects(world) == ["alice", "bob"]


def test_everything_ends_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "PAGE", 2)
    signed_in(world, ALICE, 3)
    signed_in(world, BOB, 2)
    assert world.play(revocation.revoke_everything(world.now, "cli")) == 5
    assert world.live() == []
    assert len(world.asked_for(ask.ListSessions)) >= 3
    assert mark_of(world) == Mark(NOW, NOW)


def test_the_mark_is_put_before_the_sessions_are_looked_for(world: World) -> None:
    """Else a session that begins in between would be missed."""
    here, other = signed_in(world, ALICE, 2)
    assert here.session is not None
    assert other.session is not None
    flows = [
        revocation.revoke(other.session.key, world.now, "cli"),
        revocation.revoke_others(here.session, world.now, "cli"),
        revocation.revoke_user(ALICE_KEY, world.now, "cli"),
        revocation.revoke_everything(world.now, "cli"),
    ]
    for flow in flows:
        world.play(flow)
        kinds = [type(effect) for effect in world.asked if not isinstance(effect, ask.LoadSession)]
        assert kinds[0] is ask.PutMark
        assert ask.PutMark not in kinds[1:]


def test_of_a_store_that_fails_on_the_way_the_mark_is_there_already(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.broken[ask.FindUserSessions] = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        revoke_user(world)
    assert mark_of(world, ALICE_KEY) == Mark(NOW, NOW)


def test_a_session_named_by_its_own_subject_marks_no_other_browser(world: World) -> None:
    """Some issuers send the subject as ``sid``; then it tells nothing of the browser."""
    one, two = signed_in(world, {**ALICE, "sid": "alice"}, 2)
    assert one.session is not None
    world.play(revocation.revoke(one.session.key, world.now, "cli"))
    assert world.asked_for(ask.PutMark) == []
    world.now += MINUTE
    two.jar.clear()
    assert location(two.come_back(two.begin(), {**ALICE, "sid": "alice"})).startswith("/.auth/kmsi?")


# A sign-in that was under way ------------------------------------------------------------------------------


def stopped(browser: Browser, outcome: Any, back: str = "/") -> None:
    """The page that says so; from it the person signs in really, and gets to where they wanted to go."""
    page = page_of(outcome, 403)
    assert page.name == "error.html"
    assert page.context["code"] == "sign_in_revoked"
    asked = query_of(ways_of(page)["Try again"])
    assert asked == {"post_login_redirect_uri": back, "prompt": "login"}
    url = location(browser.get(ways_of(page)["Try again"]))
    assert query_of(url)["prompt"] == "login"
    asking = location(browser.come_back(url))
    assert location(browser.reply_to(asking, "no")) == back
    assert forwarded(browser.get(back, SCRIPT))


@pytest.mark.parametrize("user", [ALICE_KEY, EVERYBODY])
def test_a_sign_in_that_was_at_the_provider_becomes_no_session(world: World, browser: Browser, user: bytes) -> None:
    url = browser.begin("/orders")
    world.now += MINUTE
    world.play(revocation.revoke_user(user, world.now, "cli"))
    world.now += MINUTE
    outcome = browser.come_back(url)
    assert world.live() == []
    assert world.log[-1]["kmsi"]["code"] == "sign_in_revoked"
    assert world.log[-1]["userId"] == "alice"
    assert world.log[-1]["status"]["errorCode"] == 50173
    stopped(browser, outcome, "/orders")


def test_one_that_waited_for_the_answer_becomes_no_session_either(world: World, browser: Browser) -> None:
    asking = browser.to_interrupt(target="/orders")
    world.now += MINUTE
    revoke_user(world)
    waiting = dict(browser.jar)
    outcome = browser.reply_to(asking, "yes")
    assert world.live() == []
    assert world.log[-1]["kmsi"]["code"] == "sign_in_revoked"
    assert [name for name in cleared(outcome) if ".p." in name]
    browser.jar = waiting
    again = browser.post("/.auth/kmsi", {"ticket": query_of(asking)["ticket"], "answer": "yes"})
    assert code_of(again) == "interrupt_expired"
    world.now += 2 * MINUTE
    stopped(browser, outcome, "/orders")


@pytest.mark.parametrize("order", range(12))
def test_however_a_revocation_meets_a_sign_in_no_session_is_left(world: World, browser: Browser, order: int) -> None:
    """Effect by effect between each other: the store decides, in the step that makes the session."""
    world.configure(show_option_to_remain_signed_in=False)
    url = browser.begin()
    answer = world.idp.sign_in(url, ALICE, world.now)
    request = browser.request("GET", f"/.auth/callback?code={answer['code']}&state={answer['state']}")
    sign_in = dispatch.answer(world.app, request, world.now)
    revoke = revocation.revoke_user(ALICE_KEY, world.now, "cli")
    play_between(world, [sign_in, revoke], [0] * order + [1] * 9)
    assert world.live() == []


def test_a_sign_in_that_is_stopped_in_its_last_step_is_a_page_as_well(world: World, browser: Browser) -> None:
    world.configure(show_option_to_remain_signed_in=False)
    url = browser.begin("/orders")
    answer = world.idp.sign_in(url, ALICE, world.now)
    request = browser.request("GET", f"/.auth/callback?code={answer['code']}&state={answer['state']}")
    steps = world.steps(dispatch.answer(world.app, request, world.now))
    while not any(isinstance(effect, ask.ReadMark) for effect in world.asked):
        next(steps)
    revoke_user(world)
    outcome = finished(steps)
    assert code_of(outcome) == "sign_in_revoked"
    assert world.live() == []
    assert world.log[-1]["kmsi"]["code"] == "sign_in_revoked"


def test_who_signs_in_after_the_revocation_is_signed_in(world: World, browser: Browser) -> None:
    revoke_user(world)
    world.now += 2 * MINUTE
    browser.sign_in()
    assert forwarded(browser.get("/", SCRIPT))


# The next sign-in is a real one ------------------------------------------------------------------------------


def came_back(browser: Browser, url: str, **claims: Any) -> Any:
    return browser.come_back(url, {**ALICE, **claims})


def is_enough(outcome: Any) -> bool:
    """Whether the sign-in becomes a session, at once (a silent one) or after the question."""
    return location(outcome) == "/" or location(outcome).startswith("/.auth/kmsi?")


def asked_once_more(outcome: Any) -> dict[str, str]:
    """What the issuer is asked, where the browser is sent to it again."""
    assert location(outcome).startswith(f"{ISSUER}/authorize?")
    return query_of(location(outcome))


def test_a_silent_sign_in_is_asked_once_more_for_a_real_one(world: World, browser: Browser) -> None:
    signed_in_at = int(world.now)
    world.now += HOUR
    revoke_user(world)
    world.now += HOUR
    outcome = came_back(browser, browser.begin("/orders"), auth_time=signed_in_at)
    assert asked_once_more(outcome)["prompt"] == "login"
    assert world.live() == []
    asking = location(came_back(browser, location(outcome)))
    assert location(browser.reply_to(asking, "no")) == "/orders"


def test_an_issuer_that_answers_with_the_old_sign_in_again_is_a_page_and_no_loop(
    world: World, browser: Browser
) -> None:
    signed_in_at = int(world.now)
    world.now += HOUR
    revoke_user(world)
    world.now += HOUR
    again = came_back(browser, browser.begin("/orders"), auth_time=signed_in_at)
    page = page_of(came_back(browser, location(again), auth_time=signed_in_at), 403)
    assert page.context["code"] == "fresh_sign_in_required"
    assert query_of(ways_of(page)["Try again"]) == {"post_login_redirect_uri": "/orders", "prompt": "login"}
    assert world.log[-1]["kmsi"]["code"] == "fresh_sign_in_required"
    assert world.live() == []


def test_once_really_signed_in_the_next_silent_sign_in_is_fine(world: World, browser: Browser) -> None:
    revoke_user(world)
    world.now += 5 * MINUTE
    really = int(world.now)
    browser.sign_in()
    for _ in range(3):
        world.now += 3 * DAY
        assert is_enough(came_back(browser, browser.begin("/.auth/login?prompt=none"), auth_time=really))


def test_an_issuer_without_auth_time_is_asked_with_max_age_and_then_says_it(world: World, browser: Browser) -> None:
    """Not for a password at every sign-in from now on: who has really signed in since passes silently."""
    revoke_user(world)
    world.now += HOUR
    outcome = came_back(browser, browser.begin(), auth_time=None)
    asked = asked_once_more(outcome)
    assert asked["max_age"] == str(HOUR - MINUTE)
    assert "prompt" not in asked
    assert is_enough(came_back(browser, location(outcome), auth_time=int(world.now) - 10 * MINUTE))


def test_one_that_keeps_silent_is_asked_with_prompt_login_and_then_believed(world: World, browser: Browser) -> None:
    revoke_user(world)
    world.now += HOUR
    outcome = came_back(browser, browser.begin(), auth_time=None)
    outcome = came_back(browser, location(outcome), auth_time=None)
    assert asked_once_more(outcome)["prompt"] == "login"
    assert is_enough(came_back(browser, location(outcome), auth_time=None))


def test_nobody_else_is_asked_for_a_real_sign_in(world: World, browser: Browser) -> None:
    old = int(world.now)
    world.now += HOUR
    revoke_user(world)
    world.now += HOUR
    assert is_enough(browser.come_back(browser.begin(), {**BOB, "auth_time": old}))


def test_the_mark_is_forgotten_when_no_cookie_can_be_as_old(world: World, browser: Browser) -> None:
    old = int(world.now)
    revoke_user(world)
    world.now += MARK_SECONDS
    assert is_enough(came_back(browser, browser.begin(), auth_time=old))


def test_after_one_session_was_revoked_that_browser_signs_in_really_and_others_do_not_have_to(
    world: World, browser: Browser
) -> None:
    """Also without the cookie, and long after: what tells is the issuer's own session."""
    old = int(world.now)
    lost, other = Browser(world), Browser(world)
    for each in (lost, other):
        each.sign_in()
    session = lost.session
    assert session is not None
    world.now += MINUTE
    world.play(revocation.revoke(session.key, world.now, "page"))
    world.now += 9 * DAY
    lost.jar.clear()
    other.jar.clear()
    assert is_enough(came_back(other, other.begin(), auth_time=old, sid="sid of another browser"))
    outcome = came_back(lost, lost.begin(), auth_time=old, sid=session.sids[0])
    assert asked_once_more(outcome)["prompt"] == "login"
    assert is_enough(came_back(lost, location(outcome), sid=session.sids[0]))


@pytest.mark.parametrize("way", ["/.auth/login?post_login_redirect_uri=/orders", f"/.auth/initiate-login?iss={ISSUER}"])
def test_who_comes_with_a_revoked_session_is_sent_with_prompt_login(world: World, browser: Browser, way: str) -> None:
    browser.sign_in()
    revoke_user(world)
    assert query_of(browser.begin(way))["prompt"] == "login"


def test_who_signed_out_is_not(world: World, browser: Browser) -> None:
    browser.sign_in()
    token = browser.token
    browser.post("/.auth/logout")
    request = browser.request("GET", "/.auth/login", NAVIGATION)
    outcome = browser.send(with_headers(request, cookie=f"{world.site.cookie_name}={token}"))
    assert "prompt" not in query_of(location(outcome))


def test_a_script_is_given_the_way_to_a_real_sign_in(world: World, browser: Browser) -> None:
    browser.sign_in()
    revoke_user(world)
    document = problem_of(browser.get("/orders", {**SCRIPT, "referer": "https://app.example.com/cart"}), 401)
    assert query_of(document["login_url"]) == {"post_login_redirect_uri": "/cart", "prompt": "login"}


# What is written down ----------------------------------------------------------------------------------------


def test_every_end_is_a_line_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kmsi_middleware.sessions")
    browsers = signed_in(world, ALICE, 3)
    sessions = [browser.session for browser in browsers]
    assert all(sessions)
    browsers[0].post("/.auth/logout")
    revoke_user(world)
    lines = [json.loads(record.message) for record in caplog.records]
    assert [(line["event"], line["reason"], line.get("by")) for line in lines] == [
        ("session_ended", "signed_out", None),
        ("session_ended", "revoked", "python"),
        ("session_ended", "revoked", "python"),
    ]
    for line, session in zip(lines, sessions, strict=True):
        assert session is not None
        assert line["session"] == session.key.hex()
        assert line["correlation_id"] == session.correlation_id
        assert line["user"] == {"issuer": ISSUER, "subject": "alice", "name": "Alice"}
        assert line["address"] == "192.0.2.1"
        assert line["at"] == "2027-01-15T08:00:00.000Z"

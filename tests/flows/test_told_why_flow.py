"""A person whose session ended is told why: the same reason in the page, in the JSON and in the log."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from tests.flows.flow_support import (
    BOB,
    DAY,
    HOUR,
    ISSUER,
    NAVIGATION,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    code_of,
    forwarded,
    headers_of,
    location,
    page_of,
    problem_of,
    query_of,
    set_cookies,
)

from kmsi_middleware.flows import guard, telling, words
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.messages import Forward
from kmsi_middleware.vocabulary.session import EndReason

REASONS: tuple[EndReason, ...] = get_args(EndReason)
OURS = {"token", "cookie", "tombstone", "channel", "revoked", "issuer", "provider"}
NEWS = [reason for reason in REASONS if reason not in ("signed_out", "replaced")]


def end(world: World, browser: Browser, reason: EndReason) -> Any:
    """End a browser's session behind its back. Answer: what it was."""
    session = browser.session
    assert session is not None
    world.store.end(session.key, reason, world.now)
    return session


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    browser.sign_in()
    return browser


def told(outcome: Any) -> dict[str, Any]:
    page = page_of(outcome, 401)
    assert page.name == "session_ended.html"
    context: dict[str, Any] = page.context
    return context


@pytest.mark.parametrize("reason", NEWS)
def test_who_opens_a_page_is_told_why_and_gets_back_to_it(world: World, signed_in: Browser, reason: EndReason) -> None:
    correlation_id = end(world, signed_in, reason).correlation_id
    outcome = signed_in.get("/orders?page=2")
    page = told(outcome)
    assert page["reason"] == reason
    assert page["code"] == words.CODE_OF_REASON[reason]
    assert (page["reason_title"], page["reason_text"]) == words.WHY[reason]
    assert page["time"] == "2027-01-15T08:00:00Z"
    assert page["correlation_id"] == correlation_id
    assert headers_of(outcome)["www-authenticate"] == 'Cookie realm="kmsi"'
    asked = query_of(page["login_url"])
    assert asked.pop("prompt", None) == ("login" if reason == "revoked" else None)
    assert asked == {"post_login_redirect_uri": "/orders?page=2"}
    asking = location(signed_in.come_back(location(signed_in.get(page["login_url"]))))
    assert location(signed_in.reply_to(asking, "no")) == "/orders?page=2"
    assert forwarded(signed_in.get("/orders?page=2"))


@pytest.mark.parametrize("reason", NEWS)
def test_a_reload_says_the_same_for_a_day(world: World, signed_in: Browser, reason: EndReason) -> None:
    """The cookie is left alone for that."""
    end(world, signed_in, reason)
    first = signed_in.get("/orders")
    assert set_cookies(first) == ()
    world.now += DAY - 1
    assert told(signed_in.get("/orders")) == {**told(first), "time": "2027-01-16T07:59:59Z"}
    world.now += 1
    assert location(signed_in.get("/orders")).startswith(f"{ISSUER}/authorize?")


@pytest.mark.parametrize("reason", ["signed_out", "replaced"])
def test_what_is_no_news_leads_to_the_sign_in(world: World, signed_in: Browser, reason: EndReason) -> None:
    end(world, signed_in, reason)
    assert location(signed_in.get("/orders")).startswith(f"{ISSUER}/authorize?")
    assert world.notes == []


def test_who_never_had_a_session_is_told_nothing(world: World, browser: Browser) -> None:
    assert location(browser.get("/orders")).startswith(f"{ISSUER}/authorize?")
    assert problem_of(browser.get("/orders", SCRIPT), 401)["reason"] == "no_session"
    assert world.notes == []


@pytest.mark.parametrize("reason", REASONS)
def test_the_page_the_problem_and_the_log_give_one_reason(world: World, signed_in: Browser, reason: EndReason) -> None:
    session = end(world, signed_in, reason)
    world.now += HOUR
    posted = told(signed_in.post("/orders"))
    problem = problem_of(signed_in.get("/orders", SCRIPT), 401)
    me = problem_of(signed_in.get("/.auth/me", NAVIGATION), 401)
    assert {posted["reason"], problem["reason"], me["reason"]} == {reason}
    assert {posted["code"], problem["code"], me["code"]} == {words.CODE_OF_REASON[reason]}
    assert problem["detail"] == posted["reason_text"]
    assert [note["to"] for note in world.notes] == ["person", "script", "script"]
    for note in world.notes:
        assert note == {
            "event": "session_end_told",
            "reason": reason,
            "to": note["to"],
            "at": "2027-01-15T09:00:00.000Z",
            "ended_at": "2027-01-15T08:00:00.000Z",
            "session": session.key.hex(),
            "correlation_id": session.correlation_id,
            "address": "192.0.2.1",
        }


@pytest.mark.parametrize(("settings", "reason"), [({}, "idle"), ({"session_expiry": "absolute"}, "absolute")])
def test_of_one_that_ran_out_the_log_still_knows_the_person(settings: dict[str, Any], reason: str) -> None:
    world = World(**settings)
    browser = Browser(world)
    browser.sign_in()
    session = browser.session
    assert session is not None
    world.now += DAY + HOUR
    assert told(browser.get("/orders"))["reason"] == reason
    (note,) = world.notes
    assert note["reason"] == reason
    assert note["ended_at"] == "2027-01-16T08:00:00.000Z"
    assert note["user"] == {"issuer": ISSUER, "subject": "alice", "name": "Alice"}
    assert note["correlation_id"] == session.correlation_id
    assert note["session"] == session.id


def test_every_reason_has_words_that_say_what_to_do() -> None:
    """In a person's words, not in ours."""
    assert set(words.CODE_OF_REASON) == set(REASONS) <= set(words.WHY)
    for reason in REASONS:
        title, text = words.WHY[reason]
        assert title
        assert "Sign in to go on" in text
        assert not OURS & set(text.lower().split())
    assert len({words.WHY[reason][1] for reason in REASONS}) == len(REASONS)


# Who is not kept from anything by it -----------------------------------------------------------------------


@pytest.mark.parametrize("reason", NEWS)
def test_a_public_page_stays_open(world: World, signed_in: Browser, reason: EndReason) -> None:
    world.configure(public_paths=("/about",))
    end(world, signed_in, reason)
    outcome = signed_in.get("/about")
    assert forwarded(outcome) is None
    assert isinstance(outcome, Forward)
    assert not outcome.invites
    assert world.notes == []


def test_where_the_app_decides_its_refusal_becomes_the_news(world: World, signed_in: Browser) -> None:
    world.configure(protect="none")
    end(world, signed_in, "back_channel")
    assert forwarded(signed_in.get("/orders")) is None
    assert world.notes == []  # the app may let it pass
    page, script = signed_in.request("GET", "/orders"), signed_in.request("GET", "/orders", SCRIPT)
    assert told(world.play(guard.sign_in_first(world.app, page, world.now)))["reason"] == "back_channel"
    problem = problem_of(world.play(guard.sign_in_first(world.app, script, world.now)), 401)
    assert (problem["code"], problem["reason"]) == ("signed_out", "back_channel")
    assert [note["to"] for note in world.notes] == ["person", "script"]


def test_an_app_that_asks_for_a_context_tells_it_as_well(world: World, signed_in: Browser) -> None:
    end(world, signed_in, "revoked")
    request = signed_in.request("GET", "/pay")
    reply = world.play(guard.require(world.app, request, "c1", world.now))
    assert told(reply)["reason"] == "revoked"


def test_the_newer_session_of_two_cookies_is_the_one_that_counts(world: World, signed_in: Browser) -> None:
    old = signed_in.token
    end(world, signed_in, "revoked")
    signed_in.sign_in()
    name = world.site.cookie_name
    for line in (f"{name}={old}; {name}={signed_in.token}", f"{name}={signed_in.token}; {name}={old}"):
        request = signed_in.request("GET", "/orders", {**NAVIGATION, "cookie": line}, cookies=False)
        assert forwarded(signed_in.send(request))


def test_a_cookie_that_never_was_a_session_hides_no_news(world: World, signed_in: Browser) -> None:
    name, old = world.site.cookie_name, signed_in.token
    end(world, signed_in, "revoked")
    for line in (f"{name}={old}; {name}={'x' * 43}", f"{name}={'x' * 43}; {name}={old}"):
        request = signed_in.request("GET", "/orders", {**NAVIGATION, "cookie": line}, cookies=False)
        assert told(signed_in.send(request))["reason"] == "revoked"


def test_who_signs_in_instead_of_the_person_is_signed_in(world: World, signed_in: Browser) -> None:
    end(world, signed_in, "idle")
    page = told(signed_in.get("/orders"))
    asking = location(signed_in.come_back(location(signed_in.get(page["login_url"])), BOB))
    assert location(signed_in.reply_to(asking, "no")) == "/orders"
    assert [session.subject for session in world.live()] == ["bob"]


# Who can't read a page -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        (SCRIPT, {}),
        (PREFETCH, {}),
        ({"accept": "*/*"}, {}),
        ({**NAVIGATION, "origin": "https://app.example.com"}, {"websocket": True}),
        ({"accept": "text/html", "origin": "https://app.example.com"}, {"websocket": True}),
    ],
)
def test_who_can_not_read_a_page_gets_a_problem(
    world: World, signed_in: Browser, headers: dict[str, str], more: dict[str, Any]
) -> None:
    end(world, signed_in, "revoked")
    document = problem_of(signed_in.send(signed_in.request("GET", "/orders", headers, **more)), 401)
    assert (document["code"], document["reason"]) == ("session_revoked", "revoked")
    assert query_of(document["login_url"])["prompt"] == "login"
    signed_in.jar.clear()
    document = problem_of(signed_in.send(signed_in.request("GET", "/orders", headers, **more)), 401)
    assert document["reason"] == "no_session"


def test_a_store_that_fails_ends_no_session(world: World, signed_in: Browser) -> None:
    world.broken[ask.LoadSession] = StoreUnavailable("away")
    assert code_of(signed_in.get("/orders")) == "store_unavailable"
    assert world.notes == []


def test_what_is_news_is_every_reason_but_two() -> None:
    assert set(REASONS) - telling.NO_NEWS == set(NEWS)

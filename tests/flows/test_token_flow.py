"""Access tokens: handed out, renewed once at a time, never lost, and ended by nothing but the issuer's own word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flows.flow_support import ALICE, BOB, HOUR, SCRIPT, Browser, World, finished, forwarded, play_between

from kmsi_middleware.edges.aside import Aside
from kmsi_middleware.flows import sessions, tokens
from kmsi_middleware.rules.seals import encode, key_of
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import (
    KMSIError,
    NoAccessToken,
    ProtocolError,
    ProviderUnavailable,
    SessionEnded,
    SessionRequired,
    StoreUnavailable,
)
from kmsi_middleware.vocabulary.messages import Busy, HttpResponse
from kmsi_middleware.vocabulary.session import Mark, Session, Tombstone, sid_key

OFFLINE = "openid profile offline_access"
LEASE = 2 * 10 + 5


@pytest.fixture
def world() -> World:
    return World(scope=OFFLINE)


@pytest.fixture
def browser(world: World) -> Browser:
    made = Browser(world)
    made.sign_in()
    return made


def asking(browser: Browser, attempt: int = 0, shown: Session | None = None) -> Any:
    """The flow for a request of this browser's, whose session the app is shown."""
    world = browser.world
    request = browser.request("GET", "/", SCRIPT)
    return tokens.access_token(world.app, request, shown or browser.session, world.now, attempt)


def token_of(browser: Browser, attempt: int = 0) -> Any:
    return browser.world.play(asking(browser, attempt))


def kept(browser: Browser) -> dict[str, Any]:
    assert browser.session is not None
    return sessions.tokens_of(browser.session, browser.token)


def over(world: World) -> None:
    """The access token's time is over."""
    world.now += HOUR


def lease_of(browser: Browser) -> bytes:
    assert browser.session is not None
    return key_of(f"lease {encode(browser.session.key)}")


# Handing out ------------------------------------------------------------------------------------------------


def test_a_good_token_costs_one_read(world: World, browser: Browser) -> None:
    world.now += HOUR - 61
    assert token_of(browser) == "an access token"
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]


def test_a_token_is_renewed_a_minute_before_its_end(world: World, browser: Browser) -> None:
    world.now += HOUR - 60
    first = kept(browser)["refresh_token"]
    assert token_of(browser) == f"access for {kept(browser)['refresh_token']}"
    assert world.idp.refreshed == [first]
    assert token_of(browser) == f"access for {kept(browser)['refresh_token']}"
    assert world.idp.refreshed == [first]


def test_refresh_tokens_rotate_and_the_session_stays_the_same(world: World, browser: Browser) -> None:
    before, cookie = browser.session, browser.token
    assert before is not None
    assert before.refreshable
    for _ in range(3):
        over(world)
        token_of(browser)
    assert len(set(world.idp.refreshed)) == 3
    after = browser.session
    assert after is not None
    assert browser.token == cookie
    assert after.confirmed_at == world.now
    same = ("key", "started_at", "renewed_at", "expires_at", "persistent", "begun_at", "auth_time", "data", "sids")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert world.store.read_ticket(lease_of(browser), world.now) is None


def test_an_issuer_that_does_not_rotate_keeps_its_refresh_token(world: World, browser: Browser) -> None:
    over(world)
    answer = {"access_token": "another", "token_type": "Bearer", "expires_in": HOUR}
    world.idp.refresh_answer = HttpResponse(200, {}, json.dumps(answer).encode())
    before = kept(browser)
    assert token_of(browser) == "another"
    assert kept(browser)["refresh_token"] == before["refresh_token"]
    assert kept(browser)["id_token"] == before["id_token"]


def test_who_has_no_session_gets_no_token(world: World, browser: Browser) -> None:
    request = browser.request("GET", "/", SCRIPT)
    with pytest.raises(SessionRequired):
        world.play(tokens.access_token(world.app, request, None, world.now))
    request = browser.request("GET", "/", SCRIPT, cookies=False)
    with pytest.raises(SessionRequired):
        world.play(tokens.access_token(world.app, request, browser.session, world.now))
    assert world.asked == []


def test_a_session_that_ended_since_the_request_began_gives_no_token(world: World, browser: Browser) -> None:
    shown = browser.session
    assert shown is not None
    world.store.end(shown.key, "back_channel", world.now)
    with pytest.raises(SessionEnded) as raised:
        world.play(asking(browser, shown=shown))
    assert raised.value.reason == "back_channel"


def test_the_token_of_another_session_in_the_same_browser_is_never_given(world: World, browser: Browser) -> None:
    """The app was shown one person's session; that another's is there, too, is no reason to act as that other."""
    shown = browser.session
    assert shown is not None
    other = Browser(world)
    other.sign_in(BOB)
    request = browser.request("GET", "/", SCRIPT)
    line = f"{request.headers['cookie']}; {other.cookie_header()}"
    request = replace(request, headers={**request.headers, "cookie": line})
    world.store.end(shown.key, "signed_out", world.now)
    with pytest.raises(SessionEnded):
        world.play(tokens.access_token(world.app, request, shown, world.now))


def test_without_a_refresh_token_it_is_good_to_its_end(world: World) -> None:
    world.configure(scope="openid")
    browser = Browser(world)
    browser.sign_in()
    assert browser.session is not None
    assert not browser.session.refreshable
    request, shown = browser.request("GET", "/", SCRIPT), browser.session
    with_end = replace(shown, sealed=sessions.seal_under(browser.token, tokens_with_end(world), world.dice), version=2)
    world.store.save(with_end, world.now)
    world.now += 99
    assert token_of(browser) == "short"
    world.now += 1
    with pytest.raises(NoAccessToken) as raised:
        world.play(tokens.access_token(world.app, request, shown, world.now))
    assert raised.value.code == "access_token_expired"
    assert "offline_access" in str(raised.value)


def tokens_with_end(world: World) -> dict[str, Any]:
    return {"access_token": "short", "expires_at": int(world.now) + 100, "renew_at": int(world.now) + 40}


def test_an_issuer_that_gives_no_access_token(world: World, browser: Browser) -> None:
    shown = browser.session
    assert shown is not None
    none = sessions.seal_under(browser.token, {"id_token": "i"}, world.dice)
    world.store.save(replace(shown, sealed=none, version=shown.version + 1), world.now)
    with pytest.raises(NoAccessToken) as raised:
        token_of(browser)
    assert raised.value.code == "no_access_token"


def test_sealed_tokens_that_can_not_be_opened_are_none(world: World, browser: Browser) -> None:
    shown = browser.session
    assert shown is not None
    world.store.save(replace(shown, sealed=b"damaged" * 20, version=shown.version + 1), world.now)
    with pytest.raises(NoAccessToken):
        token_of(browser)
    assert world.idp.refreshed == []


# Once at a time ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 2), max_size=60))
def test_however_three_callers_meet_the_issuer_is_asked_once(order: list[int]) -> None:
    world = World(scope=OFFLINE)
    browser = Browser(world)
    browser.sign_in()
    over(world)
    outcomes = play_between(world, [asking(browser) for _ in range(3)], order)
    assert len(world.idp.refreshed) == 1
    fresh = f"access for {kept(browser)['refresh_token']}"
    assert fresh in outcomes
    for outcome in outcomes:
        assert outcome == fresh or isinstance(outcome, Busy)
    assert token_of(browser, 1) == fresh  # who had to wait takes what the winner got
    assert len(world.idp.refreshed) == 1


def half(world: World, flow: Any, until: type[ask.Effect], count: int = 1) -> Iterator[None]:
    """Play a flow until an effect of this kind was performed, so many times."""
    steps = world.steps(flow)
    world.asked = []
    for _ in steps:
        if len(world.asked_for(until)) == count:
            return steps
    raise AssertionError(f"it never asked for {until}")


def test_who_finds_another_at_it_waits_without_writing(world: World, browser: Browser) -> None:
    over(world)
    half(world, asking(browser), ask.PutTicket)
    assert isinstance(token_of(browser, 1), Busy)
    assert world.asked_for(ask.PutTicket, ask.TakeTicket, ask.SaveSession, ask.Fetch) == []


def test_who_comes_to_the_lease_after_another_was_done_asks_for_nothing(world: World, browser: Browser) -> None:
    over(world)
    late = half(world, asking(browser), ask.GetKeys)
    fresh = token_of(browser)
    assert finished(late) == fresh
    assert len(world.idp.refreshed) == 1


def test_as_long_as_the_old_token_is_good_nobody_waits(world: World, browser: Browser) -> None:
    world.now += HOUR - 30
    half(world, asking(browser), ask.PutTicket)
    assert token_of(browser) == "an access token"


def test_the_lease_of_a_winner_that_died_ends_by_itself(world: World, browser: Browser) -> None:
    over(world)
    half(world, asking(browser), ask.PutTicket)  # and then it is killed
    world.now += LEASE - 1
    assert isinstance(token_of(browser, 1), Busy)
    world.now += 1
    assert token_of(browser, 2).startswith("access for ")
    assert len(world.idp.refreshed) == 1


def test_nobody_waits_for_ever(world: World, browser: Browser) -> None:
    over(world)
    half(world, asking(browser), ask.PutTicket)
    last = tokens.most_attempts(world.app)
    assert last * tokens.POLL_SECONDS == pytest.approx(10)
    assert isinstance(token_of(browser, last - 1), Busy)
    with pytest.raises(ProviderUnavailable):
        token_of(browser, last)


def test_a_winner_that_is_late_does_not_end_its_successors_lease(world: World, browser: Browser) -> None:
    over(world)
    late = half(world, asking(browser), ask.Fetch)
    world.now += LEASE
    world.store.put_ticket(lease_of(browser), b"successor", int(world.now) + LEASE, world.now)
    for _ in late:
        pass
    assert world.store.read_ticket(lease_of(browser), world.now) == b"successor"


# Never lost ---------------------------------------------------------------------------------------------------


def test_what_others_save_meanwhile_is_kept(world: World, browser: Browser) -> None:
    over(world)
    steps = half(world, asking(browser), ask.Fetch)
    session = browser.session
    assert session is not None
    for number in range(5):
        world.play(sessions.save_data(session, {f"key {number}": number}, frozenset()))
    for _ in steps:
        pass
    after = browser.session
    assert after is not None
    assert json.loads(after.data) == {f"key {number}": number for number in range(5)}
    assert kept(browser)["access_token"].startswith("access for ")


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 2), max_size=80))
def test_a_refresh_and_writers_of_app_data_lose_nothing_of_each_other(order: list[int]) -> None:
    world = World(scope=OFFLINE)
    browser = Browser(world)
    browser.sign_in()
    over(world)
    session = browser.session
    assert session is not None
    writers = [sessions.save_data(session, {name: 1}, frozenset()) for name in ("a", "b")]
    play_between(world, [asking(browser), *writers], order)
    after = browser.session
    assert after is not None
    assert json.loads(after.data) == {"a": 1, "b": 1}
    assert list(world.idp.grants) == [kept(browser)["refresh_token"]]


def test_a_result_that_could_not_be_saved_is_saved_before_the_issuer_is_asked_again(
    world: World, browser: Browser
) -> None:
    over(world)
    world.broken[ask.SaveSession] = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        token_of(browser)
    with pytest.raises(StoreUnavailable):
        token_of(browser)
    assert len(world.idp.refreshed) == 1
    assert len(world.live()) == 1
    world.broken.clear()
    assert token_of(browser).startswith("access for ")
    assert len(world.idp.refreshed) == 1
    assert kept(browser)["refresh_token"] in world.idp.grants
    assert world.asked_for(ask.Fetch, ask.PutTicket) == []
    assert world.store.read_ticket(lease_of(browser), world.now) is not None  # not this attempt's to end
    assert world.aside.read(browser.session.key) == b""  # type: ignore[union-attr]


def test_another_process_does_not_ask_with_a_token_that_is_used_up(world: World, browser: Browser) -> None:
    """For as long as the lease lasts, the process with the result may come and save it."""
    over(world)
    world.broken[ask.SaveSession] = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        token_of(browser)
    world.broken.clear()
    mine, world.aside = world.aside, Aside()
    assert isinstance(token_of(browser, 1), Busy)
    world.aside = mine
    assert token_of(browser).startswith("access for ")
    assert len(world.idp.refreshed) == 1


def test_what_is_put_aside_is_sealed(world: World, browser: Browser) -> None:
    over(world)
    world.broken[ask.SaveSession] = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        token_of(browser)
    assert browser.session is not None
    payload = world.aside.read(browser.session.key)
    assert payload
    assert b"access for" not in payload
    assert b"refresh-" not in payload
    assert sessions.open_under("x" * 43, payload) == {}


def test_a_late_result_that_is_over_by_then_is_only_a_refresh_token(world: World, browser: Browser) -> None:
    over(world)
    world.broken[ask.SaveSession] = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        token_of(browser)
    world.broken.clear()
    over(world)
    assert token_of(browser) == f"access for {kept(browser)['refresh_token']}"
    assert len(world.idp.refreshed) == 2
    assert len(set(world.idp.refreshed)) == 2


def test_a_late_result_does_not_replace_a_newer_one(world: World, browser: Browser) -> None:
    over(world)
    world.broken[ask.SaveSession] = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        token_of(browser)
    world.broken.clear()
    session = browser.session
    assert session is not None
    newer = {**kept(browser), "refresh_token": "newer", "renew_at": 0, "expires_at": 0}
    sealed = sessions.seal_under(browser.token, newer, world.dice)
    world.store.save(replace(session, sealed=sealed, version=session.version + 1), world.now)
    world.now += LEASE
    world.idp.grants["newer"] = {**ALICE, "iss": session.issuer, "aud": "the-app", "iat": 1, "exp": 2**33}
    assert token_of(browser).startswith("access for ")
    assert world.idp.refreshed[-1] == "newer"


def test_without_the_keys_no_refresh_token_is_used_up(world: World, browser: Browser) -> None:
    over(world)
    for effect in (ask.GetProvider, ask.GetKeys):
        world.broken = {effect: ProviderUnavailable("away")}
        with pytest.raises(ProviderUnavailable):
            token_of(browser)
    assert world.idp.refreshed == []
    assert world.store.read_ticket(lease_of(browser), world.now) is None


def test_without_a_store_that_can_be_written_no_refresh_token_is_used_up(world: World, browser: Browser) -> None:
    over(world)
    world.broken[ask.PutTicket] = StoreUnavailable("read-only")
    with pytest.raises(StoreUnavailable):
        token_of(browser)
    assert world.idp.refreshed == []


@pytest.mark.parametrize("what", ["unknown", "garbage"])
def test_an_answer_that_can_not_be_verified_now_is_good_for_its_refresh_token_alone(
    world: World, browser: Browser, what: str
) -> None:
    over(world)
    token_before = kept(browser)["access_token"]
    answered = world.idp.jwks()
    world.idp.rotate()
    world.cached_keys = answered
    world.idp.published = []  # the new key is not there yet
    perform = world.perform

    def failing(effect: ask.Effect) -> Any:
        if what == "garbage" and isinstance(effect, ask.GetKeys) and effect.unknown_kid:
            raise ProviderUnavailable("no JSON", code="jwks_invalid")
        return perform(effect)

    world.perform = failing  # type: ignore[method-assign]
    with pytest.raises((ProtocolError, ProviderUnavailable)):
        token_of(browser)
    first, second = world.idp.refreshed[0], kept(browser)["refresh_token"]
    assert second != first
    assert second in world.idp.grants
    assert kept(browser)["access_token"] == token_before
    assert browser.session is not None
    assert browser.session.confirmed_at is None
    world.idp.published = [world.idp.key]
    world.perform = perform  # type: ignore[method-assign]
    assert token_of(browser).startswith("access for ")
    assert world.idp.refreshed == [first, second]


# What ends a session, and what does not ---------------------------------------------------------------------------


def test_the_issuers_no_ends_the_session(world: World, browser: Browser) -> None:
    over(world)
    world.idp.grants.clear()
    session, lease = browser.session, lease_of(browser)
    assert session is not None
    with pytest.raises(SessionEnded) as raised:
        token_of(browser)
    assert raised.value.reason == "revoked"
    ended = world.store.load(session.key, world.now)
    assert isinstance(ended, Tombstone)
    assert ended.reason == "revoked"
    record = world.log[-1]
    assert record["kmsi"]["code"] == "session_revoked"
    assert record["status"]["errorCode"] == 50173
    assert "AADSTS50173" in record["status"]["additionalDetails"]
    assert (record["isInteractive"], record["userPrincipalName"]) == (False, "alice@example.com")
    assert record["correlationId"] == session.correlation_id
    assert world.store.read_ticket(lease, world.now) is None


@pytest.mark.parametrize(
    "answer",
    [
        ProviderUnavailable("hangs"),
        HttpResponse(500, {}, b""),
        HttpResponse(503, {}, b'{"error": "invalid_grant"}'),
        HttpResponse(429, {}, b""),
        HttpResponse(200, {}, b"<html>"),
        HttpResponse(200, {}, b"{}"),
        HttpResponse(302, {}, b""),
        HttpResponse(401, {}, b'{"error": "invalid_client"}'),
        HttpResponse(400, {}, b'{"error": "invalid_request"}'),
        HttpResponse(404, {}, b""),
    ],
)
def test_nothing_else_does(world: World, browser: Browser, answer: Any) -> None:
    over(world)
    world.idp.refresh_answer = answer
    before = browser.session
    with pytest.raises((ProviderUnavailable, ProtocolError)):
        token_of(browser)
    assert browser.session == before
    world.idp.refresh_answer = None
    assert token_of(browser).startswith("access for ")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"sub": "bob"}, "id_token_sub"),
        ({"iss": "https://evil.example"}, "id_token_iss"),
        ({"aud": "another-app"}, "id_token_aud"),
        ({"nonce": "another"}, "id_token_nonce"),
    ],
)
def test_an_id_token_that_is_not_this_persons_is_refused_whole(
    world: World, browser: Browser, changed: dict[str, Any], code: str
) -> None:
    over(world)
    world.idp.refreshed_claims = changed
    before = browser.session
    with pytest.raises(ProtocolError) as raised:
        token_of(browser)
    assert raised.value.code == code
    assert browser.session == before


@pytest.mark.parametrize("failure", [ProviderUnavailable("away"), ProtocolError("refresh_refused", "no", status=502)])
def test_while_the_old_token_is_good_a_failure_is_nobodys_trouble(
    world: World, browser: Browser, failure: KMSIError
) -> None:
    world.now += HOUR - 30
    world.idp.refresh_answer = failure
    assert token_of(browser) == "an access token"
    world.now += 20
    with pytest.raises(type(failure)):
        token_of(browser)


def test_an_issuer_that_failed_just_now_is_left_alone(world: World, browser: Browser) -> None:
    world.may_ask = False
    world.now += HOUR - 30
    assert token_of(browser) == "an access token"
    over(world)
    with pytest.raises(ProviderUnavailable):
        token_of(browser)
    assert world.idp.refreshed == []


def test_a_no_to_a_token_that_somebody_else_has_used_up_ends_nobody(world: World, browser: Browser) -> None:
    """A winner that was slower than its lease, and one that came after it."""
    over(world)
    slow = half(world, asking(browser), ask.LoadSession, 2)
    assert world.asked_for(ask.PutTicket)
    world.now += LEASE
    assert token_of(browser).startswith("access for ")
    fresh = kept(browser)
    assert finished(slow) == fresh["access_token"]
    assert kept(browser) == fresh
    assert len(world.live()) == 1


def test_a_session_that_ended_meanwhile_takes_nothing_up(world: World, browser: Browser) -> None:
    """And what came for it is given back."""
    world.idp.metadata = replace(world.idp.metadata, revocation_endpoint="https://login.example.com/revoke")
    over(world)
    session = browser.session
    assert session is not None
    steps = half(world, asking(browser), ask.Fetch)
    world.store.end(session.key, "signed_out", world.now)
    with pytest.raises(SessionEnded) as raised:
        for _ in steps:
            pass
    assert raised.value.reason == "signed_out"
    (token,) = world.idp.grants
    assert [form["token"] for form in world.told] == [token, f"access for {token}"]


# What is known of the person afterwards ------------------------------------------------------------------------------


def test_the_claims_are_what_the_issuer_says_now(world: World) -> None:
    browser = Browser(world)
    browser.sign_in({**ALICE, "groups": ["a", "b"], "amr": ["pwd", "mfa"]})
    over(world)
    signed_in_at = world.now - HOUR
    world.idp.refreshed_claims = {"groups": ["b"], "auth_time": int(world.now), "amr": ["pwd"], "name": None}
    token_of(browser)
    session = browser.session
    assert session is not None
    assert session.claims["groups"] == ["b"]
    assert session.claims["amr"] == ["pwd", "mfa"]
    assert session.claims["auth_time"] == session.auth_time == signed_in_at
    assert session.name == "Alice"


def test_without_an_id_token_nothing_is_known_anew(world: World, browser: Browser) -> None:
    over(world)
    world.idp.id_token_on_refresh = False
    before = browser.session
    token_of(browser)
    after = browser.session
    assert before is not None
    assert after is not None
    assert (after.claims, after.sids) == (before.claims, before.sids)
    assert after.confirmed_at == world.now


def test_a_new_sid_joins_the_older_ones(world: World, browser: Browser) -> None:
    for number in range(10):
        over(world)
        world.idp.refreshed_claims = {"sid": f"new-{number}"}
        token_of(browser)
    session = browser.session
    assert session is not None
    assert session.sids == tuple(f"new-{number}" for number in range(2, 10))
    assert [found.key for found in world.store.find("new-9", session.issuer, world.now)] == [session.key]


def test_a_logout_that_named_the_new_sid_before_we_knew_it_ends_the_session(world: World, browser: Browser) -> None:
    over(world)
    session = browser.session
    assert session is not None
    world.idp.refreshed_claims = {"sid": "new"}
    world.store.put_mark(sid_key(session.issuer, "new"), Mark(valid_from=int(world.now)), 2**33, world.now)
    with pytest.raises(SessionEnded) as raised:
        token_of(browser)
    assert raised.value.reason == "back_channel"
    assert browser.session is None


def test_the_app_goes_on_with_the_session_as_it_is_now(world: World, browser: Browser) -> None:
    over(world)
    token_of(browser)
    shown = forwarded(browser.get("/", SCRIPT))
    assert shown is not None
    assert shown.confirmed_at == world.now

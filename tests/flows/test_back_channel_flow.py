"""Back-channel logout: told to us by the issuer's server, with no browser in between."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from tests.flows.flow_support import (
    ALICE,
    BOB,
    CLIENT_ID,
    CROSS_SITE,
    ISSUER,
    NOW,
    Browser,
    World,
    headers_of,
    location,
    page_of,
    problem_of,
)

from kmsi_middleware.rules.oidc.logout_token import EVENT
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProtocolError, ProviderUnavailable, StoreUnavailable
from kmsi_middleware.vocabulary.messages import Outcome, Reply

SERVER = {"accept": "*/*"}  # some send no User-Agent either


def logout_token(world: World, **changed: Any) -> str:
    """One for Alice's first sign-in; ``...`` leaves a claim out."""
    at = int(world.now)
    whole = {
        "iss": ISSUER,
        "aud": CLIENT_ID,
        "iat": at,
        "exp": at + 120,
        "jti": f"jti {len(changed)} {at}",
        "sid": "sid-1",
        "events": {EVENT: {}},
    } | changed
    claims = {name: value for name, value in whole.items() if value is not ...}
    header = {"alg": "ES256", "kid": world.idp.key.kid, "typ": "logout+jwt"}
    return jwt.encode(header, claims, world.idp.key, algorithms=["ES256"])


def post(world: World, **form: str) -> Reply:
    """The issuer's server calls; it has no cookies and is no browser."""
    outcome = Browser(world, address="203.0.113.7").post("/.auth/backchannel-logout", form, SERVER, cookies=False)
    assert isinstance(outcome, Reply)
    assert headers_of(outcome)["cache-control"] == "no-store"
    assert "set-cookie" not in headers_of(outcome)
    return outcome


def told(world: World, **changed: Any) -> None:
    answer = post(world, logout_token=logout_token(world, **changed))
    assert (answer.status, answer.body) == (200, b"")


def refused(answer: Outcome) -> str:
    assert isinstance(answer, Reply)
    assert answer.status == 400
    said = json.loads(answer.body)
    assert said["error"] == "invalid_request"
    assert said["error_description"].endswith(".")
    return str(said["code"])


@pytest.fixture
def browser(world: World) -> Browser:
    made = Browser(world)
    made.sign_in(answer="yes")
    return made


@pytest.fixture
def other(browser: Browser) -> Browser:
    """Another person's browser."""
    made = Browser(browser.world, address="198.51.100.1")
    made.sign_in(BOB)
    return made


def test_a_sid_ends_its_session_and_no_other(world: World, browser: Browser, other: Browser) -> None:
    phone = Browser(world)
    phone.sign_in()
    told(world, sid="sid-1")
    assert [session.sids for session in world.live()] == [("sid-2",), ("sid-3",)]
    assert world.tombstones() == ["back_channel"]
    assert browser.session is None
    assert other.session
    assert phone.session


def test_without_a_sid_all_sessions_of_the_user_end(world: World, browser: Browser, other: Browser) -> None:
    Browser(world).sign_in()
    told(world, sid=..., sub="alice")
    assert [session.subject for session in world.live()] == ["bob"]
    assert world.tombstones() == ["back_channel", "back_channel"]


def test_a_sid_together_with_another_subject_ends_nothing(world: World, browser: Browser) -> None:
    told(world, sid="sid-1", sub="bob")
    assert browser.session


def test_an_older_sid_of_the_session_ends_it(world: World, browser: Browser) -> None:
    back = browser.come_back(location(browser.get("/.auth/login?prompt=login")))
    browser.reply_to(location(back), "no")
    assert browser.session is not None
    assert browser.session.sids == ("sid-1", "sid-2")
    told(world, sid="sid-1")
    assert browser.session is None


@pytest.mark.parametrize("changed", [{"sid": "unheard-of"}, {"sid": ..., "sub": "nobody"}])
def test_what_is_not_known_is_over_already_and_a_success(
    world: World, browser: Browser, changed: dict[str, Any]
) -> None:
    told(world, **changed)
    assert browser.session


def test_the_issuers_tokens_are_deleted_with_the_session(world: World, browser: Browser) -> None:
    assert browser.session
    sealed = browser.session.sealed
    assert sealed
    told(world)
    assert sealed not in repr(vars(world.store)).encode()
    assert not any(hasattr(kept, "sealed") for kept in world.store._sessions.values())
    assert world.asked_for(ask.Fetch) == []  # nothing can be revoked without the cookie


def test_a_token_is_used_once(world: World, browser: Browser) -> None:
    token = logout_token(world, sid=..., sub="alice")
    assert post(world, logout_token=token).status == 200
    world.now += 5
    Browser(world).sign_in()
    assert refused(post(world, logout_token=token)) == "logout_token_used"
    assert len(world.live()) == 1
    world.now = NOW + 120 + 60 + 1
    assert refused(post(world, logout_token=token)) == "logout_token_expired"


def test_the_same_name_from_another_token_is_a_replay_too(world: World, browser: Browser) -> None:
    told(world, jti="the same", sid="unheard-of")
    assert refused(post(world, logout_token=logout_token(world, jti="the same"))) == "logout_token_used"
    assert browser.session


def test_what_fails_in_the_middle_is_done_by_the_next_attempt(world: World, browser: Browser) -> None:
    token = logout_token(world)
    world.broken[ask.EndSessions] = StoreUnavailable("away")
    answer = post(world, logout_token=token)
    assert problem_of(answer, 503)["code"] == "store_unavailable"
    assert headers_of(answer)["retry-after"] == "5"
    assert browser.session
    world.broken.clear()
    assert post(world, logout_token=token).status == 200
    assert browser.session is None


def test_of_a_users_sessions_those_begun_after_the_logout_stay(world: World, browser: Browser) -> None:
    late = logout_token(world, sid=..., sub="alice", iat=NOW, exp=NOW + 120)
    world.now += 10
    newer = Browser(world)
    newer.sign_in()
    assert post(world, logout_token=late).status == 200
    assert browser.session is None
    assert newer.session


def test_a_sid_that_equals_the_subject_is_no_more_than_the_subject(world: World) -> None:
    older, newer = Browser(world), Browser(world)
    older.sign_in({**ALICE, "sid": "alice"})
    late = logout_token(world, sid="alice")
    world.now += 10
    newer.sign_in({**ALICE, "sid": "alice"})
    assert post(world, logout_token=late).status == 200
    assert older.session is None
    assert newer.session


def test_a_question_that_waits_for_its_answer_waits_no_more(world: World, browser: Browser) -> None:
    waiting = Browser(world)
    at = waiting.to_interrupt()
    told(world, sid="sid-2")
    assert page_of(waiting.get(at), 400).context["code"] == "interrupt_expired"
    assert waiting.session is None
    assert browser.session


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "logout_token_missing"),
        ({"logout_token": ""}, "logout_token_missing"),
        ({"logout_token": "no.token"}, "logout_token_malformed"),
        ({"token": "x"}, "logout_token_missing"),
    ],
)
def test_a_form_without_a_good_token_is_a_bad_request(
    world: World, browser: Browser, form: dict[str, str], code: str
) -> None:
    assert refused(post(world, **form)) == code
    assert browser.session


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"nonce": "n"}, "logout_token_nonce"),
        ({"events": {}}, "logout_token_events"),
        ({"aud": "another"}, "logout_token_aud"),
        ({"iss": "https://other.example"}, "logout_token_iss"),
        ({"sid": ...}, "logout_token_empty"),
    ],
)
def test_a_token_that_fails_a_check_ends_nothing(
    world: World, browser: Browser, changed: dict[str, Any], code: str
) -> None:
    assert refused(post(world, logout_token=logout_token(world, **changed))) == code
    assert browser.session
    assert world.asked_for(ask.PutMark, ask.PutTicket, ask.EndSessions) == []


def test_other_fields_of_the_form_are_ignored_and_repeated_ones_are_not_readable(
    world: World, browser: Browser
) -> None:
    token = logout_token(world)
    server = Browser(world)
    said = {**SERVER, "content-type": "application/x-www-form-urlencoded"}
    twice = server.request("POST", "/.auth/backchannel-logout", said, body=f"logout_token={token}&".encode() * 2)
    assert refused(server.send(twice)) == "parameter_repeated"
    as_json = server.request(
        "POST", "/.auth/backchannel-logout", {**SERVER, "content-type": "application/json"}, body=b"{}"
    )
    assert refused(server.send(as_json)) == "bad_form"
    assert browser.session
    assert post(world, logout_token=token, ignored_parameter="foo").status == 200
    assert browser.session is None


def test_an_id_token_is_no_logout_token(world: World, browser: Browser) -> None:
    assert browser.session
    id_token = jwt.encode(
        {"alg": "ES256", "kid": world.idp.key.kid}, dict(browser.session.claims), world.idp.key, algorithms=["ES256"]
    )
    assert refused(post(world, logout_token=id_token)) == "logout_token_events"
    assert browser.session


def test_a_key_that_is_not_known_is_looked_for_once_more(world: World, browser: Browser) -> None:
    world.idp.rotate()
    told(world)
    assert [effect.unknown_kid for effect in world.asked_for(ask.GetKeys)] == [False, True]
    assert browser.session is None


def test_a_key_that_is_not_published_is_refused(world: World, browser: Browser) -> None:
    published = world.idp.published
    world.idp.rotate()
    world.idp.published = published
    assert refused(post(world, logout_token=logout_token(world))) == "logout_token_key_unknown"
    assert browser.session


@pytest.mark.parametrize("effect", [ask.GetProvider, ask.GetKeys])
@pytest.mark.parametrize("error", [ProviderUnavailable("away"), ProtocolError("jwks_invalid", "garbage", status=502)])
def test_a_provider_whose_documents_are_not_to_be_had_may_try_again(
    world: World, browser: Browser, effect: type[ask.Effect], error: Any
) -> None:
    world.broken[effect] = error
    answer = post(world, logout_token=logout_token(world))
    assert problem_of(answer, 503)["code"] == "provider_unavailable"
    assert headers_of(answer)["retry-after"]
    assert browser.session


def test_only_a_post_is_understood(world: World, browser: Browser) -> None:
    answer = browser.get("/.auth/backchannel-logout", SERVER)
    assert problem_of(answer, 405)["code"] == "method_not_allowed"
    assert headers_of(answer)["allow"] == "POST"


# Before the sign-in that it ends has arrived ----------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{"sid": "sid-1"}, {"sid": ..., "sub": "alice"}])
def test_a_sign_in_that_is_on_its_way_back_becomes_no_session(world: World, changed: dict[str, Any]) -> None:
    world.configure(show_option_to_remain_signed_in=False)
    browser = Browser(world)
    url = browser.begin("/orders")
    world.now += 20
    brought = world.idp.sign_in(url, ALICE, world.now)
    told(world, **changed)  # the issuer signed her out before the redirect came here
    world.now += 1
    back = browser.get(f"/.auth/callback?{urlencode(brought)}", CROSS_SITE)
    assert page_of(back, 403).context["code"] == "sign_in_revoked"
    assert world.live() == []
    browser.come_back(browser.begin("/orders"))
    assert browser.session


def test_a_question_asked_before_a_logout_of_the_user_makes_no_session(world: World) -> None:
    browser = Browser(world)
    at = browser.to_interrupt()
    world.now += 20
    told(world, sid=..., sub="alice")
    answer = browser.reply_to(at, "yes")
    assert page_of(answer, 403).context["code"] == "sign_in_revoked"
    assert world.live() == []

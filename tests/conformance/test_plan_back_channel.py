"""Back-Channel Logout. In the suite the request comes during a sign-out that began here; so it does in the first test.
In all others the session is still there, so that it shows whether it ended."""

from __future__ import annotations

from typing import Any

from tests.conformance.conformance_support import ConformanceWorld, module, notified, signs_in, signs_out
from tests.conformance.misbehaving_provider import EVENT, Provider
from tests.rules.oidc.oidc_support import jwk

PLAN = "oidcc-client-test-rp-backchannel-rpinitlogout"
SID = "8a1a2f0e-4b7e-4f1c-9a51-1d2c3b4a5f60"


def ends(
    world: ConformanceWorld, provider: Provider, algorithm: str = "RS256", *, code: str = "", **changed: Any
) -> bool:
    """Whether the session ended by a logout token like that; if not, it was a 400 with this code."""
    browser = world.browser()
    assert signs_in(world, provider.sends(sid=SID), browser)
    token = provider.logout_token(algorithm, **{"aud": world.client_id, "sub": "alice", "sid": SID} | changed)
    answer = notified(world, token)
    if code:
        assert (answer.status, answer.json()["error"], answer.json()["code"]) == (400, "invalid_request", code)
    else:
        assert (answer.status, answer.body) == (200, b"")
    assert (browser.who() is None) is (code == "")
    return code == ""


@module(PLAN)
def test_a_logout_token_during_a_sign_out_is_taken(world: ConformanceWorld, provider: Provider) -> None:
    token = provider.logout_token(aud=world.client_id, sub="alice", sid=SID)
    answers: list[int] = []
    provider.sends(sid=SID).notifies.append(lambda: answers.append(notified(world, token).status))
    assert signs_out(world, provider)
    assert answers == [200]


@module(PLAN)
def test_a_logout_token_ends_the_session(world: ConformanceWorld, provider: Provider) -> None:
    assert ends(world, provider)


@module(f"{PLAN}-alg-none")
def test_an_unsigned_logout_token_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert not ends(world, provider, "none", code="logout_token_algorithm")


@module(f"{PLAN}-no-event")
def test_a_logout_token_without_an_event_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert not ends(world, provider, events=..., code="logout_token_events")


@module(f"{PLAN}-with-nonce")
def test_a_logout_token_with_a_nonce_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert not ends(world, provider, nonce="n-0S6", code="logout_token_nonce")


@module(f"{PLAN}-wrong-alg")
def test_a_logout_token_by_an_algorithm_that_the_settings_leave_out_is_refused(world: ConformanceWorld) -> None:
    provider = world.deploy(id_token_algorithms=["RS256"]).publishes_keys(jwk(), jwk("ES256", kid="k1"))
    assert not ends(world, provider, "ES256", header={"kid": "k1"}, code="logout_token_algorithm")


@module(f"{PLAN}-wrong-aud")
def test_a_logout_token_for_another_app_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert not ends(world, provider, aud="another-app", code="logout_token_aud")


@module(f"{PLAN}-wrong-event")
def test_a_logout_token_of_another_event_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    events = {EVENT.replace("backchannel-logout", "foobar"): {}}
    assert not ends(world, provider, events=events, code="logout_token_events")


@module(f"{PLAN}-wrong-iss")
def test_a_logout_token_of_another_issuer_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert not ends(world, provider, iss="https://other.example", code="logout_token_iss")

"""Refresh Token. What is refreshed is what an app asks for to call an API, userinfo or any other."""

from __future__ import annotations

from tests.conformance.conformance_support import ConformanceWorld, module, refreshed, with_refresh_tokens

PLAN = "oidcc-client-test-refresh-token"


@module(PLAN)
def test_an_access_token_that_is_over_is_replaced(world: ConformanceWorld) -> None:
    provider = with_refresh_tokens(world)
    assert refreshed(world, provider) in provider.accepted


@module(f"{PLAN}-invalid-issuer")
def test_a_refreshed_id_token_of_another_issuer_is_refused_and_all_that_came_with_it(world: ConformanceWorld) -> None:
    assert refreshed(world, with_refresh_tokens(world).refreshes(iss="https://other.example")) == "id_token_iss"


@module(f"{PLAN}-invalid-sub")
def test_a_refreshed_id_token_of_another_person_is_refused_and_all_that_came_with_it(world: ConformanceWorld) -> None:
    assert refreshed(world, with_refresh_tokens(world).refreshes(sub="bob")) == "id_token_sub"

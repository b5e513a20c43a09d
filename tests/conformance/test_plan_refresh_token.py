"""Refresh Token. What is refreshed is what an app asks for to call an API, userinfo or any other."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.conformance_support import ConformanceWorld, module, refreshed, with_refresh_tokens

PLAN = "oidcc-client-test-refresh-token"


@module(PLAN)
def test_an_access_token_that_is_over_is_replaced(world: ConformanceWorld) -> None:
    provider = with_refresh_tokens(world)
    assert refreshed(world, provider) in provider.accepted


either_way = pytest.mark.parametrize("expires_in", [300, ...], ids=["over", "not-said"])
"""Whether the first access token is over by then, or may still be good."""


@either_way
@module(f"{PLAN}-invalid-issuer")
def test_a_refreshed_id_token_of_another_issuer_is_refused_and_no_access_token_given(
    world: ConformanceWorld, expires_in: Any
) -> None:
    provider = with_refresh_tokens(world).gives(expires_in=expires_in)
    assert refreshed(world, provider.refreshes(iss="https://other.example")) == "id_token_iss"


@either_way
@module(f"{PLAN}-invalid-sub")
def test_a_refreshed_id_token_of_another_person_is_refused_and_no_access_token_given(
    world: ConformanceWorld, expires_in: Any
) -> None:
    provider = with_refresh_tokens(world).gives(expires_in=expires_in)
    assert refreshed(world, provider.refreshes(sub="bob")) == "id_token_sub"

"""RP-Initiated Logout."""

from __future__ import annotations

from tests.conformance.conformance_support import (
    ConformanceWorld,
    module,
    signs_out,
)
from tests.conformance.misbehaving_provider import Provider
from tests.shells.shell_support import HOME


@module("oidcc-client-test-rp-init-logout")
def test_signing_out_here_signs_out_at_the_provider_and_comes_back(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_out(world, provider)
    asked = provider.last("end_session")
    assert asked.keys() == {"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}
    assert asked["post_logout_redirect_uri"] == f"{HOME}/.auth/logged-out"


@module("oidcc-client-test-rp-init-logout-other-state")
def test_coming_back_with_another_state_is_harmless(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_out(world, provider.returns(state="another"))


@module("oidcc-client-test-rp-init-logout-no-state")
def test_coming_back_without_a_state_is_harmless(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_out(world, provider.returns(state=...))

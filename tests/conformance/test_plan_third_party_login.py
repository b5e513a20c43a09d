"""Third-Party-Initiated Login (OpenID Connect Core 1.0 §4)."""

from __future__ import annotations

from urllib.parse import urlencode

from tests.conformance.conformance_support import DISCOVERED, ConformanceWorld, module, refused, signs_in
from tests.conformance.misbehaving_provider import Provider


def started(issuer: str) -> str:
    return "/.auth/initiate-login?" + urlencode({"iss": issuer, "login_hint": "alice", "target_link_uri": "/offers"})


@module("oidcc-client-test-3rd-party-init-login")
def test_a_third_party_starts_a_sign_in(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider, at=started(provider.issuer), to="/offers")
    assert provider.last("authorize")["login_hint"] == "alice"


@module("oidcc-client-test-3rd-party-init-login")
def test_a_third_party_starts_no_sign_in_at_another_provider(world: ConformanceWorld, provider: Provider) -> None:
    at = started("https://other.example")
    assert refused(world, provider, code="initiate_login_issuer", asked=DISCOVERED, at=at)

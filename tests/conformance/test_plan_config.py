"""Config RP: metadata and keys."""

from __future__ import annotations

from tests.conformance.conformance_support import DISCOVERED, ConformanceWorld, module, refused, signs_in
from tests.conformance.misbehaving_provider import Provider


@module("oidcc-client-test-discovery-openid-config")
def test_endpoints_are_those_of_the_metadata(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider)
    assert provider.requests[0].url == f"{provider.issuer}/.well-known/openid-configuration"


@module("oidcc-client-test-discovery-jwks-uri-keys")
def test_keys_are_where_the_metadata_says(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(
        world,
        provider.publishes(jwks_uri=provider.url("jwks-yQbGrTfKpL")),
        asked=[*DISCOVERED, "authorize", "token", "jwks-yQbGrTfKpL"],
    )


@module("oidcc-client-test-discovery-issuer-mismatch")
def test_metadata_of_another_issuer_stops_the_sign_in(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.publishes(issuer="https://other.example"), code="issuer_mismatch", asked=DISCOVERED)


@module("oidcc-client-test-idtoken-sig-none")
def test_an_unsigned_id_token_is_refused_although_the_metadata_offers_it(
    world: ConformanceWorld, provider: Provider
) -> None:
    provider.publishes(id_token_signing_alg_values_supported=["none", "RS256"])
    assert refused(world, provider.signs("none"), code="id_token_algorithm")


@module("oidcc-client-test-signing-key-rotation")
def test_after_a_rotation_the_next_sign_in_works(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider)
    provider.requests.clear()
    assert signs_in(world, provider.rotates(), asked=["authorize", "token", "jwks"])


@module("oidcc-client-test-signing-key-rotation-just-before-signing")
def test_a_key_that_is_newer_than_the_sign_in_is_fetched(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider)
    provider.requests.clear()
    assert signs_in(world, provider.rotates(before="token"), asked=["authorize", "token", "jwks"])

"""Basic RP and Form Post RP: the code flow, by query and by form, and all of it over real HTTP, too."""

from __future__ import annotations

import pytest
from tests.conformance.conformance_support import WAYS, ConformanceWorld, module, refused, signs_in
from tests.conformance.misbehaving_provider import Provider
from tests.rules.oidc.oidc_support import jwk

pytestmark = pytest.mark.parametrize("world", [*WAYS, "http query"], indirect=True)


@module("oidcc-client-test")
def test_a_sign_in_leads_to_the_page_that_was_asked_for(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider)


@module("oidcc-client-test-invalid-iss")
def test_an_id_token_of_another_issuer_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(iss="https://other.example"), code="id_token_iss")


@module("oidcc-client-test-missing-sub")
def test_an_id_token_of_nobody_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(sub=...), code="id_token_sub")


@module("oidcc-client-test-invalid-aud")
def test_an_id_token_for_another_app_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(aud="another-app"), code="id_token_aud")


@module("oidcc-client-test-missing-iat")
def test_an_id_token_that_does_not_say_when_it_was_made_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(iat=...), code="id_token_iat")


@module("oidcc-client-test-kid-absent-single-jwks")
def test_the_only_key_needs_no_name(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.signs(kid=...).publishes_keys(jwk(kid=...)))


@module("oidcc-client-test-kid-absent-multiple-jwks")
def test_of_several_keys_without_names_the_one_that_fits_is_found(world: ConformanceWorld, provider: Provider) -> None:
    nameless = [jwk(which=which, kid=...) for which in range(3)]
    assert signs_in(world, provider.signs(which=2, kid=...).publishes_keys(*nameless))


@module("oidcc-client-test-idtoken-sig-rs256")
def test_rs256_is_accepted(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.signs("RS256"))


@module("oidcc-client-test-idtoken-sig-none")
def test_an_unsigned_id_token_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.signs("none"), code="id_token_algorithm")


@module("oidcc-client-test-invalid-sig-rs256")
def test_a_bad_rs256_signature_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.signs("RS256", spoils=True), code="id_token_signature")


@module("oidcc-client-test-nonce-invalid")
def test_an_id_token_of_another_sign_in_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(nonce="another"), code="id_token_nonce")


@module("oidcc-client-test-scope-userinfo-claims")
def test_claims_are_asked_for_by_scope(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider)
    assert provider.last("authorize")["scope"] == "openid profile email"


@module("oidcc-client-test-client-secret-basic")
def test_the_secret_is_sent_in_the_header(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider)
    assert provider.requests[2].headers["authorization"].startswith("Basic ")
    assert not {"client_secret", "client_id"} & provider.last("token").keys()

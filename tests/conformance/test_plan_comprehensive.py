"""What the comprehensive plan has beyond the certification profiles, as far as it is about the code flow."""

from __future__ import annotations

from tests.conformance.conformance_support import AUTHORIZED, ConformanceWorld, module, refused
from tests.conformance.misbehaving_provider import Provider
from tests.rules.oidc.oidc_support import jwk


@module("oidcc-client-test-missing-aud")
def test_an_id_token_for_nobody_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(aud=...), code="id_token_aud")


@module("oidcc-client-test-invalid-athash")
def test_an_id_token_that_belongs_to_another_access_token_is_refused(
    world: ConformanceWorld, provider: Provider
) -> None:
    assert refused(world, provider.sends(at_hash="another"), code="id_token_at_hash")


@module("oidcc-client-test-invalid-sig-es256")
def test_a_bad_es256_signature_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    provider.publishes_keys(jwk("ES256"))
    assert refused(world, provider.signs("ES256", spoils=True), code="id_token_signature")


@module("oidcc-client-test-invalid-sig-hs256")
def test_hs256_is_refused_however_it_is_signed(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.signs("HS256"), code="id_token_algorithm")
    assert refused(world, world.deploy().signs("HS256", spoils=True), code="id_token_algorithm")


@module("oidcc-client-test-form-post-error")
def test_an_error_that_comes_by_form_post_is_shown(world: ConformanceWorld, provider: Provider) -> None:
    provider.answers(code=..., error="login_required", error_description="Nobody is signed in.")
    assert refused(world, provider, code="provider_error", asked=AUTHORIZED, at="/.auth/login?prompt=none")
    assert provider.last("authorize")["prompt"] == "none"

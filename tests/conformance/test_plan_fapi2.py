"""FAPI 2.0 Security Profile: its checks of metadata, answers and ID tokens, which hold without PAR and DPoP too."""

from __future__ import annotations

from tests.conformance.conformance_support import (
    AUTHORIZED,
    DISCOVERED,
    ConformanceWorld,
    module,
    refused,
    signs_in,
)
from tests.conformance.misbehaving_provider import Provider

PLAN = "fapi2-security-profile-final-client-test-"


@module(f"{PLAN}discovery-issuer-mismatch")
def test_metadata_of_an_issuer_that_differs_by_a_slash_stops_the_sign_in(
    world: ConformanceWorld, provider: Provider
) -> None:
    assert refused(world, provider.publishes(issuer=f"{provider.issuer}/"), code="issuer_mismatch", asked=DISCOVERED)


@module(f"{PLAN}invalid-iss")
def test_an_id_token_of_an_issuer_below_ours_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(iss=f"{provider.issuer}/1"), code="id_token_iss")


@module(f"{PLAN}invalid-missing-iss")
def test_an_id_token_of_no_issuer_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(iss=...), code="id_token_iss")


@module(f"{PLAN}invalid-aud")
def test_an_id_token_for_an_app_of_a_longer_name_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(aud=f"{world.client_id}1"), code="id_token_aud")


@module(f"{PLAN}invalid-missing-aud")
def test_an_id_token_with_an_empty_audience_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(aud=...), code="id_token_aud")
    assert refused(world, world.deploy().sends(aud=[]), code="id_token_aud")


@module(f"{PLAN}invalid-secondary-aud")
def test_an_id_token_that_is_for_others_too_and_not_issued_to_us_is_refused(
    world: ConformanceWorld, provider: Provider
) -> None:
    assert refused(world, provider.sends(aud=[world.client_id, "another-app"]), code="id_token_azp")


@module(f"{PLAN}valid-aud-as-array")
def test_an_audience_may_be_a_list_of_one(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.sends(aud=[world.client_id]))


@module(f"{PLAN}invalid-null-alg")
def test_an_id_token_without_a_signature_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.signs("none"), code="id_token_algorithm")


@module(f"{PLAN}invalid-alternate-alg")
def test_an_algorithm_that_the_settings_leave_out_is_refused(world: ConformanceWorld) -> None:
    provider = world.deploy(id_token_algorithms=["PS256", "ES256", "EdDSA"])
    assert refused(world, provider.signs("RS256"), code="id_token_algorithm")


@module(f"{PLAN}invalid-expired-exp")
def test_an_id_token_that_has_expired_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(exp=int(world.clock.now) - 300), code="id_token_expired")


@module(f"{PLAN}invalid-missing-exp")
def test_an_id_token_that_never_expires_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(exp=...), code="id_token_expired")


@module(f"{PLAN}invalid-nonce")
def test_an_id_token_with_a_longer_nonce_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(nonce="x" * 43), code="id_token_nonce")


@module(f"{PLAN}invalid-missing-nonce")
def test_an_id_token_without_a_nonce_is_refused(world: ConformanceWorld, provider: Provider) -> None:
    assert refused(world, provider.sends(nonce=...), code="id_token_nonce")


@module(f"{PLAN}invalid-authorization-response-iss")
def test_an_answer_of_another_provider_is_refused_before_the_code_is_redeemed(
    world: ConformanceWorld, provider: Provider
) -> None:
    provider.publishes(authorization_response_iss_parameter_supported=True).answers(iss="https://other.example")
    assert refused(world, provider, code="response_iss_mismatch", asked=AUTHORIZED)


@module(f"{PLAN}remove-authorization-response-iss")
def test_an_answer_that_lacks_the_promised_issuer_is_refused_before_the_code_is_redeemed(
    world: ConformanceWorld, provider: Provider
) -> None:
    provider.publishes(authorization_response_iss_parameter_supported=True)
    assert refused(world, provider, code="response_iss_missing", asked=AUTHORIZED)


@module(f"{PLAN}ensure-authorization-response-with-invalid-state-fails")
def test_an_answer_with_another_state_is_refused_before_the_code_is_redeemed(
    world: ConformanceWorld, provider: Provider
) -> None:
    assert refused(world, provider.answers(state="another"), code="state_unknown", asked=AUTHORIZED)


@module(f"{PLAN}ensure-authorization-response-with-invalid-missing-state-fails")
def test_an_answer_without_a_state_is_refused_before_the_code_is_redeemed(
    world: ConformanceWorld, provider: Provider
) -> None:
    assert refused(world, provider.answers(state=...), code="state_unknown", asked=AUTHORIZED)


@module(f"{PLAN}token-endpoint-response-without-expires_in")
def test_an_access_token_need_not_say_how_long_it_is_good(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.gives(expires_in=...))


@module(f"{PLAN}token-type-case-insensitivity")
def test_the_token_type_may_be_in_any_case(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.gives(token_type="bEARER"))

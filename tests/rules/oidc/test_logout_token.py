"""The logout token: every row of Back-Channel Logout 1.0 §2.6 with its code, and the odd but honest ones."""

from __future__ import annotations

from typing import Any

import pytest
from oidc_support import ALL, CLIENT, ISSUER, SETTINGS, SHARED, T0, TENANT_A, jwk, jwks, provider, token

from kmsi_middleware.rules.oidc.logout_token import EVENT, LogoutNotice, UnknownKey, check, verified_claims
from kmsi_middleware.vocabulary.errors import ProtocolError
from kmsi_middleware.vocabulary.settings import DAY, Settings

SKEW = SETTINGS.clock_skew
WHOLE: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "ada",
    "aud": CLIENT,
    "iat": T0,
    "exp": T0 + 120,
    "jti": "one-of-a-kind",
    "events": {EVENT: {}},
    "sid": "sid-1",
}


def notice(
    changed: dict[str, Any] | None = None, *, now: float = T0, settings: Settings = SETTINGS, **header: Any
) -> LogoutNotice:
    """What comes of a token; ``...`` leaves a claim or a header member out."""
    payload = {name: value for name, value in (WHOLE | (changed or {})).items() if value is not ...}
    text = token("RS256", payload, **{"typ": "logout+jwt", **header})
    claims = verified_claims(text, jwks(jwk()), settings.id_token_algorithms)
    return check(text, claims, provider(), settings, client_id=CLIENT, now=now)


def refusal(changed: dict[str, Any] | None = None, **more: Any) -> str:
    with pytest.raises(ProtocolError) as refused:
        notice(changed, **more)
    assert refused.value.status == 400
    return refused.value.code


def test_a_good_token_names_the_session_and_the_user() -> None:
    assert notice() == LogoutNotice(ISSUER, "ada", "sid-1", "one-of-a-kind", T0, T0 + 120 + SKEW + 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"sub": ...},
        {"sid": ...},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT], "azp": CLIENT},
        {"jti": "8letters"},
        {"exp": T0 + DAY},
        {"exp": ...},
        {"iat": T0 + 0.5},
        {"iat": T0 + SKEW},
        {"events": {EVENT: {"more": 1}, "https://example.com/other": {}}},
        {"auth_time": T0, "unheard-of": ["anything"]},
        {"sub": "ünï \U0001f600", "sid": "+/=" * 60},
    ],
)
def test_odd_but_honest_tokens_pass(changed: dict[str, Any]) -> None:
    notice(changed)


@pytest.mark.parametrize("typ", ["logout+jwt", "LOGOUT+JWT", "application/logout+jwt", "JWT", "jwt", ...])
def test_the_type_may_be_what_providers_send(typ: Any) -> None:
    notice(typ=typ)


@pytest.mark.parametrize("typ", ["at+jwt", "secevent+jwt", ""])
def test_a_token_of_another_type_is_refused(typ: str) -> None:
    assert refusal(typ=typ) == "logout_token_typ"


@pytest.mark.parametrize("typ", [None, 7, ["logout+jwt"]])
def test_a_type_that_is_no_text_makes_no_signed_token(typ: Any) -> None:
    assert refusal(typ=typ) == "logout_token_signature"


def test_the_type_can_be_required() -> None:
    strict = Settings(client_id=CLIENT, require_logout_token_type=True)
    notice(settings=strict)
    for typ in ("JWT", ...):
        assert refusal(settings=strict, typ=typ) == "logout_token_typ"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iss": "https://other.example"}, "logout_token_iss"),
        ({"iss": ISSUER + "/"}, "logout_token_iss"),
        ({"iss": ...}, "logout_token_iss"),
        ({"aud": "another"}, "logout_token_aud"),
        ({"aud": ["another"]}, "logout_token_aud"),
        ({"aud": ...}, "logout_token_aud"),
        ({"azp": "another"}, "logout_token_azp"),
        ({"iat": ...}, "logout_token_iat"),
        ({"iat": str(T0)}, "logout_token_iat"),
        ({"iat": True}, "logout_token_iat"),
        ({"iat": T0 + SKEW + 1}, "logout_token_iat"),
        ({"exp": T0 - SKEW}, "logout_token_expired"),
        ({"exp": T0 + DAY + SKEW + 1}, "logout_token_expired"),
        ({"exp": "tomorrow"}, "logout_token_expired"),
        ({"exp": None}, "logout_token_expired"),
        ({"sub": ..., "sid": ...}, "logout_token_empty"),
        ({"sub": ["ada"]}, "logout_token_malformed"),
        ({"sid": 5}, "logout_token_malformed"),
        ({"sid": ""}, "logout_token_malformed"),
        ({"sid": "x" * 2_049}, "logout_token_malformed"),
        ({"events": ...}, "logout_token_events"),
        ({"events": {}}, "logout_token_events"),
        ({"events": {"https://example.com/other": {}}}, "logout_token_events"),
        ({"events": [EVENT]}, "logout_token_events"),
        ({"events": EVENT}, "logout_token_events"),
        ({"events": {EVENT: None}}, "logout_token_events"),
        ({"events": {EVENT: "yes"}}, "logout_token_events"),
        ({"nonce": "n"}, "logout_token_nonce"),
        ({"nonce": None}, "logout_token_nonce"),
        ({"jti": ...}, "logout_token_jti"),
        ({"jti": 5}, "logout_token_jti"),
        ({"jti": ""}, "logout_token_jti"),
    ],
)
def test_each_failing_step_has_its_code(changed: dict[str, Any], code: str) -> None:
    assert refusal(changed) == code


def test_without_an_expiry_it_is_good_for_ten_minutes() -> None:
    at = T0 + 600 + SKEW
    assert notice({"exp": ...}, now=at - 1).good_until == at + 1
    assert refusal({"exp": ...}, now=at) == "logout_token_expired"


def test_up_to_when_it_is_refused_anyway_its_name_is_kept() -> None:
    for changed in ({}, {"exp": ...}, {"exp": T0 + 0.5}):
        kept = notice(changed).good_until
        assert refusal(changed, now=kept) == "logout_token_expired"


def test_the_tenants_issuer_is_expected_where_each_has_its_own() -> None:
    shared = provider(issuer=SHARED)
    settings = Settings(client_id=CLIENT, allowed_tenants=(TENANT_A,))
    claims = WHOLE | {"iss": SHARED.replace("{tenantid}", TENANT_A), "tid": TENANT_A}
    text = token("RS256", claims, typ="logout+jwt")
    assert check(text, claims, shared, settings, client_id=CLIENT, now=T0).issuer == claims["iss"]
    for other in ({"tid": ...}, {"iss": ISSUER}):
        changed = {name: value for name, value in (claims | other).items() if value is not ...}
        with pytest.raises(ProtocolError, match="logout_token_iss"):
            check(text, changed, shared, settings, client_id=CLIENT, now=T0)


# The signature, whose rows are the ID token's (test_id_token.py) ------------------------------------------------


def test_a_bad_signature_is_a_bad_request_and_named_after_the_logout_token() -> None:
    for text, code in {
        token("RS256", WHOLE, which=1, kid="k0"): "logout_token_signature",
        token("RS256", WHOLE, alg="none"): "logout_token_algorithm",
        token("RS256", WHOLE, alg="HS256"): "logout_token_algorithm",
        token("RS256", WHOLE, crit=["exp"]): "logout_token_malformed",
        token("RS256", WHOLE) + ".two.more": "logout_token_malformed",  # encrypted tokens have five parts
        "": "logout_token_malformed",
    }.items():
        with pytest.raises(ProtocolError) as refused:
            verified_claims(text, jwks(jwk()), ALL)
        assert (refused.value.code, refused.value.status) == (code, 400)
    with pytest.raises(UnknownKey):
        verified_claims(token("RS256", WHOLE, which=2), jwks(jwk()), ALL)

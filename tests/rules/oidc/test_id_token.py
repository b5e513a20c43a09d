"""The ID token: every check with its code, and the odd but honest tokens that must pass."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oidc_support import (
    ALL,
    CLIENT,
    ISSUER,
    NONCE,
    SETTINGS,
    SHARED,
    T0,
    TENANT_A,
    b64,
    claims,
    jwk,
    jwks,
    provider,
    signature,
    token,
)

from kmsi_middleware.rules.oidc.id_token import (
    UnknownKey,
    algorithm_of,
    auth_time_of,
    check_claims,
    sids_of,
    verified_claims,
)
from kmsi_middleware.rules.oidc.signed import LONGEST_TOKEN, MOST_KEYS
from kmsi_middleware.vocabulary.errors import ProtocolError
from kmsi_middleware.vocabulary.settings import Settings


def refusal(text: str, keys: dict[str, Any] | None = None, algorithms: tuple[str, ...] = ALL) -> str:
    with pytest.raises(ProtocolError) as refused:
        verified_claims(text, jwks(jwk()) if keys is None else keys, algorithms)
    assert refused.value.status == 502
    return refused.value.code


# The signature --------------------------------------------------------------------------------------------

ACCEPTED = [*ALL, "Ed25519", "ES256K"]


@pytest.mark.parametrize("algorithm", ACCEPTED)
def test_a_good_signature_gives_the_claims(algorithm: str) -> None:
    settings = Settings(id_token_algorithms=(algorithm,))
    text = token(algorithm)
    assert verified_claims(text, jwks(jwk(algorithm)), settings.id_token_algorithms) == claims()
    assert algorithm_of(text) == algorithm


@pytest.mark.parametrize("algorithm", ACCEPTED)
def test_another_keys_signature_is_refused(algorithm: str) -> None:
    text = token(algorithm, which=1, kid="k0")
    assert refusal(text, jwks(jwk(algorithm)), (algorithm,)) == "id_token_signature"


@pytest.mark.parametrize("algorithm", ACCEPTED)
def test_a_changed_token_is_refused(algorithm: str) -> None:
    keys, (head, _, sign) = jwks(jwk(algorithm)), token(algorithm).split(".")
    other = b64(json.dumps(claims(sub="eve")).encode())
    assert refusal(f"{head}.{other}.{sign}", keys, (algorithm,)) == "id_token_signature"
    for broken in ("", "AAAA", sign[:-4], sign + "AAAA", b64(bytes(64)), b64(bytes(256))):
        assert refusal(f"{token(algorithm).rpartition('.')[0]}.{broken}", keys, (algorithm,)) == "id_token_signature"


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS1", "rs256", "X"]
)
def test_algorithms_without_a_public_key_are_refused(algorithm: str) -> None:
    head, body = b64(json.dumps({"alg": algorithm}).encode()), b64(json.dumps(claims()).encode())
    for sign in ("", b64(signature("RS256", f"{head}.{body}".encode()))):
        assert refusal(f"{head}.{body}.{sign}") == "id_token_algorithm"


def test_the_issuers_public_key_is_no_shared_secret() -> None:
    """The confusion of RS256 with HS256: whoever knows the public key could sign."""
    head, body = b64(b'{"alg":"HS256","kid":"k0"}'), b64(json.dumps(claims()).encode())
    for secret in (json.dumps(jwk()).encode(), jwk()["n"].encode()):
        mac = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
        forged = f"{head}.{body}.{b64(mac)}"
        assert refusal(forged) == "id_token_algorithm"
        shared = {"kty": "oct", "k": b64(secret), "kid": "k0"}
        assert refusal(forged, jwks(jwk(), shared)) == "id_token_algorithm"


@pytest.mark.parametrize("alg", [None, 7, True, ["RS256"], {"RS256": 1}, ...])
def test_an_algorithm_that_is_no_text_is_refused(alg: Any) -> None:
    assert refusal(token(alg=alg)) == "id_token_algorithm"


def test_only_the_algorithms_of_the_settings_are_accepted() -> None:
    assert refusal(token("RS256"), algorithms=("ES256",)) == "id_token_algorithm"
    assert verified_claims(token("RS256"), jwks(jwk()), ("ES256", "RS256"))


@pytest.mark.parametrize(("algorithm", "other"), [("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512")])
def test_a_signature_of_another_kind_is_refused(algorithm: str, other: str) -> None:
    head, body = b64(json.dumps({"alg": algorithm, "kid": "k0"}).encode()), b64(json.dumps(claims()).encode())
    sign = b64(signature(other, f"{head}.{body}".encode()))
    assert refusal(f"{head}.{body}.{sign}") == "id_token_signature"


@pytest.mark.parametrize(("algorithm", "key"), [("ES256", "ES384"), ("ES512", "ES256"), ("ES256", "ES256K")])
def test_a_curve_belongs_to_its_algorithm(algorithm: str, key: str) -> None:
    assert refusal(token(algorithm), jwks(jwk(key))) == "id_token_signature"


# Which key ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"keys": []},
        {"keys": None},
        {"keys": "k0"},
        {"keys": {"k0": jwk()}},
        {"keys": [None, 7, "k0", []]},
        jwks(jwk(kid="k9")),
        jwks(jwk(use="enc")),
        jwks(jwk(alg="RS512")),
        jwks(jwk(alg="PS256")),
        jwks(jwk(kty="EC")),
        jwks(jwk(kty=...)),
        jwks(jwk("ES256", kid="k0")),
        jwks(jwk("EdDSA", kid="k0")),
    ],
)
def test_without_a_key_that_fits_the_set_is_asked_for_again(keys: dict[str, Any]) -> None:
    with pytest.raises(UnknownKey):
        verified_claims(token(), keys, ALL)


@pytest.mark.parametrize(
    "key",
    [
        jwk(),
        jwk(alg="RS256"),
        jwk(alg=...),
        jwk(use=...),
        jwk(use=..., alg=..., kid=...),
        jwk(kid=...),
        jwk(key_ops=["verify"]),
        jwk(key_ops=["encrypt"]),
        jwk(x5t="AAAA", x5c=["AAAA"]),
        jwk(custom={"a": 1}),
    ],
)
def test_keys_as_real_providers_publish_them(key: dict[str, Any]) -> None:
    assert verified_claims(token(), jwks(key), ALL) == claims()


def test_the_key_is_found_among_many_and_odd_ones() -> None:
    odd = [None, {}, {"kty": "RSA"}, jwk(which=1), jwk("ES256", kid="k0"), jwk(use="enc"), jwk(n="!!!"), jwk(e="")]
    assert verified_claims(token(), jwks(*odd, jwk()), ALL) == claims()  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_without_a_kid_the_only_key_is_taken(algorithm: str) -> None:
    assert verified_claims(token(algorithm, kid=...), jwks(jwk(algorithm)), ALL) == claims()


def test_without_a_kid_every_key_that_fits_is_tried() -> None:
    keys = jwks(jwk("ES256", which=5), jwk(which=1), jwk(use="enc", which=2), jwk())
    assert verified_claims(token(kid=...), keys, ALL) == claims()


def test_without_a_kid_and_no_key_that_verifies_the_set_is_asked_for_again() -> None:
    with pytest.raises(UnknownKey):
        verified_claims(token(kid=...), jwks(jwk(which=1), jwk(which=2)), ALL)


def test_a_kid_that_two_keys_have_is_no_problem() -> None:
    assert verified_claims(token(), jwks(jwk(which=1, kid="k0"), jwk()), ALL) == claims()


@pytest.mark.parametrize("kid", ["k9", "", "K0", 7, True, ["k0"], {"k0": 1}])
def test_a_kid_that_the_set_does_not_have_is_an_unknown_key(kid: Any) -> None:
    with pytest.raises(UnknownKey):
        verified_claims(token(kid=kid), jwks(jwk()), ALL)


def test_only_so_many_keys_are_looked_at() -> None:
    many = [jwk(kid=f"other-{number}") for number in range(MOST_KEYS)]
    assert verified_claims(token(), jwks(*many[1:], jwk()), ALL) == claims()
    with pytest.raises(UnknownKey):
        verified_claims(token(), jwks(*many, jwk()), ALL)


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": jwk(which=1)},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["AAAA"]},
    ],
)
def test_a_key_in_the_tokens_header_is_never_used(header: dict[str, Any]) -> None:
    forged = token(which=1, kid="k0", **header)
    assert refusal(forged) == "id_token_signature"
    with pytest.raises(UnknownKey):
        verified_claims(token(which=1, **header), jwks(jwk()), ALL)
    assert verified_claims(token(**header), jwks(jwk()), ALL) == claims()


@pytest.mark.parametrize(
    "header",
    [
        {"typ": ...},
        {"typ": "application/jwt"},
        {"typ": "ID+JWT"},
        {"typ": "id_token+jwt"},
        {"x5t": "AAAA"},
        {"x5c": ["A" * 4_000]},
        {"custom": "RFC 7515 §4: ignored where it is not understood"},
        {"appid": 7, "nonce": "x" * 700},
    ],
)
def test_a_header_may_hold_what_we_do_not_know(header: dict[str, Any]) -> None:
    assert verified_claims(token(**header), jwks(jwk()), ALL) == claims()


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "logout+jwt", "secevent+jwt"])
def test_a_token_whose_type_says_that_it_is_for_something_else_is_no_id_token(typ: str) -> None:
    """RFC 8725 §3.11."""
    assert refusal(token(typ=typ)) == "id_token_typ"
    assert refusal(token(typ=typ, which=1, kid="k0")) == "id_token_signature"  # which comes first, always


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], None, "exp"])
def test_a_header_that_must_be_understood_is_refused(crit: Any) -> None:
    assert refusal(token(crit=crit, exp=1)) == "id_token_malformed"
    assert refusal(token(crit=crit, b64=False)) == "id_token_malformed"


def test_an_unencoded_payload_is_refused() -> None:
    assert refusal(token(b64=False)) == "id_token_signature"


@pytest.mark.parametrize("size", [1_024, 1_536])
def test_a_short_rsa_key_is_no_key(size: int) -> None:
    """RFC 7518 §3.3: 2,048 bits or more."""
    with pytest.raises(UnknownKey):
        verified_claims(token(size=size), jwks(jwk(size=size)), ALL)


def test_a_long_rsa_key_is_one() -> None:
    assert verified_claims(token(size=3_072), jwks(jwk(size=3_072)), ALL) == claims()


# The form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        ".b.c",
        "a..c",
        "not a token",
        "é.é.é",
        "a.b.c\n",
        "a.b.c=",
        "a+.b.c",
        "!!!.!!!.!!!",
        "A.AAAA.AAAA",  # not a length that base64 has
        f"{b64(b'not json')}.AAAA.AAAA",
        f"{b64(b'[]')}.AAAA.AAAA",
        f"{b64(b'null')}.AAAA.AAAA",
        f"{b64(b'7')}.AAAA.AAAA",
        f"{b64(bytes([0xFF, 0xFE]))}.AAAA.AAAA",
        f"{b64(b'[' * 40_000)}.AAAA.AAAA",
        f"{b64(b'1' * 5_000)}.AAAA.AAAA",
    ],
)
def test_what_is_no_signed_token_is_malformed(text: str) -> None:
    assert refusal(text) == "id_token_malformed"


def test_a_token_is_bounded_in_size() -> None:
    empty = len(token(payload=claims(pad="")))
    pad = "x" * ((LONGEST_TOKEN - empty) * 3 // 4 - 2)
    longest = token(payload=claims(pad=pad))
    assert LONGEST_TOKEN - 4 <= len(longest) <= LONGEST_TOKEN
    assert verified_claims(longest, jwks(jwk()), ALL)["pad"] == pad
    assert refusal(token(payload=claims(pad=pad + "xxxx"))) == "id_token_malformed"


@pytest.mark.parametrize(
    "payload",
    [b"", b"not json", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 40_000, b'{"a":' * 9_000, b'{"sub":"\\ud800"}'],
)
def test_a_signed_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    assert refusal(token(payload=payload)) in ("id_token_malformed", "id_token_signature")


@given(st.text(st.characters(codec="utf-8"), max_size=80) | st.from_regex(r"[\w-]{1,20}\.[\w-]{1,20}\.[\w-]{0,20}"))
def test_no_text_breaks_the_check(text: str) -> None:
    with pytest.raises((ProtocolError, UnknownKey)):
        verified_claims(text, jwks(jwk()), ALL)


odd_values = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just([]), st.just({}))


@given(
    st.sampled_from(["RS256", "ES256", "EdDSA"]),
    st.sampled_from(["n", "e", "x", "y", "crv", "kid", "alg", "use", "key_ops", "x5c", "x5t"]),
    odd_values,
)
def test_no_published_key_breaks_the_check(algorithm: str, member: str, value: Any) -> None:
    odd = jwk(algorithm) | {member: value}
    try:
        verified_claims(token(algorithm, which=1, kid="k0"), jwks(odd), ALL)
    except (ProtocolError, UnknownKey):
        pass
    else:
        pytest.fail("a signature of another key was accepted")


# The claims -----------------------------------------------------------------------------------------------


def check(given: dict[str, Any], now: float = T0, **more: Any) -> str:
    """The code of the refusal, or an empty text."""
    by: dict[str, Any] = {"provider": provider(), "settings": SETTINGS, "client_id": CLIENT, "nonce": NONCE} | more
    refused: ProtocolError | None = None
    try:
        check_claims(given, by.pop("provider"), by.pop("settings"), now=now, **by)
    except ProtocolError as error:
        refused = error
    if refused is None:
        return ""
    assert refused.status == (403 if refused.code == "tenant_not_allowed" else 502)
    return refused.code


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, ""),
        # iss
        ({"iss": ...}, "id_token_iss"),
        ({"iss": None}, "id_token_iss"),
        ({"iss": "https://evil.example"}, "id_token_iss"),
        ({"iss": ISSUER + "/"}, "id_token_iss"),
        ({"iss": ISSUER.upper()}, "id_token_iss"),
        ({"iss": "http://idp.example"}, "id_token_iss"),
        ({"iss": [ISSUER]}, "id_token_iss"),
        # aud, azp
        ({"aud": [CLIENT]}, ""),
        ({"aud": [CLIENT, CLIENT]}, ""),
        ({"aud": ["other", CLIENT], "azp": CLIENT}, ""),
        ({"aud": CLIENT, "azp": CLIENT}, ""),
        ({"aud": [CLIENT, 7, None], "azp": CLIENT}, ""),
        ({"aud": ...}, "id_token_aud"),
        ({"aud": None}, "id_token_aud"),
        ({"aud": ""}, "id_token_aud"),
        ({"aud": []}, "id_token_aud"),
        ({"aud": "other"}, "id_token_aud"),
        ({"aud": ["other"]}, "id_token_aud"),
        ({"aud": f"{CLIENT} other"}, "id_token_aud"),
        ({"aud": f"{CLIENT}-2"}, "id_token_aud"),
        ({"aud": {CLIENT: 1}}, "id_token_aud"),
        ({"aud": [[CLIENT]]}, "id_token_aud"),
        ({"aud": [CLIENT, "other"]}, "id_token_azp"),
        ({"azp": "other"}, "id_token_azp"),
        ({"azp": ""}, "id_token_azp"),
        ({"azp": [CLIENT]}, "id_token_azp"),
        ({"aud": [CLIENT, "other"], "azp": "other"}, "id_token_azp"),
        # sub
        ({"sub": "x" * 255}, ""),
        ({"sub": "https://idp.example/users/1?a=b"}, ""),
        ({"sub": ...}, "id_token_sub"),
        ({"sub": None}, "id_token_sub"),
        ({"sub": ""}, "id_token_sub"),
        ({"sub": 7}, "id_token_sub"),
        ({"sub": ["ada"]}, "id_token_sub"),
        ({"sub": "x" * 256}, "id_token_sub"),
        # nonce
        ({"nonce": ...}, "id_token_nonce"),
        ({"nonce": None}, "id_token_nonce"),
        ({"nonce": ""}, "id_token_nonce"),
        ({"nonce": "another"}, "id_token_nonce"),
        ({"nonce": NONCE + "x"}, "id_token_nonce"),
        ({"nonce": NONCE.upper()}, "id_token_nonce"),
        ({"nonce": [NONCE]}, "id_token_nonce"),
        ({"nonce": "é"}, "id_token_nonce"),
        # Odd but honest
        ({"auth_time": 0, "acr": "0", "amr": "pwd", "sid": "a+b/c=", "extra": {"a": [1]}}, ""),
        ({"iat": float(T0), "exp": T0 + 0.5, "auth_time": T0 - 0.5}, ""),
        ({"at_hash": "anything, for there is no access token"}, ""),
    ],
)
def test_claims(changed: dict[str, Any], code: str) -> None:
    assert check(claims(**changed)) == code


@pytest.mark.parametrize("skew", [0, 60, 300])
def test_instants_to_the_second(skew: int) -> None:
    by = Settings(client_id=CLIENT, clock_skew=skew)

    def at(now: float, **changed: Any) -> str:
        return check(claims(**changed), now, settings=by)

    end = T0 + 300 + skew
    assert at(end - 1) == at(end - 0.001) == ""
    assert at(end) == at(end + 1) == "id_token_expired"
    assert at(T0, iat=T0 + skew) == ""
    assert at(T0, iat=T0 + skew + 1) == at(T0, iat=T0 + skew + 0.5) == "id_token_iat"
    assert at(T0, nbf=T0 + skew) == at(T0, nbf=T0 - 1) == ""
    assert at(T0, nbf=T0 + skew + 1) == "id_token_nbf"


@pytest.mark.parametrize(
    "odd", [..., None, "1700000000", True, -1, [T0], {}, float("nan"), float("inf"), 10**12, 10**400]
)
def test_an_instant_that_is_none_is_missing(odd: Any) -> None:
    assert check(claims(iat=odd)) == "id_token_iat"
    assert check(claims(exp=odd)) == "id_token_expired"


@pytest.mark.parametrize("issuer", ["https://idp.example/", "https://idp.example/realms/one", "https://idp.example/a/"])
def test_an_issuer_is_compared_to_the_letter(issuer: str) -> None:
    here = provider(issuer=issuer)
    assert check(claims(iss=issuer), provider=here) == ""
    assert (
        check(claims(iss=issuer.rstrip("/") if issuer.endswith("/") else issuer + "/"), provider=here) == "id_token_iss"
    )


# at_hash --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("RS256", "sha256"), ("PS256", "sha256"), ("ES384", "sha384"), ("RS512", "sha512"), ("EdDSA", "sha512")],
)
def test_at_hash_is_the_left_half_of_the_access_tokens_hash(algorithm: str, name: str) -> None:
    digest = hashlib.new(name, b"access-1").digest()
    right, whole = b64(digest[: len(digest) // 2]), b64(digest)

    def at(value: Any, access_token: str = "access-1") -> str:
        return check(claims(at_hash=value), access_token=access_token, algorithm=algorithm)

    assert at(right) == at(...) == ""
    assert at(right, "") == at("wrong", "") == ""
    for wrong in (whole, right[:-1], right + "=", "", 7, [right], "é", b64(digest[len(digest) // 2 :])):
        assert at(wrong) == "id_token_at_hash"
    assert at(right, "access-2") == "id_token_at_hash"


def test_at_hash_of_the_specification() -> None:
    """OpenID Connect Core 1.0, appendix A.4: the access token and the at_hash of its example."""
    access_token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    given = claims(at_hash="77QmUPtjPfzWtF2AnpK9RQ")
    assert check(given, access_token=access_token, algorithm="RS256") == ""
    assert check(given, access_token=access_token + "x", algorithm="RS256") == "id_token_at_hash"


# Entra's shared issuers -----------------------------------------------------------------------------------

TENANT_B = "9188040d-6c67-4c5b-b112-36a304b66dad"


def shared(tenant: Any, issuer_of: str | None = None, *, allowed: tuple[str, ...] = (TENANT_A,)) -> str:
    issuer = SHARED.replace("{tenantid}", issuer_of if issuer_of is not None else str(tenant))
    return check(
        claims(iss=issuer, tid=tenant),
        provider=provider(issuer=SHARED),
        settings=Settings(client_id=CLIENT, allowed_tenants=allowed),
    )


@pytest.mark.parametrize(
    ("tenant", "issuer_of", "allowed", "code"),
    [
        (TENANT_A, None, (TENANT_A,), ""),
        (TENANT_A, None, (TENANT_B, TENANT_A), ""),
        (TENANT_A, None, ("*",), ""),
        (TENANT_A, None, (TENANT_A.upper(),), ""),
        ("contoso.example", None, ("contoso.example",), ""),
        (TENANT_B, None, (TENANT_A,), "tenant_not_allowed"),
        (TENANT_B, None, (), "tenant_not_allowed"),
        (TENANT_A, None, (TENANT_A[:8],), "tenant_not_allowed"),
        # tid and iss must say the same
        (TENANT_A, TENANT_B, (TENANT_A,), "id_token_iss"),
        (TENANT_A, TENANT_B, ("*",), "id_token_iss"),
        (TENANT_A, TENANT_A.upper(), (TENANT_A,), "id_token_iss"),
        (TENANT_A, "{tenantid}", (TENANT_A,), "id_token_iss"),
        (TENANT_A, "", (TENANT_A,), "id_token_iss"),
        # no tenant
        (..., TENANT_A, ("*",), "id_token_iss"),
        (None, TENANT_A, ("*",), "id_token_iss"),
        ("", "", ("*",), "id_token_iss"),
        (7, "7", ("*",), "id_token_iss"),
        ("{tenantid}", None, ("*",), "id_token_iss"),
        ("*", None, ("*",), "id_token_iss"),
        ("a/b", None, ("*",), "id_token_iss"),
        ("a\n", None, ("*",), "id_token_iss"),
        ("x" * 65, None, ("*",), "id_token_iss"),
    ],
)
def test_who_may_come_from_a_shared_issuer(
    tenant: Any, issuer_of: str | None, allowed: tuple[str, ...], code: str
) -> None:
    assert shared(tenant, issuer_of, allowed=allowed) == code


def test_a_tenant_list_means_nothing_to_an_issuer_of_one() -> None:
    assert check(claims(tid=TENANT_B), settings=Settings(client_id=CLIENT, allowed_tenants=(TENANT_A,))) == ""


# What is read from it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((T0, T0), (T0 + 0.9, T0), (1, 1)),
        *((odd, None) for odd in (0, 0.0, ..., None, "1", True, -1, float("nan"), float("inf"), [T0])),
    ],
)
def test_auth_time(value: Any, expected: int | None) -> None:
    found = auth_time_of(claims(auth_time=value))
    assert found == expected
    assert found is None or type(found) is int


@pytest.mark.parametrize(
    ("sid", "session_state", "expected"),
    [
        ("s-1", "", ("s-1",)),
        ("s-1", "state", ("s-1",)),
        ("a+b/c==", "", ("a+b/c==",)),
        ("x" * 2_048, "", ("x" * 2_048,)),
        ("x" * 2_049, "", ()),
        (..., "state", ("state",)),
        ("", "state", ("state",)),
        (None, "state", ("state",)),
        (7, "state", ("state",)),
        (["s-1"], "", ()),
        (..., "", ()),
        (..., "x" * 2_049, ()),
    ],
)
def test_the_issuers_name_of_its_session(sid: Any, session_state: str, expected: tuple[str, ...]) -> None:
    assert sids_of(claims(sid=sid), session_state) == expected

"""The authorization request and response: what is asked, what binds it to the browser, and what may come back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from oidc_support import CLIENT, ISSUER, SHARED, T0, TENANT_A, provider

from kmsi_middleware.rules.oidc.authorization import (
    Secrets,
    Transaction,
    authorization_url,
    check_response,
    new_transaction,
    opened_state,
    sealed_state,
    with_query,
)
from kmsi_middleware.rules.seals import Seals
from kmsi_middleware.vocabulary.errors import ProtocolError
from kmsi_middleware.vocabulary.messages import Site
from kmsi_middleware.vocabulary.settings import Settings

SITE = Site("https://app.example", "", ISSUER, "__Host-kmsi")
REDIRECT = "https://app.example/.auth/callback"
SEALS = Seals(["k" * 32], os.urandom)


def counting_dice() -> Any:
    """Dice that show 1, 2, 3 …"""
    count = 0

    def dice(size: int) -> bytes:
        nonlocal count
        count += 1
        return bytes([count]) * size

    return dice


# A transaction --------------------------------------------------------------------------------------------


def test_a_new_transaction_is_made_of_fresh_dice() -> None:
    transaction, secrets = new_transaction("/page", T0 + 0.9, counting_dice(), prompt="login")
    assert transaction == Transaction("AQEBAQEBAQEBAQEBAQEBAQ", "/page", T0, "login")
    assert secrets == Secrets("AgICAgICAgICAgICAgICAg")
    assert transaction.cookie_suffix == "AQEBAQEB"
    assert transaction.correlation_id == "01010101-0101-0101-0101-010101010101"


def test_no_two_transactions_share_anything() -> None:
    made = [new_transaction("/", T0, os.urandom) for _ in range(50)]
    for part in ("id", "cookie_suffix", "correlation_id"):
        assert len({getattr(transaction, part) for transaction, _ in made}) == 50
    assert len({value for _, secrets in made for value in (secrets.nonce, secrets.verifier, secrets.challenge)}) == 150


@pytest.mark.parametrize("_", range(5))
def test_the_correlation_id_is_a_guid(_: int) -> None:
    transaction, _secrets = new_transaction("/", T0, os.urandom)
    assert str(uuid.UUID(transaction.correlation_id)) == transaction.correlation_id


def test_pkce_is_that_of_rfc_7636() -> None:
    """§4.1: 43 to 128 unreserved characters; §4.2: the challenge is the verifier's SHA-256 in base64url."""
    _, secrets = new_transaction("/", T0, os.urandom)
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", secrets.verifier)
    digest = hashlib.sha256(secrets.verifier.encode("ascii")).digest()
    assert urlsafe_b64decode(secrets.challenge + "=") == digest
    assert "=" not in secrets.challenge


def test_the_challenge_of_rfc_7636_appendix_b(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    monkeypatch.setattr(Secrets, "verifier", verifier)
    assert Secrets("seed").challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_nonce_and_verifier_follow_from_the_seed_and_tell_nothing_of_it() -> None:
    first, again, other = Secrets("seed"), Secrets("seed"), Secrets("seee")
    assert (first.nonce, first.verifier) == (again.nonce, again.verifier)
    assert len({first.nonce, first.verifier, first.challenge, other.nonce, other.verifier, first.seed}) == 6
    assert first.nonce == urlsafe_b64encode(hashlib.sha256(b"nonce seed").digest()).rstrip(b"=").decode()
    assert "seed" not in repr(first)


# state ----------------------------------------------------------------------------------------------------


def test_a_state_brings_its_transaction_back() -> None:
    transaction, _ = new_transaction("/café?a=1&b=2", T0, os.urandom, prompt="login consent")
    state = sealed_state(transaction, SEALS, T0)
    assert opened_state(state, SEALS, T0 + 5) == transaction
    assert re.fullmatch(r"[A-Za-z0-9_-]+", state)
    sealed = urlsafe_b64decode(state + "=" * (-len(state) % 4))
    assert b"/caf" not in sealed
    assert b"consent" not in sealed


def test_a_state_of_an_older_version_is_none_of_ours() -> None:
    """Whoever was on the way to sign in while the app was upgraded begins again."""
    state = SEALS.seal("state", {"i": "id", "r": "/", "t": T0, "p": ""}, T0)
    assert opened_state(state, SEALS, T0 + 5) is None


@pytest.mark.parametrize(
    ("after", "good"),
    [
        (0, True),
        (3_599, True),
        (3_600, True),
        (3_601, False),
        (-60, True),
        (-61, False),
    ],
)
def test_a_state_is_good_for_an_hour(after: int, good: bool) -> None:
    transaction, _ = new_transaction("/", T0, os.urandom)
    assert (opened_state(sealed_state(transaction, SEALS, T0), SEALS, T0 + after) == transaction) is good


def test_a_state_that_we_did_not_make_is_none() -> None:
    transaction, _ = new_transaction("/", T0, os.urandom)
    state = sealed_state(transaction, SEALS, T0)
    assert opened_state(state, Seals(["f" * 32], os.urandom), T0) is None
    for text in ("", "x", "é", state[:-1], state[1:], state + "A", SEALS.seal("form_post", {"i": "x"}, T0)):
        assert opened_state(text, SEALS, T0) is None


def test_the_longest_target_makes_a_state_that_fits_into_a_url() -> None:
    transaction, _ = new_transaction("/" + "x" * 1_023, T0, os.urandom, prompt="login consent")
    assert len(sealed_state(transaction, SEALS, T0)) < 2_000


# The request ----------------------------------------------------------------------------------------------


def asked(endpoint: str = f"{ISSUER}/authorize", settings: Settings | None = None, **more: str) -> dict[str, str]:
    url = authorization_url(
        provider(authorization_endpoint=endpoint),
        settings or Settings(),
        client_id=CLIENT,
        redirect_uri=REDIRECT,
        state="state-1",
        secrets=Secrets("seed"),
        **more,
    )
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert url.startswith(endpoint)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize(
    ("step_up", "wanted", "sent"),
    [
        ("max_age", {}, {}),
        ("max_age", {"max_age": 0}, {"max_age": "0"}),
        ("max_age", {"max_age": 300, "context": "c1"}, {"max_age": "300"}),
        ("acr_values", {"context": "c1"}, {"acr_values": "c1"}),
        ("claims", {"context": "c1"}, {"claims": {"id_token": {"acrs": {"essential": True, "value": "c1"}}}}),
        ("max_age", {"second_factor": True}, {"claims": {"id_token": {"amr": {"values": ["mfa"]}}}}),
        (
            "claims",
            {"context": "c1", "second_factor": True},
            {"claims": {"id_token": {"acrs": {"essential": True, "value": "c1"}, "amr": {"values": ["mfa"]}}}},
        ),
    ],
)
def test_what_a_policy_wants_of_the_issuer_is_in_the_request(step_up: Any, wanted: Any, sent: Any) -> None:
    parameters = asked(settings=Settings(step_up=step_up), **wanted)
    found = {name: parameters[name] for name in ("max_age", "acr_values", "claims") if name in parameters}
    if "claims" in found:
        found["claims"] = json.loads(found["claims"])
    assert found == sent


def test_the_state_remembers_what_was_asked() -> None:
    transaction, _ = new_transaction(
        "/pay",
        T0,
        os.urandom,
        prompt="login",
        max_age=300,
        context="c1",
        second_factor=True,
        forced=True,
        again=True,
        unanswered=True,
    )
    assert transaction.unanswered
    assert opened_state(sealed_state(transaction, SEALS, T0), SEALS, T0) == transaction
    assert transaction.is_forced
    assert not new_transaction("/", T0, os.urandom)[0].is_forced
    assert new_transaction("/", T0, os.urandom, forced=True)[0].is_forced


PLAIN = {
    "response_type": "code",
    "client_id": CLIENT,
    "redirect_uri": REDIRECT,
    "scope": "openid profile email",
    "state": "state-1",
    "nonce": Secrets("seed").nonce,
    "code_challenge": Secrets("seed").challenge,
    "code_challenge_method": "S256",
}


@pytest.mark.parametrize(
    ("more", "settings", "added"),
    [
        ({}, Settings(), {}),
        ({"prompt": "login"}, Settings(), {"prompt": "login"}),
        ({"login_hint": "ada+1@example.com"}, Settings(), {"login_hint": "ada+1@example.com"}),
        ({"login_hint": "é&state=x#"}, Settings(), {"login_hint": "é&state=x#"}),
        ({}, Settings(response_mode="form_post"), {"response_mode": "form_post"}),
        ({}, Settings(scope="openid a/b c:d"), {"scope": "openid a/b c:d"}),
    ],
)
def test_what_the_issuer_is_asked(more: dict[str, str], settings: Settings, added: dict[str, str]) -> None:
    assert asked(settings=settings, **more) == PLAIN | added


def test_the_secrets_stay_here() -> None:
    assert not {Secrets("seed").seed, Secrets("seed").verifier} & set(asked().values())


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("https://idp.example/x", "https://idp.example/x?a=1&b=%26+%C3%A9"),
        ("https://idp.example/x?", "https://idp.example/x?a=1&b=%26+%C3%A9"),
        ("https://idp.example/x?p=b2c_1", "https://idp.example/x?p=b2c_1&a=1&b=%26+%C3%A9"),
        ("https://idp.example", "https://idp.example?a=1&b=%26+%C3%A9"),
    ],
)
def test_an_endpoint_may_have_a_query_of_its_own(url: str, whole: str) -> None:
    assert with_query(url, {"a": "1", "b": "& é"}) == whole


def test_an_endpoints_own_query_is_kept() -> None:
    assert asked(f"{ISSUER}/authorize?p=b2c_1_signin") == {"p": "b2c_1_signin", **PLAIN}


# The response ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"code": "c-1", "state": "s"},
        {"code": "c-1", "iss": ISSUER},
        # as real providers send it
        {"code": "c-1", "session_state": "x", "scope": "openid", "client_id": CLIENT, "token_type": "Bearer"},
        {"code": "c-1", "error": ""},
    ],
)
def test_a_code_comes_back(parameters: dict[str, str]) -> None:
    assert check_response(parameters, provider(), SITE) == "c-1"


@pytest.mark.parametrize(
    ("parameters", "promised", "code", "status"),
    [
        # RFC 9207 §2.4, on errors too
        ({"code": "c-1", "iss": "https://evil.example"}, False, "response_iss_mismatch", 400),
        ({"code": "c-1", "iss": "https://evil.example"}, True, "response_iss_mismatch", 400),
        ({"code": "c-1", "iss": ISSUER + "/"}, False, "response_iss_mismatch", 400),
        ({"code": "c-1", "iss": ISSUER.upper()}, False, "response_iss_mismatch", 400),
        ({"code": "c-1", "iss": ""}, False, "response_iss_mismatch", 400),
        ({"error": "access_denied", "iss": "https://evil.example"}, False, "response_iss_mismatch", 400),
        ({"code": "c-1"}, True, "response_iss_missing", 400),
        ({"error": "access_denied"}, True, "response_iss_missing", 400),
        ({}, True, "response_iss_missing", 400),
        # errors
        ({"error": "access_denied"}, False, "access_denied", 403),
        ({"error": "access_denied", "iss": ISSUER}, True, "access_denied", 403),
        ({"error": "access_denied", "code": "c-1"}, False, "access_denied", 403),
        ({"error": "login_required"}, False, "provider_error", 400),
        ({"error": "server_error", "iss": ISSUER}, True, "provider_error", 400),
        ({"error": "anything at all"}, False, "provider_error", 400),
        # neither
        ({}, False, "code_missing", 400),
        ({"code": ""}, False, "code_missing", 400),
        ({"iss": ISSUER}, True, "code_missing", 400),
        ({"state": "s", "error_description": "x"}, False, "code_missing", 400),
    ],
)
def test_a_response_that_is_refused(parameters: dict[str, str], promised: bool, code: str, status: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_response(parameters, provider(iss_in_response=promised), SITE)
    assert (refused.value.code, refused.value.status) == (code, status)


@pytest.mark.parametrize(
    ("parameters", "hint"),
    [
        ({"error": "access_denied"}, "access_denied"),
        ({"error": "access_denied", "error_description": ""}, "access_denied"),
        ({"error": "login_required", "error_description": "AADSTS50058: x"}, "login_required: AADSTS50058: x"),
    ],
)
def test_the_providers_own_words_are_kept_as_a_hint(parameters: dict[str, str], hint: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_response(parameters, provider(), SITE)
    assert refused.value.hint == hint
    assert hint not in refused.value.detail


@pytest.mark.parametrize("issuer", ["https://idp.example/", "https://idp.example/realms/one", "https://idp.example/a/"])
def test_a_response_names_the_issuer_to_the_letter(issuer: str) -> None:
    here, site = provider(issuer=issuer, iss_in_response=True), Site(SITE.origin, "", issuer, SITE.cookie_name)
    assert check_response({"code": "c-1", "iss": issuer}, here, site) == "c-1"
    with pytest.raises(ProtocolError, match="response_iss_mismatch"):
        check_response({"code": "c-1", "iss": ISSUER}, here, site)


@pytest.mark.parametrize(
    ("issuer", "accepted"),
    [
        (SHARED.replace("{tenantid}", TENANT_A), True),
        (SHARED.replace("{tenantid}", "common"), True),
        ("https://evil.example", False),
        ("https://evil.example/" + TENANT_A + "/v2.0", False),
        (SHARED.replace("{tenantid}", TENANT_A) + "/x", False),
    ],
)
def test_a_shared_issuers_response_names_one_of_its_tenants(issuer: str, accepted: bool) -> None:
    site = Site(SITE.origin, "", SHARED.replace("{tenantid}", "common"), SITE.cookie_name)
    if accepted:
        assert check_response({"code": "c-1", "iss": issuer}, provider(issuer=SHARED), site) == "c-1"
    else:
        with pytest.raises(ProtocolError, match="response_iss_mismatch"):
            check_response({"code": "c-1", "iss": issuer}, provider(issuer=SHARED), site)

"""The refresh request and its answer, and what a refreshed ID token may change (OpenID Connect Core 1.0 §12)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from oidc_support import CLIENT, ISSUER, NONCE, SETTINGS, T0, claims, provider, token

from kmsi_middleware.rules.oidc import refresh
from kmsi_middleware.rules.oidc.refresh import Ended
from kmsi_middleware.rules.oidc.tokens import Tokens, as_kept, state_of
from kmsi_middleware.vocabulary.errors import ProtocolError, ProviderUnavailable
from kmsi_middleware.vocabulary.messages import HttpResponse
from kmsi_middleware.vocabulary.settings import Settings

SECRET = Settings(client_id=CLIENT, client_secret="s3cret-of-ours")
WHOLE = {"access_token": "a", "refresh_token": "r", "id_token": "i", "expires_in": 3_600, "token_type": "Bearer"}


def answer(document: Any, status: int = 200) -> HttpResponse:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpResponse(status, {}, body)


# Asking ---------------------------------------------------------------------------------------------------


def test_what_is_asked() -> None:
    asked = refresh.refresh_request(provider(), SECRET, client_id=CLIENT, refresh_token="r-1")
    assert (asked.method, asked.url) == ("POST", f"{ISSUER}/token")
    assert asked.form == {"grant_type": "refresh_token", "refresh_token": "r-1"}
    assert asked.headers["authorization"].startswith("Basic ")
    assert "r-1" not in repr(asked)


def test_a_public_client_names_itself() -> None:
    asked = refresh.refresh_request(provider(), SETTINGS, client_id=CLIENT, refresh_token="r-1")
    assert asked.form == {"grant_type": "refresh_token", "refresh_token": "r-1", "client_id": CLIENT}
    assert "authorization" not in asked.headers


# The answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "tokens"),
    [
        ({}, Tokens("i", "a", "r", 3_600)),
        ({"token_type": "bearer"}, Tokens("i", "a", "r", 3_600)),
        ({"token_type": ...}, Tokens("i", "a", "r", 3_600)),
        ({"refresh_token": ...}, Tokens("i", "a", "", 3_600)),
        ({"id_token": ...}, Tokens("", "a", "r", 3_600)),
        ({"expires_in": ...}, Tokens("i", "a", "r", 0)),
        ({"scope": "openid"}, Tokens("i", "a", "r", 3_600)),  # less than was asked for is the issuer's right
    ],
)
def test_what_came_back(changed: dict[str, Any], tokens: Tokens) -> None:
    document = {name: value for name, value in (WHOLE | changed).items() if value is not ...}
    assert refresh.check_refresh_response(answer(document)) == tokens


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("error", ["invalid_grant", "interaction_required", "login_required", "consent_required"])
def test_after_these_errors_only_the_person_can_go_on(status: int, error: str) -> None:
    given = refresh.check_refresh_response(answer({"error": error, "error_description": "AADSTS50173: x"}, status))
    assert given == Ended(f"{error}: AADSTS50173: x")


@pytest.mark.parametrize(
    ("document", "status", "error", "code"),
    [
        ({"error": "invalid_client"}, 401, ProtocolError, "refresh_refused"),
        ({"error": "unauthorized_client"}, 400, ProtocolError, "refresh_refused"),
        ({"error": "invalid_scope"}, 400, ProtocolError, "refresh_refused"),
        ({"error": "unsupported_grant_type"}, 400, ProtocolError, "refresh_refused"),
        ({"error": "invalid_grants"}, 400, ProtocolError, "refresh_refused"),
        ({"error": ["invalid_grant"]}, 400, ProtocolError, "refresh_refused"),
        ({"error_description": "invalid_grant"}, 200, ProviderUnavailable, "token_response_invalid"),
        ({}, 400, ProtocolError, "refresh_refused"),
        (b"<html>", 404, ProtocolError, "refresh_refused"),
        (b"<html>", 200, ProviderUnavailable, "token_response_invalid"),
        (b"", 204, ProviderUnavailable, "token_response_invalid"),
        ([], 200, ProviderUnavailable, "token_response_invalid"),
        ({"error": "invalid_grant"}, 200, ProviderUnavailable, "token_response_invalid"),
        (WHOLE | {"access_token": None}, 200, ProviderUnavailable, "token_response_invalid"),
        (WHOLE | {"token_type": "DPoP"}, 200, ProviderUnavailable, "token_response_invalid"),
        ({"error": "invalid_grant"}, 500, ProviderUnavailable, "provider_unavailable"),
        ({"error": "invalid_grant"}, 503, ProviderUnavailable, "provider_unavailable"),
        ({"error": "invalid_grant"}, 429, ProviderUnavailable, "provider_unavailable"),
        ({"error": "temporarily_unavailable"}, 400, ProviderUnavailable, "provider_unavailable"),
        ({"error": "server_error"}, 400, ProviderUnavailable, "provider_unavailable"),
        ({"error": "slow_down"}, 400, ProviderUnavailable, "provider_unavailable"),
    ],
)
def test_nothing_else_ends_a_session(document: Any, status: int, error: type, code: str) -> None:
    with pytest.raises(error) as raised:
        refresh.check_refresh_response(answer(document, status))
    assert raised.value.code == code


def test_a_refusal_keeps_the_issuers_words() -> None:
    with pytest.raises(ProtocolError) as raised:
        refresh.check_refresh_response(answer({"error": "invalid_client", "error_description": "AADSTS7000222"}, 401))
    assert raised.value.hint == "invalid_client: AADSTS7000222"


# The refreshed ID token ---------------------------------------------------------------------------------------


def refused(before: dict[str, Any] | None = None, **changed: Any) -> str:
    """The code with which a refreshed ID token with these claims is refused; empty if it is not."""
    given = Tokens(token("RS256", claims()), "access", "r")
    try:
        refresh.check_refreshed(
            claims(**changed), before or claims(), provider(), SETTINGS, client_id=CLIENT, now=T0 + 60, given=given
        )
    except ProtocolError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, ""),
        ({"nonce": ...}, ""),
        ({"nonce": NONCE}, ""),
        ({"nonce": "another"}, "id_token_nonce"),
        ({"nonce": 7}, "id_token_nonce"),
        ({"iss": "https://other.example"}, "id_token_iss"),
        ({"sub": "bob"}, "id_token_sub"),
        ({"sub": ...}, "id_token_sub"),
        ({"sub": "Ada"}, "id_token_sub"),
        ({"aud": "another-app"}, "id_token_aud"),
        ({"aud": [CLIENT]}, ""),
        ({"iat": T0 + 55, "exp": T0 + 400}, ""),
        ({"iat": T0 + 600}, "id_token_iat"),
        ({"exp": T0 - 60}, "id_token_expired"),
        ({"at_hash": "wrong"}, "id_token_at_hash"),
        ({"auth_time": T0 + 50}, ""),  # not what §12.2 says, and it changes nothing: see below
    ],
)
def test_a_refreshed_id_token_is_checked_like_the_first(changed: dict[str, Any], code: str) -> None:
    assert refused(**changed) == code


def test_a_nonce_where_the_first_id_token_had_none_is_refused() -> None:
    assert refused(claims(nonce=...), nonce=NONCE) == "id_token_nonce"


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({}, {}, True),
        ({"oid": "o"}, {"oid": "o"}, True),
        ({"oid": "o"}, {}, True),
        ({}, {"oid": "o"}, True),
        ({"oid": "o"}, {"oid": "p"}, False),
        ({"tid": "t"}, {"tid": "u"}, False),
        ({"sub": "ada"}, {"sub": "bob"}, False),
        ({"iss": "a"}, {"iss": "b"}, False),
    ],
)
def test_who_is_the_same_user(before: dict[str, Any], after: dict[str, Any], same: bool) -> None:
    assert refresh.is_same_user(claims(**after), claims(**before)) is same


def test_another_object_id_is_another_person() -> None:
    assert refused(claims(oid="o"), oid="p") == "id_token_sub"


# What it changes ------------------------------------------------------------------------------------------------

BEFORE = {"iss": ISSUER, "sub": "ada", "auth_time": T0, "iat": T0, "amr": ["pwd", "mfa"], "acrs": ["c1"], "nonce": "n"}
OIDS = {"tid": "t", "oid": "o"}


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        # What it says of the person, it says.
        ({"groups": ["a", "b"]}, {"groups": ["b"]}, {"groups": ["b"]}),
        ({"groups": ["a"]}, {}, {}),
        ({}, {"roles": ["r"]}, {"roles": ["r"]}),
        ({"xms_dev": {"isCompliant": True}}, {"xms_dev": {"isCompliant": False}}, {"xms_dev": {"isCompliant": False}}),
        ({"name": "Ada"}, {"name": "Ada L."}, {"name": "Ada L."}),
        # A profile that it leaves out stays.
        ({"name": "Ada", "email": "a@x"}, {}, {"name": "Ada", "email": "a@x"}),
        # Its user keys never change.
        (OIDS, {}, OIDS),
        (OIDS, OIDS, OIDS),
        ({}, OIDS, {}),
    ],
)
@pytest.mark.parametrize("signed_in", [False, True])
def test_what_is_known_of_the_person_afterwards(
    before: dict[str, Any], after: dict[str, Any], kept: dict[str, Any], signed_in: bool
) -> None:
    told = {"iss": ISSUER, "sub": "ada", **after}
    assert refresh.claims_after(told, BEFORE | before, signed_in=signed_in) == BEFORE | kept


NEWER = {"auth_time": T0 + 9, "iat": T0 + 10, "amr": ["pwd"], "acrs": ["c2"], "nonce": "m"}


def test_a_refresh_changes_nothing_about_the_sign_in() -> None:
    """Else a background request could make a sign-in look fresh, or reach an authentication context."""
    told = {"iss": ISSUER, "sub": "ada", **NEWER}
    assert refresh.claims_after(told, BEFORE, signed_in=False) == BEFORE
    bare = {"iss": ISSUER, "sub": "ada"}
    assert refresh.claims_after(told, bare, signed_in=False) == bare


def test_an_authentication_response_tells_of_the_sign_in_too() -> None:
    told = {"iss": ISSUER, "sub": "ada", **NEWER}
    assert refresh.claims_after(told, BEFORE, signed_in=True) == told
    silent = {"iss": ISSUER, "sub": "ada", "iat": T0 + 10}
    assert refresh.claims_after(silent, BEFORE, signed_in=True) == BEFORE | {"iat": T0 + 10}


def test_what_may_be_kept_of_an_answer_that_could_not_be_verified() -> None:
    kept = as_kept(refresh.only_the_refresh_token(Tokens("i", "a", "r", 60)), T0)
    assert kept == {"refresh_token": "r"}


# Keeping an access token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "refresh_token", "good", "ending", "over"),
    [
        (3_600, "r", [0, 3_539], [3_540, 3_589], [3_590, 9_999]),
        (240, "r", [0, 179], [180, 229], [230, 240]),
        (60, "r", [0, 44], [45, 57], [58, 60]),
        (4, "r", [0, 2], [3], [4]),
        (1, "r", [0], [], [1]),
        (0, "r", [0, 299], [300, 10**9], []),  # the issuer does not say
        (3_600, "", [0, 3_599], [], [3_600]),
        (0, "", [0, 10**9], [], []),
    ],
)
def test_for_how_long_an_access_token_is_handed_out(
    expires_in: int, refresh_token: str, good: list[int], ending: list[int], over: list[int]
) -> None:
    kept = as_kept(Tokens("i", "a", refresh_token, expires_in), T0 + 0.5)
    for state, seconds in (("good", good), ("ending", ending), ("over", over)):
        for second in seconds:
            assert state_of(kept, T0 + second) == state, second


def test_without_an_access_token_there_is_nothing_to_hand_out() -> None:
    assert state_of(as_kept(Tokens("i", "", "r", 60), T0), T0) == "none"
    assert state_of({}, T0) == "none"


def test_tokens_of_an_earlier_release_are_renewed_first() -> None:
    assert state_of({"access_token": "a", "refresh_token": "r"}, T0) == "ending"
    assert state_of({"access_token": "a"}, T0) == "good"


# Giving back ------------------------------------------------------------------------------------------------------

REVOKE = f"{ISSUER}/revoke"


def test_the_refresh_token_is_given_back_first() -> None:
    kept = {"access_token": "a", "refresh_token": "r", "id_token": "i", "expires_at": 7}
    asked = refresh.revocation_requests(provider(revocation_endpoint=REVOKE), SECRET, client_id=CLIENT, tokens=kept)
    assert [item.form for item in asked] == [
        {"token": "r", "token_type_hint": "refresh_token"},
        {"token": "a", "token_type_hint": "access_token"},
    ]
    assert {(item.method, item.url) for item in asked} == {("POST", REVOKE)}
    assert all(item.headers["authorization"].startswith("Basic ") for item in asked)


@pytest.mark.parametrize(
    ("endpoint", "kept", "count"),
    [
        (None, {"access_token": "a", "refresh_token": "r"}, 0),
        (REVOKE, {}, 0),
        (REVOKE, {"id_token": "i"}, 0),
        (REVOKE, {"access_token": "a"}, 1),
        (REVOKE, {"refresh_token": "r"}, 1),
    ],
)
def test_what_is_given_back(endpoint: str | None, kept: dict[str, Any], count: int) -> None:
    issuer = provider(revocation_endpoint=endpoint)
    assert len(refresh.revocation_requests(issuer, SECRET, client_id=CLIENT, tokens=kept)) == count

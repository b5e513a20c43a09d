"""The token request, with every way to prove who we are, and what may come back."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any
from urllib.parse import unquote, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oidc_support import CLIENT, ISSUER, provider

from kmsi_middleware.rules.oidc.tokens import Tokens, check_token_response, token_request
from kmsi_middleware.vocabulary.errors import ProtocolError, ProviderUnavailable
from kmsi_middleware.vocabulary.messages import HttpRequest, HttpResponse
from kmsi_middleware.vocabulary.settings import Settings

SECRET = "s3cret-of-ours"
FORM = {
    "grant_type": "authorization_code",
    "code": "c-1",
    "redirect_uri": "https://app.example/.auth/callback",
    "code_verifier": "v" * 43,
}


def asked(
    method: Any = "auto",
    secret: str | None = SECRET,
    offered: tuple[str, ...] = ("client_secret_basic",),
    client_id: str = CLIENT,
) -> HttpRequest:
    return token_request(
        provider(token_endpoint_auth_methods=offered),
        Settings(client_secret=secret, token_endpoint_auth_method=method),
        client_id=client_id,
        redirect_uri="https://app.example/.auth/callback",
        code="c-1",
        verifier="v" * 43,
    )


def credentials(request: HttpRequest) -> tuple[str, str]:
    """Client id and secret as a provider reads them (RFC 6749 §2.3.1)."""
    kind, _, value = request.headers["authorization"].partition(" ")
    assert kind == "Basic"
    client_id, colon, secret = b64decode(value, validate=True).decode("ascii").partition(":")
    assert colon
    assert (unquote(client_id), unquote(secret)) == (unquote_plus(client_id), unquote_plus(secret))
    return unquote_plus(client_id), unquote_plus(secret)


BASIC, POST, KEY = "client_secret_basic", "client_secret_post", "private_key_jwt"


@pytest.mark.parametrize(
    ("method", "secret", "offered", "used"),
    [
        ("auto", SECRET, (BASIC,), BASIC),
        ("auto", SECRET, (BASIC, POST), BASIC),
        ("auto", SECRET, (POST, BASIC), BASIC),
        ("auto", SECRET, (POST,), POST),
        ("auto", SECRET, (POST, KEY), POST),
        ("auto", SECRET, (KEY,), BASIC),
        ("auto", SECRET, (), BASIC),
        ("auto", None, (BASIC, POST), "none"),
        ("auto", "", (BASIC,), "none"),
        (BASIC, SECRET, (POST,), BASIC),
        (POST, SECRET, (BASIC,), POST),
        ("none", SECRET, (BASIC,), "none"),
    ],
)
def test_how_the_app_proves_itself(method: str, secret: str | None, offered: tuple[str, ...], used: str) -> None:
    request = asked(method, secret, offered)
    assert (request.method, request.url) == ("POST", f"{ISSUER}/token")
    assert request.headers["accept"] == "application/json"
    if used == BASIC:
        assert request.form == FORM
        assert credentials(request) == (CLIENT, SECRET)
    else:
        assert "authorization" not in request.headers
        assert request.form == FORM | {"client_id": CLIENT} | ({"client_secret": SECRET} if used == POST else {})


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [
        ("a:b", "c:d:e"),
        ("https://app.example/", "with space"),
        ("a+b", "100%&=?#"),
        ("a%3Ab", "%20"),
        ("é", "пароль"),
        ("~-._", "~-._*'()!"),
    ],
)
def test_odd_characters_are_form_encoded_before_they_are_joined(client_id: str, secret: str) -> None:
    request = asked("client_secret_basic", secret, client_id=client_id)
    assert credentials(request) == (client_id, secret)


def test_the_header_of_a_known_pair() -> None:
    """RFC 6749 §2.3.1 shows this very header."""
    request = asked("client_secret_basic", "7Fjfp0ZBr1KtDRbnfVdmIw", client_id="s6BhdRkqt3")
    assert request.headers["authorization"] == "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_pair_arrives_as_it_was(client_id: str, secret: str) -> None:
    assert credentials(asked("client_secret_basic", secret, client_id=client_id)) == (client_id, secret)


def test_no_secret_is_in_what_is_printed() -> None:
    request = asked("client_secret_post")
    assert SECRET not in repr(request)
    assert "v" * 43 not in repr(request)
    assert "raw-token" not in repr(Tokens("raw-token", "raw-token", "raw-token"))


# The answer -----------------------------------------------------------------------------------------------


def answer(document: Any, status: int = 200) -> HttpResponse:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpResponse(status, {}, body)


WHOLE = {
    "id_token": "i",
    "access_token": "a",
    "refresh_token": "r",
    "expires_in": 3_600,
    "token_type": "Bearer",
    "scope": "openid",
}


@pytest.mark.parametrize(
    ("changed", "tokens"),
    [
        ({}, Tokens("i", "a", "r", 3_600)),
        ({"token_type": "bearer"}, Tokens("i", "a", "r", 3_600)),
        ({"token_type": "BEARER"}, Tokens("i", "a", "r", 3_600)),
        ({"token_type": ...}, Tokens("i", "a", "r", 3_600)),
        ({"access_token": ..., "refresh_token": ...}, Tokens("i", "", "", 3_600)),
        ({"refresh_token": None}, Tokens("i", "a", "", 3_600)),
        ({"access_token": 7}, Tokens("i", "", "r", 3_600)),
        ({"expires_in": ...}, Tokens("i", "a", "r", 0)),
        ({"expires_in": "3600"}, Tokens("i", "a", "r", 3_600)),
        ({"expires_in": "1h"}, Tokens("i", "a", "r", 0)),
        ({"expires_in": "٣"}, Tokens("i", "a", "r", 0)),
        ({"expires_in": True}, Tokens("i", "a", "r", 0)),
        ({"expires_in": 1.5}, Tokens("i", "a", "r", 0)),
        ({"expires_in": 10**9}, Tokens("i", "a", "r", 0)),
        ({"expires_in": -1}, Tokens("i", "a", "r", 0)),
        ({"unknown": {"a": 1}}, Tokens("i", "a", "r", 3_600)),
    ],
)
def test_what_the_token_endpoint_gave(changed: dict[str, Any], tokens: Tokens) -> None:
    whole = {name: value for name, value in (WHOLE | changed).items() if value is not ...}
    assert check_token_response(answer(whole)) == tokens


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"id_token": None}, "id_token_missing"),
        ({"id_token": ""}, "id_token_missing"),
        ({"id_token": 7}, "id_token_missing"),
        ({"id_token": ["i"]}, "id_token_missing"),
    ],
)
def test_an_answer_that_is_refused(changed: dict[str, Any], code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_token_response(answer(WHOLE | changed))
    assert (refused.value.code, refused.value.status) == (code, 502)


@pytest.mark.parametrize("kind", ["DPoP", "mac", None, ["Bearer"]])
def test_another_kind_of_token_is_nothing_we_can_use(kind: Any) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        check_token_response(answer(WHOLE | {"token_type": kind}))
    assert refused.value.code == "token_response_invalid"


def test_an_answer_without_an_id_token_is_refused() -> None:
    with pytest.raises(ProtocolError, match="id_token_missing"):
        check_token_response(answer({"access_token": "a", "token_type": "Bearer"}))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 499])
@pytest.mark.parametrize(
    ("document", "hint"),
    [
        ({"error": "invalid_grant"}, "invalid_grant"),
        ({"error": "invalid_client", "error_description": "AADSTS7000215: x"}, "invalid_client: AADSTS7000215: x"),
        ({"error_description": "x"}, "x"),
        ({}, ""),
        ([], ""),
        (b"<html>", ""),
        (b"", ""),
        (b"\xff", ""),
        (b"[" * 200_000, ""),
    ],
)
def test_a_refused_code_keeps_the_providers_words(status: int, document: Any, hint: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_token_response(answer(document, status))
    assert (refused.value.code, refused.value.status, refused.value.hint) == ("token_refused", 502, hint)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_error_means_later(status: int) -> None:
    with pytest.raises(ProviderUnavailable):
        check_token_response(answer(WHOLE, status))


@pytest.mark.parametrize("status", [201, 204, 302, 307])
def test_any_other_status_is_no_answer(status: int) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        check_token_response(answer(WHOLE, status))
    assert refused.value.code == "token_response_invalid"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"[" * 200_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        check_token_response(answer(body))
    assert refused.value.code == "token_response_invalid"

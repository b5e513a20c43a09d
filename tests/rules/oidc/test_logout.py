"""Where the browser goes to sign out at the issuer too."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from oidc_support import CLIENT, ISSUER, claims, provider

from kmsi_middleware.rules.oidc.logout import end_session_url

PLAIN = {
    "client_id": CLIENT,
    "post_logout_redirect_uri": "https://app.example/.auth/logged-out",
    "state": "state-1",
    "id_token_hint": "a.b.c",
}


def url(endpoint: str | None = f"{ISSUER}/logout", id_token: str = "a.b.c", **changed: Any) -> str | None:
    return end_session_url(
        provider(end_session_endpoint=endpoint),
        client_id=CLIENT,
        id_token=id_token,
        claims=claims(**changed),
        post_logout_redirect_uri="https://app.example/.auth/logged-out",
        state="state-1",
    )


def parameters(whole: str | None) -> dict[str, str]:
    assert whole is not None
    pairs = parse_qsl(urlsplit(whole).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_the_issuer_is_told_who_asks_and_where_to_return() -> None:
    whole = url()
    assert whole is not None
    assert whole.startswith(f"{ISSUER}/logout?")
    assert parameters(whole) == PLAIN


def test_an_issuer_without_such_a_place() -> None:
    assert url(None) is None


def test_an_endpoint_with_a_query_of_its_own() -> None:
    assert parameters(url(f"{ISSUER}/logout?p=b2c_1_signin")) == {"p": "b2c_1_signin", **PLAIN}


def test_without_an_id_token_there_is_no_hint() -> None:
    assert "id_token_hint" not in parameters(url(id_token=""))


@pytest.mark.parametrize(
    ("login_hint", "expected"),
    [
        ("O.CiQ-opaque+/=&", "O.CiQ-opaque+/=&"),
        ("ada@example.com", "ada@example.com"),
        ("", None),
        (..., None),
        (None, None),
        (7, None),
        (["x"], None),
    ],
)
def test_the_logout_hint_is_the_login_hint_claim(login_hint: Any, expected: str | None) -> None:
    assert parameters(url(login_hint=login_hint)).get("logout_hint") == expected

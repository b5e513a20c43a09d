"""Discovery, codes, tokens, userinfo."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from tests.idp.idp_support import EVERYTHING, ISSUER, SHOP, Browser, Clock, Party, answer_of

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig


def test_discovery_names_what_there_is(browser: Browser) -> None:
    document = browser.get(f"{ISSUER}/.well-known/openid-configuration").json()
    assert document["issuer"] == ISSUER
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["frontchannel_logout_session_supported"] is True
    assert document["backchannel_logout_session_supported"] is True
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["response_modes_supported"] == ["query", "form_post"]
    assert document["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post", "none"]
    assert document["revocation_endpoint_auth_methods_supported"] == document["token_endpoint_auth_methods_supported"]
    endpoints = sorted(name for name in document if name.endswith("_endpoint"))
    assert endpoints == [
        *("authorization_endpoint", "end_session_endpoint", "revocation_endpoint", "token_endpoint"),
        "userinfo_endpoint",
    ]
    for name in (*endpoints, "jwks_uri"):
        assert document[name].startswith(f"{ISSUER}/")
        assert browser.get(document[name]).status_code != 404


def test_the_published_key_is_public(browser: Browser) -> None:
    (key,) = browser.get(f"{ISSUER}/jwks").json()["keys"]
    assert key.keys() == {"kty", "use", "alg", "kid", "n", "e"}
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")


def test_the_id_token_says_who_signed_in_when_and_how(shop: Party, clock: Clock) -> None:
    clock.now += 0.75
    tokens = shop.sign_in("mia")
    claims = tokens["claims"]
    assert claims["iss"] == ISSUER
    assert claims["aud"] == "shop"
    assert claims["iat"] == claims["auth_time"] == int(clock.now)
    assert claims["exp"] == int(clock.now) + 3600
    assert claims["nonce"] == "n-1"
    assert claims["amr"] == ["pwd"]
    assert claims["acct"] == 0
    assert (claims["name"], claims["preferred_username"]) == ("Mia Member", "mia@contoso.example")
    assert claims["email"] == "mia@contoso.example"
    assert claims["sub"] != claims["sid"]
    assert claims["oid"]
    assert claims["tid"]
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("username", "claim", "value"), [("gus", "acct", 1), ("rita", "risk", "high"), ("sam", "shared_device", True)]
)
def test_the_default_people_differ_by_their_claims(shop: Party, username: str, claim: str, value: object) -> None:
    assert shop.sign_in(username)["claims"][claim] == value


def test_the_scope_decides_the_claims(shop: Party) -> None:
    claims = shop.sign_in(scope="openid", nonce=None)["claims"]
    assert not {"name", "preferred_username", "email", "nonce"} & claims.keys()


def test_sid_is_the_same_for_the_session_and_differs_by_app(shop: Party, blog: Party) -> None:
    sid = shop.sign_in()["claims"]["sid"]
    assert shop.sign_in()["claims"]["sid"] == sid
    assert blog.sign_in()["claims"]["sid"] != sid


def test_userinfo_answers_to_the_access_token_alone(shop: Party, browser: Browser, clock: Clock) -> None:
    tokens = shop.sign_in()
    url = f"{ISSUER}/userinfo"
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    claims = tokens["claims"]
    assert browser.get(url, headers=bearer).json() == {
        name: claims[name] for name in ("sub", "name", "preferred_username", "email")
    }
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}):
        refused = browser.get(url, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].lower().startswith("bearer")
    clock.now += 3600
    assert browser.get(url, headers=bearer).status_code == 401


# Codes -----------------------------------------------------------------------------------------------------------


def code_of(party: Party, **changes: str | None) -> str:
    page = party.authorize(**changes)
    return answer_of(party.browser.submit(page, username="mia", password="mia-password"))["code"]


def test_a_replayed_code_is_refused_and_its_tokens_are_revoked(shop: Party, browser: Browser) -> None:
    code = code_of(shop)
    token = shop.redeem(code).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert browser.get(f"{ISSUER}/userinfo", headers=bearer).status_code == 200
    again = shop.redeem(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert browser.get(f"{ISSUER}/userinfo", headers=bearer).status_code == 401


@pytest.mark.parametrize(("age", "status"), [(59, 200), (60, 400), (61, 400)])
def test_a_code_lives_a_minute(shop: Party, clock: Clock, age: int, status: int) -> None:
    code = code_of(shop)
    clock.now += age
    assert shop.redeem(code).status_code == status


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"redirect_uri": "http://shop.localhost:9001/cb?tenant=1"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_grant"),
        ({"code": "wrong"}, "invalid_grant"),
        ({"code": None}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_a_wrong_token_request_is_refused(shop: Party, changes: dict[str, str | None], error: str) -> None:
    code = code_of(shop)
    response = shop.redeem(**{"code": code, **changes})  # type: ignore[arg-type]
    assert (response.status_code, response.json()["error"]) == (400, error)
    assert response.headers["cache-control"] == "no-store"


def test_a_failed_verifier_uses_the_code_up(shop: Party) -> None:
    code = code_of(shop)
    shop.redeem(code, code_verifier="w" * 43)
    assert shop.redeem(code).json()["error"] == "invalid_grant"


def test_a_code_of_one_app_is_nothing_to_another(shop: Party, blog: Party) -> None:
    code = code_of(shop)
    assert blog.redeem(code).json()["error"] == "invalid_grant"
    assert shop.redeem(code).status_code == 200


@pytest.mark.parametrize(
    ("auth", "extra"),
    [
        (("shop", "wrong"), {}),
        (("nobody", "x"), {}),
        (None, {}),
        (None, {"client_id": "shop"}),
        (None, {"client_id": "shop", "client_secret": "wrong"}),
    ],
)
def test_an_app_with_a_secret_must_show_it(
    shop: Party, browser: Browser, auth: tuple[str, str] | None, extra: dict[str, str]
) -> None:
    data = {
        "grant_type": "authorization_code",
        "code": code_of(shop),
        "code_verifier": shop.verifier,
        "redirect_uri": SHOP.redirect_uris[0],
    }
    response = browser.post(f"{ISSUER}/token", data={**data, **extra}, auth=auth)
    assert response.status_code in (400, 401)
    assert response.json()["error"] == "invalid_client"


def test_client_secret_post_works(shop: Party, browser: Browser) -> None:
    data = {
        "grant_type": "authorization_code",
        "code": code_of(shop),
        "code_verifier": shop.verifier,
        "redirect_uri": SHOP.redirect_uris[0],
        "client_id": "shop",
        "client_secret": "shop-secret",
    }
    assert browser.post(f"{ISSUER}/token", data=data).status_code == 200


def test_a_public_app_works_without_a_secret(blog: Party) -> None:
    assert blog.sign_in()["claims"]["aud"] == "blog"


@pytest.mark.parametrize("header", ["Basic /w==", "Basic !!", "Basic", "Nonsense x"])
def test_a_malformed_authorization_header_is_a_client_error(browser: Browser, header: str) -> None:
    data = {"grant_type": "authorization_code", "code": "x"}
    response = browser.post(f"{ISSUER}/token", data=data, headers={"Authorization": header})
    assert response.status_code in (400, 401)


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [(b"{}", "application/json", 415), (b"x=" + b"y" * 65_536, "application/x-www-form-urlencoded", 413)],
)
def test_a_body_that_is_no_small_form_is_refused(
    browser: Browser, content: bytes, content_type: str, status: int
) -> None:
    response = browser.post(f"{ISSUER}/token", content=content, headers={"Content-Type": content_type})
    assert response.status_code == status


# State -----------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_sessions_key_and_codes(
    idp: EmbeddedIdP, shop: Party, browser: Browser, tmp_path: Path, clock: Clock, config: IdPConfig
) -> None:
    code = code_of(shop)
    key = browser.get(f"{ISSUER}/jwks").json()
    idp.close()
    other = EmbeddedIdP(config, folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(other) as after:
        after.cookies = browser.cookies
        party = Party(SHOP, after, verifier=shop.verifier)
        assert after.get(f"{ISSUER}/jwks").json() == key
        assert party.redeem(code).status_code == 200
        assert answer_of(party.authorize(prompt="none"))["code"]
    other.close()


def test_state_is_for_its_owner_alone_and_holds_no_secret(shop: Party, browser: Browser, tmp_path: Path) -> None:
    tokens = shop.sign_in(scope=EVERYTHING)
    files = list(tmp_path.glob("idp.sqlite3*"))
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    content = b"".join(file.read_bytes() for file in files)
    for secret in (tokens["access_token"], tokens["refresh_token"], browser.cookies["kmsi-idp-session-8400"]):
        assert secret.encode() not in content


def test_nothing_is_opened_before_the_first_use(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    idp = EmbeddedIdP(folder=folder)
    assert not folder.exists()
    with Browser(idp) as browser:
        assert browser.get(f"{ISSUER}/jwks").status_code == 200
    assert (folder / "idp.sqlite3").exists()
    idp.close()

"""Refresh tokens, and the revocation of tokens (RFC 7009)."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.idp.idp_support import BLOG, EVERYTHING, ISSUER, SHOP, Browser, Clock, Party, answer_of

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig
from kmsi_middleware.idp.grant_store import GrantStore, Issued
from kmsi_middleware.idp.store import Store


def is_refused(response: httpx.Response) -> bool:
    assert response.headers["cache-control"] == "no-store"
    return (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_there_is_a_refresh_token_only_for_offline_access(shop: Party) -> None:
    assert "refresh_token" not in shop.sign_in()
    assert "refresh_token" in shop.sign_in(scope=EVERYTHING)


def test_refresh_rotates_and_keeps_the_time_of_the_sign_in(shop: Party, clock: Clock) -> None:
    first = shop.sign_in(scope=EVERYTHING)
    clock.now += 100
    second = shop.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    claims = shop.verified(second["id_token"])
    same = ("iss", "sub", "aud", "auth_time", "amr", "sid", "acct", "name", "oid", "tid")
    assert {name: claims[name] for name in same} == {name: first["claims"][name] for name in same}
    assert claims["iat"] == first["claims"]["iat"] + 100
    assert claims["exp"] == first["claims"]["exp"] + 100
    assert "nonce" not in claims
    assert shop.userinfo(second["access_token"]).status_code == 200


def test_refreshing_changes_nothing_for_the_access_token_before(shop: Party) -> None:
    first = shop.sign_in(scope=EVERYTHING)
    shop.refresh(first["refresh_token"])
    assert shop.userinfo(first["access_token"]).status_code == 200


@pytest.mark.parametrize(("age", "good"), [(14 * 86_400 - 1, True), (14 * 86_400, False)])
def test_a_refresh_token_is_good_for_fourteen_days_from_its_own_issue(
    shop: Party, clock: Clock, age: int, good: bool
) -> None:
    token = shop.sign_in(scope=EVERYTHING)["refresh_token"]
    clock.now += 13 * 86_400
    token = shop.refresh(token).json()["refresh_token"]
    clock.now += age
    assert (shop.refresh(token).status_code == 200) is good


def test_a_used_refresh_token_that_comes_again_ends_the_whole_grant(shop: Party) -> None:
    """RFC 9700, 4.14.2: its successors too, and every access token, at once."""
    first = shop.sign_in(scope=EVERYTHING)
    second = shop.refresh(first["refresh_token"]).json()
    third = shop.refresh(second["refresh_token"]).json()
    assert is_refused(shop.refresh(first["refresh_token"]))
    assert is_refused(shop.refresh(third["refresh_token"]))
    for tokens in (first, second, third):
        assert shop.userinfo(tokens["access_token"]).status_code == 401


def test_other_grants_of_the_same_person_live_on(shop: Party, blog: Party) -> None:
    first, other = shop.sign_in(scope=EVERYTHING), shop.sign_in(scope=EVERYTHING)
    elsewhere = blog.sign_in(scope=EVERYTHING)
    shop.refresh(first["refresh_token"])
    assert is_refused(shop.refresh(first["refresh_token"]))
    assert shop.refresh(other["refresh_token"]).status_code == 200
    assert blog.refresh(elsewhere["refresh_token"]).status_code == 200


def test_of_many_that_use_one_token_at_once_one_wins_and_the_grant_is_over(
    shop: Party, tmp_path: Path, clock: Clock, config: IdPConfig
) -> None:
    token = shop.sign_in(scope=EVERYTHING)["refresh_token"]
    workers = [EmbeddedIdP(config, folder=tmp_path, issuer=ISSUER, clock=clock) for _ in range(4)]
    answers: list[httpx.Response] = []

    def work(idp: EmbeddedIdP) -> None:
        with Browser(idp) as browser:
            answers.append(Party(SHOP, browser).refresh(token))

    threads = [threading.Thread(target=work, args=(idp,)) for idp in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for idp in workers:
        idp.close()
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert all(is_refused(answer) for answer in answers if answer not in won)
    assert is_refused(shop.refresh(won[0].json()["refresh_token"]))


@pytest.mark.parametrize("event", ["the code comes again", "another refresh is faster", "the app revokes"])
def test_whoever_races_a_revocation_gets_nothing(tmp_path: Path, clock: Clock, event: str) -> None:
    """Between the two steps of one request, found and saved."""
    store = Store(tmp_path, clock)
    grants = GrantStore(store)
    session = store.find_session(store.begin_session("mia", ("pwd",), replaces=None))
    assert session is not None
    grants.save_code("code", "shop", session, {"username": "mia"})
    grant = grants.redeem_code("code", "shop")
    assert grant is not None
    used = None
    if event == "the code comes again":
        assert grants.redeem_code("code", "shop") is None
    else:
        assert grants.save_tokens(grant, Issued("access", "refresh", "openid"))
        used, grant = "refresh", grants.find_token("refresh", "refresh")
        assert grant is not None
        if event == "the app revokes":
            grants.revoke_token("refresh")
        else:
            assert grants.save_tokens(grant, Issued("faster", "faster too", "openid"), used=used)
    assert not grants.save_tokens(grant, Issued("late", "late too", "openid"), used=used)
    for token in ("access", "faster", "late"):
        assert grants.find_token(token) is None
    store.close()


def test_a_refusal_for_another_reason_does_not_use_the_token_up(shop: Party) -> None:
    token = shop.sign_in(scope="openid offline_access")["refresh_token"]
    assert shop.refresh(token, scope="openid email").json()["error"] == "invalid_scope"
    assert shop.refresh(token).status_code == 200


def test_a_narrower_scope_narrows_the_access_token_alone(shop: Party) -> None:
    token = shop.sign_in(scope=EVERYTHING)["refresh_token"]
    narrow = shop.refresh(token, scope="openid").json()
    assert shop.userinfo(narrow["access_token"]).json().keys() == {"sub"}
    wide = shop.refresh(narrow["refresh_token"]).json()
    assert "email" in shop.userinfo(wide["access_token"]).json()


def test_a_refresh_token_opens_no_userinfo(shop: Party) -> None:
    assert shop.userinfo(shop.sign_in(scope=EVERYTHING)["refresh_token"]).status_code == 401


def test_an_access_token_refreshes_nothing(shop: Party) -> None:
    assert is_refused(shop.refresh(shop.sign_in(scope=EVERYTHING)["access_token"]))


def test_a_refresh_token_of_one_app_is_nothing_to_another(shop: Party, blog: Party) -> None:
    token = shop.sign_in(scope=EVERYTHING)["refresh_token"]
    assert is_refused(blog.refresh(token))
    assert shop.refresh(token).status_code == 200


def test_what_began_under_one_issuer_is_nothing_under_another(tmp_path: Path, clock: Clock, config: IdPConfig) -> None:
    """A provider without a fixed issuer has as many as it has names; the ID token must not change its own."""
    idp = EmbeddedIdP(config, folder=tmp_path, clock=clock)
    here, there = "http://localhost:8000", "http://127.0.0.1:8000"
    with Browser(idp, here) as browser:
        party, elsewhere = Party(SHOP, browser, issuer=here), Party(SHOP, browser, issuer=there)
        token = party.sign_in(scope=EVERYTHING)["refresh_token"]
        assert is_refused(elsewhere.refresh(token))
        renewed = party.refresh(token).json()
        assert party.verified(renewed["id_token"])["iss"] == here
        code = answer_of(party.authorize())["code"]
        elsewhere.verifier = party.verifier
        assert is_refused(elsewhere.redeem(code))
    idp.close()


def test_a_person_whom_the_configuration_no_longer_knows_or_disables_gets_no_tokens(
    shop: Party, tmp_path: Path, clock: Clock, config: IdPConfig
) -> None:
    tokens = shop.sign_in(scope=EVERYTHING)
    mia, *others = config.users
    devices = tuple(device for device in config.devices if device.owner != "mia")
    for users in (tuple(others), (replace(mia, disabled=True), *others)):
        idp = EmbeddedIdP(replace(config, users=users, devices=devices), folder=tmp_path, issuer=ISSUER, clock=clock)
        with Browser(idp) as browser:
            party = Party(SHOP, browser)
            assert is_refused(party.refresh(tokens["refresh_token"]))
            assert party.userinfo(tokens["access_token"]).status_code == 401
        idp.close()
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


# Revocation -------------------------------------------------------------------------------------------------------


def is_revoked(response: httpx.Response) -> bool:
    assert response.headers["cache-control"] == "no-store"
    return (response.status_code, response.json()) == (200, {})


@pytest.mark.parametrize("hint", [{}, {"token_type_hint": "access_token"}, {"token_type_hint": "what_is_this"}])
def test_revoking_a_refresh_token_ends_its_grant_whatever_the_hint(shop: Party, hint: dict[str, str]) -> None:
    """RFC 7009, 2.1 and 2.2."""
    first = shop.sign_in(scope=EVERYTHING)
    second = shop.refresh(first["refresh_token"]).json()
    assert is_revoked(shop.revoke(second["refresh_token"], **hint))
    assert is_refused(shop.refresh(second["refresh_token"]))
    for tokens in (first, second):
        assert shop.userinfo(tokens["access_token"]).status_code == 401


def test_revoking_a_used_refresh_token_ends_its_grant(shop: Party) -> None:
    """An app that lost the answer with the next one has nothing else to revoke."""
    first = shop.sign_in(scope=EVERYTHING)
    second = shop.refresh(first["refresh_token"]).json()
    assert is_revoked(shop.revoke(first["refresh_token"]))
    assert is_refused(shop.refresh(second["refresh_token"]))


def test_revoking_an_access_token_ends_it_alone(shop: Party) -> None:
    tokens = shop.sign_in(scope=EVERYTHING)
    assert is_revoked(shop.revoke(tokens["access_token"]))
    assert shop.userinfo(tokens["access_token"]).status_code == 401
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


def test_revoking_signs_nobody_out(shop: Party) -> None:
    assert is_revoked(shop.revoke(shop.sign_in(scope=EVERYTHING)["refresh_token"]))
    assert "code" in answer_of(shop.authorize(prompt="none"))


def test_revoking_twice_or_something_unknown_is_a_success(shop: Party) -> None:
    token = shop.sign_in(scope=EVERYTHING)["refresh_token"]
    for _ in range(2):
        assert is_revoked(shop.revoke(token))
    assert is_revoked(shop.revoke("unknown"))


def test_an_expired_token_counts_as_revoked(shop: Party, clock: Clock) -> None:
    token = shop.sign_in(scope=EVERYTHING)["access_token"]
    clock.now += 3_600
    assert is_revoked(shop.revoke(token))


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_the_token_of_another_app_is_refused_and_stays(shop: Party, blog: Party, kind: str) -> None:
    """RFC 7009, 2.1."""
    tokens = shop.sign_in(scope=EVERYTHING)
    assert is_refused(blog.revoke(tokens[kind]))
    assert shop.userinfo(tokens["access_token"]).status_code == 200
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


def test_an_app_must_prove_itself_to_revoke(shop: Party, browser: Browser) -> None:
    token = shop.sign_in(scope=EVERYTHING)["refresh_token"]
    for auth, data in (
        (None, {}),
        (None, {"client_id": "shop"}),
        (("shop", "wrong"), {}),
        (("nobody", "x"), {}),
        (None, {"client_id": "shop", "client_secret": "wrong"}),
    ):
        refused = browser.post(f"{ISSUER}/revoke", data={"token": token, **data}, auth=auth)
        assert refused.status_code in (400, 401)
        assert refused.json()["error"] == "invalid_client"
    assert browser.post(f"{ISSUER}/revoke", data={"token": token}, headers={"Authorization": "Basic /w=="}).is_error
    assert shop.refresh(token).status_code == 200


def test_every_advertised_method_revokes(shop: Party, blog: Party, browser: Browser) -> None:
    by_post = {"client_id": "shop", "client_secret": "shop-secret"}
    token = shop.sign_in(scope=EVERYTHING)["refresh_token"]
    assert is_revoked(browser.post(f"{ISSUER}/revoke", data={"token": token, **by_post}))
    assert is_refused(shop.refresh(token))
    assert BLOG.client_secret is None
    token = blog.sign_in(scope=EVERYTHING)["refresh_token"]
    assert is_revoked(blog.revoke(token))
    assert is_refused(blog.refresh(token))


def test_a_request_that_is_none_is_refused(shop: Party, browser: Browser) -> None:
    refused = browser.post(f"{ISSUER}/revoke", data={"x": "y"}, auth=("shop", "shop-secret"))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert browser.get(f"{ISSUER}/revoke", params={"token": "x"}).status_code == 405
    assert browser.post(f"{ISSUER}/revoke", json={"token": "x"}).status_code == 415

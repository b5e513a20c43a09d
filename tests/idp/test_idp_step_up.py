"""Step-up: an authentication context, the second factor that it asks for, and what the app is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.idp.idp_support import ISSUER, SHOP, Browser, Clock, Page, Party, answer_of, verified

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig

ACRS = {"id_token": {"acrs": {"essential": True, "value": "c1"}}}


def asks_code(page: httpx.Response) -> bool:
    return page.status_code == 200 and "code" in Page(page.text).fields


def claims_of(party: Party, response: httpx.Response) -> dict[str, object]:
    tokens = party.redeem(answer_of(response)["code"]).json()
    claims: dict[str, object] = verified(tokens["id_token"], party.browser.get(f"{ISSUER}/jwks").json())
    return claims


def step_up(party: Party, username: str = "mia", code: str = "100001", **changes: str) -> dict[str, object]:
    """Password, code, claims."""
    page = party.browser.submit(party.authorize(**changes), username=username, password=f"{username}-password")
    assert asks_code(page)
    return claims_of(party, party.browser.submit(page, code=code))


@pytest.mark.parametrize(
    "changes",
    [
        {"acr_values": "c1"},
        {"acr_values": "phr c1"},
        {"claims": json.dumps(ACRS)},
        {"claims": json.dumps({"id_token": {"acrs": {"essential": True, "values": ["c1"]}, "auth_time": None}})},
        {"claims": json.dumps({"id_token": {"acr": {"values": ["c1"]}}, "userinfo": {"email": None}})},
        {"acr_values": "c1", "claims": json.dumps(ACRS), "max_age": "300"},
    ],
)
def test_a_context_asks_for_password_and_code_and_is_named_in_the_token(
    shop: Party, clock: Clock, changes: dict[str, str]
) -> None:
    first = shop.sign_in()["claims"]
    assert (first["amr"], "acr" in first, "acrs" in first) == (["pwd"], False, False)
    clock.now += 3_000
    claims = step_up(shop, **changes)
    assert (claims["acr"], claims["acrs"], claims["amr"]) == ("c1", ["c1"], ["pwd", "otp", "mfa"])
    assert claims["auth_time"] == int(clock.now)
    assert claims["sid"] == first["sid"]


def test_several_contexts_all_hold(shop: Party) -> None:
    claims = step_up(shop, acr_values="c2 c99", claims=json.dumps(ACRS))
    assert (claims["acr"], claims["acrs"]) == ("c2", ["c2", "c99", "c1"])


def test_no_session_begins_before_the_code(shop: Party, blog: Party, browser: Browser) -> None:
    assert asks_code(browser.submit(shop.authorize(acr_values="c1"), pick="mia"))
    assert answer_of(blog.authorize(prompt="none"))["error"] == "login_required"


def test_a_wrong_code_is_asked_for_again(shop: Party, browser: Browser) -> None:
    page = browser.submit(shop.authorize(acr_values="c1"), pick="mia")
    for wrong in ("100002", "", "ä"):
        again = browser.submit(page, code=wrong)
        assert again.status_code == 400
        assert "That is not the code" in again.text
    assert claims_of(shop, browser.submit(again, code=" 100001 "))["acrs"] == ["c1"]


def test_one_click_gives_the_code_where_passwords_are_shown(shop: Party, browser: Browser) -> None:
    page = browser.submit(shop.authorize(acr_values="c1"), pick="gus")
    assert Page(page.text).picks == ["100002"]
    assert claims_of(shop, browser.submit(page, pick="100002"))["acrs"] == ["c1"]


def test_the_code_is_not_shown_where_passwords_are_not(tmp_path: Path, config: IdPConfig, clock: Clock) -> None:
    idp = EmbeddedIdP(replace(config, show_passwords=False), folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as browser:
        shop = Party(SHOP, browser)
        page = browser.submit(shop.authorize(acr_values="c1"), username="mia", password="mia-password")
        assert asks_code(page)
        assert "100001" not in page.text
    idp.close()


def test_five_minutes_long_nobody_is_asked_twice(shop: Party, blog: Party, clock: Clock) -> None:
    first = step_up(shop, acr_values="c1")
    clock.now += 299
    again = claims_of(blog, blog.authorize(acr_values="c2", max_age="300"))
    assert (again["acrs"], again["auth_time"]) == (["c2"], first["auth_time"])
    clock.now += 1
    assert shop.authorize(acr_values="c1").status_code == 200
    assert answer_of(shop.authorize(acr_values="c1", prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize("changes", [{"max_age": "0"}, {"prompt": "login"}])
def test_who_asks_for_a_sign_in_now_gets_one_all_the_same(shop: Party, clock: Clock, changes: dict[str, str]) -> None:
    step_up(shop, acr_values="c1")
    clock.now += 10
    assert step_up(shop, acr_values="c1", **changes)["auth_time"] == int(clock.now)


def test_a_context_that_is_not_asked_for_is_not_told(shop: Party) -> None:
    step_up(shop, acr_values="c1")
    claims = claims_of(shop, shop.authorize())
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    assert not {"acr", "acrs"} & claims.keys()


def test_integrated_authentication_asks_for_the_code_alone(shop: Party, browser: Browser) -> None:
    page = shop.authorize(acr_values="c1", login_hint="iwa")
    assert asks_code(page)
    assert claims_of(shop, browser.submit(page, code="100005"))["amr"] == ["wia", "otp", "mfa"]


def test_consent_comes_after_the_code(vault: Party, browser: Browser) -> None:
    page = browser.submit(browser.submit(vault.authorize(acr_values="c1"), pick="mia"), pick="100001")
    assert Page(page.text).buttons == {"consent"}
    assert claims_of(vault, browser.submit(page, consent="allow"))["acrs"] == ["c1"]


def test_a_consent_to_a_step_up_is_no_second_factor(vault: Party, shop: Party, browser: Browser) -> None:
    """The person signed in again, with the password alone, while the page was open."""
    page = browser.submit(browser.submit(vault.authorize(acr_values="c1"), pick="mia"), pick="100001")
    shop.sign_in(prompt="login")
    answer = answer_of(browser.submit(page, consent="allow"))
    assert answer["error"] == "unmet_authentication_requirements"


def test_refreshed_tokens_keep_the_context(shop: Party, browser: Browser) -> None:
    page = browser.submit(shop.authorize(acr_values="c1", scope="openid offline_access"), pick="mia")
    tokens = shop.redeem(answer_of(browser.submit(page, pick="100001"))["code"]).json()
    again = shop.token({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).json()
    assert verified(again["id_token"], browser.get(f"{ISSUER}/jwks").json())["acrs"] == ["c1"]


def test_the_page_with_the_code_belongs_to_its_browser(shop: Party, browser: Browser, idp: EmbeddedIdP) -> None:
    page = browser.submit(shop.authorize(acr_values="c1"), pick="mia")
    with Browser(idp) as other:
        Party(SHOP, other).authorize()
        stolen = other.submit(page, code="100001")
        assert (stolen.status_code, "no longer good" in stolen.text) == (400, True)
        assert Page(stolen.text).links == ["http://shop.localhost:9001/"]


# What can't be met ----------------------------------------------------------------------------------------------


def with_mia(config: IdPConfig, tmp_path: Path, clock: Clock, **changes: object) -> Browser:
    mia, *others = config.users
    changed = replace(config, users=(replace(mia, **changes), *others))  # type: ignore[arg-type]
    return Browser(EmbeddedIdP(changed, folder=tmp_path, issuer=ISSUER, clock=clock))


def test_without_a_second_factor_the_request_fails(tmp_path: Path, config: IdPConfig, clock: Clock) -> None:
    with with_mia(config, tmp_path, clock, second_factor=None) as browser:
        shop = Party(SHOP, browser)
        answer = answer_of(browser.submit(shop.authorize(acr_values="c1"), pick="mia"))
        assert answer["error"] == "unmet_authentication_requirements"
        assert answer["state"] == "st/ate + 1"
        browser.idp.close()


def test_who_always_shows_two_factors_is_asked_for_no_code(tmp_path: Path, config: IdPConfig, clock: Clock) -> None:
    with with_mia(config, tmp_path, clock, second_factor=None, amr=("pwd", "mfa")) as browser:
        shop = Party(SHOP, browser)
        claims = claims_of(shop, browser.submit(shop.authorize(acr_values="c1"), pick="mia"))
        assert (claims["acrs"], claims["amr"]) == (["c1"], ["pwd", "mfa"])
        browser.idp.close()


@pytest.mark.parametrize("wanted", [{"value": "phr"}, {"values": ["c0", "c100", "C1"]}])
def test_an_essential_context_that_is_not_known_fails(shop: Party, wanted: dict[str, object]) -> None:
    for name in ("acr", "acrs"):
        claims = json.dumps({"id_token": {name: {"essential": True, **wanted}}})
        assert answer_of(shop.authorize(claims=claims))["error"] == "unmet_authentication_requirements"


def test_a_voluntary_context_that_is_not_known_changes_nothing(shop: Party) -> None:
    shop.sign_in()
    claims = json.dumps({"id_token": {"acr": {"values": ["phr"]}}})
    assert "acr" not in claims_of(shop, shop.authorize(acr_values="phr urn:x", claims=claims))


def test_a_person_who_is_asked_for_by_sub_is_the_only_one_that_will_do(shop: Party, browser: Browser) -> None:
    mia = shop.sign_in("mia")["claims"]["sub"]
    claims = json.dumps({"id_token": {"sub": {"value": mia}}})
    assert answer_of(shop.authorize(claims=claims))["code"]
    shop.sign_in("gus", prompt="login")
    assert answer_of(shop.authorize(claims=claims, prompt="none"))["error"] == "login_required"
    assert answer_of(browser.submit(shop.authorize(claims=claims), pick="gus"))["error"] == "login_required"
    assert answer_of(browser.submit(shop.authorize(claims=claims), pick="mia"))["code"]


@pytest.mark.parametrize(
    "claims",
    [
        "c1",
        "[]",
        "{",
        '"c1"',
        "[" * 10_000,
        '{"id_token": []}',
        '{"userinfo": "email"}',
        '{"id_token": {"acrs": "c1"}}',
        '{"id_token": {"acrs": []}}',
        '{"id_token": {"acrs": {"value": 1}}}',
        '{"id_token": {"acrs": {"value": ["c1"]}}}',
        '{"id_token": {"acrs": {"values": "c1"}}}',
        '{"id_token": {"acrs": {"values": [null]}}}',
        '{"id_token": {"acrs": {"value": "c1", "values": ["c1"]}}}',
        '{"id_token": {"acrs": {"value": "c1", "essential": "yes"}}}',
        '{"id_token": {"email": {"essential": 1}}}',
        '{"id_token": {"sub": {"value": {}}}}',
        '{"id_token": {}, "id_token": {}}',
    ],
)
def test_malformed_claims_are_an_error_to_the_app(shop: Party, claims: str) -> None:
    answer = answer_of(shop.authorize(claims=claims))
    assert (answer["error"], answer["state"]) == ("invalid_request", "st/ate + 1")
    assert answer["error_description"].startswith("claims")


def test_discovery_says_so(browser: Browser) -> None:
    document = browser.get(f"{ISSUER}/.well-known/openid-configuration").json()
    assert document["claims_parameter_supported"] is True
    assert (document["acr_values_supported"][0], document["acr_values_supported"][-1]) == ("c1", "c99")
    assert {"acr", "acrs", "auth_time", "deviceid", "xms_dev"} <= set(document["claims_supported"])


# A provider that lacks something -------------------------------------------------------------------------------------


@pytest.fixture
def lacking(tmp_path: Path, config: IdPConfig, clock: Clock) -> Iterator[dict[str, Party]]:
    """The shop at providers that lack something, by what they lack."""
    made = {}
    apps = {
        "auth_time": replace(SHOP, auth_time="never"),
        "freshness": replace(SHOP, auth_time="stale"),
        "step_up": replace(SHOP, step_up=False),
    }
    for name, app in apps.items():
        idp = EmbeddedIdP(config.with_app(app), folder=tmp_path / name, issuer=ISSUER, clock=clock)
        made[name] = Party(app, Browser(idp))
    yield made
    for party in made.values():
        party.browser.close()
        party.browser.idp.close()


def test_an_app_that_is_never_told_when(lacking: dict[str, Party]) -> None:
    assert "auth_time" not in lacking["auth_time"].sign_in()["claims"]
    assert lacking["auth_time"].authorize(max_age="0").status_code == 200


def test_an_app_that_is_told_of_an_old_sign_in_whatever_it_asks_for(lacking: dict[str, Party], clock: Clock) -> None:
    shop = lacking["freshness"]
    assert shop.sign_in()["claims"]["auth_time"] == int(clock.now) - 86_400
    clock.now += 7_200
    assert claims_of(shop, shop.authorize(max_age="0"))["auth_time"] == int(clock.now) - 7_200 - 86_400
    assert shop.authorize(prompt="login").status_code == 200


def test_an_app_that_asks_for_a_context_in_vain(lacking: dict[str, Party]) -> None:
    shop = lacking["step_up"]
    shop.sign_in()
    claims = claims_of(shop, shop.authorize(acr_values="c1", claims="not even JSON"))
    assert not {"acr", "acrs"} & claims.keys()
    assert claims["amr"] == ["pwd"]


# A second factor alone --------------------------------------------------------------------------------------------

MFA = json.dumps({"id_token": {"amr": {"values": ["mfa"]}}})


def test_a_second_factor_alone_is_asked_for_by_amr_and_names_no_context(shop: Party) -> None:
    claims = step_up(shop, claims=MFA)
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    assert "acrs" not in claims


def test_a_second_factor_that_was_shown_long_ago_will_do_unlike_for_a_context(shop: Party, clock: Clock) -> None:
    shown_at = step_up(shop, claims=MFA)["auth_time"]
    clock.now += 3_000
    assert claims_of(shop, shop.authorize(claims=MFA))["auth_time"] == shown_at
    assert shop.authorize(acr_values="c1").status_code == 200


def test_another_method_than_mfa_asks_for_nothing(shop: Party) -> None:
    shop.sign_in()
    voluntary = json.dumps({"id_token": {"amr": {"values": ["hwk"]}}})
    assert claims_of(shop, shop.authorize(claims=voluntary))["amr"] == ["pwd"]

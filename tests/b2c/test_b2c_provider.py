"""The embedded provider as a tenant of Azure AD B2C: addresses, the way through a flow, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.b2c.b2c_provider import (
    BAKERY,
    EDIT,
    EMPLOYEES,
    GROCERIES,
    HERE,
    ISSUER,
    OTHER,
    PHARMACY,
    RESET,
    SIGN_IN,
    SIGN_UP,
    TENANT,
    TENANT_ID,
    THERE,
    Answer,
    Seen,
    Tenant,
    arrived,
    asks_for_code,
    asks_for_password,
    flows,
    is_silent,
    of,
    tenant,
)
from tests.idp.idp_support import Page

from kmsi_middleware.idp import ConfigError, IdPConfig, User, load_config

BYE = GROCERIES.post_logout_redirect_uris[0]


@pytest.fixture
def made() -> Iterator[Tenant]:
    with tenant() as made:
        yield made


def refused(seen: Seen, code: str, status: int = 400) -> None:
    assert isinstance(seen, httpx.Response), seen
    assert (seen.status_code, Page(seen.text).links) == (status, [])
    assert f">{code}<" in seen.text


# Addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SIGN_IN, SIGN_IN.lower(), SIGN_IN.upper(), OTHER])
@pytest.mark.parametrize("tenant_name", [TENANT, TENANT.upper(), TENANT_ID])
def test_each_user_flow_has_its_own_metadata_and_the_tenants_issuer(made: Tenant, name: str, tenant_name: str) -> None:
    response = made.person().client.get(f"{HERE}/{tenant_name}/{name}/v2.0/.well-known/openid-configuration")
    document = response.json()
    assert document["issuer"] == ISSUER
    for key, path in {
        "authorization_endpoint": "/oauth2/v2.0/authorize",
        "token_endpoint": "/oauth2/v2.0/token",
        "end_session_endpoint": "/oauth2/v2.0/logout",
        "jwks_uri": "/discovery/v2.0/keys",
    }.items():
        assert document[key] == f"{of(name)}{path}"
    assert not [key for key in document if "channel" in key or key.startswith("revocation")]


@pytest.mark.parametrize(
    "path",
    [
        f"/{TENANT}/B2C_1_none/v2.0/.well-known/openid-configuration",
        f"/fabrikam.onmicrosoft.com/{SIGN_IN}/v2.0/.well-known/openid-configuration",
        "/.well-known/openid-configuration",
        "/authorize",
        "/devices",
    ],
)
def test_there_is_nothing_else(made: Tenant, path: str) -> None:
    assert made.person().client.get(HERE + path).status_code == 404


def test_the_token_names_the_flow_and_neither_session_nor_methods(made: Tenant) -> None:
    mia = made.person()
    claims = mia.claims(GROCERIES, mia.sign_in(GROCERIES, OTHER), OTHER)
    assert (claims["iss"], claims["tfp"], claims["aud"]) == (ISSUER, OTHER, "groceries")
    assert not {"sid", "amr", "acr"} & set(claims)


def test_the_answer_does_not_name_the_issuer(made: Tenant) -> None:
    assert set(made.person().sign_in(GROCERIES)) == {"code", "state"}


def test_a_code_is_worth_nothing_at_another_flow(made: Tenant) -> None:
    mia = made.person()
    response = mia.tokens(GROCERIES, mia.sign_in(GROCERIES, SIGN_IN), OTHER)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_no_cookie_names_a_domain_and_each_is_the_providers_alone(made: Tenant) -> None:
    mia = made.person()
    mia.sign_in(GROCERIES)
    for cookie in mia.client.cookies.jar:
        assert not cookie.domain_specified
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "lax"


# The way through ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("link", "code"), [("by=forgot_password", "AADB2C90118"), ("by=cancel", "AADB2C90091")])
def test_leaving_answers_with_b2cs_code(made: Tenant, link: str, code: str) -> None:
    mia = made.person()
    answer = mia.follow(mia.ask(GROCERIES), link)
    assert isinstance(answer, Answer)
    assert (answer["error"], answer["state"]) == ("access_denied", "s")
    assert answer["error_description"].startswith(f"{code}: ")


def test_a_page_can_be_left_only_in_the_browser_that_was_shown_it(made: Tenant) -> None:
    page = made.person().ask(GROCERIES)
    refused(made.person().follow(page, "by=cancel"), "page_expired")


def test_a_page_answers_for_its_own_step_only(made: Tenant) -> None:
    """The sign-in page's ticket opens neither the profile nor the second factor, nor another flow."""
    mia = made.person()
    page = mia.ask(GROCERIES)
    assert isinstance(page, httpx.Response)
    data = {"ticket": Page(page.text).fields["ticket"], "username": "mia", "password": "mia-password"}
    for place in (
        f"{of(SIGN_IN)}/profile",
        f"{of(SIGN_IN)}/second-factor",
        f"{of(RESET)}/password",
        f"{of(OTHER)}/sign-in",
    ):
        response = mia.client.post(place, data=data, headers={"Origin": HERE})
        assert response.status_code == 400
        assert "page_expired" in response.text


def test_a_wrong_password_and_a_disabled_person_are_asked_again(made: Tenant) -> None:
    mia = made.person()
    page = mia.submit(mia.ask(GROCERIES), username="mia", password="wrong")
    assert asks_for_password(page)
    assert is_silent(mia.submit(page, username="mia", password="mia-password"))


def test_prompt_none_asks_nothing_and_says_so(made: Tenant) -> None:
    mia = made.person()
    answer = mia.ask(GROCERIES, prompt="none")
    assert isinstance(answer, Answer)
    assert answer["error"] == "interaction_required"
    assert answer["error_description"].startswith("AADB2C90077: ")
    mia.sign_in(GROCERIES)
    assert is_silent(mia.ask(GROCERIES, prompt="none"))


def test_prompt_login_asks_although_there_is_a_session(made: Tenant) -> None:
    mia = made.person()
    mia.sign_in(GROCERIES)
    assert asks_for_password(mia.ask(GROCERIES, prompt="login"))


def test_a_session_without_the_second_factor_is_asked_for_that_alone() -> None:
    """Two flows share the tenant's session, and one of them wants more."""
    with tenant(flows(**{OTHER: {"multi_factor": True}})) as made:
        mia = made.person()
        mia.sign_in(GROCERIES)
        page = mia.ask(GROCERIES, OTHER)
        assert asks_for_code(page)
        page = mia.submit(page, code="000000")
        assert asks_for_code(page)
        signed_in_at = made.clock.now
        made.clock.now += 60
        answer = mia.show_code(page)
        assert mia.claims(GROCERIES, answer, OTHER)["auth_time"] == signed_in_at
        assert is_silent(mia.ask(PHARMACY, OTHER))


def test_a_second_factor_shown_by_one_does_not_count_for_another() -> None:
    with tenant(flows(every={"multi_factor": True})) as made:
        mia = made.person()
        mia.sign_in(GROCERIES)
        page = mia.submit(mia.ask(GROCERIES, prompt="login"), username="gus", password="gus-password")
        assert asks_for_code(page)


def test_profile_editing_shows_its_page_although_there_is_a_session(made: Tenant) -> None:
    mia = made.person()
    mia.sign_in(GROCERIES)
    page = mia.ask(GROCERIES, EDIT)
    assert isinstance(page, httpx.Response)
    assert "Your profile" in page.text
    assert mia.claims(GROCERIES, mia.submit(page), EDIT)["tfp"] == EDIT


def test_profile_editing_signs_in_first(made: Tenant) -> None:
    mia = made.person()
    page = mia.submit(mia.ask(GROCERIES, EDIT), username="mia", password="mia-password")
    assert isinstance(page, httpx.Response)
    assert "Your profile" in page.text
    arrived(mia.submit(page))


def test_a_password_reset_changes_the_password(made: Tenant) -> None:
    mia = made.person()
    page = mia.ask(GROCERIES, RESET)
    page = mia.submit(page, username="nobody", password="new")
    assert isinstance(page, httpx.Response)
    assert page.status_code == 400
    assert mia.claims(GROCERIES, mia.submit(page, username="mia", password="new"), RESET)["name"] == "Mia Member"
    other = made.person()
    assert asks_for_password(other.submit(other.ask(GROCERIES), username="mia", password="mia-password"))
    assert is_silent(other.submit(other.ask(GROCERIES), username="mia", password="new"))


@pytest.mark.parametrize("flow", [RESET, SIGN_UP])
def test_a_reset_and_a_sign_up_are_gone_through_whole(made: Tenant, flow: str) -> None:
    mia = made.person()
    mia.sign_in(GROCERIES)
    assert isinstance(mia.ask(GROCERIES, flow), httpx.Response)


# The federated provider --------------------------------------------------------------------------------------


def test_who_comes_from_the_other_provider_has_no_sign_in_here(made: Tenant) -> None:
    erin = made.person()
    username = erin.claims(GROCERIES, erin.sign_in_there(GROCERIES))["preferred_username"]
    page = erin.ask(GROCERIES, prompt="login")
    assert isinstance(page, httpx.Response)
    assert "Erin" not in page.text
    for answers in (
        {"pick": username},
        {"username": username, "password": ""},
        {"username": username, "password": "x"},
    ):
        assert asks_for_password(erin.submit(page, **answers))


def test_the_other_providers_person_may_need_the_second_factor_here() -> None:
    with tenant(flows(every={"multi_factor": True})) as made:
        erin = made.person()
        page = erin.follow(erin.ask(GROCERIES), "provider=employees")
        page = erin.submit(page, username="erin", password="erin-password")
        assert asks_for_code(page)
        erin.show_code(page, "100000")
        assert is_silent(erin.ask(PHARMACY))


def test_prompt_none_goes_to_the_other_provider_and_back(made: Tenant) -> None:
    erin = made.person()
    erin.sign_in_there(GROCERIES)
    assert is_silent(erin.ask(PHARMACY, prompt="none"))
    for cookie in list(erin.client.cookies.jar):
        if cookie.name == "kmsi-idp-session-8411":
            erin.client.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)
    answer = erin.ask(PHARMACY, prompt="none")
    assert isinstance(answer, Answer)
    assert answer["error"] == "interaction_required"


def test_the_other_providers_auth_time_is_handed_on(made: Tenant) -> None:
    erin = made.person()
    erin.sign_in_there(GROCERIES)
    began = made.clock.now
    made.clock.now += 3600
    answer = erin.follow(erin.ask(GROCERIES, prompt="login"), "provider=employees")
    assert erin.claims(GROCERIES, answer)["auth_time"] == began


def test_another_person_there_is_another_session_here(made: Tenant) -> None:
    """The session there decides who it is, even where there is one here."""
    mia = made.person()
    mia.sign_in(GROCERIES)
    answer = mia.follow(mia.ask(GROCERIES, prompt="login"), "provider=employees")
    answer = mia.submit(answer, username="erin", password="erin-password")
    assert mia.claims(GROCERIES, answer)["name"] == "Erin Employee"
    assert mia.claims(GROCERIES, mia.ask(GROCERIES))["name"] == "Erin Employee"


def test_an_answer_without_its_browser_or_twice_signs_nobody_in(made: Tenant) -> None:
    erin = made.person()
    erin.sign_in_there(GROCERIES)
    (back,) = [step for step in erin.trail if "/oauth2/authresp" in step]
    refused(made.person().go(back), "page_expired")
    seen = made.person().go(back.replace("state=", "state=x"))
    refused(seen, "page_expired")
    refused(erin.go(back), "federated_unavailable", 502)  # the code is used up


def test_an_answer_of_a_third_party_is_refused(made: Tenant) -> None:
    erin = made.person()
    erin.follow(erin.ask(GROCERIES), "provider=employees")
    state = httpx.URL(erin.trail[-1]).params["state"]
    given = {"state": state, "code": "x", "iss": "http://localhost:9999"}
    refused(erin.go(f"{HERE}/{TENANT}/oauth2/authresp", given), "federated_issuer_mismatch")


def test_a_provider_that_is_away_is_said_to_be() -> None:
    away = replace(EMPLOYEES, issuer="http://localhost:8412")
    with tenant(federated=(away,)) as made:
        mia = made.person()
        refused(mia.follow(mia.ask(GROCERIES), "provider=employees"), "federated_unavailable", 502)


def test_disabled_at_home_is_disabled_for_the_other_provider_too(made: Tenant) -> None:
    erin = made.person()
    name = erin.claims(GROCERIES, erin.sign_in_there(GROCERIES))["preferred_username"]
    form = {"user": name, "event": "disable"}
    erin.client.post(f"{HERE}/users", data=form, headers={"Origin": HERE})
    page = erin.ask(GROCERIES)
    assert asks_for_password(page)
    refused(erin.follow(page, "provider=employees"), "user_disabled", 403)


# Sign-out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "id_token_hint_required"),
        ({"client_id": "groceries"}, "id_token_hint_required"),
        ({"id_token_hint": "x.y.z"}, "id_token_hint_invalid"),
        ({"id_token_hint": "altered"}, "id_token_hint_invalid"),
        ({"id_token_hint": "foreign"}, "id_token_hint_invalid"),
        ({"id_token_hint": "good", "client_id": "pharmacy"}, "unknown_client"),
        (
            {"id_token_hint": "good", "post_logout_redirect_uri": "http://a.example"},
            "post_logout_redirect_uri_mismatch",
        ),
    ],
)
def test_where_an_id_token_is_required_anything_else_is_an_error_page(given: dict[str, str], code: str) -> None:
    with tenant(flows(every={"require_id_token_on_logout": True, "single_sign_out": True})) as made:
        mia = made.person()
        mia.sign_in(GROCERIES)
        good = mia.id_token(GROCERIES)
        head, body, signature = good.split(".")
        tokens = {"good": good, "altered": f"{head}.{body[:-4]}AAAA.{signature}", "foreign": foreign(made)}
        hint = given.get("id_token_hint")
        asked = {**given, **({"id_token_hint": tokens.get(hint, hint)} if hint else {})}
        asked.setdefault("post_logout_redirect_uri", BYE)
        refused(mia.sign_out(None, **asked), code)
        assert is_silent(mia.ask(GROCERIES))  # nobody was signed out
        assert mia.sign_out(None, id_token_hint=good, post_logout_redirect_uri=BYE, state="x") == {"state": "x"}


def foreign(made: Tenant) -> str:
    """An ID token that the other provider issued."""
    erin = made.person()
    seen: list[str] = []
    handle = made.there._store.signing_key()
    from joserfc import jwt

    claims = {"iss": THERE, "aud": "groceries", "sub": "x", "exp": made.clock.now + 600}
    seen.append(jwt.encode({"alg": "RS256"}, claims, handle))
    erin.client.close()
    return seen[0]


def test_a_post_signs_out_too(made: Tenant) -> None:
    mia = made.person()
    mia.sign_in(GROCERIES)
    response = mia.client.post(f"{of(SIGN_IN)}/oauth2/v2.0/logout", data={"client_id": "groceries"})
    assert response.status_code == 303
    mia.go(HERE + response.headers["location"])
    assert asks_for_password(mia.ask(GROCERIES))


def test_a_prefetch_signs_nobody_out(made: Tenant) -> None:
    mia = made.person()
    mia.sign_in(GROCERIES)
    assert mia.client.get(f"{of(SIGN_IN)}/oauth2/v2.0/logout", headers={"Sec-Purpose": "prefetch"}).status_code == 405
    assert is_silent(mia.ask(GROCERIES))


def test_an_app_with_a_session_of_its_own_leaves_the_others_theirs() -> None:
    with tenant(flows(every={"single_sign_on": "application", "single_sign_out": True})) as made:
        mia = made.person()
        mia.sign_in(GROCERIES)
        mia.sign_in(PHARMACY)
        assert mia.sign_out(GROCERIES, post_logout_redirect_uri=BYE) == {}  # no other app in that session
        assert asks_for_password(mia.ask(GROCERIES))
        assert is_silent(mia.ask(PHARMACY))


def test_a_sign_out_that_names_no_app_ends_every_apps_session() -> None:
    with tenant(flows(every={"single_sign_on": "application", "single_sign_out": True})) as made:
        mia = made.person()
        mia.sign_in(GROCERIES)
        mia.sign_in(PHARMACY)
        page = mia.sign_out(None)
        assert isinstance(page, httpx.Response)
        assert len(Page(page.text).frames) == 2
        assert asks_for_password(mia.ask(GROCERIES))
        assert asks_for_password(mia.ask(PHARMACY))


def test_the_apps_of_a_suppressed_flow_are_told_too() -> None:
    with tenant(flows(every={"single_sign_on": "suppressed", "single_sign_out": True})) as made:
        mia = made.person()
        mia.sign_in(GROCERIES)
        mia.sign_in(PHARMACY)
        page = mia.sign_out(GROCERIES)
        assert isinstance(page, httpx.Response)
        assert Page(page.text).frames == ["http://pharmacy.localhost:9002/out"]


def test_the_other_provider_comes_before_the_apps() -> None:
    with tenant(flows(every={"single_sign_out": True})) as made:
        erin = made.person()
        erin.sign_in_there(GROCERIES)
        erin.ask(PHARMACY)
        erin.ask(BAKERY)
        page = erin.sign_out(GROCERIES, post_logout_redirect_uri=BYE, state="x")
        assert isinstance(page, httpx.Response)
        assert Page(page.text).frames == []  # the other provider asks; nobody was told yet
        page = erin.submit(page, sign_out="yes")
        assert isinstance(page, httpx.Response)
        assert len(Page(page.text).frames) == 2
        assert Page(page.text).refresh == f"2;url={BYE}?state=x"
        assert "You were also taken to <bdi>Contoso employees</bdi>" in page.text


def test_a_provider_that_is_away_keeps_nobody_signed_in_here(made: Tenant) -> None:
    erin = made.person()
    erin.sign_in_there(GROCERIES)
    made.here._backchannel.places.clear()  # type: ignore[union-attr]
    page = erin.sign_out(GROCERIES, post_logout_redirect_uri=BYE)
    assert isinstance(page, httpx.Response)
    assert "You may still be signed in at <bdi>Contoso employees</bdi>" in page.text
    assert Page(page.text).links == [BYE]
    assert Page(page.text).refresh is None  # nobody reads that in two seconds
    assert "<script" not in page.text
    assert "Continuing" not in page.text
    assert erin.cookies() == {}


# The configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"behaviour": "b2b"}, "behaviour = 'b2b': must be one of openid, b2c"),
        ({"user_flows": {}}, "user_flows = {}: must hold one at least"),
        ({"user_flows": {"a": {"kind": "sign_in"}}}, "give the flow's name as B2C has it"),
        ({"user_flows": {SIGN_IN: {"kind": "sign"}}}, "give one of sign_up_and_sign_in"),
        ({"user_flows": {SIGN_IN: {"kind": "sign_in", "multi_factor": 1}}}, "give true or false"),
        ({"tenant": "contoso"}, "tenant = 'contoso': must be a GUID"),
        ({"tenant_name": "contoso"}, "must be a domain, such as contoso.onmicrosoft.com"),
        ({"federated": (EMPLOYEES, EMPLOYEES)}, "federated: id = 'employees': is there twice"),
        ({"redirect_anywhere_after_sign_out": "yes"}, "must be true or false"),
        ({"behaviour": "openid"}, 'goes with behaviour = "b2c" only'),
    ],
)
def test_a_wrong_configuration_is_told_by_key_value_and_remedy(given: dict[str, Any], problem: str) -> None:
    right: dict[str, Any] = {"users": (User("a", "A"),), "behaviour": "b2c", "user_flows": flows()}
    with pytest.raises(ConfigError) as caught:
        IdPConfig(**{**right, **given})
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"issuer": "https://login.example.com"}, "for loopback only"),
        ({"single_logout": 1}, "single_logout = 1: must be true or false"),
        ({"id": ""}, "id = '': must be a text"),
    ],
)
def test_a_wrong_federated_provider_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        replace(EMPLOYEES, **given)


def test_all_of_it_comes_from_a_file(tmp_path: Any) -> None:
    path = tmp_path / "idp.toml"
    path.write_text(
        """
        behaviour = "b2c"
        tenant_name = "contoso.onmicrosoft.com"
        redirect_anywhere_after_sign_out = true

        [user_flows.B2C_1_sign_in]
        kind = "sign_up_and_sign_in"
        single_sign_on = "policy"

        [[federated]]
        id = "employees"
        name = "Contoso employees"
        issuer = "http://localhost:8411"
        client_id = "contoso-b2c"

        [[users]]
        username = "mia"
        name = "Mia"
        """
    )
    config = load_config(path)
    assert config.behaviour == "b2c"
    assert config.user_flows["b2c_1_SIGN_in"].single_sign_on == "policy"
    assert config.federated[0].single_logout
    assert config.redirect_anywhere_after_sign_out

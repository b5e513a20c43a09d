"""The authorization endpoint: who is asked what, and what the app is told."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from tests.idp.idp_support import ISSUER, Browser, Clock, Page, Party, answer_of

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig


def asks_consent(page: httpx.Response) -> bool:
    return page.status_code == 200 and Page(page.text).buttons == {"consent"}


def test_a_first_visit_shows_the_sign_in_page_with_the_people(shop: Party) -> None:
    page = shop.authorize()
    assert page.status_code == 200
    assert Page(page.text).picks == ["mia", "gus", "rita", "sam", "iwa", "carl", "eve"]
    assert "Shop" in page.text
    assert "mia-password" in page.text


def test_the_answer_carries_code_state_and_issuer(shop: Party, browser: Browser) -> None:
    response = browser.submit(shop.authorize(), username="mia", password="mia-password")
    assert response.headers["location"].startswith("http://shop.localhost:9001/cb?")
    answer = answer_of(response)
    assert answer.keys() == {"code", "state", "iss"}
    assert answer["state"] == "st/ate + 1"
    assert answer["iss"] == ISSUER


def test_a_redirect_uri_keeps_its_own_query(shop: Party, browser: Browser) -> None:
    uri = "http://shop.localhost:9001/cb?tenant=1"
    response = browser.submit(shop.authorize(redirect_uri=uri), username="mia", password="mia-password")
    assert response.headers["location"].startswith(f"{uri}&code=")


def test_a_wrong_password_is_asked_for_again_and_keeps_the_name(shop: Party, browser: Browser) -> None:
    page = browser.submit(shop.authorize(), username="mia", password="wrong")
    assert page.status_code == 400
    assert "don’t belong together" in page.text
    assert Page(page.text).fields["username"] == "mia"
    assert answer_of(browser.submit(page, username="mia", password="mia-password"))["code"]


@pytest.mark.parametrize(("username", "password"), [("nobody", ""), ("nobody", "x"), ("mia", ""), ("", "")])
def test_nobody_signs_in_without_the_password(shop: Party, browser: Browser, username: str, password: str) -> None:
    assert browser.submit(shop.authorize(), username=username, password=password).status_code == 400


def test_one_click_signs_in_where_the_passwords_are_shown(shop: Party, browser: Browser) -> None:
    assert answer_of(browser.submit(shop.authorize(), pick="gus", username="", password=""))["code"]


def test_one_click_is_nothing_where_the_passwords_are_not_shown(
    tmp_path: Path, config: IdPConfig, clock: Clock
) -> None:
    quiet = IdPConfig(users=config.users, apps=config.apps)
    idp = EmbeddedIdP(quiet, folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as browser:
        page = Party(config.apps[-1], browser).authorize()
        assert "mia-password" not in page.text
        assert browser.submit(page, pick="mia").status_code == 400
        assert browser.submit(page, pick="iwa").status_code == 200  # consent: no password, so nothing to show
    idp.close()


def test_single_sign_on_asks_nothing_of_the_second_app(shop: Party, blog: Party) -> None:
    shop.sign_in()
    assert answer_of(blog.authorize())["code"]


def test_a_post_is_the_same_as_a_get(shop: Party, browser: Browser) -> None:
    response = browser.post(f"{ISSUER}/authorize", data=shop.ask())
    assert response.status_code == 303
    assert browser.visit(str(response.next_request.url)).status_code == 200


# Prompts and ages ---------------------------------------------------------------------------------------------


def test_prompt_none_without_a_session_is_login_required(shop: Party) -> None:
    answer = answer_of(shop.authorize(prompt="none"))
    assert answer["error"] == "login_required"
    assert answer["state"] == "st/ate + 1"
    assert answer["iss"] == ISSUER


def test_prompt_none_with_a_session_answers_silently(shop: Party) -> None:
    shop.sign_in()
    assert answer_of(shop.authorize(prompt="none"))["code"]


def test_prompt_none_without_consent_is_consent_required(shop: Party, vault: Party) -> None:
    shop.sign_in()
    assert answer_of(vault.authorize(prompt="none"))["error"] == "consent_required"


@pytest.mark.parametrize("prompt", ["login", "select_account"])
def test_a_prompt_for_sign_in_asks_although_there_is_a_session(
    shop: Party, clock: Clock, browser: Browser, prompt: str
) -> None:
    first = shop.sign_in()["claims"]
    clock.now += 100
    page = shop.authorize(prompt=prompt)
    assert page.status_code == 200
    again = shop.sign_in(prompt=prompt)["claims"]
    assert again["auth_time"] == first["auth_time"] + 100
    assert again["sid"] == first["sid"]


def test_max_age_asks_once_the_sign_in_is_older(shop: Party, clock: Clock) -> None:
    first = shop.sign_in()["claims"]
    clock.now += 59
    assert answer_of(shop.authorize(max_age="60"))["code"]
    clock.now += 1
    assert answer_of(shop.authorize(max_age="60", prompt="none"))["error"] == "login_required"
    assert shop.sign_in(max_age="60")["claims"]["auth_time"] == first["auth_time"] + 60


def test_max_age_zero_always_asks_and_does_not_loop(shop: Party) -> None:
    shop.sign_in()
    assert shop.authorize(max_age="0").status_code == 200
    assert shop.sign_in(max_age="0")["claims"]


def test_login_hint_fills_in_the_name_and_another_person_is_asked(shop: Party) -> None:
    assert Page(shop.authorize(login_hint="gus").text).fields["username"] == "gus"
    shop.sign_in("mia")
    assert answer_of(shop.authorize(login_hint="mia@contoso.example"))["code"]
    assert Page(shop.authorize(login_hint="gus").text).fields["username"] == "gus"
    assert answer_of(shop.authorize(login_hint="gus", prompt="none"))["error"] == "login_required"


def test_an_id_token_hint_of_somebody_else_is_login_required(shop: Party, browser: Browser) -> None:
    mia = shop.sign_in("mia")["id_token"]
    assert answer_of(shop.authorize(prompt="none", id_token_hint=mia))["code"]
    shop.sign_in("gus", prompt="login")
    assert answer_of(shop.authorize(prompt="none", id_token_hint=mia))["error"] == "login_required"
    assert answer_of(shop.authorize(prompt="none", id_token_hint="x.y.z"))["error"] == "invalid_request"


def test_the_session_ends_after_24_hours(shop: Party, clock: Clock) -> None:
    shop.sign_in()
    clock.now += 24 * 3600 - 1
    assert answer_of(shop.authorize(prompt="none"))["code"]
    clock.now += 1
    assert answer_of(shop.authorize(prompt="none"))["error"] == "login_required"


def test_integrated_authentication_needs_no_password_and_a_hint_makes_it_silent(shop: Party, browser: Browser) -> None:
    response = browser.submit(shop.authorize(), pick="iwa", username="", password="")
    assert answer_of(response)["code"]
    with Browser(browser.idp) as fresh:
        claims = Party(shop.app, fresh).sign_in(login_hint="iwa", prompt="none")["claims"]
    assert claims["amr"] == ["wia"]


# Consent --------------------------------------------------------------------------------------------------------


def test_consent_is_asked_once_and_remembered(vault: Party, browser: Browser) -> None:
    page = browser.submit(vault.authorize(), username="mia", password="mia-password")
    assert asks_consent(page)
    assert "See your email address" in page.text
    assert answer_of(browser.submit(page, consent="allow"))["code"]
    assert answer_of(vault.authorize())["code"]
    more = vault.authorize(scope="openid profile email offline_access")
    assert "Keep this access while you are away" in more.text


def test_a_denied_consent_is_told_and_not_remembered(vault: Party, browser: Browser) -> None:
    page = browser.submit(vault.authorize(), username="mia", password="mia-password")
    answer = answer_of(browser.submit(page, consent="deny"))
    assert answer["error"] == "access_denied"
    assert answer["state"] == "st/ate + 1"
    assert asks_consent(vault.authorize())


def test_prompt_consent_asks_again(shop: Party, browser: Browser) -> None:
    shop.sign_in()
    page = shop.authorize(prompt="consent")
    assert asks_consent(page)
    assert answer_of(browser.submit(page, consent="allow"))["code"]
    assert asks_consent(shop.authorize(prompt="consent"))


def test_consent_counts_for_the_person_who_saw_the_page(vault: Party, browser: Browser) -> None:
    page = browser.submit(vault.authorize(), username="mia", password="mia-password")
    browser.submit(vault.authorize(prompt="login"), username="gus", password="gus-password")
    assert "page_expired" in browser.submit(page, consent="allow").text


# Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": "nobody"}, "unknown_client"),
        ({"client_id": None}, "unknown_client"),
        ({"redirect_uri": "http://shop.localhost:9001/cb/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://shop.localhost:9001/cb?x"}, "redirect_uri_mismatch"),
        ({"redirect_uri": 'http://evil.example/"><script>'}, "redirect_uri_mismatch"),
        ({"redirect_uri": None}, "redirect_uri_mismatch"),
    ],
)
def test_an_unproven_redirect_uri_gets_a_page_and_no_redirect(
    shop: Party, changes: dict[str, str | None], code: str
) -> None:
    response = shop.authorize(**changes)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert code in response.text
    assert "<script>" not in response.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": 'c"\\ode'}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "create"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1.5"}, "invalid_request"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"request_uri": "https://x.example"}, "request_uri_not_supported"),
    ],
)
def test_other_errors_go_to_the_app(shop: Party, changes: dict[str, str | None], error: str) -> None:
    answer = answer_of(shop.authorize(**changes))
    assert answer["error"] == error
    assert answer["iss"] == ISSUER
    assert "code" not in answer


def test_a_parameter_that_comes_twice_is_refused(shop: Party, browser: Browser) -> None:
    query = httpx.QueryParams(shop.ask())
    response = browser.get(f"{ISSUER}/authorize?{query}&state=other")
    assert response.status_code == 400
    assert "twice" in response.text


def test_unknown_scopes_are_ignored(shop: Party) -> None:
    assert shop.sign_in(scope="openid calendar")["scope"] == "openid"


# Forms ----------------------------------------------------------------------------------------------------------


def test_form_post_delivers_by_a_form_that_works_without_script(shop: Party, browser: Browser) -> None:
    page = browser.submit(shop.authorize(response_mode="form_post"), username="mia", password="mia-password")
    assert page.status_code == 200
    form = Page(page.text)
    assert form.action == "http://shop.localhost:9001/cb"
    assert form.fields.keys() == {"code", "state", "iss"}
    assert form.fields["state"] == "st/ate + 1"
    assert shop.redeem(form.fields["code"]).status_code == 200
    assert "<button" in page.text
    assert page.headers["referrer-policy"] == "origin"
    policy = page.headers["content-security-policy"]
    assert "form-action http://shop.localhost:9001" in policy
    assert re.search(r"script-src 'sha256-[^']+'$", policy)


def test_form_post_delivers_errors_too(shop: Party) -> None:
    form = Page(shop.authorize(response_mode="form_post", prompt="none").text)
    assert form.fields["error"] == "login_required"


def test_a_page_is_worth_nothing_in_another_browser(shop: Party, browser: Browser) -> None:
    page = shop.authorize()
    with Browser(browser.idp) as other:
        answer = other.submit(page, username="mia", password="mia-password")
        assert "page_expired" in answer.text
        assert not other.cookies
    assert answer_of(browser.submit(page, username="mia", password="mia-password"))["code"]


def test_tabs_that_come_first_at_the_same_time_are_all_answered(shop: Party, browser: Browser) -> None:
    pages, kept = [], httpx.Cookies()
    for _ in range(10):
        browser.cookies.clear()  # none of the requests carries what the others' answers will set
        pages.append(shop.authorize())
        kept.update(browser.cookies)
    browser.cookies.update(kept)
    for page in pages:
        assert answer_of(browser.submit(page, username="mia", password="mia-password"))["code"]


def test_a_page_is_good_for_ten_minutes_and_a_second_click(shop: Party, browser: Browser, clock: Clock) -> None:
    page = shop.authorize()
    clock.now += 599
    first = answer_of(browser.submit(page, username="mia", password="mia-password"))
    second = answer_of(browser.submit(page, username="mia", password="mia-password"))
    assert first["code"] != second["code"]
    clock.now += 1
    assert "page_expired" in browser.submit(page, username="mia", password="mia-password").text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8401"])
def test_a_form_from_elsewhere_is_refused(shop: Party, browser: Browser, origin: str) -> None:
    form = Page(shop.authorize().text)
    data = {"ticket": form.fields["ticket"], "username": "mia", "password": "mia-password"}
    answer = browser.post(f"{ISSUER}/sign-in", data=data, headers={"Origin": origin})
    assert answer.status_code == 403
    assert "foreign_origin" in answer.text


def test_two_tabs_can_sign_in_at_the_same_time(shop: Party, blog: Party, browser: Browser) -> None:
    one, two = shop.authorize(), blog.authorize()
    assert answer_of(browser.submit(two, username="mia", password="mia-password"))["code"]
    assert answer_of(browser.submit(one, username="mia", password="mia-password"))["code"]


# Headers and cookies --------------------------------------------------------------------------------------------


def test_pages_have_a_strict_policy_that_fits_them(shop: Party) -> None:
    page = shop.authorize()
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self' http://shop.localhost:9001" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "<script" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_session_cookie_is_for_this_provider_alone(shop: Party, browser: Browser) -> None:
    answer = browser.submit(shop.authorize(), username="mia", password="mia-password")
    (cookie,) = [value for value in answer.headers.get_list("set-cookie") if "session" in value]
    assert cookie.startswith("kmsi-idp-session-8400=")
    rest = cookie.lower().split("; ")[1:]
    assert sorted(rest) == ["httponly", "path=/", "samesite=lax"]


def test_a_sign_in_changes_the_cookie_and_the_old_one_is_dead(shop: Party, browser: Browser) -> None:
    shop.sign_in()
    old = browser.cookies["kmsi-idp-session-8400"]
    shop.sign_in("gus", prompt="login")
    assert browser.cookies["kmsi-idp-session-8400"] != old
    browser.cookies.set("kmsi-idp-session-8400", old, domain="localhost.local", path="/")
    assert browser.cookies["kmsi-idp-session-8400"] == old
    assert answer_of(shop.authorize(prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize("path", ["authorize", "end-session"])
@pytest.mark.parametrize(("method", "headers"), [("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch;prerender"})])
def test_head_and_prefetch_do_nothing(
    shop: Party, browser: Browser, path: str, method: str, headers: dict[str, str]
) -> None:
    shop.sign_in()
    response = browser.request(method, f"{ISSUER}/{path}", params=shop.ask(prompt="none"), headers=headers)
    assert response.status_code == 405
    assert answer_of(shop.authorize(prompt="none"))["code"]

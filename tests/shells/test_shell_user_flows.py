"""``issuer="embedded"`` with user flows: the tenant of Azure AD B2C inside the app, through both shells."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from tests.shells.shell_support import HOME, Answer, Browser, Page, World

FLOWS: dict[str, Any] = {
    "B2C_1A_signup_signin": {"kind": "sign_up_and_sign_in", "keep_me_signed_in_days": 30, "single_sign_out": True},
    "B2C_1_profile": {"kind": "profile_editing"},
    "B2C_1_reset": {"kind": "password_reset"},
}


def link(page: Answer, part: str) -> str:
    (found,) = [url for url in Page(page.text).links if part in url]
    return urljoin(page.url, found)


def me(browser: Browser) -> dict[str, Any]:
    found: dict[str, Any] = browser.fetch("/.auth/me").json()["session"]
    return found


def test_people_sign_in_by_the_flow_without_a_tenant(world: World) -> None:
    world.app(user_flows=FLOWS)
    browser = world.browser()
    page = browser.visit("/")
    assert urlsplit(page.url).path == "/.auth/idp/embedded.onmicrosoft.com/b2c_1a_signup_signin/oauth2/v2.0/authorize"
    assert "Keep me signed in" not in page.text  # the app asks itself
    page = browser.submit(browser.submit(page, pick="mia"), answer="yes")
    assert page.status == 200
    assert me(browser)["expiry"] == "rolling"


def test_where_the_provider_asks_the_app_does_not(world: World) -> None:
    world.app(user_flows=FLOWS, kmsi_asked_by="idp")
    browser = world.browser()
    page = browser.visit("/")
    assert "Keep me signed in for 30 days" in page.text
    assert browser.submit(page, pick="mia", keep_me_signed_in="yes").status == 200
    browser.close()
    assert browser.visit("/").trail  # through the provider, which asks nobody
    assert me(browser)["persistent"] is False


def test_other_flows_are_gone_through_by_name(world: World) -> None:
    world.app(user_flows=FLOWS)
    browser = world.browser()
    browser.sign_in()
    page = browser.visit("/.auth/login?user_flow=B2C_1_profile&post_login_redirect_uri=/x")
    assert "Your profile" in page.text
    assert urlsplit(browser.submit(page).url).path == "/x"


def test_forgetting_the_password_leads_by_the_reset_to_the_page(world: World) -> None:
    world.app(user_flows=FLOWS, kmsi_asked_by="idp")
    browser = world.browser()
    page = browser.visit("/orders")
    page = browser.click(link(page, "by=forgot_password"), page)
    assert "Choose a new password" in page.text
    page = browser.submit(page, username="mia", password="another")
    assert urlsplit(page.url).path == "/orders"


def test_a_sign_out_is_told_to_nobody_else_and_comes_back(world: World) -> None:
    world.app(user_flows=FLOWS)
    browser = world.browser()
    browser.sign_in()
    page = browser.sign_out()
    assert urlsplit(page.url).path == "/.auth/logged-out"
    assert "pick" in Page(browser.visit("/").text).buttons


def test_an_app_below_a_path_has_its_tenant_there(world: World) -> None:
    world.app(server={"root": "/shop"}, user_flows=FLOWS)
    browser = world.browser()
    page = browser.visit(f"{HOME}/shop/")
    assert urlsplit(page.url).path.startswith("/shop/.auth/idp/embedded.onmicrosoft.com/")
    asked = dict(parse_qsl(urlsplit(page.url).query))
    assert asked["redirect_uri"] == f"{HOME}/shop/.auth/callback"
    assert browser.submit(browser.submit(page, pick="mia"), answer="no").status == 200


def test_without_https_there_is_no_cookie_for_the_front_channel(world: World) -> None:
    world.app(user_flows=FLOWS, front_channel_logout_cookie=True)
    browser = world.browser()
    browser.sign_in()
    assert [cookie.name for cookie in browser.jar.values() if cookie.name.startswith("kmsi-8000")] == ["kmsi-8000"]

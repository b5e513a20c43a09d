"""``examples/b2c``, over real HTTP: three apps and two providers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from examples.fake_browser import Browser, Page
from tests.b2c.b2c_running import Running

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("b2c")) as running:
        yield running


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def open_page(browser: Browser, url: str) -> httpx.Response:
    """Also where a page of the tenant's goes on by itself."""
    page = browser.visit(url)
    return browser.visit(Page(page).refresh) if "One moment" in page.text else page


def is_in(page: httpx.Response, app: str) -> bool:
    return page.status_code == 200 and f"<h1>{app}</h1>" in page.text and "Signed in" in page.text


def everywhere(running: Running, browser: Browser, first: httpx.Response) -> None:
    """Goes on from the first app to the others: nobody asks."""
    urls = running.places.apps
    assert is_in(first, "Groceries")
    for name in ("Pharmacy", "Bakery"):
        assert is_in(open_page(browser, f"{urls[name]}/"), name)


def me(browser: Browser, url: str) -> httpx.Response:
    return browser.http.get(f"{url}/.auth/me", headers={"accept": "application/json"})


def test_one_sign_in_and_one_sign_out_for_three_apps(running: Running, browser: Browser) -> None:
    """The example's policy: scope Tenant, single sign-out, an ID token at sign-out. B2C's tokens have no ``sid``, and
    no cookie comes along: the other apps are told, and cannot tell whom it is about."""
    urls = running.places.apps
    everywhere(running, browser, browser.sign_in(f"{urls['Groceries']}/"))
    page = browser.visit(f"{urls['Groceries']}/.auth/logout", method="POST", came_from=f"{urls['Groceries']}/")
    form = Page(page)
    assert str(page.url).startswith(running.places.tenant)
    assert form.frames == [f"{urls[name]}/.auth/frontchannel-logout" for name in ("Bakery", "Pharmacy")]
    assert [browser.frame(frame).status_code for frame in form.frames] == [200, 200]
    assert form.refresh.startswith(f"{urls['Groceries']}/.auth/logged-out?state=")
    assert "You are signed out" in browser.visit(form.refresh).text
    assert me(browser, urls["Groceries"]).status_code == 401
    assert "Sign in or sign up" in browser.visit(f"{urls['Groceries']}/").text


def test_the_sign_out_goes_by_the_federated_provider_first(running: Running, browser: Browser) -> None:
    urls = running.places.apps
    page = browser.visit(f"{urls['Groceries']}/")
    (link,) = [part.split('"')[0] for part in page.text.split('href="') if "/federated?" in part.split('"')[0]]
    page = browser.visit(str(page.url.join(link.replace("&amp;", "&"))))
    assert str(page.url).startswith(running.places.employees)
    page = browser.submit(page, pick="erin")
    everywhere(running, browser, browser.visit(Page(page).refresh))
    page = browser.visit(f"{urls['Bakery']}/.auth/logout", method="POST", came_from=f"{urls['Bakery']}/")
    there = browser.visit(Page(page).refresh)
    assert "Sign out?" in there.text
    assert str(there.url).startswith(f"{running.places.employees}/end-session")
    told = browser.submit(there, sign_out="yes")
    assert Page(told).frames == [f"{urls[name]}/.auth/frontchannel-logout" for name in ("Groceries", "Pharmacy")]
    assert Page(told).refresh.startswith(f"{urls['Bakery']}/.auth/logged-out?state=")


def test_no_cookie_is_shared_between_apps(running: Running, browser: Browser) -> None:
    urls = running.places.apps
    everywhere(running, browser, browser.sign_in(f"{urls['Groceries']}/"))
    jar = list(browser.http.cookies.jar)
    assert not [cookie for cookie in jar if cookie.domain_specified]
    for name in ("groceries", "pharmacy", "bakery"):
        assert [cookie for cookie in jar if cookie.domain == f"{name}.localhost"]


def test_forgetting_and_cancelling_lead_back(running: Running, browser: Browser) -> None:
    home = f"{running.places.apps['Groceries']}/"
    page = browser.visit(home)
    (forgot,) = [part.split('"')[0] for part in page.text.split('href="') if "forgot_password" in part.split('"')[0]]
    page = browser.visit(str(page.url.join(forgot.replace("&amp;", "&"))))
    assert "Choose a new password" in page.text
    page = browser.submit(page, username="carl", password="another")
    assert is_in(page, "Groceries")
    page = browser.visit(f"{home}.auth/login?user_flow=B2C_1_profile&post_login_redirect_uri=/")
    assert "Your profile" in page.text
    (cancel,) = [part.split('"')[0] for part in page.text.split('href="') if "by=cancel" in part.split('"')[0]]
    assert is_in(browser.visit(str(page.url.join(cancel.replace("&amp;", "&")))), "Groceries")

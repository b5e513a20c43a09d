"""``examples/b2c``, over real HTTP: three apps and two providers."""

from __future__ import annotations

import asyncio
import runpy
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from examples.fake_browser import Browser, Page

pytestmark = pytest.mark.servers
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "b2c"


class Running:
    """The example in a thread of its own, on free ports. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.example: dict[str, Any] = runpy.run_path(str(EXAMPLE / "run.py"))
        ports = free_ports(5)
        self.places = self.example["Places"](ports[0], ports[1], tuple(ports[2:]))
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        async with self.example["serving"](self.places, self._folder):
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(30)
        for port in (self.places.tenant_port, self.places.employees_port, *self.places.app_ports):
            while not answers(port):
                self._thread.join(0.02)
                assert self._thread.is_alive()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


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

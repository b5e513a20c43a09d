"""A browser that is sent to ask whether its session still stands, and one whose app asks by itself."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from examples.demo_servers import Demo
from tests.browser.browser import Browser, nothing_went_wrong
from tests.browser.demos import on_free_ports, pass_time
from tests.browser.kinds import played_in

EVERY = 300


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, whose apps ask every five minutes: the notebook by the browser, the tea counter by refresh token."""
    with on_free_ports(tmp_path_factory.mktemp("asking")) as demo:
        for app in (demo.starlette, demo.flask):
            app.environment["KMSI_REVALIDATE_EVERY"] = str(EVERY)
        demo.flask.environment["KMSI_SCOPE"] = "openid profile email offline_access"
        demo.start()
        yield demo


def at_provider(demo: Demo, event: str) -> None:
    form, here = {"user": "mia", "event": event}, {"origin": demo.issuer, "sec-fetch-site": "same-origin"}
    assert httpx.post(f"{demo.issuer}/users", data=form, headers=here).status_code == 303


def asked(browser: Browser, demo: Demo) -> list[str]:
    """What the browser asked at the provider's authorization endpoint."""
    return [fetched.url for fetched in browser.fetched if fetched.url.startswith(f"{demo.issuer}/authorize")]


@played_in("chromium-blocked")
def test_a_session_that_stands_goes_on_and_one_that_does_not_ends(browser: Browser, asking: Demo) -> None:
    demo = asking
    notebook, tea = f"{demo.starlette_url}/", f"{demo.flask_url}/"
    browser.sign_in(notebook, "Notebook")
    browser.write("#note", "Buy milk")
    browser.press("Keep it")
    browser.is_at(notebook, "Notebook")
    browser.open(tea)
    browser.sees("Stay signed in?")
    browser.press("Yes")
    browser.is_at(tea, "Tea counter")
    held = browser.cookies()

    pass_time(browser, demo, EVERY)
    before = len(asked(browser, demo))
    browser.open(notebook)
    browser.is_at(notebook, "Notebook")
    (silent,) = asked(browser, demo)[before:]
    assert "prompt=none" in silent
    assert browser.value_of("#note") == "Buy milk"
    browser.open(tea)
    browser.is_at(tea, "Tea counter")
    assert len(asked(browser, demo)) == before + 1  # this one's app has asked by itself
    for port in (demo.starlette.port, demo.flask.port):
        assert browser.cookies()[f"kmsi-{port}"].value == held[f"kmsi-{port}"].value

    at_provider(demo, "disable")
    browser.open(notebook)
    browser.is_at(notebook, "Notebook")
    pass_time(browser, demo, EVERY)
    browser.open(tea)
    browser.sees("Your session was ended")
    browser.open(notebook)
    browser.sees("Sign in")
    assert browser.url.startswith(demo.issuer)
    browser.open(notebook)
    browser.sees("Your session was ended")
    at_provider(demo, "enable")
    nothing_went_wrong(browser, demo.issuer)

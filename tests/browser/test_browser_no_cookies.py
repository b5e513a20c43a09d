"""A browser that keeps no cookies is told so, and goes round in no circle."""

from __future__ import annotations

from collections.abc import Callable

from examples.demo_servers import Demo
from tests.browser.browser import Browser, nothing_went_wrong
from tests.browser.kinds import played_in

Install = Callable[..., Browser]
BLOCKED = 2


@played_in("chromium-blocked")  # Firefox keeps such a rule among its permissions, in a database
def test_where_the_app_may_keep_none(install: Install, demo: Demo, notebook: str) -> None:
    rule = {f"{demo.starlette_url},*": {"setting": BLOCKED}}
    browser = install(preferences={"profile.content_settings.exceptions.cookies": rule})
    browser.open(notebook)
    browser.pick("mia")
    browser.sees("Your browser did not keep our cookie")
    assert "no_cookies" in browser.text
    assert len(browser.fetched) == 4  # the page, the provider, its form, the way back
    browser.press("Try again")  # the provider knows her by now
    browser.sees("Your browser did not keep our cookie")
    assert len(browser.fetched) == 7
    nothing_went_wrong(browser, demo.issuer)


@played_in("chromium-none", "firefox-none")
def test_where_nobody_may_keep_any(browser: Browser, notebook: str) -> None:
    """Then it is the provider that needs one first."""
    browser.open(notebook)
    browser.pick("mia")
    browser.sees("Your browser did not keep our cookie")
    assert len(browser.fetched) == 3

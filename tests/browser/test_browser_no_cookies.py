"""A browser that keeps no cookies is told so, and goes round in no circle."""

from __future__ import annotations

from collections.abc import Callable

from examples.demo_servers import Demo
from tests.browser.chromium import NO_THIRD_PARTY_COOKIES, Chromium, nothing_went_wrong

Install = Callable[..., Chromium]
BLOCKED = 2


def test_where_the_app_may_keep_none(install: Install, demo: Demo, notebook: str) -> None:
    rule = {f"{demo.starlette_url},*": {"setting": BLOCKED}}
    preferences = {**NO_THIRD_PARTY_COOKIES, "profile.content_settings.exceptions.cookies": rule}
    browser = install(preferences=preferences)
    browser.open(notebook)
    browser.pick("mia")
    browser.sees("Your browser did not keep our cookie")
    assert "no_cookies" in browser.text
    assert len(browser.fetched) == 4  # the page, the provider, its form, the way back
    browser.press("Try again")  # the provider knows her by now
    browser.sees("Your browser did not keep our cookie")
    assert len(browser.fetched) == 7
    nothing_went_wrong(browser, demo.issuer)


def test_where_nobody_may_keep_any(install: Install, demo: Demo, notebook: str) -> None:
    """Then it is the provider that needs one first."""
    browser = install(preferences={"profile.default_content_setting_values.cookies": BLOCKED})
    browser.open(notebook)
    browser.pick("mia")
    browser.sees("Your browser did not keep our cookie")
    assert len(browser.fetched) == 3
    nothing_went_wrong(browser, demo.issuer)

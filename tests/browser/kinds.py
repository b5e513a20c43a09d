"""Which browsers the scenarios are played in, each as it treats third-party cookies.

Unless a test says otherwise it is played in both, as they stand between an app and a provider of another site in most
places: chromium told to block third-party cookies, as Safari does and Chrome's Incognito, and Firefox as it is shipped.
What no browser does in a way of its own is played in chromium alone.
"""

from __future__ import annotations

import pytest
from tests.browser.browser import Browser
from tests.browser.chromium import Chromium
from tests.browser.firefox import Firefox

KINDS: dict[str, type[Browser]] = {"chromium": Chromium, "firefox": Firefox}
USUAL = ("chromium-blocked", "firefox-partitioned")
EVERY = ("chromium-blocked", "chromium-allowed", "firefox-partitioned", "firefox-blocked", "firefox-allowed")


def kind_of(installed: str) -> tuple[type[Browser], str]:
    """The browser, and what it does with third-party cookies."""
    name, _, third_party = installed.partition("-")
    return KINDS[name], third_party


def played_in(*installed: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("installed", installed, indirect=True)

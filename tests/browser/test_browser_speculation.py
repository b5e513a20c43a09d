"""What a browser fetches before anybody asked for it starts no sign-in, and the page is there when asked for."""

from __future__ import annotations

import pytest
from tests.browser.browser import Browser
from tests.browser.kinds import played_in

PREFETCH = """
const link = document.createElement("link"); link.rel = "prefetch"; link.href = arguments[0]; document.head.append(link)
"""
SPECULATE = """
const rules = document.createElement("script"); rules.type = "speculationrules";
rules.textContent = JSON.stringify({ [arguments[1]]: [{ urls: [arguments[0]], eagerness: "immediate" }] });
document.head.append(rules)
"""


@played_in("chromium-blocked")  # Firefox has no speculation rules, and prefetches for pages of the same site only
@pytest.mark.parametrize("way", ["link", "prefetch", "prerender"])
def test_a_speculative_fetch_starts_no_sign_in(browser: Browser, notebook: str, way: str) -> None:
    target = f"{notebook}?page={way}"
    browser.open(f"{notebook}about")
    browser.sees("Public page")
    browser.js(PREFETCH if way == "link" else SPECULATE, target, way)
    browser.wait("The fetch", lambda: any(f.url == target and f.status for f in browser.fetched))
    (fetched,) = [fetched for fetched in browser.fetched if fetched.url == target]
    (sent,) = [sent for sent in browser.sent_to("/", 1) if sent.url == target]
    assert "prefetch" in sent.headers["sec-purpose"]
    assert (fetched.status, fetched.headers.get("set-cookie")) == (401, None)
    assert browser.cookies() == {}
    browser.open(target)
    browser.pick("mia")
    browser.sees("Stay signed in?")
    browser.press("No")
    browser.is_at(target, "Notebook")
    browser.fetched.remove(fetched)  # it was this test's page that asked for it

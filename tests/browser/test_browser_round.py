"""The demo's whole round, with third-party cookies blocked, and the cookie that a session is known by."""

from __future__ import annotations

from examples.demo_servers import Demo
from tests.browser.browser import Browser
from tests.browser.kinds import played_in

KEPT, NOT_KEPT = "kept when the browser closes", "ends when the browser closes"


@played_in("chromium-blocked")  # what differs by the browser has tests of its own
def test_the_whole_round(browser: Browser, demo: Demo, notebook: str, tea: str) -> None:
    browser.sign_in(notebook, "Notebook")
    assert KEPT in browser.text
    browser.write("#note", "Buy milk")
    browser.press("Keep it")
    browser.is_at(notebook, "Notebook")

    browser.press("The other app")
    browser.sees("Stay signed in?")  # no password, but its own question
    browser.press("No")
    browser.is_at(tea, "Tea counter")
    assert NOT_KEPT in browser.text
    browser.press("One more cup")
    browser.is_at(tea, "Tea counter")

    demo.restart()
    browser.open(notebook)
    browser.is_at(notebook, "Notebook")
    assert browser.value_of("#note") == "Buy milk"
    browser.open(tea)
    browser.is_at(tea, "Tea counter")
    assert "Cups of tea in this session: 1" in browser.text

    held = browser.cookies()
    browser.open(notebook)
    browser.sign_out(notebook, patiently=True)
    assert f"kmsi-{demo.starlette.port}" not in browser.cookies()
    # Third-party frames can't delete it: the session behind it is what ended.
    assert browser.cookies()[f"kmsi-{demo.flask.port}"].value == held[f"kmsi-{demo.flask.port}"].value
    frames = [fetched for fetched in browser.fetched if fetched.path == "/.auth/frontchannel-logout"]
    assert sorted(frame.url.partition(".auth")[0] for frame in frames) == sorted([notebook, tea])
    for frame in frames:
        assert frame.status == 200
    for sent in browser.sent_to("/.auth/frontchannel-logout", 2):
        assert (sent.headers["sec-fetch-dest"], sent.headers["sec-fetch-site"]) == ("iframe", "cross-site")
        assert "cookie" not in sent.headers
    browser.open(f"{tea}.auth/me")
    browser.wait("The reason", lambda: '"signed_out"' in browser.text)
    browser.open(tea)
    browser.sees("You are signed out")
    assert "You signed out of another app" in browser.text
    browser.reload()
    browser.sees("You are signed out")
    browser.press("Sign in")
    browser.sees("Sign in")
    browser.open(notebook)
    browser.sees("Sign in")


def test_cookies_are_what_they_should_be(browser: Browser, demo: Demo, notebook: str) -> None:
    browser.sign_in(notebook, "Notebook", answer="Yes")
    name = f"kmsi-{demo.starlette.port}"
    ours = [cookie for cookie in browser.cookies().values() if cookie.name.startswith(name)]
    assert [cookie.name for cookie in ours] == [name]  # nothing is left of the sign-in
    assert (ours[0].http_only, ours[0].same_site, ours[0].path) == (True, "Lax", "/")
    assert browser.js("return document.cookie") == ""
    seen = len(browser.fetched)
    browser.reload()
    browser.is_at(notebook, "Notebook")
    assert [fetched.headers.get("set-cookie") for fetched in browser.fetched[seen:]] == [None]

"""The demo's whole round, and what a browser keeps: with third-party cookies blocked, as by default in most."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from examples.demo_servers import Demo
from tests.browser.chromium import Chromium

Install = Callable[..., Chromium]
KEPT, NOT_KEPT = "kept when the browser closes", "ends when the browser closes"
ALLOWED = {"profile.cookie_controls_mode": 0, "profile.block_third_party_cookies": False}


def test_the_whole_round(browser: Chromium, demo: Demo, notebook: str, tea: str) -> None:
    browser.sign_in(notebook, "Notebook")
    assert KEPT in browser.text
    browser.element("#note").send_keys("Buy milk")
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
    assert browser.js("return document.querySelector('#note').value") == "Buy milk"
    browser.open(tea)
    browser.is_at(tea, "Tea counter")
    assert "Cups of tea in this session: 1" in browser.text

    held = browser.cookies()
    browser.open(notebook)
    browser.sign_out(notebook, patiently=True)
    assert f"kmsi-{demo.starlette.port}" not in browser.cookies()
    # Third-party frames can't delete it: the session behind it is what ended.
    assert browser.cookies()[f"kmsi-{demo.flask.port}"]["value"] == held[f"kmsi-{demo.flask.port}"]["value"]
    frames = [fetched for fetched in browser.fetched if fetched.path == "/.auth/frontchannel-logout"]
    assert sorted(frame.url.partition(".auth")[0] for frame in frames) == sorted([notebook, tea])
    for frame in frames:
        assert frame.status == 200
        assert frame.sent["sec-fetch-dest"] == "iframe"
        assert frame.sent["sec-fetch-site"] == "cross-site"
        assert "cookie" not in frame.sent
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


def test_a_persistent_cookie_survives_the_browser_and_another_does_not(
    install: Install, demo: Demo, notebook: str, tea: str
) -> None:
    first = install()
    first.sign_in(notebook, "Notebook", answer="Yes")
    first.open(tea)
    first.sees("Stay signed in?")
    first.press("No")
    first.is_at(tea, "Tea counter")
    cookies = first.cookies()
    assert not cookies[f"kmsi-{demo.starlette.port}"]["session"]
    assert cookies[f"kmsi-{demo.flask.port}"]["session"]
    first.driver.quit()

    again = install()
    assert set(again.cookies()) == {f"kmsi-{demo.starlette.port}"}
    again.open(notebook)
    again.is_at(notebook, "Notebook")
    assert KEPT in again.text
    again.open(tea)
    again.sees("Sign in")


def test_cookies_are_what_they_should_be(browser: Chromium, demo: Demo, notebook: str) -> None:
    browser.sign_in(notebook, "Notebook", answer="Yes")
    name = f"kmsi-{demo.starlette.port}"
    ours = [cookie for cookie in browser.cookies().values() if cookie["name"].startswith(name)]
    assert [cookie["name"] for cookie in ours] == [name]  # nothing is left of the sign-in
    assert (ours[0]["httpOnly"], ours[0]["sameSite"], ours[0]["path"]) == (True, "Lax", "/")
    assert browser.js("return document.cookie") == ""
    seen = len(browser.fetched)
    browser.reload()
    browser.is_at(notebook, "Notebook")
    assert [fetched.headers.get("set-cookie") for fetched in browser.fetched[seen:]] == [None]


# That third-party cookies really are blocked


@contextmanager
def two_sites() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A page with a frame of another site, whose cookie is meant for that: SameSite=None (and Secure, which browsers
    accept of loopback). What comes in is listed: path, and Cookie header."""
    seen: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Cookie", "")))
            port = self.server.server_address[1]
            frame = f"<iframe src='http://localhost:{port}/frame'></iframe>" if self.path == "/top" else ""
            body = f"<!doctype html><link rel=icon href='data:,'><h1>{self.path}</h1>{frame}".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            if self.path == "/first-party":
                self.send_header("Set-Cookie", "foreign=1; SameSite=None; Secure")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield str(server.server_address[1]), seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("blocked", [True, False])
def test_third_party_cookies_are_blocked(install: Install, blocked: bool) -> None:
    """The proof that the tests' browser blocks them: the same cookie gets through where the browser is told to."""
    with two_sites() as (port, seen):
        browser = install() if blocked else install(preferences=ALLOWED)
        browser.open(f"http://localhost:{port}/first-party")
        browser.sees("/first-party")
        browser.open(f"http://127.0.0.1:{port}/top")
        browser.wait("The frame", lambda: any(path == "/frame" for path, _ in seen))
        browser.open(f"http://localhost:{port}/again")
        browser.sees("/again")
        browser.driver.quit()
    cookies = dict(seen)
    assert cookies["/again"] == "foreign=1"
    assert cookies["/frame"] == ("" if blocked else "foreign=1")

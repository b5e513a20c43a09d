"""What an app's frame in the provider's page can do, by what the browser does with third-party cookies.

Provider and apps are of three sites. That a frame gets no cookie, and that the session ends all the same, is the
point of the front-channel logout here: the issuer's ``sid`` finds the session.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from examples.demo_servers import Demo
from tests.browser.browser import Browser
from tests.browser.kinds import EVERY, played_in

pytestmark = played_in(*EVERY)


def test_front_channel_logout_from_a_cross_site_frame(
    browser: Browser, installed: str, demo: Demo, notebook: str, tea: str
) -> None:
    """The session's cookie is SameSite=Lax, so no browser sends it into the frame, and none lets the frame take it
    away, whatever it does with third-party cookies. The session behind it is what ends."""
    browser.sign_in(tea, "Tea counter")
    first = browser.tab
    browser.open(f"{notebook}about")  # another site, while the browser may keep the page that was left
    browser.sees("Public page")
    browser.new_tab()
    browser.open(notebook)
    browser.sees("Stay signed in?")
    browser.press("No")
    browser.is_at(notebook, "Notebook")
    held = browser.cookies()[f"kmsi-{demo.flask.port}"]
    browser.sign_out(notebook)
    frames = browser.sent_to("/.auth/frontchannel-logout", 2)
    assert sorted(frame.url.partition(".auth")[0] for frame in frames) == sorted([notebook, tea])
    for frame in frames:
        assert (frame.headers["sec-fetch-dest"], frame.headers["sec-fetch-site"]) == ("iframe", "cross-site")
        assert "cookie" not in frame.headers
    answers = [fetched.status for fetched in browser.fetched if fetched.path == "/.auth/frontchannel-logout"]
    assert answers == [200, 200]
    assert browser.cookies()[f"kmsi-{demo.flask.port}"] == held
    browser.go_to(first)
    browser.back()
    if installed.startswith("chromium"):
        # It shows the page as it was left, although that is no-store, and no frame of another site can make it forget.
        # Whatever the page asks for is refused.
        browser.is_at(tea, "Tea counter")
        browser.press("One more cup")
    browser.sees("You are signed out")
    assert "You signed out of another app" in browser.text


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


def test_third_party_cookies_are_blocked_or_allowed(bare_browser: Browser, installed: str) -> None:
    """The proof that the tests' browsers do what they are told: the same cookie gets through where it may."""
    browser = bare_browser
    with two_sites() as (port, seen):
        browser.open(f"http://localhost:{port}/first-party")
        browser.sees("/first-party")
        browser.open(f"http://127.0.0.1:{port}/top")
        browser.wait("The frame", lambda: any(path == "/frame" for path, _ in seen))
        browser.open(f"http://localhost:{port}/again")
        browser.sees("/again")
        browser.navigate("about:blank")  # and with it go the connections that the server waits for
        browser.wait("An empty page", lambda: browser.url == "about:blank")
    cookies = dict(seen)
    assert cookies["/again"] == "foreign=1"
    assert cookies["/frame"] == ("foreign=1" if installed.endswith("-allowed") else "")

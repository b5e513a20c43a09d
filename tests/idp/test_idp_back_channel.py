"""Logout tokens over real HTTP: from an app's only worker to itself, where the provider lives in it, and elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from examples.fake_browser import Browser
from tests.idp import idp_support
from tests.idp.idp_support import ISSUER, SHOP, Clock, Party
from tests.servers.server_programs import Site, running

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig

pytestmark = pytest.mark.servers

ONE_WORKER = {
    "uvicorn": ("uvicorn", ()),
    "gunicorn-asgi": ("gunicorn-asgi-2", ("-w", "1")),
    "gunicorn-sync": ("gunicorn-sync-2", ("-w", "1")),
    "gunicorn-sync-preload": ("gunicorn-sync-2-preload", ("-w", "1")),
}


@pytest.fixture(scope="module", params=ONE_WORKER)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    program, more = ONE_WORKER[request.param]
    with running(program, tmp_path_factory.mktemp(request.param), more) as served:
        yield served


def is_signed_out(site: Site, browser: Browser) -> bool:
    """Soon: the provider tells the app after it has answered."""
    for _ in range(100):
        if site.fetch(browser, "/.auth/me").status_code == 401:
            return True
        time.sleep(0.05)
    return False


def test_a_sign_out_at_the_provider_reaches_the_app_although_no_frame_was_loaded(site: Site) -> None:
    with site.signed_in() as browser:
        page = browser.visit(f"{site.url}/.auth/idp/end-session")
        assert "You are signed out" in browser.submit(page, sign_out="yes").text
        assert is_signed_out(site, browser)


def test_signed_out_by_somebody_else_the_app_ends_the_sessions_of_every_browser(site: Site) -> None:
    with site.signed_in() as browser, site.signed_in() as other, site.browser() as elsewhere:
        data = {"user": "mia", "event": "sign_out"}
        elsewhere.http.post(f"{site.url}/.auth/idp/users", data=data, headers={"origin": site.url})
        assert is_signed_out(site, browser)
        assert is_signed_out(site, other)


def test_a_host_below_localhost_is_this_machine(tmp_path: Path, config: IdPConfig, clock: Clock) -> None:
    """RFC 6761, 6.3: whatever the resolver says."""
    told: SimpleQueue[tuple[str, str]] = SimpleQueue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.put((f"{self.headers['Host']}{self.path}", body.partition("=")[0]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"shop.localhost:{server.server_port}"
        app = replace(SHOP, backchannel_logout_uri=f"http://{host}/bc?of=shop")
        idp = EmbeddedIdP(config.with_app(app), folder=tmp_path, issuer=ISSUER, clock=clock)
        with idp_support.Browser(idp) as browser:
            hint = Party(app, browser).sign_in()["id_token"]
            browser.visit(f"{ISSUER}/end-session", {"id_token_hint": hint})
            assert told.get(timeout=10) == (f"{host}/bc?of=shop", "logout_token")
        server.shutdown()
    idp.close()

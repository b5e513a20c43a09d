"""Long-lived connections under real servers, and sessions that end in another process: this one.

The app runs in the server's processes; the store's file is opened here as well, and the session ended in it.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from examples.fake_browser import Browser
from server_programs import Site, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.rules.seals import key_of

pytestmark = pytest.mark.servers

ASGI = (
    "uvicorn",
    "uvicorn-wsproto",
    "uvicorn-sansio",
    "gunicorn-asgi-2",
    "hypercorn",
    "hypercorn-trio",
    "granian-asgi",
)
LISTENED_UNDER = [name for name in ASGI if name != "gunicorn-asgi-2"]
"""Where Starlette listens for the client to go away: from ASGI 2.4 on, it learns of that when it sends."""
WSGI = ("gunicorn-sync-2", "gunicorn-threads", "waitress")
PATIENCE = 20


@dataclass
class Served:
    """An app that is served, and its store as this process has it."""

    site: Site
    folder: Path

    @property
    def name(self) -> str:
        return self.site.server.name

    def key(self, browser: Browser) -> bytes:
        return key_of(browser.http.cookies[f"kmsi-{self.site.server.port}"])

    def end(self, browser: Browser, reason: Any = "revoked") -> None:
        store = open_store(f"sqlite:{self.folder / 'sessions.sqlite3'}")
        try:
            assert store.end(self.key(browser), reason, time.time())
        finally:
            store.close()

    def chat(self, browser: Browser) -> connect:
        cookie = f"kmsi-{self.site.server.port}"
        headers = {"Cookie": f"{cookie}={browser.http.cookies[cookie]}", "Origin": self.site.url}
        return connect(f"ws{self.site.url.removeprefix('http')}/chat", additional_headers=headers)

    @property
    def log(self) -> str:
        return self.site.server.log.read_text()


@pytest.fixture(scope="module", params=ASGI)
def asgi(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder) as site:
        yield Served(site, folder)


@pytest.fixture(scope="module", params=WSGI)
def wsgi(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder) as site:
        yield Served(site, folder)


def close_of(socket: ClientConnection) -> tuple[int, str]:
    """What the server closes a WebSocket with."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=PATIENCE)
    received = closed.value.rcvd
    assert received is not None
    return received.code, received.reason


def says_hello(socket: ClientConnection) -> None:
    socket.send("hello")
    assert socket.recv(timeout=PATIENCE) == "HELLO"


def aborted(response: httpx.Response, once_begun: Callable[[], None]) -> None:
    """Reads a response that must break off."""
    chunks = response.iter_raw()
    assert next(chunks).startswith(b"tick")
    once_begun()
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        for _ in chunks:
            pass


# WebSockets ----------------------------------------------------------------------------------------------------


def test_a_websocket_is_closed_with_the_reason(asgi: Served) -> None:
    with asgi.site.signed_in() as browser, asgi.chat(browser) as socket:
        says_hello(socket)
        asgi.end(browser)
        assert close_of(socket) == (4445, "revoked")
        with pytest.raises(InvalidStatus) as refused, asgi.chat(browser):
            pass
        assert refused.value.response.status_code in (401, 403)
    assert "chat: over" in asgi.log  # the app saw the end of it
    assert "Traceback" not in asgi.log


def test_a_sign_out_in_the_browser_closes_all_in_whatever_process_they_are(asgi: Served) -> None:
    with asgi.site.signed_in() as browser, ExitStack() as stack:
        sockets = [stack.enter_context(asgi.chat(browser)) for _ in range(8)]
        asgi.site.sign_out(browser)
        assert [close_of(socket) for socket in sockets] == [(4442, "signed_out")] * 8


def test_the_command_line_closes_it(tmp_path: Path) -> None:
    with running("uvicorn", tmp_path) as site, site.signed_in() as browser:
        served = Served(site, tmp_path)
        with served.chat(browser) as socket:
            says_hello(socket)
            store = f"sqlite:{tmp_path / 'sessions.sqlite3'}"
            command = [sys.executable, "-m", "kmsi_middleware.cli", "sessions", "revoke"]
            subprocess.run(
                [*command, "--store", store, served.key(browser).hex()], check=True, capture_output=True, timeout=60
            )
            assert close_of(socket) == (4445, "revoked")


def test_a_store_that_fails_in_between_leaves_it_open(tmp_path: Path) -> None:
    with running("uvicorn", tmp_path) as site, site.signed_in() as browser:
        served = Served(site, tmp_path)
        with served.chat(browser) as socket:
            says_hello(socket)
            (body,) = in_the_file(tmp_path, "SELECT body FROM sessions")[0]
            in_the_file(tmp_path, "UPDATE sessions SET body = 'what no release can read'")
            change_the_counter(served, browser)
            with pytest.raises(TimeoutError):
                socket.recv(timeout=2)
            says_hello(socket)
            assert site.fetch(browser, "/").status_code == 503
            in_the_file(tmp_path, "UPDATE sessions SET body = ?", body)
            served.end(browser)
            assert close_of(socket) == (4445, "revoked")


def in_the_file(folder: Path, statement: str, *values: Any) -> list[Any]:
    with sqlite3.connect(folder / "sessions.sqlite3") as database:
        found = database.execute(statement, values).fetchall()
    database.close()
    return found


def change_the_counter(served: Served, browser: Browser) -> None:
    """As a write of the session does: here it is one of another key with the same slot."""
    store = open_store(f"sqlite:{served.folder / 'sessions.sqlite3'}")
    assert not store.end(served.key(browser)[:2] + bytes(30), "revoked", time.time())
    store.close()


@pytest.mark.parametrize("program", ["uvicorn", "hypercorn", "hypercorn-trio", "granian-asgi"])
def test_a_server_stops_with_connections_open(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path) as site, site.signed_in() as browser:
        served = Served(site, tmp_path)
        with served.chat(browser) as socket:
            says_hello(socket)
            site.server.stop()
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=PATIENCE)
    for words in ("was destroyed", "never retrieved", "TrioInternalError"):
        assert words not in served.log


# Streaming responses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["", "&length"])
def test_a_streaming_response_is_aborted(asgi: Served, length: str) -> None:
    url = f"{asgi.site.url}/stream?every=0.05{length}"
    with asgi.site.signed_in() as browser, browser.http.stream("GET", url) as response:
        aborted(response, lambda: asgi.end(browser))
    assert "Traceback" not in asgi.log


@pytest.mark.parametrize("asgi", LISTENED_UNDER, indirect=True)
def test_so_is_one_that_has_nothing_to_say_for_an_hour(asgi: Served) -> None:
    url = f"{asgi.site.url}/stream?every=3600"
    with asgi.site.signed_in() as browser, browser.http.stream("GET", url) as response:
        aborted(response, lambda: asgi.end(browser))
    assert "Traceback" not in asgi.log


@pytest.mark.parametrize("length", ["", "&length"])
def test_a_wsgi_stream_breaks_off_with_its_next_chunk(wsgi: Served, length: str) -> None:
    url = f"{wsgi.site.url}/stream?every=0.2{length}"
    with wsgi.site.signed_in() as browser, browser.http.stream("GET", url) as response:
        aborted(response, lambda: wsgi.end(browser))
    if wsgi.name != "waitress":  # which takes it for a failure of the app
        assert "Traceback" not in wsgi.log

"""Real servers on loopback: how each is started, and a browser for what it serves."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from examples.demo_servers import Server
from examples.fake_browser import Browser, Page

HOST = "127.0.0.1"
_HERE = Path(__file__).parent
_BIND = ("--host", HOST, "--port", "{port}")
_GUNICORN = ("gunicorn", "--no-control-socket", "--bind", f"{HOST}:{{port}}")

PROGRAMS: dict[str, tuple[str, ...]] = {
    "uvicorn": ("uvicorn", "served_asgi:app", *_BIND),
    "uvicorn-2": ("uvicorn", "served_asgi:app", *_BIND, "--workers", "2"),
    "gunicorn-uvicorn-2": (*_GUNICORN, "served_asgi:app", "-w", "2", "-k", "uvicorn_worker.UvicornWorker"),
    "gunicorn-asgi-2": (*_GUNICORN, "served_asgi:app", "-w", "2", "-k", "asgi"),
    "gunicorn-sync-2": (*_GUNICORN, "served_wsgi:app", "-w", "2"),
    "gunicorn-threads-2": (*_GUNICORN, "served_wsgi:app", "-w", "2", "--threads", "4"),
    "gunicorn-sync-2-preload": (*_GUNICORN, "served_wsgi:app", "-w", "2", "--preload"),
    "gunicorn-asgi-2-preload": (*_GUNICORN, "served_asgi:app", "-w", "2", "-k", "asgi", "--preload"),
    "uvicorn-wsproto": ("uvicorn", "served_asgi:app", *_BIND, "--ws", "wsproto"),
    "uvicorn-sansio": ("uvicorn", "served_asgi:app", *_BIND, "--ws", "websockets-sansio"),
    "gunicorn-threads": (*_GUNICORN, "served_wsgi:app", "--threads", "4"),
    "hypercorn-trio": ("hypercorn", "served_asgi:app", "--bind", f"{HOST}:{{port}}", "-k", "trio"),
    "hypercorn": ("hypercorn", "served_asgi:app", "--bind", f"{HOST}:{{port}}"),
    "granian-asgi": ("granian", "served_asgi:app", "--interface", "asgi", *_BIND),
    "granian-wsgi": ("granian", "served_wsgi:app", "--interface", "wsgi", *_BIND),
    "waitress": ("waitress", "--listen", f"{HOST}:{{port}}", "served_wsgi:app"),
}


class Site:
    """A served app, seen from outside."""

    def __init__(self, server: Server) -> None:
        self.server, self.url = server, server.url

    def browser(self) -> Browser:
        """Every request on a connection of its own, so that any worker may get it."""
        browser = Browser(HOST)
        browser.http.headers["connection"] = "close"
        return browser

    @contextmanager
    def signed_in(self, answer: str = "yes") -> Iterator[Browser]:
        with self.browser() as browser:
            page = browser.sign_in(f"{self.url}/", answer=answer)
            assert page.json()["user"] == "Mia Member", page.text
            yield browser

    def fetch(self, browser: Browser, path: str, method: str = "GET") -> httpx.Response:
        """As a script of the app's own page would."""
        headers = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}
        return browser.http.request(method, f"{self.url}{path}", headers=headers)

    def sign_out(self, browser: Browser) -> list[str]:
        """The form on the app's page; the frames that the provider's page then has."""
        home = f"{self.url}/"
        return Page(browser.visit(f"{home}.auth/logout", method="POST", came_from=home)).frames

    def restart(self) -> None:
        self.server.stop()
        self.server.start()
        self.server.wait_until_ready()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def server(program: str, folder: Path, more: Sequence[str] = (), root: str = "", **environment: str) -> Server:
    """One that is not started yet. Its sessions and its log are in ``folder``."""
    port = free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in PROGRAMS[program]), *more]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KMSI_", "GUNICORN_"))}
    settings = {
        "KMSI_ISSUER": "embedded",
        "KMSI_STORE": f"sqlite:{folder / 'sessions.sqlite3'}",
        "KMSI_PUBLIC_PATHS": "/public",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    url = f"http://{HOST}:{port}"
    return Server(program, url, HOST, port, f"{root}/public", command, inherited | settings, folder / "server.log")


@contextmanager
def running(program: str, folder: Path, more: Sequence[str] = (), root: str = "", **environment: Any) -> Iterator[Site]:
    started = server(program, folder, more, root, **environment)
    try:
        started.start()
        started.wait_until_ready()
        yield Site(started)
    finally:
        started.stop()

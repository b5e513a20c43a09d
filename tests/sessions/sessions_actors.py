"""What other processes do in the tests of revocation. Each of these is the whole life of a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.shells.shell_servers import play_wsgi
from tests.stores.store_actors import NOW, key_of, session

from kmsi_middleware.asgi import KMSIMiddleware as ASGIMiddleware
from kmsi_middleware.edges.stores import SQLiteStore
from kmsi_middleware.vocabulary.errors import SignInRevoked
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware

COOKIE = "__Host-kmsi"
DEADLINE = 30
"""Seconds after which a process gives up, and the test fails."""


def settings(path: Path) -> dict[str, Any]:
    return {
        "issuer": "https://login.example",
        "client_id": "app",
        "secret_keys": ["k" * 32],
        "base_url": "https://app.example",
        "store": f"sqlite:{path}",
        "clock": lambda: NOW,
    }


def through_wsgi(path: Path) -> Callable[[str], int]:
    """A WSGI app behind the middleware; a function that tells the status of a request with a token."""

    def site(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"passed"]

    app = WSGIMiddleware(site, **settings(path))
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "app.example",
        "SERVER_PORT": "443",
        "HTTP_HOST": "app.example",
        "wsgi.url_scheme": "https",
    }
    return lambda token: play_wsgi(app, environ | {"HTTP_COOKIE": f"{COOKIE}={token}"}).status


def through_asgi(path: Path) -> Callable[[str], int]:
    async def site(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"passed"})

    app = ASGIMiddleware(site, **settings(path))
    loop = asyncio.new_event_loop()

    def status(token: str) -> int:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        headers = [(b"host", b"app.example"), (b"cookie", f"{COOKIE}={token}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "scheme": "https", "headers": headers}
        loop.run_until_complete(app(scope | {"query_string": b"", "server": ("app.example", 443)}, receive, send))
        return int(said[0]["status"])

    return status


def keep_asking(shell: str, path: Path, pipe: Connection) -> None:
    """Send requests of a session until one does not pass, and tell when the last that did had started, how many
    did, and the status of the one that did not. For each token that comes down the pipe; until None does."""
    ask = (through_wsgi if shell == "wsgi" else through_asgi)(path)
    pipe.send("ready")
    while (token := pipe.recv()) is not None:
        late = time.monotonic() + DEADLINE
        last, count = 0, 0
        while True:
            started = time.monotonic_ns()
            if (status := ask(token)) != 200 or time.monotonic() > late:
                break
            last, count = started, count + 1
            if count == 5:
                pipe.send("passing")
        pipe.send((last, count, status))


def keep_signing_in(path: Path, name: str, pipe: Connection) -> None:
    """Make sessions of a sign-in that began before the revocation, until one is stopped; tell how many there were."""
    store = SQLiteStore(path)
    late = time.monotonic() + DEADLINE
    count = 0
    while time.monotonic() < late:
        key = key_of((name, count))
        try:
            store.create(session(key=key, begun_at=int(NOW) - 1), NOW)
        except SignInRevoked:
            break
        count += 1
        if count == 5:
            pipe.send("signing in")
    pipe.send(count)
    store.close()

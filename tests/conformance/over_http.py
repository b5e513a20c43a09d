"""The same over sockets: ``examples/conformance_rp`` on a real server, and a provider on another."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from examples.conformance_rp.app import create
from tests.conformance.conformance_support import DISCOVERED, ConformanceWorld
from tests.conformance.misbehaving_provider import SECRET, Provider
from tests.shells.shell_servers import Answer, Headers
from tests.shells.shell_support import HOME, Clock

HOST = "127.0.0.1"


class Socket:
    """One of a browser's servers, wherever it really listens."""

    def __init__(self, port: int, verify: ssl.SSLContext | bool = False) -> None:
        self.port, self.verify = port, verify

    def __call__(self, method: str, url: str, headers: Headers, body: bytes = b"", peer: str = "") -> Answer:
        at = httpx.URL(url).copy_with(host=HOST, port=self.port)
        said = [("host", urlsplit(url).netloc), *headers]
        with httpx.Client(trust_env=False, verify=self.verify, timeout=20) as http:
            response = http.request(method, at, headers=said, content=body)
        return Answer(response.status_code, response.headers.multi_items(), response.content, url)


@contextmanager
def listening(respond: Callable[[httpx.Request], httpx.Response], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A provider's answers on a socket of its own; gives the origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            url = f"{origin}{self.path}"
            response = respond(httpx.Request(self.command, url, headers=self.headers.items(), content=body))
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.content)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        origin = f"{'https' if tls else 'http'}://{HOST}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(app: Any) -> Iterator[int]:
    """An ASGI app on uvicorn; gives the port. Who comes before it has started waits in the socket's queue."""
    with socket.create_server((HOST, 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


class HttpWorld(ConformanceWorld):
    """``examples/conformance_rp`` as its users start it, with everything from the environment."""

    asks_itself = (*DISCOVERED, "userinfo")

    def __init__(self, response_mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(response_mode, folder)
        self.clock = Clock(time.time())
        self._environment = monkeypatch
        self._open = ExitStack()
        self._issuer = self._open.enter_context(listening(lambda request: self.misbehaving.respond(request)))
        self.at[self._issuer] = Socket(urlsplit(self._issuer).port or 0)  # type: ignore[assignment]

    def deploy(self, issuer: str = "", **settings: Any) -> Provider:
        self.misbehaving = Provider(issuer or self._issuer, time.time)
        given = {
            "issuer": self.misbehaving.issuer,
            "client_id": self.client_id,
            "client_secret": SECRET,
            "base_url": HOME,
            "response_mode": self.response_mode,
            **settings,
        }
        for name, value in given.items():
            self._environment.setenv(f"KMSI_{name.upper()}", str(value))
        self.at[HOME] = Socket(self._open.enter_context(running(create())))  # type: ignore[assignment]
        return self.misbehaving

    def close(self) -> None:
        self._open.close()
        super().close()

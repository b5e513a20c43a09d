"""Ways to the provider that are not an ASGI server: httpx transports within the process, and WSGI.

An app's only worker can't call itself over the network, so the relying party in the same process reaches the
provider by a transport. Synchronous callers get a thread with an event loop of its own for each request; that
works in any thread, after any fork, and while another loop runs in the caller's thread. What the provider
still does after its answer goes on in that thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx
from starlette.types import ASGIApp, Message, Scope

from .loopback import mark_in_process
from .site import BODY_LIMIT

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

WSGIApplication = Callable[[dict[str, Any], "StartResponse"], Iterable[bytes]]


class _Exchange:
    """One request and its answer, played to an ASGI application."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.content = b""
        self.complete = False
        self._settled = threading.Event()
        self._error: BaseException | None = None

    async def receive(self) -> Message:
        if self._body is None:
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.content += message.get("body", b"")
            if not message.get("more_body", False):
                self.complete = True
                self._settled.set()

    def run(self, app: ASGIApp, scope: Scope) -> None:
        """Plays it in a thread, until the answer is there."""

        def play() -> None:
            try:
                asyncio.run(self._play(app, scope))
            except BaseException as error:
                self._error = error
            finally:
                self._settled.set()

        threading.Thread(target=play, name="kmsi-idp").start()
        self._settled.wait()
        if not self.complete:
            raise self._error or RuntimeError("the application gave no answer")

    async def _play(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self.receive, self.send)


def _scope(
    method: str, scheme: str, root_path: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "root_path": root_path,
        "path": root_path + path,
        "raw_path": (root_path + path).encode(),
        "query_string": query,
        "headers": headers,
    }


def _scope_of(request: httpx.Request, endpoints: tuple[str, ...]) -> Scope:
    url = request.url
    path = url.path
    end = next((known for known in endpoints if path.endswith(known)), path)
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = _scope(request.method, url.scheme, path[: len(path) - len(end)], end, url.query, headers)
    mark_in_process(scope)
    return scope


def _response_of(exchange: _Exchange, request: httpx.Request) -> httpx.Response:
    return httpx.Response(exchange.status, headers=exchange.headers, content=exchange.content, request=request)


class AsyncTransport(httpx.AsyncBaseTransport):
    """For ``httpx.AsyncClient``, on asyncio or trio."""

    def __init__(self, app: ASGIApp, endpoints: tuple[str, ...]) -> None:
        self._app, self._endpoints = app, endpoints

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(await request.aread())
        await self._app(_scope_of(request, self._endpoints), exchange.receive, exchange.send)
        return _response_of(exchange, request)


class SyncTransport(httpx.BaseTransport):
    """For ``httpx.Client``."""

    def __init__(self, app: ASGIApp, endpoints: tuple[str, ...]) -> None:
        self._app, self._endpoints = app, endpoints

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(request.read())
        exchange.run(self._app, _scope_of(request, self._endpoints))
        return _response_of(exchange, request)


def wsgi(app: ASGIApp) -> WSGIApplication:
    """``app`` as a WSGI application. ``SCRIPT_NAME`` is the mount path; a body above 64 KB is answered
    413."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = BODY_LIMIT + 1
        if not 0 <= length <= BODY_LIMIT:
            start_response("413 Content Too Large", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        exchange = _Exchange(environ["wsgi.input"].read(length) if length else b"")
        exchange.run(app, _scope_from(environ))
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in exchange.headers]
        try:
            phrase = HTTPStatus(exchange.status).phrase
        except ValueError:
            phrase = "Status"
        start_response(f"{exchange.status} {phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [exchange.content]

    return application


def _scope_from(environ: dict[str, Any]) -> Scope:
    headers = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    if content_type := environ.get("CONTENT_TYPE"):
        headers.append((b"content-type", str(content_type).encode("latin-1")))
    scope = _scope(
        environ["REQUEST_METHOD"],
        environ["wsgi.url_scheme"],
        _text(environ.get("SCRIPT_NAME", "")).rstrip("/"),
        _text(environ.get("PATH_INFO", "")),
        str(environ.get("QUERY_STRING", "")).encode("latin-1"),
        headers,
    )
    scope["http_version"] = str(environ.get("SERVER_PROTOCOL", "HTTP/1.1")).rpartition("/")[2]
    if peer := environ.get("REMOTE_ADDR"):
        scope["client"] = (str(peer), 0)
    return scope


def _text(value: str) -> str:
    # WSGI's strings are bytes in disguise (PEP 3333).
    return value.encode("latin-1").decode("utf-8", "replace")

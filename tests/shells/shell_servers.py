"""A server's part, in process: one request played to an ASGI app (on asyncio or trio) or to a WSGI app, and its
answer checked for what a real server would choke on."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import anyio

from kmsi_middleware import SettingsError

Headers = Sequence[tuple[str, str]]
BACKENDS = {"asgi-asyncio": "asyncio", "asgi-trio": "trio"}
SHELLS = (*BACKENDS, "wsgi")
NO_BODY = (204, 304)


@dataclass
class Answer:
    """A response. ``url`` is where it came from, ``trail`` what redirected the browser there."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    url: str = ""
    trail: list[Answer] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str:
        """The one header of that name, or ``""``; two are an error."""
        found = self.all(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else ""

    @property
    def cookies(self) -> list[str]:
        return self.all("set-cookie")


@dataclass
class Server:
    """One process that serves one app. ``peer`` stands for the client's address where a proxy is in front, and
    ``adds`` are the headers that the proxy adds."""

    shell: str
    app: Any
    root: str = ""
    strips_root: bool = False
    peer: str | None = None
    adds: Headers = ()
    environ: dict[str, str] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    parts: Any = None
    small: Any = None
    behind_tls: bool = False
    """Whether a proxy ends TLS, so that the server itself sees http."""

    def __call__(self, method: str, url: str, headers: Headers, body: bytes = b"", peer: str = "127.0.0.1") -> Answer:
        if not any(name == "host" for name, _ in headers):
            headers = [("host", urlsplit(url).netloc), *headers]
        headers = [*headers, *self.adds]
        if body:
            headers.append(("content-length", str(len(body))))
        peer = self.peer or peer
        if self.shell == "wsgi":
            answer = self._wsgi(method, url, headers, body, peer)
        else:
            answer = self._asgi(method, url, headers, body, peer)
        answer.url = url
        _check(method, answer)
        return answer

    def _split(self, url: str) -> tuple[str, int, bytes, str]:
        parts = urlsplit(url)
        scheme = "http" if self.behind_tls else parts.scheme
        port = 8443 if self.behind_tls else parts.port or (443 if scheme == "https" else 80)
        path = unquote_to_bytes(parts.path or "/")
        assert path.startswith(self.root.encode()), f"{url} is not below {self.root}"
        return scheme, port, path, parts.query

    # ASGI -----------------------------------------------------------------------------------------------------

    def scope(self, method: str, url: str, headers: Headers, peer: str, kind: str = "http") -> dict[str, Any]:
        scheme, port, path, query = self._split(url)
        if self.strips_root:
            path = path[len(self.root.encode()) :]
        scope = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": {"http": "ws", "https": "wss"}[scheme] if kind == "websocket" else scheme,
            "path": path.decode("utf-8", "replace"),
            "raw_path": urlsplit(url).path.encode(),
            "query_string": query.encode(),
            "root_path": self.root,
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": (peer, 50_000) if peer else None,
            "server": ("127.0.0.1", port),
        }
        return scope if kind == "websocket" else {**scope, "method": method}

    def play(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a coroutine function in an event loop of its own, as this server does."""
        return anyio.run(function, *args, backend=BACKENDS[self.shell])

    def _asgi(self, method: str, url: str, headers: Headers, body: bytes, peer: str) -> Answer:
        sent: list[Any] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return waiting.pop() if waiting else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.events.append(("start", message["status"]))
            sent.append(message)

        self.play(self.app, self.scope(method, url, headers, peer), receive, send)
        assert [m["type"] for m in sent[:1]] == ["http.response.start"], sent
        assert {m["type"] for m in sent[1:]} == {"http.response.body"}, sent
        assert [bool(m.get("more_body")) for m in sent[1:]] == [True] * (len(sent) - 2) + [False], sent
        pairs = list(sent[0].get("headers", ()))
        assert all(isinstance(n, bytes) and isinstance(v, bytes) and n == n.lower() for n, v in pairs), pairs
        said = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in pairs]
        return Answer(sent[0]["status"], said, b"".join(m.get("body", b"") for m in sent[1:]))

    def websocket(
        self, url: str, headers: Headers, *, denial: bool = True, peer: str = "127.0.0.1"
    ) -> list[dict[str, Any]]:
        """The messages that a handshake (and what follows) sends."""
        sent: list[Any] = []
        waiting = [{"type": "websocket.disconnect", "code": 1000}, {"type": "websocket.connect"}]

        async def receive() -> Any:
            return waiting.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = self.scope("GET", url, [("host", urlsplit(url).netloc), *headers], peer, "websocket")
        scope["subprotocols"] = []
        scope["extensions"] = {"websocket.http.response": {}} if denial else {}
        self.play(self.app, scope, receive, send)
        return sent

    def lifespan(self) -> list[dict[str, Any]]:
        """The messages of a start and a stop."""
        sent: list[Any] = []
        waiting = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def receive() -> Any:
            return waiting.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        try:
            self.play(self.app, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        except SettingsError:
            assert sent[-1]["type"] == "lifespan.startup.failed", "a server would take it for an app without lifespan"
        return sent

    # WSGI (PEP 3333) ------------------------------------------------------------------------------------------

    def environ_of(self, method: str, url: str, headers: Headers, body: bytes, peer: str) -> dict[str, Any]:
        scheme, port, path, query = self._split(url)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": self.root.encode().decode("latin-1"),
            "PATH_INFO": path[len(self.root.encode()) :].decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": peer,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scheme,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = name.upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = f"HTTP_{key}"
            joint = "; " if key == "HTTP_COOKIE" else ", "
            environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
        return environ | self.environ

    def _wsgi(self, method: str, url: str, headers: Headers, body: bytes, peer: str) -> Answer:
        return play_wsgi(self.app, self.environ_of(method, url, headers, body, peer), self.events)


def play_wsgi(app: Any, environ: dict[str, Any], events: list[Any] | None = None) -> Answer:
    """One request to a WSGI app, by the rules of a WSGI server."""
    said: list[Any] = []
    written: list[bytes] = []

    def write(data: bytes) -> None:
        assert said, "write() before start_response()"
        assert type(data) is bytes
        written.append(data)

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None and any(written):
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or not said, "start_response() a second time, without exc_info"
        assert type(status) is str
        assert status[:3].isdigit()
        assert status[3:4] == " "
        assert type(headers) is list
        assert all(type(name) is str and type(value) is str for name, value in headers), headers
        said[:] = [status, list(headers)]
        if events is not None:
            events.append(("start", int(status[:3])))
        return write

    chunks = app(environ, start_response)
    try:
        for chunk in chunks:
            assert said, "a body before start_response()"
            assert type(chunk) is bytes
            written.append(chunk)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    assert said, "start_response() was never called"
    return Answer(int(said[0][:3]), [(n.lower(), v) for n, v in said[1]], b"".join(written))


def _check(method: str, answer: Answer) -> None:
    for name, value in answer.headers:
        assert not set(name + value) & set("\r\n\0"), (name, value)
        assert name not in ("connection", "transfer-encoding", "keep-alive")
    if method == "HEAD" or answer.status in NO_BODY:
        assert answer.body == b"", "a body where none may be"
    elif length := answer.header("content-length"):
        assert int(length) == len(answer.body)
    if answer.status in NO_BODY:
        assert answer.header("content-length") == ""

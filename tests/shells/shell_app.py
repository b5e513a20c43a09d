"""The same small app twice, for ASGI and for WSGI: what it sees, it says as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.validate import validator

from kmsi_middleware import SessionRequired


@dataclass
class Seen:
    """One request, as the app sees it."""

    method: str
    path: str
    root: str
    query: str
    kmsi: Any
    user: str | None
    data: dict[str, Any]


@dataclass
class Answered:
    """What the app answers."""

    status: int
    body: Iterable[bytes]
    headers: list[tuple[str, str]]


@dataclass
class SmallApp:
    """Routes by the path's last segment. ``during`` runs in the middle of ``/wait``; ``calls`` are the paths that
    reached the app."""

    during: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)

    def respond(self, seen: Seen) -> Answered:
        self.calls.append(f"{seen.method} {seen.path}")
        given = dict(parse_qsl(seen.query))
        match seen.path.rpartition("/")[2]:
            case "set":
                try:
                    seen.data.update(given)
                except SessionRequired as error:
                    return _json({"code": error.code}, status=409)
            case "append":
                seen.data.setdefault("items", []).append(given["item"])
            case "nest":
                seen.data["items"].append(given["item"])  # no assignment that a dict could notice
            case "remove":
                del seen.data[given["name"]]
            case "unjson":
                seen.data["thing"] = object()
                return Answered(200, [b"kept?"], [("content-type", "text/plain")])
            case "wait":
                self.during()
                seen.data.update(given)
            case "html":
                return Answered(200, [b"<p>Hello"], [("content-type", "text/html; charset=utf-8")])
            case "cached":
                said = [("content-type", "text/html"), ("cache-control", "public, max-age=60"), ("vary", "Accept")]
                return Answered(200, [b"<p>Hello"], said)
            case "stream":
                seen.data.update(given)
                return Answered(200, [b"one ", b"", b"two ", b"three"], [("content-type", "text/plain")])
            case "late":
                return Answered(200, _writing_late(seen.data), [("content-type", "text/plain")])
            case "empty":
                return Answered(204, [], [])
            case "forbidden":
                status = 200 if seen.user else 403
                return Answered(status, [b"the app's own words"], [("content-type", "text/plain")])
            case "unknown" | "challenged":
                challenge = [("www-authenticate", "Basic")] if seen.path.endswith("challenged") else []
                status = 200 if seen.user else 401
                return Answered(status, [b"the app's own words"], [("content-type", "text/plain"), *challenge])
            case "raise":
                raise SessionRequired
            case "missing":
                return Answered(404, [b"not here"], [("content-type", "text/plain")])
            case "crash":
                raise RuntimeError("the app failed")
        return _json(
            {
                "user": seen.user,
                "kmsi": seen.kmsi and {"name": seen.kmsi.name, "persistent": seen.kmsi.persistent},
                "data": dict(seen.data),
                "path": seen.path,
                "root": seen.root,
                "query": seen.query,
            }
        )

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        """The app under ASGI."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                self.calls.append("startup")
                await send({"type": "lifespan.startup.complete"})
            self.calls.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            await self._chat(scope, receive, send)
            return
        root, path = scope.get("root_path", ""), scope["path"]
        user = scope["user"].identity if scope["user"].is_authenticated else None
        assert list(scope["auth"].scopes) == (["authenticated"] if user else [])
        answered = self.respond(
            Seen(
                scope["method"],
                path.removeprefix(root),
                root,
                scope["query_string"].decode(),
                scope["kmsi"],
                user,
                scope["session"],
            )
        )
        headers = [(name.encode(), value.encode()) for name, value in answered.headers]
        await send({"type": "http.response.start", "status": answered.status, "headers": headers})
        body = [b""] if scope["method"] == "HEAD" else answered.body
        for chunk in body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _chat(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        self.calls.append(f"WS {scope['path']}")
        await send({"type": "websocket.accept"})
        if scope["kmsi"] is not None:
            scope["session"]["chats"] = scope["session"].get("chats", 0) + 1
        user = scope["user"].identity if scope["user"].is_authenticated else None
        said = {"user": user, "scopes": list(scope["auth"].scopes), "data": dict(scope["session"])}
        await send({"type": "websocket.send", "text": json.dumps(said)})
        await send({"type": "websocket.close", "code": 1000})

    def validated_wsgi(self) -> Any:
        """The app under WSGI, and a check that it is called by the rules."""
        checked = validator(self.wsgi)

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            # The validator lets only names with a dot be anything but text.
            environ["test.kmsi"] = environ.pop("kmsi")
            return checked(environ, start_response)

        return application

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The app under WSGI."""
        answered = self.respond(
            Seen(
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                environ["SCRIPT_NAME"],
                environ["QUERY_STRING"],
                environ["test.kmsi"],
                environ.get("REMOTE_USER"),
                environ["kmsi.session"],
            )
        )
        start_response(f"{answered.status} Said", answered.headers)
        return iter([]) if environ["REQUEST_METHOD"] == "HEAD" else _chunks(answered.body)


def _writing_late(data: Any) -> Iterator[bytes]:
    """Goes on writing to its data when its response has started."""
    for chunk in (b"one ", b"two ", b"three"):
        data["late"] = True
        del data["late"]
        yield chunk


def _chunks(body: Iterable[bytes]) -> Iterator[bytes]:
    yield from body


def _json(value: Any, *, status: int = 200) -> Answered:
    return Answered(status, [json.dumps(value).encode()], [("content-type", "application/json")])

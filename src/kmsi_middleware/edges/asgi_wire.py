"""The shapes of ASGI, and what the shell reads off a scope and puts on a message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..flows.dispatch import LONGEST_BODY

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_VARY = [(b"vary", b"Cookie")]
_VARY_NO_STORE = [*_VARY, (b"cache-control", b"no-store")]
_VARY_PRIVATE = [*_VARY, (b"cache-control", b"private")]


def below(path: str, root: str) -> str:
    """The path below the app's root path; servers differ in whether ``path`` includes it (ASGI HTTP 2.5)."""
    root = root.rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


def port_of(scope: Scope) -> int | None:
    """The server's own port."""
    server = scope.get("server")
    return server[1] if server else None


def protected(headers: Any) -> list[tuple[bytes, bytes]]:
    """A protected reply's headers: see rule 4 of :mod:`.asgi`. A new list: the app may use its own again."""
    html = said = False
    for name, value in headers:
        if name == b"content-type":
            html = value.startswith(b"text/html") or value[:9].lower() == b"text/html"
        elif name == b"cache-control":
            said = True
    return [*headers, *(_VARY if said else _VARY_NO_STORE if html else _VARY_PRIVATE)]


def varied(headers: Any) -> list[tuple[bytes, bytes]]:
    """The headers of a reply that depends on cookies, and is for everybody."""
    return [*headers, *_VARY]


def names_of(message: Message) -> list[str]:
    """The names of a reply's headers."""
    return [str(name, "latin-1") for name, _ in message.get("headers", ())]


def set_cookies(cookies: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    """Set-Cookie headers."""
    return [(b"set-cookie", cookie.encode("latin-1")) for cookie in cookies]


async def drop(_message: Message) -> None:
    """A ``send`` that sends nothing."""


async def read_body(receive: Receive) -> bytes:
    """A request's body, up to a little more than what is accepted."""
    body = b""
    while len(body) <= LONGEST_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body

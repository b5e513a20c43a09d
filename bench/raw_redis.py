"""One hand-written read from Redis for each request: the floor that a session store on Redis is measured against.

The least that somebody would write who wants one key looked up per request, as a pure ASGI middleware: the cookie
found by bytes, one GET, 401 without an answer. No JSON is read, no lifetime judged, no header added. In two ways:
with redis-py's asyncio client, and on one connection of its own with hiredis's parser, where the requests that are
under way together share a write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any
from urllib.parse import urlsplit

from bench.support import COOKIE

_NEEDLE = f"{COOKIE}=".encode()
_TOKEN = 43
PREFIX = b"bench:"


class RawRead:
    """The middleware; ``get`` is one read."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def get(self, key: bytes) -> bytes | None:
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"cookie":
                at = value.find(_NEEDLE)
                if at >= 0:
                    at += len(_NEEDLE)
                    found = await self.get(PREFIX + value[at : at + _TOKEN])
                    if found is not None:
                        scope["user"] = found
                        await self._app(scope, receive, send)
                        return
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class ByRedisPy(RawRead):
    """``redis.asyncio``, as its documentation shows it."""

    def __init__(self, app: Any, url: str) -> None:
        from redis.asyncio import Redis

        super().__init__(app)
        self.get = Redis.from_url(url).get  # type: ignore[method-assign,assignment]


class ByHiredis(RawRead):
    """One connection and no client library."""

    def __init__(self, app: Any, url: str) -> None:
        super().__init__(app)
        self._at = urlsplit(url)
        self._connection: _Connection | None = None

    async def get(self, key: bytes) -> bytes | None:
        if self._connection is None:
            loop = asyncio.get_running_loop()
            _, made = await loop.create_connection(_Connection, self._at.hostname, self._at.port)
            self._connection = self._connection or made
        return await self._connection.get(key)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        import hiredis

        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[bytes | None]] = deque()
        self._commands: list[bytes] = []
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get(self, key: bytes) -> asyncio.Future[bytes | None]:
        if not self._commands:
            self._loop.call_soon(self._flush)
        self._commands.append(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))
        answer = self._loop.create_future()
        self._waiting.append(answer)
        return answer

    def _flush(self) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(self._commands))
        self._commands.clear()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().set_result(reply)

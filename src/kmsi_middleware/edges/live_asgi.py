"""Long-lived connections under ASGI: WebSockets and streaming responses. Each ends soon after its session has.

1. One watcher for an event loop looks at all of an app's connections there, twice a second of real time; by which
   clock a session is over is the clock that was handed in. It starts with the first connection and ends after the
   last.
2. What an app is told is what it is told of a client that went away: ``receive`` says so, and ``send`` raises
   :class:`.SessionOver`, an ``OSError``. Nothing that it sends after the end goes out. It is not cancelled.
3. A WebSocket is closed by the watcher, with a code that says why (``rules.close_codes``).
4. A streaming response is left incomplete, so that the server closes the connection and the client can tell.
5. A slow store holds up nobody else: each connection waits for its own answer, and meanwhile the clock decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakSet

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import RunVar
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from ..rules.close_codes import CLOSE_CODES, Ending
from .asgi_wire import Message, Receive, Send
from .keeping import is_asyncio
from .live import EVERY, LiveSession, LiveSessions, SessionOver

_log = logging.getLogger("kmsi_middleware")


class Connection:
    """What the app has instead of the server's ``receive`` and ``send``."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._waiting: set[anyio.CancelScope] = set()
        self.live: LiveSession | None = None
        """Its session, once it is watched."""
        self.is_done = False
        """Whether the app or the client ended it."""
        self.is_looked_at = False
        self.ending: Ending | None = None

    async def receive(self) -> Message:
        """The server's, for as long as the session goes on."""
        if self.ending is None:
            with anyio.CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    return await self._receive()
                finally:
                    self._waiting.discard(scope)
        return self.disconnected()

    def disconnected(self) -> Message:
        """What ``receive`` says when the session has ended."""
        return {"type": "http.disconnect"}

    async def end(self, ending: Ending) -> None:
        """The session has ended."""
        self.ending = ending
        for scope in self._waiting:
            scope.cancel()


class Stream(Connection):
    """A streaming response, from its first chunk on."""

    def send(self, message: Message) -> Awaitable[None]:
        if self.ending is not None:
            raise SessionOver(self.ending)
        if message["type"] == "http.response.body":
            self.is_done = not message.get("more_body", False)
        return self._send(message)


class WebSocket(Connection):
    """A WebSocket, from its handshake on."""

    def __init__(self, receive: Receive, send: Send) -> None:
        super().__init__(receive, send)
        self._closed = anyio.Event()

    async def receive(self) -> Message:
        message = await super().receive()
        self.is_done = self.is_done or message["type"] == "websocket.disconnect"
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self.ending is None:
            self.is_done = self.is_done or kind in ("websocket.close", "websocket.http.response.start")
            await self._send(message)
        elif kind != "websocket.close":  # which has happened
            raise SessionOver(self.ending)

    def disconnected(self) -> Message:
        assert self.ending is not None
        return {"type": "websocket.disconnect", "code": CLOSE_CODES[self.ending], "reason": self.ending}

    async def end(self, ending: Ending) -> None:
        await super().end(ending)
        try:
            await self._send({"type": "websocket.close", "code": CLOSE_CODES[ending], "reason": ending})
        except Exception as error:  # each server has its own for a client that went away
            _log.debug("a WebSocket whose session ended could not be closed: %r", error)
        finally:
            self._closed.set()

    async def closed(self) -> None:
        """Wait until the closing, if there is one, is through: a server closes the line when the app returns."""
        self.is_done = True
        if self.ending is not None:
            await self._closed.wait()


class Connections:
    """The long-lived connections of one app. ``pause`` is awaited between two looks at them."""

    def __init__(self, sessions: LiveSessions) -> None:
        self.sessions = sessions
        self.pause: Callable[[], Awaitable[object]] = partial(anyio.sleep, EVERY)
        self._watchers: RunVar[_Watcher] = RunVar("kmsi_middleware.connections")

    def add(self, connection: Connection, live: LiveSession) -> None:
        """Watch a connection from now on. It is forgotten when it is done, or when nobody else holds it any more."""
        connection.live = live
        watcher = self._watchers.get(None)
        if watcher is None:
            watcher = _Watcher(self)
            self._watchers.set(watcher)
        watcher.add(connection)


class _Watcher:
    """Those on one event loop."""

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self._open: WeakSet[Connection] = WeakSet()
        self._is_watching = False

    def add(self, connection: Connection) -> None:
        self._open.add(connection)
        if not self._is_watching:
            self._is_watching = True
            _start(self._watch)

    async def _watch(self) -> None:
        async with anyio.create_task_group() as tasks:
            try:
                while self._open:
                    await self._all.pause()
                    self._look_at_all(tasks)
            finally:
                self._is_watching = False

    def _look_at_all(self, tasks: TaskGroup) -> None:
        now = self._all.sessions.clock()
        for connection in list(self._open):
            live = connection.live
            assert live is not None
            if connection.is_done or connection.ending is not None:
                self._open.discard(connection)
            elif connection.is_looked_at:
                if (ending := live.over(now)) is not None:
                    tasks.start_soon(self._end, connection, ending)
            elif not _holds(live, now):
                connection.is_looked_at = True
                tasks.start_soon(self._look_at, connection, live)

    async def _look_at(self, connection: Connection, live: LiveSession) -> None:
        now = self._all.sessions.clock()
        ending: Ending | None
        try:
            ending = await self._all.sessions.services.run_async(live.look(now), now)
        except Exception:  # not even a hook's: a store that keeps no contract, or a mistake of ours
            _log.exception("a long-lived connection can't be judged")
            ending = "error"
        finally:
            connection.is_looked_at = False
        if ending is not None:
            await self._end(connection, ending)

    async def _end(self, connection: Connection, ending: Ending) -> None:
        self._open.discard(connection)
        if not connection.is_done and connection.ending is None:
            await connection.end(ending)


def _holds(live: LiveSession, now: float) -> bool:
    try:
        return live.holds(now)
    except Exception:
        return False  # the look fails as well, and says with what


_tasks: set[asyncio.Task[None]] = set()  # the event loop itself holds its tasks weakly


def _start(function: Callable[[], Any]) -> None:
    """Start a task that belongs to no request, with no request's context."""
    if is_asyncio():
        task = asyncio.get_running_loop().create_task(function(), context=Context())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
    else:
        import trio

        trio.lowlevel.spawn_system_task(function)


def is_disconnect(error: BaseException, *, has_ended: bool = False) -> bool:
    """Whether an app says by an error no more than that it was told of the end. ``has_ended``: it surely was; else
    only :class:`SessionOver` itself counts, and what a framework raised because of it."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_disconnect(part, has_ended=has_ended) for part in error.exceptions)
    if isinstance(error, ClientDisconnect | WebSocketDisconnect):
        return has_ended or isinstance(error.__context__, SessionOver)
    return isinstance(error, SessionOver)

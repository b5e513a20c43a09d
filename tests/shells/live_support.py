"""Long-lived connections in process: a client at one end, the app at the other, and time that is stepped."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from tests.shells.shell_support import HOME, HTML, Browser, World

from kmsi_middleware.edges.stores import MemoryStore
from kmsi_middleware.rules.seals import key_of

Message = dict[str, Any]


async def settled() -> None:
    """Let every task go on until it waits for something from outside; none here takes so many turns to."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


class Steps:
    """Stands in for the half second between two looks at the connections."""

    def __init__(self) -> None:
        self._step = anyio.Semaphore(0)
        self.waiting = 0
        """How many wait for the next step: one for each watcher."""

    async def __call__(self) -> None:
        self.waiting += 1
        try:
            await self._step.acquire()
        finally:
            self.waiting -= 1

    async def next(self) -> None:
        """Let half a second pass, and wait until all that it starts is done or waits for something else."""
        await settled()
        for _ in range(self.waiting):
            self._step.release()
        await settled()


class Line:
    """A client's end of a connection. ``sent`` are the messages that went out to it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self._waiting: deque[Message] = deque()
        self._count = anyio.Semaphore(0)
        self.refuses_to_close = False
        self.returned = anyio.Event()
        """When the server's call of the app is over."""
        self.error: BaseException | None = None

    def comes(self, **message: Any) -> None:
        """What the client sends."""
        self._waiting.append(message)
        self._count.release()

    async def receive(self) -> Message:
        await self._count.acquire()
        return self._waiting.popleft()

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.close" and self.refuses_to_close:
            raise OSError("the client is gone")
        self.sent.append(message)

    @property
    def chunks(self) -> list[bytes]:
        return [m["body"] for m in self.sent if m["type"] == "http.response.body"]

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason of the close frame."""
        for message in self.sent:
            if message["type"] == "websocket.close":
                return message["code"], message["reason"]
        return None


class Versioned(MemoryStore):
    """A store as those on other machines are: it has no counters to share, and tells versions for less than a load."""

    reads_versions = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def counters(self) -> None:
        return None

    def version(self, key: bytes) -> int | None:
        self.asked.append("version")
        return super().version(key)

    def load(self, key: bytes, now: float) -> Any:
        self.asked.append("load")
        return super().load(key, now)


class Live:
    """A world in which connections last. Everything happens in one event loop, that of the app's server."""

    def __init__(self, world: World, browser: Browser) -> None:
        self.world, self.browser = world, browser
        self.shell = world.at[HOME].app
        self.steps = Steps()
        self.shell._connections.pause = self.steps

    @property
    def key(self) -> bytes:
        """The store's key of the browser's session."""
        cookie = self.browser.session_cookie()
        assert cookie is not None
        return key_of(cookie.value)

    def end(self, reason: Any = "revoked") -> None:
        """As another process would."""
        assert self.store.end(self.key, reason, self.world.clock.now)

    @property
    def store(self) -> Any:
        return self.world.at[HOME].parts.services.store

    @property
    def watched(self) -> int:
        """How many connections of this event loop are being watched."""
        watcher = self.shell._connections._watchers.get(None)
        return len(watcher._open) if watcher is not None else 0

    async def away(self, work: Callable[[], Any]) -> Any:
        """Another request meanwhile; it has an event loop of its own."""
        return await anyio.to_thread.run_sync(work)

    @asynccontextmanager
    async def websocket(self, path: str = "/chat", **more: Any) -> AsyncIterator[Line]:
        """A WebSocket, from the handshake on."""
        url = HOME + path
        headers = [("host", urlsplit(url).netloc), ("origin", HOME), *self.browser._cookies(url)]
        scope = self.world.at[HOME].scope("GET", url, headers, self.browser.address, "websocket")
        line = Line()
        line.comes(type="websocket.connect")
        async with self._calling(scope | {"subprotocols": [], "extensions": {}} | more, line):
            yield line

    @asynccontextmanager
    async def request(self, path: str = "/stream", *, spec: str = "2.3", body: bytes = b"") -> AsyncIterator[Line]:
        """A request that is answered by and by."""
        url = HOME + path
        headers = [("host", urlsplit(url).netloc), ("accept", HTML), *self.browser._cookies(url)]
        scope = self.world.at[HOME].scope("GET", url, headers, self.browser.address)
        line = Line()
        line.comes(type="http.request", body=body, more_body=False)
        async with self._calling(scope | {"asgi": {"version": "3.0", "spec_version": spec}}, line):
            yield line

    @asynccontextmanager
    async def _calling(self, scope: Any, line: Line) -> AsyncIterator[None]:
        async def call() -> None:
            try:
                await self.shell(scope, line.receive, line.send)
            except Exception as error:
                line.error = error
            finally:
                line.returned.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await settled()
            yield
            tasks.cancel_scope.cancel()


def play(world: World, browser: Browser, scenario: Callable[[Live], Awaitable[None]]) -> None:
    """Play a scenario in the event loop of the app's server, once somebody is signed in."""

    async def run() -> None:
        with anyio.fail_after(30):
            await scenario(Live(world, browser))

    world.at[HOME].play(run)

"""The server or servers, under asyncio: for each event loop and server one connection (:mod:`.pipe`).

redis-py's own asyncio client takes a connection from a pool, a timer and several turns of the loop for each command:
80 µs more of processor time for a request, where this takes 7 (``bench/sockets.py``). So only what is rare goes by
redis-py, on a thread (:mod:`.client`): the look for the Sentinels' primary, a cluster's slots, and whatever a
cluster's server redirects.

1. A connection that broke is made once more, and what was not answered is sent again: every command may be sent
   twice (:mod:`.scripts`). A server that does not answer in time is not asked again.
2. A question is sent after the request for it came in, and answered by what holds at the server after that. So what
   it says is not older than the request, which is what strict revocation needs. All requests of one turn of the event
   loop share one (:mod:`.listener`), where the server lets us listen.
3. A connection lives no longer than its event loop, and none is used by a forked child.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import hiredis

from ....vocabulary.errors import StoreUnavailable
from .client import CONNECT_SECONDS, ERRORS, KEEPALIVE, Client, in_full
from .cluster import Arguments
from .counts import DISORDER, LOOK, Counts, keeps_order
from .listener import Answer, Listener
from .operations import Command, Operations, Servers
from .pipe import Late, Lost, Pipe, packed
from .values import version_of

P = TypeVar("P", bound=Pipe)
T = TypeVar("T")
_log = logging.getLogger("kmsi_middleware")

MOST_THREADS = 16
"""Of an event loop, for what goes by redis-py."""
AGAIN = 5.0
"""Seconds between two attempts to listen. While nobody does, every session is asked for by itself."""
_ASK_VERSION = b"*4\r\n$8\r\nGETRANGE\r\n$%d\r\n%b"
_VERSION_RANGE = b"\r\n$1\r\n0\r\n$2\r\n10\r\n"


class Pipes:
    """All connections of one event loop. To be made in it."""

    def __init__(
        self,
        client: Client,
        operations: Operations,
        counts: Counts,
        forget: Callable[[Pipes], object],
        *,
        listens: bool,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._client = client
        self._operations = operations
        self._is_cluster = client.address.kind == "cluster"
        self._pipes: dict[str, Pipe] = {}
        self._making: dict[str, asyncio.Task[Pipe]] = {}
        self._counts = counts
        self._listens = listens
        self._listener: Listener | None = None
        self._listening: asyncio.Task[None] | None = None
        self._listen_at = 0.0
        begin = operations.sessions
        self._version_question = _ASK_VERSION % (len(begin) + 64, begin)
        self._forget = forget
        self._life: AsyncGenerator[None, None] | None = None
        self._threads = anyio.CapacityLimiter(MOST_THREADS)

    async def _live(self) -> AsyncGenerator[None, None]:
        """A generator that is under way when its event loop ends is closed by it: so are the connections."""
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Close all connections; in the loop."""
        self._forget(self)
        if self._listening is not None:
            self._listening.cancel()
        for pipe in self._all():
            pipe.close()
        self._pipes.clear()

    def let_go(self) -> None:
        """In a forked child: see :meth:`.pipe.Pipe.let_go`."""
        for pipe in self._all():
            pipe.let_go()

    def _all(self) -> list[Pipe]:
        return [*self._pipes.values(), *([self._listener] if self._listener is not None else [])]

    def counters(self) -> Awaitable[Sequence[int] | None]:
        """As ``AsyncSessionStore.counters``: on the way of nearly every request."""
        listener = self._listener
        if listener is not None and listener.is_open:
            return listener.counters()
        if self._listens and self._listening is None and self.loop.time() >= self._listen_at:
            self._listening = self.loop.create_task(self._listen())
        answer: Answer = self.loop.create_future()
        answer.set_result(None)
        return answer

    async def version(self, key: bytes) -> int | None:
        """As ``SessionStore.version``: on the way of nearly every request while nobody listens."""
        pipe = self._pipes.get("")
        if pipe is not None and pipe.is_open:
            try:
                reply = await pipe.ask(self._version_question + key.hex().encode() + _VERSION_RANGE)
            except Lost:
                pass
            except Late as error:
                raise self._client.unavailable(error) from None
            else:
                if type(reply) is bytes:
                    return version_of(reply)
        (begin,) = await self.perform([self._operations.begin(key)])
        return version_of(begin)

    async def perform(self, asked: Sequence[Command] | Servers) -> Any:
        """As :meth:`Client.perform`."""
        if isinstance(asked, Servers):
            return await self._on_thread(asked) if self._is_cluster else [""]
        if not asked:
            return []
        if self._is_cluster:
            return await self._in_cluster(asked)
        try:
            replies = await self._twice("", asked)
        except (Lost, Late, OSError, TimeoutError) as error:
            raise self._client.unavailable(error or "it did not answer in time") from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise self._client.unavailable(reply) from reply
        return replies

    async def _on_thread(self, asked: Sequence[Command] | Servers) -> Any:
        return await self._threaded(self._client.perform, asked)

    async def _threaded(self, function: Callable[..., T], *arguments: Any) -> T:
        # Not with the app's own limit: its threads may all be waiting for the store.
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def _in_cluster(self, commands: Sequence[Command]) -> list[Any]:
        """Each server's part at once; what one of them does not answer goes by redis-py's own ways."""
        parts: dict[str, list[int]] = {}
        for at, server in enumerate(await self._places(commands)):
            parts.setdefault(server, []).append(at)
        replies: list[Any] = [None] * len(commands)
        asking = [self._part(server, [commands[at] for at in part]) for server, part in parts.items()]
        for part, found in zip(parts.values(), await asyncio.gather(*asking), strict=True):
            for at, reply in zip(part, found, strict=True):
                if isinstance(reply, Exception):
                    (reply,) = await self._on_thread([commands[at]])
                replies[at] = reply
        return replies

    async def _places(self, commands: Sequence[Command]) -> list[str]:
        """Which servers the commands are for."""
        members = self._client.members
        try:
            if not members.are_known:
                await self._threaded(members.primaries)
            return [command.server or members.place_of(command.key) for command in commands]
        except ERRORS as error:
            raise self._client.unavailable(error) from error

    async def _part(self, server: str, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._twice(server, commands)
        except Late as error:
            raise self._client.unavailable(error) from None
        except (Lost, OSError, TimeoutError) as error:
            return [error] * len(commands)

    async def _twice(self, server: str, commands: Sequence[Command]) -> list[Any]:
        """Rule 1."""
        try:
            return await self._once(server, commands)
        except Lost:
            return await self._once(server, commands)

    async def _once(self, server: str, commands: Sequence[Command]) -> list[Any]:
        """With the text of those scripts that the server does not know yet."""
        replies = await self._ask(server, [packed(command.arguments) for command in commands])
        unknown = [at for at, reply in enumerate(replies) if _says(reply, "NOSCRIPT")]
        if unknown:
            texts = [packed(in_full(commands[at])) for at in unknown]
            for at, reply in zip(unknown, await self._ask(server, texts), strict=True):
                replies[at] = reply
        return replies

    async def _ask(self, server: str, questions: list[bytes]) -> list[Any]:
        pipe = self._pipes.get(server)
        if pipe is None or not pipe.is_open:
            pipe = await self._connected(server)
        replies = await asyncio.gather(*map(pipe.ask, questions), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, (Lost, Late)):
                raise reply
            if _says(reply, "READONLY") and self._client.address.kind == "sentinel":
                pipe.close()  # it was the primary: the Sentinels know who is now
                raise Lost(str(reply))
        return replies

    # Connecting ---------------------------------------------------------------------------------------------

    async def _connected(self, server: str) -> Pipe:
        """A new connection; all who want one at the same time share it."""
        making = self._making.get(server)
        if making is None:
            making = self._making[server] = self.loop.create_task(self._connect(server))
            making.add_done_callback(partial(self._made, server))
        return await asyncio.shield(making)

    def _made(self, server: str, making: asyncio.Task[Pipe]) -> None:
        del self._making[server]
        if not making.cancelled() and making.exception() is None:
            self._pipes[server] = making.result()

    async def _connect(self, server: str) -> Pipe:
        return await self._open(server, Pipe(self.loop), self._client.greeting())

    async def _listen(self) -> None:
        """Begin to listen."""
        client, counts = self._client, self._counts
        self._listen_at = self.loop.time() + AGAIN
        listener = Listener(self.loop, counts, client)
        try:
            await self._open("", listener, client.greeting())
            async with asyncio.timeout(CONNECT_SECONDS):
                try:
                    if not keeps_order(*[await listener.ask(packed(command)) for command in LOOK]):
                        raise Lost(DISORDER)
                    await self._say(listener, counts.listening)
                except BaseException:
                    listener.close()
                    raise
        except (Lost, Late, StoreUnavailable, OSError, TimeoutError) as error:
            _log.info("%s: every session is asked for by itself: %s", client.address.shown, error)
        else:
            counts.start_over()
            self._listener = listener
        finally:
            self._listening = None

    async def _open(self, server: str, pipe: P, greeting: Sequence[Arguments]) -> P:
        if self._life is None:
            self._life = self._live()
            await anext(self._life)
        client, context = self._client, None
        if server or client.address.kind != "sentinel":
            host, port = client.where(server)
        else:
            host, port = await self._threaded(client.where, server)
        if client.address.tls is not None:
            context = await self._threaded(client.tls_context)  # reads files
        async with asyncio.timeout(CONNECT_SECONDS):
            transport, _ = await self.loop.create_connection(
                lambda: pipe, host, port, ssl=context, server_hostname=host if context else None
            )
            with suppress(OSError):
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in KEEPALIVE.items():
                    connection.setsockopt(socket.IPPROTO_TCP, option, value)
            try:
                await self._say(pipe, greeting)
            except BaseException:
                pipe.close()
                raise
        return pipe

    async def _say(self, pipe: Pipe, commands: Sequence[Arguments]) -> None:
        """What a connection begins with. Raises :class:`StoreUnavailable` for what the server refuses."""
        for reply in [await pipe.ask(packed(command)) for command in commands]:
            if isinstance(reply, Exception):
                raise self._client.unavailable(reply)


def _says(reply: Any, word: str) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(word)

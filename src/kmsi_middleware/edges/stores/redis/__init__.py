"""Sessions in Redis or Valkey, shared by all processes of all machines.

:mod:`.address`     how the setting spells a server
:mod:`.operations`  what each operation asks of it, written once
:mod:`.client`      asking with threads, by redis-py
:mod:`.pipes`       asking under asyncio
:mod:`.counts`      what is heard of sessions that change
:mod:`.listener`    asking once for all requests that wait
:mod:`.lease`       answering from memory, within ``revocation_lag``
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ....vocabulary.errors import SettingsError
from ....vocabulary.session import EndReason, Mark, Session, Tombstone
from ...forks import renew_after_fork
from ...play import play, play_async
from .address import Address, read
from .client import Client
from .counts import Counts
from .lease import Lease
from .operations import Command, Operations, Servers, Work
from .pipes import Pipes
from .values import version_of

T = TypeVar("T")


class RedisStore:
    """The store behind ``redis:``. Opens nothing before the first use."""

    inline = False
    inline_writes = False
    reads_versions = True

    def __init__(self, address: Address, *, revocation_lag: int = 0) -> None:
        """``revocation_lag``: in milliseconds, as the setting of that name; 0: every request asks.

        Raises :class:`SettingsError` for a Redis Cluster with a lag.
        """
        if revocation_lag and address.kind == "cluster":
            problem = "in a Redis Cluster it can't be guaranteed, because slots move between servers: leave it at 0"
            raise SettingsError("revocation_lag", revocation_lag, problem)
        self.address = address
        self.operations = Operations(address.prefix)
        self._client = Client(address)
        self._counts = Counts(self.operations.sessions)
        self._lease = Lease(self._client, self._counts, revocation_lag / 1_000) if revocation_lag else None
        self._asynchronous = AsyncRedisStore(self._client, self.operations, self._counts, listens=self._lease is None)
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`kmsi_middleware.edges.forks`."""
        self._counts.renew()

    @property
    def asynchronous(self) -> AsyncRedisStore:
        return self._asynchronous

    def _play(self, work: Work[T]) -> T:
        return play(work, self._client.perform)

    def load(self, key: bytes, now: float) -> Session | Tombstone | None:
        return self._play(self.operations.load(key, now))

    def create(self, session: Session, now: float) -> None:
        with _moving(self._counts, session.key):
            self._play(self.operations.create(session, now))

    def save(self, session: Session, now: float) -> None:
        with _moving(self._counts, session.key):
            self._play(self.operations.save(session, now))

    def end(self, key: bytes, reason: EndReason, now: float) -> bool:
        with _moving(self._counts, key):
            return self._play(self.operations.end(key, reason, now))

    def end_many(self, keys: Sequence[bytes], reason: EndReason, now: float) -> int:
        with _moving(self._counts, *keys):
            return self._play(self.operations.end_many(keys, reason, now))

    def find(self, sid: str, issuer: str | None, now: float) -> list[Session]:
        return self._play(self.operations.find(sid, issuer, now))

    def find_user(self, user: bytes, now: float) -> list[Session]:
        return self._play(self.operations.find_user(user, now))

    def page(self, cursor: bytes, limit: int, now: float) -> tuple[list[Session], bytes]:
        return self._play(self.operations.page(cursor, limit, now))

    def read_mark(self, keys: Sequence[bytes], now: float) -> Mark:
        return self._play(self.operations.read_mark(keys, now))

    def put_mark(self, key: bytes, mark: Mark, until: int, now: float) -> None:
        self._play(self.operations.put_mark(key, mark, until, now))

    def put_ticket(self, key: bytes, payload: bytes, expires_at: int, now: float) -> bool:
        return self._play(self.operations.put_ticket(key, payload, expires_at, now))

    def read_ticket(self, key: bytes, now: float) -> bytes | None:
        return self._play(self.operations.read_ticket(key, now))

    def take_ticket(self, key: bytes, now: float) -> bytes | None:
        return self._play(self.operations.take_ticket(key, now))

    def counters(self) -> Sequence[int] | None:
        return self._lease.counters() if self._lease is not None else None

    def version(self, key: bytes) -> int | None:
        (begin,) = self._client.perform([self.operations.begin(key)])
        return version_of(begin)

    def close(self) -> None:
        if self._lease is not None:
            self._lease.close()
        self._client.close()
        self._asynchronous.close()


@contextmanager
def _moving(counts: Counts, *keys: bytes) -> Iterator[None]:
    """A write of this process's own (:mod:`.counts`, rule 4)."""
    try:
        yield
    finally:
        counts.move(*keys)


class AsyncRedisStore:
    """The same under asyncio. Every event loop has connections of its own. ``listens``: unless the process has a lease,
    with a connection that does."""

    def __init__(self, client: Client, operations: Operations, counts: Counts, *, listens: bool) -> None:
        self._client = client
        self._operations = operations
        self._counts = counts
        self._listens = listens and client.address.kind != "cluster"
        self._reset()
        renew_after_fork(self)

    def _reset(self) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, Pipes] = {}

    def renew(self) -> None:
        """See :mod:`kmsi_middleware.edges.forks`."""
        for pipes in self._by_loop.values():
            pipes.let_go()
        self._inherited = self._by_loop  # its event loops are not the child's
        self._reset()

    def _pipes(self) -> Pipes:
        """The connections of the running event loop."""
        loop = asyncio.get_running_loop()
        pipes = self._by_loop.get(loop)
        if pipes is None:
            pipes = self._by_loop[loop] = self._made()
        return pipes

    def _made(self) -> Pipes:
        return Pipes(self._client, self._operations, self._counts, self._forget, listens=self._listens)

    def _forget(self, pipes: Pipes) -> None:
        if self._by_loop.get(pipes.loop) is pipes:
            del self._by_loop[pipes.loop]

    def close(self) -> None:
        """Close the connections of all event loops, from whatever thread."""
        for pipes in list(self._by_loop.values()):
            try:
                pipes.loop.call_soon_threadsafe(pipes.close)
            except RuntimeError:  # that loop has ended
                self._forget(pipes)

    async def _perform(self, asked: Sequence[Command] | Servers) -> Any:
        return await self._pipes().perform(asked)

    async def _play(self, work: Work[T]) -> T:
        return await play_async(work, self._perform)

    async def load(self, key: bytes, now: float) -> Session | Tombstone | None:
        return await self._play(self._operations.load(key, now))

    async def create(self, session: Session, now: float) -> None:
        with _moving(self._counts, session.key):
            await self._play(self._operations.create(session, now))

    async def save(self, session: Session, now: float) -> None:
        with _moving(self._counts, session.key):
            await self._play(self._operations.save(session, now))

    async def end(self, key: bytes, reason: EndReason, now: float) -> bool:
        with _moving(self._counts, key):
            return await self._play(self._operations.end(key, reason, now))

    async def end_many(self, keys: Sequence[bytes], reason: EndReason, now: float) -> int:
        with _moving(self._counts, *keys):
            return await self._play(self._operations.end_many(keys, reason, now))

    async def find(self, sid: str, issuer: str | None, now: float) -> list[Session]:
        return await self._play(self._operations.find(sid, issuer, now))

    async def find_user(self, user: bytes, now: float) -> list[Session]:
        return await self._play(self._operations.find_user(user, now))

    async def page(self, cursor: bytes, limit: int, now: float) -> tuple[list[Session], bytes]:
        return await self._play(self._operations.page(cursor, limit, now))

    async def read_mark(self, keys: Sequence[bytes], now: float) -> Mark:
        return await self._play(self._operations.read_mark(keys, now))

    async def put_mark(self, key: bytes, mark: Mark, until: int, now: float) -> None:
        await self._play(self._operations.put_mark(key, mark, until, now))

    async def put_ticket(self, key: bytes, payload: bytes, expires_at: int, now: float) -> bool:
        return await self._play(self._operations.put_ticket(key, payload, expires_at, now))

    async def read_ticket(self, key: bytes, now: float) -> bytes | None:
        return await self._play(self._operations.read_ticket(key, now))

    async def take_ticket(self, key: bytes, now: float) -> bytes | None:
        return await self._play(self._operations.take_ticket(key, now))

    def counters(self) -> Awaitable[Sequence[int] | None]:
        # As _pipes, but in one frame: on the way of nearly every request.
        pipes = self._by_loop.get(asyncio.get_running_loop())
        return (pipes if pipes is not None else self._pipes()).counters()

    def noted_counters(self) -> Sequence[int]:
        return self._counts.now

    def version(self, key: bytes) -> Awaitable[int | None]:
        return self._pipes().version(key)


__all__ = ["AsyncRedisStore", "RedisStore", "read"]

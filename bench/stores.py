"""The stores that are measured, each as a row of a table: how it is opened, how filled, and how large it is."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bench.redis_server import redis_server

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.vocabulary.effects import SessionStore
from kmsi_middleware.vocabulary.session import Session

AT_ONCE, TOGETHER = 10_000, 1_000


@dataclass(frozen=True)
class Opened:
    """A store to be measured."""

    url: str
    """What the setting ``store`` would be."""
    store: SessionStore
    fill: Callable[[Iterable[Session]], None]
    """Puts many sessions in quickly: by the store's own ``create``, but not one by one."""
    size: Callable[[], int]
    """Bytes that it takes."""


@contextmanager
def _sqlite() -> Iterator[Opened]:
    with tempfile.TemporaryDirectory(prefix="kmsi-bench-") as folder:
        path = Path(folder) / "sessions.sqlite3"
        store = open_store(f"sqlite:{path}")

        def fill(sessions: Iterable[Session]) -> None:
            _in_few_transactions(store, sessions)
            store.close()  # and with it the write-ahead log

        yield Opened(f"sqlite:{path}", store, fill, lambda: path.stat().st_size)
        store.close()


def _in_few_transactions(store: Any, sessions: Iterable[Session]) -> None:
    """What each ``create`` does within its transaction is collected, and done in a transaction for many."""
    now, write = time.time(), store._write
    works: list[Callable[[Any], None]] = []
    waiting = iter(sessions)
    write(lambda _: None, now)
    for quick in ("cache_size = -500000", "wal_autocheckpoint = 100000"):  # until the store is closed
        store._writer.execute(f"PRAGMA {quick}")
    try:
        while some := list(islice(waiting, AT_ONCE)):
            store._write = lambda work, _now, _keys=(): works.append(work)
            for session in some:
                store.create(session, now)
            del store._write
            write(lambda writer: [work(writer) for work in works], now)
            works.clear()
    finally:
        store.__dict__.pop("_write", None)


@contextmanager
def _redis() -> Iterator[Opened]:
    from redis import Redis

    with redis_server() as url, Redis.from_url(url) as redis:
        store = open_store(url)

        def fill(sessions: Iterable[Session]) -> None:
            _in_step(store, sessions)

        yield Opened(url, store, fill, lambda: int(redis.info("memory")["used_memory"]))
        store.close()


def _in_step(store: Any, sessions: Iterable[Session]) -> None:
    """The steps of many ``create``s are taken together, each in one exchange with the server."""
    now, waiting = time.time(), iter(sessions)
    while some := list(islice(waiting, TOGETHER)):
        creating = [store.operations.create(session, now) for session in some]
        asked = [next(create) for create in creating]
        while creating:
            replies = iter(store._client.perform([command for commands in asked for command in commands]))
            unfinished = []
            for create, commands in zip(creating, asked, strict=True):
                with suppress(StopIteration):
                    unfinished.append((create, create.send(list(islice(replies, len(commands))))))
            creating, asked = [create for create, _ in unfinished], [commands for _, commands in unfinished]


STORES: dict[str, tuple[Callable[[], Any], str]] = {
    "SQLite": (_sqlite, f"{AT_ONCE:,} to a transaction"),
    "Redis": (_redis, f"{TOGETHER:,} in step"),
}
"""By name: opens an empty one, and how it is filled."""

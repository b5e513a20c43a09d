"""The SQLite store with several processes on one file, and processes that die or fork."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from tests.stores import store_actors
from tests.stores.store_actors import ISSUER, NOW, in_one_slot, key_of, session

from kmsi_middleware.edges.stores import SQLiteStore
from kmsi_middleware.edges.stores.schema import counters_path
from kmsi_middleware.vocabulary.effects import slot_of
from kmsi_middleware.vocabulary.session import Session, Tombstone

_spawn = multiprocessing.get_context("spawn")


@contextmanager
def playing(actor: Any, *arguments: Any) -> Iterator[Connection]:
    """A process that plays ``actor`` with a pipe to the test; at the end it must have gone well."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=actor, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield ours
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def run(actor: Any, *arguments: Any) -> int | None:
    """Play ``actor`` to its end; returns the exit code."""
    process = _spawn.Process(target=actor, args=arguments)
    process.start()
    process.join(60)
    code = process.exitcode
    process.kill()
    process.join()
    process.close()
    return code


def _all_at_once(pipes: list[Connection]) -> list[Any]:
    for pipe in pipes:
        pipe.send("go")
    return [pipe.recv() for pipe in pipes]


def test_of_several_processes_one_takes_a_ticket(sqlite_store: SQLiteStore) -> None:
    rounds, path = 50, sqlite_store.path
    for number in range(rounds):
        sqlite_store.put_ticket(key_of(number), b"payload", int(NOW) + 600, NOW)
    with (
        playing(store_actors.take, path, rounds) as a,
        playing(store_actors.take, path, rounds) as b,
        playing(store_actors.take, path, rounds) as c,
    ):
        for _ in range(rounds):
            assert sorted(_all_at_once([a, b, c]), key=bool) == [None, None, b"payload"]


@pytest.mark.parametrize("start", ["nothing", "no counters file"])
def test_of_several_processes_one_creates_a_session(sqlite_store: SQLiteStore, start: str) -> None:
    """They also make the database, or its counters file, all at once."""
    rounds, path = 50, sqlite_store.path
    if start == "no counters file":
        sqlite_store.load(key_of(0), NOW)
        sqlite_store.close()
        counters_path(path).unlink()
    with (
        playing(store_actors.create, path, rounds) as a,
        playing(store_actors.create, path, rounds) as b,
        playing(store_actors.create, path, rounds) as c,
    ):
        for _ in range(rounds):
            assert sorted(_all_at_once([a, b, c])) == ["conflict", "conflict", "created"]
    assert len(sqlite_store.find("sid-1", ISSUER, NOW)) == rounds


def test_after_a_revocation_was_answered_no_process_vouches_for_the_session(
    sqlite_store: SQLiteStore,
) -> None:
    """This process holds the session by its count, and reloads as often as it can, while others write in the
    same slot. Once the revoking process has answered, the held session does not pass."""
    store, path = sqlite_store, sqlite_store.path
    slot = slot_of(in_one_slot(0))
    hits = 0
    with (
        playing(store_actors.end, path) as revoker,
        playing(store_actors.keep_writing, path, "one") as one,
        playing(store_actors.keep_writing, path, "two") as two,
    ):
        assert one.recv() == two.recv() == "ready"
        for number in range(300):
            key = in_one_slot(number)
            store.create(session(key=key), NOW)
            counts = store.counters()
            assert counts is not None
            revoker.send(key)
            held, noted = None, 1
            while not revoker.poll():
                if held is not None and counts[slot] == noted:
                    hits += 1
                    continue
                noted = counts[slot]
                loaded = store.load(key, NOW)
                held = loaded if isinstance(loaded, Session) and noted % 2 == 0 else None
            assert held is None or counts[slot] != noted
            assert revoker.recv() is True
            assert store.load(key, NOW) == Tombstone("revoked", int(NOW), "c0ffee")
        revoker.send(None)
        for pipe in (one, two):
            pipe.send("stop")
            assert pipe.recv() > 1
    assert hits > 0
    store.end(in_one_slot("one"), "revoked", NOW)
    counts = store.counters()
    assert counts is not None
    assert counts[slot] % 2 == 0


@pytest.mark.parametrize("where", ["before commit", "after commit"])
def test_a_writer_that_is_killed_leaves_its_slot_odd_until_the_next_write(
    sqlite_store: SQLiteStore, where: str
) -> None:
    key = key_of("ada")
    sqlite_store.create(session(), NOW)
    counts = sqlite_store.counters()
    assert counts is not None
    noted = counts[slot_of(key)]
    assert run(store_actors.die, sqlite_store.path, key, where) == -signal.SIGKILL
    assert counts[slot_of(key)] > noted
    assert counts[slot_of(key)] % 2 == 1
    if where == "before commit":
        assert sqlite_store.load(key, NOW) == session()
    else:
        assert sqlite_store.load(key, NOW) == Tombstone("revoked", int(NOW), "c0ffee")
    sqlite_store.end(key, "revoked", NOW)
    assert counts[slot_of(key)] > noted + 1
    assert counts[slot_of(key)] % 2 == 0


def test_a_fork_after_the_first_use_leaves_both_sides_working(path: Path) -> None:
    assert run(store_actors.fork, path) == 0


def test_a_child_that_learns_late_of_its_fork_opens_its_own(path: Path) -> None:
    assert run(store_actors.fork_unnoticed, path) == 0

"""Sessions to play with, and what other processes do in the tests of the SQLite store."""

from __future__ import annotations

import os
import signal
import threading
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kmsi_middleware.edges.stores import SQLiteStore, sqlite
from kmsi_middleware.vocabulary.effects import slot_of
from kmsi_middleware.vocabulary.errors import StoreConflict
from kmsi_middleware.vocabulary.session import Session, Tombstone

NOW = 1_700_000_000.0
DAY = 86_400
ISSUER = "https://login.example/v2.0"


def key_of(name: object) -> bytes:
    return sha256(repr(name).encode()).digest()


def session(name: object = "ada", **changes: Any) -> Session:
    values: dict[str, Any] = {
        "key": key_of(name),
        "issuer": ISSUER,
        "subject": "ada",
        "claims": {"sub": "ada", "name": "Ada Lovelace", "amr": ["pwd", "mfa"], "acct": 0},
        "sids": ("sid-1",),
        "auth_time": int(NOW) - 5,
        "started_at": int(NOW),
        "renewed_at": int(NOW),
        "expires_at": int(NOW) + DAY,
        "persistent": True,
        "decision": "answered_yes",
        "correlation_id": "c0ffee",
        "data": b'{"cart":[1]}',
        "sealed": b"\x00\xff sealed",
    }
    return Session(**{**values, **changes})


def in_one_slot(name: object) -> bytes:
    """A key that shares its counter with all others made here."""
    return b"\x12\x34" + key_of(name)[2:]


# Each of these is the whole life of a process ------------------------------------------------------------------


def take(path: Path, rounds: int, pipe: Connection) -> None:
    """Take the ticket of each round, at the word of the test."""
    store = SQLiteStore(path)
    for number in range(rounds):
        pipe.recv()
        pipe.send(store.take_ticket(key_of(number), NOW))
    store.close()


def create(path: Path, rounds: int, pipe: Connection) -> None:
    """Create the session of each round, at the word of the test."""
    store = SQLiteStore(path)
    for number in range(rounds):
        pipe.recv()
        try:
            store.create(session(number), NOW)
        except StoreConflict:
            pipe.send("conflict")
        else:
            pipe.send("created")
    store.close()


def end(path: Path, pipe: Connection) -> None:
    """End the session whose key comes down the pipe, and answer; until None comes."""
    store = SQLiteStore(path)
    while (key := pipe.recv()) is not None:
        pipe.send(store.end(key, "revoked", NOW))
    store.close()


def keep_writing(path: Path, name: str, pipe: Connection) -> None:
    """Save a session of the common slot, again and again, until something comes down the pipe."""
    store = SQLiteStore(path)
    version = 1
    store.create(session(key=in_one_slot(name)), NOW)
    pipe.send("ready")
    while not pipe.poll():
        version += 1
        store.save(session(key=in_one_slot(name), version=version), NOW)
    pipe.send(version)
    store.close()


def die(path: Path, key: bytes, where: str) -> None:
    """End a session, and be killed on the way."""

    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    store = SQLiteStore(path)
    store.load(key, NOW)
    assert store._writer is not None
    assert store._counters is not None
    if where == "before commit":
        store._writer.set_trace_callback(lambda statement: kill() if statement == "COMMIT" else None)
    else:
        store._counters.settle = kill  # type: ignore[assignment,method-assign]
    store.end(key, "revoked", NOW)


def fork(path: Path) -> None:
    """Fork after the first use, while another thread reads. Both sides write, and see what the other wrote."""
    store = SQLiteStore(path)
    store.create(session("shared"), NOW)
    done, answers = threading.Event(), set()

    def keep_reading() -> None:
        while not done.is_set():
            answers.add(type(store.load(key_of("shared"), NOW)))

    reader = threading.Thread(target=keep_reading)
    reader.start()
    before = store.counters()
    assert before is not None
    noted = before[slot_of(key_of("shared"))]
    to_parent, from_child = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # An inherited connection is not used, nor even there.
            descriptors = [str(each.resolve()) for each in Path("/proc/self/fd").iterdir()]
            assert not [each for each in descriptors if each.endswith(("sqlite3", "-wal", "-shm"))]
            store.create(session("child's"), NOW)
            store.end(key_of("shared"), "revoked", NOW)
            store.close()
            os._exit(0)
        except BaseException as error:
            os.write(from_child, repr(error).encode())
            os._exit(1)
    store.create(session("parent's"), NOW)
    _, status = os.waitpid(child, 0)
    done.set()
    reader.join()
    assert Session in answers
    assert answers <= {Session, Tombstone}
    os.close(from_child)
    assert status == 0, os.read(to_parent, 1000)
    os.close(to_parent)
    assert isinstance(store.load(key_of("child's"), NOW), Session)
    assert isinstance(store.load(key_of("parent's"), NOW), Session)
    assert isinstance(store.load(key_of("shared"), NOW), Tombstone)
    after = store.counters()
    assert after is not None
    assert noted != after[slot_of(key_of("shared"))] == before[slot_of(key_of("shared"))]
    store.close()


def fork_unnoticed(path: Path) -> None:
    """As in the child of a server that tells Python only after it has forked."""
    store = SQLiteStore(path)
    store.create(session(), NOW)
    writer = store._writer
    sqlite._after_fork_in_child()
    assert store.counters() is None
    assert isinstance(store.load(key_of("ada"), NOW), Session)
    assert store.end(key_of("ada"), "revoked", NOW)
    assert store._writer is not writer
    assert writer in sqlite._inherited
    assert writer is not None
    assert not writer.in_transaction  # and open: this would raise
    store.close()

"""Sessions in a SQLite file, shared by all processes of one machine.

1. A read is one SELECT on a connection of its own, taken from a pool: it waits for no writer, and costs
   microseconds, so it runs on the event loop's thread.
2. A write is one ``BEGIN IMMEDIATE`` transaction on the process's one writing connection. It may wait for other
   processes (``WRITE_WAIT``), so it belongs on a worker thread.
3. Every write of a session marks and settles its counter (:mod:`.counters`). Tickets and sweeping don't: nobody
   holds a ticket in memory, and what is swept had expired a day before.
4. What is over is swept in the background (:mod:`.sweeping`), on the same connection and under the same lock.
5. Whatever SQLite or the system raises becomes :class:`StoreUnavailable`, and nothing of it was answered.
6. A SQLite connection must not cross a fork. Just before one, the connections are closed, and both sides open
   their own when they need them. Where a server forks behind Python's back, the child drops what it inherited
   without touching it.
7. A database file that was replaced or deleted under us is noticed by the next write, which fails; the one after
   it opens the new file. Stop the processes before you replace the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from ...vocabulary.effects import slot_of
from ...vocabulary.errors import SignInRevoked, StoreConflict, StoreUnavailable
from ...vocabulary.session import EVERYBODY, TOMBSTONE_SECONDS, EndReason, Mark, Session, Tombstone, later
from . import codec, schema, sweeping
from .counters import Counters
from .sweeping import Sweeper

T = TypeVar("T")

END_STEP = 200
"""Sessions that one transaction ends at most: other writers wait for no more than that."""

# Columns in the order of codec.COLUMNS.
_LOAD = """
    SELECT gone_at, ended, version, issuer, subject, sids, expires_at, data, sealed, body
    FROM sessions WHERE key = ?
"""
_CREATE = """
    INSERT INTO sessions (key, gone_at, version, issuer, subject, sids, expires_at, data, sealed, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING
"""
_CURRENT = """
    SELECT id, issuer, sids FROM sessions WHERE key = ? AND version = ? AND ended IS NULL AND gone_at > ?
"""
_SAVE = """
    UPDATE sessions SET gone_at = ?, version = ?, issuer = ?, subject = ?, sids = ?, expires_at = ?, data = ?,
        sealed = ?, body = ?
    WHERE id = ?
"""
_END = """
    UPDATE sessions SET gone_at = ?, ended = ?, version = NULL, issuer = NULL, subject = NULL, sids = NULL,
        expires_at = NULL, data = NULL, sealed = NULL, body = json_extract(body, '$.correlation_id')
    WHERE id = ?
"""
_FIND = """
    SELECT key, version, issuer, subject, sids, expires_at, data, sealed, body FROM sessions
    WHERE id IN (SELECT session FROM sids WHERE sid = ? AND (? IS NULL OR issuer = ?)) AND expires_at > ?
    ORDER BY id
"""
_FIND_USER = """
    SELECT key, version, issuer, subject, sids, expires_at, data, sealed, body FROM sessions
    WHERE id IN (SELECT session FROM users WHERE user = ?) AND expires_at > ?
    ORDER BY id
"""
_PAGE = "SELECT key FROM sessions WHERE key > ? ORDER BY key LIMIT ?"
_PAGED = """
    SELECT key, version, issuer, subject, sids, expires_at, data, sealed, body FROM sessions
    WHERE key > ? AND key <= ? AND expires_at > ?
    ORDER BY key
"""
_MARK = "SELECT valid_from, real_from FROM marks WHERE key = ? AND until > ?"
_PUT_MARK = """
    INSERT INTO marks (key, valid_from, real_from, until) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
        valid_from = max(excluded.valid_from, iif(until > ?, valid_from, 0)),
        real_from = max(excluded.real_from, iif(until > ?, real_from, 0)),
        until = max(excluded.until, until)
"""
_PUT_TICKET = """
    INSERT INTO tickets (key, payload, expires_at) VALUES (?, ?, ?) ON CONFLICT (key)
    DO UPDATE SET payload = excluded.payload, expires_at = excluded.expires_at WHERE tickets.expires_at <= ?
"""
_READ_TICKET = "SELECT payload FROM tickets WHERE key = ? AND expires_at > ?"


class SQLiteStore:
    """The store behind ``sqlite:PATH``.

    ``path``: the database file; made on first use, with its folder, if it is not there. Its ``.counters`` file
    is kept beside it.
    """

    inline = True
    inline_writes = False
    asynchronous = None
    reads_versions = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._reset()
        _stores.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()  # held for opening, writing and closing
        self._pool = threading.Lock()  # held for adding readers and for closing them
        self._writer: sqlite3.Connection | None = None
        self._counters: Counters | None = None
        self._file: tuple[int, int] | None = None
        self._idle: list[sqlite3.Connection] = []
        self._readers = 0
        self._sweeper = Sweeper(self._sweep, self._checkpoint)

    # Sessions ---------------------------------------------------------------------------------------------

    def load(self, key: bytes, now: float) -> Session | Tombstone | None:
        for gone_at, ended, *row in self._read(_LOAD, (key,)):
            if now >= gone_at:
                return None
            if ended is not None:
                return Tombstone(ended, gone_at - TOMBSTONE_SECONDS, row[-1] or "")
            return self._decode(key, row)
        return None

    def create(self, session: Session, now: float) -> None:
        row = codec.encode(session)

        def work(writer: sqlite3.Connection) -> None:
            gone_at = session.expires_at + TOMBSTONE_SECONDS
            if self._mark(writer.execute, session.mark_keys, now).stops(session.begun_at):
                raise SignInRevoked("revoked since the sign-in began")
            new = writer.execute(_CREATE, (session.key, gone_at, *row))
            if new.rowcount != 1:
                self._drop(writer, session.key, now)
                new = writer.execute(_CREATE, (session.key, gone_at, *row))
                if new.rowcount != 1:
                    raise StoreConflict("the key is taken")
            assert new.lastrowid is not None
            self._index(writer, new.lastrowid, session)
            for user in session.user_keys:
                writer.execute("INSERT OR IGNORE INTO users VALUES (?, ?)", (user, new.lastrowid))

        self._write(work, now, (session.key,))

    def save(self, session: Session, now: float) -> None:
        row = codec.encode(session)
        version, issuer, _, sids, *_ = row

        def work(writer: sqlite3.Connection) -> None:
            current = writer.execute(_CURRENT, (session.key, version - 1, now)).fetchone()
            if current is None:
                raise StoreConflict("the session was saved by another or has ended")
            writer.execute(_SAVE, (session.expires_at + TOMBSTONE_SECONDS, *row, current[0]))
            if current[1:] != (issuer, sids):
                writer.execute("DELETE FROM sids WHERE session = ?", current[:1])
                self._index(writer, current[0], session)

        self._write(work, now, (session.key,))

    def end(self, key: bytes, reason: EndReason, now: float) -> bool:
        return self.end_many((key,), reason, now) == 1

    def end_many(self, keys: Sequence[bytes], reason: EndReason, now: float) -> int:
        ended = 0
        for begin in range(0, len(keys), END_STEP):
            ended += self._end_step(keys[begin : begin + END_STEP], reason, now)
        return ended

    def _end_step(self, keys: Sequence[bytes], reason: EndReason, now: float) -> int:
        def work(writer: sqlite3.Connection) -> int:
            ended = 0
            for key in keys:
                found = writer.execute(
                    "SELECT id FROM sessions WHERE key = ? AND ended IS NULL AND gone_at > ?", (key, now)
                ).fetchone()
                if found is not None:
                    writer.execute(_END, (int(now) + TOMBSTONE_SECONDS, reason, *found))
                    writer.execute("DELETE FROM sids WHERE session = ?", found)
                    writer.execute("DELETE FROM users WHERE session = ?", found)
                    ended += 1
            return ended

        return self._write(work, now, keys)

    def find(self, sid: str, issuer: str | None, now: float) -> list[Session]:
        rows = self._read(_FIND, (sid, issuer, issuer, now))
        return [self._decode(key, row) for key, *row in rows]

    def find_user(self, user: bytes, now: float) -> list[Session]:
        return [self._decode(key, row) for key, *row in self._read(_FIND_USER, (user, now))]

    def page(self, cursor: bytes, limit: int, now: float) -> tuple[list[Session], bytes]:
        keys = [key for (key,) in self._read(_PAGE, (cursor, limit))]
        rows = self._read(_PAGED, (cursor, keys[-1], now)) if keys else []
        return [self._decode(key, row) for key, *row in rows], keys[-1] if len(keys) == limit else b""

    # Marks ------------------------------------------------------------------------------------------------

    def read_mark(self, keys: Sequence[bytes], now: float) -> Mark:
        return self._mark(self._read, keys, now)

    def _mark(self, run: Callable[[str, tuple[Any, ...]], Iterable[Any]], keys: Sequence[bytes], now: float) -> Mark:
        return later(*(Mark(*row) for key in (*keys, EVERYBODY) for row in run(_MARK, (key, now))))

    def put_mark(self, key: bytes, mark: Mark, until: int, now: float) -> None:
        def work(writer: sqlite3.Connection) -> None:
            writer.execute(_PUT_MARK, (key, mark.valid_from, mark.real_from, until, now, now))

        self._write(work, now)

    # Tickets ----------------------------------------------------------------------------------------------

    def put_ticket(self, key: bytes, payload: bytes, expires_at: int, now: float) -> bool:
        def work(writer: sqlite3.Connection) -> bool:
            return writer.execute(_PUT_TICKET, (key, payload, expires_at, now)).rowcount == 1

        return self._write(work, now)

    def read_ticket(self, key: bytes, now: float) -> bytes | None:
        for (payload,) in self._read(_READ_TICKET, (key, now)):
            assert isinstance(payload, bytes)
            return payload
        return None

    def take_ticket(self, key: bytes, now: float) -> bytes | None:
        if self.read_ticket(key, now) is None:
            return None  # who guesses at tickets holds up no writer

        def work(writer: sqlite3.Connection) -> bytes | None:
            row = writer.execute(_READ_TICKET, (key, now)).fetchone()
            writer.execute("DELETE FROM tickets WHERE key = ?", (key,))
            return None if row is None else row[0]

        return self._write(work, now)

    # The process's side -------------------------------------------------------------------------------------

    def counters(self) -> Sequence[int] | None:
        """The shared counts, once the store has been used; ask again for every request.

        Whoever keeps the sequence itself would miss that the store was closed, or has opened another file.
        """
        mapped = self._counters
        return None if mapped is None else mapped.view

    def version(self, key: bytes) -> int | None:
        for (version,) in self._read("SELECT version FROM sessions WHERE key = ?", (key,)):
            assert version is None or isinstance(version, int)
            return version
        return None

    def close(self) -> None:
        """Close all connections, after the reads and the write under way. The next use opens them again."""
        with self._lock:
            self._shut()

    # Reading ------------------------------------------------------------------------------------------------

    def _read(self, statement: str, values: tuple[Any, ...] = (), *, opens: bool = True) -> list[Any]:
        """``opens=False``: reads nothing where the store is not open."""
        idle = self._idle
        try:
            reader = idle.pop()
        except IndexError:
            another = self._open_reader(opens)
            if another is None:
                return []
            idle, reader = another
        try:
            return reader.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise self._unavailable(error) from error
        finally:
            idle.append(reader)

    def _decode(self, key: bytes, row: list[Any]) -> Session:
        try:
            return codec.decode(key, row)
        except (ValueError, TypeError) as error:
            raise StoreUnavailable(f"{self.path} holds a session that this release can't read") from error

    # Writing ------------------------------------------------------------------------------------------------

    def _write(self, work: Callable[[sqlite3.Connection], T], now: float, keys: Sequence[bytes] = ()) -> T:
        """Do ``work`` in a transaction of its own; ``keys``: of the sessions that it writes."""
        self._acquire()
        try:
            writer, counters = self._open()
            self._check_file()
            marks: dict[int, int] = {}
            try:
                writer.execute("BEGIN IMMEDIATE")
                answer = work(writer)
                for slot in {slot_of(key) for key in keys}:
                    marks[slot] = counters.mark(slot)
                writer.execute("COMMIT")
            except BaseException:
                self._roll_back(writer)
                raise
            finally:
                if marks:
                    self._settle(writer, counters, marks)
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise self._unavailable(error) from error
        finally:
            self._lock.release()
        self._sweeper.note(now)
        return answer

    def _settle(self, writer: sqlite3.Connection, counters: Counters, marks: dict[int, int]) -> None:
        # Without the lock the slot stays odd: everyone loads, and the slot's next write settles it.
        with suppress(sqlite3.Error):
            writer.execute("BEGIN IMMEDIATE")
            try:
                for slot, mark in marks.items():
                    counters.settle(slot, mark)
            finally:
                writer.execute("ROLLBACK")

    def _roll_back(self, writer: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        if writer.in_transaction:
            writer.close()
            self._writer = None

    def _drop(self, writer: sqlite3.Connection, key: bytes, now: float) -> None:
        """Delete the row of a key, if it counts as absent."""
        gone = writer.execute("SELECT id FROM sessions WHERE key = ? AND gone_at <= ?", (key, now)).fetchone()
        if gone is not None:
            writer.execute("DELETE FROM sids WHERE session = ?", gone)
            writer.execute("DELETE FROM users WHERE session = ?", gone)
            writer.execute("DELETE FROM sessions WHERE id = ?", gone)

    def _index(self, writer: sqlite3.Connection, row: int, session: Session) -> None:
        for sid in session.sids:
            writer.execute("INSERT OR IGNORE INTO sids VALUES (?, ?, ?)", (sid, session.issuer, row))

    def _sweep(self, now: float, first: bool) -> bool:
        """A step of the sweeper's. A store that was closed meanwhile is not opened for it."""
        with self._lock:
            writer = self._writer
            if writer is None:
                return False
            try:
                writer.execute("BEGIN IMMEDIATE")
                ours = not first or sweeping.claim(writer, now)
                more = ours and sweeping.sweep(writer, now)
                writer.execute("COMMIT")
                return more or (ours and sweeping.give_back(writer))
            except sqlite3.Error as error:
                self._roll_back(writer)
                raise self._unavailable(error) from error

    def _checkpoint(self) -> None:
        """Rule 3 of :mod:`.sweeping`. Nobody waits for it, because a reader's connection does it."""
        self._read("PRAGMA wal_checkpoint(PASSIVE)", opens=False)

    # Opening and closing ------------------------------------------------------------------------------------

    def _acquire(self) -> None:
        if not self._lock.acquire(timeout=schema.WRITE_WAIT):
            raise StoreUnavailable(f"{self.path}: other writes of this process took too long")

    def _open(self) -> tuple[sqlite3.Connection, Counters]:
        """The writing connection; with the lock held."""
        if self._writer is None or self._counters is None:
            self._writer, self._counters = schema.open_writer(self.path)
            self._file = self._identify()
        return self._writer, self._counters

    def _open_reader(self, opens: bool) -> tuple[list[sqlite3.Connection], sqlite3.Connection] | None:
        """A reader more, and the pool that it belongs to. It waits for a write only where the store is not open yet;
        there, ``None`` unless it ``opens`` the store."""
        try:
            while True:
                with self._pool:
                    if self._counters is not None:
                        reader = schema.open_reader(self.path)
                        self._readers += 1
                        return self._idle, reader
                if not opens:
                    return None
                self._acquire()
                try:
                    self._open()
                finally:
                    self._lock.release()
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _identify(self) -> tuple[int, int]:
        found = os.stat(self.path)  # noqa: PTH116 - twice as fast as Path.stat, and on the way of every write
        return found.st_dev, found.st_ino

    def _check_file(self) -> None:
        with suppress(FileNotFoundError):
            if self._identify() == self._file:
                return
        self._shut()
        raise StoreUnavailable(f"{self.path} was replaced or deleted while it was open")

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self.path}: {error}")

    def _shut(self) -> None:
        """Close everything; with the lock held."""
        with self._pool:
            self._counters = None
            idle, self._idle = self._idle, []  # so that nobody takes again what is given back
            while self._readers:
                try:
                    reader = idle.pop()
                except IndexError:
                    time.sleep(0.0005)  # until the reads under way in other threads are done
                else:
                    reader.close()
                    self._readers -= 1
        if self._writer is not None:
            self._writer.close()
            self._writer = None


# Forks ------------------------------------------------------------------------------------------------------

_stores: WeakSet[SQLiteStore] = WeakSet()
_waiting: list[SQLiteStore] = []  # closed and locked until the fork is done
_inherited: list[object] = []  # kept to the end of the process: closing them is not for the child


def _before_fork() -> None:
    for store in list(_stores):
        store._lock.acquire()
        _waiting.append(store)
        store._shut()


def _after_fork() -> None:
    while _waiting:
        _waiting.pop()._lock.release()


def _after_fork_in_child() -> None:
    _after_fork()
    for store in list(_stores):
        _inherited.extend((store._writer, *store._idle))
        store._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)

"""The database file: how it is made, opened and recognised.

1. Folder 0700 and file 0600 where we make them; SQLite gives its ``-wal`` and ``-shm`` files the mode of the file.
   What exists keeps its mode.
2. WAL, so that readers and the writer don't wait for each other; ``synchronous=NORMAL``: what was answered
   survives the end of every process, and a power failure may cost the last moments before it.
3. ``application_id`` says that the file is ours, ``user_version`` which tables it has. A file of another program
   and a file of a newer version are refused and left alone.
4. A row of ``sessions`` is a session, or, with ``ended`` set, what is left of one: ending is an update, so that it
   is one step and the key stays taken. ``gone_at`` is the instant from which the row counts as absent, swept or not.
5. Pages that become free can be given back to the system (``auto_vacuum``), in small steps (:mod:`.sweeping`).
6. ``sessions`` has rowids: with a random key as the clustered one it is slower and three times as large.
7. The counters file belongs to the database (:mod:`.counters`). If it is missing or foreign, a new one is made
   under SQLite's exclusive lock, which is had only when nobody else has the database open.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from pathlib import Path

from ...vocabulary.errors import StoreUnavailable
from . import counters
from .counters import Counters

READ_WAIT = 0.05
"""Seconds that a read waits for a lock. In WAL mode it needs one only while another process recovers the file."""
WRITE_WAIT = 2.0
"""Seconds that a write waits for another writer."""

LARGEST_WAL = 16 * 1_048_576
"""Bytes to which the ``-wal`` file is cut back once all of it is in the database."""

VERSION = 2
_APPLICATION_ID = 0x6B6D7369  # "kmsi"

_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        gone_at INTEGER NOT NULL,
        ended TEXT,
        version INTEGER,
        issuer TEXT,
        subject TEXT,
        sids TEXT,
        expires_at INTEGER,
        data BLOB,
        sealed BLOB,
        body TEXT
    )
    """,
    "CREATE INDEX sessions_by_end ON sessions (gone_at)",
    """
    CREATE TABLE sids (
        sid TEXT NOT NULL,
        issuer TEXT NOT NULL,
        session INTEGER NOT NULL,
        PRIMARY KEY (sid, issuer, session)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX sids_by_session ON sids (session)",
    "CREATE TABLE users (user BLOB NOT NULL, session INTEGER NOT NULL, PRIMARY KEY (user, session)) WITHOUT ROWID",
    "CREATE INDEX users_by_session ON users (session)",
    """
    CREATE TABLE marks (
        key BLOB PRIMARY KEY,
        valid_from INTEGER NOT NULL,
        real_from INTEGER NOT NULL,
        until INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE tickets (key BLOB PRIMARY KEY, payload BLOB NOT NULL, expires_at INTEGER NOT NULL)",
    "CREATE INDEX tickets_by_end ON tickets (expires_at)",
    "CREATE INDEX marks_by_end ON marks (until)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


def counters_path(path: Path) -> Path:
    """The counters file of a database."""
    return path.with_name(path.name + ".counters")


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, of a database that :func:`open_writer` has opened."""
    connection = _connect(path, READ_WAIT)
    try:
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def open_writer(path: Path) -> tuple[sqlite3.Connection, Counters]:
    """Open the database for writing, and make whatever is not there yet.

    Raises ``sqlite3.Error``, ``OSError``, or :class:`StoreUnavailable` for a file that is not for us.
    """
    _make_file(path)
    deadline = time.monotonic() + WRITE_WAIT
    while True:
        connection = _open(path)
        mapped = _attach(connection, path)
        if mapped is not None:
            return connection, mapped
        connection.close()
        try:
            _renew_counters(path)
        except sqlite3.OperationalError as error:
            if time.monotonic() >= deadline:
                raise StoreUnavailable(
                    f"{counters_path(path)} is missing or foreign, and other processes still use the old one; "
                    "stop them all, then start again"
                ) from error
            # Those that start together are in each other's way until one of them is alone.
            time.sleep(random.uniform(0.001, 0.03))  # noqa: S311


def _make_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _connect(path: Path, wait: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)


def _open(path: Path) -> sqlite3.Connection:
    connection = _connect(path, WRITE_WAIT)
    try:
        connection.execute("BEGIN")
        _is_empty(connection, path)  # before anything is changed
        connection.execute("COMMIT")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a file without pages; else it changes nothing
        _switch_to_wal(connection)
        connection.execute(f"PRAGMA journal_size_limit = {LARGEST_WAL}")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = FAST")  # no claims in the file's unused places
        connection.execute("BEGIN IMMEDIATE")
        if _is_empty(connection, path):
            for statement in _TABLES:
                connection.execute(statement)
            identity = counters.create(counters_path(path))
            connection.execute("INSERT INTO meta VALUES ('counters', ?), ('swept_at', 0)", (identity,))
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for the lock that this needs, so that processes that start together collide."""
    deadline = time.monotonic() + WRITE_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _is_empty(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has no tables yet; in a transaction, as another process may be making them.

    Raises :class:`StoreUnavailable` if it has tables that are not ours.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not (application or version or tables):
        return True
    if application != _APPLICATION_ID:
        raise StoreUnavailable(f"{path} is the database of another program; name another file")
    if version != VERSION:
        raise StoreUnavailable(
            f"{path} has tables of version {version}, and this release knows version {VERSION}; "
            "use the release that wrote it, or name another file"
        )
    return False


def _identity(connection: sqlite3.Connection) -> bytes:
    (identity,) = connection.execute("SELECT value FROM meta WHERE name = 'counters'").fetchone()
    assert isinstance(identity, bytes)
    return identity


def _attach(connection: sqlite3.Connection, path: Path) -> Counters | None:
    try:
        return counters.attach(counters_path(path), _identity(connection))
    except BaseException:
        connection.close()
        raise


def _renew_counters(path: Path) -> None:
    """Make the counters file. Raises ``sqlite3.OperationalError`` if anybody else has the database open."""
    connection = _connect(path, 0)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN IMMEDIATE")
        if counters.attach(counters_path(path), _identity(connection)) is None:
            identity = counters.create(counters_path(path))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'counters'", (identity,))
        connection.execute("COMMIT")
    finally:
        connection.close()

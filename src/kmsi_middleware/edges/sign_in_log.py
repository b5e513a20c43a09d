"""Where sign-in records go: a SQLite file of its own, and a ``logging`` logger.

1. The file lies beside the session store, not in it, so that writing a record disturbs no session.
2. A log that fails stops nobody from signing in: the failure is logged, and the record is on the logger.
3. Nothing opens before the first use; a forked child opens its own connection. Safe to use from threads.
4. Records are kept for ``days`` and swept in small steps, with each record that is appended.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from ..rules.sign_in_log import ABANDONED_AFTER, INTERRUPT, SUCCESS
from ..vocabulary.errors import StoreUnavailable
from ..vocabulary.records import frozen
from .forks import renew_after_fork

FILE_NAME = "sign-ins.sqlite3"
"""The file's name; it lies in the session store's folder."""

_log = logging.getLogger("kmsi_middleware")
_records_log = logging.getLogger("kmsi_middleware.sign_ins")

_DAY = 86_400
_IN_MEMORY = 10_000
_SWEEP = 100
_BUSY_SECONDS = 2.0
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE sign_ins (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    error_code INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    user_principal_name TEXT NOT NULL,
    user_display_name TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX sign_ins_at ON sign_ins (at);
CREATE INDEX sign_ins_correlation_id ON sign_ins (correlation_id, error_code);
"""


def beside(store: Path) -> Path:
    """Where the sign-in log of a session store lies, given the store's file."""
    return store.expanduser().resolve().parent / FILE_NAME


class SignInLog:
    """The sign-in log. ``path`` is its file, or ``None`` to keep the last 10,000 records in memory.

    ``days`` is how long records are kept (the setting ``sign_in_log_days``).
    """

    def __init__(self, path: Path | None, *, days: int) -> None:
        self._path = path and path.resolve()  # whatever the app's folder will be later
        self._seconds = days * _DAY
        self._memory: deque[tuple[float, Mapping[str, Any]]] = deque(maxlen=_IN_MEMORY)
        self._connection: sqlite3.Connection | None = None
        self._forgotten: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        renew_after_fork(self)

    def append(self, record: Mapping[str, Any], now: float) -> None:
        """Write a record of :func:`kmsi_middleware.rules.sign_in_log.sign_in_record`. Never raises for a log
        that fails. ``now`` is the clock's, in seconds since 1970."""
        line = json.dumps(record, separators=(",", ":"))
        usual = _number(record) in (SUCCESS, INTERRUPT)
        _records_log.log(logging.INFO if usual else logging.WARNING, "%s", line)
        with self._lock:
            if self._path is None:
                self._memory.append((now, record))
                while self._memory[0][0] < now - self._seconds:
                    self._memory.popleft()
                return
            try:
                self._insert(self._opened(self._path, create=True), record, line, now)
            except (sqlite3.Error, OSError) as error:
                self._shut()
                _log.error("the sign-in log %s could not be written: %s", self._path, error)

    def read(
        self,
        *,
        now: float,
        user: str = "",
        code: int | None = None,
        correlation_id: str = "",
        since: float | None = None,
        until: float | None = None,
        abandoned: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """The records that satisfy every filter given, newest first.

        ``user``: equals the id, or begins the principal name or the display name, in any case. ``code``: the
        number ``status.errorCode``. ``correlation_id``: or its beginning. ``since`` is included, ``until`` is
        not. ``abandoned``: interrupts that nobody answered: 50140 without a success under the same
        correlation id, ``ABANDONED_AFTER`` seconds old or older. A log that was never written is empty.

        Raises ``StoreUnavailable`` if the file can't be read.
        """
        where = _Filter(
            user.casefold(), code, correlation_id, since, until, now - ABANDONED_AFTER if abandoned else None
        )
        with self._lock:
            if self._path is None:
                return [dict(record) for record in islice(where.among(self._memory), limit)]
            try:
                if not self._path.exists():
                    return []
                connection = self._opened(self._path, create=False)
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    return []
                condition, values = where.sql()
                rows = connection.execute(
                    f"SELECT record FROM sign_ins WHERE {condition} ORDER BY at DESC, id DESC LIMIT ?",  # noqa: S608 -- fixed texts; every value is bound
                    (*values, -1 if limit is None else limit),
                ).fetchall()
            except (sqlite3.Error, OSError) as error:
                self._shut()
                raise StoreUnavailable(f"the sign-in log {self._path} could not be read: {error}") from error
        return [json.loads(text) for (text,) in rows]

    def close(self) -> None:
        """Close the file. Using the log again opens it again."""
        with self._lock:
            self._shut()

    def renew(self) -> None:
        """See :mod:`.forks`. The parent's connection stays unclosed: closing it here would break the file."""
        self._lock = threading.Lock()
        if self._connection is not None:
            self._forgotten.append(self._connection)
            self._connection = None

    def _insert(self, connection: sqlite3.Connection, record: Mapping[str, Any], line: str, now: float) -> None:
        with _transaction(connection):
            connection.execute(
                "INSERT INTO sign_ins (at, error_code, correlation_id, user_id, user_principal_name,"
                " user_display_name, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, _number(record), record["correlationId"], *_names(record), line),
            )
            connection.execute(
                "DELETE FROM sign_ins WHERE id IN (SELECT id FROM sign_ins WHERE at < ? ORDER BY at LIMIT ?)",
                (now - self._seconds, _SWEEP),
            )

    def _opened(self, path: Path, *, create: bool) -> sqlite3.Connection:
        if self._connection is not None and not path.exists():
            self._shut()  # the file was deleted: what is written to it now would be lost
        if self._connection is None:
            if create:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # SQLite gives its side files the mode of the file; an existing file keeps the mode it has.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        if create:
            with suppress(sqlite3.OperationalError):  # another process is just doing it
                self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"schema version {version} is not ours ({_SCHEMA_VERSION})")
        if version == 0 and create:
            with _transaction(self._connection):
                if self._connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody was faster
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
        return self._connection

    def _shut(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """``BEGIN IMMEDIATE`` to ``COMMIT`` or ``ROLLBACK``; sqlite3's own context manager begins nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@frozen
class _Filter:
    """One filter, as a condition of SQL and as a function; one table of tests holds for both."""

    user: str
    code: int | None
    correlation_id: str
    since: float | None
    until: float | None
    abandoned_by: float | None
    """Only interrupts that are abandoned unless answered before this instant."""

    def sql(self) -> tuple[str, list[Any]]:
        conditions, values = ["1"], list[Any]()

        def add(condition: str, *given: Any) -> None:
            conditions.append(condition)
            values.extend(given)

        if self.user:
            add(
                "(user_id = ? OR substr(user_principal_name, 1, length(?)) = ?"
                " OR substr(user_display_name, 1, length(?)) = ?)",
                *[self.user] * 5,
            )
        if self.code is not None:
            add("error_code = ?", self.code)
        if self.correlation_id:
            add("substr(correlation_id, 1, length(?)) = ?", self.correlation_id, self.correlation_id)
        if self.since is not None:
            add("at >= ?", self.since)
        if self.until is not None:
            add("at < ?", self.until)
        if self.abandoned_by is not None:
            add(
                "error_code = ? AND at <= ? AND NOT EXISTS (SELECT 1 FROM sign_ins AS answer"
                " WHERE answer.correlation_id = sign_ins.correlation_id AND answer.error_code = ?)",
                INTERRUPT,
                self.abandoned_by,
                SUCCESS,
            )
        return " AND ".join(conditions), values

    def among(self, records: Sequence[tuple[float, Mapping[str, Any]]]) -> Iterator[Mapping[str, Any]]:
        answered = {record["correlationId"] for _, record in records if _number(record) == SUCCESS}
        for at, record in sorted(records, key=lambda item: item[0])[::-1]:
            user_id, *names = _names(record)
            if self.user and user_id != self.user and not any(name.startswith(self.user) for name in names):
                continue
            if self.code not in (None, _number(record)):
                continue
            if not record["correlationId"].startswith(self.correlation_id):
                continue
            if (self.since is not None and at < self.since) or (self.until is not None and at >= self.until):
                continue
            if self.abandoned_by is not None and (
                _number(record) != INTERRUPT or at > self.abandoned_by or record["correlationId"] in answered
            ):
                continue
            yield record


def _number(record: Mapping[str, Any]) -> int:
    number: int = record["status"]["errorCode"]
    return number


def _names(record: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        record["userId"].casefold(),
        record["userPrincipalName"].casefold(),
        record["userDisplayName"].casefold(),
    )

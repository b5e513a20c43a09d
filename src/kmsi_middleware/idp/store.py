"""What the embedded provider remembers: one SQLite file in a folder, shared by all workers.

Rules:

1. Nothing opens before the first use, and a process that was forked opens for itself.
2. Cookies, codes, tickets and tokens are kept as SHA-256 only. The signing key is there as it is, and so are
   passwords that were changed, so the file is for its owner alone (mode 0600).
3. Every write is one immediate transaction, so that "single use" holds across workers.
4. Times are seconds of the clock that was handed in. Expired rows are never answered.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey

SESSION_SECONDS = 24 * 3600
TICKET_SECONDS = 600

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (kid TEXT PRIMARY KEY, jwk TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, cookie BLOB NOT NULL UNIQUE, username TEXT NOT NULL,
    auth_time REAL NOT NULL, amr TEXT NOT NULL, expires REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS flow_sessions (
    session TEXT PRIMARY KEY, began REAL NOT NULL, used REAL NOT NULL, kept INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS federated_users (
    username TEXT PRIMARY KEY, provider TEXT NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sign_ins (
    sid TEXT PRIMARY KEY, session TEXT NOT NULL, client_id TEXT NOT NULL, username TEXT NOT NULL,
    UNIQUE (session, client_id, username)) STRICT;
CREATE TABLE IF NOT EXISTS tickets (
    id BLOB PRIMARY KEY, browser BLOB NOT NULL, purpose TEXT NOT NULL, data TEXT NOT NULL,
    expires REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS codes (
    id BLOB PRIMARY KEY, client_id TEXT NOT NULL, grant_id TEXT NOT NULL, data TEXT NOT NULL,
    used INTEGER NOT NULL DEFAULT 0, expires REAL NOT NULL, forget REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
    id BLOB PRIMARY KEY, kind TEXT NOT NULL, client_id TEXT NOT NULL, grant_id TEXT NOT NULL,
    data TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, expires REAL NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS tokens_by_grant ON tokens (grant_id);
CREATE TABLE IF NOT EXISTS consents (
    username TEXT NOT NULL, client_id TEXT NOT NULL, scope TEXT NOT NULL,
    PRIMARY KEY (username, client_id, scope)) STRICT;
CREATE TABLE IF NOT EXISTS users (
    username TEXT PRIMARY KEY, disabled INTEGER, password TEXT, revoked REAL) STRICT;
CREATE TABLE IF NOT EXISTS devices (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, refreshed_at INTEGER NOT NULL,
    mfa INTEGER NOT NULL, locked INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS device_browsers (
    cookie BLOB PRIMARY KEY, device TEXT NOT NULL, expires REAL NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """One person signed in at the provider with one browser."""

    id: str
    username: str
    auth_time: float
    amr: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignIn:
    """An app that a person is signed in to through a browser session, under the ``sid`` that the app was told;
    with ``None``, through all of them."""

    sid: str | None
    client_id: str
    username: str


def digest(secret: str) -> bytes:
    """What the store keeps of a secret."""
    return hashlib.sha256(secret.encode()).digest()


class Store:
    """All state of one provider. Safe for threads and for forks."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._path = Path(folder) / "idp.sqlite3"
        self._clock = clock
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._key: RSAKey | None = None
        _stores.add(self)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            self._connection = connection
        return self._connection

    def _after_fork(self) -> None:
        # Closing what was inherited would release the parent's file locks, so it is only put aside.
        if self._connection is not None:
            _inherited.append(self._connection)
        self._lock, self._connection = threading.RLock(), None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The open file, for this thread alone."""
        with self._lock:
            yield self._open()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The same in one immediate transaction (rule 3), which an exception undoes."""
        with self._lock:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def signing_key(self) -> RSAKey:
        """The RS256 key; made once, by whichever worker comes first."""
        if self._key is None:
            with self.writing() as db:
                row = db.execute("SELECT jwk FROM keys").fetchone()
                if row is None:
                    fresh = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)
                    row = (json.dumps(fresh.as_dict(private=True)),)
                    db.execute("INSERT INTO keys VALUES (?, ?)", (fresh.kid, row[0]))
            self._key = RSAKey.import_key(json.loads(row[0]))
        return self._key

    # Browser sessions ------------------------------------------------------------------------------------

    def find_session(self, cookie: str) -> BrowserSession | None:
        with self.reading() as db:
            row = db.execute(
                "SELECT id, username, auth_time, amr FROM sessions WHERE cookie = ? AND expires > ?",
                (digest(cookie), self._clock()),
            ).fetchone()
        return BrowserSession(row[0], row[1], row[2], tuple(json.loads(row[3]))) if row else None

    def begin_session(
        self,
        username: str,
        amr: tuple[str, ...],
        *,
        replaces: BrowserSession | None,
        auth_time: float | None = None,
        seconds: float = SESSION_SECONDS,
    ) -> str:
        """Starts a session of so many ``seconds`` and answers its cookie value. ``auth_time``: the person signed in
        then, and not now.
        Apps of the session that it replaces come along, so that a later sign-out reaches them too; the replaced
        cookie stops working."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        session = replaces.id if replaces else secrets.token_hex(16)
        with self.writing() as db:
            self._forget_expired(db, now)
            db.execute("DELETE FROM sessions WHERE id = ?", (session,))
            db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
                (
                    session,
                    digest(cookie),
                    username,
                    now if auth_time is None else auth_time,
                    json.dumps(amr),
                    now + seconds,
                ),
            )
        return cookie

    def end_session(self, session: BrowserSession) -> list[SignIn]:
        """Ends a session and answers the apps that are to be told."""
        with self.writing() as db:
            rows = db.execute(
                "DELETE FROM sign_ins WHERE session = ? RETURNING sid, client_id, username", (session.id,)
            ).fetchall()
            db.execute("DELETE FROM sessions WHERE id = ?", (session.id,))
        return [SignIn(*row) for row in sorted(rows, key=lambda row: (row[1], row[2]))]

    def sign_ins(self, session: BrowserSession) -> list[SignIn]:
        with self.reading() as db:
            rows = db.execute(
                "SELECT sid, client_id, username FROM sign_ins WHERE session = ?", (session.id,)
            ).fetchall()
        return [SignIn(*row) for row in rows]

    def note_sign_in(self, db: sqlite3.Connection, session: BrowserSession, client_id: str) -> str:
        """The ``sid`` of the person's sign-in to that app, from now on known to be there."""
        db.execute(
            "INSERT OR IGNORE INTO sign_ins VALUES (?, ?, ?, ?)",
            (secrets.token_urlsafe(18), session.id, client_id, session.username),
        )
        row = db.execute(
            "SELECT sid FROM sign_ins WHERE session = ? AND client_id = ? AND username = ?",
            (session.id, client_id, session.username),
        ).fetchone()
        return str(row[0])

    # Tickets: a page that waits for its answer -------------------------------------------------------------

    def open_ticket(self, purpose: str, browser: str, data: dict[str, Any]) -> str:
        """Keeps what a page is about until this very browser answers it."""
        ticket, now = secrets.token_urlsafe(32), self._clock()
        with self.writing() as db:
            self._forget_expired(db, now)
            db.execute(
                "INSERT INTO tickets VALUES (?, ?, ?, ?, ?)",
                (digest(ticket), digest(browser), purpose, json.dumps(data), now + TICKET_SECONDS),
            )
        return ticket

    def find_ticket(self, purpose: str, browser: str, ticket: str) -> dict[str, Any] | None:
        with self.reading() as db:
            row = db.execute(
                "SELECT data FROM tickets WHERE id = ? AND browser = ? AND purpose = ? AND expires > ?",
                (digest(ticket), digest(browser), purpose, self._clock()),
            ).fetchone()
        return dict(json.loads(row[0])) if row else None

    # Consents -----------------------------------------------------------------------------------------------

    def consents(self, username: str, client_id: str) -> set[str]:
        """The scopes that the person has allowed the app."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT scope FROM consents WHERE username = ? AND client_id = ?", (username, client_id)
            ).fetchall()
        return {row[0] for row in rows}

    def save_consent(self, username: str, client_id: str, scopes: list[str]) -> None:
        with self.writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO consents VALUES (?, ?, ?)",
                [(username, client_id, scope) for scope in scopes],
            )

    def _forget_expired(self, db: sqlite3.Connection, now: float) -> None:
        db.execute("DELETE FROM sessions WHERE expires <= ?", (now,))
        for table in ("sign_ins", "flow_sessions"):
            db.execute(f"DELETE FROM {table} WHERE session NOT IN (SELECT id FROM sessions)")  # noqa: S608
        db.execute("DELETE FROM tickets WHERE expires <= ?", (now,))
        db.execute("DELETE FROM codes WHERE forget <= ?", (now,))
        db.execute("DELETE FROM tokens WHERE expires <= ?", (now,))


def _use_wal(connection: sqlite3.Connection) -> None:
    # Two processes that switch a new file at the same moment: SQLite fails one at once, timeout or not.
    for attempt in range(50):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if attempt == 49:
                raise
            time.sleep(0.02)
        else:
            return


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []


def _forked() -> None:
    for store in list(_stores):
        store._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

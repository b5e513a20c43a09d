"""What happened to the people: who was disabled, whose password was changed, whose sign-ins were revoked.

It wins over what the configuration says. A person's sign-ins are everything by which somebody gets in without a
question: browser sessions, pages half way through a sign-in, codes, access and refresh tokens, and the primary refresh
tokens of the person's devices.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from .config import IdPConfig, User
from .store import SignIn, Store

FEDERATED_CODE = "100000"
"""The second factor of people of a federated provider."""


@dataclass(frozen=True, slots=True)
class UserState:
    """Where a person is signed in: in how many browsers, through them to which apps (their ``client_id``), and which
    apps hold a refresh token that is good. ``revoked``: when the sign-ins were last revoked."""

    browsers: int
    apps: tuple[str, ...]
    refresh_tokens: tuple[str, ...]
    revoked: float | None


class UserStore:
    """Kept in the provider's one file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def applied(self, config: IdPConfig) -> IdPConfig:
        """The configuration as it is by now."""
        with self._store.reading() as db:
            rows = db.execute("SELECT username, disabled, password FROM users").fetchall()
            known = db.execute("SELECT username, provider, name, email FROM federated_users").fetchall()
        changed = {row[0]: row for row in rows}
        people = list(config.users)
        people += [_federated(*row) for row in known if config.identity_provider(row[1]) and not config.user(row[0])]
        if not changed and len(people) == len(config.users):
            return config
        return replace(config, users=tuple(_applied(user, changed.get(user.username)) for user in people))

    def put_federated(self, user: User) -> None:
        """Whoever signs in at a federated provider is known here from then on."""
        with self._store.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO federated_users VALUES (?, ?, ?, ?)",
                (user.username, user.identity_provider, user.name, user.email),
            )

    def state(self, user: User) -> UserState:
        with self._store.reading() as db:
            named, now = (user.username,), self._store.now()
            sessions = db.execute(
                "SELECT count(*) FROM sessions WHERE username = ? AND expires > ?", (*named, now)
            ).fetchone()
            apps = db.execute(
                "SELECT DISTINCT client_id FROM sign_ins WHERE username = ?"
                " AND session IN (SELECT id FROM sessions WHERE expires > ?) ORDER BY client_id",
                (*named, now),
            ).fetchall()
            tokens = db.execute(
                "SELECT DISTINCT client_id FROM tokens WHERE json_extract(data, '$.username') = ?"
                " AND kind = 'refresh' AND expires > ? ORDER BY client_id",
                (*named, now),
            ).fetchall()
            revoked = db.execute("SELECT revoked FROM users WHERE username = ?", named).fetchone()
        return UserState(
            sessions[0],
            tuple(row[0] for row in apps),
            tuple(row[0] for row in tokens),
            revoked[0] if revoked else None,
        )

    def enable(self, user: User) -> None:
        """Brings nothing back that disabling ended."""
        with self._store.writing() as db:
            _put(db, user, "disabled", 0)

    def disable(self, user: User) -> None:
        """Nobody can sign in as ``user`` any more, and whatever sign-in there was is over."""
        with self._store.writing() as db:
            _put(db, user, "disabled", 1)
            self._revoke(db, user)

    def change_password(self, user: User, password: str) -> None:
        """Whatever sign-in there was is over."""
        with self._store.writing() as db:
            _put(db, user, "password", password)
            self._revoke(db, user)

    def revoke(self, user: User) -> None:
        """Ends every sign-in, as Microsoft Graph's ``revokeSignInSessions`` does. Nobody is told."""
        with self._store.writing() as db:
            self._revoke(db, user)

    def end_sessions(self, user: User) -> list[SignIn]:
        """Ends every browser session, and answers the apps that are to be told. Refresh tokens live on, as after any
        sign-out."""
        with self._store.writing() as db:
            rows = db.execute("SELECT DISTINCT client_id FROM sign_ins WHERE username = ?", (user.username,)).fetchall()
            _end_sessions(db, user)
        return [SignIn(None, row[0], user.username) for row in sorted(rows)]

    def _revoke(self, db: sqlite3.Connection, user: User) -> None:
        _end_sessions(db, user)
        for table in ("tickets", "codes", "tokens"):
            db.execute(
                f"DELETE FROM {table} WHERE json_extract(data, '$.username') = ?",  # noqa: S608 (names of ours)
                (user.username,),
            )
        db.execute("DELETE FROM devices WHERE owner = ?", (user.username,))
        _put(db, user, "revoked", self._store.now())


def _end_sessions(db: sqlite3.Connection, user: User) -> None:
    db.execute("DELETE FROM sign_ins WHERE username = ?", (user.username,))
    db.execute("DELETE FROM sessions WHERE username = ?", (user.username,))


def _put(db: sqlite3.Connection, user: User, column: str, value: float | str) -> None:
    db.execute(
        f"INSERT INTO users (username, {column}) VALUES (?1, ?2)"  # noqa: S608 (names of ours)
        f" ON CONFLICT (username) DO UPDATE SET {column} = ?2",
        (user.username, value),
    )


def _federated(username: str, provider: str, name: str, email: str) -> User:
    return federated_user(provider, username.partition("|")[2], name, email)


def federated_user(provider: str, subject: str, name: str, email: str) -> User:
    """The person that a federated provider calls ``subject``."""
    return User(
        username=f"{provider}|{subject}",
        name=name or subject,
        email=email,
        amr=("fed",),
        hint="Signs in at another provider",
        second_factor=FEDERATED_CODE,
        identity_provider=provider,
    )


def _applied(user: User, row: tuple[str, int | None, str | None] | None) -> User:
    if row is None:
        return user
    _, disabled, password = row
    return replace(
        user,
        disabled=user.disabled if disabled is None else bool(disabled),
        password=user.password if password is None or user.password is None else password,
    )

"""What the provider remembers of grants: codes, access tokens and refresh tokens.

Rules:

1. A grant is one code and all tokens that came of it. It lives while a row of it is there; to revoke it is to delete
   them all, and from then on nothing can be added to it. So whoever races a revocation gets nothing.
2. A code is good once. The second time, its grant is revoked (RFC 6749, section 4.1.2).
3. A refresh token is good once, and the answer brings the next. A used one that comes again revokes the grant, at once
   and without a period of grace (RFC 9700, section 4.14.2): nobody can tell the app from a thief. An app that sends
   the same token from two processes, or again because the answer got lost, should find out here.
4. There is a refresh token only where ``offline_access`` was granted, and then it outlives the browser session:
   signing out revokes none (OpenID Connect Core, section 11; Back-Channel Logout, section 2.7). It is good for 14
   days, unless it is used, revoked by the app (RFC 7009), or ended with the person's sign-ins (:mod:`.user_store`).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from .store import BrowserSession, Store, digest

CODE_SECONDS = 60
TOKEN_SECONDS = 3600
REFRESH_SECONDS = 14 * 24 * 3600

Kind = Literal["access", "refresh"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code or a token stands for."""

    grant_id: str
    client_id: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Issued:
    """The tokens of one answer. ``scope`` is the access token's."""

    access: str
    refresh: str | None
    scope: str


class GrantStore:
    """Kept in the provider's one file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save_code(self, code: str, client_id: str, session: BrowserSession, data: dict[str, Any]) -> None:
        """Keeps a code for 60 seconds, and notes that the person is now signed in to that app."""
        now = self._store.now()
        with self._store.writing() as db:
            data = {**data, "sid": self._store.note_sign_in(db, session, client_id)}
            db.execute(
                "INSERT INTO codes VALUES (?, ?, ?, ?, 0, ?, ?)",
                (
                    digest(code),
                    client_id,
                    secrets.token_hex(16),
                    json.dumps(data),
                    now + CODE_SECONDS,
                    now + REFRESH_SECONDS,
                ),
            )

    def redeem_code(self, code: str, client_id: str) -> Grant | None:
        """The code's grant (rule 2)."""
        with self._store.writing() as db:
            row = db.execute(
                "UPDATE codes SET used = used + 1 WHERE id = ? AND client_id = ?"
                " RETURNING used, grant_id, data, expires",
                (digest(code), client_id),
            ).fetchone()
            if row is None:
                return None
            if row[0] > 1:
                _revoke(db, row[1])
                return None
        return Grant(row[1], client_id, json.loads(row[2])) if row[3] > self._store.now() else None

    def find_token(self, token: str, kind: Kind | None = None) -> Grant | None:
        """The grant of a token that has not expired. A refresh token may have been used: see :meth:`save_tokens`."""
        with self._store.reading() as db:
            row = _find(db, token, kind, self._store.now())
        return Grant(row[0], row[1], json.loads(row[2])) if row else None

    def save_tokens(self, grant: Grant, issued: Issued, *, used: str | None = None) -> bool:
        """Adds tokens to a grant; ``used`` is the refresh token that they are for. False: the grant was revoked
        meanwhile, or is now, because that refresh token was used before (rule 3)."""
        now = self._store.now()
        with self._store.writing() as db:
            if used is not None:
                spent = db.execute("UPDATE tokens SET used = 1 WHERE id = ? AND used = 0", (digest(used),)).rowcount
                if not spent:
                    _revoke(db, grant.grant_id)
                    return False
            elif not db.execute("SELECT 1 FROM codes WHERE grant_id = ?", (grant.grant_id,)).fetchone():
                return False
            insert = "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, 0, ?)"
            owner = (grant.client_id, grant.grant_id)
            data = json.dumps({**grant.data, "scope": issued.scope})
            db.execute(insert, (digest(issued.access), "access", *owner, data, now + TOKEN_SECONDS))
            if issued.refresh is not None:
                data = json.dumps(grant.data)
                db.execute(insert, (digest(issued.refresh), "refresh", *owner, data, now + REFRESH_SECONDS))
        return True

    def revoke_token(self, token: str) -> None:
        """Ends an access token; a refresh token with its whole grant, access tokens included (RFC 7009, 2.1)."""
        with self._store.writing() as db:
            db.execute("DELETE FROM tokens WHERE id = ? AND kind = 'access'", (digest(token),))
            if row := _find(db, token, "refresh", self._store.now()):
                _revoke(db, row[0])


def _find(db: sqlite3.Connection, token: str, kind: Kind | None, now: float) -> tuple[str, str, str] | None:
    row: tuple[str, str, str] | None = db.execute(
        "SELECT grant_id, client_id, data FROM tokens WHERE id = ? AND kind = coalesce(?, kind) AND expires > ?",
        (digest(token), kind, now),
    ).fetchone()
    return row


def _revoke(db: sqlite3.Connection, grant_id: str) -> None:
    for table in ("codes", "tokens"):
        db.execute(f"DELETE FROM {table} WHERE grant_id = ?", (grant_id,))  # noqa: S608 (two names, both ours)

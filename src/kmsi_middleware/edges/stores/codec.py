"""A session as a row, and back.

What a store looks up, compares or moves as bytes has a column of its own. All the rest is one JSON object, the
``body``: a new field with a default needs no new column, and old rows read as that default.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ...vocabulary.session import Session

COLUMNS = ("version", "issuer", "subject", "sids", "expires_at", "data", "sealed")
"""The fields with a column of their own, beside ``key``; ``sids`` as a JSON array."""

_BODY = tuple(field.name for field in fields(Session) if field.name not in ("key", *COLUMNS))
_dumps = json.JSONEncoder(separators=(",", ":"), default=dict).encode  # default: a Mapping that is no dict

Row = tuple[int, str, str, str, int, bytes, bytes, str]
"""The values of ``COLUMNS``, then the body."""


def encode(session: Session) -> Row:
    """The row of a session, without its key."""
    return (
        session.version,
        session.issuer,
        session.subject,
        _dumps(session.sids),
        session.expires_at,
        session.data,
        session.sealed,
        _dumps({name: getattr(session, name) for name in _BODY}),
    )


def decode(key: bytes, row: Sequence[Any]) -> Session:
    """The session of a row. Raises ``ValueError`` or ``TypeError`` for a row that :func:`encode` did not make."""
    version, issuer, subject, sids, expires_at, data, sealed, body = row
    try:
        rest, names = json.loads(body), json.loads(sids)
    except RecursionError as error:
        raise ValueError("the row is nested too deeply") from error
    if not isinstance(rest, dict):
        raise TypeError("the body is no object")
    rest["reported"] = tuple(rest.get("reported", ()))
    return Session(
        key=key,
        version=version,
        issuer=issuer,
        subject=subject,
        sids=tuple(names),
        expires_at=expires_at,
        data=data,
        sealed=sealed,
        **rest,
    )

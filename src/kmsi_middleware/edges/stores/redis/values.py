"""How a session, a tombstone, a ticket and a mark are written.

Each is one string, and so one key in one slot of a cluster: what changes it is atomic without more ado. A session:

======  =====================================================================================================
1       ``S``; ``P`` while it is being created (:mod:`.operations`, rule 2); ``T`` is a tombstone
10      the version
12      from when the key counts as absent, by the callers' clock: seconds since 1970
16      the write's own name, so that a script knows a write that is repeated from one that is like it
3       the length of what follows
…       the correlation id; after it the rest of the session, or the reason
======  =====================================================================================================

All numbers are decimal digits, for Lua and for people. The server's clock decides nothing: what it lets expire has
been over for ``SLACK`` seconds by the callers' clock.
"""

from __future__ import annotations

import struct
from math import ceil

from ....vocabulary.errors import StoreUnavailable
from ....vocabulary.session import TOMBSTONE_SECONDS, Mark, Session, Tombstone
from .. import codec

SLACK = 300
"""Seconds for which the server keeps what is over: clocks may differ, and requests take their time."""
HEAD = 39
"""The length of kind, version, instant and name."""
VERSION_ENDS = 11

_PARTS = struct.Struct(">6I")


def ttl(gone_at: float, now: float) -> int:
    """For how many seconds from now the server keeps what is absent from an instant."""
    return max(ceil(gone_at - now), 0) + SLACK


def gone_at(session: Session) -> int:
    """From when a session's key counts as absent."""
    return session.expires_at + TOMBSTONE_SECONDS


def head(session: Session, name: str, kind: str = "S") -> bytes:
    """The first ``HEAD`` bytes."""
    return f"{kind}{session.version:010}{gone_at(session):012}{name}".encode()


def pack(session: Session, name: str, kind: str = "S") -> bytes:
    """A session as it is kept."""
    _, issuer, subject, sids, _, data, sealed, body = codec.encode(session)
    parts = [_bytes(issuer), _bytes(subject), sids.encode(), data, sealed, body.encode()]
    correlation = _bytes(session.correlation_id)[:999]
    return b"".join(
        [
            head(session, name, kind),
            f"{len(correlation):03}".encode(),
            correlation,
            _PARTS.pack(*map(len, parts)),
            *parts,
        ]
    )


def session_of(key: bytes, held: bytes) -> Session:
    """The session that a ``S`` or ``P`` holds. Raises :class:`StoreUnavailable` for what it can't read."""
    try:
        at = HEAD + 3 + int(held[HEAD : HEAD + 3])
        lengths = _PARTS.unpack_from(held, at)
        at += _PARTS.size
        parts = []
        for length in lengths:
            parts.append(held[at : at + length])
            at += length
        if at != len(held):
            raise ValueError("it is not whole")
        issuer, subject, sids, data, sealed, body = parts
        expires_at = absent_from(held) - TOMBSTONE_SECONDS
        version = int(held[1:VERSION_ENDS])
        row = version, _text(issuer), _text(subject), sids.decode(), expires_at, data, sealed, body.decode()
        return codec.decode(key, row)
    except (ValueError, TypeError, struct.error) as error:
        raise StoreUnavailable("Redis holds a session that this release can't read") from error


def kept_of(key: bytes, held: bytes | None, now: float) -> Session | Tombstone | None:
    """What a key holds for a reader."""
    if held is None or held[:1] == b"P" or now >= absent_from(held):
        return None
    return tombstone_of(held) if held[:1] == b"T" else session_of(key, held)


def tombstone_of(held: bytes) -> Tombstone:
    try:
        at = HEAD + 3 + int(held[HEAD : HEAD + 3])
        reason = held[at:].decode()
        return Tombstone(reason, absent_from(held) - TOMBSTONE_SECONDS, _text(held[HEAD + 3 : at]))  # type: ignore[arg-type]
    except ValueError as error:
        raise StoreUnavailable("Redis holds a tombstone that this release can't read") from error


def absent_from(held: bytes) -> int:
    """From when it counts as absent."""
    try:
        return int(held[VERSION_ENDS:23])
    except ValueError as error:
        raise StoreUnavailable("Redis holds something else under one of our keys") from error


def version_of(begin: bytes | None) -> int | None:
    """The version of a session, by the first ``VERSION_ENDS`` bytes."""
    if not begin or begin[:1] != b"S":
        return None
    try:
        return int(begin[1:])
    except ValueError as error:
        raise StoreUnavailable("Redis holds something else under one of our keys") from error


# Tickets: kind (``+`` is there, ``-`` is taken), instant, name, payload --------------------------------------

TICKET_HEAD = 29


def pack_ticket(payload: bytes, expires_at: int, name: str) -> bytes:
    return f"+{expires_at:012}{name}".encode() + payload


def payload_of(held: bytes | None, now: float) -> bytes | None:
    if held is None or held[:1] != b"+" or now >= int(held[1:13]):
        return None
    return held[TICKET_HEAD:]


# Marks: three numbers --------------------------------------------------------------------------------------


def mark_of(held: bytes | None, now: float) -> Mark:
    if held is None:
        return Mark()
    valid_from, real_from, until = map(int, held.split())
    return Mark(valid_from, real_from) if now < until else Mark()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")

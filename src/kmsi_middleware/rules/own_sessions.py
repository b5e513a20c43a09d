"""What a person is shown of their own sessions: in words, with the instants as far as they are known."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ..vocabulary.session import Session
from .devices import device_of

MOST = 100
"""Sessions that are shown; whoever has more can still end all of them."""
_HOUR, _DAY = 3_600, 86_400


def rows(sessions: Iterable[Session], mine: Session, ends: dict[bytes, int], now: float) -> list[dict[str, Any]]:
    """One for each session, this one first and then the last used. ``ends``: when each is over, by its key."""
    ordered = sorted(sessions, key=lambda session: (session.key != mine.key, -session.renewed_at, session.key))
    return [_row(session, session.key == mine.key, ends[session.key], now) for session in ordered[:MOST]]


def _row(session: Session, is_this: bool, end: int, now: float) -> dict[str, Any]:
    device = device_of(session.user_agent)
    return {
        "id": session.id,
        "is_this": is_this,
        "kind": device.kind or "unknown",
        "name": device.name or "Unknown browser",
        "place": ", ".join(filter(None, (session.country, session.address))),
        "last_used": "Now" if is_this else _ago(session.renewed_at, now),
        "last_used_at": _machine(session.renewed_at),
        "signed_in": _written(session.started_at),
        "signed_in_at": _machine(session.started_at),
        "persistent": session.persistent,
        "ends": _written(end),
        "ends_at": _machine(end),
    }


def _ago(at: int, now: float) -> str:
    """True to about an hour, as what is known of the last use."""
    passed = max(0, int(now) - at)
    if passed < _HOUR:
        return "Within the last hour"
    number, unit = (passed // _DAY, "day") if passed >= 2 * _DAY else (passed // _HOUR, "hour")
    return f"{number} {unit}{'' if number == 1 else 's'} ago"


def _written(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d, %H:%M UTC")


def _machine(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Records of what becomes of sessions: one JSON object a line, for the logger ``kmsi_middleware.sessions``.

1. An end is a record of its own, whoever performed it, with its reason: the very word of the tombstone. That a
   session ran out (``idle``, ``absolute``) is noticed, and so recorded, when the person comes back.
2. The correlation id leads to the sign-in in the sign-in log, and from what a person was told to the end itself.
3. Nothing secret: ``session`` is the hash under which the store keeps it, and no claim but the name is in it.
4. Text from outside is bounded and cannot break a line, as in the sign-in log.
"""

from __future__ import annotations

from typing import Any, Literal

from ..vocabulary.session import EndReason, Revoker, Session, Tombstone
from .sign_in_log import clean_text, timestamp

Recipient = Literal["person", "script"]
ENDED = "session_ended"
TOLD = "session_end_told"


def ended(session: Session, reason: EndReason, by: Revoker, at: float) -> dict[str, Any]:
    """A session ended. ``address`` is the one that it was signed in from."""
    by_whom = {"by": by} if by else {}
    return {
        "event": ENDED,
        "reason": reason,
        **by_whom,
        "at": timestamp(at),
        **_known(session),
        **_from(session.address),
    }


def told(
    session_id: str, left: Tombstone, session: Session | None, *, to: Recipient, address: str, at: float
) -> dict[str, Any]:
    """A person, or a script of theirs, was told why there is no session any more. ``address`` is where they are.
    ``session``: of one that ran out and that nobody ended, what the store still has."""
    known = _known(session) if session is not None else {"session": session_id, "correlation_id": left.correlation_id}
    when = {"at": timestamp(at), "ended_at": timestamp(left.ended_at)}
    return {"event": TOLD, "reason": left.reason, "to": to, **when, **known, **_from(address)}


def _known(session: Session) -> dict[str, Any]:
    user = {"issuer": session.issuer, "subject": session.subject, "name": session.name}
    return {
        "session": session.id,
        "correlation_id": session.correlation_id,
        "user": {name: clean_text(text) for name, text in user.items()},
    }


def _from(address: str) -> dict[str, str]:
    return {"address": clean_text(address, 64)} if address else {}

"""Ending sessions from outside: one, all of a user, all but one, everybody's.

1. The mark first, then the sessions. Whoever puts a mark and then looks has found all that began before it (the
   store's contract), so nothing slips through that was just signing in.
2. Once it is answered, no process lets a request of theirs pass.
3. Revoking one session marks the issuer's session that it came from, not the person: their other browsers have done
   nothing to be asked for.
4. What ended already is not ended again, and keeps its reason.

The same flows serve Python calls, the command line and the person's own page. They ask for the session store alone.
ASVS 7.4.3, 7.4.5; Microsoft Graph `revokeSignInSessions`.
"""

from __future__ import annotations

from ..rules.revocation import MARK_SECONDS, mark
from ..vocabulary.effects import EndSessions, FindUserSessions, Flow, ListSessions, LoadSession, PutMark
from ..vocabulary.session import EVERYBODY, Revoker, Session, sid_key, user_key

PAGE = 500
"""Sessions that are looked at and ended in one step, when everything is revoked."""


def revoke(key: bytes, now: float, by: Revoker) -> Flow[int]:
    """End one session. Answer: how many ended, 1 or 0."""
    session = yield LoadSession(key)
    if not isinstance(session, Session) or now >= session.expires_at:
        return 0
    for sid in session.sids:
        if sid != session.subject:  # then it names the person, in every browser
            yield from _mark(sid_key(session.issuer, sid), now)
    return (yield from _end([session], by))


def revoke_user(user: bytes, now: float, by: Revoker, *, keep: bytes | None = None) -> Flow[int]:
    """End all sessions of a user, but for the one with the key ``keep``. Answer: how many ended.

    ``user``: one of ``Session.user_keys``.
    """
    yield from _mark(user, now)
    found: list[Session] = yield FindUserSessions(user)
    return (yield from _end([session for session in found if session.key != keep], by))


def revoke_others(session: Session, now: float, by: Revoker) -> Flow[int]:
    """End all sessions of the same person, as issuer and subject have it, but for this one."""
    user = user_key(session.issuer, session.subject)
    return (yield from revoke_user(user, now, by, keep=session.key))


def revoke_everything(now: float, by: Revoker) -> Flow[int]:
    """End every session. Answer: how many ended. Who signs in while it runs may have to do so again."""
    yield from _mark(EVERYBODY, now)
    ended, cursor = 0, b""
    while True:
        found, cursor = yield ListSessions(cursor, PAGE)
        ended += yield from _end(found, by)
        if not cursor:
            return ended


def _mark(key: bytes, now: float) -> Flow[None]:
    yield PutMark(key, mark(now), int(now) + MARK_SECONDS)


def _end(sessions: list[Session], by: Revoker) -> Flow[int]:
    return (yield EndSessions(sessions, "revoked", by)) if sessions else 0

"""Telling a person, or a script of theirs, why there is no session any more; the same reason is in the log.

A sign-out and a newer session are no news to who comes next in this browser: they are not told, but sent to sign in.
Nor is a lifetime that ran out where the issuer keeps people signed in: it renews the session, silently while it can.
"""

from __future__ import annotations

from ..rules import session_log
from ..vocabulary.effects import Flow, NoteSession
from ..vocabulary.messages import Reply, Request
from ..vocabulary.session import EndReason
from . import replies
from .deployment import Deployment
from .sessions import Found

RAN_OUT: frozenset[EndReason | None] = frozenset({"idle", "absolute"})
NO_NEWS: frozenset[EndReason | None] = frozenset({"signed_out", "replaced", None})


def is_news(app: Deployment, found: Found) -> bool:
    """Whether a person who just opens a page is told, instead of being sent to sign in."""
    if app.settings.kmsi_asked_by == "idp" and found.ended in RAN_OUT:
        return False
    return found.ended not in NO_NEWS


def tell(app: Deployment, request: Request, found: Found, now: float, *, as_page: bool | None = None) -> Flow[Reply]:
    """401, with the reason if there was a session. ``as_page``: whether by a page; by default, if a person will see
    it."""
    if as_page is None:
        as_page = replies.wants_page(request)
    left = found.left
    if left is not None:
        to: session_log.Recipient = "person" if as_page else "script"
        address = request.client_address
        yield NoteSession(session_log.told(left.id, left.tombstone, left.session, to=to, address=address, at=now))
    return replies.signed_out_answer(app, request, now, left, as_page=as_page)

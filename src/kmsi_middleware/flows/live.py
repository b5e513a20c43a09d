"""Whether the session of a long-lived connection goes on: asked again and again for as long as the connection lasts.

1. Never extends: a connection that is merely open is nobody's activity.
2. The request that began the connection is judged anew: its address, browser, path and risk against the policies in
   force. It is no interaction any more, so what only fell due waits as it does for requests in the background.
3. It is a request like any other where the issuer is to be asked whether the session still stands.
4. A store that fails ends no connection. What is over by this process's own clock is over all the same.
5. A session that was *replaced*, by the same browser's fresh sign-in, has ended like any other: the new session is
   for who holds its cookie, and the client connects anew with it.
"""

from __future__ import annotations

from ..rules import lifetimes
from ..rules.close_codes import Ending
from ..rules.cookies import session_tokens
from ..rules.seals import key_of
from ..vocabulary.effects import Flow, LoadSession
from ..vocabulary.errors import Unavailable
from ..vocabulary.messages import Reply, Request
from ..vocabulary.records import frozen
from ..vocabulary.session import Session, Tombstone
from . import access, revalidation
from .deployment import Deployment
from .sessions import Found


@frozen
class GoesOn:
    """It does, and nothing about that changes before ``until`` but by a write to the store, a changed policy, or a
    changed risk. ``until`` is 0 where something could not be asked just now, and is to be asked again."""

    session: Session
    until: int
    judged_risk: str | None = None
    """As in :class:`~kmsi_middleware.vocabulary.messages.Forward`."""


def still(app: Deployment, request: Request, session: Session, now: float) -> Flow[GoesOn | Ending]:
    """Whether a connection's session goes on, and if not, why.

    ``request``: what began the connection; ``session``: as it was when last looked at.
    """
    known = True
    try:
        stored = yield LoadSession(session.key)
    except Unavailable:
        stored, known = session, False
    if stored is None:
        return "no_session"
    if isinstance(stored, Tombstone):
        return stored.reason
    settings = app.settings_of(stored.user_flow)
    over = lifetimes.judge(stored, settings, now)
    if isinstance(over, lifetimes.Over):
        return over.reason
    until = lifetimes.end_of(stored, settings)
    if known and (token := _token_of(request, stored)):
        found = Found(stored, token, until)
        asked = yield from revalidation.revalidate(app, request, found, "", now, goes_on=True)
        if isinstance(asked, Reply):
            return "session_unconfirmed"
        if asked.session is None:
            return asked.ended or "session_unconfirmed"
        stored, until = asked.session, asked.until
    verdict = yield from access.judge(app, request, stored, now, goes_on=True)
    if verdict.outcome in ("due", "refuse"):
        return "sign_in_frequency"
    if verdict.outcome != "pass":
        return "policy"
    return GoesOn(stored, min(until, verdict.until) if known else 0, verdict.judged_risk)


def _token_of(request: Request, session: Session) -> str:
    tokens = session_tokens(request.header("cookie"), request.site)
    return next((token for token in tokens if key_of(token) == session.key), "")

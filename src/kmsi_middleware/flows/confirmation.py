"""What the browser brings back that was sent to ask whether the issuer stands behind the session (``prompt=none``).

1. The same person: the session goes on as it is, under its own token, with what the issuer says now. It is no
   sign-in, so nothing that was promised changes, and nothing that is under way in other tabs is cut off.
2. Another person: a sign-in of theirs, which ends this browser's older session as every sign-in does.
3. The issuer says that it would have to ask the person: the session is over.
4. Anything else tells nothing. The session goes on, and is asked about again later (:mod:`..rules.revalidation`).
"""

from __future__ import annotations

from typing import Any

from ..rules.oidc import refresh
from ..rules.oidc.authorization import Transaction
from ..vocabulary.effects import CountUnmatched, Flow
from ..vocabulary.errors import ProtocolError, Refused, Unavailable
from ..vocabulary.messages import Request
from ..vocabulary.session import Session
from . import log, sessions, tokens
from .deployment import Deployment


def is_late(session: Session, transaction: Transaction) -> bool:
    """Whether a session makes the answer to an attempt needless: it has come of a later one, or was confirmed since."""
    if not transaction.is_forced:
        return True
    newest = max(session.started_at, session.confirmed_at or 0) if transaction.confirms else session.started_at
    return newest > transaction.started_at


def confirmed(
    app: Deployment, session: Session, token: str, sign_in: sessions.SignIn, now: float
) -> Flow[Session | None]:
    """Rule 1. ``None``: the session has ended meanwhile."""
    factors = [at for at in (session.second_factor_at, sign_in.second_factor_at) if at is not None]
    changes: dict[str, Any] = {
        "confirmed_at": int(now),
        "claims": refresh.claims_after(sign_in.claims, session.claims, signed_in=True),
        "auth_time": session.auth_time if sign_in.auth_time is None else sign_in.auth_time,
        "second_factor_at": max(factors, default=None),
        "signals": sign_in.signals,
    }
    return (yield from tokens.take_up(app, session, token, sign_in.tokens, sign_in.sids, changes))


def is_over(
    app: Deployment, request: Request, session: Session | None, error: Refused | Unavailable, now: float
) -> Flow[bool]:
    """Rules 3 and 4, for an answer that is none."""
    hint = error.hint if isinstance(error, ProtocolError) else ""
    if hint.partition(":")[0] in refresh.ENDS_SILENTLY:
        if session is not None:
            yield from tokens.end(app, request, session, hint, now)
        return True
    if session is not None and (yield CountUnmatched("failed sign-in", request.client_address)):
        yield log.unconfirmed(app, request, now, session, error)
    return False

"""``GET /.auth/me``: the signed-in person and what is left of the session, as JSON. Looks, never extends."""

from __future__ import annotations

import json
from typing import Any

from ..rules.lifetimes import end_of
from ..vocabulary.effects import Flow
from ..vocabulary.messages import Reply, Request
from ..vocabulary.session import Session
from . import replies, sessions, telling
from .deployment import Deployment


def me(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """401 without a session. No tokens; no CORS; not cacheable."""
    found = yield from sessions.find(app, request, now, extend=False)
    if found.session is None:
        return (yield from telling.tell(app, request, found, now, as_page=False))
    body = json.dumps(described(app, found.session, now)).encode()
    headers = (
        ("content-type", "application/json"),
        replies.NO_STORE,
        replies.VARY,
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    )
    return Reply(200, headers, body)


def described(app: Deployment, session: Session, now: float) -> dict[str, Any]:
    """The session as its owner may see it. Instants in seconds since 1970, ``expires_in`` in seconds."""
    settings = app.settings_of(session.user_flow)
    expires_at = end_of(session, settings)
    return {
        "user": {
            "id": str(session.claims.get(app.settings.user_claim) or session.subject),
            "name": session.name,
            "issuer": session.issuer,
            "claims": dict(session.claims),
        },
        "session": {
            "persistent": session.persistent and settings.keep_me_signed_in_days > 0,
            "signed_in_at": session.started_at,
            "auth_time": session.auth_time,
            "expires_at": expires_at,
            "expires_in": max(0, expires_at - int(now)),
            "expiry": settings.session_expiry,
        },
    }

"""What goes into the sign-in log: every success, every failure of a sign-in that was started here, and the
interrupt (50140). See :mod:`kmsi_middleware.rules.sign_in_log`."""

from __future__ import annotations

import uuid
from typing import Any

from ..rules import sign_in_log
from ..vocabulary.effects import AppendSignIn
from ..vocabulary.errors import KMSIError, ProtocolError, Refused, Unavailable
from ..vocabulary.messages import Request
from ..vocabulary.session import Session
from .deployment import Deployment
from .sessions import SignIn


def _append(app: Deployment, request: Request, now: float, correlation_id: str, **more: Any) -> AppendSignIn:
    return AppendSignIn(
        sign_in_log.sign_in_record(
            at=now,
            record_id=str(uuid.UUID(bytes=app.dice(16))),
            correlation_id=correlation_id,
            app_id=app.client_id,
            app_name=app.settings.app_name,
            client_address=request.client_address,
            user_agent=request.header("user-agent"),
            **more,
        )
    )


def _known(sign_in: SignIn) -> dict[str, Any]:
    """Who signed in, and what the policies said to it."""
    return {
        "claims": sign_in.claims,
        "risk": sign_in.signals.get("risk"),
        "applied": sign_in.applied,
        "missing": sign_in.missing,
    }


def _known_of(session: Session) -> dict[str, Any]:
    """The same, of a session that there is."""
    return {
        "claims": session.claims,
        "risk": session.signals.get("risk"),
        "decision": session.decision,
        "persistent": session.persistent,
    }


def success(app: Deployment, request: Request, now: float, session: Session, sign_in: SignIn) -> AppendSignIn:
    """A session began."""
    return _append(
        app,
        request,
        now,
        session.correlation_id,
        **_known(sign_in),
        decision=session.decision,
        persistent=session.persistent,
        interactive=session.decision != "silent",
    )


def no_after_yes(app: Deployment, request: Request, now: float, session: Session) -> AppendSignIn:
    """The question that a session began with was answered once more, and it is not kept any more."""
    return _append(
        app,
        request,
        now,
        session.correlation_id,
        **_known_of(session),
    )


def reported(
    app: Deployment, request: Request, now: float, session: Session, applied: list[dict[str, Any]]
) -> AppendSignIn:
    """A policy in report-only mode would have interrupted or blocked a session that goes on."""
    return _append(
        app,
        request,
        now,
        session.correlation_id,
        **_known_of(session),
        applied=applied,
        interactive=False,
    )


def interrupted(app: Deployment, request: Request, now: float, sign_in: SignIn) -> AppendSignIn:
    """The interrupt is shown; it may stay without an answer."""
    return _append(
        app,
        request,
        now,
        sign_in.correlation_id,
        code=sign_in_log.INTERRUPT_CODE,
        **_known(sign_in),
    )


def failure(app: Deployment, request: Request, now: float, correlation_id: str, error: KMSIError) -> AppendSignIn:
    """A sign-in that failed. Nobody is known in it."""
    hint = error.hint if isinstance(error, ProtocolError) else ""
    reason = getattr(error, "detail", str(error))
    return _append(app, request, now, correlation_id, code=error.code, failure_reason=reason, hint=hint, claims=None)


def unconfirmed(
    app: Deployment, request: Request, now: float, session: Session, error: Refused | Unavailable
) -> AppendSignIn:
    """The issuer was asked about a session without the person, and did not confirm it. What it said itself stays
    behind our code, because it was about a token, and not about a sign-in."""
    hint = error.hint if isinstance(error, ProtocolError) else ""
    return _append(
        app,
        request,
        now,
        session.correlation_id,
        code=error.code,
        failure_reason=error.detail,
        hint=f"asked again: {hint}" if hint else "",
        claims=session.claims,
        interactive=False,
    )


def refused(app: Deployment, request: Request, now: float, sign_in: SignIn, error: Refused) -> AppendSignIn:
    """A sign-in that a policy did not let in: everybody is known in it."""
    return _append(
        app,
        request,
        now,
        sign_in.correlation_id,
        code=error.code,
        failure_reason=error.detail,
        **_known(sign_in),
    )

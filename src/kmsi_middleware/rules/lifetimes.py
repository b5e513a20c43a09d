"""How long a session is good. Decided here alone, by the server's clock.

1. A session is good for its lifetime: ``session_lifetime``, or ``keep_me_signed_in_days`` if it is persistent.
2. Rolling: the lifetime counts from the last renewal. Absolute: from the sign-in.
3. Over all stands ``session_max_age``, counted from the sign-in.
4. What was promised (``expires_at``) and what the settings in force allow: the earlier of the two ends it, so
   that a tightened setting reaches live sessions at once, and a loosened one reaches none without activity.
5. At the very second of its end a session is over.
6. That a session is used is noted once a tenth of its lifetime has gone, and at least once an hour: not with every
   request, so that a passing request writes nothing. A rolling session is renewed by it; where the end is fixed,
   because the session is absolute or has reached rule 3, nothing else changes.
7. With keeping switched off (``keep_me_signed_in_days=0``) a persistent session falls back to rule 1's
   ``session_lifetime`` and its cookie becomes non-persistent.

Sources: Azure AD B2C "Configure session behavior" (lifetime, rolling and absolute, KMSI); Entra ID "rolling
window of 90 days".
"""

from __future__ import annotations

from dataclasses import replace

from ..vocabulary.records import frozen
from ..vocabulary.session import EndReason, Session
from ..vocabulary.settings import DAY, Settings

LONGEST_UNTIL_NOTED = 3_600


@frozen
class Good:
    """The session holds. Nothing about it changes before ``until``."""

    until: int


@frozen
class Due:
    """The session holds, but something is to be written first: ``session`` is what it becomes."""

    session: Session


@frozen
class Over:
    """The session ended, at ``at``."""

    reason: EndReason
    at: int


def lifetime(settings: Settings, *, persistent: bool) -> int:
    """Rule 1 and 7, in seconds."""
    if persistent and settings.keep_me_signed_in_days:
        return settings.keep_me_signed_in_days * DAY
    return settings.session_lifetime


def promised_end(settings: Settings, *, persistent: bool, started_at: int, renewed_at: int) -> int:
    """Rules 1 to 3: the instant at which a session that was started and renewed then is over."""
    anchor = renewed_at if settings.session_expiry == "rolling" else started_at
    return min(
        anchor + lifetime(settings, persistent=persistent),
        started_at + settings.session_max_age * DAY,
    )


def end_of(session: Session, settings: Settings) -> int:
    """Rules 1 to 4: the instant at which ``session`` is over, unless it is renewed before."""
    allowed = promised_end(
        settings, persistent=session.persistent, started_at=session.started_at, renewed_at=session.renewed_at
    )
    return min(session.expires_at, allowed)


def judge(session: Session, settings: Settings, now: float) -> Good | Due | Over:
    """Whether ``session`` holds at ``now``, and until when nothing needs to be done about it."""
    persistent = session.persistent and settings.keep_me_signed_in_days > 0
    end = end_of(session, settings)
    if now >= end:
        return Over(_reason(session, settings, end), end)
    if persistent != session.persistent:
        return Due(replace(session, persistent=False, expires_at=end))
    noted = session.renewed_at + min(lifetime(settings, persistent=persistent) // 10, LONGEST_UNTIL_NOTED)
    if now < noted:
        return Good(min(end, noted))
    used = replace(session, renewed_at=int(now))
    if settings.session_expiry == "absolute":
        return Due(replace(used, expires_at=end))
    renewed = promised_end(settings, persistent=persistent, started_at=session.started_at, renewed_at=used.renewed_at)
    return Due(replace(used, expires_at=renewed))


def _reason(session: Session, settings: Settings, end: int) -> EndReason:
    if settings.session_expiry == "absolute":
        return "absolute"
    return "absolute" if end >= session.started_at + settings.session_max_age * DAY else "idle"

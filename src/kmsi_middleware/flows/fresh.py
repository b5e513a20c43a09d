"""Whether a sign-in is as fresh as it must be: after a revocation (:mod:`kmsi_middleware.rules.revocation`), and
before a person may see and end sessions (ASVS 7.5.2)."""

from __future__ import annotations

from dataclasses import replace

from ..rules.revocation import Proof, max_age_since, next_step
from ..vocabulary.effects import Flow, ReadMark
from ..vocabulary.errors import Refused
from ..vocabulary.session import Mark, Session
from .access import AT_ONCE, Ask
from .deployment import Deployment
from .sessions import SignIn, prospective

RECENT = 600
"""Seconds that a sign-in counts as recent."""
_ASKS = (Ask(max_age=RECENT // 2), Ask(max_age=RECENT // 2, prompt="login"))
"""How a recent sign-in is asked for: first; and if the issuer answered with an older one, or did not say when. The
``max_age`` leaves time for what the person came for."""


def revoked() -> Refused:
    """A sign-in that a revocation overtook."""
    detail = "your sessions were ended while you were signing in; sign in again to go on"
    return Refused("sign_in_revoked", detail, status=403)


def after_revocation(
    app: Deployment, sign_in: SignIn, asked: Ask, wanted: Ask | None, sent_at: int, now: float
) -> Flow[Ask | None]:
    """What to ask of the issuer once more, before a checked sign-in becomes a session; ``None``: nothing.

    ``asked``: what it was asked; ``wanted``: what the policies want to ask once more. Raises :class:`Refused` where
    the sign-in is no good, and asking is no use.
    """
    mark: Mark = yield ReadMark(prospective(sign_in, now).mark_keys)
    if mark.stops(sign_in.begun_at):
        raise revoked()
    skew = app.settings.clock_skew
    ask = wanted or asked
    match next_step(mark.real_from, Proof(sign_in.auth_time, asked.prompt, asked.max_age, sent_at), clock_skew=skew):
        case "max_age":
            since = max_age_since(mark.real_from, now, clock_skew=skew)
            return replace(ask, max_age=since if ask.max_age is None else min(since, ask.max_age))
        case "login":
            return replace(ask, prompt="login")
        case "give up":
            detail = "your sessions were ended, so you must sign in anew, and your sign-in service did not let you"
            raise Refused("fresh_sign_in_required", detail, status=403)
    return wanted


def recently(app: Deployment, session: Session, now: float) -> Ask | None:
    """What to ask of the issuer for a recent sign-in; ``None``: it is one.

    Raises :class:`Refused` where it was asked just now, and the answer does not do: never a loop.
    """
    at = session.auth_time
    if at is None and app.settings.missing_auth_time == "trust_sign_in":
        at = session.started_at
    if at is not None and now <= at + RECENT + app.settings.clock_skew:
        return None
    first, second = _ASKS
    if now >= session.started_at + AT_ONCE or session.asked_for not in (first.signature, second.signature):
        return first
    if session.asked_for == first.signature:
        return second
    if at is None:
        detail = "this page needs a fresh sign-in, and your sign-in service does not say when you signed in"
        raise Refused("auth_time_missing", detail, status=403)
    detail = "this page needs a fresh sign-in, and your sign-in service answered with an older one"
    raise Refused("fresh_sign_in_required", detail, status=403)

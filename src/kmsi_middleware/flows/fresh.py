"""Whether a sign-in is as fresh as it must be: after a revocation (:mod:`kmsi_middleware.rules.revocation`)."""

from __future__ import annotations

from dataclasses import replace

from ..rules.revocation import Proof, max_age_since, next_step
from ..vocabulary.effects import Flow, ReadMark
from ..vocabulary.errors import Refused
from ..vocabulary.session import Mark
from .access import Ask
from .deployment import Deployment
from .sessions import SignIn, prospective


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
            detail = "your sessions were ended, and your provider did not let you sign in anew, as is needed after that"
            raise Refused("fresh_sign_in_required", detail, status=403)
    return wanted

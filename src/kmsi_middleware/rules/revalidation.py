"""When the issuer is asked whether a session still stands, and who asks it (``revalidate_every``).

1. It is due ``revalidate_every`` seconds after the issuer last spoke for the session: at the sign-in, or since.
2. Where there is a refresh token we ask ourselves, at whatever request comes. Nobody is sent anywhere.
3. Else only the browser can ask: a navigation goes by way of the issuer and back (``prompt=none``). Everything else
   goes on meanwhile, for ``background_grace`` seconds.
4. What could not be asked, or has not been answered yet, is put off, so that nobody is sent in circles, nor held up
   again and again by an issuer that is away. An answer that the browser owes is put off for no longer than rule 3
   says; then a plain sign-in is what there is left: who holds a stolen cookie never brings an answer.
"""

from __future__ import annotations

from typing import Literal

from ..vocabulary.records import frozen
from ..vocabulary.session import Session
from ..vocabulary.settings import Settings

NEVER = 2**62
ANSWER_SECONDS = 300
"""How long after one attempt the browser is not sent to the issuer again."""
PUT_OFF_SECONDS = 60
"""How long after one failure the issuer is not asked again."""


@frozen
class Step:
    """What is to be done about a request.

    ``stands``: nothing, before ``until``. ``refresh``: ask with the refresh token. ``silent``: send the browser to
    ask. ``go_on``: nothing, before ``until``, about requests of its kind. ``sign_in``: a sign-in first; ``refuse``: the
    same, for a request that can't be sent to one.
    """

    name: Literal["stands", "refresh", "silent", "go_on", "sign_in", "refuse"]
    until: int = NEVER


def next_step(session: Session, settings: Settings, now: float, *, navigates: bool) -> Step:
    """``navigates``: whether the request is one that can be sent to the issuer and back."""
    if not settings.revalidate_every:
        return Step("stands")
    due_at = _due_at(session, settings)
    if now < due_at:
        return Step("stands", due_at)
    put_off_until = session.put_off_until or 0
    if now < put_off_until:
        return Step("stands", put_off_until)
    if session.refreshable:
        return Step("refresh")
    grace_until = due_at + settings.background_grace
    has_grace = now < grace_until
    if not navigates:
        return Step("go_on", grace_until) if has_grace else Step("refuse")
    return Step("silent" if has_grace or put_off_until < due_at else "sign_in")


def answer_due_at(session: Session, settings: Settings, now: float) -> int:
    """Until when the browser's answer is waited for that is sent now (rule 4)."""
    return max(int(now), min(int(now) + ANSWER_SECONDS, _due_at(session, settings) + settings.background_grace))


def _due_at(session: Session, settings: Settings) -> int:
    spoke_at = session.started_at if session.confirmed_at is None else session.confirmed_at
    return spoke_at + settings.revalidate_every

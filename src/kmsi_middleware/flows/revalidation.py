"""Asking the issuer whether it still stands behind a session, as often as ``revalidate_every`` says.

:mod:`..rules.revalidation` decides what is to be done; here it is done. Nobody is ended, or held up again and again,
by an issuer that does not answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..rules import revalidation as rules
from ..rules.cookies import as_headers
from ..rules.navigation import Kind, kind_of
from ..rules.oidc.discovery import discovery_request
from ..vocabulary.effects import CountUnmatched, Fetch, Flow, GetProvider, MayAsk, ToTheEnd
from ..vocabulary.errors import ProtocolError, ProviderUnavailable, SessionEnded
from ..vocabulary.messages import Busy, HttpResponse, Reply, Request
from ..vocabulary.session import Session
from . import log, replies, sessions, sign_in, tokens
from .access import Ask
from .deployment import Deployment

PROBE_WITHIN = 3.0
"""Seconds in which the issuer must answer us, before a browser is sent there."""


def revalidate(
    app: Deployment, request: Request, found: sessions.Found, return_to: str, now: float, *, goes_on: bool = False
) -> Flow[sessions.Found | Reply]:
    """What becomes of a request with a session: it goes on, without it if it is over now, or is answered.
    ``goes_on``: it was let in before, and its connection lasts, so that it can't be sent anywhere."""
    session = found.session
    assert session is not None
    is_public = request.path in app.public_paths  # which is no place to be sent away from
    navigates = kind_of(request) is Kind.NAVIGATION and not request.websocket and not is_public and not goes_on
    step = rules.next_step(session, app.settings, now, navigates=navigates)
    match step.name:
        case "stands":
            return replace(found, until=min(found.until, step.until))
        case "refresh":
            return (yield from _by_refresh_token(app, request, found, session, now))
        case "go_on":
            # The next request may be a navigation; a connection stays what it is.
            return replace(found, until=min(found.until, step.until) if goes_on else 0)
        case "refuse":
            return sessions.Found() if is_public else replies.unconfirmed(app, request, now, session)
    if not (yield from _answers(app.authority(request.site, session.user_flow))):
        return (yield from _put_off(found, session, now))
    if step.name == "silent":
        yield from sessions.change(session, put_off_until=rules.answer_due_at(session, app.settings, now))
        how: dict[str, Any] = {"prompt": "none", "confirms": True}
    else:
        how = {"named": True}
    reply: Reply = yield from sign_in.again(app, request, now, return_to, Ask(), session, **how)
    return replace(reply, headers=(*reply.headers, *as_headers(found.set_cookies)))


def _by_refresh_token(
    app: Deployment, request: Request, found: sessions.Found, session: Session, now: float
) -> Flow[sessions.Found]:
    if not (yield MayAsk()):
        return (yield from _put_off(found, session, now))
    try:
        outcome: Session | Busy = yield ToTheEnd(tokens.renew(app, request, session, found.token, now))
    except SessionEnded:
        gone = yield from sessions.find_by(app, request, found.token, now)
        return sessions.Found(left=gone.left)
    except (ProviderUnavailable, ProtocolError) as error:  # of which nobody hears but by the log
        if (yield CountUnmatched("provider", request.client_address)):
            yield log.unconfirmed(app, request, now, session, error)
        return (yield from _put_off(found, session, now))
    if isinstance(outcome, Busy):
        return replace(found, until=0)  # somebody else finds out; nothing is known against it
    return replace(found, session=outcome, until=0)


def _answers(authority: str) -> Flow[bool]:
    """Whether the issuer is there at all: a browser that is sent to one that is not does not come back."""
    if not (yield MayAsk()):
        return False
    try:
        yield GetProvider(authority)
        answer: HttpResponse = yield Fetch(discovery_request(authority), PROBE_WITHIN)
    except (ProviderUnavailable, ProtocolError):
        return False
    return answer.status < 500 and answer.status != 429


def _put_off(found: sessions.Found, session: Session, now: float) -> Flow[sessions.Found]:
    put_off = yield from sessions.change(session, put_off_until=int(now) + rules.PUT_OFF_SECONDS)
    return replace(found, session=put_off, until=0)

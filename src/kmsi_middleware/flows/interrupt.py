"""The interrupt: "Stay signed in?", after the sign-in and before the session begins.

1. A checked sign-in waits ten minutes for the answer, sealed in a ticket under a token that only this browser
   has. Abandoned, it leaves no session.
2. The answer is a form post from this origin, with this browser's cookie and this sign-in's ticket.
3. One sign-in makes one session. The session's token follows from the waiting sign-in's token, so that a double
   click, a reload and the back button lead to that same session instead of an error; and of two answers at the
   same time the one that creates it holds.
4. "Don't show this again" keeps the answer for this person in this browser for a year; signing out forgets a
   Yes, because it ends the persistence, and whatever still waits in this browser.

Entra ID: Manage the 'Stay signed in?' prompt.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, cast

from ..rules import cookies
from ..rules.cookies import is_token
from ..rules.kmsi import Answer
from ..rules.navigation import is_from_this_origin
from ..rules.seals import decode, encode, key_of, open_under, seal_under
from ..vocabulary.effects import Flow, LoadSession, PutTicket, ReadTicket, TakeTicket
from ..vocabulary.errors import Refused, SignInRevoked, StoreConflict
from ..vocabulary.messages import Page, Reply, Request
from ..vocabulary.session import Session
from ..vocabulary.settings import DAY
from . import forms, fresh, log, replies, sessions
from .deployment import Deployment

WAITS_SECONDS = 600
REMEMBERED_SECONDS = 365 * DAY
_WAS_HERE_SECONDS = DAY  # how long a ticket's page of origin is still believed, for the back button


def suspend(app: Deployment, request: Request, now: float, sign_in: sessions.SignIn, gone: str) -> Flow[Reply]:
    """Let a sign-in wait for the answer, and take the browser to the question."""
    token, name = encode(app.dice(32)), encode(app.dice(6))
    payload = seal_under(token, sign_in.to_json(), app.dice)
    until = int(now) + WAITS_SECONDS
    if not (yield PutTicket(key_of(token), payload, until)):
        raise Refused("sign_in_used", "this sign-in was already completed")
    yield from _name_waiting(sign_in, key_of(token), until)
    yield log.interrupted(app, request, now, sign_in)
    ticket = app.seals.sign("interrupt", [name, sign_in.return_to], now)
    site = request.site
    full = cookies.surplus(request.header("cookie"), site, cookies.PENDING, cookies.MOST_PENDING, {})
    return replies.redirect(
        f"{site.root}{app.prefix}/kmsi?ticket={ticket}",
        cookies=(
            gone,
            *(cookies.clear_cookie(site, old[len(site.cookie_name) :]) for old in full),
            cookies.set_cookie(site, cookies.PENDING + name, token, until=until, now=now),
        ),
    )


def show(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``GET /.auth/kmsi``: the question."""
    text = forms.query(request).get("ticket", "")
    name, return_to = _ticket(app, text, now)
    token = cookies.named(request.header("cookie"), request.site, cookies.PENDING + name)
    sealed = (yield ReadTicket(key_of(token))) if is_token(token) else None
    if not sealed:
        return (yield from _too_late(app, request, now, token, name, return_to))
    provider_origins = yield from forms.provider_origins(request)
    sign_in = sessions.SignIn.from_json(open_under(token, sealed))
    context = {
        "app_name": app.settings.app_name,
        "user_name": _user_name(sign_in),
        "action": f"{request.site.root}{app.prefix}/kmsi",
        "ticket": text,
        "days": app.settings_of(sign_in.user_flow).keep_me_signed_in_days,
    }
    return replies.page(200, Page("kmsi.html", context, form_action=("'self'", *provider_origins)))


def answer(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``POST /.auth/kmsi``: the answer."""
    given = forms.form(request)
    if not is_from_this_origin(request):
        raise Refused("cross_site_form", "this form was sent from another site", status=403)
    name, return_to = _ticket(app, given.get("ticket", ""), now)
    chosen = given.get("answer")
    if chosen not in ("yes", "no"):
        raise Refused("bad_answer", "the answer is Yes or No")
    token = cookies.named(request.header("cookie"), request.site, cookies.PENDING + name)
    sealed = (yield ReadTicket(key_of(token))) if is_token(token) else None
    if not sealed:
        return (yield from _too_late(app, request, now, token, name, return_to))
    sign_in = sessions.SignIn.from_json(open_under(token, sealed))
    gone = cookies.clear_cookie(request.site, cookies.PENDING + name)
    try:
        session, set_cookies = yield from sessions.start(
            app,
            request,
            now,
            sign_in,
            persistent=chosen == "yes",
            decision=f"answered_{chosen}",
            token=app.seals.same_for("session", token),
        )
    except SignInRevoked:
        yield TakeTicket(key_of(token))
        error = fresh.revoked()
        yield log.refused(app, request, now, sign_in, error)
        return replies.sign_in_failed(
            app, request, now, error, correlation_id=sign_in.correlation_id, back=return_to, cookies=(gone,)
        )
    except StoreConflict:
        return (yield from _too_late(app, request, now, token, name, return_to))
    yield TakeTicket(key_of(token))
    yield log.success(app, request, now, session, sign_in)
    kept: tuple[str, ...] = ()
    if given.get("dont_show_again"):
        kept = (_remember(app, request, now, sign_in, cast("Answer", chosen)),)
    return replies.redirect(sign_in.return_to, cookies=(*set_cookies, *kept, gone))


def _ticket(app: Deployment, text: str, now: float) -> tuple[str, str]:
    payload = app.seals.unsign("interrupt", text, within=_WAS_HERE_SECONDS, now=now)
    if payload is None:
        raise Refused("interrupt_unknown", "this question does not belong to a sign-in of yours", retry=True)
    return str(payload[0]), str(payload[1])


def _too_late(app: Deployment, request: Request, now: float, token: str, name: str, return_to: str) -> Flow[Reply]:
    """Nothing waits any more: it was answered (rule 3), or too long ago."""
    if is_token(token):
        made = app.seals.same_for("session", token)
        session = yield LoadSession(key_of(made))
        if isinstance(session, Session) and now < session.started_at + WAITS_SECONDS:
            again = sessions.session_cookies(app, request, made, session, now)
            return replies.redirect(
                return_to, cookies=(*again, cookies.clear_cookie(request.site, cookies.PENDING + name))
            )
    found = yield from sessions.find(app, request, now)
    if found.session is not None:
        return replies.redirect(return_to, cookies=found.set_cookies)
    return replies.error_page(
        app,
        request,
        now,
        status=400,
        code="interrupt_expired",
        title="Please sign in again",
        message="The question was open for too long, or in another browser. You are not signed in.",
        retry_to=return_to,
    )


def _user_name(sign_in: sessions.SignIn) -> str:
    for claim in ("preferred_username", "email", "name"):
        value = sign_in.claims.get(claim)
        if isinstance(value, str) and value.strip():
            return value
    return sign_in.subject


# A sign-out at the issuer reaches a sign-in that waits here, too: the issuer's name of its session leads to it.


def _waiting_key(sid: str, place: int) -> bytes:
    return key_of(f"waiting {place} {encode(sid.encode())}")


def _name_waiting(sign_in: sessions.SignIn, key: bytes, until: int) -> Flow[None]:
    note = json.dumps([sign_in.issuer, encode(key)]).encode()
    for sid in sign_in.sids:
        if sid == sign_in.subject:
            continue  # it is no secret, so as with sessions it ends nothing
        for place in range(cookies.MOST_PENDING):
            if (yield PutTicket(_waiting_key(sid, place), note, until)):
                break


def forget_named(sid: str, issuer: str | None) -> Flow[bool]:
    """For a front-channel logout: what waits in that session of the issuer waits no more. Whether there was any."""
    ended = False
    for place in range(cookies.MOST_PENDING):
        note = yield ReadTicket(_waiting_key(sid, place))
        if note is None:
            continue
        of, key = json.loads(note)
        if issuer in (None, of):
            yield TakeTicket(decode(key))
            yield TakeTicket(_waiting_key(sid, place))
            ended = True
    return ended


def forget_waiting(request: Request) -> Flow[list[str]]:
    """For a sign-out: a question that is still open in another tab must not sign in whoever finds it."""
    gone: list[str] = []
    for name, token in cookies.ours(request.header("cookie"), request.site):
        suffix = name[len(request.site.cookie_name) :]
        if suffix.startswith(cookies.PENDING) and is_token(token) and len(gone) < cookies.MOST_PENDING:
            yield TakeTicket(key_of(token))
            gone.append(cookies.clear_cookie(request.site, suffix))
    return gone


# "Don't show this again" ----------------------------------------------------------------------------------


def _person(sign_in: sessions.SignIn) -> str:
    return encode(hashlib.sha256(json.dumps([sign_in.issuer, sign_in.subject]).encode()).digest())[:22]


def _remember(app: Deployment, request: Request, now: float, sign_in: sessions.SignIn, chosen: Answer) -> str:
    value = app.seals.sign("remembered", [_person(sign_in), chosen], now)
    return cookies.set_cookie(request.site, cookies.REMEMBERED, value, until=int(now) + REMEMBERED_SECONDS, now=now)


def _remembered(app: Deployment, request: Request, now: float) -> list[Any] | None:
    value = cookies.named(request.header("cookie"), request.site, cookies.REMEMBERED)
    payload = app.seals.unsign("remembered", value, within=REMEMBERED_SECONDS, now=now) if value else None
    return payload if isinstance(payload, list) else None


def remembered_answer(app: Deployment, request: Request, now: float, sign_in: sessions.SignIn) -> Answer | None:
    """What this person answered in this browser together with "Don't show this again"."""
    payload = _remembered(app, request, now)
    if payload is None or not hmac.compare_digest(str(payload[0]), _person(sign_in)):
        return None
    return cast("Answer", payload[1])


def forget_yes(app: Deployment, request: Request, now: float) -> tuple[str, ...]:
    """Rule 4, for a sign-out."""
    payload = _remembered(app, request, now)
    return (cookies.clear_cookie(request.site, cookies.REMEMBERED),) if payload and payload[1] == "yes" else ()

"""The interrupt: "Stay signed in?", after the sign-in and before the session begins.

1. A checked sign-in waits ten minutes for the answer, sealed in a ticket under a token that only this browser
   has. Abandoned, it leaves no session.
2. The answer is a form post from this origin, with this browser's cookie and this sign-in's ticket.
3. One sign-in makes one session. The session's token follows from the waiting sign-in's token, so that a double
   click, a reload and the back button lead to that same session instead of an error. Of two answers the No holds:
   one that comes after the Yes ends the persistence, and a Yes changes nothing any more.
4. "Don't show this again" keeps the answer for this person in this browser for a year, to a day; signing out forgets
   the person's Yes, because it ends the persistence, and whatever still waits in this browser.

Entra ID: Manage the 'Stay signed in?' prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from ..rules import cookies
from ..rules.cookies import is_token
from ..rules.kmsi import Answer
from ..rules.navigation import is_from_this_origin
from ..rules.seals import decode, encode, key_of, open_under, seal_under
from ..rules.targets import login_url
from ..vocabulary.effects import Flow, LoadSession, PutTicket, ReadTicket, TakeTicket
from ..vocabulary.errors import Refused, SignInRevoked, StoreConflict
from ..vocabulary.messages import Page, Reply, Request
from ..vocabulary.records import frozen
from ..vocabulary.session import Session, user_key
from ..vocabulary.settings import DAY
from . import forms, fresh, log, replies, sessions
from .deployment import Deployment

WAITS_SECONDS = 600
REMEMBERED_SECONDS = 365 * DAY
MOST_REMEMBERED = 5
"""People whose answers a browser keeps."""
_WAS_HERE_SECONDS = DAY  # how long a ticket's page of origin is still believed, for the back button


@frozen
class Question:
    """What a question's ticket says of it."""

    name: str
    """The end of its cookie's name."""
    return_to: str
    correlation_id: str
    """The sign-in's, and so that of the session that its answer makes."""


def suspend(app: Deployment, request: Request, now: float, sign_in: sessions.SignIn, gone: str) -> Flow[Reply]:
    """Let a sign-in wait for the answer, and take the browser to the question."""
    token, name = encode(app.dice(32)), encode(app.dice(6))
    payload = seal_under(token, sign_in.to_json(), app.dice)
    until = int(now) + WAITS_SECONDS
    if not (yield PutTicket(key_of(token), payload, until)):
        raise Refused("sign_in_used", "this sign-in was already completed")
    yield from _name_waiting(sign_in, key_of(token), until)
    yield log.interrupted(app, request, now, sign_in)
    ticket = app.seals.sign("interrupt", [name, sign_in.return_to, sign_in.correlation_id], now)
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
    question = _ticket(app, text, now)
    token = cookies.named(request.header("cookie"), request.site, cookies.PENDING + question.name)
    sealed = (yield ReadTicket(key_of(token))) if is_token(token) else None
    if not sealed:
        return (yield from _too_late(app, request, now, question, token))
    provider_origins = yield from forms.provider_origins(request)
    sign_in = sessions.SignIn.from_json(open_under(token, sealed))
    context = {
        "app_name": app.settings.app_name,
        "user_name": replies.person(sign_in),
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
    question = _ticket(app, given.get("ticket", ""), now)
    chosen = given.get("answer")
    if chosen not in ("yes", "no"):
        raise Refused("bad_answer", "the answer is Yes or No")
    token = cookies.named(request.header("cookie"), request.site, cookies.PENDING + question.name)
    sealed = (yield ReadTicket(key_of(token))) if is_token(token) else None
    if not sealed:
        return (yield from _too_late(app, request, now, question, token, given))
    sign_in = sessions.SignIn.from_json(open_under(token, sealed))
    gone = cookies.clear_cookie(request.site, cookies.PENDING + question.name)
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
            app, request, now, error, correlation_id=sign_in.correlation_id, back=question.return_to, cookies=(gone,)
        )
    except StoreConflict:
        return (yield from _too_late(app, request, now, question, token, given))
    yield TakeTicket(key_of(token))
    yield log.success(app, request, now, session, sign_in)
    kept: tuple[str, ...] = ()
    if given.get("dont_show_again"):
        kept = _remember(app, request, now, sign_in, cast("Answer", chosen))
    return replies.redirect(sign_in.return_to, cookies=(*set_cookies, *kept, gone))


def _ticket(app: Deployment, text: str, now: float) -> Question:
    payload = app.seals.unsign("interrupt", text, within=_WAS_HERE_SECONDS, now=now)
    if payload is None or len(payload) != 3:  # one of an older version has less
        raise Refused("interrupt_unknown", "this question does not belong to a sign-in of yours", retry=True)
    return Question(*payload)


def _too_late(
    app: Deployment,
    request: Request,
    now: float,
    question: Question,
    token: str,
    given: Mapping[str, str] = MappingProxyType({}),
) -> Flow[Reply]:
    """Nothing waits any more: it was answered (rule 3), or too long ago. ``given``: the form that comes so late."""
    if is_token(token):
        made = app.seals.same_for("session", token)
        session = yield LoadSession(key_of(made))
        if isinstance(session, Session) and now < session.started_at + WAITS_SECONDS:
            kept = yield from _no_after_yes(app, request, now, question, made, session, given)
            again = kept or sessions.session_cookies(app, request, made, session, now)
            gone = cookies.clear_cookie(request.site, cookies.PENDING + question.name)
            return replies.redirect(question.return_to, cookies=(*again, gone))
    found = yield from sessions.find(app, request, now)
    if found.session is not None:
        kept = yield from _no_after_yes(app, request, now, question, found.token, found.session, given)
        return replies.redirect(question.return_to, cookies=kept or found.set_cookies)
    sign_in = login_url(request.site, app.prefix, question.return_to, unanswered=True)
    return replies.error_page(
        app,
        request,
        now,
        status=400,
        code="interrupt_expired",
        title="Please sign in again",
        message="You were signed out meanwhile, or the question was open for more than ten minutes, or in another "
        "browser. You are not signed in.",
        correlation_id=question.correlation_id,
        retry_url=sign_in,
        ways=[("Sign in", sign_in)],
    )


def _no_after_yes(
    app: Deployment,
    request: Request,
    now: float,
    question: Question,
    token: str,
    session: Session,
    given: Mapping[str, str],
) -> Flow[tuple[str, ...]]:
    """Rule 3, for the session that this question's Yes has made; nothing to any other. What the browser is to keep."""
    if given.get("answer") != "no" or not session.persistent or session.correlation_id != question.correlation_id:
        return ()
    changed = yield from sessions.end_persistence(session, decision="answered_no")
    if changed is None:
        return ()  # it has ended, which the next request says
    yield log.no_after_yes(app, request, now, changed)
    if given.get("dont_show_again"):
        remembered = _remember(app, request, now, changed, "no")
    else:
        remembered = forget_yes(app, request, now, changed)
    return (*sessions.session_cookies(app, request, token, changed, now), *remembered)


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


def _person(who: sessions.SignIn | Session) -> str:
    """A short name for the cookie, which does not say who it is."""
    return encode(user_key(who.issuer, who.subject))[:16]


def _remembered(app: Deployment, request: Request, now: float) -> dict[str, tuple[Answer, int]]:
    """The answers of this browser's people with the days on which they were given, the last first."""
    value = cookies.named(request.header("cookie"), request.site, cookies.REMEMBERED)
    payload = app.seals.unsign("remembered", value, within=REMEMBERED_SECONDS, now=now) if value else None
    if not isinstance(payload, dict):
        return {}
    oldest = (int(now) - REMEMBERED_SECONDS) // DAY
    return {person: (answer, day) for person, (answer, day) in payload.items() if day >= oldest}


def _keep(app: Deployment, request: Request, now: float, answers: Mapping[str, tuple[Answer, int]]) -> tuple[str, ...]:
    if not answers:
        return (cookies.clear_cookie(request.site, cookies.REMEMBERED),)
    value = app.seals.sign("remembered", answers, now)
    until = int(now) + REMEMBERED_SECONDS
    return (cookies.set_cookie(request.site, cookies.REMEMBERED, value, until=until, now=now),)


def _remember(
    app: Deployment, request: Request, now: float, who: sessions.SignIn | Session, chosen: Answer
) -> tuple[str, ...]:
    older = _remembered(app, request, now)
    older.pop(_person(who), None)
    answers = [(_person(who), (chosen, int(now) // DAY)), *older.items()]
    return _keep(app, request, now, dict(answers[:MOST_REMEMBERED]))


def remembered_answer(app: Deployment, request: Request, now: float, who: sessions.SignIn | Session) -> Answer | None:
    """What this person answered in this browser together with "Don't show this again"."""
    answer, _ = _remembered(app, request, now).get(_person(who), (None, 0))
    return answer


def forget_answer(app: Deployment, request: Request, now: float, who: Session) -> tuple[str, ...]:
    """For who wants to be asked again."""
    answers = _remembered(app, request, now)
    return () if answers.pop(_person(who), None) is None else _keep(app, request, now, answers)


def forget_yes(app: Deployment, request: Request, now: float, who: Session | None) -> tuple[str, ...]:
    """Rule 4, for a sign-out. Where nobody is signed in, it is every Yes in this browser."""
    answers = _remembered(app, request, now)
    meant = answers.keys() if who is None else {_person(who)}
    kept = {person: given for person, given in answers.items() if given[0] == "no" or person not in meant}
    return () if kept == answers else _keep(app, request, now, kept)

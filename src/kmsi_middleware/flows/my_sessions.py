"""``/.auth/sessions``: where a person is signed in, and signing out elsewhere.

1. It needs a sign-in of the last minutes (ASVS 7.5.2): whoever sat down at somebody's open browser may neither look
   nor sign anybody out. Who comes later signs in anew first, and gets back. What this browser keeps of the person's
   answers is taken back here, too.
2. A form is held to the same once more. It must come from this origin.
3. A person's sessions are those of the same issuer and subject. Of any other, nothing is shown or ended.
4. This browser's own session is not ended here: that is what signing out is for, at the provider too.
5. What policies demand of every request, they demand here.
"""

from __future__ import annotations

from dataclasses import replace

from ..rules import lifetimes, own_sessions
from ..rules.cookies import as_headers
from ..rules.navigation import Kind, is_from_this_origin, kind_of
from ..rules.targets import SESSIONS
from ..vocabulary.effects import FindUserSessions, Flow, LoadSession
from ..vocabulary.errors import Refused
from ..vocabulary.messages import Forward, Page, Reply, Request
from ..vocabulary.session import Session, user_key
from . import forms, fresh, interrupt, replies, revocation, sessions, sign_in
from .deployment import Deployment
from .guard import guard, sign_in_first

_SAID_SECONDS = 60
"""For how long the page says what was just done."""
_ASKS_AGAIN = "asks again"


def show(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``GET /.auth/sessions``."""
    outcome = yield from _admitted(app, request, now)
    if isinstance(outcome, Reply):
        return outcome
    session = outcome.session
    assert session is not None
    ask = fresh.recently(app, session, now)
    if ask is not None and kind_of(request) is not Kind.NAVIGATION:
        return replies.sign_in_due(app, request, ask, session, now, code="insufficient_user_authentication")
    if ask is not None:
        return (yield from sign_in.again(app, request, now, _here(app, request), ask, session))
    reply = yield from _page(app, request, session, now)
    return replace(reply, headers=(*reply.headers, *as_headers(outcome.set_cookies)))


def end(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``POST /.auth/sessions``: sign out one (``session``), or all others (``others``); or have this browser forget the
    person's answer to "Stay signed in?" (``ask_again``)."""
    given = forms.form(request)
    if not is_from_this_origin(request):
        raise Refused("cross_site_form", "this form was sent from another site", status=403)
    outcome = yield from _admitted(app, request, now)
    if isinstance(outcome, Reply):
        return outcome
    session = outcome.session
    assert session is not None
    here = _here(app, request)
    if fresh.recently(app, session, now) is not None:
        return replies.redirect(here, cookies=outcome.set_cookies)  # which asks for a fresh sign-in
    if len({"others", "session", "ask_again"} & given.keys()) != 1:
        raise Refused("bad_session", "say which session is meant")
    forgotten: tuple[str, ...] = ()
    done: int | str = _ASKS_AGAIN
    if "ask_again" in given:
        forgotten = interrupt.forget_answer(app, request, now, session)
    elif "others" in given:
        done = yield from revocation.revoke_others(session, now, "page")
    else:
        done = yield from _end_one(session, given["session"], now)
    said = app.seals.sign("done", done, now)
    return replies.redirect(f"{here}?done={said}", cookies=(*outcome.set_cookies, *forgotten))


def _admitted(app: Deployment, request: Request, now: float) -> Flow[Reply | Forward]:
    """A request with a session that may go on; or what is answered instead."""
    outcome = yield from guard(app, request, now)
    if isinstance(outcome, Reply) or outcome.session is not None:
        return outcome
    # The prefix is among the public paths, or the app decides: here it doesn't.
    reply = yield from sign_in_first(app, request, now)
    return reply or replies.signed_out_answer(app, request, now, None, as_page=replies.wants_page(request))


def _here(app: Deployment, request: Request) -> str:
    return f"{request.site.root}{app.prefix}{SESSIONS}"


def _end_one(mine: Session, named: str, now: float) -> Flow[int]:
    """Rules 3 and 4. What is not there any more is as good as ended."""
    try:
        key = bytes.fromhex(named)
    except ValueError:
        key = b""
    if len(key) != len(mine.key) or key == mine.key:
        raise Refused("bad_session", "say which session is meant")
    found = yield LoadSession(key)
    if not isinstance(found, Session) or not sessions.is_same_person(found, mine):
        return 0
    return (yield from revocation.revoke(key, now, "page"))


def _page(app: Deployment, request: Request, mine: Session, now: float) -> Flow[Reply]:
    found: list[Session] = yield FindUserSessions(user_key(mine.issuer, mine.subject))
    ends = {session.key: lifetimes.end_of(session, app.settings_of(session.user_flow)) for session in found}
    live = [session for session in found if now < ends[session.key]]
    rows = own_sessions.rows(live, mine, ends, now)
    done = app.seals.unsign("done", forms.query(request).get("done", ""), within=_SAID_SECONDS, now=now)
    origins = yield from forms.provider_origins(request)
    context = {
        "app_name": app.settings.app_name,
        "user_name": replies.person(mine),
        "action": _here(app, request),
        "sign_out_action": f"{request.site.root}{app.prefix}/logout",
        "home_url": f"{request.site.root}/",
        "sessions": rows,
        "others": sum(session.key != mine.key for session in live),
        "not_shown": len(live) - len(rows),
        "ended": done if isinstance(done, int) else None,
        "asks_again": done == _ASKS_AGAIN,
        "keeps_answer": interrupt.remembered_answer(app, request, now, mine) is not None,
    }
    return replies.page(200, Page("sessions.html", context, form_action=("'self'", *origins)))

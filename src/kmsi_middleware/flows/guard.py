"""Every request that is not for a reserved path: with a session it goes on to the app, without one it is sent to
sign in, or told why not."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from ..rules.cookies import as_headers
from ..rules.navigation import Kind, is_prefetch, is_preflight, kind_of
from ..rules.targets import LONGEST_TARGET, is_misplaced, return_target
from ..vocabulary.contexts import auth_context
from ..vocabulary.effects import Flow
from ..vocabulary.errors import KMSIError, Refused, SessionEnded, SessionRequired, Unavailable
from ..vocabulary.messages import Forward, Outcome, Reply, Request
from ..vocabulary.session import Session
from . import access, forms, log, replies, revalidation, sessions, sign_in, telling, words
from .deployment import Deployment


def guard(app: Deployment, request: Request, now: float) -> Flow[Outcome]:
    """Forward or refuse."""
    if request.websocket and not _may_connect(app, request):
        return replies.problem(403, "websocket_origin", "a page of another origin must not connect here")
    if is_preflight(request):
        return Forward()
    # A prefetch is nobody's activity, and a WebSocket's handshake can't carry a renewed cookie for sure.
    extend = not request.websocket and not is_prefetch(request)
    found = yield from sessions.find(app, request, now, extend=extend)
    if found.session is not None:
        asked = yield from revalidation.revalidate(app, request, found, request.target, now)
        if isinstance(asked, Reply):
            return asked
        found = asked
    if found.session is not None:
        return (yield from _with_session(app, request, found, now, extend=extend))
    if app.is_public(request.path):
        return Forward(invites=_invites(app, request))
    return (yield from _without_session(app, request, found, now))


def require(app: Deployment, request: Request, context: str, now: float) -> Flow[Reply | None]:
    """An app asks for an authentication context in the middle of a request. ``None``: it is reached.

    Raises ``ValueError`` for what is no context.
    """
    context = auth_context(context)
    try:
        found = yield from sessions.find(app, request, now, extend=False)
        if found.session is None:
            return (yield from _without_session(app, request, found, now))
        outcome = yield from _with_session(app, request, found, now, extend=False, context=context)
    except Refused as error:
        return replies.refused(app, request, now, error)
    except Unavailable as error:
        return replies.unavailable(app, request, now, error)
    return outcome if isinstance(outcome, Reply) else None


def _without_session(app: Deployment, request: Request, found: sessions.Found, now: float) -> Flow[Reply]:
    """To the sign-in, for who just opens a page; everybody else is told, and so is whoever had a session that was
    ended for a reason that is news. The cookie stays, so that a reload says the same."""
    _check_place(app, request)
    if _is_navigation(request) and not telling.is_news(app, found):
        return (yield from sign_in.begin(app, request, now, request.target))
    return (yield from telling.tell(app, request, found, now))


def _check_place(app: Deployment, request: Request) -> None:
    """Refuse to begin a sign-in in the middle of one, where the way back does not lead to us."""
    if is_misplaced(request.path, app.prefix):
        source = "base_url" if app.settings.base_url else "the Host and the server's root path"
        here, below = f"{request.site.origin}{request.site.root}", quote(request.path)[:LONGEST_TARGET]
        raise Refused(
            "base_url_mismatch",
            f"by {source} the app is at {here}, but the path below that is {below}: what base_url or the root path has "
            "for a path, the proxy has to strip; if it strips nothing, that path belongs into the setting prefix",
            status=421,
        )


def _is_navigation(request: Request) -> bool:
    return kind_of(request) is Kind.NAVIGATION and not request.websocket


def instead(app: Deployment, request: Request, error: KMSIError, now: float) -> Flow[Reply | None]:
    """What to answer where an app let an error of :mod:`.tokens` escape: what the request would get now, were it to
    come again. ``None``: nothing better than the app's own failure."""
    match error:
        case Unavailable():
            return replies.unavailable(app, request, now, error)
        case SessionEnded() | SessionRequired():
            return (yield from sign_in_first(app, request, now))
    return None


def sign_in_first(app: Deployment, request: Request, now: float) -> Flow[Reply | None]:
    """What to answer to who needs a session and has none. ``None``: there is one, so a sign-in would not help."""
    try:
        found = yield from sessions.find(app, request, now, extend=False)
        return None if found.session is not None else (yield from _without_session(app, request, found, now))
    except Refused as error:
        return replies.refused(app, request, now, error)
    except Unavailable as error:
        return replies.unavailable(app, request, now, error)


def _with_session(
    app: Deployment,
    request: Request,
    found: sessions.Found,
    now: float,
    *,
    extend: bool,
    context: str | None = None,
) -> Flow[Outcome]:
    """What the policies make of it.

    A public path is open to everybody, so also to whom a policy keeps out: but as nobody, not as that person.
    """
    session, set_cookies, until = found.session, found.set_cookies, found.until
    assert session is not None
    verdict = yield from access.judge(app, request, session, now, context=context)
    if verdict.is_changed and extend:
        session, until = (yield from sessions.change(session, password_change_demanded_at=None)), 0
    if session.persistent and not verdict.persistent and extend:
        session, until = (yield from sessions.change(session, persistent=False)), 0
        set_cookies = sessions.session_cookies(app, request, found.token, session, now)
    if verdict.reported and extend:
        session, until = (yield from sessions.change(session, reported=(*session.reported, *verdict.reported))), 0
        yield log.reported(app, request, now, session, verdict.applied)
    if verdict.outcome == "pass":
        until = min(until, verdict.until)
        return Forward(session, set_cookies, until=until, judged_risk=verdict.judged_risk)
    wants_context = context is not None or app.auth_contexts.of(request.path) is not None
    if request.path in app.public_paths and not wants_context:
        return Forward()
    reply = yield from _not_yet(app, request, session, verdict, now)
    return replace(reply, headers=(*reply.headers, *as_headers(set_cookies)))


def _not_yet(app: Deployment, request: Request, session: Session, verdict: access.Verdict, now: float) -> Flow[Reply]:
    """The reply to who does not pass."""
    match verdict.outcome:
        case "blocked":
            assert verdict.refusal is not None
            return (yield from _kept_out(app, request, session, verdict.refusal, now))
        case "refuse":
            return replies.sign_in_due(app, request, verdict.ask, session, now)
        case "password":
            return (yield from _new_password(app, request, session, verdict.ask, now))
    _check_place(app, request)
    if not request.websocket and not is_prefetch(request):
        yield from sessions.change(session, refused_at=int(now))
    return (yield from sign_in.again(app, request, now, request.target, verdict.ask, session))


def _kept_out(app: Deployment, request: Request, session: Session, refusal: Refused, now: float) -> Flow[Reply]:
    """A page that says so and offers to sign out, which may lead to the issuer; or a problem."""
    origins = (yield from forms.provider_origins(request)) if replies.wants_page(request) else ()
    return replies.kept_out(app, request, now, refusal, session, origins)


def _new_password(app: Deployment, request: Request, session: Session, ask: access.Ask, now: float) -> Flow[Reply]:
    """A page with the way to where the password is changed, and the one to a fresh sign-in, by which we are told of
    it. Never a redirect: only the person knows which of them is next."""
    code = "password_change_required"
    if not _is_navigation(request):
        return replies.sign_in_due(app, request, ask, session, now, code=code)
    demanded_at, url = session.password_change_demanded_at, app.settings.password_change_url
    if demanded_at is None:
        yield from sessions.change(session, password_change_demanded_at=int(now))
    title, message = words.WHY[code]
    if demanded_at is not None and demanded_at < session.started_at:
        message = f"{message} {words.NOT_CHANGED_YET}"
    changed = ("I have changed it: sign in", replies.ask_url(app, request, _return_to(app, request), ask, now))
    return replies.error_page(
        app,
        request,
        now,
        status=403,
        code=code,
        title=title,
        message=message,
        correlation_id=session.correlation_id,
        user_name=replies.person(session),
        ways=[changed, ("Change the password", url)] if url is not None else [changed],
        is_neutral=True,
    )


def _may_connect(app: Deployment, request: Request) -> bool:
    """RFC 6455 §10.2: a browser names the page's origin, and cookies alone don't tell ours from another's."""
    origin = request.header("origin").lower()
    allowed = (request.site.origin, *app.settings.websocket_origins)
    return origin in {item.lower() for item in allowed}


def _invites(app: Deployment, request: Request) -> bool:
    """``protect="none"``: whether the app's refusal may mean that nobody is signed in. That of a posted form may be
    about the form, and that of who brings credentials about those: the app's words stay."""
    if app.settings.protect != "none" or "authorization" in request.headers:
        return False
    return kind_of(request) is not Kind.PAGE


def _return_to(app: Deployment, request: Request) -> str:
    try:
        return return_target(request.target, request.site, app.prefix)
    except Refused:  # a path that no browser would be sent back to, as //host
        return f"{request.site.root}/"

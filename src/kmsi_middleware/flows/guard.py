"""Every request that is not for a reserved path: with a session it goes on to the app, without one it is sent to
sign in, or told why not."""

from __future__ import annotations

from ..rules.navigation import Kind, is_prefetch, is_preflight, kind_of
from ..rules.targets import login_url, return_target
from ..vocabulary.effects import Flow
from ..vocabulary.errors import Refused
from ..vocabulary.messages import Forward, Outcome, Reply, Request
from . import replies, sessions, sign_in
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
        return Forward(found.session, found.set_cookies, until=found.until)
    if app.is_public(request.path):
        return Forward(refusal=_invitation(app, request))
    if kind_of(request) is Kind.NAVIGATION and not request.websocket:
        return (yield from sign_in.begin(app, request, now, _return_to(app, request)))
    return replies.signed_out_answer(app, request, found.ended)


def _may_connect(app: Deployment, request: Request) -> bool:
    """RFC 6455 §10.2: a browser names the page's origin, and cookies alone don't tell ours from another's."""
    origin = request.header("origin").lower()
    allowed = (request.site.origin, *app.settings.websocket_origins)
    return origin in {item.lower() for item in allowed}


def _invitation(app: Deployment, request: Request) -> Reply | None:
    """``protect="none"``: the app's 403 to an anonymous navigation becomes a sign-in."""
    if app.settings.protect != "none" or kind_of(request) is not Kind.NAVIGATION:
        return None
    return replies.redirect(login_url(request.site, app.prefix, _return_to(app, request)))


def _return_to(app: Deployment, request: Request) -> str:
    try:
        return return_target(request.target, request.site, app.prefix)
    except Refused:  # a path that no browser would be sent back to, as //host
        return f"{request.site.root}/"

"""Where every request comes in: reserved paths by name, everything else to the guard; and what is answered
when something is refused or not available."""

from __future__ import annotations

from collections.abc import Callable

from ..rules.navigation import is_prefetch
from ..vocabulary.effects import Flow
from ..vocabulary.errors import Refused, Unavailable
from ..vocabulary.messages import Outcome, Reply, Request
from . import back_channel, callback, interrupt, me, my_sessions, replies, sign_in, sign_out
from .deployment import Deployment
from .guard import guard

_Handler = Callable[[Deployment, Request, float], Flow[Reply]]

RESERVED: dict[str, dict[str, _Handler]] = {
    "/login": {"GET": sign_in.login},
    "/initiate-login": {"GET": sign_in.initiate_login, "POST": sign_in.initiate_login},
    "/callback": {"GET": callback.callback, "POST": callback.callback},
    "/kmsi": {"GET": interrupt.show, "POST": interrupt.answer},
    "/logout": {"GET": sign_out.sign_out, "POST": sign_out.sign_out},
    "/logged-out": {"GET": sign_out.signed_out},
    "/frontchannel-logout": {"GET": sign_out.front_channel},
    "/backchannel-logout": {"POST": back_channel.back_channel},
    "/me": {"GET": me.me},
    "/sessions": {"GET": my_sessions.show, "POST": my_sessions.end},
}
LONGEST_BODY = 65_536
"""Bytes of a posted form on a reserved path; an authorization response is a few thousand."""


def answer(app: Deployment, request: Request, now: float) -> Flow[Outcome]:
    """The outcome for any request. What is refused or unavailable becomes a page or a problem here."""
    try:
        if is_reserved(request.path, app.prefix):
            return (yield from _reserved(app, request, now))
        return (yield from guard(app, request, now))
    except Refused as error:
        return replies.refused(app, request, now, error)
    except Unavailable as error:
        return replies.unavailable(app, request, now, error)


def is_reserved(path: str, prefix: str) -> bool:
    """Whether a path is one of ours."""
    return path == prefix or path.startswith(prefix + "/")


def _reserved(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    methods = RESERVED.get(request.path[len(app.prefix) :])
    if methods is None or request.websocket:
        raise Refused("not_found", "there is no such page", status=404)
    if request.method == "HEAD":
        return Reply(204, (replies.NO_STORE,))
    handler = methods.get(request.method)
    if handler is None:
        return replies.problem(
            405, "method_not_allowed", "this path takes other methods", headers=(("allow", ", ".join(methods)),)
        )
    if is_prefetch(request):
        raise Refused("prefetch_refused", "a page of the sign-in is not fetched before it is asked for", status=403)
    if len(request.body) > LONGEST_BODY:
        raise Refused("body_too_large", "the form is too large", status=413)
    return (yield from handler(app, request, now))

"""Our own answers: redirects, problems, pages. Whoever can read HTML gets a page, everybody else problem+json
(RFC 9457), and both say the same code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..rules.cookies import as_headers
from ..rules.navigation import Kind, is_sent_form, kind_of
from ..rules.targets import login_url, return_target
from ..vocabulary.errors import Refused, Unavailable
from ..vocabulary.messages import Page, Reply, Request
from ..vocabulary.session import Session
from . import words
from .deployment import Deployment

if TYPE_CHECKING:
    from .access import Ask
    from .sessions import Left, SignIn

Headers = Sequence[tuple[str, str]]
Ways = Sequence[tuple[str, str]]
"""The links by which a person goes on from a page, each with its words: the main one last, as on all our pages."""
NO_STORE = ("cache-control", "no-store")
VARY = ("vary", "Cookie")

_PROMPT_AFTER = {"sign_in_revoked": "login", "fresh_sign_in_required": "login", "session_revoked": "login"}
"""What the next attempt asks for, by what the last one failed with."""

_REFUSES_THE_ACCOUNT = ("blocked_by_policy", "device_not_compliant", "device_not_joined", "tenant_not_allowed")
"""What the next attempt fails with as well, unless it is with another account, or something else has changed."""


def redirect(location: str, *, cookies: Sequence[str] = (), headers: Headers = ()) -> Reply:
    """303: whatever the method was, the browser goes on by GET (RFC 9700 §4.12)."""
    return Reply(303, (("location", location), NO_STORE, VARY, *headers, *as_headers(cookies)))


def problem(status: int, code: str, detail: str, *, headers: Headers = (), **more: Any) -> Reply:
    """RFC 9457."""
    body = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, "detail": detail}
    fixed = (("content-type", "application/problem+json"), NO_STORE, VARY, ("x-content-type-options", "nosniff"))
    return Reply(status, (*fixed, *headers), json.dumps(body | more).encode())


def page(status: int, template: Page, *, cookies: Sequence[str] = (), headers: Headers = ()) -> Reply:
    """One of our pages. The renderer adds its Content-Security-Policy and that it is not to be stored."""
    return Reply(status, (VARY, *headers, *as_headers(cookies)), page=template)


def wants_page(request: Request) -> bool:
    """Whether a person will see the answer."""
    return kind_of(request) in (Kind.NAVIGATION, Kind.PAGE) and not request.websocket


def error_page(
    app: Deployment,
    request: Request,
    now: float,
    *,
    status: int,
    code: str,
    title: str,
    message: str,
    detail: str = "",
    correlation_id: str = "",
    user_name: str = "",
    retry_to: str | None = None,
    retry_url: str | None = None,
    ways: Ways = (),
    sign_out: Sequence[str] | None = None,
    is_neutral: bool = False,
    cookies: Sequence[str] = (),
    headers: Headers = (),
) -> Reply:
    """A failure, for a person or for a script.

    ``detail``: what to tell scripts, and whom the person asks for help, instead of ``message``. ``ways``: by default
    the one to sign in, or else the one to the app. ``sign_out``: the origins of the issuer's pages, where the page
    offers to sign out. ``is_neutral``: it may be what the person wanted.
    """
    retry = retry_url or (login_url(request.site, app.prefix, retry_to) if retry_to is not None else None)
    if not wants_page(request):
        more = {"login_url": retry} if retry else {}
        return problem(status, code, detail or message, headers=(*headers, *as_headers(cookies)), **more)
    context = {
        "app_name": app.settings.app_name,
        "user_name": user_name,
        "title": title,
        "message": message,
        "is_neutral": is_neutral,
        "ways": list(ways) or [("Try again", retry) if retry else home(app, request)],
        "sign_out_action": f"{request.site.root}{app.prefix}/logout" if sign_out is not None else None,
        "detail": detail,
        **_details(now, code, correlation_id),
    }
    template = Page("error.html", context, form_action=("'self'", *(sign_out or ())))
    return page(status, template, cookies=cookies, headers=headers)


def _details(now: float, code: str, correlation_id: str) -> dict[str, str]:
    """What a person passes on who asks for help."""
    time = datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"code": code, "correlation_id": correlation_id, "time": time}


def home(app: Deployment, request: Request) -> tuple[str, str]:
    """The way to the app's start page."""
    return (f"Go to {app.settings.app_name}", f"{request.site.root}/")


def _here(app: Deployment, request: Request) -> str | None:
    """What was asked for, as a link that asks for it once more; ``None`` where no link can."""
    if request.path == f"{app.prefix}/logout":
        return f"{request.site.root}{request.path}"  # a click on one of our pages is as good as the form
    try:
        return_target(request.target, request.site, app.prefix)
    except Refused:
        return None
    return request.target if request.method == "GET" else None


def person(who: Session | SignIn) -> str:
    """Whom a page speaks of: the name, and the user name beside it."""
    given = (who.claims.get(claim) for claim in ("name", "preferred_username", "email"))
    name, *more = [text for text in given if isinstance(text, str) and text.strip()] or [who.subject]
    return f"{name} ({more[0]})" if more and more[0] != name else name


def refused(app: Deployment, request: Request, now: float, error: Refused) -> Reply:
    """A request that is refused."""
    title, message, detail = words.refusal(error)
    return error_page(
        app,
        request,
        now,
        status=error.status,
        code=error.code,
        title=title,
        message=message,
        detail=detail,
        retry_to=f"{request.site.root}/" if error.retry else None,
    )


def kept_out(
    app: Deployment, request: Request, now: float, error: Refused, session: Session, origins: Sequence[str]
) -> Reply:
    """Who has a session that a policy does not let on. ``origins``: those of the issuer's pages."""
    here, start = _here(app, request), home(app, request)
    ways = [start] if here is None else [("Check again", here)] if here == start[1] else [start, ("Check again", here)]
    lost = " What you have just sent was not saved." if is_sent_form(request) else ""
    return error_page(
        app,
        request,
        now,
        status=error.status,
        code=error.code,
        title="You can’t go on just now",
        message=words.sentence(error.detail) + lost,
        correlation_id=session.correlation_id,
        user_name=person(session),
        ways=ways,
        sign_out=origins,
    )


def unavailable(app: Deployment, request: Request, now: float, error: Unavailable) -> Reply:
    """Something we depend on failed. Nobody is signed out by it."""
    here = _here(app, request)
    return error_page(
        app,
        request,
        now,
        status=503,
        code=error.code,
        title="Please try again in a moment",
        message="Something that is needed to answer you is not available just now. You have not been signed out.",
        ways=[("Try again", here)] if here is not None else (),
        headers=(("retry-after", str(error.retry_after)),),
    )


def sign_in_failed(
    app: Deployment,
    request: Request,
    now: float,
    error: Refused | Unavailable,
    *,
    correlation_id: str,
    back: str,
    user_name: str = "",
    cookies: Sequence[str] = (),
) -> Reply:
    """A page that says what went wrong with a sign-in and offers another try; never a redirect, so never a loop.

    ``back``: the page that the sign-in was to lead to.
    """
    retry_url = login_url(request.site, app.prefix, back, prompt=_PROMPT_AFTER.get(error.code, ""))
    again = ("Try again", retry_url)
    other = ("Use another account", login_url(request.site, app.prefix, back, prompt="select_account"))
    ways = [again]
    if error.code in _REFUSES_THE_ACCOUNT:
        ways = [again, other]
    elif error.code == "access_denied":
        ways = [other, again]
    message, detail = words.failed_sign_in(error)
    return error_page(
        app,
        request,
        now,
        status=error.status if isinstance(error, Refused) else 503,
        code=error.code,
        title="The sign-in was not completed" if error.code == "access_denied" else "We could not sign you in",
        message=message,
        detail=detail,
        correlation_id=correlation_id,
        user_name=user_name,
        retry_url=retry_url,
        ways=ways,
        is_neutral=error.code == "access_denied",
        cookies=cookies,
        headers=(("retry-after", str(error.retry_after)),) if isinstance(error, Unavailable) else (),
    )


def signed_out_answer(app: Deployment, request: Request, now: float, left: Left | None, *, as_page: bool) -> Reply:
    """401 for who has no session: a page or a problem that says why, where a session ended and this is left of it."""
    if left is None:
        return _sign_in_first(app, request, now, "no_session", "no_session", as_page=as_page)
    reason, correlation_id = left.tombstone.reason, left.tombstone.correlation_id
    code = words.CODE_OF_REASON[reason]
    return _sign_in_first(app, request, now, code, reason, correlation_id=correlation_id, as_page=as_page)


def unconfirmed(app: Deployment, request: Request, now: float, session: Session) -> Reply:
    """401 for who has a session that the issuer has not confirmed, and can't be redirected."""
    code = "session_unconfirmed"
    as_page = wants_page(request)
    return _sign_in_first(app, request, now, code, code, correlation_id=session.correlation_id, as_page=as_page)


def _sign_in_first(
    app: Deployment, request: Request, now: float, code: str, reason: str, *, correlation_id: str = "", as_page: bool
) -> Reply:
    # A posted form or a script's fetch can't be repeated from here: the person goes back to where it came from.
    back = request.target if request.method == "GET" and as_page else _page_of(request)
    return _unauthorized(
        app,
        request,
        now,
        code=code,
        reason=reason,
        told=words.WHY[reason],
        challenge=f'Cookie realm="{app.settings.cookie_name}"',
        correlation_id=correlation_id,
        as_page=as_page,
        url=_login_url(app, request, back, prompt=_PROMPT_AFTER.get(code, "")),
    )


def sign_in_due(
    app: Deployment, request: Request, ask: Ask, session: Session, now: float, *, code: str = "sign_in_frequency"
) -> Reply:
    """401 for who has a session, but needs a fresher sign-in, and can't be redirected (RFC 9470 §3).

    The link in it leads to that very sign-in, and back.
    """
    reason = code
    parts = ['Bearer error="insufficient_user_authentication"', f'error_description="{code}"']
    parts += [f'acr_values="{ask.context}"'] if ask.context else []
    parts += [f'max_age="{ask.max_age}"'] if ask.max_age is not None else []
    if ask.context and code == "sign_in_frequency":
        code = "insufficient_user_authentication"
    return _unauthorized(
        app,
        request,
        now,
        code=code,
        reason=reason,
        told=words.WHY[code],
        challenge=", ".join(parts),
        correlation_id=session.correlation_id,
        as_page=wants_page(request),
        url=ask_url(app, request, _page_of(request), ask, now),
    )


def ask_url(app: Deployment, request: Request, back: str, ask: Ask, now: float) -> str:
    """Where that very sign-in starts, for a day."""
    kept = {"m": ask.max_age, "c": ask.context, "p": ask.prompt, "s": ask.second_factor}
    return f"{_login_url(app, request, back)}&ask={app.seals.seal('ask', kept, now)}"


def _unauthorized(
    app: Deployment,
    request: Request,
    now: float,
    *,
    code: str,
    reason: str,
    told: tuple[str, str],
    challenge: str,
    correlation_id: str,
    as_page: bool,
    url: str,
) -> Reply:
    """A 401 that tells the way to sign in: a page, or a problem that scripts and htmx can follow."""
    title, text = told
    headers: Headers = (("www-authenticate", challenge),)
    if as_page:
        context = {
            "app_name": app.settings.app_name,
            "reason_title": title,
            "reason_text": text,
            "is_lost": is_sent_form(request),
            "login_url": url,
            "reason": reason,
            **_details(now, code, correlation_id),
        }
        return page(401, Page("session_ended.html", context, frame_ancestors=("'self'",)), headers=headers)
    if kind_of(request) is Kind.HTMX:
        headers = (*headers, ("hx-redirect", url))
    return problem(401, code, text, headers=headers, reason=reason, login_url=url)


def _login_url(app: Deployment, request: Request, back: str, *, prompt: str = "") -> str:
    """Where a sign-in starts that leads back there, or to the start page where that can't be gone back to."""
    try:
        target = return_target(back, request.site, app.prefix)
    except Refused:
        target = f"{request.site.root}/"
    return login_url(request.site, app.prefix, target, prompt=prompt)


def _page_of(request: Request) -> str:
    """The page that a script or form belongs to, as far as the browser says so; else the start page."""
    for name in ("hx-current-url", "referer"):
        url = request.header(name)
        origin = request.site.origin
        if url.startswith(origin + "/"):
            return url[len(origin) :]
    return f"{request.site.root}/"

"""Sign-in, on the way to the issuer (OpenID Connect Core 1.0 §3.1.2.1); the way back is :mod:`.callback`.

Starting one writes nothing on the server: a transaction is a small cookie and a sealed ``state``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from ..rules import cookies
from ..rules.navigation import Kind, kind_of
from ..rules.oidc import authorization
from ..rules.oidc.authorization import Transaction
from ..rules.oidc.discovery import Provider
from ..rules.revocation import prompt_after
from ..rules.targets import is_too_long, return_target
from ..vocabulary.effects import CountUnmatched, Flow, GetProvider, NoteLongTarget
from ..vocabulary.errors import ProtocolError, ProviderUnavailable, Refused, Unavailable
from ..vocabulary.messages import Reply, Request
from ..vocabulary.session import Session
from ..vocabulary.settings import DAY
from . import access, forms, log, replies, sessions, user_flows
from .deployment import Deployment

PROMPTS = frozenset({"login", "consent", "select_account", "create", "none"})


def begin(
    app: Deployment,
    request: Request,
    now: float,
    page: str,
    *,
    prompt: str = "",
    login_hint: str = "",
    ask: access.Ask | None = None,
    user_flow: str = "",
    then: str = "",
    named: bool = False,
    confirms: bool = False,
    unanswered: bool = False,
) -> Flow[Reply]:
    """Send the browser to the issuer, and from there to ``page``, if it can be returned to. ``ask``: for what a policy
    wants. ``user_flow``: through that flow, ``named`` if it was asked for although, or because, there may be a session;
    ``then`` follows it. ``confirms``: only to ask whether the issuer stands behind the session that there is.
    ``unanswered``: after a sign-in whose "Stay signed in?" found no answer."""
    ask = ask or access.Ask()
    user_flow = user_flow or app.settings.user_flows.default
    prompt = prompt or ask.prompt or user_flows.prompt(app, user_flow)
    transaction, secrets = authorization.new_transaction(
        (yield from _return_to(app, request, page)),
        now,
        app.dice,
        prompt=prompt,
        max_age=ask.max_age,
        context=ask.context,
        second_factor=ask.second_factor,
        forced=named or ask != access.Ask(),
        again=ask.again,
        user_flow=user_flow,
        then=then,
        came_from=user_flows.came_from(app, request),
        confirms=confirms,
        unanswered=unanswered,
    )
    try:
        provider: Provider = yield GetProvider(app.authority(request.site, user_flow))
    except (ProtocolError, ProviderUnavailable) as error:
        # While the issuer is away this happens to everybody who comes, so not all of it is written down.
        if (yield CountUnmatched("provider", request.client_address)):
            yield log.failure(app, request, now, transaction.correlation_id, error)
        return failed(app, request, now, transaction, error)
    url = authorization.authorization_url(
        provider,
        app.settings,
        client_id=app.client_id,
        redirect_uri=redirect_uri(app, request),
        state=authorization.sealed_state(transaction, app.seals, now),
        secrets=secrets,
        prompt=prompt,
        login_hint=login_hint,
        max_age=ask.max_age,
        context=ask.context,
        second_factor=ask.second_factor,
    )
    suffix = cookies.TRANSACTION + transaction.cookie_suffix
    value = app.seals.sign("transaction", [transaction.id, secrets.seed, int(now)], now)
    until = int(now) + authorization.TRANSACTION_SECONDS
    gone = [cookies.clear_cookie(request.site, old) for old in _surplus(app, request, now)]
    return replies.redirect(url, cookies=(*gone, cookies.set_cookie(request.site, suffix, value, until=until, now=now)))


def _return_to(app: Deployment, request: Request, page: str) -> Flow[str]:
    """Where the sign-in leads: to the page, or to the start page where no browser would be sent back to that."""
    home = f"{request.site.root}/"
    try:
        target = return_target(page, request.site, app.prefix)
    except Refused:  # as //host
        return home
    if target == home and is_too_long(page):
        yield NoteLongTarget(len(page))
    return target


def _surplus(app: Deployment, request: Request, now: float) -> list[str]:
    """Suffixes of the oldest transactions' cookies, where there are too many."""
    header, site = request.header("cookie"), request.site
    ages: dict[str, int] = {}
    for name, value in cookies.ours(header, site):
        if name.startswith(site.cookie_name + cookies.TRANSACTION):
            payload = app.seals.unsign("transaction", value, within=authorization.TRANSACTION_SECONDS, now=now)
            if payload is not None:
                ages[name] = int(payload[2])
    names = cookies.surplus(header, site, cookies.TRANSACTION, cookies.MOST_TRANSACTIONS, ages)
    return [name[len(site.cookie_name) :] for name in names]


def redirect_uri(app: Deployment, request: Request) -> str:
    """Where the issuer sends the browser back to."""
    return request.site.url(f"{app.prefix}/callback")


def again(
    app: Deployment, request: Request, now: float, page: str, ask: access.Ask, session: Session, **more: Any
) -> Flow[Reply]:
    """The same for who has a session, and needs a fresher sign-in, or the issuer's word that it still stands."""
    through, hint = user_flows.of_session(app, session), hint_of(session)
    return (yield from begin(app, request, now, page, ask=ask, login_hint=hint, user_flow=through, **more))


def login(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``GET /.auth/login``: start a sign-in, or go to the page where there is a session and nothing else is asked."""
    query = forms.query(request)
    if "ask" in query:
        return (yield from _asked(app, request, now, query))
    page = query.get("post_login_redirect_uri", "")
    target = return_target(page, request.site, app.prefix)
    prompt = query.get("prompt", "")
    prompts = set(prompt.split())
    if not prompts <= PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise Refused("bad_prompt", f"prompt can be {', '.join(sorted(PROMPTS))}")
    if kind_of(request) is not Kind.NAVIGATION:
        return replies.signed_out_answer(app, request, now, None, as_page=replies.wants_page(request))
    user_flow = user_flows.asked_for(app, query)
    # Another site's link may start a sign-in, but not replace the session that there is.
    fetch_site = request.header("sec-fetch-site").lower()
    is_cross_site = fetch_site == "cross-site"
    if not prompt or is_cross_site:
        found = yield from sessions.find(app, request, now)
        if found.session is not None and (is_cross_site or user_flows.is_done(app, found.session, user_flow)):
            return replies.redirect(target, cookies=found.set_cookies)
        prompt = prompt or prompt_after(found.ended)
    hint = query.get("login_hint", "")[:320]
    return (
        yield from begin(
            app,
            request,
            now,
            page,
            prompt=prompt,
            login_hint=hint,
            user_flow=user_flow,
            named=bool(user_flow),
            # Nobody else's link has people asked what they would not be.
            unanswered="unanswered" in query and fetch_site == "same-origin",
        )
    )


def _asked(app: Deployment, request: Request, now: float, query: dict[str, str]) -> Flow[Reply]:
    """The link that a 401 gave to who needs a fresher sign-in: what is to be asked for is sealed in it."""
    page = query.get("post_login_redirect_uri", "")
    return_target(page, request.site, app.prefix)
    kept = app.seals.open("ask", query["ask"], within=DAY, now=now)
    if kept is None or kind_of(request) is not Kind.NAVIGATION:
        raise Refused("bad_ask", "this link is too old, or not to be followed like this", retry=True)
    ask = access.Ask(kept["m"], kept["c"], kept["p"], kept["s"])
    found = yield from sessions.find(app, request, now, extend=False)
    if found.session is None:
        return (yield from begin(app, request, now, page, ask=ask))
    return (yield from again(app, request, now, page, ask, found.session))


def initiate_login(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``/.auth/initiate-login``: sign-in that a third party starts (OpenID Connect Core 1.0 §4)."""
    given = forms.form(request) if request.method == "POST" else forms.query(request)
    if request.method != "POST" and kind_of(request) is not Kind.NAVIGATION:
        # An image or a frame of a sibling subdomain's has our cookies, and is no action of the person's.
        return replies.signed_out_answer(app, request, now, None, as_page=replies.wants_page(request))
    if (issuer := given.get("iss", "")) != request.site.issuer:
        provider: Provider = yield GetProvider(request.site.issuer)
        if not provider.may_be(issuer):
            raise Refused("initiate_login_issuer", "this app does not sign people in at that provider")
    if request.method == "POST":
        # A cross-site POST has no cookies: only the GET can tell whether there is a session.
        here = request.site.root + app.prefix + "/initiate-login"
        kept = {name: value for name, value in given.items() if name in ("iss", "login_hint", "target_link_uri")}
        return replies.redirect(f"{here}?{urlencode(kept)}")
    page = given.get("target_link_uri", "")
    target = return_target(page, request.site, app.prefix)
    found = yield from sessions.find(app, request, now)
    if found.session is not None:
        return replies.redirect(target, cookies=found.set_cookies)
    prompt, hint = prompt_after(found.ended), given.get("login_hint", "")[:320]
    return (yield from begin(app, request, now, page, prompt=prompt, login_hint=hint))


def hint_of(session: Session) -> str:
    """What names the person to the issuer, so that it asks no stranger (OpenID Connect Core 1.0 §3.1.2.1)."""
    for claim in ("login_hint", "preferred_username", "email"):
        value = session.claims.get(claim)
        if isinstance(value, str) and value:
            return value[:320]
    return ""


def failed(
    app: Deployment,
    request: Request,
    now: float,
    transaction: Transaction,
    error: Refused | Unavailable,
    *,
    user_name: str = "",
) -> Reply:
    """A sign-in that came to nothing: a page that says why, and ``user_name`` whose it was, where that is known."""
    return replies.sign_in_failed(
        app,
        request,
        now,
        error,
        correlation_id=transaction.correlation_id,
        back=transaction.return_to,
        user_name=user_name,
        cookies=without_cookie(request, transaction),
    )


def without_cookie(request: Request, transaction: Transaction) -> tuple[str, ...]:
    """What takes a transaction's cookie away, where there is one."""
    cookie = cookies.TRANSACTION + transaction.cookie_suffix
    was_there = cookies.named(request.header("cookie"), request.site, cookie)
    return (cookies.clear_cookie(request.site, cookie),) if was_there else ()

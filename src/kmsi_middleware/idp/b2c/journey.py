"""The way through a user flow: its pages, and what a session spares the person.

1. A session that counts for the flow (:mod:`.sessions`) spares the sign-in page; one in which the second factor was
   shown spares the code. Whoever signed in at a federated provider is sent there again, and it decides whether it asks.
2. A sign-up, a password reset, ``prompt=login`` and a suppressed flow are gone through whole, every time.
3. Leaving by “Forgot your password?” or “Cancel” answers the app with ``access_denied`` and B2C's code.
4. ``max_age``, ``acr_values``, ``claims`` and ``id_token_hint`` are not promised by B2C, so nothing heeds them here.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .. import pages
from ..authorize import (
    WRONG,
    WRONG_CODE,
    Ask,
    Denied,
    as_error,
    authenticate,
    code_page,
    deliver,
    hidden,
    is_code,
    known,
    sign_in_context,
    validate,
)
from ..checks import origin_of
from ..config import User
from ..grants import CodeGrant
from ..provider import Provider
from ..site import Refused, Site, form, own_form, parameters, stale
from ..user_store import UserStore
from . import federated
from .sessions import FlowVisit, kept_seconds

FORGOT_PASSWORD = "AADB2C90118: The user has forgotten their password."  # noqa: S105 (a message)
CANCELLED = "AADB2C90091: The user has cancelled entering self-asserted information."
NO_SESSION = "AADB2C90077: User does not have an existing session and request prompt parameter has a value of 'None'."
_LEAVING = {"forgot_password": FORGOT_PASSWORD, "cancel": CANCELLED}
_HEADINGS = {"sign_up": "Sign up", "sign_up_and_sign_in": "Sign in or sign up"}


@dataclass(frozen=True, slots=True)
class Done:
    """What the person has done in this very run."""

    signed_in: bool = False
    confirmed: bool = False


def place(site: Site, path: str) -> str:
    """Where a page of the flow is."""
    return f"{site.path}/{site.config.tenant_name}/{site.user_flow.lower()}{path}"


async def authorize(site: Site, request: Request) -> Response:
    """GET and POST. A POST is sent on as a GET: browsers send no Lax cookies with a cross-site form post."""
    if request.method == "POST":
        return RedirectResponse(f"{place(site, '/oauth2/v2.0/authorize')}?{urlencode(await form(request))}", 303)
    values = parameters(request.url.query)
    visit = FlowVisit(site, request)
    visit.enter(known(site, values).app.client_id)
    return visit.finish(await proceed(visit, values, Done()))


async def proceed(visit: FlowVisit, values: dict[str, str], done: Done) -> Response:
    """The next step: a page that asks, another provider, or the answer to the app."""
    ask = known(visit.site, values)
    try:
        grant = validate(Provider(visit.site), replace(ask, app=replace(ask.app, step_up=False)))
        return await _next(visit, ask, grant, done)
    except Denied as denied:
        return deliver(visit.site, ask, as_error(denied))


async def _next(visit: FlowVisit, ask: Ask, grant: CodeGrant, done: Done) -> Response:
    flow, silent = visit.flow, "none" in ask.prompts
    whole = flow.kind in ("sign_up", "password_reset") or bool(ask.prompts & {"login", "select_account"})
    if not done.signed_in:
        if whole or visit.session is None or visit.user is None:
            _must_not_be(silent)
            if flow.kind == "password_reset":
                return _password_page(visit, ask, _ticket(visit, "password", ask.values, done))
            ticket = _ticket(visit, "sign_in", ask.values, done)
            return sign_in_page(visit, ask, ticket, ask.values.get("login_hint", ""), None)
        if provider := visit.site.config.identity_provider(visit.user.identity_provider):
            return await federated.start(visit, ask.values, provider)
        visit.use()
    session, user = visit.session, visit.user
    assert session is not None
    assert user is not None
    if flow.multi_factor and "mfa" not in session.amr:
        _must_not_be(silent)
        if user.second_factor is None:
            raise Denied("access_denied", "The person has no second factor")
        ticket = _ticket(visit, "second_factor", ask.values, done, user)
        return code_page(visit.site, ask, ticket, user, None, action=place(visit.site, "/second-factor"))
    if flow.kind == "profile_editing" and not done.confirmed:
        _must_not_be(silent)
        return _profile_page(visit, ask, _ticket(visit, "profile", ask.values, done, user), user)
    return deliver(visit.site, ask, [("code", grant.issue(session, (), None))])


def _must_not_be(silent: bool) -> None:
    if silent:
        raise Denied("interaction_required", described(NO_SESSION))


def described(message: str) -> str:
    """An error's description as B2C writes it."""
    return f"{message}\r\nCorrelation ID: {secrets.token_hex(16)}\r\n"


# The answers of the pages ----------------------------------------------------------------------------------


def _ticket(visit: FlowVisit, step: str, values: dict[str, str], done: Done, user: User | None = None) -> str:
    pending: dict[str, Any] = {"step": step, "user_flow": visit.site.user_flow, "values": values, "done": asdict(done)}
    if user is not None:
        pending["username"] = user.username
    return visit.site.store.open_ticket("journey", visit.browser, pending)


def _returned(site: Site, request: Request, values: dict[str, str], *steps: str) -> tuple[FlowVisit, Ask, Done]:
    """The browser that was shown a page of this flow, and what it was about."""
    visit = FlowVisit(site, request)
    pending = visit.ticket("journey", values.get("ticket", ""))
    if pending is None or pending["user_flow"] != site.user_flow or (steps and pending["step"] not in steps):
        raise stale(visit, values)
    ask = known(site, pending["values"])
    visit.enter(ask.app.client_id)
    if "username" in pending:
        visit.resume()
        if visit.user is None or visit.user.username != pending["username"]:
            raise stale(visit, values)
    return visit, ask, Done(**pending["done"])


async def sign_in(site: Site, request: Request) -> Response:
    """What the sign-in page posts."""
    values = await own_form(request, site)
    ticket = values.get("ticket", "")
    visit, ask, done = _returned(site, request, values, "sign_in")
    user = authenticate(site, values)
    if user is None or user.disabled:
        error = f"{user.name} is disabled, and can’t sign in." if user else WRONG
        return visit.finish(sign_in_page(visit, ask, ticket, values.get("username", ""), error))
    visit.begin(user, kept=values.get("keep_me_signed_in") == "yes")
    return visit.finish(await proceed(visit, ask.values, replace(done, signed_in=True)))


async def second_factor(site: Site, request: Request) -> Response:
    """What the page that asks for the code posts."""
    values = await own_form(request, site)
    ticket = values.get("ticket", "")
    visit, ask, done = _returned(site, request, values, "second_factor")
    assert visit.user is not None
    if not is_code(visit.user, values):
        action = place(site, "/second-factor")
        return visit.finish(code_page(site, ask, ticket, visit.user, WRONG_CODE, action=action))
    visit.add_second_factor()
    return visit.finish(await proceed(visit, ask.values, replace(done, signed_in=True)))


async def password(site: Site, request: Request) -> Response:
    """What the page of a password reset posts. Nobody is sent a mail: this is for development."""
    values = await own_form(request, site)
    ticket = values.get("ticket", "")
    visit, ask, done = _returned(site, request, values, "password")
    user = site.config.active(values.get("username", ""))
    chosen = values.get("password", "")
    if user is None or user.password is None or not chosen.strip():
        error = "Give the username of somebody who has a password here, and a new password."
        return visit.finish(_password_page(visit, ask, ticket, values.get("username", ""), error))
    UserStore(site.store).change_password(user, chosen)
    visit.begin(user)
    return visit.finish(await proceed(visit, ask.values, replace(done, signed_in=True)))


async def profile(site: Site, request: Request) -> Response:
    """What the page of a profile editing posts."""
    values = await own_form(request, site)
    visit, ask, done = _returned(site, request, values, "profile")
    return visit.finish(await proceed(visit, ask.values, replace(done, signed_in=True, confirmed=True)))


async def leave(site: Site, request: Request) -> Response:
    """A link of a page, by which the person goes back to the app (rule 3)."""
    given = parameters(request.url.query)
    visit, ask, _ = _returned(site, request, given)
    message = _LEAVING.get(given.get("by", ""))
    if message is None:
        raise Refused("invalid_request", "There is no such way to leave.")
    timestamp = datetime.fromtimestamp(int(site.clock()), UTC).strftime("Timestamp: %Y-%m-%d %H:%M:%SZ\r\n")
    denied = Denied("access_denied", described(message) + timestamp)
    return visit.finish(deliver(site, ask, as_error(denied)))


# The pages -------------------------------------------------------------------------------------------------


def _leave_url(site: Site, ticket: str, by: str) -> str:
    return f"{place(site, '/leave')}?{urlencode({'by': by, 'ticket': ticket})}"


def sign_in_page(visit: FlowVisit, ask: Ask, ticket: str, username: str, error: str | None) -> Response:
    """The page on which a flow begins."""
    site, flow = visit.site, visit.flow
    context = sign_in_context(visit, ask, ticket, username, error) | {
        "action": place(site, "/sign-in"),
        "devices_url": None,
        "heading": _HEADINGS.get(flow.kind, "Sign in"),
        "user_flow": site.user_flow,
        "kept_days": kept_seconds(flow) // 86_400,
        "forgot_url": _leave_url(site, ticket, "forgot_password") if flow.kind != "sign_up" else None,
        "cancel_url": _leave_url(site, ticket, "cancel"),
        "providers": [
            (provider.name, f"{place(site, '/federated')}?{urlencode({'provider': provider.id, 'ticket': ticket})}")
            for provider in site.config.federated
        ],
    }
    return _page("idp_flow_sign_in.html", ask, context, error)


def _password_page(visit: FlowVisit, ask: Ask, ticket: str, username: str = "", error: str | None = None) -> Response:
    listed = visit.site.config.users if visit.site.config.show_passwords else ()
    context = {
        "user_flow": visit.site.user_flow,
        "app_name": ask.app.name,
        "action": place(visit.site, "/password"),
        "hidden": hidden(ask, ticket),
        "error": error,
        "username": username,
        "users": [user.username for user in listed if user.password is not None],
        "cancel_url": _leave_url(visit.site, ticket, "cancel"),
    }
    return _page("idp_flow_password.html", ask, context, error)


def _profile_page(visit: FlowVisit, ask: Ask, ticket: str, user: User) -> Response:
    context = {
        "user_flow": visit.site.user_flow,
        "app_name": ask.app.name,
        "user_name": user.name,
        "claims": [("Username", "" if user.identity_provider else user.username), ("Email", user.email)],
        "action": place(visit.site, "/profile"),
        "hidden": hidden(ask, ticket),
        "cancel_url": _leave_url(visit.site, ticket, "cancel"),
    }
    return _page("idp_flow_profile.html", ask, context, None)


def _page(template: str, ask: Ask, context: dict[str, Any], error: str | None) -> Response:
    allowed = ["'self'", origin_of(ask.redirect_uri)]
    return pages.page(template, context, status=400 if error else 200, form_action=allowed)

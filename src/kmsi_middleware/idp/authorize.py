"""The authorization endpoint and its pages: sign-in, second factor, consent (OpenID Connect Core, section 3.1.2).

Rules:

1. Until client and redirect URI are known to belong together, an error is a page. From then on it is an
   authorization response, with ``state`` and ``iss`` (RFC 9207).
2. A page that asks is bound to the browser that it was shown in: its ticket is worth nothing without that
   browser's cookie. A ticket lives ten minutes and may be answered again, so that a double click, a reload
   and the back button are harmless; codes are single use.
3. What answers a form post redirects with 303 (RFC 9700, section 4.12).
4. A sign-in that is exactly ``max_age`` old is too old, so that an hour is over when it is over.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import pages, step_up
from .checks import origin_of
from .config import App, User
from .devices import sign_in_by_device
from .grants import SCOPES, CodeGrant, OAuthRequest
from .provider import OAuth2Error, Provider
from .site import Refused, Site, Visit, form, own_form, parameters, stale

_EXPLANATIONS = {
    "openid": "Know who you are",
    "profile": "See your name and username",
    "email": "See your email address",
    "offline_access": "Keep this access while you are away",
}
WRONG_CODE = "That is not the code. Please try again."
WRONG = "That username and password don’t belong together. Please try again."
PROMPTS = {"none", "login", "consent", "select_account"}


class Denied(Exception):
    """Ends the request with an error response to the app. ``error`` is the code of the specification."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error, self.description = error, description


@dataclass(frozen=True, slots=True)
class Ask:
    """An authorization request whose client and redirect URI belong together."""

    values: dict[str, str]
    app: App
    redirect_uri: str
    response_mode: str

    @property
    def prompts(self) -> set[str]:
        return set(self.values.get("prompt", "").split())

    @property
    def scopes(self) -> list[str]:
        return [scope for scope in SCOPES if scope in self.values.get("scope", "").split()]

    @property
    def wanted(self) -> step_up.Wanted:
        """Raises :class:`.step_up.Malformed`."""
        return step_up.wanted(self.values) if self.app.step_up else step_up.Wanted()

    @property
    def max_age(self) -> int | None:
        return int(self.values["max_age"]) if "max_age" in self.values and self.app.auth_time != "stale" else None


async def authorize(site: Site, request: Request) -> Response:
    """GET and POST. A POST is sent on as a GET: browsers send no Lax cookies with a cross-site form post."""
    if request.method == "POST":
        return RedirectResponse(f"{site.path}/authorize?{urlencode(await form(request))}", 303)
    visit = Visit(site, request)
    values = parameters(request.url.query)
    return visit.finish(_proceed(visit, values))


async def sign_in(site: Site, request: Request) -> Response:
    """What the sign-in page posts."""
    values = await own_form(request, site)
    visit = Visit(site, request)
    ticket = values.get("ticket", "")
    pending = visit.ticket("sign_in", ticket)
    if pending is None:
        raise stale(visit, values)
    user = authenticate(site, values)
    ask = known(site, pending)
    if user is None or user.disabled:
        username = values.get("username", "")
        error = f"{user.name} is disabled, and can’t sign in." if user else WRONG
        return visit.finish(_sign_in_page(visit, ask, ticket, username, error))
    if step_up.needs_code(user, ask.wanted):
        return visit.finish(_ask_for_code(visit, ask, user))
    visit.sign_in(user)
    return visit.finish(_proceed(visit, pending, signed_in=True))


async def second_factor(site: Site, request: Request) -> Response:
    """What the page that asks for the code posts."""
    values = await own_form(request, site)
    visit = Visit(site, request)
    ticket = values.get("ticket", "")
    pending = visit.ticket("second_factor", ticket)
    user = site.config.active(pending["username"]) if pending else None
    if pending is None or user is None or user.second_factor is None:
        raise stale(visit, values)
    if not is_code(user, values):
        ask = known(site, pending["values"])
        return visit.finish(_code_page(site, ask, ticket, user, WRONG_CODE))
    visit.sign_in(user, step_up.amr_with_code(user))
    return visit.finish(_proceed(visit, pending["values"], signed_in=True))


async def consent(site: Site, request: Request) -> Response:
    """What the consent page posts."""
    values = await own_form(request, site)
    visit = Visit(site, request)
    pending = visit.ticket("consent", values.get("ticket", ""))
    if pending is None or visit.user is None or visit.user.username != pending["username"]:
        raise stale(visit, values)
    ask = known(site, pending["values"])
    if values.get("consent") != "allow":
        return visit.finish(deliver(site, ask, as_error(Denied("access_denied", "The person did not consent"))))
    site.store.save_consent(visit.user.username, ask.app.client_id, ask.scopes)
    return visit.finish(_proceed(visit, pending["values"], signed_in=True, consented=True))


def known(site: Site, values: dict[str, str]) -> Ask:
    """The request of an app that is known here. Raises :class:`Refused` (rule 1)."""
    app = site.config.app(values.get("client_id", ""))
    if app is None:
        raise Refused(
            "unknown_client",
            "No app with this client_id is registered here.",
            title="This app is not known here",
        )
    redirect_uri = values.get("redirect_uri", "")
    if redirect_uri not in app.redirect_uris:
        raise Refused(
            "redirect_uri_mismatch",
            f"The redirect_uri “{redirect_uri}” is not registered for this app. It must match exactly.",
        )
    # An error in a mode that does not exist goes back by query.
    mode = "form_post" if values.get("response_mode") == "form_post" else "query"
    return Ask(values, app, redirect_uri, mode)


def validate(provider: Provider, ask: Ask) -> CodeGrant:
    """The grant that answers a request. Raises :class:`Denied`."""
    values = ask.values
    for name in ("request", "request_uri", "registration"):
        if name in values:
            raise Denied(f"{name}_not_supported", f"The parameter {name} is not supported")
    if "response_type" not in values:
        raise Denied("invalid_request", "response_type is missing")
    if values["response_type"] != "code":
        raise Denied("unsupported_response_type", "response_type must be code")
    if values.get("response_mode", "query") not in ("query", "form_post"):
        raise Denied("invalid_request", "response_mode must be query or form_post")
    if "openid" not in ask.scopes:
        raise Denied("invalid_scope", "scope must contain openid")
    if not ask.prompts <= PROMPTS or ("none" in ask.prompts and len(ask.prompts) > 1):
        raise Denied("invalid_request", "prompt must be none alone, or any of login, consent and select_account")
    max_age = values.get("max_age", "0")
    if not (max_age.isascii() and max_age.isdigit() and len(max_age) < 12):
        raise Denied("invalid_request", "max_age must be a number of seconds")
    try:
        if ask.wanted.unmet:
            raise Denied("unmet_authentication_requirements", "No essential acr that is known here: c1 to c99 are")
    except step_up.Malformed as error:
        raise Denied("invalid_request", str(error)) from error
    try:
        request = OAuthRequest("GET", values, {})
        grant: CodeGrant = provider.get_authorization_grant(request)
        grant.validate_authorization_request()
    except OAuth2Error as error:
        raise Denied(error.error, error.description) from error
    return grant


def _proceed(visit: Visit, values: dict[str, str], *, signed_in: bool = False, consented: bool = False) -> Response:
    """The next step of an authorization request: a page that asks, or the answer to the app."""
    site = visit.site
    ask = known(site, values)
    provider = Provider(site)
    try:
        grant = validate(provider, ask)
        wanted = ask.wanted
        if not signed_in and not ask.prompts & {"login", "select_account"}:
            sign_in_by_device(visit, login_hint=values.get("login_hint"), max_age=ask.max_age)
        if not signed_in and _must_sign_in(visit, provider, ask, wanted):
            integrated = _integrated(site, ask)
            if integrated and not step_up.needs_code(integrated, wanted):
                visit.sign_in(integrated)
            elif "none" in ask.prompts:
                raise Denied("login_required", "The person is not signed in, or not as the request wants it")
            elif integrated:
                return _ask_for_code(visit, ask, integrated)
            else:
                ticket = site.store.open_ticket("sign_in", visit.browser, values)
                return _sign_in_page(visit, ask, ticket, values.get("login_hint", ""), None)
        session, user = visit.session, visit.user
        assert session is not None
        assert user is not None
        if wanted.sub not in (None, user.sub):
            raise Denied("login_required", "The person who is signed in is not the one that was asked for")
        if wanted.second_factor and not step_up.shows_second_factor(session):
            raise Denied("unmet_authentication_requirements", "The second factor was not shown")
        if not consented and _must_consent(site, user, ask):
            if "none" in ask.prompts:
                raise Denied("consent_required", "The person has not consented")
            pending = {"values": values, "username": user.username}
            ticket = site.store.open_ticket("consent", visit.browser, pending)
            return _consent_page(site, ask, ticket, user)
        code = grant.issue(session, wanted.contexts, visit.device.id if visit.device else None)
        return deliver(site, ask, [("code", code)])
    except Denied as denied:
        return deliver(site, ask, as_error(denied))


def _must_sign_in(visit: Visit, provider: Provider, ask: Ask, wanted: step_up.Wanted) -> bool:
    session, user, values = visit.session, visit.user, ask.values
    hint = None
    if "id_token_hint" in values:
        hint = provider.read_hint(values["id_token_hint"])
        if hint is None:
            raise Denied("invalid_request", "id_token_hint is not an ID token of this provider")
    if session is None or user is None or ask.prompts & {"login", "select_account"}:
        return True
    if hint is not None and hint.get("sub") != user.sub:
        return True
    if "login_hint" in values and not user.answers_to(values["login_hint"]):
        return True
    if wanted.sub not in (None, user.sub):
        return True
    now = visit.site.clock()
    if not step_up.holds(session, wanted, now):
        return True
    # Whole seconds, as the app is told them. "0" asks for a sign-in now, however short ago the last one was.
    return ask.max_age is not None and now >= int(session.auth_time) + ask.max_age


def _integrated(site: Site, ask: Ask) -> User | None:
    """Whoever is signed in without a question, as Windows would."""
    hint = ask.values.get("login_hint")
    if hint is None or ask.prompts & {"login", "select_account"}:
        return None
    people = (user for user in site.config.users if user.password is None and _is_local(user) and not user.disabled)
    return next((user for user in people if user.answers_to(hint)), None)


def _must_consent(site: Site, user: User, ask: Ask) -> bool:
    if "consent" in ask.prompts:
        return True
    return ask.app.require_consent and not site.store.consents(user.username, ask.app.client_id) >= set(ask.scopes)


def _is_local(user: User) -> bool:
    return not user.identity_provider


def authenticate(site: Site, values: dict[str, str]) -> User | None:
    """Whoever a sign-in page's form means, if the password is right."""
    if pick := values.get("pick"):
        user = site.config.user(pick)
        return user if user and _is_local(user) and (site.config.show_passwords or user.password is None) else None
    user = site.config.user(values.get("username", ""))
    if user is not None and user.password is None:
        return user if _is_local(user) else None
    right = user.password if user and user.password else ""
    same = hmac.compare_digest(right.encode(), values.get("password", "").encode())
    return user if same else None


def is_code(user: User, values: dict[str, str]) -> bool:
    """Whether the person's second factor was given."""
    code = values.get("pick") or values.get("code", "")
    return user.second_factor is not None and hmac.compare_digest(user.second_factor.encode(), code.strip().encode())


def _sign_in_page(visit: Visit, ask: Ask, ticket: str, username: str, error: str | None) -> Response:
    context = sign_in_context(visit, ask, ticket, username, error)
    allowed = ["'self'", origin_of(ask.redirect_uri)]
    return pages.page("idp_sign_in.html", context, status=400 if error else 200, form_action=allowed)


def sign_in_context(visit: Visit, ask: Ask, ticket: str, username: str, error: str | None) -> dict[str, Any]:
    """What a sign-in page shows."""
    site = visit.site
    listed = [user for user in site.config.users if _is_local(user)] if site.config.show_passwords else []
    from_here = urlencode({"client_id": ask.app.client_id})
    return {
        "app_name": ask.app.name,
        "action": f"{site.path}/sign-in",
        "hidden": hidden(ask, ticket),
        "error": error,
        "username": username,
        "users": [
            {
                "username": user.username,
                "name": user.name,
                "hint": "Disabled" if user.disabled else user.hint,
                "password": user.password or "",
            }
            for user in listed
        ],
        "users_url": f"{site.path}/users?{from_here}" if listed else None,
        "devices_url": f"{site.path}/devices?{from_here}" if site.config.devices and listed else None,
        "device_name": visit.device.name if visit.device else None,
    }


def hidden(ask: Ask, ticket: str) -> list[tuple[str, str]]:
    """What a page's form brings back. By the app's name a page that came too late leads back to it."""
    return [("ticket", ticket), ("client_id", ask.app.client_id)]


def _ask_for_code(visit: Visit, ask: Ask, user: User) -> Response:
    """The page that asks for the second factor, after the first."""
    if user.second_factor is None:
        denied = Denied("unmet_authentication_requirements", "The person has no second factor")
        return deliver(visit.site, ask, as_error(denied))
    pending = {"values": ask.values, "username": user.username}
    ticket = visit.site.store.open_ticket("second_factor", visit.browser, pending)
    return _code_page(visit.site, ask, ticket, user, None)


def _code_page(site: Site, ask: Ask, ticket: str, user: User, error: str | None) -> Response:
    return code_page(site, ask, ticket, user, error, action=f"{site.path}/second-factor")


def code_page(site: Site, ask: Ask, ticket: str, user: User, error: str | None, *, action: str) -> Response:
    """The page that asks for the second factor."""
    context = {
        "app_name": ask.app.name,
        "user_name": user.name,
        "action": action,
        "hidden": hidden(ask, ticket),
        "error": error,
        "code": user.second_factor if site.config.show_passwords else None,
    }
    allowed = ["'self'", origin_of(ask.redirect_uri)]
    return pages.page("idp_second_factor.html", context, status=400 if error else 200, form_action=allowed)


def _consent_page(site: Site, ask: Ask, ticket: str, user: User) -> Response:
    context = {
        "app_name": ask.app.name,
        "user_name": user.name,
        "scopes": [(scope, _EXPLANATIONS[scope]) for scope in ask.scopes],
        "action": f"{site.path}/consent",
        "hidden": hidden(ask, ticket),
    }
    return pages.page("idp_consent.html", context, form_action=["'self'", origin_of(ask.redirect_uri)])


def as_error(denied: Denied) -> list[tuple[str, str]]:
    """What an authorization response says of it."""
    return [("error", denied.error), ("error_description", denied.description)]


def deliver(site: Site, ask: Ask, answer: list[tuple[str, str]]) -> Response:
    """The authorization response."""
    if "state" in ask.values:
        answer = [*answer, ("state", ask.values["state"])]
    if not site.user_flow:  # Azure AD B2C does not name itself
        answer = [*answer, ("iss", site.issuer)]
    if ask.response_mode == "form_post":
        return pages.form_post(ask.redirect_uri, answer, ask.app.name, origin_of(ask.redirect_uri))
    mark = "&" if "?" in ask.redirect_uri else "?"
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return RedirectResponse(f"{ask.redirect_uri}{mark}{urlencode(answer)}", 303, headers)

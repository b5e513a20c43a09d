"""Sign-out at the provider, and telling every app of it.

RP-Initiated Logout 1.0, Front-Channel Logout 1.0 and Back-Channel Logout 1.0. Rules:

1. An ID token that belongs to this browser's session signs out at once. Anything less asks the person first.
2. After an error nobody is signed out and nobody is sent anywhere.
3. The session ends before any app is told. Every app that was signed in to through it is told, the one that
   asked included: by a frame if it has a front-channel URI, and by a logout token if it has a back-channel
   one.
4. All frames load at once. The page goes on by itself shortly after the last one has loaded, which takes no script;
   and in a bounded time, however long an app keeps its frame waiting, which takes one. A page that warns stays until
   its button is pressed. Logout tokens are sent after the answer: see :mod:`.back_channel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import pages
from .back_channel import send_logout_tokens
from .checks import origin_of
from .config import App
from .grants import OAuthRequest
from .provider import OAuth2Error, Provider
from .site import Refused, Site, Visit, form, own_form, parameters, stale
from .store import SignIn

FRAME_SECONDS = 2
"""From when the last frame has loaded."""
LONGEST_SECONDS = 6
"""However long an app keeps its frame waiting."""


async def end_session(site: Site, request: Request) -> Response:
    """GET and POST. A POST is sent on as a GET: browsers send no Lax cookies with a cross-site form post."""
    if request.method == "POST":
        return RedirectResponse(f"{site.path}/end-session?{urlencode(await form(request))}", 303)
    values = parameters(request.url.query)
    visit = Visit(site, request)
    asked = _validate(site, values)
    app: App | None = asked.client.app if asked.client else None
    if visit.session is None:
        return visit.finish(_signed_out(site, [], app, asked.redirect_uri))
    hint = asked.logout_hint
    assert visit.user is not None
    if _belongs(visit, asked.id_token_claims) and (hint is None or visit.user.answers_to(hint)):
        return visit.finish(_sign_out(visit, app, asked.redirect_uri))
    pending = {"client_id": app.client_id if app else None, "redirect_uri": asked.redirect_uri}
    ticket = site.store.open_ticket("sign_out", visit.browser, pending)
    context = {
        "user_name": visit.user.name,
        "app_name": app.name if app else None,
        "action": f"{site.path}/sign-out",
        "hidden": [("ticket", ticket), *([("client_id", app.client_id)] if app else [])],
        "cancel_url": asked.redirect_uri,
    }
    allowed = ["'self'", *([origin_of(asked.redirect_uri)] if asked.redirect_uri else [])]
    return visit.finish(pages.page("idp_sign_out.html", context, form_action=allowed))


async def sign_out(site: Site, request: Request) -> Response:
    """What the page that asks posts."""
    values = await own_form(request, site)
    visit = Visit(site, request)
    pending = visit.ticket("sign_out", values.get("ticket", ""))
    if pending is None or values.get("sign_out") != "yes":
        raise stale(visit, values)
    app = site.config.app(pending["client_id"]) if pending["client_id"] else None
    return visit.finish(_sign_out(visit, app, pending["redirect_uri"]))


class _Asked:
    """The validated logout request; Authlib's, with types."""

    def __init__(self, validated: object) -> None:
        self.client = getattr(validated, "client", None)
        self.id_token_claims: dict[str, object] | None = getattr(validated, "id_token_claims", None)
        self.redirect_uri: str | None = getattr(validated, "redirect_uri", None)
        self.logout_hint: str | None = getattr(validated, "logout_hint", None)


def _validate(site: Site, values: dict[str, str]) -> _Asked:
    try:
        asked = _Asked(Provider(site).validate_endpoint_request("end_session", OAuthRequest("GET", values, {})))
    except OAuth2Error as error:
        raise Refused(error.error, f"{error.description}.") from error
    if "client_id" in values and asked.client is None:
        raise Refused("unknown_client", "No app with this client_id is registered here.")
    wanted = values.get("post_logout_redirect_uri")
    if wanted and asked.redirect_uri is None:
        raise Refused(
            "post_logout_redirect_uri_mismatch",
            f"The post_logout_redirect_uri “{wanted}” is not registered for the app, or no app was named.",
        )
    return asked


def _belongs(visit: Visit, claims: dict[str, object] | None) -> bool:
    """Whether the ID token was issued through this browser's present session."""
    assert visit.session is not None
    return claims is not None and any(
        known.sid == claims.get("sid") for known in visit.site.store.sign_ins(visit.session)
    )


def _sign_out(visit: Visit, app: App | None, redirect_uri: str | None) -> Response:
    sign_ins = visit.site.store.end_session(visit.session) if visit.session else []
    visit.sign_out()
    return _signed_out(visit.site, sign_ins, app, redirect_uri)


def _signed_out(site: Site, sign_ins: list[SignIn], app: App | None, redirect_uri: str | None) -> Response:
    told = []
    for sign_in in sign_ins:
        known = site.config.app(sign_in.client_id)
        if known and (uri := known.frontchannel_logout_uri):
            mark = "&" if "?" in uri else "?"
            query = urlencode({"iss": site.issuer, "sid": sign_in.sid})
            told.append(Told(known.name, f"{uri}{mark}{query}"))
    response = signed_out_page(told, redirect_uri, app.name if app else None)
    response.background = BackgroundTask(send_logout_tokens, site, sign_ins) if sign_ins else None
    return response


@dataclass(frozen=True, slots=True)
class Told:
    """An app that is told, and where."""

    name: str
    frame_url: str


def signed_out_page(
    told: list[Told], continue_url: str | None, app_name: str | None, *, sent_to: str = "", still: str = ""
) -> Response:
    """Tells the apps, and goes on to ``continue_url``; at once, where there is nothing to tell and nothing to say.

    ``sent_to``: the provider that the browser was sent to before, to sign out there too; ``still``: the one where the
    person stays signed in."""
    if continue_url and not told and not still:
        return RedirectResponse(continue_url, 303, {"Cache-Control": "no-store"})
    goes_on = bool(continue_url) and not still  # nobody could read a warning in two seconds
    context: dict[str, Any] = {
        "apps": told,
        "continue_url": continue_url,
        "goes_on": goes_on,
        "continue_to": app_name if continue_url else None,
        "seconds": FRAME_SECONDS,
        "sent_to": sent_to,
        "still": still,
        "script": pages.go_on(LONGEST_SECONDS) if told and goes_on else None,
    }
    return pages.page(
        "idp_signed_out.html",
        context,
        frames=[origin_of(app.frame_url) for app in told],
        script=context["script"],
    )

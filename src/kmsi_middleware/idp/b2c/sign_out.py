"""Sign-out of a tenant, in the order of its page "Configure session behavior".

1. The session that counts for the flow and the app ends. With the scope *application* the others live on.
2. Then the browser goes to the federated provider that the person signed in at, if that has an
   ``end_session_endpoint``, unless single logout is disabled there. Without ``id_token_hint``, so it may ask, or fail.
3. Then, if the flow has single sign-out, every other app of that session is told by a frame, all at once and for a
   bounded time. The app that began is not told. B2C's parameters are not documented; here there are none.
4. Only then the browser returns to ``post_logout_redirect_uri``, with ``state``.
5. Where the flow requires an ID token, one that is missing, foreign or altered gives the error page, and so does an
   address that is not registered: nobody is signed out and nobody is sent anywhere.
6. Where it requires none, B2C redirects anywhere. Here that takes ``redirect_anywhere_after_sign_out``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .. import pages
from ..config import App, FederatedProvider
from ..provider import Provider
from ..sign_out import Told, signed_out_page
from ..site import Refused, Site, form, parameters, stale
from .federated import metadata
from .journey import place
from .sessions import FlowVisit


async def logout(site: Site, request: Request) -> Response:
    """GET and POST. A POST is sent on as a GET: browsers send no Lax cookies with a cross-site form post."""
    if request.method == "POST":
        return RedirectResponse(f"{place(site, '/oauth2/v2.0/logout')}?{urlencode(await form(request))}", 303)
    values = parameters(request.url.query)
    visit = FlowVisit(site, request)
    app = _app(visit, values)
    continue_url = _return_url(visit, values, app)
    sessions = visit.sign_out_of(app.client_id if app else None)
    people = [site.config.user(session.username) for session in sessions]
    sign_ins = [sign_in for session in sessions for sign_in in site.store.end_session(session)]
    others = [sign_in.client_id for sign_in in sign_ins if app is None or sign_in.client_id != app.client_id]
    pending = {
        "user_flow": site.user_flow,
        "told": sorted(set(others)) if visit.flow.single_sign_out else [],
        "client_id": app.client_id if app else None,
        "continue_url": continue_url,
    }
    used = {user.identity_provider for user in people if user is not None}
    for provider in site.config.federated:
        if provider.id in used and provider.single_logout:
            url, still = await _end_session_url(visit, provider, pending)
            if url is not None:
                return visit.finish(pages.page("idp_onward.html", {"url": url, "to": provider.name}))
            pending["still"] = still
    return visit.finish(_finished(site, pending))


async def returned(site: Site, request: Request) -> Response:
    """Back from the federated provider."""
    visit = FlowVisit(site, request)
    values = parameters(request.url.query)
    pending = visit.ticket("sign_out", values.get("state", ""))
    if pending is None:
        raise stale(visit, values)
    return visit.finish(_finished(site, pending))


def _app(visit: FlowVisit, values: dict[str, str]) -> App | None:
    """The app that began, as far as it can be known (rule 5). Raises :class:`Refused`."""
    site = visit.site
    hint = values.get("id_token_hint")
    claims = Provider(site).read_hint(hint) if hint else None
    app = site.config.app(str(claims.get("aud"))) if claims else None
    if visit.flow.require_id_token_on_logout:
        if hint is None:
            raise Refused("id_token_hint_required", "To sign out by this user flow takes an ID token (id_token_hint).")
        if app is None:
            raise Refused("id_token_hint_invalid", "The id_token_hint is no ID token that an app of this tenant got.")
    named = values.get("client_id")
    if named is not None:
        known = site.config.app(named)
        if known is None or (app is not None and app != known):
            raise Refused(
                "unknown_client", "No app with this client_id is registered here, or the ID token is another's."
            )
        return known
    return app


def _return_url(visit: FlowVisit, values: dict[str, str], app: App | None) -> str | None:
    """Where the browser goes in the end (rules 5 and 6). Raises :class:`Refused`."""
    config, wanted = visit.site.config, values.get("post_logout_redirect_uri")
    if wanted is None:
        return None
    apps = config.apps if app is None else (app,)
    registered = {uri for app in apps for uri in (*app.redirect_uris, *app.post_logout_redirect_uris)}
    anywhere = config.redirect_anywhere_after_sign_out and not visit.flow.require_id_token_on_logout
    if wanted not in registered and not (anywhere and wanted.startswith(("http://", "https://"))):
        problem = f"The post_logout_redirect_uri “{wanted}” is not registered for the app."
        raise Refused("post_logout_redirect_uri_mismatch", problem)
    if "state" not in values:
        return wanted
    return f"{wanted}{'&' if '?' in wanted else '?'}{urlencode({'state': values['state']})}"


async def _end_session_url(
    visit: FlowVisit, provider: FederatedProvider, pending: dict[str, Any]
) -> tuple[str | None, str]:
    """Where the browser signs out of the federated provider (rule 2), or ``None`` and the name of what stays."""
    try:
        document = await metadata(visit.site, provider)
    except Refused:
        return None, provider.name
    endpoint = document.get("end_session_endpoint")
    if not endpoint:
        return None, provider.name
    asked = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": f"{visit.site.root}/{visit.site.config.tenant_name}/oauth2/logoutresp",
        "state": visit.site.store.open_ticket("sign_out", visit.browser, {**pending, "sent_to": provider.name}),
    }
    return f"{endpoint}?{urlencode(asked)}", ""


def _finished(site: Site, pending: dict[str, Any]) -> Response:
    """Rules 3 and 4."""
    site = replace(site, user_flow=pending["user_flow"])
    apps = [app for client_id in pending["told"] if (app := site.config.app(client_id))]
    told = [Told(app.name, app.frontchannel_logout_uri) for app in apps if app.frontchannel_logout_uri]
    app = site.config.app(pending["client_id"]) if pending["client_id"] else None
    return signed_out_page(
        told,
        pending["continue_url"],
        app.name if app else None,
        sent_to=pending.get("sent_to", ""),
        still=pending.get("still", ""),
    )

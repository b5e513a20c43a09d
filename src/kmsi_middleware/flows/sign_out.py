"""Sign-out: started here (RP-Initiated Logout 1.0), or told to us in a frame (Front-Channel Logout 1.0).

1. The session ends on the server first; then its cookie goes; then the browser is taken to the issuer.
2. A POST from this origin signs out, and a person's plain navigation within it. Any other GET asks.
3. The issuer out of reach, or without a place to sign out: the session is over all the same, and the page says
   truthfully what is not.
4. Front channel: ``sid`` ends its session whether or not the browser sends a cookie. A ``sid`` that belongs to
   another session never ends the one whose cookie came along; one that equals the session's ``sub`` ends
   nothing without that cookie, because it is no secret between the issuer and us.
5. The front channel always answers 200, redirects nowhere, and revokes nothing at the issuer: a frame proves
   nothing about the person.
6. Issuers without ``sid`` name no session. With ``front_channel_logout_cookie`` a cookie of its own does, in browsers
   that send it.
7. A sign-out that is started here gives the tokens back to an issuer that takes them (RFC 7009). Nobody waits long for
   that, and its failure is no failure of the sign-out's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..rules import cookies
from ..rules.navigation import is_from_this_origin, is_plain_navigation
from ..rules.oidc import logout
from ..rules.oidc.discovery import Provider, origin_of
from ..rules.oidc.id_token import LONGEST_SID
from ..rules.seals import key_of
from ..rules.targets import login_url, return_target
from ..vocabulary.effects import CountUnmatched, EndSession, FindSessions, Flow, GetProvider, MayTry
from ..vocabulary.errors import ProtocolError, ProviderUnavailable, Refused
from ..vocabulary.messages import Page, Reply, Request
from ..vocabulary.session import Session
from . import forms, interrupt, replies, sessions, tokens
from .deployment import Deployment

# Sent twice: the page that a person signs out from is kept for the back button only once it was left for the issuer.
FORGET_PAGES = ("clear-site-data", '"cache"')
RETURN_SECONDS = 3_600
ASK_SECONDS = 3_600
UNGUESSABLE = 20
"""Characters of a ``sid`` from which on trying is hopeless; GUIDs have 36."""


def sign_out(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``GET, POST /.auth/logout``."""
    if request.method == "POST":
        given = forms.form(request) if request.body else {}
        asked = app.seals.unsign("sign_out", given.get("ticket", ""), within=ASK_SECONDS, now=now)
        if not _is_meant(request, asked):
            raise Refused("cross_site_form", "this form was sent from another site", status=403)
        target = given.get("post_logout_redirect_uri", asked or "")
    else:
        target = forms.query(request).get("post_logout_redirect_uri", "")
    try:
        target = return_target(target, request.site, app.prefix) if target else ""
    except Refused:
        target = ""  # a page that we don't go to is no reason to leave anybody signed in
    found = yield from sessions.find(app, request, now, extend=False)
    if request.method != "POST" and not is_plain_navigation(request):
        return (yield from _ask(app, request, now, found.session, target))
    return (yield from _end(app, request, now, found, target))


def _is_meant(request: Request, asked: str | None) -> bool:
    """Rule 2 for a POST. Our own form's ticket speaks for a browser that says nothing about itself."""
    if is_from_this_origin(request):
        return True
    silent = not request.header("origin") and not request.header("sec-fetch-site")
    return silent and asked is not None


def _ask(app: Deployment, request: Request, now: float, session: Session | None, target: str) -> Flow[Reply]:
    origins = yield from forms.provider_origins(request)
    context = {
        "app_name": app.settings.app_name,
        "user_name": replies.person(session) if session else "",
        "action": f"{request.site.root}{app.prefix}/logout",
        "ticket": app.seals.sign("sign_out", target, now),
        "cancel_url": target or f"{request.site.root}/",
    }
    return replies.page(200, Page("sign_out.html", context, form_action=("'self'", *origins)))


def _end(app: Deployment, request: Request, now: float, found: sessions.Found, target: str) -> Flow[Reply]:
    session = found.session
    kept: dict[str, Any] = {}
    claims: dict[str, Any] = {}
    for token in cookies.session_tokens(request.header("cookie"), request.site):
        yield EndSession(key_of(token), "signed_out")
    if session is not None:
        kept, claims = sessions.tokens_of(session, found.token), dict(session.claims)
    gone = (
        *sessions.clear_cookies(request),
        # Nor may what another tab has begun sign in whoever sits down here next.
        *(yield from interrupt.forget_waiting(request)),
        *cookies.clear_all(request.header("cookie"), request.site, cookies.TRANSACTION),
        *interrupt.forget_yes(app, request, now, session),
    )
    left = {"to": target, "ended": session is not None}
    still, url = "", None
    user_flow = session.user_flow if session is not None else app.settings.user_flows.default
    flow = app.settings.user_flows.get(user_flow)
    try:
        provider: Provider = yield GetProvider(app.authority(request.site, user_flow))
    except (ProviderUnavailable, ProtocolError):
        still = "unreachable"
    else:
        url = logout.end_session_url(
            provider,
            client_id=app.client_id,
            id_token=kept.get("id_token", ""),
            claims=claims,
            post_logout_redirect_uri=request.site.url(f"{app.prefix}/logged-out"),
            state=app.seals.seal("signed_out", {**left, "still": ""}, now),
        )
        still = "no_end_session" if url is None else ""
        if flow is not None and flow.require_id_token_on_logout and not kept.get("id_token"):
            url, still = None, "id_token_required"
        yield from tokens.give_back(app, provider, kept)
    if url is None:
        state = app.seals.seal("signed_out", {**left, "still": still}, now)
        url = f"{request.site.root}{app.prefix}/logged-out?state={state}"
    return replies.redirect(url, cookies=gone, headers=(FORGET_PAGES,))


def signed_out(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``GET /.auth/logged-out``: back from the issuer. An odd or missing ``state`` is harmless."""
    try:
        state = forms.query(request).get("state", "")
    except Refused:
        state = ""
    returned = app.seals.open("signed_out", state, within=RETURN_SECONDS, now=now)
    kept = returned or {"to": "", "still": "", "ended": False}
    headers = (FORGET_PAGES,) if returned else ()
    found = yield from sessions.find(app, request, now, extend=False)
    home = f"{request.site.root}/"
    if found.session is not None:
        return replies.redirect(home)  # signed in again meanwhile: to say otherwise would be untrue
    if kept["to"] and not kept["still"]:
        return replies.redirect(kept["to"], headers=headers)
    host = origin_of(request.site.issuer).partition("://")[2]
    sentences = {
        "": [],
        "no_end_session": [
            f"You are still signed in at {host}, which offers no way to sign out from here. On a shared computer, "
            "sign out there too, or close the browser."
        ],
        "id_token_required": [
            f"You may still be signed in at {host}: your session here was over before, and {host} signs nobody out "
            "without what was kept in it. On a shared computer, sign out there too, or close the browser."
        ],
        "unreachable": [
            f"{host} did not answer, so you may still be signed in there. On a shared computer, sign out there too."
        ],
    }
    context = {
        "app_name": app.settings.app_name,
        "session_ended": kept["ended"],
        "still_signed_in": sentences[kept["still"]],
        "login_url": login_url(request.site, app.prefix, home),
    }
    return replies.page(200, Page("logged_out.html", context), headers=headers)


def front_channel(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``GET /.auth/frontchannel-logout``, in a frame of the issuer's page."""
    try:
        given = forms.query(request)
    except Refused:
        given = {"sid": ""}
    found = yield from sessions.find(app, request, now, extend=False)
    ended: set[bytes] = set()
    if "sid" in given:
        ended = yield from _end_named(request, given["sid"], given.get("iss"), found.session)
    # Only now, because the issuer may be slow, and its page may not wait for the frame.
    origins = yield from forms.provider_origins(request)
    allowed = dict.fromkeys((origin_of(request.site.issuer), *origins, *app.settings.frame_ancestors))
    if not given:
        ended = yield from _end_mine(request, found.session, allowed)
    named = yield from sessions.named_for_sign_out(app, request, now)
    if named is not None and _may_be_meant(named, given) and named.key not in ended:
        ended |= yield from _end_mine(request, named, allowed)
    gone: tuple[str, ...] = ()
    if found.session and found.session.key in ended:
        gone = sessions.clear_cookies(request)
    elif named and named.key in ended:
        gone = (cookies.clear_cookie(request.site, cookies.SIGN_OUT),)
    policy = f"default-src 'none'; frame-ancestors {' '.join(allowed)}"
    headers = (
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        *cookies.as_headers(gone),
    )
    return Reply(200, headers, b"<!doctype html><title>Signed out</title>")


def _may_be_meant(named: Session, given: Mapping[str, str]) -> bool:
    """Rule 6: one that has a ``sid`` is ended by that."""
    return given.get("iss", named.issuer) == named.issuer and ("sid" not in given or not named.sids)


def _end_mine(request: Request, mine: Session | None, allowed: Collection[str]) -> Flow[set[bytes]]:
    """A session that a cookie names, of whichever kind. The key of the session that ended."""
    if mine is None or request.header("sec-fetch-dest").lower() != "iframe":
        return set()
    if not _may_frame(request, allowed):
        return set()  # our cookies travel within a site, so a sibling of ours could frame us as well
    yield EndSession(mine.key, "front_channel")
    return {mine.key}


def _may_frame(request: Request, allowed: Collection[str]) -> bool:
    """Whether the page around a frame is one of those, as far as the browser says so. A page may keep its address to
    itself (Referrer-Policy); then it matters whether it is of our site, and one of those can be."""
    referer = request.header("referer")
    if referer:
        return origin_of(referer) in allowed
    if request.header("sec-fetch-site").lower() != "same-site":
        return True
    ours = _last_labels(request.site.origin)
    return any(_last_labels(origin) == ours for origin in allowed)


def _last_labels(origin: str) -> list[str]:
    """What all hosts of a site have in common at least: the last two labels of their names."""
    return (urlsplit(origin).hostname or "").split(".")[-2:]


def _end_named(request: Request, sid: str, issuer: str | None, mine: Session | None) -> Flow[set[bytes]]:
    """Rule 4. The keys of the sessions that ended."""
    ended: set[bytes] = set()
    if not 0 < len(sid) <= LONGEST_SID:
        return ended
    if mine is not None and sid in mine.sids and issuer in (None, mine.issuer):
        yield EndSession(mine.key, "front_channel")
        ended.add(mine.key)
    # One that nobody can guess is looked up always: else whoever shares an address could keep others signed in.
    if len(sid) < UNGUESSABLE and not (yield MayTry("frontchannel-logout", request.client_address)):
        return ended
    # Some issuers do not encode what they send, and then a + arrives as a blank.
    for name in dict.fromkeys((sid, sid.replace(" ", "+"))):
        for session in (yield FindSessions(name, issuer)):
            if session.subject != name:
                yield EndSession(session.key, "front_channel")
                ended.add(session.key)
        waited = yield from interrupt.forget_named(name, issuer)
        if ended or waited:
            return ended
    yield CountUnmatched("frontchannel-logout", request.client_address)
    return ended

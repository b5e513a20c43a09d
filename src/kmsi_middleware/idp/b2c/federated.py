"""Signing in at another provider, whose own session decides whether it asks.

1. It is an OpenID provider on this machine; its metadata and keys are fetched each time, over the network.
2. Its answer becomes this provider's own session, with the other one's ``auth_time`` where it tells it. Nobody is kept
   signed in by it: KMSI is for local accounts.
3. Its answer may come after a form of its own, and browsers hold a form's redirects against the page that had it. So a
   page of ours goes between it and the app.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .. import pages
from ..authorize import Denied, as_error, deliver, known
from ..config import FederatedProvider, User
from ..site import Refused, Site, parameters, stale
from ..user_store import UserStore, federated_user
from . import journey
from .sessions import FlowVisit

_SECONDS = 5


def redirect_uri(site: Site) -> str:
    return f"{site.root}/{site.config.tenant_name}/oauth2/authresp"


async def metadata(site: Site, provider: FederatedProvider) -> dict[str, Any]:
    """Its discovery document. Raises :class:`Refused` if it can't be had."""
    async with _client(site) as client:
        document = await _json(provider, client.get(f"{provider.issuer}/.well-known/openid-configuration"))
    if document.get("issuer") != provider.issuer:
        raise _unavailable(provider)
    return document


async def choose(site: Site, request: Request) -> Response:
    """The sign-in page's link to another provider."""
    given = parameters(request.url.query)
    visit = FlowVisit(site, request)
    pending = visit.ticket("journey", given.get("ticket", ""))
    provider = site.config.identity_provider(given.get("provider", ""))
    if pending is None or pending["user_flow"] != site.user_flow or pending["step"] != "sign_in" or provider is None:
        raise stale(visit, given)
    visit.enter(known(site, pending["values"]).app.client_id)
    return visit.finish(await start(visit, pending["values"], provider))


async def start(visit: FlowVisit, values: dict[str, str], provider: FederatedProvider) -> Response:
    """Sends the browser there."""
    site = visit.site
    document = await metadata(site, provider)
    verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    pending = {
        "user_flow": site.user_flow,
        "values": values,
        "provider": provider.id,
        "verifier": verifier,
        "nonce": nonce,
    }
    asked = {
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri(site),
        "response_type": "code",
        "scope": "openid profile email",
        "state": site.store.open_ticket("federated", visit.browser, pending),
        "nonce": nonce,
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    if values.get("prompt") == "none":
        asked["prompt"] = "none"
    url = f"{document['authorization_endpoint']}?{urlencode(asked)}"
    return RedirectResponse(url, 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


async def answer(site: Site, request: Request) -> Response:
    """What comes back from there."""
    given = parameters(request.url.query)
    pending = FlowVisit(site, request).ticket("federated", given.get("state", ""))
    provider = site.config.identity_provider(pending["provider"]) if pending else None
    if pending is None or provider is None or pending["user_flow"] not in site.config.user_flows:
        raise stale(FlowVisit(site, request), given)
    if given.get("iss", provider.issuer) != provider.issuer:  # RFC 9207, section 2.4
        raise Refused("federated_issuer_mismatch", f"This answer is not from {provider.name}.")
    site = replace(site, user_flow=pending["user_flow"])
    values = pending["values"]
    if "code" not in given:
        visit = FlowVisit(site, request)
        ask = known(site, values)
        visit.enter(ask.app.client_id)
        if values.get("prompt") == "none":
            denied = Denied("interaction_required", journey.described(journey.NO_SESSION))
            return visit.finish(deliver(site, ask, as_error(denied)))
        visit.session = None  # whatever there was, the person is to choose anew
        return visit.finish(await journey.proceed(visit, values, journey.Done()))
    user, auth_time = await _redeem(site, provider, given["code"], pending)
    UserStore(site.store).put_federated(user)
    site = replace(site, config=UserStore(site.store).applied(site.config))
    if site.config.active(user.username) is None:
        raise Refused("user_disabled", f"{user.name} is disabled, and can’t sign in.", status=403)
    visit = FlowVisit(site, request)
    ask = known(site, values)
    visit.enter(ask.app.client_id)
    if visit.session is not None and visit.session.username == user.username:
        visit.use()
    else:
        visit.begin(user, auth_time=auth_time)
    response = await journey.proceed(visit, values, journey.Done(signed_in=True))
    return visit.finish(onward(response, ask.app.name))


def onward(response: Response, name: str) -> Response:
    """Rule 3: a redirect, made by a page."""
    url = response.headers.get("location")
    return response if url is None else pages.page("idp_onward.html", {"url": url, "to": name})


async def _redeem(
    site: Site, provider: FederatedProvider, code: str, pending: dict[str, Any]
) -> tuple[User, float | None]:
    """The person, and when they really signed in. Raises :class:`Refused`."""
    document = await metadata(site, provider)
    posted = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri(site),
        "code_verifier": pending["verifier"],
        "client_id": provider.client_id,
    }
    if provider.client_secret is not None:
        posted["client_secret"] = provider.client_secret
    async with _client(site) as client:
        tokens = await _json(provider, client.post(document["token_endpoint"], data=posted))
        keys = await _json(provider, client.get(document["jwks_uri"]))
    try:
        claims = jwt.decode(tokens["id_token"], KeySet.import_key_set(keys), algorithms=["RS256"]).claims  # type: ignore[arg-type]
        expected = (provider.issuer, provider.client_id, pending["nonce"])
        right = (claims["iss"], claims["aud"], claims["nonce"]) == expected and claims["exp"] > site.clock()
        subject = str(claims["sub"])
    except (JoseError, KeyError, ValueError, TypeError):
        right, subject, claims = False, "", {}
    if not right:
        raise Refused("federated_token_invalid", f"What {provider.name} answered is no good ID token.", status=502)
    auth_time = claims.get("auth_time")
    user = federated_user(provider.id, subject, str(claims.get("name") or ""), str(claims.get("email") or ""))
    return user, float(auth_time) if isinstance(auth_time, (int, float)) else None


def _client(site: Site) -> httpx.AsyncClient:
    # The address is the developer's own; no proxy of the environment belongs in between.
    return httpx.AsyncClient(transport=site.backchannel, timeout=_SECONDS, trust_env=False)


async def _json(provider: FederatedProvider, asked: Any) -> dict[str, Any]:
    try:
        response = await asked
        found = response.json() if response.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise _unavailable(provider)
    return found


def _unavailable(provider: FederatedProvider) -> Refused:
    message = f"{provider.name} did not answer as it should. Please try again."
    return Refused("federated_unavailable", message, status=502, title="The other provider is out of reach")

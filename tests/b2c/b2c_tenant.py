"""A tenant of Azure AD B2C made of dicts, for the flows to play with: B2C itself is a service and runs nowhere else.

Each user flow has its metadata document, its token endpoint and its policy claim; the issuer is the tenant's. The
documents go through the real checks.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.flows.flow_support import ALICE, CROSS_SITE, NAVIGATION, Browser, IdentityProvider, World, location, page_of

from kmsi_middleware.rules.oidc.discovery import Provider, check_discovery, discovery_request
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.effects import Effect
from kmsi_middleware.vocabulary.messages import HttpResponse, Outcome, Reply

HOST = "https://contoso.b2clogin.com"
TENANT_ID = "775527ff-9a37-4307-8b3d-cc311f58d925"
ISSUER = f"{HOST}/{TENANT_ID}/v2.0/"
SIGN_IN, EDIT, RESET, SIGN_UP = "B2C_1_susi", "B2C_1_edit", "B2C_1_reset", "B2C_1_sign_up"
KINDS = {SIGN_IN: "sign_up_and_sign_in", EDIT: "profile_editing", RESET: "password_reset", SIGN_UP: "sign_up"}
FORGOT = (
    "AADB2C90118: The user has forgotten their password.\r\nCorrelation ID: 8e4d\r\nTimestamp: 2026-01-01 00:00:00Z\r\n"
)
CANCELLED = "AADB2C90091: The user has cancelled entering self-asserted information.\r\nCorrelation ID: 8e4d\r\n"


def authority(policy: str) -> str:
    return f"{HOST}/contoso.onmicrosoft.com/{policy}/v2.0"


def flow(policy: str, **more: Any) -> dict[str, Any]:
    """A user flow's properties."""
    return {"authority": authority(policy), "kind": KINDS.get(policy, "sign_in"), **more}


def flows(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """The four flows of the tenant; by kind, properties of their own."""
    return {policy: flow(policy, **properties.get(kind, {})) for policy, kind in KINDS.items()}


class Tenant(World):
    """The world of an app with user flows."""

    def __init__(self, user_flows: Mapping[str, Any] | None = None, **settings: Any) -> None:
        given = flows() if user_flows is None else user_flows
        super().__init__(issuer="", user_flows=given, **settings)
        self.issuer = ISSUER
        self.claim = "tfp"
        self.policies: dict[str, IdentityProvider] = {}
        self._numbers = itertools.count(1)

    def policy_at(self, url: str) -> str:
        """The policy that a URL of the tenant belongs to."""
        return urlsplit(url).path.split("/")[2]

    def metadata(self, policy: str) -> dict[str, Any]:
        at = f"{HOST}/contoso.onmicrosoft.com/{policy.lower()}"
        return {
            "issuer": self.issuer.format(policy=policy.lower()),
            "authorization_endpoint": f"{at}/oauth2/v2.0/authorize",
            "token_endpoint": f"{at}/oauth2/v2.0/token",
            "end_session_endpoint": f"{at}/oauth2/v2.0/logout",
            "jwks_uri": f"{at}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def provider(self, authority: str) -> Provider:
        """The policy's metadata, fetched and checked."""
        request = discovery_request(authority)
        assert request.url.endswith("/v2.0/.well-known/openid-configuration")
        document = json.dumps(self.metadata(self.policy_at(request.url))).encode()
        return check_discovery(HttpResponse(200, {}, document), authority)

    def of(self, policy: str) -> IdentityProvider:
        policy = policy.lower()
        if policy not in self.policies:
            provider = self.policies[policy] = IdentityProvider()
            provider.metadata = self.provider(authority(policy))
            provider._numbers = self._numbers
        return self.policies[policy]

    def perform(self, effect: Effect) -> Any:
        if type(effect) in self.broken:
            raise self.broken[type(effect)]
        match effect:
            case ask.GetProvider(issuer):
                return self.provider(issuer)
            case ask.Fetch(request):
                return self.of(self.policy_at(request.url)).fetch(request, self.now)
        return super().perform(effect)

    # What happens at B2C ---------------------------------------------------------------------------------

    def answered(self, url: str, person: Mapping[str, Any] = ALICE, **claims: Any) -> str:
        """The person goes through the flow at an authorization URL. Answer: the callback's target."""
        policy = self.policy_at(url)
        named: dict[str, Any] = {} if self.claim == "none" else {self.claim: policy}
        claims = {"sid": None, **person, **named, **claims}
        return f"/.auth/callback?{urlencode(self.of(policy).sign_in(url, claims, self.now))}"

    def refused(self, url: str, description: str, error: str = "access_denied") -> str:
        """B2C answers with an error."""
        state = dict(parse_qsl(urlsplit(url).query))["state"]
        said = {"error": error, "error_description": description, "state": state}
        return f"/.auth/callback?{urlencode(said)}"


def opened(browser: Browser, target: str = "/") -> Outcome:
    """Open a page; where it says that the session ended, press its button."""
    outcome = browser.get(target)
    if isinstance(outcome, Reply) and outcome.status == 401:
        return browser.get(page_of(outcome, 401).context["login_url"])
    return outcome


def policy_of(outcome: Outcome, tenant: Tenant) -> str:
    """The user flow that an outcome sends the browser to."""
    url = location(outcome)
    assert url.startswith(HOST), url
    return tenant.app.settings.user_flows.known(tenant.policy_at(url)) or ""


def signed_in(tenant: Tenant, answer: str = "yes", target: str = "/", person: Mapping[str, Any] = ALICE) -> Browser:
    """A browser whose person signed in by the default flow."""
    browser = Browser(tenant)
    outcome = browser.get(tenant.answered(location(browser.get(target)), person), CROSS_SITE)
    if location(outcome).startswith("/.auth/kmsi"):
        outcome = browser.reply_to(location(outcome), answer)
    assert location(outcome) == target
    return browser


def through(browser: Browser, policy: str, target: str = "/", referer: str = "", **claims: Any) -> Outcome:
    """Go through a flow by its link, and come back."""
    tenant = browser.world
    assert isinstance(tenant, Tenant)
    url = location(by_link(browser, policy, target, referer))
    return browser.get(tenant.answered(url, **claims), CROSS_SITE)


def by_link(browser: Browser, policy: str, target: str = "/", referer: str = "", **more: str) -> Outcome:
    """Follow a link of the app to a flow."""
    query = urlencode({"user_flow": policy, "post_login_redirect_uri": target, **more})
    said = {**NAVIGATION, "sec-fetch-site": "same-origin" if referer else "none"}
    if referer:
        said["referer"] = browser.world.site.origin + referer
    return browser.get(f"/.auth/login?{query}", said)

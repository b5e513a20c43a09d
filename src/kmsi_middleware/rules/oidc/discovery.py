"""The issuer's metadata (OpenID Connect Discovery 1.0 §3, §4) and its keys' location.

Tolerant of what real providers do: issuers with a path or a slash at the end, documents that leave members out.
Strict where it matters: the issuer must be the configured one, to the letter (§4.3; ASVS 10.5.3).
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from ...vocabulary.addresses import GUID, is_loopback_host, is_origin, is_shared_issuer
from ...vocabulary.errors import ProtocolError, ProviderUnavailable
from ...vocabulary.messages import HttpRequest, HttpResponse
from ...vocabulary.records import frozen
from ...vocabulary.user_flows import policy_of

TENANT = "{tenantid}"


@frozen
class Provider:
    """Checked metadata."""

    issuer: str
    """As an ID token must have it; with ``{tenantid}`` in it where each tenant has its own (Entra)."""
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None
    token_endpoint_auth_methods: tuple[str, ...]
    iss_in_response: bool
    """RFC 9207 §3: the authorization response always names the issuer."""
    revocation_endpoint: str | None = None
    """Where tokens are revoked (RFC 7009), if the issuer has such a place."""

    def may_be(self, issuer: str) -> bool:
        """Whether an answer that names ``issuer`` can come from here; with ``{tenantid}``, any tenant's."""
        before, tenant, after = self.issuer.partition(TENANT)
        return (
            re.fullmatch(re.escape(before) + ("[0-9A-Za-z.-]{1,64}" if tenant else "") + re.escape(after), issuer)
            is not None
        )

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that the issuer's pages come from: of issuer, authorization and end-session endpoints."""
        urls = (self.issuer, self.authorization_endpoint, self.end_session_endpoint)
        return tuple(dict.fromkeys(origin_of(url) for url in urls if url))


def origin_of(url: str) -> str:
    """``scheme://host[:port]`` of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def discovery_request(issuer: str) -> HttpRequest:
    """§4.1: a slash at the issuer's end is removed before the well-known path is appended."""
    return HttpRequest("GET", issuer.rstrip("/") + "/.well-known/openid-configuration", {"accept": "application/json"})


def check_discovery(response: HttpResponse, issuer: str) -> Provider:
    """Check the document. Raises :class:`ProviderUnavailable` (also ``discovery_invalid``), or
    :class:`ProtocolError` (``issuer_mismatch``)."""
    document = json_object(response, "discovery_invalid")
    if not _is_issuer(document.get("issuer"), issuer):
        raise ProtocolError(
            "issuer_mismatch",
            "the provider's metadata names another issuer than the one in the settings",
            status=502,
        )

    def endpoint(name: str, *, required: bool = True) -> str | None:
        url = document.get(name)
        if url is None and not required:
            return None
        if not isinstance(url, str) or not is_acceptable_url(url, plain=issuer.startswith("http:")):
            raise ProviderUnavailable(f"the provider's metadata has no usable {name}", code="discovery_invalid")
        return url

    revocation = document.get("revocation_endpoint")
    if not isinstance(revocation, str) or not is_acceptable_url(revocation, plain=issuer.startswith("http:")):
        revocation = None  # nothing depends on it
    methods = document.get("token_endpoint_auth_methods_supported")
    return Provider(
        issuer=str(document["issuer"]),
        authorization_endpoint=str(endpoint("authorization_endpoint")),
        token_endpoint=str(endpoint("token_endpoint")),
        jwks_uri=str(endpoint("jwks_uri")),
        end_session_endpoint=endpoint("end_session_endpoint", required=False),
        # §3: a document that leaves it out means client_secret_basic.
        token_endpoint_auth_methods=tuple(m for m in methods if isinstance(m, str))
        if isinstance(methods, list)
        else ("client_secret_basic",),
        iss_in_response=document.get("authorization_response_iss_parameter_supported") is True,
        revocation_endpoint=revocation,
    )


def _is_issuer(named: object, configured: str) -> bool:
    if named == configured:
        return True
    if isinstance(named, str) and TENANT in named and is_shared_issuer(configured):
        # Entra's shared endpoints: .../common/v2.0 describes the issuers .../{tenantid}/v2.0.
        return any(named.replace(TENANT, alias) == configured for alias in ("common", "organizations"))
    return isinstance(named, str) and _is_issuer_of_policy(named, configured)


def _is_issuer_of_policy(named: str, configured: str) -> bool:
    """Azure AD B2C: the metadata of a policy, at ``…/{tenant}/{policy}/v2.0``, names the tenant's issuer beside it:
    ``…/{tenant's id}/v2.0/``, or ``…/tfp/{tenant's id}/{policy}/v2.0/``."""
    policy = policy_of(configured)
    if not policy:
        return False
    beside, tenant = configured.rstrip("/").rsplit("/", 3)[:2]
    identity = re.escape(tenant) if re.fullmatch(GUID, tenant, re.IGNORECASE) else GUID
    beside = re.escape(beside.removesuffix("/tfp"))
    forms = rf"{beside}/(?:{identity}|tfp/{identity}/{re.escape(policy)})/v2\.0/?"
    return re.fullmatch(forms, named, re.IGNORECASE) is not None


def is_acceptable_url(url: str, *, plain: bool = True) -> bool:
    """https, or where ``plain`` allows it, http on loopback; a host; no credentials, no fragment.

    An issuer elsewhere must not lead us to what listens on this machine, so only one of this machine is ``plain``.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    # Its origin goes into a Content-Security-Policy, so nothing may be in it that breaks out of one.
    if not parts.hostname or not is_origin(origin_of(url)) or parts.fragment:
        return False
    if any(c <= " " or c == "\\" for c in url):
        return False
    return parts.scheme == "https" or (plain and parts.scheme == "http" and is_loopback_host(parts.hostname))


def json_object(response: HttpResponse, code: str) -> dict[str, Any]:
    """The JSON object of a successful answer. Raises :class:`ProviderUnavailable`, with ``code`` for an answer that
    can't be read."""
    if response.status >= 500 or response.status == 429:
        raise ProviderUnavailable(f"the provider answered {response.status}")
    if response.status != 200:
        raise ProviderUnavailable(f"the provider answered {response.status}", code=code)
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ProviderUnavailable("the provider's answer is not a JSON object", code=code)
    return document

"""Hosts, origins and issuers: what an address says about where it leads."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

EMBEDDED = "embedded"
"""The issuer's name for the provider inside the app."""
GUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_POLICY_ISSUER = re.compile(rf"(.+)/tfp/({GUID})/B2C_1A?_[\w-]+/v2\.0(/?)", re.IGNORECASE | re.ASCII)


def is_loopback_host(host: str) -> bool:
    """Whether a host name (without port) can only mean this machine (RFC 6761 §6.3; RFC 1122 §3.2.1.3)."""
    name = host.lower().rstrip(".").strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_origin(text: str) -> bool:
    """Whether ``text`` is ``scheme://host[:port]`` and nothing more."""
    return re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", text, re.IGNORECASE) is not None


def is_shared_issuer(issuer: str) -> bool:
    """Whether an Entra issuer names no tenant of its own (``common``, ``organizations``, ``{tenantid}``)."""
    return re.search(r"/(common|organizations|\{tenantid\})(/|$)", issuer) is not None


def tenant_issuer(issuer: str) -> str:
    """An issuer without the policy, where Azure AD B2C puts one in: the same person is the same there in all of
    them."""
    found = _POLICY_ISSUER.fullmatch(issuer)
    return f"{found[1]}/{found[2]}/v2.0{found[3]}" if found else issuer


def as_browsers_say(url: str) -> str:
    """Scheme and host in lower case and no default port, so that an ``Origin`` header can be compared
    (RFC 6454 §6.2)."""
    parts = urlsplit(url)
    host = parts.netloc.lower()
    return f"{parts.scheme}://{host.removesuffix(':443' if parts.scheme == 'https' else ':80')}{parts.path}"


def without_password(url: str) -> str:
    """A URL as a message may show it. Of one that was not encoded as it should be, rather too much is left out."""
    hidden = re.sub("(:/*).*@", r"\1(not shown)@", url)
    return re.sub("(password=)[^&#]*", r"\1(not shown)", hidden)

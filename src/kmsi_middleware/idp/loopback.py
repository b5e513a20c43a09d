"""The embedded provider is for one's own machine: every request must have come from it and be meant for it.

Refused is a request with a header that a proxy adds, or in HTTP/1.0, which only proxies speak; with a Host that is
not loopback (which also stops DNS rebinding); from a peer that is not loopback; and one whose peer is unknown (a
Unix socket has a proxy in front). Only the in-process transports may leave the peer out. They mark their requests
with an object that no server can put into a scope.

A proxy on this very machine that hides itself completely (no header, HTTP/1.1, the upstream's Host) can't be told
from a browser: never put one in front of an app that runs with the embedded provider.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.types import Scope

IN_PROCESS = "kmsi_middleware.idp.in_process"
_MARK = object()
_PROXY_HEADERS = (
    b"forwarded",
    b"via",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"cf-connecting-ip",
    b"fly-client-ip",
    b"true-client-ip",
)
_PROXY_PREFIXES = (b"x-forwarded", b"x-original-", b"x-envoy-")


def mark_in_process(scope: Scope) -> None:
    """Says that this request was made by this very process."""
    scope[IN_PROCESS] = _MARK


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port and brackets, is this machine's own."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def check_issuer(issuer: str) -> None:
    """Raises :class:`ValueError` unless ``issuer`` is an http(s) URL of this machine, without query, fragment
    or a slash at its end."""
    remedy = "must be an http or https URL of this machine, such as http://localhost:8400"
    try:
        parts = urlsplit(issuer)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"issuer = {issuer!r}: {remedy}") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise ValueError(f"issuer = {issuer!r}: {remedy}")
    if not is_loopback(host):
        raise ValueError(f"issuer = {issuer!r}: the embedded identity provider is for loopback only; it {remedy}")
    if parts.query or parts.fragment or issuer.endswith("/") or "?" in issuer or "#" in issuer:
        raise ValueError(f"issuer = {issuer!r}: must have no query, no fragment and no slash at its end")


def refusal(scope: Scope) -> str | None:
    """Why this request is refused, in words for a developer; ``None`` when it is not."""
    if scope.get("http_version") == "1.0":
        # No browser speaks it, but nginx does towards its upstreams, and may tell nothing else about itself.
        return "the request came through a proxy (it is HTTP/1.0)"
    hosts = []
    for name, value in scope["headers"]:
        name = name.lower()
        if name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIXES):
            return f"the request came through a proxy (it has the header {name.decode('latin-1')})"
        if name == b"host":
            hosts.append(value.decode("latin-1"))
    if len(hosts) != 1:
        return "the request must have one Host header"
    try:
        host = urlsplit(f"//{hosts[0]}").hostname or ""
    except ValueError:
        host = ""
    if not is_loopback(host) or any(character in hosts[0] for character in "/?#@\\"):
        return "the Host is not loopback"
    if scope.get(IN_PROCESS) is _MARK:
        return None
    client = scope.get("client")
    if not client or not is_loopback(str(client[0])):
        return "the request does not come from this machine"
    return None

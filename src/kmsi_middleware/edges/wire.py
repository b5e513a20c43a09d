"""What both shells read off a request before any rule sees it: where the app is, who is asking, and headers."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from urllib.parse import quote

from ..rules.app_data import AppData
from ..rules.cookies import session_cookie_name, session_tokens
from ..rules.seals import key_of
from ..vocabulary.addresses import is_loopback_host
from ..vocabulary.errors import Refused
from ..vocabulary.messages import Page, Reply, Request, Site
from ..vocabulary.settings import Settings
from ..vocabulary.user_flows import EMBEDDED_TENANT
from .pages import PageRenderer

IDP = "/idp"
"""Below the prefix: where the embedded provider is."""

_log = logging.getLogger("kmsi_middleware")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")


class Where:
    """Tells where the app is, as the browser sees it: from ``base_url``, or from a loopback request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = settings.base
        self._name = settings.cookie_name

    def cookie_name(self, port: int | None) -> str:
        """The session cookie's name. ``port`` is the server's own, for an app without ``base_url``."""
        base = self._base
        if base is not None:
            port = base.port or (443 if base.scheme == "https" else 80)
            return session_cookie_name(self._name, secure=base.scheme == "https", port=port)
        return session_cookie_name(self._name, secure=False, port=port)

    def site(self, scheme: str, host: str, port: int | None, root: str) -> Site:
        """``root`` is the mount path that the server says. Raises :class:`Refused` for a host that is not
        loopback, where ``base_url`` is not set: then nobody may choose our origin by a header."""
        base = self._base
        root = root.rstrip("/")
        if is_odd_root(root):
            # Proxies and shims take it from the request (X-Forwarded-Prefix): //host would lead elsewhere.
            raise Refused("bad_root_path", "the app's root path is not in normal form")
        root = url_path(root)
        if base is not None:
            origin = f"{base.scheme}://{base.netloc}"
            if base.path and not (root == base.path or root.startswith(base.path + "/")):
                root = base.path + root
        else:
            found = _HOST.fullmatch(host)
            if found is None or not is_loopback_host(found[1]):
                raise Refused("base_url_required", "outside loopback the setting base_url is required", status=421)
            origin = f"{scheme}://{host.lower()}"
        issuer = self._settings.issuer
        if self._settings.embedded:
            issuer = f"{origin}{root}{self._settings.prefix}{IDP}"
            if self._settings.user_flows:
                issuer = f"{issuer}/{EMBEDDED_TENANT}/{self._settings.user_flows.default}/v2.0"
        return Site(origin, root, issuer, self.cookie_name(port))


class Clients:
    """The client's address: the peer's, or behind ``trusted_proxies`` the rightmost untrusted one.

    Where a trusted proxy names something that is no address, the client's is not known (``""``), and surely not the
    proxy's.
    """

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in trusted_proxies]
        self._warned = False

    def address(self, peer: str, forwarded_for: str) -> str:
        """``forwarded_for`` is the whole ``X-Forwarded-For``; it counts only as far as those who wrote it are
        trusted."""
        address = _ip(peer)
        if forwarded_for and not self._warned and not self._is_trusted(address):
            self._warned = True
            _log.warning(
                "%s sends X-Forwarded-For and is not in trusted_proxies: if it is your proxy, all clients share its "
                "address, in the sign-in log and wherever addresses are counted",
                address or "a peer without an address",
            )
        for hop in reversed(forwarded_for.split(",") if forwarded_for else []):
            if not self._is_trusted(address):
                break
            address = _ip(hop.strip())
            if address is None:
                return ""
        return str(address) if address is not None else peer

    def _is_trusted(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def is_odd_root(root: str) -> bool:
    """Whether a mount path, without a slash at its end, is not what a browser would take it for."""
    return root[:1] not in ("", "/") or re.search(r"//|[\\\x00-\x1f\x7f]|/\.\.?(/|$)", root) is not None


def _ip(text: str) -> _Address | None:
    """An address, which some proxies write with a port, and dual-stack sockets as IPv6 (``::ffff:10.1.2.3``).

    Without its zone (``fe80::1%eth0``): that is a name on the machine that wrote it, of any length.
    """
    text = text.partition("%")[0]
    found = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::[0-9]+)?|([0-9.]+)(?::[0-9]+)?", text)
    try:
        address = ipaddress.ip_address((found[1] or found[2]) if found else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def joined_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name; of one that came twice the values are joined (RFC 9110 §5.3)."""
    found: dict[str, str] = {}
    for name, value in pairs:
        name = name.lower()
        if name in found:
            value = found[name] + ("; " if name == "cookie" else ", ") + value
        found[name] = value
    return found


def url_path(path: str) -> str:
    """A decoded path as a browser would have sent it."""
    return quote(path, safe="/:@!$&'()*+,;=~-._")


def raw_target(site: Site, path: str, query: str) -> str:
    """Path and query as a browser would have sent them; ``path`` is decoded and below the root."""
    target = site.root + url_path(path)
    return f"{target}?{query}" if query else target


def rendered(reply: Reply, pages: PageRenderer) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of a reply of ours."""
    headers, body = list(reply.headers), reply.body
    if isinstance(reply.page, Page):
        body, more = pages.render(
            reply.page.name,
            reply.page.context,
            form_action=reply.page.form_action,
            frame_ancestors=reply.page.frame_ancestors,
        )
        headers += more
    if not any(name.lower() == "content-length" for name, _ in headers) and reply.status != HTTPStatus.NO_CONTENT:
        headers.append(("content-length", str(len(body))))
    return reply.status, headers, body


def stepped_up(reply: Reply, pages: PageRenderer, data: AppData) -> tuple[int, list[tuple[str, str]], bytes]:
    """The reply for an app to give that asked for an authentication context itself. Its cookies go by way of
    ``data``, because frameworks differ in what they make of several headers of one name."""
    status, headers, body = rendered(reply, pages)
    data.touched, data.cookies = True, tuple(value for name, value in headers if name == "set-cookie")
    return status, [item for item in headers if item[0] != "set-cookie"], body


def too_late(name: str) -> None:
    """The app changed its data after its response had started, and with it had been saved."""
    _log.warning("session[%r] was changed after the response had started: such changes are not kept", name)


def turns_away(status: int, names: Iterable[str]) -> bool:
    """Whether an app's reply, with headers of these names, may mean that nobody is signed in: 403, as frameworks'
    decorators say it; or 401, unless it names the app's own way to authenticate."""
    return status == 403 or (status == 401 and "www-authenticate" not in map(str.lower, names))


def first_key(request: Request) -> bytes | None:
    """The store's key of the first session token in the request's cookies."""
    tokens = session_tokens(request.header("cookie"), request.site)
    return key_of(tokens[0]) if tokens else None


def plain(error: Refused) -> Reply:
    """A refusal where not even our origin is known."""
    text = f"{error.code}: {error.detail}\n".encode()
    return Reply(error.status, (("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")), text)

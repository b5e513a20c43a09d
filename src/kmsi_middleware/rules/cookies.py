"""Our cookies: their names, reading them, setting them.

1. https: ``__Host-`` before the name, Secure, HttpOnly, SameSite=Lax, Path=/, no Domain (rfc6265bis 4.1.3.2). One is
   SameSite=None: :data:`SIGN_OUT`, which exists on https only, and by a setting only.
2. Loopback http: the plain name with the port in it, because cookies ignore ports; without Secure.
3. Persistent: Max-Age and Expires. Non-persistent: neither.
4. All of ours together never exceed 4,096 bytes: every value is small, and those of sign-ins under way are
   bounded in number (:data:`MOST_TRANSACTIONS`, :data:`MOST_PENDING`).
5. A Cookie header is a stranger's text: what is not well formed is as if it were not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.utils import formatdate

from ..vocabulary.messages import Site

MOST_TRANSACTIONS = 12
MOST_PENDING = 11
LONGEST_HEADER = 65_536
TRANSACTION = ".t."
PENDING = ".p."
REMEMBERED = ".r"
SIGN_OUT = ".o"
"""Ends its session in a frame of the issuer's, and can do nothing else."""
TOKEN_LENGTH = 43  # 256 bits in base64url


def session_cookie_name(name: str, *, secure: bool, port: int | None) -> str:
    """Rules 1 and 2."""
    if secure:
        return f"__Host-{name}"
    return f"{name}-{port or 80}"


def is_token(text: str) -> bool:
    """Whether ``text`` can be a session token at all: 43 characters of base64url."""
    return len(text) == TOKEN_LENGTH and re.fullmatch(r"[A-Za-z0-9_-]{43}", text) is not None


def ours(header: str, site: Site) -> list[tuple[str, str]]:
    """Name and value of every cookie of this app in a Cookie header, in the order of the header."""
    found: list[tuple[str, str]] = []
    if len(header) > LONGEST_HEADER:
        return found
    for part in header.split(";"):
        name, equals, value = part.strip(" \t").partition("=")
        if equals and name.startswith(site.cookie_name):
            suffix = name[len(site.cookie_name) :]
            if suffix in ("", REMEMBERED, SIGN_OUT) or suffix.startswith((TRANSACTION, PENDING)):
                found.append((name, value.strip(' \t"')))
    return found


def session_tokens(header: str, site: Site) -> list[str]:
    """The well-formed session tokens in a Cookie header, without repetition; at most four are looked at.

    The last one comes first: browsers put cookies of longer paths before ours (RFC 6265 §5.4), and one that was
    planted for a longer path must not go before it.
    """
    tokens = [value for name, value in ours(header, site) if name == site.cookie_name and is_token(value)]
    return list(dict.fromkeys(reversed(tokens)))[:4]


def named(header: str, site: Site, suffix: str) -> str:
    """The value of the cookie with this suffix, or ``""``. Of several, the first."""
    wanted = site.cookie_name + suffix
    return next((value for name, value in ours(header, site) if name == wanted), "")


def surplus(header: str, site: Site, kind: str, most: int, age: dict[str, int]) -> list[str]:
    """Names of the cookies of a kind that must go so that one more fits: the oldest first.

    ``age`` tells when each was made; one that it does not know is broken, and goes before all others.
    """
    names = list(dict.fromkeys(name for name, _ in ours(header, site) if name.startswith(site.cookie_name + kind)))
    names.sort(key=lambda name: age.get(name, 0))
    return names[: max(0, len(names) - most + 1)]


def set_cookie(site: Site, suffix: str, value: str, *, until: int | None = None, now: float = 0) -> str:
    """A Set-Cookie value. ``until``: the instant up to which the browser keeps it; ``None``: non-persistent."""
    lasting = ""
    if until is not None:
        lasting = f"; Max-Age={max(0, until - int(now))}; Expires={formatdate(until, usegmt=True)}"
    return f"{site.cookie_name}{suffix}={value}; Path=/{lasting}; HttpOnly; {_for_whom(site, suffix)}"


def clear_cookie(site: Site, suffix: str) -> str:
    """A Set-Cookie value that removes a cookie."""
    gone = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    return f"{site.cookie_name}{suffix}=; Path=/; {gone}; HttpOnly; {_for_whom(site, suffix)}"


def _for_whom(site: Site, suffix: str) -> str:
    same_site = "None" if suffix == SIGN_OUT else "Lax"
    return f"SameSite={same_site}" + ("; Secure" if site.secure else "")


def clear_all(header: str, site: Site, kind: str) -> list[str]:
    """Set-Cookie values that remove every cookie of a kind."""
    names = dict.fromkeys(name for name, _ in ours(header, site) if name.startswith(site.cookie_name + kind))
    return [clear_cookie(site, name[len(site.cookie_name) :]) for name in names]


def as_headers(cookies: Iterable[str]) -> Sequence[tuple[str, str]]:
    """Set-Cookie headers."""
    return [("set-cookie", cookie) for cookie in cookies]

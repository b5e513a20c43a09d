"""Where a browser may be sent, and which paths are public.

1. A return target is a path of this origin and nothing else. An absolute URL of this very origin counts as its
   path. Everything else is refused: another origin, ``//host``, ``/\\host``, control characters.
2. A return target that is too long, or that is one of our own reserved paths, becomes ``/``; so does one with dot
   segments, because a browser resolves them (also ``%2e``) before it goes there.
3. A path is public only if it is in its normal form; one that would normalise to something else is protected
   (ASVS 1.1.1: decode once, then decide).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote, urlencode

from ..vocabulary.errors import Refused
from ..vocabulary.messages import Site

LONGEST_TARGET = 1_024


def return_target(text: str, site: Site, prefix: str) -> str:
    """The checked return target: a path with its query. Raises :class:`Refused` (``bad_return_target``)."""
    home = f"{site.root}/"
    if not text:
        return home
    origin, rest = text[: len(site.origin)], text[len(site.origin) :]
    if origin.lower() == site.origin.lower() and (not rest or rest[0] in "/?#"):
        text = rest if rest.startswith("/") else "/" + rest
    if re.search(r"[\x00-\x20\x7f\\\ud800-\udfff]", text) or not text.startswith("/") or text.startswith("//"):
        raise Refused("bad_return_target", "the page to return to must be a path of this site")
    text = quote(text, safe="/?#[]@!$&'()*+,;=:%-._~")
    path = unquote(re.split("[?#]", text, maxsplit=1)[0])
    if len(text) > LONGEST_TARGET or _has_dots(path) or _is_below(path, site.root + prefix):
        return home
    return text


def login_url(site: Site, prefix: str, target: str) -> str:
    """The path that starts a sign-in and then returns to ``target``."""
    return f"{site.root}{prefix}/login?" + urlencode({"post_login_redirect_uri": target})


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _has_dots(path: str) -> bool:
    return any(segment in (".", "..") for segment in path.split("/"))


def is_normal(path: str) -> bool:
    """Whether a decoded path is what every router would take it for."""
    if not path.startswith("/") or "//" in path or re.search(r"[\x00-\x1f\x7f\\;%]", path):
        return False
    return not _has_dots(path)


class AuthContexts:
    """Which authentication context a path needs. Of several patterns the longest decides.

    A path that is not in its normal form needs whatever a path like it could need: it is matched as a router
    might take it.
    """

    def __init__(self, contexts: Mapping[str, str]) -> None:
        self._by_length = sorted(contexts.items(), key=lambda item: len(item[0]), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def of(self, path: str) -> str | None:
        """The context of a decoded path below the app's root, or ``None``."""
        if not self._by_length:
            return None
        path = _as_a_router_might(path)
        for pattern, context in self._by_length:
            if path == pattern or (pattern.endswith("/*") and (path + "/").startswith(pattern[:-1])):
                return context
        return None


def _as_a_router_might(path: str) -> str:
    segments: list[str] = []
    for segment in unquote(path).split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments)


class PublicPaths:
    """Which paths need no session: exact ones, and everything below those that end in ``/*``."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._exact = frozenset(path for path in paths if not path.endswith("/*"))
        self._below = tuple(path[:-1] for path in paths if path.endswith("/*"))

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str) or not (path in self._exact or path.startswith(self._below)):
            return False
        return is_normal(path)

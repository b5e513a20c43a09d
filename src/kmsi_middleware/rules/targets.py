"""Where a browser may be sent, and which paths are public.

1. A return target is a path of this origin and nothing else. An absolute URL of this very origin counts as its
   path. Everything else is refused: another origin, ``//host``, ``/\\host``, control characters.
2. A return target that is too long, or that is one of our own reserved paths, becomes ``/``; so does one with dot
   segments, because a browser resolves them (also ``%2e``) before it goes there. The person's own page of sessions is
   a place to return to, too.
3. A path is public only if it is in its normal form; one that would normalise to something else is protected
   (ASVS 1.1.1: decode once, then decide).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote, urlencode

from ..vocabulary.contexts import auth_context
from ..vocabulary.errors import Refused
from ..vocabulary.messages import Site

LONGEST_TARGET = 1_024
"""Characters, as a browser sends them. It comes back from the issuer sealed in ``state``, four characters for three,
beside a code that may have 2,000 of its own; and gunicorn refuses what is longer than 4,094 in all."""
SESSIONS = "/sessions"
"""Where a person sees their sessions, below the prefix."""


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
    text = _as_sent(text)
    path = unquote(re.split("[?#]", text, maxsplit=1)[0])
    if text == f"{site.root}{prefix}{SESSIONS}":
        return text
    if len(text) > LONGEST_TARGET or _has_dots(path) or _is_below(path, site.root + prefix):
        return home
    return text


def is_too_long(text: str) -> bool:
    """Whether a page becomes ``/`` for its length."""
    return len(_as_sent(text)) > LONGEST_TARGET


def _as_sent(text: str) -> str:
    return quote(text, safe="/?#[]@!$&'()*+,;=:%-._~", errors="replace")


def login_url(site: Site, prefix: str, target: str, *, prompt: str = "", unanswered: bool = False) -> str:
    """The path that starts a sign-in and then returns to ``target``. ``unanswered``: after one whose "Stay signed in?"
    found no answer."""
    given = {"post_login_redirect_uri": target} | ({"prompt": prompt} if prompt else {})
    given |= {"unanswered": "1"} if unanswered else {}
    return f"{site.root}{prefix}/login?" + urlencode(given)


def is_misplaced(path: str, prefix: str) -> bool:
    """Whether a path is one of a sign-in's own, but not where the prefix is: then base_url, or the server's root path,
    is not what the proxy makes of it. A sign-in that began there would lead back there, for ever."""
    return not _is_below(path, prefix) and (path.endswith(f"{prefix}/callback") or f"{prefix}/idp/" in path)


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
    """Which authentication context a path needs: an exact pattern before one with ``/*``, of those the longest.

    A path that is not in its normal form needs whatever one of its readings needs: as it stands, unquoted once
    more, without its segments' parameters (``;``), with slashes for backslashes, and each of them with its dot segments
    resolved. Which of them the app's router goes by, nobody knows.
    """

    def __init__(self, contexts: Mapping[str, str]) -> None:
        self._exact: dict[str, str] = {}
        below: dict[str, str] = {}
        for pattern, given in contexts.items():
            context = auth_context(given)
            if pattern.endswith("/*"):
                below.setdefault(_tidy(pattern[:-2]), context)
            else:
                self._exact.setdefault(_tidy(pattern), context)
        self._below = sorted(below.items(), key=lambda item: len(item[0]), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def of(self, path: str) -> str | None:
        """The context of a decoded path below the app's root, or ``None``."""
        if not self:
            return None
        forms = (_tidy(path),) if is_normal(path) else _readings(path)
        for form in forms:
            if form in self._exact:
                return self._exact[form]
        for folder, context in self._below:
            if folder == "/" or any(_is_below(form, folder) for form in forms):
                return context
        return None


def _tidy(path: str) -> str:
    """A path without empty segments, and so without a slash at its end."""
    return "/" + "/".join(segment for segment in path.split("/") if segment)


def _readings(path: str) -> tuple[str, ...]:
    """What routers might take a path for, the plainest first."""
    found: list[str] = []
    for plain in (path, unquote(path)):
        for form in (plain, re.sub(r";[^/]*", "", plain.replace("\\", "/"))):
            # An empty segment is one that ".." takes away (RFC 3986 §5.2.4), unless it was dropped before.
            found += (_tidy(form), _tidy(_resolved(form)), _resolved(_tidy(form)))
    return tuple(dict.fromkeys(found))


def _resolved(path: str) -> str:
    segments: list[str] = []
    for segment in path.removeprefix("/").split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
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

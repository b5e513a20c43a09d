"""Requests and replies, as flows see them: the same for ASGI and WSGI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from .records import frozen
from .session import Session


@frozen
class Site:
    """Where this app is, as the browser sees it. From ``base_url``, or from a loopback request."""

    origin: str
    """``scheme://host[:port]``"""
    root: str
    """The path that the app is mounted at, without a slash at the end: ``""`` or ``/sub``."""
    issuer: str
    """The expected issuer; for the embedded provider it lies under this very origin."""
    cookie_name: str
    """The session cookie's name; the other cookies' names begin with it."""

    @property
    def secure(self) -> bool:
        return self.origin.startswith("https:")

    def url(self, path: str) -> str:
        """The absolute URL of a path below the app's root."""
        return f"{self.origin}{self.root}{path}"


@frozen
class Request:
    """One request. ``path`` is decoded and below the app's root path; ``query`` is raw."""

    site: Site
    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case. Of a header that came twice, the values are joined by ``, `` (``; `` for cookies)."""
    target: str = field(default="/", repr=False)
    """Path and query as the browser asked for them: raw, with the root path."""
    client_address: str = ""
    body: bytes = field(default=b"", repr=False)
    websocket: bool = False

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


@frozen
class Page:
    """One of our pages: a template's name and what it shows."""

    name: str
    context: Mapping[str, Any] = field(repr=False)
    form_action: Sequence[str] = ("'self'",)
    frame_ancestors: Sequence[str] = ("'none'",)


@frozen
class Reply:
    """Our own answer, instead of the app's."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    page: Page | None = None


@frozen
class Forward:
    """Let the app answer, with ``session`` (or anonymously)."""

    session: Session | None = None
    set_cookies: tuple[str, ...] = field(default=(), repr=False)
    until: int = 0
    """Up to which instant a request like this one is forwarded with this very session and nothing to do."""
    judged_risk: str | None = None
    """The ``current_risk`` that it was judged with, where policies read one."""
    invites: bool = False
    """Whether this anonymous request is sent to sign in, should the app turn it away (``protect="none"``)."""


Outcome = Reply | Forward


@frozen
class Busy:
    """No outcome yet: somebody else is at it. Try again after so many seconds."""

    seconds: float


@frozen
class HttpRequest:
    """A request of ours to the identity provider."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)


@frozen
class HttpResponse:
    """Its answer, read up to the limit of the HTTP client."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

"""What one request knows of the provider that it reached, and how parameters are read from it.

The issuer may be fixed, or follow from the request (scheme, Host and mount path) when the provider is mounted
in an app. So nothing here outlives a request.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import Response

from .config import IdPConfig, User
from .store import BrowserSession, Store

BODY_LIMIT = 64 * 1024


class Refused(Exception):
    """Ends the request with an error page, never a redirect."""

    def __init__(self, code: str, message: str, *, status: int = 400, title: str = "This request can’t be answered"):
        super().__init__(message)
        self.code, self.message, self.status, self.title = code, message, status, title


@dataclass(frozen=True, slots=True)
class Site:
    """The provider as one request sees it. ``path`` is where it is mounted, without a slash at its end;
    ``origin`` is the one that the browser sees."""

    issuer: str
    path: str
    origin: str
    config: IdPConfig
    store: Store
    clock: Callable[[], float]
    backchannel: httpx.AsyncBaseTransport | None

    def cookie_name(self, purpose: str) -> str:
        """Cookies ignore ports, so over plain http the port is in the name."""
        parts = urlsplit(self.origin)
        if parts.scheme == "https":
            return f"__Secure-kmsi-idp-{purpose}"
        return f"kmsi-idp-{purpose}-{parts.port or 80}"


class Visit:
    """One browser at the provider: its cookies, and who is signed in with it."""

    def __init__(self, site: Site, request: Request) -> None:
        self.site = site
        self._set: dict[str, str] = {}
        cookie = request.cookies.get(site.cookie_name("session"))
        self.session = site.store.find_session(cookie) if cookie else None
        if self.session and not site.config.user(self.session.username):
            self.session = None
        self._browser = request.cookies.get(site.cookie_name("browser"))
        self.brought_nothing = not self._browser

    @property
    def browser(self) -> str:
        """What pages with a form are bound to. It is no session: it says only that it is the same browser."""
        if not self._browser:
            self._browser = self._set["browser"] = secrets.token_urlsafe(24)
        return self._browser

    @property
    def user(self) -> User | None:
        return self.site.config.user(self.session.username) if self.session else None

    def sign_in(self, user: User) -> BrowserSession:
        """Begins a session for ``user`` in this browser, with a new cookie."""
        cookie = self.site.store.begin_session(user.username, user.amr, replaces=self.session)
        self._set["session"] = cookie
        self.session = self.site.store.find_session(cookie)
        assert self.session is not None
        return self.session

    def sign_out(self) -> None:
        self._set["session"] = ""
        self.session = None

    def finish(self, response: Response) -> Response:
        """The response with the cookies that changed."""
        for purpose, value in self._set.items():
            response.set_cookie(
                self.site.cookie_name(purpose),
                value,
                max_age=None if value else 0,
                path=self.site.path or "/",
                secure=self.site.origin.startswith("https:"),
                httponly=True,
                samesite="lax",
            )
        return response


def stale(visit: Visit) -> Refused:
    """What answers a page's form that can't be matched with what it was shown for."""
    if visit.brought_nothing:
        return Refused(
            "page_expired",
            "Signing in needs a cookie. Allow cookies for this site, then go back to the app and start again.",
            title="Your browser did not keep our cookie",
        )
    return Refused(
        "page_expired",
        "It is too old, or belongs to another browser. Go back to the app and start again.",
        title="This page is no longer good",
    )


def parameters(encoded: str) -> dict[str, str]:
    """Form-encoded parameters. An empty one counts as left out, one that comes twice is refused
    (RFC 6749, section 3.1)."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise Refused("invalid_request", "The request has too many parameters.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise Refused("invalid_request", f"The parameter “{name}” is there twice.")
        found[name] = value
    return {name: value for name, value in found.items() if value}


async def form(request: Request) -> dict[str, str]:
    """The parameters of a form post, at most 64 KB."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        raise Refused("invalid_request", "The body must be application/x-www-form-urlencoded.", status=415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise Refused("request_too_large", "The body is larger than 64 KB.", status=413)
    return parameters(body.decode("utf-8", "replace"))


async def own_form(request: Request, site: Site) -> dict[str, str]:
    """The parameters of a form that only the provider's own page may post."""
    if request.headers.get("origin", site.origin) != site.origin:
        raise Refused("foreign_origin", "This form was sent from another site.", status=403)
    return await form(request)

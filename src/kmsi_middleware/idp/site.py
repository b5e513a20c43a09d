"""What one request knows of the provider that it reached, and how parameters are read from it.

The issuer may be fixed, or follow from the request (scheme, Host and mount path) when the provider is mounted
in an app. So nothing here outlives a request.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import Response

from .config import Device, IdPConfig, User
from .device_store import BROWSER_SECONDS, DeviceStore
from .store import BrowserSession, Store

BODY_LIMIT = 64 * 1024


class Refused(Exception):
    """Ends the request with an error page, never a redirect. ``back``: name and address of where the page leads back
    to."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        title: str = "This request can’t be answered",
        back: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.title = code, message, status, title
        self.back = back


@dataclass(frozen=True, slots=True)
class Site:
    """The provider as one request sees it. ``path`` is where it is mounted, without a slash at its end;
    ``origin`` is the one that the browser sees. ``root`` is where its endpoints are, and except in the ``b2c``
    behaviour that is the issuer, too; there ``user_flow`` is the one that the request goes through."""

    issuer: str
    root: str
    path: str
    origin: str
    config: IdPConfig
    store: Store
    clock: Callable[[], float]
    backchannel: httpx.AsyncBaseTransport | None
    user_flow: str = ""

    def way_back(self, values: Mapping[str, str]) -> tuple[str, str] | None:
        """Name and address of the app that a page's form or link names, for a page that leads back to it."""
        app = self.config.app(values.get("client_id", ""))
        return (app.name, app.home) if app is not None else None

    def cookie_name(self, purpose: str) -> str:
        """Cookies ignore ports, so over plain http the port is in the name."""
        parts = urlsplit(self.origin)
        if parts.scheme == "https":
            return f"__Secure-kmsi-idp-{purpose}"
        return f"kmsi-idp-{purpose}-{parts.port or 80}"


class Visit:
    """One browser at the provider: its cookies, and who is signed in with it."""

    def __init__(self, site: Site, request: Request, session_cookie: str = "session") -> None:
        self.site = site
        self._session_cookie = session_cookie
        self._set: dict[str, str] = {}
        self._lasting = {"device": BROWSER_SECONDS}
        cookie = request.cookies.get(site.cookie_name(session_cookie))
        self.session = site.store.find_session(cookie) if cookie else None
        if self.session and not site.config.active(self.session.username):
            self.session = None
        name = site.cookie_name("browser")
        self._browsers = [request.cookies[name]] if name in request.cookies else []
        self._browsers += [value for key, value in request.cookies.items() if key.startswith(f"{name}.")][:20]
        self.brought_nothing = not self._browsers
        cookie = request.cookies.get(site.cookie_name("device"))
        known = DeviceStore(site.store).device_of(cookie, site.clock()) if cookie and site.config.devices else None
        self.device = site.config.device(known) if known else None

    @property
    def browser(self) -> str:
        """What pages with a form are bound to. It is no session: it says only that it is the same browser.

        Tabs that come here for the first time at the same time overwrite each other's cookie, so each gets
        another one as well, of its own name.
        """
        if not self._browsers:
            mark = secrets.token_urlsafe(24)
            self._browsers = [mark]
            self._set["browser"] = mark
        return self._browsers[0]

    def ticket(self, purpose: str, ticket: str) -> dict[str, Any] | None:
        """What a page that this browser was shown is about."""
        found = (self.site.store.find_ticket(purpose, browser, ticket) for browser in self._browsers)
        return next((data for data in found if data is not None), None)

    @property
    def user(self) -> User | None:
        return self.site.config.user(self.session.username) if self.session else None

    def sign_in(self, user: User, amr: tuple[str, ...] | None = None, auth_time: float | None = None) -> BrowserSession:
        """Begins a session for ``user`` in this browser, with a new cookie. ``amr`` is the user's own, and
        ``auth_time`` is now, unless given."""
        cookie = self.site.store.begin_session(
            user.username, user.amr if amr is None else amr, replaces=self.session, auth_time=auth_time
        )
        self._set[self._session_cookie] = cookie
        self.session = self.site.store.find_session(cookie)
        assert self.session is not None
        return self.session

    def sign_out(self) -> None:
        self._set[self._session_cookie] = ""
        self.session = None

    def use_device(self, device: Device) -> None:
        """From now on this browser is on ``device``."""
        self._set["device"] = DeviceStore(self.site.store).put_browser(device, self.site.clock())
        self.device = device

    def leave_device(self) -> None:
        self._set["device"] = ""
        self.device = None

    def finish(self, response: Response) -> Response:
        """The response with the cookies that changed."""
        for purpose, value in self._set.items():
            lasting = self._lasting.get(purpose) if value else 0
            self._set_cookie(response, self.site.cookie_name(purpose), value, lasting)
        if mark := self._set.get("browser"):
            self._set_cookie(response, f"{self.site.cookie_name('browser')}.{mark[:8]}", mark, None)
        return response

    def _set_cookie(self, response: Response, name: str, value: str, max_age: int | None) -> None:
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path=self.site.path or "/",
            secure=self.site.origin.startswith("https:"),
            httponly=True,
            samesite="lax",
        )


def stale(visit: Visit, values: Mapping[str, str]) -> Refused:
    """What answers a page's form that can't be matched with what it was shown for."""
    back = visit.site.way_back(values)
    if visit.brought_nothing:
        return Refused(
            "page_expired",
            "Signing in needs a cookie. Allow cookies for this site, then go back to the app and start again.",
            title="Your browser did not keep our cookie",
            back=back,
        )
    return Refused(
        "page_expired",
        "It is too old, or belongs to another browser. Go back to the app and start again.",
        title="This page is no longer good",
        back=back,
    )


def named(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """The app that a page's form or link names, as a field of the next one."""
    return [("client_id", values["client_id"])] if "client_id" in values else []


def moment(seconds: float) -> str:
    """An instant, for pages."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%d %B %Y, %H:%M:%S UTC")


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

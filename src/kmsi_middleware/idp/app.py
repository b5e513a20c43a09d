"""The provider as an ASGI application."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from . import bridge, pages
from .authorize import authorize, consent, second_factor, sign_in
from .b2c import endpoints as b2c
from .config import IdPConfig
from .config_file import default_config
from .devices import devices
from .endpoints import NO_STORE, discovery, jwks, revoke, token, userinfo
from .loopback import check_issuer, refusal
from .sign_out import end_session, sign_out
from .site import Refused, Site
from .store import Store
from .user_store import UserStore
from .users import users

Endpoint = Callable[[Site, Request], Awaitable[Response]]


ENDPOINTS: dict[str, tuple[list[str], Endpoint]] = {
    "/.well-known/openid-configuration": (["GET"], discovery),
    "/jwks": (["GET"], jwks),
    "/authorize": (["GET", "POST"], authorize),
    "/sign-in": (["POST"], sign_in),
    "/second-factor": (["POST"], second_factor),
    "/consent": (["POST"], consent),
    "/devices": (["GET", "POST"], devices),
    "/users": (["GET", "POST"], users),
    "/token": (["POST"], token),
    "/userinfo": (["GET", "POST"], userinfo),
    "/revoke": (["POST"], revoke),
    "/end-session": (["GET", "POST"], end_session),
    "/sign-out": (["POST"], sign_out),
}


_DECISIVE = ("/authorize", "/end-session", "/logout", "/authresp", "/logoutresp")
"""What must not be fetched before it is asked for."""


class EmbeddedIdP:
    """An OpenID provider for examples, tests and developers without a tenant. An ASGI application.

    ``folder`` keeps its state in ``idp.sqlite3``. With ``issuer`` the issuer is fixed; it may have a path.
    Without, it follows from each request: scheme, Host and mount path (``root_path``, or ``SCRIPT_NAME`` through
    :attr:`wsgi`). ``base_url``, where browsers reach the app that it is mounted in, takes the place of scheme and Host,
    and goes before the mount path with the path that a proxy strips. ``clock`` answers seconds since the epoch.
    ``backchannel`` replaces the network for logout tokens and for federated providers.

    It serves loopback only. Raises :class:`ValueError` for an issuer or a base URL that is not this machine's.
    """

    def __init__(
        self,
        config: IdPConfig | None = None,
        *,
        folder: Path,
        issuer: str | None = None,
        base_url: str | None = None,
        clock: Callable[[], float] = time.time,
        backchannel: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        for url in (issuer, base_url):
            if url is not None:
                check_issuer(url)
        self.config = config if config is not None else default_config()
        self.issuer = issuer
        self._base = urlsplit(base_url) if base_url is not None else None
        self._clock = clock
        self._backchannel = backchannel
        self._store = Store(folder, clock)
        is_b2c = self.config.behaviour == "b2c"
        table = {**b2c.ENDPOINTS, "/users": ENDPOINTS["/users"]} if is_b2c else ENDPOINTS
        self._paths = b2c.paths(self.config) if is_b2c else tuple(ENDPOINTS)
        routes = [Route(path, self._route(endpoint), methods=methods) for path, (methods, endpoint) in table.items()]
        self._router = Router(routes, redirect_slashes=False, default=_not_found)

    def close(self) -> None:
        """Closes the database. The next request opens it again."""
        self._store.close()

    def async_transport(self) -> httpx.AsyncBaseTransport:
        """Reaches the provider in this process, without a network. The mount path is told from the
        endpoint."""
        return bridge.AsyncTransport(self, self._paths)

    def sync_transport(self) -> httpx.BaseTransport:
        """The same for synchronous callers, in any thread, whether or not an event loop runs in it."""
        return bridge.SyncTransport(self, self._paths)

    @property
    def wsgi(self) -> bridge.WSGIApplication:
        """The provider as a WSGI application."""
        return bridge.wsgi(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        if reason := refusal(scope):
            text = f"The embedded identity provider is for this machine only: {reason}.\n"
            await PlainTextResponse(text, 403, NO_STORE)(scope, receive, send)
            return
        base, path = self._split(scope)
        if path.endswith(_DECISIVE) and _is_idle(scope):
            await Response(None, 405, {**NO_STORE, "Allow": "GET, POST"})(scope, receive, send)
            return
        await self._router({**scope, "root_path": base, "path": base + path}, receive, send)

    def _split(self, scope: Scope) -> tuple[str, str]:
        """Mount path and path below it. Some servers repeat the mount path in the path, some do not."""
        path: str = scope["path"]
        mounted = scope.get("root_path", "").rstrip("/")
        fixed = urlsplit(self.issuer).path if self.issuer else ""
        for base in (mounted, fixed):
            if base and (path == base or path.startswith(f"{base}/")):
                return base, path[len(base) :]
        return mounted, path

    def _route(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(self._site(request), request)
            except Refused as refused:
                return pages.error_page(refused.status, refused.title, refused.message, refused.code, refused.back)

        return answer

    def _site(self, request: Request) -> Site:
        origin = f"{request.url.scheme}://{request.headers['host'].lower()}"
        path: str = request.scope["root_path"]
        if (base := self._base) is not None:
            origin = f"{base.scheme}://{base.netloc}"
            path = path if path.startswith(f"{base.path}/") else base.path + path
        root = self.issuer if self.issuer is not None else origin + path
        site = Site(
            issuer=root,
            root=root,
            path=path,
            origin=origin,
            config=UserStore(self._store).applied(self.config.at(root)),
            store=self._store,
            clock=self._clock,
            backchannel=self._backchannel,
        )
        return b2c.within(site, request.path_params) if self.config.behaviour == "b2c" else site


def _is_idle(scope: Scope) -> bool:
    """A HEAD or a prefetch: it must neither sign anybody in nor out."""
    return scope["method"] == "HEAD" or any(name.lower() == b"sec-purpose" for name, _ in scope["headers"])


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    answer = pages.error_page(404, "There is nothing here", "The identity provider has no such page.", "not_found")
    await answer(scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

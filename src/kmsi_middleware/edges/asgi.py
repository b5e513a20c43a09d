"""The ASGI shell: between an ASGI server and an ASGI app.

1. A settled session is passed on at once (:mod:`.settled`). Everything else is for the flow.
2. What the app sees: ``scope["kmsi"]``, ``scope["user"]``, ``scope["auth"]``, ``scope["session"]``.
3. The app's data is saved before its response starts; if that fails, the answer is 503 instead of the app's.
4. A protected reply says ``Vary: Cookie``, and unless the app said otherwise, HTML is ``no-store`` and the rest
   ``private``.
5. Where the app fails (500, or an exception) because there was no access token to give, the answer is what
   :mod:`.token_access` says.
6. Frameworks move ``root_path`` on as they go; the app's own is the one that the request came with.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

import anyio

from ..flows import dispatch, guard, sessions
from ..flows.deployment import Deployment
from ..flows.replies import unavailable
from ..rules.app_data import AppData, NoSession
from ..vocabulary.errors import KMSIError, Refused, Unavailable
from ..vocabulary.messages import Forward, Reply, Request, Site
from ..vocabulary.session import Session
from .identity import ANONYMOUS, NOBODY, SIGNED_IN
from .pages import PageRenderer
from .services import Services
from .settled import Settled, SettledSessions
from .token_access import TOKENS, TokenAccess
from .wire import IDP, Clients, Where, first_key, joined_headers, plain, raw_target, rendered, stepped_up, url_path

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("kmsi_middleware")

_ROOT = "kmsi.root"  # rule 6
_VARY = [(b"vary", b"Cookie")]
_VARY_NO_STORE = [*_VARY, (b"cache-control", b"no-store")]
_VARY_PRIVATE = [*_VARY, (b"cache-control", b"private")]


class ASGIShell:
    """One app's middleware under ASGI."""

    def __init__(
        self,
        app: ASGIApp,
        deployment: Deployment,
        services: Services,
        pages: PageRenderer,
        clock: Callable[[], float],
        idp: ASGIApp | None = None,
    ) -> None:
        settings = deployment.settings
        self._app = app
        self._deployment = deployment
        self._services = services
        self._pages = pages
        self._clock = clock
        self._idp = idp
        self._where = Where(settings)
        self._clients = Clients(settings.trusted_proxies)
        self._settled = SettledSessions(services.store, clock, settings.user_claim)
        self._tokens = TokenAccess(deployment, services, clock, self._carried, blocks=False)
        self._watch = services.watch
        self._prefix = deployment.prefix
        # With base_url the cookie's name is always the same; without, it has the server's port in it.
        self._needle = f"{self._where.cookie_name(None)}=".encode() if settings.base_url else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if root := scope.get("root_path"):
                scope[_ROOT] = root
                path = _below(path, root)
            if not path.startswith(self._prefix) and scope["method"] != "OPTIONS":  # a preflight is anonymous
                # From the end: of several cookies of a name the last one counts, and browsers send it late.
                for name, value in reversed(scope["headers"]):
                    if name == b"cookie":
                        needle = self._needle or self._needle_of(scope)
                        at = value.rfind(needle)
                        if at < 0:
                            continue  # HTTP/2 may send each cookie in a header of its own
                        settled = self._settled.peek(value, at, len(needle))
                        if settled is None or (self._watch is not None and not self._vouches(settled, scope, path)):
                            break
                        sending = self._shown(scope, send, settled)
                        try:
                            await self._app(scope, receive, sending)
                        except KMSIError as error:
                            await self._escaped(error, scope, send)
                        return
            await self._http(scope, receive, send, path)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    # The fast path --------------------------------------------------------------------------------------

    def _vouches(self, settled: Settled, scope: Scope, path: str) -> bool:
        """Whether the policies in force have let this very kind of request pass."""
        assert self._watch is not None
        now = self._clock()
        if self._watch.generation(now) != settled.generation:
            return False
        return now < settled.granted.get(self._watch.of_scope(scope, path, settled.session), 0)

    def _needle_of(self, scope: Scope) -> bytes:
        return f"{self._where.cookie_name(_port(scope))}=".encode()

    def _shown(self, scope: Scope, send: Send, settled: Settled, cookies: tuple[str, ...] = ()) -> Send:
        """Show the app its session; what is returned is the ``send`` for it."""
        scope["kmsi"] = session = settled.session
        scope["user"] = settled.user
        scope["auth"] = SIGNED_IN
        scope["session"] = data = settled.new_data()
        scope[TOKENS] = self._tokens, data
        if self._watch is not None:
            scope["kmsi.require"] = partial(self._require, scope, data)

        # Not a coroutine function: what it returns is awaited all the same, and one frame is saved.
        def sending(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                data.started = True
                if data.touched or cookies:
                    return self._save_and_send(scope, session, data, message, send, cookies)
                message["headers"] = _protected(message.get("headers", ()))
            elif data.discarded:
                return _nothing()
            return send(message)

        return sending

    async def _save_and_send(
        self,
        scope: Scope,
        session: Session,
        data: AppData,
        message: Message,
        send: Send,
        cookies: tuple[str, ...],
    ) -> None:
        """Rules 3 and 5."""
        if message["status"] == 500 and await self._answered_instead(scope, data, send):
            return
        changes = data.changes()
        if changes is not None:
            now = self._clock()
            try:
                await self._services.run_async(sessions.save_data(session, *changes), now)
            except Unavailable as error:
                data.discarded = True
                request = self._carried(scope)
                await self._reply(unavailable(self._deployment, request, now, error), scope, send)
                return
        headers = message.get("headers", ())
        cookies += data.cookies
        if cookies:  # what carries a session's token is kept by no cache, whatever the app said
            headers = [item for item in headers if item[0] != b"cache-control"]
        message["headers"] = [*_protected(headers), *_set_cookies(cookies)]
        await send(message)

    async def _answered_instead(self, scope: Scope, data: AppData, send: Send) -> bool:
        """Rule 5. Whether it was answered instead of the app."""
        if data.failure is None:
            return False
        now = self._clock()
        reply = await self._services.run_async(self._tokens.instead(scope, now), now)
        if reply is None:
            return False
        data.discarded = True
        await self._reply(reply, scope, send)
        return True

    async def _escaped(self, error: KMSIError, scope: Scope, send: Send) -> None:
        """Rule 5, for an error that went through the app. Raises it again unless it was answered."""
        data: AppData = scope[TOKENS][1]
        if data.failure is not error:
            raise error
        if data.discarded:
            return  # a framework has made a 500 of it before, in whose place it was answered
        if hasattr(data, "started") or not await self._answered_instead(scope, data, send):
            raise error

    async def _require(
        self, scope: Scope, data: AppData, context: str
    ) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """For an app that asks for an authentication context itself: what to answer instead, if it is not reached."""
        now = self._clock()
        request = self._carried(scope)
        reply = await self._services.run_async(guard.require(self._deployment, request, context, now), now)
        return stepped_up(reply, self._pages, data) if reply is not None else None

    # Everything else ------------------------------------------------------------------------------------

    def _site(self, scope: Scope) -> Site:
        host = next((str(value, "latin-1") for name, value in scope["headers"] if name == b"host"), "")
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        return self._where.site(str(scheme), host, _port(scope), scope.get(_ROOT, ""))

    def _carried(self, scope: Scope) -> Request:
        return self._request(scope, self._site(scope), b"")

    def _request(self, scope: Scope, site: Site, body: bytes) -> Request:
        headers = joined_headers((n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"])
        peer = scope.get("client")
        root = scope.get(_ROOT, "")
        path = _below(scope["path"], root) if root else scope["path"]
        query = scope.get("query_string", b"").decode("latin-1")
        return Request(
            site=site,
            method=scope.get("method", "GET"),
            path=path,
            query=query,
            headers=headers,
            target=raw_target(site, path, query),
            client_address=self._clients.address(peer[0] if peer else "", headers.get("x-forwarded-for", "")),
            body=body,
            websocket=scope["type"] == "websocket",
        )

    async def _http(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        if self._idp is not None and dispatch.is_reserved(path, self._prefix + IDP):
            root = url_path(scope.get("root_path", "").rstrip("/")) + self._prefix + IDP
            mounted = {**scope, "root_path": root, "path": root + path[len(self._prefix + IDP) :]}
            mounted.pop("raw_path", None)
            return await self._idp(mounted, receive, send)
        try:
            site = self._site(scope)
        except Refused as error:
            return await self._reply(plain(error), scope, send)
        body = b""
        if scope["method"] == "POST" and dispatch.is_reserved(path, self._prefix):
            body = await _read(receive)
        request = self._request(scope, site, body)
        now = self._clock()
        stamp_key = first_key(request)
        stamp = self._settled.stamp(stamp_key) if stamp_key else None
        generation = self._watch.generation(now) if self._watch is not None else 0
        outcome = await self._services.run_async(dispatch.answer(self._deployment, request, now), now)
        if isinstance(outcome, Reply):
            return await self._reply(outcome, scope, send)
        session = outcome.session
        if session is None:
            return await self._forward_anonymous(scope, receive, send, outcome)
        inputs = self._watch.of_scope(scope, path, session, outcome.judged_risk) if self._watch is not None else None
        stamp = stamp if session.key == stamp_key else None
        settled = self._settled.settle(session, outcome.until, stamp, generation, inputs)
        sending = self._shown(scope, send, settled, outcome.set_cookies)
        try:
            await self._app(scope, receive, sending)
        except KMSIError as error:
            await self._escaped(error, scope, send)
        return None

    async def _forward_anonymous(self, scope: Scope, receive: Receive, send: Send, outcome: Forward) -> None:
        kept = AppData()
        self._show_nobody(scope, kept)
        scope["kmsi.require"] = partial(self._require, scope, kept)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept.started = True
                if outcome.refusal is not None and message["status"] == 403:
                    kept.discarded = True
                    await self._reply(outcome.refusal, scope, send)
                    return
                if message["status"] == 500 and await self._answered_instead(scope, kept, send):
                    return
                message["headers"] = [*_varied(message.get("headers", ())), *_set_cookies(kept.cookies)]
            if not kept.discarded:
                await send(message)

        try:
            await self._app(scope, receive, sending)
        except KMSIError as error:
            await self._escaped(error, scope, send)

    def _show_nobody(self, scope: Scope, data: AppData) -> None:
        scope["kmsi"] = None
        scope["user"] = NOBODY
        scope["auth"] = ANONYMOUS
        scope["session"] = NoSession()
        scope[TOKENS] = self._tokens, data

    async def _reply(self, reply: Reply, scope: Scope, send: Send) -> None:
        status, headers, body = rendered(reply, self._pages)
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    # WebSockets and the lifespan ------------------------------------------------------------------------

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = self._clock()
        scope[_ROOT] = scope.get("root_path", "")
        try:
            request = self._carried(scope)
            outcome = await self._services.run_async(dispatch.answer(self._deployment, request, now), now)
        except Refused as error:
            outcome = plain(error)
        if isinstance(outcome, Reply):
            return await self._deny(scope, receive, send, outcome)
        if outcome.session is None:
            self._show_nobody(scope, AppData())
            return await self._app(scope, receive, send)
        settled = self._settled.settle(outcome.session, 0, None)
        self._shown(scope, send, settled)
        data: AppData = scope["session"]
        try:
            await self._app(scope, receive, send)
        finally:
            if (changes := data.changes()) is not None:
                await self._save_at_end(outcome.session, *changes)
        return None

    async def _save_at_end(self, session: Session, written: dict[str, Any], removed: frozenset[str]) -> None:
        """A connection that is over can't be told that its data was not saved; its own error must not be lost."""
        try:
            with anyio.CancelScope(shield=True):
                await self._services.run_async(sessions.save_data(session, written, removed), self._clock())
        except (KMSIError, TypeError, ValueError):
            _log.exception("the session data of a WebSocket could not be saved")

    async def _deny(self, scope: Scope, receive: Receive, send: Send, reply: Reply) -> None:
        """Refuse a handshake: by a response where the server can, else by closing before it is accepted."""
        await receive()  # websocket.connect
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        status, headers, body = rendered(reply, self._pages)
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "websocket.http.response.start", "status": status, "headers": raw})
        await send({"type": "websocket.http.response.body", "body": body})

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            self._services.close()


def _below(path: str, root: str) -> str:
    """The path below the app's root path; servers differ in whether ``path`` includes it (ASGI HTTP 2.5)."""
    root = root.rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


def _port(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None


def _protected(headers: Any) -> list[tuple[bytes, bytes]]:
    """Rule 4. A new list: the app may use its own again."""
    html = said = False
    for name, value in headers:
        if name == b"content-type":
            html = value[:9].lower() == b"text/html"
        elif name == b"cache-control":
            said = True
    return [*headers, *(_VARY if said else _VARY_NO_STORE if html else _VARY_PRIVATE)]


def _varied(headers: Any) -> list[tuple[bytes, bytes]]:
    return [*headers, *_VARY]


def _set_cookies(cookies: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    return [(b"set-cookie", cookie.encode("latin-1")) for cookie in cookies]


async def _nothing() -> None:
    return None


async def _read(receive: Receive) -> bytes:
    """A request's body, up to a little more than what is accepted."""
    body = b""
    while len(body) <= dispatch.LONGEST_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body

"""The ASGI shell: between an ASGI server and an ASGI app.

1. A settled session is passed on at once (:mod:`.settled`). Everything else is for the flow.
2. What the app sees: ``scope["kmsi"]``, ``scope["user"]``, ``scope["auth"]``, ``scope["kmsi.session"]``; and
   ``scope["session"]``, the same as the last, unless a middleware around this one has put its own there, to save it.
3. The app's data is saved before its response starts; if that fails, the answer is 503 instead of the app's.
4. A protected reply says ``Vary: Cookie``, and unless the app said otherwise, HTML is ``no-store`` and the rest
   ``private``.
5. Where the app fails (500, or an exception) because there was no access token to give, or no session, the answer is
   what :mod:`.token_access` says.
6. Frameworks move ``root_path`` on as they go; the app's own is the one that the request came with.
7. A WebSocket, or a streaming response, ends soon after its session has (:mod:`.live_asgi`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio

from ..flows import dispatch, guard, sessions
from ..flows.deployment import Deployment
from ..flows.replies import unavailable
from ..rules.app_data import AppData, NoSession
from ..vocabulary.errors import KMSIError, Refused, Unavailable
from ..vocabulary.messages import Reply, Request, Site
from ..vocabulary.session import Session
from .asgi_wire import (
    ASGIApp,
    Message,
    Receive,
    Scope,
    Send,
    below,
    drop,
    names_of,
    port_of,
    protected,
    read_body,
    set_cookies,
    varied,
)
from .identity import ANONYMOUS, NOBODY, SIGNED_IN
from .live import LiveSessions
from .live_asgi import Connections, Stream, WebSocket, is_disconnect
from .pages import PageRenderer
from .services import Services
from .settled import Settled, SettledSessions
from .token_access import TOKENS, TokenAccess, note_failure
from .wire import (
    IDP,
    Clients,
    Where,
    first_key,
    joined_headers,
    plain,
    raw_target,
    rendered,
    stepped_up,
    too_late,
    turns_away,
    url_path,
)

_log = logging.getLogger("kmsi_middleware")

_ROOT = "kmsi.root"  # rule 6


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
        # With base_url the cookie's name is always the same; without, it has the server's port in it.
        self._needle = f"{self._where.cookie_name(None)}=".encode() if settings.base_url else b""
        self._settled = SettledSessions(services.store, clock, settings.user_claim, self._needle)
        self._tokens = TokenAccess(deployment, services, clock, self._carried, blocks=False)
        self._watch = services.watch
        self._connections = Connections(LiveSessions(deployment, services, self._settled, clock))
        self._prefix = deployment.prefix
        self._is_beside = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if root := scope.get("root_path"):
                scope[_ROOT] = root
                path = below(path, root)
            exchange = None
            if not path.startswith(self._prefix) and scope["method"] != "OPTIONS":  # a preflight is anonymous
                # From the end: of several cookies of a name the last one counts, and browsers send it late.
                for name, value in reversed(scope["headers"]):
                    if name == b"cookie":
                        needle = self._needle or self._needle_of(scope)
                        settled = self._settled.peek(value, needle)
                        if settled is None and self._settled.asks:
                            settled = self._settled.at_hand(value, needle)
                            if settled is not None:
                                settled = await self._settled.ask_async(settled)
                        if settled is not None:
                            if self._watch is None or self._vouches(settled, scope, path):
                                exchange = _exchange(self, scope, receive, send, settled)
                        elif needle not in value:
                            continue  # HTTP/2 may send each cookie in a header of its own
                        break
            exchange = exchange or await self._http(scope, receive, send, path)
            if exchange is not None:
                try:
                    await self._app(scope, exchange.receive, exchange.send)
                except KMSIError as error:
                    await self._escaped(error, scope, send)
                except Exception as error:
                    if not is_disconnect(error):
                        raise
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
        return f"{self._where.cookie_name(port_of(scope))}=".encode()

    async def _answered_instead(self, scope: Scope, data: AppData, send: Send) -> bool:
        """Rule 5. Whether it was answered instead of the app."""
        note_failure(data, sys.exception())  # which a framework is about to make a reply of
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
        note_failure(data, error)
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
        if self._watch is not None:
            self._watch.note(context, now)
        return stepped_up(reply, self._pages, data) if reply is not None else None

    # Everything else ------------------------------------------------------------------------------------

    def _site(self, scope: Scope) -> Site:
        host = next((str(value, "latin-1") for name, value in scope["headers"] if name == b"host"), "")
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        return self._where.site(str(scheme), host, port_of(scope), scope.get(_ROOT, ""))

    def _carried(self, scope: Scope) -> Request:
        return self._request(scope, self._site(scope), b"")

    def _request(self, scope: Scope, site: Site, body: bytes) -> Request:
        headers = joined_headers((n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"])
        peer = scope.get("client")
        root = scope.get(_ROOT, "")
        path = below(scope["path"], root) if root else scope["path"]
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

    async def _http(self, scope: Scope, receive: Receive, send: Send, path: str) -> _Exchange | None:
        """Ask the flow. ``None``: the request is answered; else the app has to answer it, with a session."""
        if self._idp is not None and dispatch.is_reserved(path, self._prefix + IDP):
            root = url_path(scope.get("root_path", "").rstrip("/")) + self._prefix + IDP
            mounted = {**scope, "root_path": root, "path": root + path[len(self._prefix + IDP) :]}
            mounted.pop("raw_path", None)
            await self._idp(mounted, receive, send)
            return None
        try:
            site = self._site(scope)
        except Refused as error:
            await self._reply(plain(error), scope, send)
            return None
        body = b""
        if scope["method"] == "POST" and dispatch.is_reserved(path, self._prefix):
            body = await read_body(receive)
        request = self._request(scope, site, body)
        now = self._clock()
        stamp_key = first_key(request)
        stamp = self._settled.note(stamp_key) if stamp_key else None
        generation = self._watch.generation(now) if self._watch is not None else 0
        outcome = await self._services.run_async(dispatch.answer(self._deployment, request, now), now)
        if isinstance(outcome, Reply):
            await self._reply(outcome, scope, send)
            return None
        session = outcome.session
        if session is None:
            await self._forward_anonymous(scope, receive, send, request, invites=outcome.invites)
            return None
        inputs = self._watch.of_scope(scope, path, session, outcome.judged_risk) if self._watch is not None else None
        stamp = stamp if session.key == stamp_key else None
        settled = self._settled.settle(session, outcome.until, stamp, generation, inputs)
        return _exchange(self, scope, receive, send, settled, outcome.set_cookies)

    async def _forward_anonymous(
        self, scope: Scope, receive: Receive, send: Send, request: Request, *, invites: bool
    ) -> None:
        kept = AppData()
        self._show_nobody(scope, kept)
        scope["kmsi.require"] = partial(self._require, scope, kept)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept.started = too_late
                if invites and turns_away(message["status"], names_of(message)):
                    now = self._clock()
                    reply = await self._services.run_async(guard.sign_in_first(self._deployment, request, now), now)
                    if reply is not None:
                        kept.discarded = True
                        await self._reply(reply, scope, send)
                        return
                if message["status"] == 500 and await self._answered_instead(scope, kept, send):
                    return
                message["headers"] = [*varied(message.get("headers", ())), *set_cookies(kept.cookies)]
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
        scope["kmsi.session"] = nothing = NoSession(data)
        if "session" in scope:
            self._beside(scope, nothing)
        else:
            scope["session"] = nothing
        scope[TOKENS] = self._tokens, data

    def _beside(self, scope: Scope, data: AppData | NoSession) -> None:
        """Rule 2, where there is a session in the scope already."""
        if isinstance(scope["session"], AppData | NoSession):  # of one of us, which knows its own
            scope["session"] = data
        elif not self._is_beside:
            self._is_beside = True
            _log.warning(
                "a middleware around this one has a session of its own: request.session is that one, and what is kept "
                "with the sign-in is request.scope['kmsi.session']"
            )

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
        _exchange(self, scope, receive, send, settled)  # shows the app its session
        data: AppData = scope["kmsi.session"]
        connection = WebSocket(receive, send)
        self._connections.add(connection, self._connections.sessions.follow(settled, lambda: request))
        try:
            await self._app(scope, connection.receive, connection.send)
        except Exception as error:
            if not is_disconnect(error, has_ended=connection.ending is not None):
                raise
        finally:
            if (changes := data.changes()) is not None:
                await self._save_at_end(outcome.session, *changes)
            await connection.closed()
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


class _Exchange:
    """One request with a session. Shows the app its session, and stands between the app and the server: its
    ``receive`` and ``send`` are the app's."""

    __slots__ = ("_cookies", "_data", "_has_begun", "_receive", "_scope", "_send", "_settled", "_shell", "_stream")
    _shell: ASGIShell
    _scope: Scope
    _receive: Receive
    _send: Send
    _settled: Settled
    _cookies: tuple[str, ...]
    _data: AppData
    _has_begun: bool
    _stream: Stream | None

    # Not coroutine functions: what they return is awaited all the same, and one frame is saved.

    def receive(self) -> Awaitable[Message]:
        if not self._has_begun:  # for the request's body, or its begin
            self._has_begun = True
            return self._receive()
        if self._stream is None:  # it may become one, while the app listens for the client to go away
            self._stream = Stream(self._receive, self._send)
        return self._stream.receive()

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self._data.started = too_late
            if self._data.touched or self._cookies:
                return self._save_and_send(message)
            message["headers"] = protected(message.get("headers", ()))
        elif message.get("more_body"):
            return self._followed().send(message)
        elif self._stream is not None:
            return self._stream.send(message)
        return self._send(message)

    def _followed(self) -> Stream:
        """Rule 7."""
        stream = self._stream
        if stream is None:
            self._stream = stream = Stream(self._receive, self._send)
        if stream.live is None:
            shell = self._shell
            # Not a method of ours, so that nothing holds the exchange when the app is done with it.
            request = partial(shell._carried, self._scope)
            shell._connections.add(stream, shell._connections.sessions.follow(self._settled, request))
        return stream

    async def _save_and_send(self, message: Message) -> None:
        """Rules 3 and 5."""
        shell, scope, data, send = self._shell, self._scope, self._data, self._send
        if message["status"] == 500 and await shell._answered_instead(scope, data, send):
            self._drop()
            return
        changes = data.changes()
        if changes is not None:
            now = shell._clock()
            try:
                await shell._services.run_async(sessions.save_data(self._settled.session, *changes), now)
            except Unavailable as error:
                self._drop()
                request = shell._carried(scope)
                await shell._reply(unavailable(shell._deployment, request, now, error), scope, send)
                return
        headers = message.get("headers", ())
        cookies = (*self._cookies, *data.cookies)
        if cookies:  # what carries a session's token is kept by no cache, whatever the app said
            headers = [item for item in headers if item[0] != b"cache-control"]
        message["headers"] = [*protected(headers), *set_cookies(cookies)]
        await send(message)

    def _drop(self) -> None:
        """A reply of ours takes the place of the app's: what it still sends goes nowhere."""
        self._send, self._stream, self._data.discarded = drop, None, True


def _exchange(
    shell: ASGIShell, scope: Scope, receive: Receive, send: Send, settled: Settled, cookies: tuple[str, ...] = ()
) -> _Exchange:
    """Begin one. Not its ``__init__``: Python calls that by a way that costs more than all of this."""
    it = _Exchange()
    it._shell = shell
    it._scope = scope
    it._receive = receive
    it._send = send
    it._settled = settled
    it._cookies = cookies
    it._has_begun = False
    it._stream = None
    scope["kmsi"] = settled.session
    scope["user"] = settled.user
    scope["auth"] = SIGNED_IN
    scope["kmsi.session"] = it._data = data = settled.new_data()
    if "session" in scope:
        shell._beside(scope, data)
    else:
        scope["session"] = data
    scope[TOKENS] = shell._tokens, data
    if shell._watch is not None:
        scope["kmsi.require"] = partial(shell._require, scope, data)
    return it

"""The WSGI shell: between a WSGI server and a WSGI app (PEP 3333).

1. A settled session is passed on at once (:mod:`.settled`). Everything else is for the flow.
2. What the app sees: ``environ["kmsi"]``, ``environ["kmsi.session"]``, and ``REMOTE_USER``, which is removed when
   nobody is signed in.
3. The app's data is saved before its response starts; if that fails, the answer is 503 instead of the app's.
4. A protected reply says ``Vary: Cookie``, and unless the app said otherwise, HTML is ``no-store`` and the rest
   ``private``.
5. Where the app fails (500, or an exception) because there was no access token to give, or no session, the answer is
   what :mod:`.token_access` says.
6. A streaming response breaks off with the chunk after the end of its session (:mod:`.live`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..flows import dispatch, guard, sessions
from ..flows.deployment import Deployment
from ..flows.replies import unavailable
from ..rules.app_data import AppData, NoSession
from ..vocabulary.errors import KMSIError, Refused, Unavailable
from ..vocabulary.messages import Reply, Request, Site
from .live import Chunks, LiveSessions, may_be_long
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

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

Environ = dict[str, Any]
_Headers = list[tuple[str, str]]
_Decide = Callable[[str, _Headers], "_Headers | Reply"]

_VARY = ("Vary", "Cookie")
_NO_STORE = ("Cache-Control", "no-store")
_PRIVATE = ("Cache-Control", "private")
_PATH = ("SCRIPT_NAME", "PATH_INFO")
_NOWHERE: dict[str, str] = {}


class WSGIShell:
    """One app's middleware under WSGI."""

    def __init__(
        self,
        app: WSGIApplication,
        deployment: Deployment,
        services: Services,
        pages: PageRenderer,
        clock: Callable[[], float],
        idp: WSGIApplication | None = None,
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
        self._tokens = TokenAccess(deployment, services, clock, self._carried, blocks=True)
        self._watch = services.watch
        self._live = LiveSessions(deployment, services, self._settled, clock)
        self._judges_requests = self._watch is not None or settings.revalidate_every > 0
        self._prefix = deployment.prefix

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # A preflight is anonymous, whatever comes with it.
        if not environ.get("PATH_INFO", "").startswith(self._prefix) and environ["REQUEST_METHOD"] != "OPTIONS":
            cookies = environ.get("HTTP_COOKIE")
            if cookies is not None:
                needle = self._needle or self._needle_of(environ)
                settled = self._settled.peek(cookies, needle)
                if settled is None and self._settled.asks:
                    settled = self._settled.at_hand(cookies, needle)
                    if settled is not None:
                        settled = self._settled.ask(settled)
                if settled is not None and (self._watch is None or self._vouches(settled, environ)):
                    return self._forward(environ, start_response, settled)
        return self._answer(environ, start_response)

    # The fast path --------------------------------------------------------------------------------------

    def _vouches(self, settled: Settled, environ: Environ) -> bool:
        """Whether the policies in force have let this very kind of request pass."""
        assert self._watch is not None
        now = self._clock()
        if self._watch.generation(now) != settled.generation:
            return False
        inputs = self._watch.of_environ(environ, _text(environ.get("PATH_INFO", "")) or "/", settled.session)
        return now < settled.granted.get(inputs, 0)

    def _needle_of(self, environ: Environ) -> bytes:
        return f"{self._where.cookie_name(_port(environ))}=".encode()

    def _forward(
        self, environ: Environ, start_response: StartResponse, settled: Settled, cookies: tuple[str, ...] = ()
    ) -> Iterable[bytes]:
        """Let the app answer, with a session."""
        environ["kmsi"] = settled.session
        environ["kmsi.session"] = data = settled.new_data()
        environ["REMOTE_USER"] = settled.user.identity_
        environ[TOKENS] = self._tokens, data
        if self._watch is not None:
            environ["kmsi.require"] = partial(self._require, environ, data)
        # Apps move the path into SCRIPT_NAME as they go.
        where = {name: environ.get(name, "") for name in _PATH} if self._judges_requests else _NOWHERE

        def decide(status: str, headers: _Headers) -> _Headers | Reply:
            if data.touched:
                reply = self._instead(environ) if status.startswith("500") else None
                if reply is None and (changes := data.changes()) is not None:
                    reply = self._save(environ, settled, changes)
                if reply is not None:
                    return reply
            ours = (*cookies, *data.cookies)
            if ours:  # what carries a session's token is kept by no cache, whatever the app said
                headers = [item for item in headers if item[0].lower() != "cache-control"]
            return [*_protected(headers), *(("Set-Cookie", cookie) for cookie in ours)]

        body = self._serve(environ, start_response, decide)
        if type(body) is list:
            return body
        if type(body) is not _Closing:  # which may start the response only now
            data.started = too_late
        return self._followed(body, environ, settled, where)

    def _followed(
        self, body: Iterable[bytes], environ: Environ, settled: Settled, where: dict[str, str]
    ) -> Iterable[bytes]:
        """Rule 6."""
        if not may_be_long(body, environ.get("wsgi.file_wrapper")):
            return body
        request = partial(self._begun, environ, where)
        return Chunks(body, partial(self._live.follow, settled, request, self._clock()))

    def _begun(self, environ: Environ, where: dict[str, str]) -> Request:
        """The request as it was when it came."""
        return self._carried({**environ, **where})

    def _require(
        self, environ: Environ, data: AppData, context: str
    ) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """For an app that asks for an authentication context itself: what to answer instead, if it is not reached."""
        now = self._clock()
        request = self._carried(environ)
        reply = self._services.run(guard.require(self._deployment, request, context, now), now)
        if self._watch is not None:
            self._watch.note(context, now)
        return stepped_up(reply, self._pages, data) if reply is not None else None

    def _instead(self, environ: Environ, error: Exception | None = None) -> Reply | None:
        """Rule 5: what to answer instead of an app that failed, by this very ``error`` if there is one."""
        data: AppData = environ[TOKENS][1]
        note_failure(data, error)
        if data.failure is None or error not in (None, data.failure):
            return None
        now = self._clock()
        return self._services.run(self._tokens.instead(environ, now), now)

    def _serve(self, environ: Environ, start_response: StartResponse, decide: _Decide) -> Iterable[bytes]:
        """Run the app; ``decide`` sees its status and headers first, and may put a reply of ours in its place."""
        started = False
        instead: Reply | None = None

        def starting(status: str, headers: _Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            nonlocal started, instead
            started = True
            decided = decide(status, headers)
            if isinstance(decided, Reply):
                instead = decided
                return _discard
            if exc_info is not None:
                return start_response(status, decided, exc_info)
            return start_response(status, decided)

        try:
            body = self._app(environ, starting)
        except KMSIError as error:
            reply = None if started else self._instead(environ, error)
            if reply is None:
                raise
            return self._reply(reply, environ, start_response)
        if started and instead is None:
            return body

        def late() -> Iterator[bytes]:
            """An app may start its response only when its body is asked for."""
            nonlocal instead
            try:
                for chunk in body if instead is None else ():
                    if instead is not None:
                        break
                    yield chunk
            except KMSIError as error:
                instead = None if started else self._instead(environ, error)
                if instead is None:
                    raise
            if instead is not None:
                yield from self._reply(instead, environ, start_response)

        return _Closing(late(), body)

    def _save(self, environ: Environ, settled: Settled, changes: tuple[dict[str, Any], frozenset[str]]) -> Reply | None:
        """Rule 3. The reply to send instead, if it failed."""
        now = self._clock()
        try:
            self._services.run(sessions.save_data(settled.session, *changes), now)
        except Unavailable as error:
            request = self._carried(environ)
            return unavailable(self._deployment, request, now, error)
        return None

    # Everything else ------------------------------------------------------------------------------------

    def _site(self, environ: Environ) -> Site:
        host = environ.get("HTTP_HOST", "")
        root = _text(environ.get("SCRIPT_NAME", ""))
        return self._where.site(environ["wsgi.url_scheme"], host, _port(environ), root)

    def _carried(self, environ: Environ) -> Request:
        return self._request(environ, self._site(environ), b"")

    def _request(self, environ: Environ, site: Site, body: bytes) -> Request:
        pairs = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
        pairs += [("content-type", environ["CONTENT_TYPE"])] if environ.get("CONTENT_TYPE") else []
        headers = joined_headers(pairs)
        path = _text(environ.get("PATH_INFO", "")) or "/"
        query = environ.get("QUERY_STRING", "")
        return Request(
            site=site,
            method=environ["REQUEST_METHOD"],
            path=path,
            query=query,
            headers=headers,
            target=raw_target(site, path, query),
            client_address=self._clients.address(environ.get("REMOTE_ADDR", ""), headers.get("x-forwarded-for", "")),
            body=body,
        )

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = _text(environ.get("PATH_INFO", "")) or "/"
        if self._idp is not None and dispatch.is_reserved(path, self._prefix + IDP):
            root = url_path(_text(environ.get("SCRIPT_NAME", ""))) + self._prefix + IDP
            mounted = {**environ, "SCRIPT_NAME": root, "PATH_INFO": path[len(self._prefix + IDP) :]}
            return self._idp(mounted, start_response)
        try:
            site = self._site(environ)
        except Refused as error:
            return self._reply(plain(error), environ, start_response)
        body = b""
        if environ["REQUEST_METHOD"] == "POST" and dispatch.is_reserved(path, self._prefix):
            body = _read(environ)
        request = self._request(environ, site, body)
        now = self._clock()
        key = first_key(request)
        stamp = self._settled.note(key) if key else None
        generation = self._watch.generation(now) if self._watch is not None else 0
        outcome = self._services.run(dispatch.answer(self._deployment, request, now), now)
        if isinstance(outcome, Reply):
            return self._reply(outcome, environ, start_response)
        session = outcome.session
        if session is None:
            return self._forward_anonymous(environ, start_response, request, invites=outcome.invites)
        inputs = (
            self._watch.of_environ(environ, path, session, outcome.judged_risk) if self._watch is not None else None
        )
        stamp = stamp if session.key == key else None
        settled = self._settled.settle(session, outcome.until, stamp, generation, inputs)
        return self._forward(environ, start_response, settled, outcome.set_cookies)

    def _forward_anonymous(
        self, environ: Environ, start_response: StartResponse, request: Request, *, invites: bool
    ) -> Iterable[bytes]:
        environ["kmsi"] = None
        kept = AppData()
        environ["kmsi.session"] = NoSession(kept)
        environ.pop("REMOTE_USER", None)
        environ[TOKENS] = self._tokens, kept
        environ["kmsi.require"] = partial(self._require, environ, kept)

        def decide(status: str, headers: _Headers) -> _Headers | Reply:
            if invites and turns_away(int(status[:3]), (name for name, _ in headers)):
                now = self._clock()
                reply = self._services.run(guard.sign_in_first(self._deployment, request, now), now)
                if reply is not None:
                    return reply
            if status.startswith("500") and (reply := self._instead(environ)) is not None:
                return reply
            return [*headers, _VARY, *(("Set-Cookie", cookie) for cookie in kept.cookies)]

        return self._serve(environ, start_response, decide)

    def _reply(self, reply: Reply, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        status, headers, body = rendered(reply, self._pages)
        start_response(f"{status} {HTTPStatus(status).phrase}", [(name.title(), value) for name, value in headers])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


class _Closing:
    """Chunks made from an app's body; closing them closes it, whether or not one was ever asked for."""

    def __init__(self, chunks: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()


def _protected(headers: _Headers) -> _Headers:
    """Rule 4. A new list: the app may use its own again."""
    html = said = False
    for name, value in headers:
        lower = name.lower()
        if lower == "content-type":
            html = value[:9].lower() == "text/html"
        elif lower == "cache-control":
            said = True
    if said:
        return [*headers, _VARY]
    return [*headers, _VARY, _NO_STORE if html else _PRIVATE]


def _discard(_data: bytes) -> None:
    """What an app may still write (PEP 3333, "The write() Callable") when its response is not sent."""


def _port(environ: Environ) -> int | None:
    port = environ.get("SERVER_PORT", "")
    return int(port) if str(port).isdigit() else None


def _text(value: str) -> str:
    # WSGI's strings are bytes in disguise (PEP 3333, "Unicode Issues").
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


def _read(environ: Environ) -> bytes:
    """A request's body, up to a little more than what is accepted."""
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if not length.isdigit():
        return b""
    body: bytes = environ["wsgi.input"].read(min(int(length), dispatch.LONGEST_BODY + 1))
    return body

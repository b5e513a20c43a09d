"""A clock that is set by hand, a world of servers, and a browser that behaves like one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import anyio.to_thread
import httpx
from tests.shells.shell_app import SmallApp
from tests.shells.shell_servers import Answer, Headers, Server

from kmsi_middleware.asgi import KMSIMiddleware as ASGIMiddleware
from kmsi_middleware.assembly import assemble
from kmsi_middleware.edges.provider import ProviderClient
from kmsi_middleware.idp import App, EmbeddedIdP, default_config
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware

HOME = "http://localhost:8000"
IDP = "http://127.0.0.1:8400"  # another site than the apps', and its cookies are third-party to them
SECRET = "0123456789abcdef0123456789abcdef"
JWT = re.compile(rb"eyJ[\w-]+\.eyJ")  # as every token in the clear begins, and nothing sealed does
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass
class Clock:
    """Stands still until it is told to move."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class World:
    """Everything that a browser can reach, by origin. ``shell`` is one of ``SHELLS``, ``store`` memory, sqlite or
    redis (then at the URL ``redis``)."""

    def __init__(self, shell: str, store: str, folder: Path, redis: str = "") -> None:
        self.shell, self.store, self.folder, self.redis = shell, store, folder, redis
        self.clock = Clock()
        self.at: dict[str, Server] = {}
        self._provider: EmbeddedIdP | None = None
        self._last: Any = None
        self._closing: list[Callable[[], None]] = []

    def assembled(self, *args: Any, **keywords: Any) -> Any:
        """Stands in for ``assemble``: the provider may be one in this process, and all is closed at the end."""
        parts = assemble(*args, **keywords)
        if (idp := self._provider) is not None and parts.idp is None:
            client = ProviderClient(timeout=5, async_transport=idp.async_transport, sync_transport=idp.sync_transport)
            parts = replace(parts, services=replace(parts.services, provider=client))
        self._closing.append(parts.services.close)
        if parts.idp is not None:
            self._closing.append(parts.idp.close)
        self._last = parts
        return parts

    def middleware(self, app: Any, **settings: Any) -> Any:
        """The one line, around ``app``."""
        face = WSGIMiddleware if self.shell == "wsgi" else ASGIMiddleware
        settings.setdefault("issuer", "embedded")
        settings.setdefault("store", self.store_of("main"))
        return face(app, clock=self.clock, **settings)

    def store_of(self, name: str) -> str:
        if self.store == "redis":
            return f"{self.redis}{name}:"
        return "memory:" if self.store == "memory" else f"sqlite:{self.folder / name / 'sessions.sqlite3'}"

    def serve(self, app: Any, origin: str = HOME, **server: Any) -> Server:
        """Serve an app that has the middleware in it already."""
        self.at[origin] = made = Server(self.shell, app, parts=self._last, **server)
        return made

    def app(self, origin: str = HOME, server: dict[str, Any] | None = None, **settings: Any) -> Server:
        """The small app with the middleware, served at ``origin``. A second one there takes the first's place."""
        small = SmallApp()
        inner = small.validated_wsgi() if self.shell == "wsgi" else small.asgi
        return self.serve(self.middleware(inner, **settings), origin, small=small, **(server or {}))

    def provider(self, *origins: str, back_channel: bool = False) -> None:
        """A provider of its own at ``IDP``, which knows the apps at ``origins`` by the client id of that name."""
        config = default_config()
        for origin in origins:
            config = config.with_app(
                App(
                    client_id=origin,
                    name=origin,
                    redirect_uris=(f"{origin}/.auth/callback",),
                    post_logout_redirect_uris=(f"{origin}/.auth/logged-out",),
                    frontchannel_logout_uri=f"{origin}/.auth/frontchannel-logout",
                    backchannel_logout_uri=f"{origin}/.auth/backchannel-logout" if back_channel else None,
                )
            )
        self._provider = idp = EmbeddedIdP(
            config, folder=self.folder / "idp", issuer=IDP, clock=self.clock, backchannel=BetweenServers(self)
        )
        self._closing.append(idp.close)
        self.at[IDP] = Server(self.shell, idp.wsgi if self.shell == "wsgi" else idp)

    def client(self, origin: str = HOME, server: dict[str, Any] | None = None, **settings: Any) -> Server:
        """An app at that provider."""
        fixed = {"issuer": IDP, "client_id": origin, "secret_keys": [SECRET], "base_url": origin}
        return self.app(origin, server, **{**fixed, **settings})

    def browser(self, **more: Any) -> Browser:
        return Browser(self, **more)

    def settle(self) -> None:
        """Wait for what a provider under WSGI still does after its answer: it has a thread for that."""
        for thread in threading.enumerate():
            if thread.name == "kmsi-idp":
                thread.join(10)

    def close(self) -> None:
        for close in self._closing:
            close()


class BetweenServers(httpx.AsyncBaseTransport):
    """How one server of the world calls another, with no browser in between."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url, body = str(request.url), await request.aread()
        said = [(name, value) for name, value in request.headers.items() if name != "content-length"]
        server = self._world.at[origin_of(url)]
        # On a thread: that server has an event loop of its own.
        answer = await anyio.to_thread.run_sync(server, request.method, url, said, body)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


def _nothing(*_: Any) -> None:
    pass


@contextmanager
def overheard(
    store: Any, name: str, *, before: Callable[..., object] = _nothing, after: Callable[..., object] = _nothing
) -> Iterator[None]:
    """While it lasts, these are called with what a store's method is, in both of its faces. What ``before`` raises,
    the method raises."""
    method, asynchronous = getattr(store, name), store.asynchronous

    def heard(*args: Any) -> Any:
        before(*args)
        answer = method(*args)
        after(*args)
        return answer

    setattr(store, name, heard)
    if asynchronous is not None:
        awaited = getattr(asynchronous, name)

        async def heard_async(*args: Any) -> Any:
            before(*args)
            answer = await awaited(*args)
            after(*args)
            return answer

        setattr(asynchronous, name, heard_async)
    yield
    delattr(store, name)
    if asynchronous is not None:
        delattr(asynchronous, name)


@dataclass
class Cookie:
    """A cookie in the jar. ``until`` is None for one that goes when the browser closes."""

    name: str
    value: str
    host: str
    path: str
    secure: bool
    http_only: bool
    same_site: str
    until: float | None

    def fits(self, url: str, now: float) -> bool:
        parts = urlsplit(url)
        path = parts.path or "/"
        below = path == self.path or path.startswith(self.path.rstrip("/") + "/")
        alive = self.until is None or now < self.until
        return parts.hostname == self.host and below and alive and (not self.secure or parts.scheme == "https")


class Page(HTMLParser):
    """What a person can do on a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.buttons: dict[str, list[str]] = {}
        self.frames: list[str] = []
        self.links: list[str] = []
        self.refresh = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = at["action"]
        elif tag == "input" and at.get("type") == "hidden":
            self.fields[at["name"]] = at.get("value", "")
        elif tag == "button" and at.get("name"):
            self.buttons.setdefault(at["name"], []).append(at["value"])
        elif tag == "iframe":
            self.frames.append(at["src"])
        elif tag == "a":
            self.links.append(at["href"])
        elif tag == "meta" and at.get("http-equiv") == "refresh":
            self.refresh = at["content"].partition("url=")[2]


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _site_of(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname


def _relation(source: str | None, url: str) -> str:
    if source is None:
        return "none"
    if origin_of(source) == origin_of(url):
        return "same-origin"
    return "same-site" if _site_of(source) == _site_of(url) else "cross-site"


@dataclass
class Browser:
    """``keeps(host)`` says whose cookies it keeps. Third-party cookies are blocked."""

    world: World
    keeps: Callable[[str], bool] = lambda _host: True
    address: str = "127.0.0.1"
    user_agent: str = "Test-Browser/1.0"
    jar: dict[tuple[str, str, str], Cookie] = field(default_factory=dict)
    split_cookies: bool = False
    """One Cookie header for each cookie, as HTTP/2 allows."""

    # What a person does ---------------------------------------------------------------------------------------

    def visit(self, url: str, *, source: str | None = None, headers: Headers = ()) -> Answer:
        """Type an address, or with ``source`` follow a link on that page."""
        return self._navigate("GET", _absolute(url), source, headers=headers)

    def click(self, url: str, on: Answer) -> Answer:
        """Follow a link on a page."""
        return self.visit(urljoin(on.url, url), source=on.url)

    def submit(self, page: Answer, **answers: str) -> Answer:
        """Send a page's form. Its Content-Security-Policy is kept, for redirects too."""
        form = Page(page.text)
        assert form.action, page.text
        for name, value in answers.items():
            assert name not in form.buttons or value in form.buttons[name], f"there is no button {name}={value}"
        allowed = _sources(page, "form-action")
        return self.post(urljoin(page.url, form.action), {**form.fields, **answers}, source=page.url, allowed=allowed)

    def post(
        self, url: str, fields: dict[str, str], *, source: str | None = HOME, allowed: list[str] | None = None
    ) -> Answer:
        """Send a form that lies at ``source``."""
        body = urlencode(fields).encode()
        return self._navigate("POST", _absolute(url), source, body=body, allowed=allowed)

    def sign_in(self, user: str = "mia", answer: str | None = "yes", at: str = "/", **more: str) -> Answer:
        """From a page that needs a session to that page; ``answer=None`` where "Stay signed in?" won't come."""
        page = self.visit(at)
        if "pick" in Page(page.text).buttons:
            page = self.submit(page, pick=user)
        if answer is None:
            assert "answer" not in Page(page.text).buttons, "the interrupt was shown"
            return page
        return self.submit(page, answer=answer, **more)

    def sign_out(self, origin: str = HOME) -> Answer:
        """By the app's own button; then what the provider's page does by itself."""
        return self.finish(self.post(f"{origin}/.auth/logout", {}, source=f"{origin}/"))

    def finish(self, page: Answer) -> Answer:
        """Load a page's frames, and go where it goes by itself."""
        found = Page(page.text)
        for url in found.frames:
            self.frame(url, page.url)
        return self.visit(urljoin(page.url, found.refresh), source=page.url) if found.refresh else page

    def close(self, *, restores: bool = False) -> None:
        """Close and open again. One that ``restores`` its tabs keeps all cookies (most do, if told to)."""
        if not restores:
            self.jar = {key: cookie for key, cookie in self.jar.items() if cookie.until is not None}

    # What pages do --------------------------------------------------------------------------------------------

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        source: str = HOME,
        accept: str = "*/*",
        headers: Headers = (),
        body: bytes = b"",
    ) -> Answer:
        """A script's ``fetch``; redirects are not followed."""
        url = _absolute(url)
        said = [("accept", accept), *_metadata("cors", "empty", _relation(source, url)), *headers]
        if method not in ("GET", "HEAD") or _relation(source, url) != "same-origin":
            said.append(("origin", origin_of(source)))
        said.append(("referer", source if "/" in source[8:] else source + "/"))
        return self._send(method, url, said, body, with_cookies=_relation(source, url) != "cross-site")

    def frame(self, url: str, source: str) -> Answer:
        """Load a frame on the page ``source``, if its policy lets it be framed there."""
        said = [("accept", HTML), *_metadata("navigate", "iframe", _relation(source, url))]
        answer = self._send("GET", url, said, with_cookies=_site_of(source) == _site_of(url))
        ancestors = _sources(answer, "frame-ancestors")
        assert ancestors is None or _matches(source, ancestors, url), f"{source} must not frame {url}"
        return answer

    def prefetch(self, url: str, purpose: str = "prefetch") -> Answer:
        said = [("accept", HTML), ("sec-purpose", purpose), *_metadata("navigate", "document", "same-origin")]
        return self._send("GET", _absolute(url), said)

    def request(self, method: str, url: str, headers: Headers = ()) -> Answer:
        """Exactly these headers and the cookies; no redirects."""
        return self._send(method, _absolute(url), list(headers))

    def websocket(self, url: str, source: str = HOME, *, denial: bool = True) -> list[dict[str, Any]]:
        """The messages that the handshake brings."""
        url = _absolute(url)
        said = [("origin", origin_of(source)), *_metadata("websocket", "empty", _relation(source, url))]
        return self.world.at[origin_of(url)].websocket(url, [*said, *self._cookies(url)], denial=denial)

    # How ------------------------------------------------------------------------------------------------------

    def _navigate(
        self,
        method: str,
        url: str,
        source: str | None,
        *,
        body: bytes = b"",
        headers: Headers = (),
        allowed: list[str] | None = None,
    ) -> Answer:
        trail: list[Answer] = []
        word = "none"
        origin = origin_of(source) if source else "null"
        while True:
            assert allowed is None or _matches(url, allowed, source or ""), f"form-action {allowed} blocks {url}"
            word = max(word, _relation(source, url), key=["none", "same-origin", "same-site", "cross-site"].index)
            said = [("accept", HTML), *_metadata("navigate", "document", word), ("sec-fetch-user", "?1"), *headers]
            if method == "POST":
                said += [("origin", origin), ("content-type", "application/x-www-form-urlencoded")]
            lax = method == "GET" or word != "cross-site"
            answer = self._send(method, url, said, body, with_cookies=lax)
            answer.trail = [*trail]
            location = answer.header("location")
            if answer.status not in (301, 302, 303) or not location:
                assert answer.status not in (307, 308)
                return answer
            trail.append(answer)
            assert len(trail) < 20, f"a loop: {[hop.url for hop in trail]}"
            method, body, url = "GET", b"", urljoin(url, location)
            if source is not None and origin != origin_of(url):
                origin = "null"

    def _send(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes = b"", *, with_cookies: bool = True
    ) -> Answer:
        url = url.partition("#")[0]
        said = [*headers, ("user-agent", self.user_agent), *(self._cookies(url) if with_cookies else ())]
        answer = self.world.at[origin_of(url)](method, url, said, body, peer=self.address)
        if with_cookies:
            for line in answer.cookies:
                self._store(line, url)
        return answer

    def _cookies(self, url: str) -> list[tuple[str, str]]:
        fits = [cookie for cookie in self.jar.values() if cookie.fits(url, self.world.clock.now)]
        fits.sort(key=lambda cookie: -len(cookie.path))
        pairs = [f"{cookie.name}={cookie.value}" for cookie in fits]
        if self.split_cookies:
            return [("cookie", pair) for pair in pairs]
        return [("cookie", "; ".join(pairs))] if pairs else []

    def _store(self, line: str, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        pair, *rest = line.split(";")
        name, _, value = pair.strip().partition("=")
        said = {key.strip().lower(): text.strip() for key, _, text in (item.partition("=") for item in rest)}
        if not self.keeps(host) or len(line) > 4_096:
            return
        secure = "secure" in said
        path = said.get("path", "/")
        if secure and parts.scheme != "https":
            return
        if name.startswith("__Secure-") and not secure:
            return
        if name.startswith("__Host-") and (not secure or path != "/" or "domain" in said):
            return
        now, until = self.world.clock.now, None
        if "max-age" in said:
            until = now + min(int(said["max-age"]), 400 * DAY)
        elif "expires" in said:
            until = parsedate_to_datetime(said["expires"]).timestamp()
        key = (host, path, name)
        if until is not None and until <= now:
            self.jar.pop(key, None)
            return
        self.jar[key] = Cookie(
            name, value, host, path, secure, "httponly" in said, said.get("samesite", "").lower(), until
        )

    # Looking into the jar -------------------------------------------------------------------------------------

    def plant(self, name: str, value: str, host: str = "localhost", path: str = "/") -> None:
        """A cookie from elsewhere."""
        self.jar[host, path, name] = Cookie(name, value, host, path, False, False, "lax", None)

    def session_cookie(self, name: str = "kmsi-8000", host: str = "localhost") -> Cookie | None:
        return self.jar.get((host, "/", name))

    def names(self, host: str = "localhost", but: str = "kmsi-idp") -> list[str]:
        """Names of the cookies of a host, without the provider's."""
        return [cookie.name for cookie in self.jar.values() if cookie.host == host and but not in cookie.name]

    def who(self, origin: str = HOME) -> str | None:
        """Who is signed in, as a script on the page finds out; ``None`` for nobody. Extends nothing."""
        answer = self.fetch(f"{origin}/.auth/me", source=origin)
        assert answer.status in (200, 401), answer.text
        return answer.json()["user"]["name"] if answer.status == 200 else None


def _absolute(url: str) -> str:
    return HOME + url if url.startswith("/") else url


def _metadata(mode: str, dest: str, site: str) -> list[tuple[str, str]]:
    return [("sec-fetch-mode", mode), ("sec-fetch-dest", dest), ("sec-fetch-site", site)]


def _sources(answer: Answer, directive: str) -> list[str] | None:
    for part in answer.header("content-security-policy").split(";"):
        name, *sources = part.split() or [""]
        if name == directive:
            return sources
    return None


def _matches(url: str, sources: list[str], own: str) -> bool:
    return origin_of(url) in sources or ("'self'" in sources and origin_of(url) == origin_of(own))


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))

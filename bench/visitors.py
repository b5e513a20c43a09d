"""People who sign in and out, in process: their browsers, an identity provider's stand-in, and the middleware between.

A visit is a generator that yields requests and is sent their answers, as the project's own flows are, so that the
same visit is played to the ASGI and to the WSGI shell.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
from bench.support import HEADERS, ISSUER, SETTINGS, scope_with, tiny
from joserfc import jwt
from joserfc.jwk import RSAKey

from kmsi_middleware.assembly import assemble
from kmsi_middleware.edges.asgi import ASGIShell
from kmsi_middleware.edges.play import play, play_async
from kmsi_middleware.edges.provider import ProviderClient
from kmsi_middleware.edges.wsgi import WSGIShell

HOME = SETTINGS["base_url"]
ADDRESS = "198.51.100.7"


@dataclass
class Clock:
    """Stands still until it is told to move."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


# The identity provider ----------------------------------------------------------------------------------------


class StandIn:
    """An identity provider as far as the middleware talks to it: metadata, keys, and a token for each code.

    People are signed in without being asked. The ID token is signed when the code is made, and not when it is
    redeemed, so that a redemption costs next to nothing.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": "k"}, private=True)
        self._waiting: dict[str, bytes] = {}
        self._documents = {
            f"{ISSUER}/.well-known/openid-configuration": {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys",
                "end_session_endpoint": f"{ISSUER}/logout",
            },
            f"{ISSUER}/keys": {"keys": [self._key.as_dict(private=False)]},
        }

    def authorize(self, url: str, subject: str) -> tuple[str, str]:
        """Where the browser is sent that came to ``url``, and the ``sid`` that the app will be told."""
        asked = dict(parse_qsl(urlsplit(url).query))
        code, sid, now = secrets.token_urlsafe(32), secrets.token_urlsafe(24), int(self._clock())
        claims = {
            "iss": ISSUER,
            "aud": asked["client_id"],
            "sub": subject,
            "exp": now + 3_600,
            "iat": now,
            "auth_time": now,
            "nonce": asked["nonce"],
            "sid": sid,
            "name": "Jane Doe",
            "preferred_username": f"{subject}@example.com",
        }
        token = jwt.encode({"alg": "RS256", "kid": "k"}, claims, self._key)
        self._waiting[code] = json.dumps(
            {"token_type": "Bearer", "id_token": token, "access_token": secrets.token_urlsafe(800), "expires_in": 3_600}
        ).encode()
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}", sid

    def transport(self) -> httpx.MockTransport:
        """For httpx's clients, sync and async."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        document = self._documents.get(str(request.url))
        if document is not None:
            return httpx.Response(200, json=document)
        (code,) = parse_qs(request.content.decode())["code"]
        answer = self._waiting.pop(code, None)
        return httpx.Response(200, content=answer) if answer else httpx.Response(400, json={"error": "invalid_grant"})


# The middleware -----------------------------------------------------------------------------------------------


def middleware(idp: StandIn, clock: Callable[[], float], *, asynchronous: bool = True, **settings: Any) -> Any:
    """The shell around the tiny app, as ``KMSIMiddleware`` makes it, but with the stand-in for the provider."""
    parts = assemble({**SETTINGS, **settings}, clock=clock, asynchronous=asynchronous)
    provider = ProviderClient(timeout=5, async_transport=idp.transport, sync_transport=idp.transport)
    services = replace(parts.services, provider=provider)
    if asynchronous:
        return ASGIShell(_asgi, parts.deployment, services, parts.pages, clock)
    return WSGIShell(_wsgi, parts.deployment, services, parts.pages, clock)


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    """The tiny app; below ``/note`` it writes its data."""
    if scope["path"].startswith("/note"):
        scope["session"]["note"] = scope["path"]
    await tiny(scope, receive, send)


def _wsgi(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"].startswith("/note"):
        environ["kmsi.session"]["note"] = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", "2")])
    return [b"ok"]


# Browsers -----------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """A request."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    address: str


@dataclass
class Answered:
    """Its answer, with header names in lower case."""

    status: int
    headers: list[tuple[str, str]]

    @property
    def location(self) -> str:
        return next((value for name, value in self.headers if name == "location"), "")


Visit = Generator[Asked, Answered, Any]


@dataclass
class Visitor:
    """A person with a browser of their own."""

    subject: str = "jane"
    address: str = ADDRESS
    jar: dict[str, str] = field(default_factory=dict)
    sid: str = ""
    """The provider's name for the session that was begun last."""

    def ask(self, target: str, form: dict[str, str] | None = None) -> Generator[Asked, Answered, Answered]:
        """One navigation, without its redirects."""
        headers = [*HEADERS, (b"cookie", "; ".join(f"{n}={v}" for n, v in self.jar.items()).encode())]
        body = urlencode(form).encode() if form is not None else b""
        if form is not None:
            headers += [(b"origin", HOME.encode()), (b"content-type", b"application/x-www-form-urlencoded")]
        target = target.removeprefix(HOME)
        answer = yield Asked("GET" if form is None else "POST", target, headers, body, self.address)
        for name, value in answer.headers:
            if name == "set-cookie":
                pair, *attributes = value.split("; ")
                cookie, _, text = pair.partition("=")
                self.jar.pop(cookie, None)
                if "Max-Age=0" not in attributes:
                    self.jar[cookie] = text
        return answer

    def starts(self, idp: StandIn, page: str = "/") -> Generator[Asked, Answered, str]:
        """From a page that needs a session to the provider, and as far as the redirect back: its URL."""
        answer = yield from self.ask(page)
        assert answer.location.startswith(f"{ISSUER}/authorize"), answer
        url, self.sid = idp.authorize(answer.location, self.subject)
        return url

    def finishes(self, url: str, answer: str | None = None) -> Generator[Asked, Answered, Answered]:
        """From there to the first answer after the sign-in; ``answer`` to "Stay signed in?", if it is asked.
        ``None`` where it is not; ``""`` leaves it unanswered."""
        back = yield from self.ask(url)
        if answer is None:
            assert back.status == 303, back
            return back
        question = yield from self.ask(back.location)
        assert question.status == 200, question
        if not answer:
            return question
        ticket = dict(parse_qsl(urlsplit(back.location).query))["ticket"]
        done = yield from self.ask("/.auth/kmsi", {"ticket": ticket, "answer": answer})
        assert done.status == 303, done
        return done

    def signs_out(self) -> Visit:
        """By the app's button; to the provider, and back to the page that says so."""
        away = yield from self.ask("/.auth/logout", {})
        assert away.location.startswith(f"{ISSUER}/logout"), away
        state = dict(parse_qsl(urlsplit(away.location).query))["state"]
        there = yield from self.ask(f"/.auth/logged-out?{urlencode({'state': state})}")
        assert there.status == 200, there


# Playing a visit ----------------------------------------------------------------------------------------------


async def play_asgi(app: Any, visit: Visit) -> Any:
    """Drive a visit to its end."""

    async def perform(asked: Asked) -> Answered:
        path, _, query = asked.target.partition("?")
        scope = scope_with(
            None,
            method=asked.method,
            path=path,
            raw_path=path.encode(),
            query_string=query.encode(),
            headers=asked.headers,
            client=(asked.address, 50_000),
        )
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": asked.body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        headers = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
        return Answered(sent[0]["status"], headers)

    return await play_async(visit, perform)


def play_wsgi(app: Any, visit: Visit) -> Any:
    """The same for the WSGI shell."""

    def perform(asked: Asked) -> Answered:
        path, _, query = asked.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": asked.method,
            "PATH_INFO": path,
            "SCRIPT_NAME": "",
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": asked.address,
            "CONTENT_LENGTH": str(len(asked.body)),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(asked.body),
        }
        for name, value in asked.headers:
            key = name.decode().upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value.decode()
        sent: list[Any] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            sent[:] = [int(status[:3]), [(name.lower(), value) for name, value in headers]]

        for _ in app(environ, start_response):
            pass
        return Answered(*sent)

    return play(visit, perform)

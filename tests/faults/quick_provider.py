"""An identity provider over real HTTP that signs everybody in at once, and that can be away, slow or talk garbage."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import Browser

HOST = "127.0.0.1"


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Nothing: an app that hangs up on an endless answer is what is wanted."""


class QuickProvider:
    """``mood``: what it answers at ``places`` (ends of paths; empty: everywhere) instead of the truth."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.key = ECKey.generate_key("P-256", {"kid": "k", "use": "sig", "alg": "ES256"})
        self.mood = ""
        self.places: tuple[str, ...] = ("",)
        self.asked: list[str] = []
        self.released = threading.Event()
        """Set to let those go that a ``slow`` answer holds up."""
        self.issued: list[str] = []
        """Every token that it gave."""
        self._codes: dict[str, dict[str, Any]] = {}
        self._server = _Server((HOST, 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.issuer = f"http://{HOST}:{self.port}"

    def authorize(self, url: str, subject: str) -> str:
        """What the browser brings back that was sent to ``url``: the app's callback with a code."""
        asked = dict(parse_qsl(urlsplit(url).query))
        code, now = secrets.token_urlsafe(16), int(self.clock())
        self._codes[code] = {
            "iss": self.issuer,
            "aud": asked["client_id"],
            "sub": subject,
            "iat": now,
            "exp": now + 600,
            "auth_time": now,
            "nonce": asked["nonce"],
            "sid": secrets.token_urlsafe(16),
            "name": subject,
        }
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def document(self, path: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if path == "/.well-known/openid-configuration":
            ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return 200, {"issuer": self.issuer, **{name: f"{self.issuer}/{end}" for name, end in ends.items()}}
        if path == "/keys":
            return 200, {"keys": [self.key.as_dict(private=False)]}
        claims = self._codes.pop(form.get("code", [""])[0], None)
        if claims is None:
            return 400, {"error": "invalid_grant"}
        token = jwt.encode({"alg": "ES256", "kid": "k"}, claims, self.key, algorithms=["ES256"])
        access_token = secrets.token_urlsafe(24)
        self.issued += [token, access_token]
        return 200, {"token_type": "Bearer", "id_token": token, "access_token": access_token}

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                provider.asked.append(self.path)
                status, document = provider.document(self.path, parse_qs(body.decode()))
                content, more = json.dumps(document).encode(), {"Content-Type": "application/json"}
                if any(self.path.endswith(place) for place in provider.places):
                    match provider.mood:
                        case "slow":
                            provider.released.wait(30)
                        case "garbage":
                            status, content, more = 200, b"<html>\xff\xfe it works", {"Content-Type": "text/html"}
                        case "endless":
                            content = b"[" * 3_000_000
                        case "error":
                            status, content = 500, b"oops"
                        case "elsewhere":
                            status, content, more = 302, b"", {"Location": f"http://{HOST}:9/"}
                        case "hangs up":
                            self.close_connection = True
                            return
                self.send_response(status)
                for name, value in {**more, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Nothing: the tests say what matters."""

        return Handler


NAVIGATION = [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]


def sign_in(browser: Browser, provider: QuickProvider, subject: str = "ada") -> Answer:
    """To the provider and back; it asks nothing, so nothing of it is seen."""
    there = browser.request("GET", "/page", NAVIGATION)
    assert there.status == 303, there.text
    return browser.request("GET", provider.authorize(there.header("location"), subject), NAVIGATION)


@contextmanager
def quick_provider(clock: Any) -> Iterator[QuickProvider]:
    provider = QuickProvider(clock)
    thread = threading.Thread(target=provider._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.close()
        thread.join()

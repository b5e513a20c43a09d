"""A provider over real HTTP that is as strict as RFC 9700 (4.14.2) allows: a refresh token is good for once, and who
comes with a used one has revoked them all. It counts, and can be held up."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

PATIENCE = 30
LIFETIME = 600
_key = ECKey.generate_key("P-256", {"kid": "k", "use": "sig", "alg": "ES256"})


class StrictProvider:
    """``now`` is its clock, ``refreshes`` are the refresh tokens that somebody came with. Until ``go_on``, they wait
    for their answer: before they are used up, or ``after``, or to be ``dropped`` without being looked at."""

    def __init__(self) -> None:
        self.now = int(time.time())
        self._codes: dict[str, dict[str, str]] = {}
        self._count = 0
        self._lock = threading.Lock()
        self.start_over()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start_over(self) -> None:
        """As if nobody had ever come."""
        self.refreshes: list[str] = []
        self.good: set[str] = set()
        self.is_revoked = False
        self.go_on = threading.Event()
        self.go_on.set()
        self.waits: Literal["before", "after", "dropped"] = "before"
        self.arrived = threading.Semaphore(0)

    @contextmanager
    def running(self) -> Iterator[StrictProvider]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.go_on.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(PATIENCE)

    def authorize(self, url: str) -> str:
        """Somebody signs in without a question. Answer: where the browser is sent back to."""
        asked = dict(parse_qsl(urlsplit(url).query))
        with self._lock:
            self._count += 1
            code = f"code-{self._count}"
            self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    # How --------------------------------------------------------------------------------------------------

    def _metadata(self) -> dict[str, Any]:
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        return {"issuer": self.issuer, **{name: f"{self.issuer}/{name}" for name in names}}

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if form["grant_type"] == "authorization_code":
            asked = self._codes.pop(form["code"])
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
            with self._lock:
                return 200, self._answer(asked["client_id"], nonce=asked["nonce"])
        used = form["refresh_token"]
        with self._lock:
            self.refreshes.append(used)
            waits = self.waits
            answer = self._redeem(used, form["client_id"]) if waits == "after" else (503, {})
        self.arrived.release()
        self.go_on.wait(PATIENCE)
        if waits == "before":
            with self._lock:
                answer = self._redeem(used, form["client_id"])
        return answer

    def _redeem(self, used: str, client_id: str) -> tuple[int, dict[str, Any]]:
        if used not in self.good:
            self.is_revoked = True
        self.good.discard(used)
        return (400, {"error": "invalid_grant"}) if self.is_revoked else (200, self._answer(client_id))

    def _answer(self, client_id: str, **more: str) -> dict[str, Any]:
        self._count += 1
        refresh_token = f"refresh-{self._count}"
        self.good.add(refresh_token)
        claims = {"iss": self.issuer, "sub": "ada", "aud": client_id, "iat": self.now, "exp": self.now + LIFETIME}
        claims |= {"auth_time": self.now, "sid": "s", **more}
        return {
            "token_type": "Bearer",
            "access_token": f"access-{self._count}",
            "refresh_token": refresh_token,
            "expires_in": LIFETIME,
            "id_token": jwt.encode({"alg": "ES256", "kid": "k"}, claims, _key, algorithms=["ES256"]),
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                documents = {
                    "/.well-known/openid-configuration": provider._metadata,
                    "/jwks_uri": lambda: {"keys": [_key.as_dict(private=False)]},
                }
                self._send(200, documents[self.path]())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                self._send(*provider._token(dict(parse_qsl(body))))

            def _send(self, status: int, document: dict[str, Any]) -> None:
                content = json.dumps(document).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    return  # who asked was killed

            def log_message(self, *_: object) -> None: ...

        return Handler

"""What the benchmarks share: the settings, a browser's request, sessions, the tiny app, and taking turns.

Cases take turns in short rounds, so that whatever else the machine does meets all of them alike; the median round
counts. Absolute figures move between machines, the ratios are what holds.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import platform
import statistics
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

from kmsi_middleware.vocabulary.session import Session

ISSUER = "https://login.example.com"
SETTINGS: dict[str, Any] = {
    "issuer": ISSUER,
    "client_id": "bench",
    "secret_keys": ["b" * 32],
    "base_url": "https://app.example.com",
}
COOKIE = "__Host-kmsi"
"""The session cookie's name under these settings."""

# A browser's request, as servers hand it on.
HEADERS = [
    (b"host", b"app.example.com"),
    (b"connection", b"keep-alive"),
    (b"sec-ch-ua", b'"Chromium";v="140", "Not=A?Brand";v="24"'),
    (b"upgrade-insecure-requests", b"1"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"),
    (b"accept", b"text/html,application/xhtml+xml"),
    (b"sec-fetch-site", b"same-origin"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-US,en;q=0.9"),
]
PATH = "/account/overview"
RESPONSE = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"2")]


def machine() -> str:
    """What it runs on, for the first line of a report."""
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


# Sessions -----------------------------------------------------------------------------------------------------


def token_of(number: int) -> str:
    """The session token of a number: random enough to spread, and the same in every process."""
    return urlsafe_b64encode(hashlib.sha256(f"bench {number}".encode()).digest()).rstrip(b"=").decode()


_NOISE = os.urandom(1_001_200)  # stands for sealed tokens: nothing could make it smaller


def session_for(number: int, *, subject: str = "") -> Session:
    """A session as a sign-in leaves it: claims, a ``sid``, and 1,200 bytes of sealed tokens. It began now."""
    now = int(time.time())
    at = number * 64 % 1_000_000
    subject = subject or f"248289{number:08}"
    claims = {"sub": subject, "name": "Jane Doe", "email": "jane@example.com", "acct": 0}
    return Session(
        key=hashlib.sha256(token_of(number).encode()).digest(),
        issuer=ISSUER,
        subject=subject,
        claims=claims,
        sids=(f"sid-{number:032}",),
        auth_time=now,
        started_at=now,
        renewed_at=now,
        expires_at=now + 86_400,
        persistent=False,
        decision="answered_no",
        correlation_id=f"00000000-0000-4000-8000-{number:012}",
        sealed=_NOISE[at : at + 1_200],
    )


# The app, in process ------------------------------------------------------------------------------------------


async def tiny(scope: Any, receive: Any, send: Any) -> None:
    """The tiny app: looks into its session, where there is one."""
    session = scope.get("session")
    if session is not None:
        if (mark := getattr(session, "mark_accessed", None)) is not None:  # what Starlette's request.session does
            mark()
        session.get("user")
    await send({"type": "http.response.start", "status": 200, "headers": RESPONSE})
    await send({"type": "http.response.body", "body": b"ok"})


def scope_with(cookie: bytes | None, **changed: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*HEADERS, (b"cookie", cookie)] if cookie else HEADERS,
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        **changed,
    }


def asgi_case(app: Any, cookies: list[bytes] | None, requests: int) -> Callable[[], float]:
    """One round of an app: µs for each of so many requests, with these cookies in turn."""
    scopes = [scope_with(cookie) for cookie in cookies or [None]]
    scopes = [scopes[at % len(scopes)] for at in range(requests)]

    async def receive() -> Any:
        raise AssertionError("no body is read")

    statuses: list[Any] = []

    async def check(message: Any) -> None:
        statuses.append(message)

    async def send(message: Any) -> None:
        pass

    async def play() -> float:
        await app(dict(scopes[0]), receive, check)
        assert statuses[0]["status"] == 200, statuses
        assert not any(name == b"set-cookie" for name, _ in statuses[0]["headers"]), statuses
        statuses.clear()
        began = time.perf_counter()
        for scope in scopes:
            await app(dict(scope), receive, send)
        return (time.perf_counter() - began) / requests * 1e6

    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(play())


# Taking turns -------------------------------------------------------------------------------------------------


def measured(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of so many rounds of every case, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    gc.enable()
    return {name: statistics.median(values) for name, values in found.items()}

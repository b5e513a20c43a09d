"""What a signed-in request that passes costs, side by side in one run: ``make bench``.

In process: the middleware is called with a prebuilt scope or environ, no sockets. The cases take turns in short
rounds, so that whatever else the machine does meets all of them alike; the median round counts. "Added" is over
the bare app of the same kind. Absolute figures move between machines, the ratios are what holds.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import logging
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itsdangerous

from kmsi_middleware import KMSIMiddleware
from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.vocabulary.session import Session
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware

ROUNDS, REQUESTS = 41, 2_000
SETTINGS: dict[str, Any] = {
    "issuer": "https://login.example.com",
    "client_id": "bench",
    "secret_keys": ["b" * 32],
    "base_url": "https://app.example.com",
}
SESSIONS = 1_000

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
RESPONSE = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"2")]


def session_for(token: str) -> Session:
    at = int(time.time())
    claims = {"sub": "248289761001", "name": "Jane Doe", "email": "jane@example.com", "acct": 0}
    return Session(
        key=hashlib.sha256(token.encode()).digest(),
        issuer=SETTINGS["issuer"],
        subject=claims["sub"],
        claims=claims,
        sids=("sid",),
        started_at=at,
        renewed_at=at,
        expires_at=at + 86_400,
        persistent=False,
        decision="answered_no",
        correlation_id="0",
        sealed=secrets.token_bytes(1_200),
    )


def policies(count: int) -> list[dict[str, Any]]:
    """So many policies that read the address and the platform, and let everybody pass."""
    conditions = {
        "users": {"includeUsers": ["All"], "excludeGroups": ["staff"]},
        "applications": {"includeApplications": ["All"]},
        "clientAppTypes": ["all"],
        "platforms": {"includePlatforms": ["all"], "excludePlatforms": ["linux"]},
        "locations": {"includeLocations": ["All"], "excludeLocations": ["home"]},
    }
    frequency = {"isEnabled": True, "frequencyInterval": "timeBased", "value": 12, "type": "hours"}
    location = {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "home",
        "displayName": "Home",
        "isTrusted": False,
        "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "127.0.0.0/8"}],
    }
    made = [
        {
            "displayName": f"Policy {number}",
            "state": "enabled",
            "conditions": conditions,
            "sessionControls": {"signInFrequency": frequency},
        }
        for number in range(count)
    ]
    return [location, *made]


def filled(store: Any) -> str:
    """A store with some sessions, and the token of one."""
    tokens = [secrets.token_urlsafe(32) for _ in range(SESSIONS)]
    for token in tokens:
        store.create(session_for(token), time.time())
    return tokens[SESSIONS // 2]


# ASGI ---------------------------------------------------------------------------------------------------------


async def bare(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": RESPONSE})
    await send({"type": "http.response.body", "body": b"ok"})


async def reads_session(scope: Any, receive: Any, send: Any) -> None:
    session = scope["session"]
    if hasattr(session, "mark_accessed"):
        session.mark_accessed()
    session.get("user")
    await bare(scope, receive, send)


def scope_with(cookie: bytes | None) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/account/overview",
        "raw_path": b"/account/overview",
        "query_string": b"",
        "root_path": "",
        "headers": [*HEADERS, (b"cookie", cookie)] if cookie else HEADERS,
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
    }


def asgi_case(app: Any, cookie: bytes | None) -> Callable[[], float]:
    scope = scope_with(cookie)

    async def receive() -> Any:
        raise AssertionError("no body is read")

    statuses: list[Any] = []

    async def check(message: Any) -> None:
        statuses.append(message)

    async def send(message: Any) -> None:
        pass

    async def play() -> float:
        await app(dict(scope), receive, check)
        assert statuses[0]["status"] == 200, statuses
        assert not any(name == b"set-cookie" for name, _ in statuses[0]["headers"]), statuses
        statuses.clear()
        began = time.perf_counter()
        for _ in range(REQUESTS):
            await app(dict(scope), receive, send)
        return (time.perf_counter() - began) / REQUESTS * 1e6

    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(play())


def starlette_case() -> Callable[[], float]:
    from starlette.middleware.sessions import SessionMiddleware

    app = SessionMiddleware(reads_session, secret_key="s" * 32)
    data = b64encode(json.dumps({"user": {"sub": "248289761001", "name": "Jane Doe"}}).encode())
    value = itsdangerous.TimestampSigner("s" * 32).sign(data)
    return asgi_case(app, b"session=" + value)


# WSGI ---------------------------------------------------------------------------------------------------------

WSGI_RESPONSE = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", "2")]


def wsgi_bare(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", WSGI_RESPONSE)
    return [b"ok"]


def environ_with(cookie: str | None) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/account/overview",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "https",
        "wsgi.input": None,
    }
    environ |= {f"HTTP_{n.decode().upper().replace('-', '_')}": v.decode() for n, v in HEADERS}
    return environ | ({"HTTP_COOKIE": cookie} if cookie else {})


def wsgi_case(app: Any, cookie: str | None) -> Callable[[], float]:
    environ = environ_with(cookie)
    seen: list[Any] = []

    def check(status: str, headers: Any, exc_info: Any = None) -> Any:
        seen.append((status, headers))

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        pass

    def play() -> float:
        list(app(dict(environ), check))
        status, headers = seen.pop()
        assert status.startswith("200"), status
        assert not any(name.lower() == "set-cookie" for name, _ in headers), headers
        began = time.perf_counter()
        for _ in range(REQUESTS):
            for _chunk in app(dict(environ), start_response):
                pass
        return (time.perf_counter() - began) / REQUESTS * 1e6

    return play


def flask_cases() -> tuple[Callable[[], float], Callable[[], float]]:
    """A Flask app that leaves its session alone, and one that reads it."""
    import flask

    app = flask.Flask("bench")
    app.secret_key = "s" * 32

    @app.get("/account/overview")
    def plain() -> Any:
        if flask.request.environ.get("bench.reads"):
            flask.session.get("user")
        return "ok"

    signer = flask.sessions.SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    value = signer.dumps({"user": {"sub": "248289761001", "name": "Jane Doe"}})

    def reads(environ: Any, start_response: Any) -> Any:
        environ["bench.reads"] = True
        return app(environ, start_response)

    return wsgi_case(app, None), wsgi_case(reads, f"session={value}")


# The run ------------------------------------------------------------------------------------------------------


def measured(cases: dict[str, Callable[[], float]]) -> dict[str, float]:
    rounds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()  # warm up
    gc.collect()
    gc.disable()
    for _ in range(ROUNDS):
        for name, case in cases.items():
            rounds[name].append(case())
    gc.enable()
    return {name: statistics.median(times) for name, times in rounds.items()}


def table(title: str, results: dict[str, float], base: dict[str, str], peer: str) -> None:
    print(f"\n{title:<46}{'µs':>8}{'added':>8}{'x peer':>8}")
    peer_added = results[peer] - results[base[peer]] if peer in base else results[peer]
    for name, value in results.items():
        over = base.get(name)
        if over is None:
            print(f"{name:<46}{value:>8.2f}{'':>8}{'':>8}")
        else:
            added = value - results[over]
            print(f"{name:<46}{value:>8.2f}{added:>8.2f}{added / peer_added:>8.2f}")


def import_milliseconds() -> float:
    """What importing the package adds to an app that has imported Starlette and httpx: the median of nine."""
    program = (
        "import time, starlette.applications, starlette.routing, httpx\n"
        "t = time.perf_counter()\n"
        "from kmsi_middleware import KMSIMiddleware\n"
        "print((time.perf_counter() - t) * 1e3)"
    )
    with tempfile.TemporaryDirectory() as compiled:
        # As installed: with bytecode. The first run, which compiles, does not count.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", program]
        runs = [float(subprocess.check_output(command, env=environment)) for _ in range(10)]
    return statistics.median(runs[1:])


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; ", end="")
    print(f"{ROUNDS} interleaved rounds of {REQUESTS} requests, medians, {SESSIONS} sessions in each store")
    with tempfile.TemporaryDirectory() as folder:
        memory, sqlite = open_store("memory:"), open_store(f"sqlite:{Path(folder) / 'sessions.sqlite3'}")
        name = "__Host-kmsi="
        tokens = {"memory": filled(memory), "SQLite": filled(sqlite)}
        cookie = {kind: name + token for kind, token in tokens.items()}
        asgi = {
            "bare ASGI app": asgi_case(bare, None),
            "Starlette SessionMiddleware, session read": starlette_case(),
            "ours, signed in, memory": asgi_case(
                KMSIMiddleware(reads_session, store=memory, **SETTINGS), cookie["memory"].encode()
            ),
            "ours, signed in, SQLite, strict": asgi_case(
                KMSIMiddleware(reads_session, store=sqlite, **SETTINGS), cookie["SQLite"].encode()
            ),
        } | {
            f"ours, SQLite, {count:,} policies": asgi_case(
                KMSIMiddleware(reads_session, store=sqlite, policies=policies(count), **SETTINGS),
                cookie["SQLite"].encode(),
            )
            for count in (10, 1_000)
        }
        results = measured(asgi)
        peer = "Starlette SessionMiddleware, session read"
        table("ASGI, in process", results, dict.fromkeys(list(asgi)[1:], "bare ASGI app"), peer)
        flask_bare, flask_reads = flask_cases()
        wsgi = {
            "bare WSGI app": wsgi_case(wsgi_bare, None),
            "Flask app": flask_bare,
            "Flask app, session read": flask_reads,
            "ours, signed in, memory": wsgi_case(WSGIMiddleware(wsgi_bare, store=memory, **SETTINGS), cookie["memory"]),
            "ours, signed in, SQLite, strict": wsgi_case(
                WSGIMiddleware(wsgi_bare, store=sqlite, **SETTINGS), cookie["SQLite"]
            ),
        }
        results = measured(wsgi)
        base = {"Flask app, session read": "Flask app"}
        base |= dict.fromkeys(list(wsgi)[3:], "bare WSGI app")
        table("WSGI, in process", results, base, "Flask app, session read")
        sqlite.close()
    print(f"\nImporting the package, after Starlette and httpx: {import_milliseconds():.0f} ms")


if __name__ == "__main__":
    main()

"""What a signed-in request that passes costs, side by side in one run: ``make bench``.

In process: the middleware is called with a prebuilt scope or environ, no sockets (:mod:`bench.support`). "Added" is
over the bare app of the same kind.
"""

from __future__ import annotations

import json
import logging
import os
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
from bench.support import (
    COOKIE,
    HEADERS,
    PATH,
    SETTINGS,
    asgi_case,
    machine,
    measured,
    session_for,
    tiny,
    token_of,
)

from kmsi_middleware import KMSIMiddleware
from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware

ROUNDS, REQUESTS = 41, 2_000
SESSIONS = 1_000


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
    """Put some sessions into a store; the Cookie header of one."""
    for number in range(SESSIONS):
        store.create(session_for(number), time.time())
    return f"{COOKIE}={token_of(SESSIONS // 2)}"


# ASGI ---------------------------------------------------------------------------------------------------------


def starlette_case() -> Callable[[], float]:
    from starlette.middleware.sessions import SessionMiddleware

    app = SessionMiddleware(tiny, secret_key="s" * 32)
    data = b64encode(json.dumps({"user": {"sub": "248289761001", "name": "Jane Doe"}}).encode())
    value = itsdangerous.TimestampSigner("s" * 32).sign(data)
    return asgi_case(app, [b"session=" + value], REQUESTS)


# WSGI ---------------------------------------------------------------------------------------------------------

WSGI_RESPONSE = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", "2")]


def wsgi_bare(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", WSGI_RESPONSE)
    return [b"ok"]


def environ_with(cookie: str | None) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": PATH,
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

    app = flask.Flask(__name__)
    app.secret_key = "s" * 32

    @app.get(PATH)
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
    print(
        f"{machine()}; {ROUNDS} interleaved rounds of {REQUESTS} requests, medians, {SESSIONS} sessions in each store"
    )
    with tempfile.TemporaryDirectory() as folder:
        memory, sqlite = open_store("memory:"), open_store(f"sqlite:{Path(folder) / 'sessions.sqlite3'}")
        cookie = {"memory": filled(memory), "SQLite": filled(sqlite)}
        raw = {kind: [text.encode()] for kind, text in cookie.items()}
        asgi = {
            "bare ASGI app": asgi_case(tiny, None, REQUESTS),
            "Starlette SessionMiddleware, session read": starlette_case(),
            "ours, signed in, memory": asgi_case(
                KMSIMiddleware(tiny, store=memory, **SETTINGS), raw["memory"], REQUESTS
            ),
            "ours, signed in, SQLite, strict": asgi_case(
                KMSIMiddleware(tiny, store=sqlite, **SETTINGS), raw["SQLite"], REQUESTS
            ),
        } | {
            f"ours, SQLite, {count:,} policies": asgi_case(
                KMSIMiddleware(tiny, store=sqlite, policies=policies(count), **SETTINGS),
                raw["SQLite"],
                REQUESTS,
            )
            for count in (10, 1_000)
        }
        results = measured(asgi, ROUNDS)
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
        results = measured(wsgi, ROUNDS)
        base = {"Flask app, session read": "Flask app"}
        base |= dict.fromkeys(list(wsgi)[3:], "bare WSGI app")
        table("WSGI, in process", results, base, "Flask app, session read")
        sqlite.close()
    print(f"\nImporting the package, after Starlette and httpx: {import_milliseconds():.0f} ms")


if __name__ == "__main__":
    main()

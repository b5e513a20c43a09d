"""The apps of ``make bench-sockets``, each served by a uvicorn of its own: ``uvicorn --factory bench.served:app``.

Which one, with which store and other settings, the environment says. The sessions that the requests will carry are
put into the store before the server listens.
"""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from contextlib import suppress
from typing import Any

from bench.support import COOKIE, SETTINGS, session_for, tiny, token_of

SESSIONS = 1_000
_SECRET = "s" * 32
_DATA = {"user": {"sub": "248289761001", "name": "Jane Doe"}}


def app() -> Any:
    """The app that the environment names."""
    store = os.environ.get("BENCH_STORE", "")
    return APPS[os.environ["BENCH_APP"]](store)


def _ours(store: str) -> Any:
    from kmsi_middleware import KMSIMiddleware
    from kmsi_middleware.edges.stores import open_store
    from kmsi_middleware.vocabulary.errors import StoreConflict

    more = json.loads(os.environ.get("BENCH_SETTINGS", "{}"))
    kept = open_store(store)
    for number in range(SESSIONS):
        with suppress(StoreConflict):  # a second server of the same store
            kept.create(session_for(number), time.time())
    kept.close()
    return KMSIMiddleware(tiny, store=store if store != "memory:" else kept, **SETTINGS, **more)


def _floor_b(_: str, more: Any = ()) -> Any:
    """The least that anybody could do with sessions in the process: no counter, no data of the app's; and ``more``
    headers, if any, on the response."""
    needle = f"{COOKIE}=".encode()
    sessions = {token_of(number).encode(): (time.time() + 86_400, number) for number in range(SESSIONS)}

    async def floor_b(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"cookie":
                    at = value.find(needle) + len(needle)
                    expires_at, scope["user"] = sessions[value[at : at + 43]]
                    assert time.time() < expires_at
        if more:

            def sending(message: Any) -> Any:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], *more]
                return send(message)

            await tiny(scope, receive, sending)
        else:
            await tiny(scope, receive, send)

    return floor_b


def _raw_redis_py(url: str) -> Any:
    import redis
    from bench.raw_redis import PREFIX, ByRedisPy

    _fill_raw(redis.Redis.from_url(url), PREFIX)
    return ByRedisPy(tiny, url)


def _raw_hiredis(url: str) -> Any:
    import redis
    from bench.raw_redis import PREFIX, ByHiredis

    _fill_raw(redis.Redis.from_url(url), PREFIX)
    return ByHiredis(tiny, url)


def _fill_raw(client: Any, prefix: bytes) -> None:
    for number in range(SESSIONS):
        client.set(prefix + token_of(number).encode(), json.dumps(_DATA), ex=86_400)
    client.close()


def _starlette(_: str) -> Any:
    from starlette.middleware.sessions import SessionMiddleware

    return SessionMiddleware(tiny, secret_key=_SECRET)


def starlette_cookie() -> str:
    """A cookie of Starlette's SessionMiddleware."""
    import itsdangerous

    signer = itsdangerous.TimestampSigner(_SECRET)
    return "session=" + signer.sign(b64encode(json.dumps(_DATA).encode())).decode()


def _starsessions(url: str) -> Any:
    import redis
    from redis.asyncio import Redis
    from starsessions import SessionAutoloadMiddleware, SessionMiddleware
    from starsessions.stores.redis import RedisStore

    client = redis.Redis.from_url(url)
    for number in range(SESSIONS):
        client.set(f"starsessions.{token_of(number)}", json.dumps(_DATA), ex=86_400)
    client.close()
    loading = SessionAutoloadMiddleware(tiny)
    return SessionMiddleware(loading, RedisStore(connection=Redis.from_url(url)), cookie_name="session")


APPS: dict[str, Any] = {
    "bare": lambda _: tiny,
    "floor B": _floor_b,
    "floor B, headers": lambda _: _floor_b(_, [(b"vary", b"Cookie"), (b"cache-control", b"no-store")]),
    "ours": _ours,
    "raw redis-py": _raw_redis_py,
    "raw hiredis": _raw_hiredis,
    "Starlette": _starlette,
    "starsessions": _starsessions,
}

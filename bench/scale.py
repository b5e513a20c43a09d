"""What a thousand and a million sessions cost, side by side: ``make bench-scale``.

In process and under ASGI, each store once with a thousand sessions and once with a million. Cases that are compared
take turns in short rounds (:mod:`bench.support`). The sessions are like those that a sign-in leaves, with 1,200 bytes
of sealed tokens; they are put in by the store's own ``create``, many at once (:mod:`bench.stores`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from multiprocessing import get_context
from typing import Any

from bench.stores import STORES, Opened
from bench.support import (
    COOKIE,
    ISSUER,
    SETTINGS,
    asgi_case,
    machine,
    measured,
    scope_with,
    session_for,
    tiny,
    token_of,
)
from bench.visitors import StandIn, Visitor, middleware, play_asgi

from kmsi_middleware import KMSIMiddleware
from kmsi_middleware.sessions import Sessions
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import TOMBSTONE_SECONDS

SMALL, LARGE = 1_000, 1_000_000
ROUNDS, REQUESTS = 21, 1_000
SIGN_INS, TOGETHER = 320, 32
OF_ONE_USER = 1_000

_fresh = count(100_000_000)
"""Numbers of sessions that no store has been filled with."""


@dataclass
class Column:
    """One store with so many sessions, and what was measured of it."""

    store: str
    sessions: int
    opened: Opened
    found: dict[str, str] = field(default_factory=dict)

    def token(self, number: int) -> str:
        """Of one of a thousand sessions, spread over all."""
        return token_of(number * self.sessions // SMALL)


# Passing through ----------------------------------------------------------------------------------------------


def pass_through(columns: list[Column]) -> None:
    """µs that are added to the bare app, for a session that the process has at hand, and for one that it has not."""
    cases: dict[str, Callable[[], float]] = {"bare": asgi_case(tiny, None, REQUESTS)}
    for at, column in enumerate(columns):
        shell: Any = KMSIMiddleware(tiny, store=column.opened.store, **SETTINGS)
        case = asgi_case(shell, [f"{COOKIE}={column.token(n)}".encode() for n in range(SMALL)], REQUESTS)
        cases[f"at hand {at}"] = case
        cases[f"loaded {at}"] = _without_what_is_at_hand(shell, case)
    results = measured(cases, ROUNDS)
    for at, column in enumerate(columns):
        column.found["a request passes: session at hand, added µs"] = (
            f"{results[f'at hand {at}'] - results['bare']:.1f}"
        )
        column.found["a request passes: session loaded, added µs"] = f"{results[f'loaded {at}'] - results['bare']:.1f}"


def _without_what_is_at_hand(shell: Any, case: Callable[[], float]) -> Callable[[], float]:
    def play() -> float:
        shell._settled._by_key.clear()
        shell._settled._by_header.clear()
        return case()

    return play


# Signing in ---------------------------------------------------------------------------------------------------


def creates(columns: list[Column]) -> None:
    """The store's ``create`` alone, one after the other."""

    def case(column: Column) -> Callable[[], float]:
        store = column.opened.store

        def play() -> float:
            sessions = [session_for(next(_fresh)) for _ in range(100)]
            now, began = time.time(), time.perf_counter()
            for session in sessions:
                store.create(session, now)
            return (time.perf_counter() - began) / len(sessions) * 1e6

        return play

    results = measured({str(at): case(column) for at, column in enumerate(columns)}, ROUNDS)
    for at, column in enumerate(columns):
        column.found["a new session in the store, µs"] = f"{results[str(at)]:.0f}"


def sign_ins(columns: list[Column]) -> None:
    """From the callback to the session, in one process, so many at a time. The provider's part costs next to nothing,
    and the ID token was signed before."""
    idp = StandIn(time.time)

    def case(column: Column) -> Callable[[], float]:
        settings = {"store": column.opened.url, "keep_me_signed_in_days": 0}
        shell = middleware(idp, time.time, **settings)
        loop = asyncio.new_event_loop()

        async def play() -> float:
            people = [Visitor(f"new-{next(_fresh)}") for _ in range(SIGN_INS)]
            urls = [await play_asgi(shell, person.starts(idp)) for person in people]
            visits = iter([person.finishes(url) for person, url in zip(people, urls, strict=True)])

            async def one_after_the_other() -> None:
                for visit in visits:
                    await play_asgi(shell, visit)

            began = time.perf_counter()
            await asyncio.gather(*(one_after_the_other() for _ in range(TOGETHER)))
            return SIGN_INS / (time.perf_counter() - began)

        return lambda: loop.run_until_complete(play())

    results = measured({str(at): case(column) for at, column in enumerate(columns)}, 5)
    for at, column in enumerate(columns):
        column.found["sign-ins a second, callback to session"] = f"{results[str(at)]:,.0f}"


# Ending -------------------------------------------------------------------------------------------------------


def revoking(columns: list[Column]) -> None:
    def case(column: Column) -> Callable[[], float]:
        def play() -> float:
            subject = f"one-{next(_fresh)}"
            column.opened.fill(session_for(next(_fresh), subject=subject) for _ in range(OF_ONE_USER))
            sessions = Sessions(store=column.opened.store)
            assert len(sessions.list_user(issuer=ISSUER, subject=subject)) == OF_ONE_USER
            began = time.perf_counter()
            assert sessions.revoke_user(issuer=ISSUER, subject=subject) == OF_ONE_USER
            return (time.perf_counter() - began) * 1e3

        return play

    results = measured({str(at): case(column) for at, column in enumerate(columns)}, 3)
    for at, column in enumerate(columns):
        column.found[f"revoking a user's {OF_ONE_USER:,} sessions, ms"] = f"{results[str(at)]:.0f}"


# Sweeping -----------------------------------------------------------------------------------------------------


def sweeping(column: Column) -> None:
    """All sessions have expired; a request's write starts the sweep, and others go on meanwhile."""
    store: Any = column.opened.store
    later = time.time() + 86_400 + TOMBSTONE_SECONDS + 1
    idle = list(_writes(store, time.time(), lambda: True, seconds=3))
    before, began = column.opened.size(), time.perf_counter()
    busy = list(_writes(store, later, lambda: store._sweeper._thread is None or store._sweeper._thread.is_alive()))
    took = time.perf_counter() - began
    title = f"sweeping {column.sessions:,} expired sessions"
    column.found[f"{title}, s"] = f"{took:.1f}"
    column.found["  a write meanwhile, median and longest, ms"] = f"{_ms(statistics.median(busy))}, {_ms(max(busy))}"
    column.found["  the same without a sweep, ms"] = f"{_ms(statistics.median(idle))}, {_ms(max(idle))}"
    column.found["  the file before and after, MB"] = f"{before / 1e6:,.0f}, {column.opened.size() / 1e6:,.0f}"


def _writes(store: Any, now: float, while_: Callable[[], bool], seconds: float = 600) -> Iterator[float]:
    """How long a new session takes, every millisecond."""
    until = time.perf_counter() + seconds
    while True:
        number = next(_fresh)
        session = replace(session_for(number), expires_at=int(now) + 86_400)
        began = time.perf_counter()
        with suppress(StoreUnavailable):  # who has waited for so long is told to come again
            store.create(session, now)
        ended = time.perf_counter()
        yield ended - began
        if ended > until or not while_():
            return
        time.sleep(0.001)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


# Starting up --------------------------------------------------------------------------------------------------

_FIRST_REQUEST = """
import time
began = time.perf_counter()
from kmsi_middleware import KMSIMiddleware
imported = time.perf_counter()
import asyncio, json, sys
given = json.load(sys.stdin)
app, sent = None, []
async def tiny(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
async def send(message):
    sent.append(message)
async def main():
    app = KMSIMiddleware(tiny, **given["settings"])
    headers = [(name.encode(), value.encode()) for name, value in given["headers"]]
    await app({**given["scope"], "headers": headers}, None, send)
    assert sent[0]["status"] == 200, sent
begin = time.perf_counter()
asyncio.run(main())
print((imported - began) * 1e3, (time.perf_counter() - begin) * 1e3)
"""


def starting_up(columns: list[Column]) -> None:
    """A new process: the import, and from there to the answer to the first request, which has a session."""

    def case(column: Column, part: int) -> Callable[[], float]:
        def play() -> float:
            cookie = f"{COOKIE}={column.token(7)}".encode()
            scope = scope_with(cookie)
            headers = [(name.decode(), value.decode()) for name, value in scope.pop("headers")]
            scope.pop("raw_path"), scope.pop("query_string")
            given = {"settings": {**SETTINGS, "store": column.opened.url}, "scope": scope, "headers": headers}
            command = [sys.executable, "-c", _FIRST_REQUEST]
            ran = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
            return float(ran.stdout.split()[part])

        return play

    cases = {f"{part} {at}": case(column, part) for at, column in enumerate(columns) for part in (0, 1)}
    results = measured(cases, 7)
    for at, column in enumerate(columns):
        column.found["start-up: the import, ms"] = f"{results[f'0 {at}']:.0f}"
        column.found["start-up: from there to the first answer, ms"] = f"{results[f'1 {at}']:.0f}"


# The run ------------------------------------------------------------------------------------------------------


def filled(columns: list[Column]) -> None:
    """All stores at the same time, each from a process of its own."""
    empty = [column.opened.size() if column.store == "Redis" else 0 for column in columns]
    for column in columns:
        column.opened.store.close()
    began = time.perf_counter()
    processes = [get_context("fork").Process(target=_fill, args=(column, began)) for column in columns]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert not any(process.exitcode for process in processes)
    for column, before in zip(columns, empty, strict=True):
        column.found["bytes a session"] = f"{(column.opened.size() - before) / column.sessions:,.0f}"


def _fill(column: Column, began: float) -> None:
    column.opened.fill(session_for(number) for number in range(column.sessions))
    took = time.perf_counter() - began
    print(
        f"{column.store}: {column.sessions:,} sessions put in after {took:.1f} s, {STORES[column.store][1]}", flush=True
    )


def report(columns: list[Column]) -> None:
    rows = dict.fromkeys(name for column in columns for name in column.found)
    print(f"\n{'':<48}" + "".join(f"{f'{c.store} {c.sessions:,}':>20}" for c in columns))
    for row in rows:
        print(f"{row:<48}" + "".join(f"{column.found.get(row, ''):>20}" for column in columns))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--store", choices=list(STORES), action="append", help="all, unless said")
    asked.add_argument("--sessions", type=int, default=LARGE, help="how many are many")
    given = asked.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    print(machine())
    began = time.perf_counter()
    with ExitStack() as stores:
        columns = [
            Column(name, sessions, stores.enter_context(STORES[name][0]()))
            for name in given.store or STORES
            for sessions in (SMALL, given.sessions)
        ]
        filled(columns)
        starting_up(columns)
        pass_through(columns)
        creates(columns)
        sign_ins(columns)
        revoking(columns)
        for column in columns:
            if column.store == "SQLite" and column.sessions == given.sessions:  # Redis itself drops what is over
                sweeping(column)
        report(columns)
    print(f"\nAll of it took {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()

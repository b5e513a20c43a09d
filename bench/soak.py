"""Sign in and out 100,000 times, and see that nothing is kept for it: ``make soak``.

In process, through the real middleware, with a stand-in for the identity provider (:mod:`bench.visitors`). Among
those who sign out there are people who leave "Stay signed in?" unanswered, who never come back, whose provider
signs them out in a frame, and strangers who send nonsense from ever new addresses. The clock moves, so that what is
kept for a day is dropped again after so many visits; from then on everything must stay as large as it is:

* what the middleware keeps, by name (``kept``);
* the blocks of memory that Python's objects have, after a collection;
* the process's memory, after a collection and with what ``malloc`` holds given back;
* the files.

After a warm-up, the middle slope over all pairs of checkpoints (Theil and Sen's) must be less than anything could
take that is kept for each sign-in. The test run has a small one of the same (``tests/soak``).
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import itertools
import logging
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.redis_server import redis_server
from bench.support import machine
from bench.visitors import Clock, StandIn, Visit, Visitor, middleware, play_asgi

STORES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "memory": lambda _: nullcontext("memory:"),
    "sqlite": lambda folder: nullcontext(f"sqlite:{folder / 'sessions.sqlite3'}"),
    "redis": lambda _: redis_server(),
}
"""The setting ``store``, by name. What Redis itself holds goes by its own clock, so there only the app is watched."""

SIGN_INS, CHECKPOINTS, WARM_UP = 100_000, 20, 8
DAY = 86_400
VISITS_A_DAY = 5_000
SETTINGS = {"session_lifetime": 3_600, "keep_me_signed_in_days": 1, "sign_in_log_days": 1}
"""So that whoever never signs out is forgotten after two days."""

MOST = {"blocks": 0.05, "memory": 40.0, "files": 20.0}
"""What one sign-in may leave behind, in blocks and bytes. The smallest thing that could be kept for each is a block,
an entry in a dict (some 100 bytes), or a row (some 50)."""


# A visit ------------------------------------------------------------------------------------------------------


def visits(number: int, idp: StandIn) -> Iterator[Visit]:
    """What happens around the sign-in of that number. The first one signs in and out; the others come on top."""
    yield _comes_and_goes(Visitor(f"user-{number % 977}"), idp, number)
    if number % 10 == 0:
        yield _leaves_the_question(Visitor(f"user-{number % 977}"), idp)
    if number % 10 == 5:
        yield _never_comes_back(Visitor(f"user-{number % 977}"), idp)
    if number % 10 == 7:
        yield _sends_nonsense(Visitor(address=f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"), number)


def _comes_and_goes(person: Visitor, idp: StandIn, number: int) -> Visit:
    url = yield from person.starts(idp, f"/page/{number}")
    yield from person.finishes(url, "yes" if number % 3 else "no")
    for page in ("/", f"/note/{number}", "/"):
        seen = yield from person.ask(page)
        assert seen.status == 200, seen
    if number % 4 == 3:
        seen = yield from Visitor(person.subject).ask(f"/.auth/frontchannel-logout?sid={person.sid}")
        assert seen.status == 200, seen
        seen = yield from person.ask("/")
        assert seen.status == 401, seen  # the page that tells why
    else:
        yield from person.signs_out()
        seen = yield from person.ask("/")
        assert seen.status == 303, seen


def _leaves_the_question(person: Visitor, idp: StandIn) -> Visit:
    url = yield from person.starts(idp)
    yield from person.finishes(url, "")


def _never_comes_back(person: Visitor, idp: StandIn) -> Visit:
    url = yield from person.starts(idp)
    yield from person.finishes(url, "yes")
    seen = yield from person.ask("/")
    assert seen.status == 200, seen


def _sends_nonsense(stranger: Visitor, number: int) -> Visit:
    for page, status in (
        (f"/.auth/callback?state=nonsense-{number}&code=x", 400),
        (f"/.auth/frontchannel-logout?sid=nonsense-{number}", 200),
        (f"/.auth/kmsi?ticket=nonsense-{number}", 400),
    ):
        seen = yield from stranger.ask(page)
        assert seen.status == status, seen
    stranger.jar["__Host-kmsi"] = f"{number:043}"
    seen = yield from stranger.ask("/")
    assert seen.status == 303, seen


# What is kept -------------------------------------------------------------------------------------------------


def kept(shell: Any) -> dict[str, int]:
    """How much a shell and its parts hold in memory, by name."""
    services = shell._services
    parts = {
        "settled": shell._settled,
        "store": services.store,
        "unmatched": services.unmatched,
        "provider": services.provider,
        "log": services.log,
        "seals": shell._deployment.seals,
    }
    return {
        f"{part} {name.lstrip('_')}": len(held)
        for part, owner in parts.items()
        for name, held in sorted(_attributes(owner).items())
        if hasattr(held, "__len__") and not isinstance(held, str | bytes | memoryview)
    }


def _attributes(owner: Any) -> dict[str, Any]:
    slots = [name for kind in type(owner).__mro__ for name in getattr(kind, "__slots__", ())]
    return getattr(owner, "__dict__", {}) | {name: getattr(owner, name) for name in slots if hasattr(owner, name)}


def in_files(folder: Path) -> dict[str, int]:
    """Pages and rows of every database in a folder."""
    found: dict[str, int] = {}
    for path in sorted(folder.glob("*.sqlite3")):
        database = sqlite3.connect(path)
        found[f"{path.stem} pages"] = database.execute("PRAGMA page_count").fetchone()[0]
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            found[f"{path.stem} {table}"] = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        database.close()
    return found


def blocks() -> int:
    """How many blocks of memory Python's objects have, after a collection; also those that the collector never sees."""
    gc.collect()
    return sys.getallocatedblocks()


def memory() -> int:
    """The process's resident bytes, without what ``malloc`` holds for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# The run ------------------------------------------------------------------------------------------------------


@dataclass
class Checkpoint:
    sign_ins: int
    measures: Mapping[str, int]
    kept: Mapping[str, int]


def checkpoint(sign_ins: int, shell: Any, folder: Path) -> Checkpoint:
    measures = {
        "blocks": blocks(),
        "memory": memory(),
        "files": sum(path.stat().st_size for path in folder.iterdir()),
    }
    return Checkpoint(sign_ins, measures, kept(shell) | in_files(folder))


def slope(points: list[Checkpoint], measure: str) -> float:
    """How much of it one more sign-in leaves behind (Theil and Sen's estimate)."""
    pairs = itertools.combinations(points, 2)
    return statistics.median((b.measures[measure] - a.measures[measure]) / (b.sign_ins - a.sign_ins) for a, b in pairs)


async def soak(store: str, folder: Path, sign_ins: int) -> bool:
    """Whether it stayed flat."""
    clock = Clock()
    idp = StandIn(clock)
    shell = middleware(idp, clock, store=store, **SETTINGS)
    points: list[Checkpoint] = []
    print(f"{'sign-ins':>10}{'blocks':>12}{'memory, MB':>12}{'files, MB':>12}{'ms each':>10}")
    number = 0
    for at in range(1, CHECKPOINTS + 1):
        began, before = time.perf_counter(), number
        while number < sign_ins * at // CHECKPOINTS:
            for visit in visits(number, idp):
                await play_asgi(shell, visit)
            clock.now += DAY / VISITS_A_DAY
            number += 1
        each = (time.perf_counter() - began) / (number - before) * 1e3
        points.append(checkpoint(number, shell, folder))
        found = points[-1].measures
        print(f"{number:>10,}{found['blocks']:>12,}{found['memory'] / 1e6:>12.1f}", end="")
        print(f"{found['files'] / 1e6:>12.1f}{each:>10.2f}", flush=True)
    shell._services.close()
    return report(points[WARM_UP:])


def report(points: list[Checkpoint]) -> bool:
    first, last = points[0], points[-1]
    print(f"\nfrom {first.sign_ins:,} to {last.sign_ins:,} sign-ins, each leaves behind:")
    flat = True
    for measure, most in MOST.items():
        found = slope(points, measure)
        flat = flat and found <= most
        unit = "" if measure == "blocks" else " bytes"
        print(f"  {measure:<10}{found:>8.3f}{unit:<7} at most {most:g} {'✓' if found <= most else '✗'}")
    print("\nkept, at the first and at the last of these checkpoints:")
    for name in last.kept:
        if first.kept.get(name) or last.kept[name]:
            print(f"  {name:<28}{first.kept.get(name, 0):>10,}{last.kept[name]:>10,}")
    return flat


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--store", choices=STORES, help="all, one after the other, unless said")
    asked.add_argument("--sign-ins", type=int, default=SIGN_INS)
    given = asked.parse_args()
    if given.store is None:
        # Each in a process of its own, whose memory nobody else has used.
        command = [sys.executable, "-m", "bench.soak", "--sign-ins", str(given.sign_ins), "--store"]
        sys.exit(max(subprocess.run([*command, store]).returncode for store in STORES))
    logging.disable()
    print(f"\n{given.store}: {given.sign_ins:,} sign-ins; {machine()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with STORES[given.store](folder) as store:
            sys.exit(not asyncio.run(soak(store, folder, given.sign_ins)))


if __name__ == "__main__":
    main()

"""Requests a second over sockets, beside a bare uvicorn: ``make bench-sockets``.

Every case is one uvicorn with the same tiny app, on one core of its own; the load (Debian's ``wrk``: 32 keep-alive
connections, a browser's headers, a thousand sessions in turn) and the Redis server have the other. The cases take
turns in short rounds, each round in another order. Whatever else the machine does, and whoever shares it, makes a round
slower and never faster, and on a shared machine one second is easily a third slower than the next; so what counts is
the median of each case's fastest quarter of the rounds. "Kept" is a case's requests a second over the bare server's,
"CPU" the server's own processor time for a request, and "added" how much of it the bare server does without. The
case with a dict and two headers is the floor for what must answer with these. ``--http h11`` is what ``pip install
uvicorn`` alone brings along; with it every request costs several times as much, so that all of these keep more.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bench.redis_server import free_port, redis_server, wait_for
from bench.served import SESSIONS, starlette_cookie
from bench.support import COOKIE, HEADERS, PATH, machine, token_of

CONNECTIONS = 32
SERVER_CORE, LOAD_CORE = 0, 1
APP = "bench.served:app"
BARE = "bare uvicorn"

_SCRIPT = """
local requests, at = {}, 0
init = function()
  local head = %(head)s
  for token in io.lines(%(cookies)s) do
    requests[#requests + 1] = head .. "cookie: " .. token .. "\\r\\n\\r\\n"
  end
end
request = function()
  at = at %% #requests + 1
  return requests[at]
end
done = function(summary)
  local e = summary.errors
  io.write(string.format('{"requests": %%d, "us": %%d, "errors": %%d}\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Run(NamedTuple):
    """One round of one case."""

    rate: float
    """Requests a second."""
    cpu: float
    """The server's processor time for a request, in µs."""


@dataclass
class Case:
    """One server. ``target``: the least share that is to be kept, of the bare server's or of another case's."""

    name: str
    app: str
    store: str = ""
    cookies: list[str] = field(default_factory=list)
    target: float | None = None
    target_of: str = BARE
    settings: dict[str, int] = field(default_factory=dict)
    port: int = 0
    process: int = 0
    runs: list[Run] = field(default_factory=list)

    @property
    def undisturbed(self) -> Run:
        """What counts of the rounds."""
        fastest = max(1, len(self.runs) // 4)
        rates = sorted((run.rate for run in self.runs), reverse=True)[:fastest]
        return Run(statistics.median(rates), statistics.median(sorted(run.cpu for run in self.runs)[:fastest]))


def cases(redis: str, folder: Path) -> list[Case]:
    """The table. What is served by which app: :mod:`bench.served`."""
    ours = [f"{COOKIE}={token_of(number)}" for number in range(SESSIONS)]
    hiredis = "one raw Redis read, hiredis pipelined"
    sids = [f"session={token_of(number)}" for number in range(SESSIONS)]
    return [
        Case(BARE, "bare", cookies=ours),
        Case("a dict in the process, nothing else", "floor B", cookies=ours),
        Case("the same, and Vary and Cache-Control", "floor B, headers", cookies=ours),
        Case("ours, memory", "ours", "memory:", ours, 0.94),
        Case("ours, SQLite, strict", "ours", f"sqlite:{folder / 'sessions.sqlite3'}", ours, 0.94),
        Case("one raw Redis read, redis-py", "raw redis-py", redis, ours),
        Case(hiredis, "raw hiredis", redis, ours),
        Case("ours, Redis, strict", "ours", redis, ours, 0.9, hiredis),
        Case("ours, Redis, revocation_lag of 100 ms", "ours", redis, ours, 0.92, settings={"revocation_lag": 100}),
        Case("Starlette SessionMiddleware", "Starlette", cookies=[starlette_cookie()]),
        Case("starsessions, Redis", "starsessions", redis, sids),
    ]


@contextmanager
def served(case: Case, loop: str, http: str) -> Iterator[None]:
    """The case's server, on a port of its own, and seen to do what it should."""
    case.port = free_port()
    command = ["taskset", "--cpu-list", str(SERVER_CORE), sys.executable, "-m", "uvicorn", "--factory"]
    command += [APP, "--port", str(case.port), "--http", http, "--loop", loop]
    command += ["--no-access-log", "--log-level", "error", "--lifespan", "off"]
    environment = {**os.environ, "BENCH_APP": case.app, "BENCH_STORE": case.store}
    environment["BENCH_SETTINGS"] = json.dumps(case.settings)
    server = subprocess.Popen(command, env=environment)
    case.process = server.pid
    try:
        wait_for(case.port, server)
        assert _status(case.port, case.cookies[-1]) == 200, case.name
        if case.app == "ours":
            assert _status(case.port, f"{COOKIE}={token_of(-1)}") == 401, "who is not signed in must not pass"
        yield
    finally:
        server.terminate()
        server.wait()


def _status(port: int, cookie: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", PATH, headers={"cookie": cookie})
    status = connection.getresponse().status
    connection.close()
    return status


def script_for(case: Case, folder: Path) -> Path:
    """What tells wrk to send a browser's request, with each of the cookies in turn."""
    name = f"{case.port}"
    lines = [f"GET {PATH} HTTP/1.1", *(f"{n.decode()}: {v.decode()}" for n, v in HEADERS)]
    head = json.dumps("\r\n".join(lines) + "\r\n")  # as Lua has it, too
    (folder / f"{name}.txt").write_text("".join(f"{cookie}\n" for cookie in case.cookies))
    script = folder / f"{name}.lua"
    script.write_text(_SCRIPT % {"head": head, "cookies": json.dumps(str(folder / f"{name}.txt"))})
    return script


def load(case: Case, script: Path, seconds: int) -> Run:
    command = ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "--threads", "1", "--connections", str(CONNECTIONS)]
    command += ["--duration", f"{seconds}s", "--script", str(script), f"http://127.0.0.1:{case.port}{PATH}"]
    before = _processor_time(case.process)
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
    assert found["errors"] == 0, (case.name, found)
    used = _processor_time(case.process) - before
    return Run(found["requests"] / found["us"] * 1e6, used / found["requests"] * 1e6)


def _processor_time(process: int) -> float:
    return time.clock_gettime((~process << 3) | 2)  # as clock_getcpuclockid(3) makes a process's clock


def measure(table: list[Case], folder: Path, rounds: int, seconds: int) -> None:
    scripts = {case.name: script_for(case, folder) for case in table}
    for case in table:
        load(case, scripts[case.name], seconds)  # warm up
    for turn in range(rounds):
        at = turn % len(table)
        for case in [*table[at:], *table[:at]]:
            case.runs.append(load(case, scripts[case.name], seconds))


def report(table: list[Case], loop: str, http: str) -> None:
    print(f"\n{f'uvicorn, {http}, {loop}':<42}{'requests/s':>11}{'CPU µs':>8}{'added':>8}{'kept':>8}{'target':>9}")
    found = {case.name: case.undisturbed for case in table}
    bare = found[BARE]
    for case in table:
        rate, cpu = found[case.name]
        added = f"{cpu - bare.cpu:.1f}" if case.name != BARE else ""
        kept = rate / bare.rate
        target = ""
        if case.target is not None:
            wanted = case.target * found[case.target_of].rate / bare.rate
            target = f"{wanted:.1%} {'✓' if kept >= wanted else '✗'}"
        print(f"{case.name:<42}{rate:>11,.0f}{cpu:>8.1f}{added:>8}{kept:>8.1%}{target:>9}")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--rounds", type=int, default=20)
    asked.add_argument("--seconds", type=int, default=1, help="of each case in each round")
    asked.add_argument("--only", default="", help="cases whose names contain one of these, with commas between")
    asked.add_argument("--loop", choices=["asyncio", "uvloop"], action="append", help="both, unless said")
    asked.add_argument("--http", choices=["httptools", "h11"], default="httptools", help="uvicorn's parser")
    given = asked.parse_args()
    for program, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(program) is None:
            sys.exit(f"{program} is missing: apt-get install {package}")
    if (os.cpu_count() or 1) < 2:
        sys.exit("one core for the server and one for the load are needed")
    missing = [name for name in ("redis", "hiredis", "starsessions", "uvloop") if find_spec(name) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} not installed: pip install --editable '.[bench]'")
    print(f"{machine()}; {given.rounds} interleaved rounds of {given.seconds} s, {CONNECTIONS} connections")
    for loop in given.loop or ["asyncio", "uvloop"]:
        with tempfile.TemporaryDirectory() as name, redis_server(core=LOAD_CORE) as redis, ExitStack() as servers:
            folder = Path(name)
            wanted = (BARE, *given.only.split(","))
            table = [case for case in cases(redis, folder) if any(part in case.name for part in wanted)]
            for case in table:
                servers.enter_context(served(case, loop, given.http))
            measure(table, folder, given.rounds, given.seconds)
            report(table, loop, given.http)


if __name__ == "__main__":
    main()

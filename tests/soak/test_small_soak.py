"""A few hundred sign-ins leave nothing behind. ``make soak`` does it a hundred thousand times.

Counts, never times: with a day of the clock gone for every sixty visits, as much is dropped as comes, and after three
days nothing may grow any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.soak import DAY, SETTINGS, blocks, in_files, kept, visits
from bench.visitors import Clock, StandIn, Visit, middleware, play_asgi, play_wsgi

from kmsi_middleware.edges import settled, sign_in_log, unmatched

VISITS_A_DAY = 60  # what happens in them comes again after so many
WARM_UP_DAYS, DAYS = 3, 2
FEW_BLOCKS = 600
"""Of memory: less than one for four of the requests that are counted. A few hundred come and go, as ``sqlite3`` looks
through its cursors once in a while; ``make soak`` sees less, because it has more time."""


def most(name: str, before: dict[str, int]) -> int:
    """As many as before. How rows lie in a file's pages depends on when the sweeper comes in between."""
    return before.get(name, 0) * (110 if name.endswith("pages") else 100) // 100


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def idp(clock: Clock) -> StandIn:
    return StandIn(clock)


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bounded by a number reaches it within the warm-up."""
    monkeypatch.setattr(settled, "MOST_SESSIONS", 30)
    monkeypatch.setattr(sign_in_log, "_IN_MEMORY", 50)
    monkeypatch.setattr(unmatched.UnmatchedCounter.__init__, "__kwdefaults__", {"limit": 60, "tracked": 10})


@pytest.fixture(params=["asgi", "wsgi"])
def shell(
    request: pytest.FixtureRequest, clock: Clock, idp: StandIn, tmp_path: Path, small_bounds: None, store: str
) -> Iterator[tuple[Any, Callable[[Visit], Any]]]:
    """The middleware, and what plays a visit to it."""
    url = {"memory": "memory:", "sqlite": f"sqlite:{tmp_path / 'sessions.sqlite3'}"}.get(store)
    url = url or request.getfixturevalue("redis_url")  # which drops what is over by a clock of its own
    made = middleware(idp, clock, asynchronous=request.param == "asgi", store=url, **SETTINGS)
    if request.param == "wsgi":
        yield made, lambda visit: play_wsgi(made, visit)
    else:
        with asyncio.Runner() as runner:
            yield made, lambda visit: runner.run(play_asgi(made, visit))
    made._services.close()


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_what_is_kept_grows_no_more_once_a_days_worth_of_it_is_there(
    shell: tuple[Any, Callable[[Visit], Any]], clock: Clock, idp: StandIn, tmp_path: Path
) -> None:
    made, play = shell

    def live(days: int) -> tuple[dict[str, int], int]:
        for number in range(days * VISITS_A_DAY):
            for visit in visits(number, idp):
                play(visit)
            clock.now += DAY / VISITS_A_DAY
        if (sweeper := getattr(made._services.store, "_sweeper", None)) is not None:
            sweeper.wait()
        return kept(made) | in_files(tmp_path), blocks()

    before, blocks_before = live(WARM_UP_DAYS)
    after, blocks_after = live(DAYS)

    assert before["settled by_key"] == 30, "the bounds are reached"
    assert before["unmatched windows"] == 10
    assert {name: (before.get(name, 0), count) for name, count in after.items() if count > most(name, before)} == {}
    assert blocks_after - blocks_before < FEW_BLOCKS

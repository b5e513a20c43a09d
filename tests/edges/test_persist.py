"""An attempt that finds somebody else at it is made again a little later, by the time that it is then."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from kmsi_middleware.edges import services as module
from kmsi_middleware.edges.services import Services
from kmsi_middleware.edges.stores import MemoryStore
from kmsi_middleware.vocabulary.effects import Flow, LoadSession
from kmsi_middleware.vocabulary.messages import Busy


@pytest.mark.parametrize("how", ["threads", "asyncio", "trio"])
def test_it_is_tried_until_nobody_else_is_at_it(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    tried: list[tuple[float, int]] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def attempt(now: float, number: int) -> Flow[str | Busy]:
        tried.append((now, number))
        yield LoadSession(b"k" * 32)
        return "there" if number == 3 else Busy(0.5 + number)

    clock = itertools.count(1_000.0)
    services: Any = Services(MemoryStore(), provider=None, log=None)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=slept.append))
    monkeypatch.setattr(module, "anyio", SimpleNamespace(sleep=sleep))
    if how == "threads":
        assert services.persist(attempt, lambda: next(clock)) == "there"
    else:

        async def run() -> str:
            return str(await services.persist_async(attempt, lambda: next(clock)))

        assert anyio.run(run, backend=how) == "there"
    assert tried == [(1_000.0, 0), (1_001.0, 1), (1_002.0, 2), (1_003.0, 3)]
    assert slept == [0.5, 1.5, 2.5]

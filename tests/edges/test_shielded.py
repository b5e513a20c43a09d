"""Work that is brought to its end, however who waits for it is cancelled."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from kmsi_middleware.edges.shielded import to_the_end


class Work:
    """Something that takes a while."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.done = anyio.Event(), anyio.Event(), anyio.Event()

    async def __call__(self) -> str:
        self.begun.set()
        await self.go_on.wait()
        self.done.set()
        return "done"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_answers_with_what_came_of_it(backend: str) -> None:
    async def run() -> str:
        work = Work()
        work.go_on.set()
        return await to_the_end(work())

    assert anyio.run(run, backend=backend) == "done"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_it_raises_is_raised(backend: str) -> None:
    async def fail() -> None:
        raise ValueError("of the work")

    async def run() -> None:
        with pytest.raises(ValueError, match="of the work"):
            await to_the_end(fail())

    anyio.run(run, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_scope_that_is_cancelled_does_not_cancel_the_work(backend: str) -> None:
    """As Starlette does it when a browser has gone."""

    async def run() -> None:
        work = Work()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_the_end, work())
            await work.begun.wait()
            tasks.cancel_scope.cancel()
            work.go_on.set()
            with anyio.fail_after(5, shield=True):
                await work.done.wait()

    anyio.run(run, backend=backend)


def test_a_task_that_is_cancelled_does_not_cancel_the_work() -> None:
    """As ``asyncio.timeout`` does it, which knows no scopes."""

    async def run() -> None:
        work = Work()
        task = asyncio.create_task(to_the_end(work()))
        await work.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not work.done.is_set()
        work.go_on.set()
        await asyncio.wait_for(work.done.wait(), 5)

    asyncio.run(run())

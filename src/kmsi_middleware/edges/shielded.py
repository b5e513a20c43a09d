"""Work that is brought to its end, even if who asked for it has gone.

Where a browser disconnects, or an app's own time limit passes, the task that serves it is cancelled. Between a
refresh token that was used up and the new one that must be kept, that would lose both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()  # the event loop itself holds its tasks but weakly


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``; a cancellation reaches whoever waits here, and not the work itself."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # trio, where every cancellation comes by way of a scope
        with anyio.CancelScope(shield=True):
            return await work
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return await asyncio.shield(task)

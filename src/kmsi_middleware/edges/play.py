"""Driving a generator that asks for I/O and gets the answers sent in. Once waiting, once with ``await``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from ..vocabulary.errors import KMSIError

E = TypeVar("E")
T = TypeVar("T")


def play(flow: Generator[E, Any, T], perform: Callable[[E], Any]) -> T:
    """Drive a flow to its outcome. A :class:`KMSIError` of ``perform``'s is the flow's to handle; whatever else
    ends it, the flow is closed then and there, not when it is collected."""
    try:
        effect = next(flow)
        while True:
            try:
                answer = perform(effect)
            except KMSIError as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        flow.close()


async def play_async(flow: Generator[E, Any, T], perform: Callable[[E], Awaitable[Any]]) -> T:
    """The same with ``await``."""
    try:
        effect = next(flow)
        while True:
            try:
                answer = await perform(effect)
            except KMSIError as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        flow.close()

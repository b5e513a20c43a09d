"""Performing what flows ask of the session store; and writing down every session that ends, whoever ended it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator, Mapping
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread

from ..rules import session_log
from ..vocabulary import effects as ask
from ..vocabulary.effects import Effect, Flow, SessionStore
from ..vocabulary.records import frozen
from ..vocabulary.session import Session, Tombstone
from .play import play, play_async

T = TypeVar("T")
_log = logging.getLogger("kmsi_middleware.sessions")

_ENDS = (ask.EndSession, ask.EndSessions)
_READS = frozenset({"load", "version", "find", "find_user", "page", "read_mark", "read_ticket"})


@frozen
class Keeping:
    """Drives flows that ask for nothing but the session store."""

    store: SessionStore

    def run(self, flow: Flow[T], now: float) -> T:
        """Drive a flow to its outcome."""
        return play(flow, lambda effect: self.perform(effect, now))

    async def run_async(self, flow: Flow[T], now: float) -> T:
        """The same with ``await``."""
        return await play_async(flow, lambda effect: self.perform_async(effect, now))

    def perform(self, effect: Effect, now: float) -> Any:
        """Perform one effect, waiting for it."""
        if isinstance(effect, _ENDS):
            return play(_noted(effect, now), lambda step: self._ask(step, now))
        return self._ask(effect, now)

    async def perform_async(self, effect: Effect, now: float) -> Any:
        """Perform one effect without holding up the event loop."""
        if isinstance(effect, _ENDS):
            return await play_async(_noted(effect, now), lambda step: self._ask_async(step, now))
        return await self._ask_async(effect, now)

    def _ask(self, effect: Effect, now: float) -> Any:
        method, arguments = _call(effect, now)
        return getattr(self.store, method)(*arguments)

    async def _ask_async(self, effect: Effect, now: float) -> Any:
        method, arguments = _call(effect, now)
        store = self.store
        asynchronous = store.asynchronous
        if asynchronous is not None and is_asyncio():
            return await getattr(asynchronous, method)(*arguments)
        work = partial(getattr(store, method), *arguments)
        # A read by key costs less than the hop to a thread would; a write may wait for another process.
        quick = store.inline if method in _READS else store.inline_writes
        return work() if quick else await anyio.to_thread.run_sync(work)


def _noted(effect: ask.EndSession | ask.EndSessions, now: float) -> Generator[Effect, Any, Any]:
    """End sessions, and write down those that were still there."""
    if isinstance(effect, ask.EndSession):
        before = yield ask.LoadSession(effect.key)
        sessions = [before] if isinstance(before, Session) else []
    else:
        sessions = list(effect.sessions)
    count = yield effect
    for session in sessions if count else ():
        if count != len(sessions):  # somebody else was faster with some of them
            left = yield ask.LoadSession(session.key)
            if not isinstance(left, Tombstone) or (left.reason, left.ended_at) != (effect.reason, int(now)):
                continue
        log(session_log.ended(session, effect.reason, effect.by, now))
    return count


def log(record: Mapping[str, Any]) -> None:
    """Write a record of :mod:`kmsi_middleware.rules.session_log`."""
    _log.info("%s", json.dumps(record, separators=(",", ":"), ensure_ascii=False))


def _call(effect: Effect, now: float) -> tuple[str, tuple[Any, ...]]:
    call = store_call(effect)
    if call is None:
        raise TypeError(f"nobody performs {effect!r}")
    method, arguments = call
    return method, arguments if method == "version" else (*arguments, now)


def store_call(effect: Effect) -> tuple[str, tuple[Any, ...]] | None:
    """The store's method for an effect, and its arguments before ``now`` (which ``version`` has no use for); ``None``
    for who else performs it."""
    match effect:
        case ask.LoadSession(key):
            return "load", (key,)
        case ask.ReadVersion(key):
            return "version", (key,)
        case ask.CreateSession(session):
            return "create", (session,)
        case ask.SaveSession(session):
            return "save", (session,)
        case ask.EndSession(key, reason):
            return "end", (key, reason)
        case ask.EndSessions(sessions, reason):
            return "end_many", ([session.key for session in sessions], reason)
        case ask.FindSessions(sid, issuer):
            return "find", (sid, issuer)
        case ask.FindUserSessions(user):
            return "find_user", (user,)
        case ask.ListSessions(cursor, limit):
            return "page", (cursor, limit)
        case ask.ReadMark(keys):
            return "read_mark", (keys,)
        case ask.PutMark(key, mark, until):
            return "put_mark", (key, mark, until)
        case ask.PutTicket(key, payload, expires_at):
            return "put_ticket", (key, payload, expires_at)
        case ask.ReadTicket(key):
            return "read_ticket", (key,)
        case ask.TakeTicket(key):
            return "take_ticket", (key,)
    return None


def is_asyncio() -> bool:
    """Whether this runs under asyncio, and not under trio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

"""What a process has heard from the server about sessions that changed: a count for each slot.

The server tells a connection that listens of every key of a session that anybody changes (``CLIENT TRACKING`` in
broadcasting mode). Each message moves the count of the key's slot, as a write does in the other stores
(``SessionStore.counters``), so the fast path is theirs. The counts vouch only when it is certain that there is nothing
left to hear:

1. **What was asked after a change was answered is answered after the change is heard.** Let a write be answered at
   *r*, and let a question be sent later than *r* on a connection that listens. The server carries out one command at a
   time, in turns of its loop, and before a turn ends it has put what the turn's commands invalidate into the
   connections that listen, and only then sends answers. So the question is read in a later turn, and the message about
   the write was in the connection before the question's answer. That is so where other threads of the server write
   answers, too, until Redis 7; since version 8, Redis and Valkey let these threads answer before the turn ends. So we
   listen only to a server that keeps the order (:func:`keeps_order`).
2. The question is for the server's role: one that is no primary any more may miss what the primary does.
3. Who begins to listen moves all counts, for nobody knows what was missed: no count that was noted before vouches.
4. A write of this process's own moves the count before it is answered; the message about it may come later.

:mod:`.lease` asks ahead of the requests, and vouches for as long as the lag allows; :mod:`.listener` asks when there
are requests that wait. It takes Redis 6.2 or Valkey. In a Redis Cluster a slot may move to a server that we don't
listen to, so there is neither.
"""

from __future__ import annotations

import secrets
import threading
from array import array
from collections.abc import Sequence
from typing import Any

import hiredis

from ....vocabulary.effects import SLOTS, slot_of

QUESTION: tuple[str, ...] = ("ROLE",)
LOOK: tuple[tuple[str, ...], ...] = (("INFO", "server"), ("CONFIG", "GET", "io-threads"))
"""What to ask before listening; by the older protocol, and an error is an answer."""
DISORDER = "with I/O threads, a server of this version answers before it tells what changed (or it does not say)"


class Misheard(Exception):
    """A message that can't be understood: whatever it said, it was not heard."""


class Counts:
    """One process's counts, whichever of its connections hears first. Safe to use from threads."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self.listening = (("HELLO", "3"), ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", prefix))
        """The commands that make a connection listen."""
        self.renew()

    def renew(self) -> None:
        """In a forked child: a lock of its own, and nothing heard."""
        self._lock = threading.Lock()
        self.start_over()

    def start_over(self) -> None:
        """Rule 3."""
        with self._lock:
            self.now: Sequence[int] = array("Q", [secrets.randbits(62) & ~1]) * SLOTS

    def move(self, *keys: bytes) -> None:
        """These sessions have changed, or may have: no count that was noted before vouches for them."""
        with self._lock:
            counts: Any = self.now
            for key in keys:
                counts[slot_of(key)] += 2

    def hear(self, message: Any) -> None:
        """An invalidation: of some keys, or of all. Raises :class:`Misheard`."""
        if not isinstance(message, hiredis.PushNotification) or message[:1] != [b"invalidate"]:
            raise Misheard("the server says what is not understood")
        if message[1:] == [None]:
            raise Misheard("the server forgot all sessions")
        try:
            self.move(*(bytes.fromhex(key[len(self._prefix) :].decode("ascii")) for key in message[1]))
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            raise Misheard("the server names a key that is none of ours") from error


def is_primary(role: Any) -> bool:
    """Whether the answer to :data:`QUESTION` vouches (rule 2)."""
    return isinstance(role, list) and role[:1] == [b"master"]


def keeps_order(info: Any, threads: Any) -> bool:
    """Whether rule 1 holds for the server that gave these answers to :data:`LOOK`. Unknown: no."""
    try:
        told = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        is_valkey = "valkey_version" in told
        major = int(told["valkey_version" if is_valkey else "redis_version"].partition(".")[0])
    except (AttributeError, ValueError, KeyError):
        return False
    if is_valkey and major >= 9:  # where threads can be added at any time
        return False
    return major < 8 or threads == [b"io-threads", b"1"]

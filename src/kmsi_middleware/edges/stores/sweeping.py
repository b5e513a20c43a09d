"""Deleting what is over, in the background and in small steps, so that no request waits for it.

1. A write that finds it time (once a minute of the callers' clock) starts a thread; the thread takes one step after
   the other until nothing is left, and ends. Who does not write leaves nothing behind that could be swept.
2. Between two steps it rests for as long as the last one took, so that others have the database half of the time
   at least.
3. After a few steps the thread moves what they wrote from the ``-wal`` file to the database: a *checkpoint*. Else the
   next commit would do it, and other writes would wait for the disk with it.
4. Of several processes one sweeps: who begins says so in the database.
5. What is over counts as absent whether or not it was swept, so nothing depends on it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from ...vocabulary.errors import StoreUnavailable

_log = logging.getLogger("kmsi_middleware")

EVERY = 60
"""Seconds of the callers' time between two sweeps."""
ROWS = 64
"""Of each table so many go with one step at most: it holds the database for one or two milliseconds."""
SPARE_PAGES = 1_024
"""Free pages that the file keeps for what comes next; a quarter of it, if that is more."""
_PAGES = 8
"""So many free pages are given back with one step: in a large file, to move one takes a quarter of a millisecond."""
STEPS = 4
"""After so many steps there is a checkpoint: mostly before SQLite's own, which a commit makes after 1,000 pages."""
_SHORTEST_REST = 0.001

Step = Callable[[float, bool], bool]
"""Sweep once: as of an instant, and whether it is the first step. Answer: whether there is more."""
Checkpoint = Callable[[], None]
"""Move what was written to the database. Nobody waits for it but who calls."""


class Sweeper:
    """Sweeps one process's store. ``step`` and ``checkpoint`` do the work; ``rest`` waits, in seconds of real time."""

    def __init__(self, step: Step, checkpoint: Checkpoint, rest: Callable[[float], None] = time.sleep) -> None:
        self._step = step
        self._checkpoint = checkpoint
        self._rest = rest
        self._due_at = float("-inf")
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, now: float) -> None:
        """A write was done. Starts a sweep if it is time, and does not wait for it."""
        # A clock that was set back must not put it off for longer.
        if self._due_at - EVERY <= now < self._due_at or not self._busy.acquire(blocking=False):
            return
        self._due_at = now + EVERY
        self._thread = threading.Thread(target=self._run, args=(now,), name="kmsi-sweep", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had, or the interpreter is ending
            self._busy.release()

    def wait(self) -> None:
        """Wait until a sweep under way is done."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, now: float) -> None:
        try:
            steps = 0
            began = time.perf_counter()
            while self._step(now, steps == 0):
                steps += 1
                if steps % STEPS == 0:
                    self._checkpoint()
                self._rest(max(time.perf_counter() - began, _SHORTEST_REST))
                began = time.perf_counter()
        except StoreUnavailable as error:
            _log.info("sweeping waits for its next turn: %s", error)
        finally:
            self._busy.release()


_CLAIM = "UPDATE meta SET value = ? WHERE name = 'swept_at' AND NOT (value > ? AND value <= ?)"
_OVER = "SELECT id FROM sessions WHERE gone_at <= ? ORDER BY gone_at LIMIT ?"
_DELETE = (
    "DELETE FROM sids WHERE session = ?",
    "DELETE FROM users WHERE session = ?",
    "DELETE FROM sessions WHERE id = ?",
)
_TICKETS = "DELETE FROM tickets WHERE key IN (SELECT key FROM tickets WHERE expires_at <= ? LIMIT ?)"
_MARKS = "DELETE FROM marks WHERE key IN (SELECT key FROM marks WHERE until <= ? LIMIT ?)"


def claim(writer: sqlite3.Connection, now: float) -> bool:
    """Rule 4; in a transaction. False: another process has begun not long ago."""
    return writer.execute(_CLAIM, (now, now - EVERY / 2, now)).rowcount == 1


def sweep(writer: sqlite3.Connection, now: float) -> bool:
    """One step, in a transaction. Answer: whether there is more."""
    over = writer.execute(_OVER, (now, ROWS)).fetchall()
    for statement in _DELETE:
        writer.executemany(statement, over)
    others = [writer.execute(statement, (now, ROWS)).rowcount for statement in (_TICKETS, _MARKS)]
    return ROWS in (len(over), *others)


def give_back(writer: sqlite3.Connection) -> bool:
    """Give some of the file's free pages back to the system, outside a transaction. Answer: whether there is more."""
    (free,) = writer.execute("PRAGMA freelist_count").fetchone()
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    if free <= max(SPARE_PAGES, pages // 4):
        return False
    writer.executescript(f"PRAGMA incremental_vacuum({_PAGES})")  # by execute it would free one page
    return True

"""Sweeping: in the background, in small steps, by one process, and the file does not grow for ever."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.store_actors import DAY, NOW, key_of, session

from kmsi_middleware.edges.stores import SQLiteStore, sweeping
from kmsi_middleware.edges.stores.sweeping import EVERY, Sweeper
from kmsi_middleware.vocabulary.session import Session

OVER = NOW + 3 * DAY


def rows(store: SQLiteStore) -> dict[str, int]:
    with closing(sqlite3.connect(store.path)) as connection:
        tables = ("sessions", "sids", "users", "tickets", "marks")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def fill(store: SQLiteStore, count: int) -> None:
    """Sessions that are over at ``OVER``."""
    for number in range(count):
        store.create(session(number, sids=(f"sid-{number}",), sealed=bytes(1_000)), NOW)
    store._sweeper.wait()


def write(store: SQLiteStore, now: float, name: object = "a write") -> None:
    store.put_ticket(key_of(name), b"", int(now) + 9, now)


def with_rests(store: SQLiteStore, rest: Callable[[float], None]) -> None:
    store._sweeper = Sweeper(store._sweep, store._checkpoint, rest)


def test_a_write_is_answered_before_anything_is_swept(sqlite_store: SQLiteStore) -> None:
    fill(sqlite_store, 30)
    with_rests(sqlite_store, lambda _seconds: None)
    sqlite_store._lock.acquire()  # the sweeper can't begin while a write of this process is under way
    try:
        sqlite_store._sweeper.note(OVER)
        assert rows(sqlite_store)["sessions"] == 30
    finally:
        sqlite_store._lock.release()
    sqlite_store._sweeper.wait()
    assert rows(sqlite_store)["sessions"] == 0


def test_between_two_steps_everybody_has_their_turn(sqlite_store: SQLiteStore, path: Path) -> None:
    fill(sqlite_store, 300)
    left: list[int] = []

    def rest(_seconds: float) -> None:
        with closing(SQLiteStore(path)) as elsewhere:  # as another process: it neither waits nor fails
            elsewhere.create(session(("new", len(left)), expires_at=int(OVER) + DAY), OVER)
        sqlite_store.create(session(("ours", len(left)), expires_at=int(OVER) + DAY), OVER)
        left.append(rows(sqlite_store)["sessions"])

    with_rests(sqlite_store, rest)
    write(sqlite_store, OVER)
    sqlite_store._sweeper.wait()
    assert len(left) > 3
    assert all(before - after <= sweeping.ROWS for before, after in itertools.pairwise(left))
    assert rows(sqlite_store)["sessions"] == 2 * len(left)


def test_after_some_steps_there_is_a_checkpoint_that_nobody_waits_for(sqlite_store: SQLiteStore) -> None:
    """As long as it is in the ``-wal`` file alone, the next commit would have to move it."""

    def checkpointed() -> int:
        with closing(sqlite3.connect(f"{sqlite_store.path.as_uri()}?immutable=1", uri=True)) as without_wal:
            count: int = without_wal.execute("SELECT count(*) FROM sessions").fetchone()[0]
            return count

    def checkpoint() -> None:
        assert not sqlite_store._lock.locked()
        sqlite_store._checkpoint()

    fill(sqlite_store, 300)
    with closing(sqlite3.connect(sqlite_store.path)) as elsewhere:
        elsewhere.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    left: list[tuple[int, int]] = []

    def rest(_seconds: float) -> None:
        left.append((rows(sqlite_store)["sessions"], checkpointed()))

    sqlite_store._sweeper = Sweeper(sqlite_store._sweep, checkpoint, rest)
    write(sqlite_store, OVER)
    sqlite_store._sweeper.wait()
    assert left == [
        (300 - n * sweeping.ROWS, 300 if n < sweeping.STEPS else 300 - n * sweeping.ROWS) for n in (1, 2, 3, 4)
    ]


def test_a_checkpoint_opens_no_store_that_was_closed(sqlite_store: SQLiteStore) -> None:
    sqlite_store.close()
    sqlite_store._checkpoint()
    assert sqlite_store.counters() is None


def test_what_is_not_over_stays(sqlite_store: SQLiteStore) -> None:
    fill(sqlite_store, 5)
    lasting = session("lasting", expires_at=int(OVER), sids=("lasting",))
    sqlite_store.create(lasting, NOW)
    write(sqlite_store, OVER)
    sqlite_store._sweeper.wait()
    assert rows(sqlite_store) == {"sessions": 1, "sids": 1, "users": 1, "tickets": 1, "marks": 0}
    assert sqlite_store.load(lasting.key, OVER) == lasting


def test_of_several_processes_one_sweeps(sqlite_store: SQLiteStore, path: Path) -> None:
    fill(sqlite_store, 5)
    with closing(SQLiteStore(path)) as other:
        steps: list[bool] = []
        other._sweeper = Sweeper(lambda now, first: bool(steps.append(other._sweep(now, first))), lambda: None)
        write(sqlite_store, OVER)
        sqlite_store._sweeper.wait()
        for number in range(7):
            sqlite_store.create(session(("late", number), expires_at=int(NOW)), OVER)
        write(other, OVER + 1)
        other._sweeper.wait()
        assert steps == [False]
        assert rows(sqlite_store)["sessions"] == 7  # they wait for the next turn
        write(other, OVER + EVERY + 1)
        other._sweeper.wait()
        assert rows(sqlite_store)["sessions"] == 0


def test_it_is_looked_for_once_a_minute_and_a_clock_that_was_set_back_puts_nothing_off() -> None:
    began: list[float] = []

    def step(now: float, _first: bool) -> bool:
        began.append(now)
        return False

    sweeper = Sweeper(step, lambda: None)
    for now in (NOW, NOW + 1, NOW + EVERY - 1, NOW + EVERY, NOW + EVERY + 1, NOW - 3_600):
        sweeper.note(now)
        sweeper.wait()
    assert began == [NOW, NOW + EVERY, NOW - 3_600]


def test_a_store_that_was_closed_is_not_opened_to_be_swept(sqlite_store: SQLiteStore) -> None:
    fill(sqlite_store, 300)
    with_rests(sqlite_store, lambda _seconds: sqlite_store.close())
    write(sqlite_store, OVER)
    sqlite_store._sweeper.wait()
    assert sqlite_store.counters() is None
    assert 0 < rows(sqlite_store)["sessions"] < 300


def test_a_sweep_that_fails_is_taken_up_again(sqlite_store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(sqlite_store, 5)

    def fails(*_: object) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(sweeping, "sweep", fails)
        write(sqlite_store, OVER)
        sqlite_store._sweeper.wait()
    write(sqlite_store, OVER + 1, "it works on")
    write(sqlite_store, OVER + EVERY, "and sweeps")
    sqlite_store._sweeper.wait()
    assert rows(sqlite_store)["sessions"] == 0


def test_the_file_gives_back_what_it_has_no_use_for(sqlite_store: SQLiteStore) -> None:
    fill(sqlite_store, 4_000)
    _checkpoint(sqlite_store)
    full = sqlite_store.path.stat().st_size
    assert full > sweeping.SPARE_PAGES * 4_096
    write(sqlite_store, OVER)
    sqlite_store._sweeper.wait()
    _checkpoint(sqlite_store)
    with closing(sqlite3.connect(sqlite_store.path)) as connection:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    assert free <= sweeping.SPARE_PAGES
    assert sqlite_store.path.stat().st_size < full


def test_in_a_steady_state_the_file_stops_growing(sqlite_store: SQLiteStore) -> None:
    with_rests(sqlite_store, lambda _seconds: None)
    sizes = []
    for day in range(12):
        now = NOW + day * DAY
        for number in range(150):
            made = session((day, number), started_at=int(now), expires_at=int(now) + DAY, sealed=bytes(1_000))
            sqlite_store.create(made, now)
        sqlite_store._sweeper.wait()
        _checkpoint(sqlite_store)
        sizes.append(sqlite_store.path.stat().st_size)
    assert max(sizes[6:]) <= max(sizes[:6]) * 1.1
    assert isinstance(sqlite_store.load(key_of((11, 0)), NOW + 11 * DAY), Session)


def _checkpoint(store: SQLiteStore) -> None:
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

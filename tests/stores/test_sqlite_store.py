"""What only the SQLite store has: a file, its modes, its failures, its counters file."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stores.store_actors import NOW, key_of, session

from kmsi_middleware.edges.stores import SQLiteStore, schema
from kmsi_middleware.vocabulary.effects import slot_of
from kmsi_middleware.vocabulary.errors import StoreConflict, StoreUnavailable
from kmsi_middleware.vocabulary.session import Mark, Session, Tombstone

KEY = key_of("ada")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are not waited for."""
    monkeypatch.setattr(schema, "WRITE_WAIT", 0.0)


@pytest.fixture
def other(sqlite_store: SQLiteStore) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the database of the store."""
    sqlite_store.load(KEY, NOW)
    with closing(sqlite3.connect(sqlite_store.path, isolation_level=None)) as connection:
        yield connection


def _count(store: SQLiteStore, key: bytes = KEY) -> int:
    counts = store.counters()
    assert counts is not None
    return counts[slot_of(key)]


# Files -------------------------------------------------------------------------------------------------------


def test_nothing_is_opened_before_the_first_use(sqlite_store: SQLiteStore) -> None:
    assert sqlite_store.counters() is None
    assert not sqlite_store.path.parent.exists()


def test_folder_and_files_are_private(sqlite_store: SQLiteStore) -> None:
    sqlite_store.create(session(), NOW)
    folder = sqlite_store.path.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}
    name = sqlite_store.path.name
    assert modes == {f"{name}{suffix}": 0o600 for suffix in ("", "-wal", "-shm", ".counters")}


def test_what_exists_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.touch(0o640)
    with closing(SQLiteStore(path)) as store:
        store.create(session(), NOW)
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_restart_forgets_nothing(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.create(session(), NOW)
        count = _count(store)
    with closing(SQLiteStore(path)) as store:
        assert store.load(KEY, NOW) == session()
        assert _count(store) == count


def test_paths_that_mean_the_same_file_are_the_same_store(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "link").symlink_to(path)
    with closing(SQLiteStore(path)) as one, closing(SQLiteStore(tmp_path / "link")) as two:
        one.create(session(), NOW)
        assert two.load(KEY, NOW) == session()
        noted = _count(one)
        two.end(KEY, "revoked", NOW)
        assert _count(one) == noted + 2


def test_ending_leaves_nothing_about_the_person(sqlite_store: SQLiteStore, other: sqlite3.Connection) -> None:
    sqlite_store.create(session(), NOW)
    sqlite_store.end(KEY, "revoked", NOW)
    (row,) = other.execute("SELECT * FROM sessions").fetchall()
    _, key, gone_at, ended, *rest = row
    assert (key, gone_at, ended) == (KEY, int(NOW) + 86_400, "revoked")
    assert rest == [None] * 7 + ["c0ffee"]  # the sign-in's name in the log
    for index in ("sids", "users"):
        assert other.execute(f"SELECT * FROM {index}").fetchall() == []


def test_every_statement_uses_an_index(other: sqlite3.Connection) -> None:
    from kmsi_middleware.edges.stores import sqlite, sweeping

    named = (vars(module).items() for module in (sqlite, sweeping))
    statements = [value for name, value in itertools.chain(*named) if name.isupper() and isinstance(value, str)]
    for statement in [*statements, *sweeping._DELETE]:
        if not statement.lstrip().startswith("INSERT"):
            values = (None,) * statement.count("?")
            plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            assert plan
            assert not [step for step in plan if step.startswith("SCAN")], (statement, plan)


# Failures ----------------------------------------------------------------------------------------------------


def _all_methods_fail(store: SQLiteStore) -> None:
    for method, arguments in {
        "load": (KEY, NOW),
        "create": (session(), NOW),
        "save": (session(version=2), NOW),
        "end": (KEY, "revoked", NOW),
        "find": ("sid-1", None, NOW),
        "end_many": ([KEY], "revoked", NOW),
        "find_user": (KEY, NOW),
        "page": (b"", 1, NOW),
        "read_mark": ([KEY], NOW),
        "put_mark": (KEY, Mark(), 0, NOW),
        "version": (KEY,),
        "put_ticket": (KEY, b"", int(NOW) + 1, NOW),
        "read_ticket": (KEY, NOW),
        "take_ticket": (KEY, NOW),
    }.items():
        with pytest.raises(StoreUnavailable):
            getattr(store, method)(*arguments)


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    _all_methods_fail(SQLiteStore(tmp_path))


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _all_methods_fail(SQLiteStore(tmp_path / "file" / "sessions.sqlite3"))


def test_a_file_of_garbage_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    path.write_bytes(b"garbage " * 1000)
    _all_methods_fail(SQLiteStore(path))
    assert path.read_bytes() == b"garbage " * 1000


@pytest.mark.parametrize(
    ("pragma", "problem"),
    [("user_version = 3", "version 3"), ("application_id = 7", "another program")],
)
def test_a_newer_or_foreign_database_is_left_alone(path: Path, pragma: str, problem: str) -> None:
    with closing(SQLiteStore(path)) as store:
        store.create(session(), NOW)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=problem):
        SQLiteStore(path).load(KEY, NOW)
    assert path.read_bytes() == before


def test_a_locked_database_is_still_read(impatient: None, sqlite_store: SQLiteStore, other: sqlite3.Connection) -> None:
    sqlite_store.create(session(), NOW)
    sqlite_store._sweeper.wait()
    noted = _count(sqlite_store)
    other.execute("BEGIN EXCLUSIVE")
    assert sqlite_store.load(KEY, NOW) == session()
    for write in (
        lambda: sqlite_store.save(session(version=2), NOW),
        lambda: sqlite_store.end(KEY, "revoked", NOW),
        lambda: sqlite_store.create(session("eve"), NOW),
        lambda: sqlite_store.put_ticket(KEY, b"", int(NOW) + 1, NOW),
    ):
        with pytest.raises(StoreUnavailable, match="locked"):
            write()
    other.execute("ROLLBACK")
    assert _count(sqlite_store) == noted
    assert sqlite_store.end(KEY, "revoked", NOW) is True


def test_a_process_that_starts_while_the_database_is_locked(
    impatient: None, sqlite_store: SQLiteStore, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN EXCLUSIVE")
    with closing(SQLiteStore(sqlite_store.path)) as late:
        with pytest.raises(StoreUnavailable, match="locked"):
            late.load(KEY, NOW)
        other.execute("ROLLBACK")
        assert late.load(KEY, NOW) is None


def test_a_full_disk_loses_nothing_that_was_answered(sqlite_store: SQLiteStore) -> None:
    sqlite_store.create(session(), NOW)
    writer = sqlite_store._writer
    assert writer is not None
    writer.execute("PRAGMA max_page_count = 1")
    big = replace(session(), version=2, data=b"x" * 100_000)
    with pytest.raises(StoreUnavailable, match="full"):
        sqlite_store.save(big, NOW)
    assert sqlite_store.load(KEY, NOW) == session()
    writer.execute("PRAGMA max_page_count = 100000")
    sqlite_store.save(big, NOW)
    assert sqlite_store.load(KEY, NOW) == big
    assert _count(sqlite_store) % 2 == 0


def test_a_row_that_cannot_be_read_is_a_failure_and_not_an_absence(
    sqlite_store: SQLiteStore, other: sqlite3.Connection
) -> None:
    sqlite_store.create(session(), NOW)
    for body in ("no json", "[]", "{}", '{"unknown": 1}'):
        other.execute("UPDATE sessions SET body = ?", (body,))
        with pytest.raises(StoreUnavailable, match="can't read"):
            sqlite_store.load(KEY, NOW)


def test_text_that_sqlite_cannot_keep_is_a_failure(sqlite_store: SQLiteStore) -> None:
    with pytest.raises(StoreUnavailable):
        sqlite_store.create(session(subject="\ud800"), NOW)
    assert sqlite_store.load(KEY, NOW) is None


def test_a_failed_write_holds_no_lock(sqlite_store: SQLiteStore, other: sqlite3.Connection) -> None:
    sqlite_store.create(session(), NOW)
    with pytest.raises(StoreConflict):
        sqlite_store.create(session(), NOW)
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")


def test_a_write_that_cannot_settle_is_answered_and_leaves_its_slot_odd(
    impatient: None, sqlite_store: SQLiteStore, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the lock between COMMIT and settling, and does not let go."""
    sqlite_store.close()  # opened again, without patience
    sqlite_store.create(session(), NOW)
    sqlite_store._sweeper.wait()
    settle = SQLiteStore._settle

    def settle_late(self: SQLiteStore, *arguments: object) -> None:
        other.execute("BEGIN IMMEDIATE")
        settle(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SQLiteStore, "_settle", settle_late)
    assert sqlite_store.end(KEY, "revoked", NOW) is True
    assert _count(sqlite_store) % 2 == 1
    assert isinstance(sqlite_store.load(KEY, NOW), Tombstone)
    monkeypatch.undo()
    other.execute("ROLLBACK")
    sqlite_store.end(KEY, "revoked", NOW)
    assert _count(sqlite_store) % 2 == 0


# Files that go away --------------------------------------------------------------------------------------------


def test_a_deleted_database_is_noticed_by_the_next_write(sqlite_store: SQLiteStore) -> None:
    sqlite_store.create(session(), NOW)
    noted = _count(sqlite_store)
    for each in sqlite_store.path.parent.iterdir():
        each.unlink()
    with pytest.raises(StoreUnavailable, match="replaced or deleted"):
        sqlite_store.save(session(version=2), NOW)
    assert sqlite_store.counters() is None
    assert sqlite_store.load(KEY, NOW) is None
    sqlite_store.create(session(), NOW)
    assert _count(sqlite_store) != noted


def test_a_lost_counters_file_is_made_anew_by_the_first_to_come_back(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.create(session(), NOW)
        noted = _count(store)
    schema.counters_path(path).unlink()
    with closing(SQLiteStore(path)) as store, closing(SQLiteStore(path)) as second:
        assert store.load(KEY, NOW) == second.load(KEY, NOW) == session()
        assert _count(store) == _count(second) != noted
        second.end(KEY, "revoked", NOW)
        assert _count(store) == _count(second)


@pytest.mark.parametrize("content", [None, b"truncated", bytes(65_536 * 8 + 16)])
def test_a_newcomer_without_the_counters_of_the_others_does_not_work(
    impatient: None, path: Path, content: bytes | None
) -> None:
    """It could not see their writes, nor they its."""
    counters = schema.counters_path(path)
    with closing(SQLiteStore(path)) as running:
        running.create(session(), NOW)
        running._sweeper.wait()
        counters.unlink()
        if content is not None:
            counters.write_bytes(content)
        with closing(SQLiteStore(path)) as late:
            with pytest.raises(StoreUnavailable, match="stop them all"):
                late.load(KEY, NOW)
            running.save(session(version=2), NOW)
            running.close()
            assert isinstance(late.load(KEY, NOW), Session)
            assert running.end(KEY, "revoked", NOW) is True
            assert _count(late) == _count(running)

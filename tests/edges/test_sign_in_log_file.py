"""The sign-in log: one table of filters for file and memory; then what only a file can get wrong."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmsi_middleware.edges.sign_in_log import FILE_NAME, SignInLog, beside
from kmsi_middleware.rules.sign_in_log import INTERRUPT_CODE, sign_in_record
from kmsi_middleware.vocabulary.errors import StoreUnavailable

T0 = 1_700_000_000.0
ADA = {"sub": "s-ada", "oid": "OID-ada", "name": "Ada Lovelace", "preferred_username": "Ada@Example.com"}
BEN = {"sub": "s-ben", "name": "Ben Ünal", "email": "ben@example.com"}


def record(
    name: str, at: float, *, code: str = "", correlation: str = "", claims: dict[str, str] | None = ADA
) -> dict[str, Any]:
    return sign_in_record(
        at=at,
        record_id=name,
        correlation_id=correlation or f"c-{name}",
        code=code,
        claims=claims,
        app_id="app",
        app_name="App",
        client_address="192.0.2.1",
        user_agent="Test",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / FILE_NAME


@pytest.fixture(params=["file", "memory"])
def log(request: pytest.FixtureRequest, path: Path) -> Iterator[SignInLog]:
    log = SignInLog(path if request.param == "file" else None, days=30)
    yield log
    log.close()


@pytest.fixture
def file_log(path: Path) -> Iterator[SignInLog]:
    log = SignInLog(path, days=30)
    yield log
    log.close()


def ids(log: SignInLog, now: float = T0 + 10_000, **filters: Any) -> list[str]:
    return [found["id"] for found in log.read(now=now, **filters)]


RECORDS = [
    record("ada", T0, correlation="aaa-1"),
    record("ben-asked", T0 + 10, code=INTERRUPT_CODE, correlation="bbb-1", claims=BEN),
    record("ben-yes", T0 + 20, correlation="bbb-1", claims=BEN),
    record("ada-asked", T0 + 30, code=INTERRUPT_CODE, correlation="aaa-2"),
    record("nobody", T0 + 40, code="access_denied", correlation="ccc", claims=None),
    record("ada-late", T0 + 50, code="interrupt_expired", correlation="aaa-2"),
]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["ada-late", "nobody", "ada-asked", "ben-yes", "ben-asked", "ada"]),
        ({"limit": 2}, ["ada-late", "nobody"]),
        ({"limit": 100}, ["ada-late", "nobody", "ada-asked", "ben-yes", "ben-asked", "ada"]),
        ({"user": "oid-ADA"}, ["ada-late", "ada-asked", "ada"]),
        ({"user": "oid-"}, []),
        ({"user": "ada@EXAMPLE.com"}, ["ada-late", "ada-asked", "ada"]),
        ({"user": "ben ü"}, ["ben-yes", "ben-asked"]),
        ({"user": "BEN Ü"}, ["ben-yes", "ben-asked"]),
        ({"user": "ünal"}, []),
        ({"user": "%"}, []),
        ({"user": "' OR 1 --"}, []),
        ({"code": 0}, ["ben-yes", "ada"]),
        ({"code": 50140}, ["ada-asked", "ben-asked"]),
        ({"code": 65004}, ["nobody"]),
        ({"code": 1}, []),
        ({"correlation_id": "bbb-1"}, ["ben-yes", "ben-asked"]),
        ({"correlation_id": "aaa"}, ["ada-late", "ada-asked", "ada"]),
        ({"correlation_id": "aa_"}, []),
        ({"since": T0 + 30}, ["ada-late", "nobody", "ada-asked"]),
        ({"until": T0 + 30}, ["ben-yes", "ben-asked", "ada"]),
        ({"since": T0 + 10, "until": T0 + 30}, ["ben-yes", "ben-asked"]),
        ({"abandoned": True}, ["ada-asked"]),
        ({"abandoned": True, "user": "ben"}, []),
        ({"abandoned": True, "now": T0 + 30 + 599}, []),
        ({"abandoned": True, "now": T0 + 30 + 600}, ["ada-asked"]),
        # The success that answers it counts, even outside the time asked for.
        ({"abandoned": True, "until": T0 + 15}, []),
        ({"code": 0, "user": "ada", "since": T0, "limit": 1}, ["ada"]),
    ],
)
def test_filters(log: SignInLog, filters: dict[str, Any], found: list[str]) -> None:
    for given in RECORDS:
        log.append(given, T0 + 10 * RECORDS.index(given))
    assert ids(log, **filters) == found


def test_newest_first_even_within_one_instant_and_when_the_clock_was_set_back(log: SignInLog) -> None:
    for name, at in (("a", T0), ("b", T0), ("c", T0 - 5), ("d", T0)):
        log.append(record(name, at), at)
    assert ids(log) == ["d", "b", "a", "c"]


def test_what_is_read_is_what_was_written(log: SignInLog) -> None:
    log.append(RECORDS[1], T0)
    assert log.read(now=T0) == [RECORDS[1]]


def test_a_log_that_was_never_written_is_empty(log: SignInLog, path: Path) -> None:
    assert ids(log) == []
    assert not path.parent.exists(), "nothing is made by looking"


def test_records_are_kept_for_so_many_days(path: Path) -> None:
    for place in (path, None):
        log = SignInLog(place, days=2)
        log.append(record("old", T0), T0)
        log.append(record("last-second", T0 + 2 * 86_400), T0 + 2 * 86_400)
        assert ids(log) == ["last-second", "old"]
        log.append(record("new", T0 + 2 * 86_400 + 1), T0 + 2 * 86_400 + 1)
        assert ids(log) == ["new", "last-second"]
        log.close()


def test_the_file_is_swept_in_small_steps(file_log: SignInLog) -> None:
    for number in range(250):
        file_log.append(record(str(number), T0), T0)
    late = T0 + 40 * 86_400
    left = []
    for _ in range(4):
        file_log.append(record("new", late), late)
        left.append(len(ids(file_log, until=T0 + 1)))
    assert left == [150, 50, 0, 0]


def test_memory_is_bounded(log: SignInLog, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SignInLog(None, days=30)
    given = record("x", T0)
    monkeypatch.setattr(logging.getLogger("kmsi_middleware.sign_ins"), "disabled", True)
    for _ in range(10_050):
        memory.append(given, T0)
    assert len(ids(memory)) == 10_000


def test_each_record_is_one_json_line_on_the_logger(log: SignInLog, caplog: pytest.LogCaptureFixture) -> None:
    hostile = record("x", T0, code="provider_error", claims={"sub": "a\nb\x1b[2J"})
    with caplog.at_level(logging.INFO, logger="kmsi_middleware.sign_ins"):
        for given in (RECORDS[0], RECORDS[1], RECORDS[4], hostile):
            log.append(given, T0)
    lines = [entry for entry in caplog.records if entry.name == "kmsi_middleware.sign_ins"]
    assert [entry.levelname for entry in lines] == ["INFO", "INFO", "WARNING", "WARNING"]
    assert [json.loads(entry.getMessage()) for entry in lines] == [RECORDS[0], RECORDS[1], RECORDS[4], hostile]
    assert not any(set(entry.getMessage()) & set("\n\r\x1b") for entry in lines)


# Files -----------------------------------------------------------------------------------------------------


def test_only_the_owner_may_read_the_file(file_log: SignInLog, path: Path) -> None:
    before = os.umask(0)
    try:
        file_log.append(RECORDS[0], T0)
    finally:
        os.umask(before)
    files = sorted(path.parent.iterdir())
    assert {file.name for file in files} >= {FILE_NAME, FILE_NAME + "-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_opens_before_the_first_use(file_log: SignInLog, path: Path) -> None:
    assert file_log._connection is None
    assert not path.exists()


def test_it_lies_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for store in ("sessions.sqlite3", "./sessions.sqlite3", "~/sessions.sqlite3", str(tmp_path / "other")):
        assert beside(Path(store)) == tmp_path.resolve() / FILE_NAME


def test_it_stays_where_it_is_when_the_app_changes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = SignInLog(Path(FILE_NAME), days=30)
    monkeypatch.chdir("/")
    log.append(RECORDS[0], T0)
    log.close()
    assert (tmp_path / FILE_NAME).exists()


def test_it_opens_again_after_close_and_keeps_what_was_there(file_log: SignInLog) -> None:
    file_log.append(RECORDS[0], T0)
    file_log.close()
    file_log.append(RECORDS[2], T0 + 1)
    assert ids(file_log) == ["ben-yes", "ada"]


def test_a_deleted_file_is_made_anew(file_log: SignInLog, path: Path) -> None:
    file_log.append(RECORDS[0], T0)
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert ids(file_log) == []
    file_log.append(RECORDS[2], T0)
    assert ids(file_log) == ["ben-yes"]


def broken_by_content(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and long enough to be read as one" * 100)


def broken_by_folder(path: Path) -> None:
    path.mkdir(parents=True)


def broken_by_parent(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")


def broken_by_a_newer_version(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize("break_it", [broken_by_content, broken_by_folder, broken_by_parent, broken_by_a_newer_version])
def test_a_failing_log_stops_nobody(
    file_log: SignInLog, path: Path, caplog: pytest.LogCaptureFixture, break_it: Any
) -> None:
    break_it(path)
    with caplog.at_level(logging.INFO, logger="kmsi_middleware"):
        file_log.append(RECORDS[0], T0)
    kinds = [(entry.name, entry.levelname) for entry in caplog.records]
    assert kinds == [("kmsi_middleware.sign_ins", "INFO"), ("kmsi_middleware", "ERROR")]
    assert str(path) in caplog.messages[-1]


def test_a_log_that_cannot_be_read_says_so(file_log: SignInLog, path: Path) -> None:
    broken_by_content(path)
    with pytest.raises(StoreUnavailable, match=FILE_NAME):
        file_log.read(now=T0)


def test_it_recovers_when_the_trouble_is_over(file_log: SignInLog, path: Path) -> None:
    broken_by_content(path)
    file_log.append(RECORDS[0], T0)
    path.unlink()
    file_log.append(RECORDS[2], T0)
    assert ids(file_log) == ["ben-yes"]


def test_a_file_that_was_made_but_never_filled_is_empty(file_log: SignInLog, path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert ids(file_log) == []
    file_log.append(RECORDS[0], T0)
    assert ids(file_log) == ["ada"]


def test_a_locked_file_costs_the_record_and_no_more(
    file_log: SignInLog, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kmsi_middleware.edges.sign_in_log._BUSY_SECONDS", 0.0)
    file_log.append(RECORDS[0], T0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    file_log.append(RECORDS[1], T0)
    assert "locked" in caplog.messages[-1]
    other.execute("ROLLBACK")
    other.close()
    file_log.append(RECORDS[2], T0)
    assert ids(file_log) == ["ben-yes", "ada"]


def test_threads_share_a_log(log: SignInLog) -> None:
    def write(thread: int) -> None:
        for number in range(25):
            log.append(record(f"{thread}-{number}", T0), T0)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids(log))) == 200


def _write_from(path: Path, process: int) -> None:
    log = SignInLog(path, days=30)
    for number in range(20):
        log.append(record(f"{process}-{number}", T0), T0)
    log.close()


def test_processes_that_start_together_share_a_file(file_log: SignInLog, path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_from, args=(path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(set(ids(file_log))) == 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own(file_log: SignInLog) -> None:
    """Even while the parent is writing: the child gets neither its lock nor its connection."""
    file_log.append(RECORDS[0], T0)
    with file_log._lock:
        child = os.fork()
        if child == 0:
            try:
                file_log.append(RECORDS[2], T0 + 1)
                os._exit(0 if ids(file_log) == ["ben-yes", "ada"] else 1)
            except BaseException:
                os._exit(2)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    file_log.append(RECORDS[4], T0 + 2)
    assert ids(file_log) == ["nobody", "ben-yes", "ada"]

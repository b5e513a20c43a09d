"""The session store is locked, full, corrupted or gone: 503, nobody is signed out, nothing answered is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import HOME, MINUTE, Browser, World

from kmsi_middleware.edges.stores import schema


def database(world: World) -> Path:
    return world.folder / "main" / "sessions.sqlite3"


def restart(world: World) -> None:
    """Processes that hold nothing in memory."""
    world.at[HOME].parts.services.close()
    world.at[HOME].parts.idp.close()
    world.app()


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Another program writes, and does not stop."""
    with closing(sqlite3.connect(database(world), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full(world: World) -> Iterator[None]:
    """SQLite's own limit of pages: what it says then is what it says of a full disk."""
    store = world.at[HOME].parts.services.store
    with store._lock:
        writer, _ = store._open()
        (before,) = writer.execute("PRAGMA max_page_count").fetchone()
        writer.execute("PRAGMA max_page_count = 1").fetchall()
    # What is free inside the file is used up first.
    with closing(sqlite3.connect(database(world))) as other:
        assert other.execute("PRAGMA freelist_count").fetchone() == (0,)
    yield
    writer.execute(f"PRAGMA max_page_count = {before}").fetchall()


def assert_later(answer: Answer) -> None:
    assert answer.status == 503, answer.text
    assert int(answer.header("retry-after")) > 0
    assert answer.header("cache-control") == "no-store"
    assert "store_unavailable" in answer.text
    assert not any(line.startswith("kmsi-8000=;") for line in answer.cookies)  # and the cookie is not taken away


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are waited for, but not for long."""
    monkeypatch.setattr(schema, "WRITE_WAIT", 0.2)


@pytest.fixture
def browser(world: World) -> Browser:
    world.app()
    made = world.browser()
    made.sign_in("mia", "yes", at="/set?x=1")
    return made


def test_while_the_database_is_locked_readers_pass_and_writers_are_told_to_come_back(
    world: World, browser: Browser
) -> None:
    with locked(world):
        assert browser.visit("/page").json()["data"] == {"x": "1"}
        assert_later(browser.visit("/set?x=2"))
        assert_later(browser.post("/.auth/logout", {}))
        other = world.browser()
        page = other.submit(other.visit("/page"), pick="gus")  # the provider's own file is not locked
        assert_later(page)
        world.clock.pass_(8 * 3_600)  # a renewal is due
        assert_later(browser.visit("/page"))
    assert browser.visit("/page").json()["data"] == {"x": "1"}
    assert browser.visit("/set?x=2").status == 200
    assert browser.visit("/page").json()["data"] == {"x": "2"}


def test_a_full_disk_takes_no_sign_in_and_loses_none(world: World, browser: Browser) -> None:
    with full(world):
        refused = 0
        for number in range(60):  # until the last page is full
            answer = browser.visit(f"/set?x={'y' * 500}&n{number}={'z' * 500}")
            refused += answer.status == 503
        assert refused > 0
        assert_later(answer)
        assert browser.who() == "Mia Member"
        assert browser.visit("/page").status == 200
    assert browser.visit("/set?x=2").status == 200
    assert browser.visit("/page").json()["data"]["x"] == "2"


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"this is no database any more....")


def damage_pages(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xde\xad\xbe\xef" * ((size - 4_096) // 4))


def damage_row(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE sessions SET body = '{not json'")


@pytest.mark.parametrize("damage", [damage_header, damage_pages, damage_row])
def test_a_corrupted_database_is_no_reason_to_sign_anybody_out(
    world: World, browser: Browser, damage: Callable[[Path], None]
) -> None:
    world.at[HOME].parts.services.close()
    path = database(world)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = path.read_bytes()
    damage(path)
    restart(world)
    assert_later(browser.visit("/page"))
    problem = browser.fetch("/page")
    assert_later(problem)
    assert problem.header("content-type") == "application/problem+json"
    assert problem.json()["code"] == "store_unavailable"
    world.at[HOME].parts.services.close()
    path.write_bytes(good)  # from a backup
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    restart(world)
    assert browser.visit("/page").json()["data"] == {"x": "1"}


def test_a_folder_that_is_gone_is_unavailable_and_not_an_empty_store(world: World, browser: Browser) -> None:
    world.at[HOME].parts.services.close()
    path = database(world)
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()  # something else is in its place
    restart(world)
    assert_later(browser.visit("/page"))
    world.at[HOME].parts.services.close()
    path.rmdir()
    aside.rename(path)
    restart(world)
    assert browser.visit("/page").json()["data"] == {"x": "1"}
    world.clock.pass_(MINUTE)
    assert browser.who() == "Mia Member"

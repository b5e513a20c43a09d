from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.redis_support import Awaited

from kmsi_middleware.edges.stores import MemoryStore, SQLiteStore, open_store
from kmsi_middleware.vocabulary.effects import SessionStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "sessions.sqlite3"


@pytest.fixture(params=["memory", "sqlite", "redis", "redis-asyncio"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[SessionStore]:
    """Every store that keeps the contract."""
    if request.param == "redis-asyncio":
        awaited = Awaited(request.getfixturevalue("redis_url"))
        yield awaited  # type: ignore[misc]
        awaited.end_loop()
        return
    if request.param == "redis":
        store = open_store(request.getfixturevalue("redis_url"))
    else:
        store = MemoryStore() if request.param == "memory" else SQLiteStore(path)
    yield store
    store.close()


@pytest.fixture(params=["memory", "sqlite"])
def counting_store(request: pytest.FixtureRequest, path: Path) -> Iterator[SessionStore]:
    """Every store that counts its writes for all processes, and sweeps by the caller's clock."""
    store = MemoryStore() if request.param == "memory" else SQLiteStore(path)
    yield store
    store.close()


@pytest.fixture
def sqlite_store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()

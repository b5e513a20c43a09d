from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmsi_middleware.edges.stores import MemoryStore, SQLiteStore
from kmsi_middleware.vocabulary.effects import SessionStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "sessions.sqlite3"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[SessionStore]:
    """Every store that keeps the contract."""
    store = MemoryStore() if request.param == "memory" else SQLiteStore(path)
    yield store
    store.close()


@pytest.fixture
def sqlite_store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()

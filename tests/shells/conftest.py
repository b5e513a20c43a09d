from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from tests.shells.shell_servers import SHELLS
from tests.shells.shell_support import Browser, World

import kmsi_middleware.asgi
import kmsi_middleware.assembly
import kmsi_middleware.idp.store
import kmsi_middleware.wsgi
from kmsi_middleware.edges.pages import PageRenderer


@pytest.fixture(scope="session")
def one_key() -> type:
    """Making and reading an RSA key is the slowest part of a provider's first answer: one is enough for all."""
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)

    class OneKey:
        @staticmethod
        def generate_key(*_: Any, **__: Any) -> RSAKey:
            return key

        @staticmethod
        def import_key(*_: Any, **__: Any) -> RSAKey:
            return key

    return OneKey


@cache
def _our_pages(folder: str | None) -> PageRenderer:
    return PageRenderer(folder)


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_key: type
) -> Iterator[Any]:
    """Makes worlds; everything in them is closed afterwards."""
    monkeypatch.setattr(kmsi_middleware.idp.store, "RSAKey", one_key)
    monkeypatch.setattr(kmsi_middleware.assembly, "PageRenderer", _our_pages)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    worlds: list[World] = []

    def make(shell: str, store: str = "memory") -> World:
        redis = request.getfixturevalue("redis_url") if store == "redis" else ""
        world = World(shell, store, tmp_path, redis)
        monkeypatch.setattr(kmsi_middleware.asgi, "assemble", world.assembled)
        monkeypatch.setattr(kmsi_middleware.wsgi, "assemble", world.assembled)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture(params=SHELLS)
def world(request: pytest.FixtureRequest, stage: Any) -> World:
    """Every shell, with sessions in memory."""
    made: World = stage(request.param)
    return made


@pytest.fixture(params=SHELLS)
def kept_world(request: pytest.FixtureRequest, stage: Any) -> World:
    """Every shell, with sessions in SQLite files."""
    made: World = stage(request.param, "sqlite")
    return made


@pytest.fixture(params=[(shell, store) for shell in SHELLS for store in ("memory", "sqlite", "redis")], ids="-".join)
def any_world(request: pytest.FixtureRequest, stage: Any) -> World:
    """Every shell with every store."""
    made: World = stage(*request.param)
    return made


@pytest.fixture(params=["asgi-asyncio", "asgi-trio"])
def asgi_world(request: pytest.FixtureRequest, stage: Any) -> World:
    made: World = stage(request.param)
    return made


@pytest.fixture
def wsgi_world(stage: Any) -> World:
    made: World = stage("wsgi")
    return made


@pytest.fixture
def browser(world: World) -> Browser:
    """A browser in ``world``."""
    return world.browser()

from __future__ import annotations

from collections.abc import Iterator

import pytest
from quick_provider import QuickProvider, quick_provider
from tests.shells.conftest import one_key, stage
from tests.shells.shell_servers import SHELLS
from tests.shells.shell_support import SECRET, World

__all__ = ["one_key", "stage"]


@pytest.fixture(params=SHELLS)
def world(request: pytest.FixtureRequest, stage: object) -> World:
    """Every shell, with sessions in SQLite files."""
    made: World = stage(request.param, "sqlite")  # type: ignore[operator]
    return made


@pytest.fixture
def provider(world: World) -> Iterator[QuickProvider]:
    with quick_provider(world.clock) as served:
        yield served


@pytest.fixture
def settings(provider: QuickProvider) -> dict[str, object]:
    """An app at that provider, which asks nobody whether to stay signed in."""
    return {
        "issuer": provider.issuer,
        "client_id": "app",
        "secret_keys": [SECRET],
        "keep_me_signed_in_days": 0,
        "http_timeout": 1,
    }

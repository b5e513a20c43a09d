"""The worlds are those of the shells; an attack needs a new one for each of its halves."""

from __future__ import annotations

from typing import Any

import pytest
from tests.shells.conftest import one_key, stage

__all__ = ["one_key", "stage"]


@pytest.fixture(params=["asgi-asyncio", "wsgi"])
def shell(request: pytest.FixtureRequest) -> Any:
    """Both shells. The event loop makes no difference to an attack."""
    return request.param

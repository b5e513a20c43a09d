"""A world and a browser in it."""

from __future__ import annotations

import pytest
from tests.flows.flow_support import Browser, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)

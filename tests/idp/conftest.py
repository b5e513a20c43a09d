"""A provider with three apps, and a browser at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.idp.idp_support import BLOG, ISSUER, SHOP, VAULT, Browser, Clock, Party

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig, default_config


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config() -> IdPConfig:
    return default_config().with_app(SHOP).with_app(BLOG).with_app(VAULT)


@pytest.fixture
def received() -> list[httpx.Request]:
    """What the back-channel receiver got."""
    return []


@pytest.fixture
def idp(tmp_path: Path, clock: Clock, config: IdPConfig, received: list[httpx.Request]) -> Iterator[EmbeddedIdP]:
    def receive(request: httpx.Request) -> httpx.Response:
        received.append(request)
        return httpx.Response(200)

    provider = EmbeddedIdP(
        config, folder=tmp_path, issuer=ISSUER, clock=clock, backchannel=httpx.MockTransport(receive)
    )
    yield provider
    provider.close()


@pytest.fixture
def browser(idp: EmbeddedIdP) -> Iterator[Browser]:
    with Browser(idp) as made:
        yield made


@pytest.fixture
def shop(browser: Browser) -> Party:
    return Party(SHOP, browser)


@pytest.fixture
def blog(browser: Browser) -> Party:
    return Party(BLOG, browser)


@pytest.fixture
def vault(browser: Browser) -> Party:
    return Party(VAULT, browser)

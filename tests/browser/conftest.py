from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from examples.demo_servers import Demo
from tests.browser.chromium import CHROMIUM, DRIVER, Chromium, nothing_went_wrong

HERE = Path(__file__).parent
NEEDED = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver (apt-get install them)"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(NEEDED)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The provider and both apps, as ``make demo`` starts them, on free ports; but what the apps learn of a sign-out,
    they learn in the browser."""
    probes = {name: socket.socket() for name in ("IDP_PORT", "STARLETTE_PORT", "FLASK_PORT")}
    for probe in probes.values():
        probe.bind(("127.0.0.1", 0))
    ports = {name: probe.getsockname()[1] for name, probe in probes.items()}
    for probe in probes.values():
        probe.close()
    demo = Demo(tmp_path_factory.mktemp("demo"), "127.0.0.1", ports, back_channel=False)
    try:
        demo.start()
        yield demo
    finally:
        demo.stop()


@pytest.fixture
def notebook(demo: Demo) -> str:
    return f"{demo.starlette_url}/"


@pytest.fixture
def tea(demo: Demo) -> str:
    return f"{demo.flask_url}/"


@pytest.fixture(scope="session")
def _one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(_one_browser: Chromium, demo: Demo) -> Iterator[Chromium]:
    """A browser as if freshly installed; third-party cookies are blocked. At the end, nothing may have gone wrong
    that only the console and the network show."""
    _one_browser.start_over()
    yield _one_browser
    nothing_went_wrong(_one_browser, demo.issuer)


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Chromium]]:
    """Another browser, with other preferences or to be started again with the same profile."""
    started: list[Chromium] = []

    def start(profile: str = "profile", **more: object) -> Chromium:
        started.append(Chromium(tmp_path / profile, **more))
        started[-1].start_over(keep=True)
        return started[-1]

    yield start
    for browser in started:
        browser.driver.quit()

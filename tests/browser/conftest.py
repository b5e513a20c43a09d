from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from examples.demo_servers import Demo
from tests.browser.browser import Browser, nothing_went_wrong
from tests.browser.demos import on_free_ports
from tests.browser.kinds import USUAL, kind_of

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            missing = kind_of(item.callspec.params["installed"])[0].missing  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.skipif(bool(missing), reason=f"needs {missing} (apt-get install)"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with on_free_ports(tmp_path_factory.mktemp("demo")) as demo:
        demo.start()
        yield demo


@pytest.fixture
def notebook(demo: Demo) -> str:
    return f"{demo.starlette_url}/"


@pytest.fixture
def tea(demo: Demo) -> str:
    return f"{demo.flask_url}/"


@pytest.fixture(params=USUAL)
def installed(request: pytest.FixtureRequest) -> str:
    """Which browser, and what it does with third-party cookies: a name of :mod:`tests.browser.kinds`."""
    return str(request.param)


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Browser]]:
    """As few as can be for all tests, each started when it is first wanted."""
    started: list[Browser] = []
    with ExitStack() as until_the_end:

        def start(installed: str) -> Browser:
            kind, third_party = kind_of(installed)
            for browser in started:
                if isinstance(browser, kind) and browser.change(third_party):
                    return browser
            browser = kind(tmp_path_factory.mktemp("profile"), third_party)
            started.append(until_the_end.enter_context(browser))
            return browser

        yield start


@pytest.fixture
def bare_browser(_started: Callable[[str], Browser], installed: str) -> Browser:
    """A browser as if freshly installed."""
    browser = _started(installed)
    browser.start_over()
    return browser


@pytest.fixture
def browser(bare_browser: Browser, demo: Demo) -> Iterator[Browser]:
    """The same, in front of the demo. At the end, nothing may have gone wrong that only the console and the network
    show."""
    yield bare_browser
    nothing_went_wrong(bare_browser, demo.issuer)


@pytest.fixture
def install(tmp_path: Path, installed: str) -> Iterator[Callable[..., Browser]]:
    """Another browser of the same kind, with other preferences or to be started again with the same profile."""
    with ExitStack() as until_the_end:

        def start(profile: str = "profile", **more: object) -> Browser:
            kind, third_party = kind_of(installed)
            browser = until_the_end.enter_context(kind(tmp_path / profile, third_party, **more))
            if not more.get("restore"):
                browser.start_over(keep=True)
            return browser

        yield start

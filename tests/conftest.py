"""What holds for every test: where a full run is asked for, a skipped test is a failure; and none is timed."""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
from tests.redis_support import redis_server, redis_url

__all__ = ["redis_server", "redis_url"]

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """``NO_SKIPPED_TESTS=1``: no test that nobody sees. Set where all that tests need is installed."""
    if not os.environ.get("NO_SKIPPED_TESTS"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"NO_SKIPPED_TESTS: {len(skipped)} tests were skipped, which fails this run", red=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files run beside each other, but one browser at a time."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope: str = super()._split_scope(nodeid)
            return "tests/browser" if scope.startswith("tests/browser/") else scope

    return Files(config, log)

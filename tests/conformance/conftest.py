"""A world with the middleware and a misbehaving provider in it; and, with ``--plans``, the counts at the end."""

# ruff: noqa: E402 (a module whose assertions pytest is to explain must be named before it is imported)

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.conformance.conformance_support")

from tests.conformance.conformance_support import WAYS, ConformanceWorld
from tests.conformance.misbehaving_provider import Provider
from tests.conformance.over_http import HttpWorld
from tests.conformance.plans import table

import kmsi_middleware.asgi
import kmsi_middleware.assembly
import kmsi_middleware.wsgi
from kmsi_middleware.edges.pages import PageRenderer

_our_pages = cache(PageRenderer)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plans", action="store_true", help="count the modules that passed, by plan")


@pytest.fixture(params=WAYS)
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConformanceWorld]:
    """Both response modes, each through another shell; with ``http`` before them, over sockets."""
    monkeypatch.setattr(kmsi_middleware.assembly, "PageRenderer", _our_pages)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    http, _, way = request.param.rpartition(" ")
    made = HttpWorld(way, tmp_path, monkeypatch) if http else ConformanceWorld(way, tmp_path)
    for face in (kmsi_middleware.asgi, kmsi_middleware.wsgi):
        monkeypatch.setattr(face, "assemble", made.assembled)
    made.deploy()
    yield made
    made.close()


@pytest.fixture
def provider(world: ConformanceWorld) -> Provider:
    return world.misbehaving


# Counting ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _modules(request: pytest.FixtureRequest, record_property: Any) -> None:
    for mark in request.node.iter_markers("module"):
        for name in mark.args:
            record_property("module", name)
    record_property("form_post", "form_post" in request.node.name)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--plans"):
        return
    passed: dict[bool, set[str]] = {True: set(), False: set()}
    failed: set[str] = set()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            said = report.user_properties
            names = {value for name, value in said if name == "module"}
            if outcome == "passed":
                passed[("form_post", True) in said] |= names
            else:
                failed |= names
    everything = (passed[True] | passed[False]) - failed
    terminalreporter.section("modules of the conformance suite that passed")
    for row in table(everything, form_post=passed[True] - failed):
        terminalreporter.write_line(row)

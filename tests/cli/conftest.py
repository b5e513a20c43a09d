"""``kmsi`` in an empty folder, with an empty environment and a clock that stands still."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cli.cli_support import NOW, Run

from kmsi_middleware import cli


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("KMSI_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments, clock=lambda: NOW)
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return code, output.out, output.err

    return run

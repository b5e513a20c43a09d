"""Every row of docs/browsers.md names the test that plays it."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "browsers.md"


def test_every_row_names_a_test_that_there_is() -> None:
    rows = re.findall(r"^\| (?!\|)(.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = [re.fullmatch(r".+ \| `(test_\w+)`", row) for row in rows]
    assert len(named) > 10
    assert [row for row, name in zip(rows, named, strict=True) if name is None] == []
    code = "".join(path.read_text(encoding="utf-8") for path in TESTS.glob("browser/*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    assert {name[1] for name in named if name} - there == set()

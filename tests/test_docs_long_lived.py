"""docs/long-lived-connections.md names every code that a WebSocket is closed with."""

from __future__ import annotations

import re
from pathlib import Path

from kmsi_middleware.rules.close_codes import CLOSE_CODES

PAGE = Path(__file__).parent.parent / "docs" / "long-lived-connections.md"


def test_every_close_code_is_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| (\d{4}) \| `(\w+)` \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {reason: int(code) for code, reason, *_ in rows} == CLOSE_CODES
    assert len(rows) == len(CLOSE_CODES)


def test_the_example_for_browsers_knows_the_range() -> None:
    text = PAGE.read_text(encoding="utf-8")
    codes = sorted(code for code in CLOSE_CODES.values() if code >= 4000)
    assert f"code >= {codes[0]} && code <= {codes[-1]}" in text
    assert f"code !== {CLOSE_CODES['replaced']}" in text

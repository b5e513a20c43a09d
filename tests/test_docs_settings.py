"""``docs/settings.md`` has every setting, as it is in the code."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

import pytest

from kmsi_middleware.vocabulary import user_flows
from kmsi_middleware.vocabulary.settings import default_text, described, environment_name

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def rows() -> dict[str, list[str]]:
    table = PAGE.read_text(encoding="utf-8").partition("## The table")[2]
    lines = [cells(line) for line in table.splitlines() if line.startswith("|")]
    assert lines[0] == ["setting", "default", "unit", "environment", "effect", "source"]
    names = [row[0] for row in lines[2:]]
    assert len(names) == len(set(names)), "a setting is there twice"
    return {row[0].strip("`"): row for row in lines[2:]}


def expected(item: Field[Any]) -> list[str]:
    default, variable = default_text(item), environment_name(item)
    return [
        f"`{item.name}`",
        f"`{default}`" if default else "none",
        item.metadata["unit"],
        f"`{variable}`" if variable else "in Python only",
        item.metadata["effect"],
        item.metadata["source"],
    ]


def as_line(row: list[str]) -> str:
    return "| " + " | ".join(row).replace("|  |", "| |") + " |"


@pytest.mark.parametrize("item", described(), ids=lambda item: str(item.name))
def test_every_setting_is_documented(item: Field[Any]) -> None:
    row, wanted = rows().get(item.name), expected(item)
    if row is None:
        pytest.fail(f"docs/settings.md lacks the setting {item.name}. Add the line:\n{as_line(wanted)}")
    for heading, found, should in zip(("", "default", "unit", "environment"), row, wanted, strict=False):
        assert found == should, f"the {heading} of {item.name} is now:\n{as_line(wanted)}"
    assert row[4], f"{item.name} has no effect. The code says:\n{as_line(wanted)}"


def test_nothing_is_documented_that_does_not_exist() -> None:
    gone = set(rows()) - {item.name for item in described()}
    assert not gone, f"docs/settings.md has settings that there are not: {', '.join(sorted(gone))}. Take them out."


def test_the_table_has_the_order_of_the_code() -> None:
    assert list(rows()) == [item.name for item in described()]


def flow_default(item: Field[Any]) -> str:
    return "none" if item.default in (None, MISSING, "") else f"`{str(item.default).lower()}`"


def test_every_property_of_a_user_flow_is_documented() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## User flows")[2].partition("## The table")[0]
    lines = [cells(line) for line in section.splitlines() if line.startswith("|")]
    assert lines[0] == ["property", "default", "unit", "effect", "source"]
    assert lines[2:] == [
        [f"`{item.name}`", flow_default(item), *(item.metadata[key] for key in ("unit", "effect", "source"))]
        for item in user_flows.described()
    ]


def test_the_page_names_no_variable_that_does_not_exist() -> None:
    known = {environment_name(item) for item in described()}
    assert set(re.findall(r"KMSI_[A-Z_]+[A-Z]", PAGE.read_text(encoding="utf-8"))) <= known

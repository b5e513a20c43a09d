"""``docs/conditional-access.md`` says what the code does."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from kmsi_middleware import policies
from kmsi_middleware.cli import main
from kmsi_middleware.rules.conditional_access import lint, read_conditions, read_controls
from kmsi_middleware.rules.conditional_access.policy import Control
from kmsi_middleware.rules.conditional_access.results import Result
from kmsi_middleware.vocabulary.settings_checks import FACTS

PAGE = (Path(__file__).parent.parent / "docs" / "conditional-access.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))


def part(heading: str) -> str:
    """What stands below a heading, up to the next."""
    return PAGE.partition(f" {heading}\n")[2].partition("\n#")[0]


@pytest.mark.parametrize("text", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_every_policy_on_the_page_can_be_loaded(text: str) -> None:
    assert policies.load([json.loads(text)]).notes == ()


def test_all_that_is_refused_is_named() -> None:
    refused: set[str] = set()
    for module in (read_conditions, read_controls):
        for name, table in vars(module).items():
            if name.startswith("_UNSUPPORTED_APP") or name == "_UNSUPPORTED" or name.endswith("_NOT_KEPT"):
                refused |= set(table)
    assert len(refused) > 20
    assert refused - NAMED == set()


def test_every_control_result_and_fact_is_named() -> None:
    for words in (Control.__args__, Result.__args__, FACTS):  # type: ignore[attr-defined]
        assert set(words) - NAMED == set()


def test_every_finding_is_named_with_its_level() -> None:
    codes = set(re.findall(r'Finding\(\s*"(\w+)"', inspect.getsource(lint)))
    told = {
        code: level
        for codes, level in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (error|advice) \|", part("Check"), re.MULTILINE)
        for code in re.findall(r"\w+", codes)
    }
    assert set(told) == codes
    assert {code for code, level in told.items() if level == "error"} == policies._ERRORS


@pytest.mark.parametrize(("command", "heading"), [("what-if", "What if"), ("policies check", "Check")])
def test_every_option_is_told(command: str, heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help", "--policies"}
    assert {option for option in options if option not in part(heading)} == set()

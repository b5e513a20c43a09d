"""The suite's plans and their modules (``plans.toml``), which of them have a test here, and the table of both."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_DATA: dict[str, Any] = tomllib.loads((HERE / "plans.toml").read_text("utf-8"))
PLANS: dict[str, dict[str, Any]] = _DATA["plans"]
OTHER_PLANS: dict[str, str] = _DATA["other_plans"]
NOT_APPLICABLE: dict[str, str] = _DATA["not_applicable"]
FORM_POST = "oidcc-client-formpost-basic-certification-test-plan"


def all_modules() -> set[str]:
    return {name for plan in PLANS.values() for name in plan["modules"]}


def modules_with_tests() -> dict[str, list[str]]:
    """The modules that have tests here, and those tests' names."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        tests = vars(importlib.import_module(f"tests.conformance.{path.stem}"))
        for name, test in tests.items():
            for mark in getattr(test, "pytestmark", ()) if name.startswith("test_") else ():
                for tested in mark.args if mark.name == "module" else ():
                    found.setdefault(tested, []).append(f"{path.stem}.{name}")
    return found


def table(passed: Iterable[str], *, form_post: Iterable[str] | None = None) -> list[str]:
    """A row for each plan, in Markdown. ``form_post``: what passed in that response mode, if that is another matter."""
    passed = set(passed)
    posted = passed if form_post is None else set(form_post)
    rows = ["| plan | modules | tested | not applicable |", "|---|---|---|---|"]
    for plan, said in PLANS.items():
        names = set(said["modules"])
        good = len(names & (posted if plan == FORM_POST else passed))
        rows.append(f"| {said['title']} (`{plan}`) | {len(names)} | {good} | {len(names & NOT_APPLICABLE.keys())} |")
    names = all_modules()
    rows.append(f"| **All, each once** | {len(names)} | {len(names & passed)} | {len(names & NOT_APPLICABLE.keys())} |")
    return rows

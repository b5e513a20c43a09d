"""No module of the suite is forgotten, and the documentation says how each is dealt with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.plans import NOT_APPLICABLE, OTHER_PLANS, PLANS, all_modules, modules_with_tests, table

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "conformance.md"


@pytest.mark.parametrize("plan", PLANS)
def test_every_module_of_a_plan_is_tested_or_listed_with_a_reason(plan: str) -> None:
    names = PLANS[plan]["modules"]
    assert len(names) == len(set(names))
    tested = modules_with_tests()
    assert [name for name in names if name not in tested and name not in NOT_APPLICABLE] == []


def test_nothing_is_tested_or_listed_that_no_plan_has_and_nothing_is_both() -> None:
    tested, listed = modules_with_tests().keys(), NOT_APPLICABLE.keys()
    assert (tested | listed) - all_modules() == set()
    assert tested & listed == set()


def test_the_documentation_has_the_counts_and_every_reason() -> None:
    """The rows are those that ``make conformance`` prints, and those of ``plans.toml``."""
    lines = set(DOCUMENTATION.read_text("utf-8").splitlines())
    reasons = [f"| `{name}` | {reason} |" for name, reason in {**OTHER_PLANS, **NOT_APPLICABLE}.items()]
    assert [row for row in [*table(modules_with_tests()), *reasons] if row not in lines] == []

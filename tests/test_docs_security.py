"""``docs/security.md``: every requirement has its answer, and every answer a test that there is, or a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.attacks.attack_support import ATTACKS
from tests.security.evidence import AS_NIST_WANTS, PAGE, STANDARDS, STATUSES, exists, written

from kmsi_middleware.rules.conditional_access.lint import lint
from kmsi_middleware.rules.conditional_access.policy import PolicySet
from kmsi_middleware.vocabulary.settings import Settings

ROWS = [(name, row) for standard in STANDARDS.values() for name, row in standard["rows"].items()]


@pytest.mark.parametrize("standard", STANDARDS.values(), ids=STANDARDS)
def test_every_requirement_is_answered_once(standard: dict[str, Any]) -> None:
    listed = [name for ids in standard["sections"].values() for name in ids]
    assert len(listed) == len(set(listed))
    assert list(standard["rows"]) == listed


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_every_answer_says_how_and_names_its_test_or_says_why_not(name: str, row: dict[str, Any]) -> None:
    said = {key for key, value in row.items() if value} - {"of", "asks", "status"}
    assert row["asks"]
    assert STATUSES[row["status"]] <= said <= {"how", "left", "tests"}
    assert said & {"how", "left"}
    assert ("how" in said) == ("tests" in said), "what is met is shown by a test"
    assert row["status"] != "done" or "left" not in said
    assert len(row.get("tests", ())) == len(set(row.get("tests", ())))
    for text in (row["asks"], row.get("how", "."), row.get("left", ".")):
        assert not re.search(r"[|\n]", text)
    for text in (row.get("how", "."), row.get("left", ".")):
        assert text.endswith("."), "it is a sentence"


@pytest.mark.parametrize("test", sorted({test for _, row in ROWS for test in row.get("tests", ())}))
def test_no_answer_points_to_a_test_that_is_gone(test: str) -> None:
    assert exists(test)


def test_a_test_that_there_is_not_is_noticed() -> None:
    assert exists("test_docs_security.py::test_a_test_that_there_is_not_is_noticed")
    assert not exists("test_docs_security.py::test_that_there_is_not")
    assert not exists("test_that_there_is_not.py::test_that_there_is_not")


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text("utf-8")
    assert page == written(page), "run: make security"


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_threat_model_says_of_every_attack_whose_it_is(attack: str) -> None:
    threats = PAGE.read_text("utf-8").partition("## What you must configure")[0]
    assert attack in threats


@pytest.mark.parametrize("level", AS_NIST_WANTS)
def test_the_settings_for_an_assurance_level_keep_to_it(level: Any) -> None:
    settings = Settings(**AS_NIST_WANTS[level])
    assert lint(PolicySet(), settings, assurance_level=level) == ()
    assert lint(PolicySet(), Settings(), assurance_level=level) != ()  # and the defaults do not

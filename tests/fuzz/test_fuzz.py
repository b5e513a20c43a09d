"""Every test run tries twenty thousand hostile inputs, always the same; ``make fuzz`` tries a million new ones."""

from __future__ import annotations

import logging

import pytest
from tests.fuzz.hostile import Hostile
from tests.fuzz.targets import PARSERS, run

COUNT, SEED = 20_000, 20_261_121


@pytest.fixture(autouse=True)
def quiet() -> object:
    """What is refused is logged, and this is refused by the thousand."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_hostile_input_makes_no_500_no_session_and_no_growth() -> None:
    counts = run(COUNT, SEED)
    assert sum(count for name, count in counts.items() if not name.startswith("kept")) == COUNT
    assert counts["request"] == COUNT // 2
    assert all(counts[target.__name__] > COUNT // 2 // len(PARSERS) - 2 for target in PARSERS)


def test_the_same_number_makes_the_same_input() -> None:
    assert Hostile(7).text(["a seed"]) == Hostile(7).text(["a seed"])
    assert len({Hostile(number).text(["a seed"]) for number in range(100)}) > 50

"""The shared counters, rule by rule, without a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmsi_middleware.edges.stores import counters
from kmsi_middleware.edges.stores.counters import Counters
from kmsi_middleware.vocabulary.effects import SLOTS


@pytest.fixture
def two(tmp_path: Path) -> tuple[Counters, Counters]:
    """The counters as two processes map them."""
    path = tmp_path / "counters"
    identity = counters.create(path)
    one, other = counters.attach(path, identity), counters.attach(path, identity)
    assert one is not None
    assert other is not None
    return one, other


def test_new_counts_are_even_and_differ_from_file_to_file(tmp_path: Path) -> None:
    starts = set()
    for number in range(3):
        path = tmp_path / str(number)
        mapped = counters.attach(path, counters.create(path))
        assert mapped is not None
        assert len(mapped.view) == SLOTS
        assert len(set(mapped.view)) == 1
        assert mapped.view[0] % 2 == 0
        starts.add(mapped.view[0])
    assert len(starts) == 3


def test_a_mark_is_odd_and_settling_makes_it_even_for_every_process(two: tuple[Counters, Counters]) -> None:
    one, other = two
    start = other.view[7]
    mark = one.mark(7)
    assert other.view[7] == mark == start + 1
    one.settle(7, mark)
    assert other.view[7] == start + 2
    assert other.view[6] == other.view[8] == start


def test_a_late_settling_leaves_a_later_mark_alone(two: tuple[Counters, Counters]) -> None:
    one, other = two
    first = one.mark(7)
    second = other.mark(7)
    assert second > first
    one.settle(7, first)
    assert one.view[7] == second
    other.settle(7, second)
    assert one.view[7] == second + 1
    one.settle(7, first)
    assert one.view[7] == second + 1


def test_a_mark_that_was_never_settled_is_healed_by_the_next_write(two: tuple[Counters, Counters]) -> None:
    one, other = two
    lost = one.mark(7)
    mark = other.mark(7)
    assert mark % 2 == 1
    assert mark > lost
    other.settle(7, mark)
    assert one.view[7] % 2 == 0
    assert one.view[7] > lost


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(SLOTS * 8 + 16), bytes(SLOTS * 8 + 17)])
def test_a_missing_or_foreign_file_is_not_attached(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "counters"
    if content is not None:
        path.write_bytes(content)
    assert counters.attach(path, b"i" * 16) is None


def test_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    path.write_bytes(b"old")
    path.chmod(0o666)
    counters.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["counters"]

"""No attack is forgotten, and none is only said to fail."""

from __future__ import annotations

import ast

import pytest
from tests.attacks.attack_support import ATTACKS, attack_tests


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_has_a_test_of_its_name(attack: str) -> None:
    assert [name for name in attack_tests() if name.startswith(ATTACKS[attack])]


def test_no_test_is_of_an_attack_that_is_not_listed() -> None:
    listed = tuple(ATTACKS.values())
    assert [name for name in attack_tests() if not name.startswith(listed)] == []


@pytest.mark.parametrize("name", attack_tests())
def test_every_attack_is_first_shown_to_work_against_a_weakened_copy(name: str) -> None:
    """``with weakened(…): assert …`` comes first, and after it the same again without."""
    body = attack_tests()[name].body
    weak = [node for node in body if isinstance(node, ast.With) and "weakened(" in ast.unparse(node.items[0])]
    assert len(weak) == 1
    (shown,) = weak
    assert isinstance(shown.body[-1], ast.Assert)
    after = body[body.index(shown) + 1]
    assert ast.unparse(after).removeprefix("assert not ") == ast.unparse(shown.body[-1]).removeprefix("assert ")

"""What could not be saved waits in the process."""

from __future__ import annotations

import pytest

from kmsi_middleware.edges import aside as module
from kmsi_middleware.edges.aside import Aside


def test_it_is_there_until_it_is_forgotten() -> None:
    aside = Aside()
    assert aside.read(b"k") == b""
    aside.put(b"k", b"one")
    aside.put(b"k", b"two")
    assert aside.read(b"k") == b"two"
    aside.put(b"k", b"")
    assert aside.read(b"k") == b""
    aside.put(b"k", b"")


def test_the_oldest_goes_where_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    aside = Aside()
    for number in range(5):
        aside.put(bytes([number]), b"payload")
    aside.put(bytes([2]), b"again")
    aside.put(bytes([5]), b"payload")
    assert [number for number in range(6) if aside.read(bytes([number]))] == [2, 4, 5]

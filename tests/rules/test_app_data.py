"""``request.session``: what counts as changed, what is kept on a conflict, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.rules.app_data import AppData, NoSession, kept, merged
from kmsi_middleware.vocabulary.errors import KMSIError, SessionRequired

STORED = {"a": 1, "b": "two", "cart": [1, 2], "profile": {"theme": {"dark": True}}}
NONE: frozenset[str] = frozenset()


def fresh() -> AppData:
    return kept(json.dumps(STORED).encode())()


def do(statement: str) -> AppData:
    data = fresh()
    exec(statement, {"s": data})
    return data


def test_a_request_gets_what_was_stored() -> None:
    data = fresh()
    assert data == STORED
    assert isinstance(data, dict)
    assert json.dumps(data) == json.dumps(STORED)


@pytest.mark.parametrize("nothing", [b"", b"{}"])
def test_without_stored_data_it_is_empty(nothing: bytes) -> None:
    data = kept(nothing)()
    assert data == {}
    assert data.changes() is None
    assert data.touched is False


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        # Every way to write
        ("s['a'] = 2", ({"a": 2}, NONE)),
        ("s['new'] = None", ({"new": None}, NONE)),
        ("s['a'] = 1", ({"a": 1}, NONE)),
        ("s['x'] = s['y'] = []", ({"x": [], "y": []}, NONE)),
        ("s.update(a=2, new=3)", ({"a": 2, "new": 3}, NONE)),
        ("s.update({'a': 2})", ({"a": 2}, NONE)),
        ("s.update([('a', 2)])", ({"a": 2}, NONE)),
        ("s.update([('a', 2)], new=3)", ({"a": 2, "new": 3}, NONE)),
        ("s |= {'a': 2}", ({"a": 2}, NONE)),
        ("s |= [('a', 2)]", ({"a": 2}, NONE)),
        ("s.setdefault('new', []).append(1)", ({"new": [1]}, NONE)),
        ("s.setdefault('new')", ({"new": None}, NONE)),
        ("s['new'] = {}; s['new']['x'] = 1", ({"new": {"x": 1}}, NONE)),
        # Every way to remove
        ("del s['a']", ({}, frozenset("a"))),
        ("s.pop('a')", ({}, frozenset("a"))),
        ("s.pop('a', None)", ({}, frozenset("a"))),
        ("s.popitem()", ({}, frozenset({"profile"}))),
        ("s.clear()", ({}, frozenset(STORED))),
        ("del s['cart']", ({}, frozenset({"cart"}))),
        # The last word counts
        ("s['a'] = 2; del s['a']", ({}, frozenset("a"))),
        ("del s['a']; s['a'] = 2", ({"a": 2}, NONE)),
        ("del s['cart']; s['cart'] = [1, 2]", ({"cart": [1, 2]}, NONE)),
        ("s.clear(); s['a'] = 2", ({"a": 2}, frozenset({"b", "cart", "profile"}))),
        ("s['a'] = 2; s['a'] = 3", ({"a": 3}, NONE)),
        # Inside what was stored
        ("s['cart'].append(3)", ({"cart": [1, 2, 3]}, NONE)),
        ("s['cart'].clear()", ({"cart": []}, NONE)),
        ("s['cart'][0] = 9", ({"cart": [9, 2]}, NONE)),
        ("s['profile']['theme']['dark'] = False", ({"profile": {"theme": {"dark": False}}}, NONE)),
        ("del s['profile']['theme']", ({"profile": {}}, NONE)),
        ("s['a'] = 2; s['cart'].append(3)", ({"a": 2, "cart": [1, 2, 3]}, NONE)),
        ("s['cart'].append(3); del s['cart']", ({}, frozenset({"cart"}))),
        # No change
        ("pass", None),
        ("s['a']; s.get('b'); 'x' in s; len(s); list(s.items()); s.copy(); s | {'z': 1}", None),
        ("s.setdefault('a', 9)", None),
        ("s.pop('none', None)", None),
        ("s.update()", None),
        ("s.update({})", None),
        ("s['cart'].append(3); s['cart'].pop()", None),
        ("s.copy()['a'] = 2", None),
    ],
)
def test_what_counts_as_changed(statement: str, changes: tuple[dict[str, Any], frozenset[str]] | None) -> None:
    data = do(statement)
    assert data.changes() == changes
    if changes is not None:
        assert data.touched, "else nobody would ask for the changes"


@pytest.mark.parametrize("statement", ["s['a'] = 2", "del s['a']", "s.pop('a')", "s.clear()", "s.update(a=1)"])
def test_plain_data_is_touched_only_by_changing_it(statement: str) -> None:
    data = kept(b'{"a":1}')()
    assert (data.touched, data.changes()) == (False, None)
    exec(statement, {"s": data})
    assert data.touched
    assert data.changes() is not None


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("del s['none']", KeyError),
        ("s.pop('none')", KeyError),
        ("s['none']", KeyError),
        ("s[1] = 2", TypeError),
        ("s[None] = 2", TypeError),
        ("s.update({1: 2})", TypeError),
        ("s.setdefault(1, 2)", TypeError),
        ("s |= {(): 2}", TypeError),
    ],
)
def test_what_fails_changes_nothing(statement: str, error: type[Exception]) -> None:
    data = fresh()
    with pytest.raises(error):
        exec(statement, {"s": data})
    assert data == STORED
    assert data.changes() is None


@pytest.mark.parametrize("statement", ["s['a'] = 2", "del s['a']", "s.pop('a')", "s.clear()", "s.update(a=1, b=2)"])
def test_who_changes_it_after_the_response_has_started_is_told_once(statement: str) -> None:
    data, told = kept(b'{"a":1}')(), []
    data.started = told.append
    exec(statement, {"s": data})
    data["after"] = 1
    assert told == ["a"]
    assert hasattr(data, "started")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), TypeError),
        ({1, 2}, TypeError),
        ([{"at": b"x"}], TypeError),
        ({(): 1}, TypeError),
        (float("nan"), ValueError),
        ("\ud800", ValueError),
    ],
)
def test_what_can_not_be_json_is_refused_by_the_name_of_its_key(value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^session\['bad'\] can't be kept, it is no JSON: "):
        merged(b"{}", {"fine": 1, "bad": value, "also fine": 2}, ())


def test_an_empty_dict_has_nothing_to_pop() -> None:
    data = kept(b"{}")()
    with pytest.raises(KeyError):
        data.popitem()
    data.clear()
    assert data.changes() is None


def test_each_request_has_its_own_copy() -> None:
    copies = kept(json.dumps(STORED).encode())
    first, second = copies(), copies()
    first["a"] = 100
    first["cart"].append(3)
    first["profile"]["theme"]["dark"] = False
    assert second == copies() == STORED
    assert second.changes() is None
    assert first.changes() == (
        {"a": 100, "cart": [1, 2, 3], "profile": {"theme": {"dark": False}}},
        NONE,
    )


# No session -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "s['a'] = 1",
        "del s['a']",
        "s.update(a=1)",
        "s.update()",
        "s |= {'a': 1}",
        "s.setdefault('a', 1)",
        "s.setdefault('a')",
        "s.popitem()",
        "s.clear()",
    ],
)
def test_without_a_session_every_way_to_write_raises(statement: str) -> None:
    kept = AppData()
    with pytest.raises(SessionRequired) as raised:
        exec(statement, {"s": NoSession(kept)})
    assert kept.failure is raised.value
    assert isinstance(raised.value, KMSIError | TypeError)
    assert raised.value.code == "session_required"
    assert "request.user.is_authenticated" in str(raised.value)


def test_without_a_session_reading_is_reading_an_empty_dict() -> None:
    data = NoSession(AppData())
    assert data == {}
    assert data.get("a") is None
    assert "a" not in data
    assert data.pop("a", 7) == 7
    with pytest.raises(KeyError):
        data.pop("a")
    with pytest.raises(KeyError):
        data["a"]


def test_no_mutator_of_dict_was_forgotten() -> None:
    mutators = {"__setitem__", "__delitem__", "__ior__", "setdefault", "update", "pop", "popitem", "clear"}
    readers = {"get", "keys", "values", "items", "copy", "fromkeys"}
    assert {name for name in vars(dict) if not name.startswith("_")} <= mutators | readers
    for kind in (AppData, NoSession):
        assert mutators <= set(vars(kind))


# Merging --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "written", "removed", "result"),
    [
        (b"", {"a": 1}, [], {"a": 1}),
        (b"{}", {}, [], {}),
        (b'{"a":1,"b":2}', {"b": 3}, [], {"a": 1, "b": 3}),
        (b'{"a":1,"b":2}', {}, ["a"], {"b": 2}),
        (b'{"a":1}', {}, ["none"], {"a": 1}),
        (b'{"a":1}', {"a": {"x": []}}, [], {"a": {"x": []}}),
    ],
)
def test_changes_are_applied_to_what_is_there(
    data: bytes, written: dict[str, Any], removed: list[str], result: dict[str, Any]
) -> None:
    assert json.loads(merged(data, written, removed)) == result


def test_two_requests_keep_each_others_keys_and_the_last_writer_of_a_key_wins() -> None:
    stored = json.dumps(STORED).encode()
    first, second = kept(stored)(), kept(stored)()
    first["a"], first["mine"] = 10, 1
    first["cart"].append(3)
    second["a"], second["yours"] = 20, 2
    del second["b"]
    for request in (first, second):
        changes = request.changes()
        assert changes is not None
        stored = merged(stored, *changes)
    assert json.loads(stored) == {
        "a": 20,
        "cart": [1, 2, 3],
        "profile": STORED["profile"],
        "mine": 1,
        "yours": 2,
    }


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        1j,
        float("nan"),
        float("inf"),
        [float("-inf")],
        {"a": object()},
        {(1, 2): 3},
        "\ud800",
    ],
)
def test_what_can_not_be_json_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        merged(b"{}", {"a": value}, ())


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        merged(b"{}", {"a": loop}, ())


def test_text_is_kept_short_and_in_utf_8() -> None:
    assert merged(b"{}", {"name": "Søren", "n": [1, 2]}, ()) == '{"name":"Søren","n":[1,2]}'.encode()


# The whole, against a plain dict --------------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "cart", "profile", "new"])
values: st.SearchStrategy[Any] = st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
steps: st.SearchStrategy[Callable[[dict[str, Any]], object]] = st.one_of(
    st.builds(lambda key, value: lambda s: s.__setitem__(key, json.loads(json.dumps(value))), keys, values),
    st.builds(lambda key: lambda s: s.pop(key, None), keys),
    st.builds(lambda key, value: lambda s: s.setdefault(key, value), keys, st.integers()),
    st.builds(lambda key, value: lambda s: s.update({key: value}), keys, st.integers()),
    st.builds(lambda key: lambda s: s[key].append(1) if isinstance(s.get(key), list) else None, keys),
    st.just(lambda s: s.popitem() if s else None),
    st.just(lambda s: s.clear()),
)


@given(st.lists(steps, max_size=8))
def test_saving_the_changes_saves_the_dict(done: list[Callable[[dict[str, Any]], object]]) -> None:
    stored = json.dumps(STORED).encode()
    data, plain = kept(stored)(), json.loads(stored)
    for step in done:
        step(data)
        step(plain)
    assert data == plain
    changes = data.changes()
    assert json.loads(merged(stored, *changes) if changes else stored) == plain

"""The app's own data, kept with the session: what ``request.session`` is.

1. A JSON object. What can't be JSON is refused where it is stored, at the end of the request.
2. What counts is what changed, by top-level key: on a conflict between two requests the changes of this one are
   applied to what the other has saved; for the same key the last writer wins.
3. A change inside a list or dict that was stored counts too: such values are compared with what they were.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn

from ..vocabulary.errors import KMSIError, SessionRequired

_SCALARS = (str, int, float, bool, type(None))


class AppData(dict[str, Any]):
    """A dict that can tell what changed in it."""

    __slots__ = ("__dict__", "started")
    started: Callable[[str], None]
    """There once the app's response has started: is called with the first key that is changed after that, and so is not
    kept. In a slot, because nothing that is set costs less."""
    # Defaults on the class: most requests never touch their data, and pay for nothing but the dict.
    touched = False
    """Whether :meth:`changes` is worth asking; never wrongly False."""
    cookies: tuple[str, ...] = ()
    """Set-Cookie values that go with the app's response."""
    discarded = False
    """Whether the app's response is not sent, because another one was in its place."""
    failure: KMSIError | None = None
    """What the app was told when it asked for what only a session has, or for a token that there is not."""
    _nested: dict[str, Any] | None = None
    _written: set[str] | None = None
    _removed: set[str] | None = None

    def changes(self) -> tuple[dict[str, Any], frozenset[str]] | None:
        """What was written and what was removed, or ``None`` if nothing was."""
        written = dict.fromkeys(self._written or ())
        for name in self._nested or ():
            if name in self and name not in written and self[name] != self._nested[name]:  # type: ignore[index]
                written[name] = None
        if not written and not self._removed:
            return None
        return {name: self[name] for name in written}, frozenset(self._removed or ())

    def _write(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"session keys are text, not {type(name).__name__}")
        self._is_changed(name)
        if self._written is None:
            self._written = set()
            self.touched = True
        self._written.add(name)
        if self._removed is not None:
            self._removed.discard(name)

    def _remove(self, name: str) -> None:
        self._is_changed(name)
        if self._removed is None:
            self._removed = set()
            self.touched = True
        self._removed.add(name)
        if self._written is not None:
            self._written.discard(name)

    def _is_changed(self, name: str) -> None:
        if hasattr(self, "started"):
            tell, self.started = self.started, _know
            tell(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._write(name)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._remove(name)

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> AppData:  # type: ignore[override,misc]
        self.update(other)
        return self

    def pop(self, name: str, *default: Any) -> Any:
        if name in self:
            self._remove(name)
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        name, value = super().popitem()
        self._remove(name)
        return name, value

    def clear(self) -> None:
        for name in self:
            self._remove(name)
        super().clear()


def _know(_name: str) -> None:
    """Once was enough."""


class NoSession(dict[str, Any]):
    """What ``request.session`` is where there is no session: empty, and writing raises. ``kept`` is told of it, because
    frameworks make a reply of their own of what an app raises."""

    __slots__ = ("_kept",)

    def __init__(self, kept: AppData) -> None:
        super().__init__()
        self._kept = kept

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        self._kept.failure = error = SessionRequired()
        raise error

    __setitem__ = __delitem__ = __ior__ = setdefault = update = popitem = clear = _refuse

    def pop(self, name: str, *default: Any) -> Any:
        if default:
            return default[0]
        raise KeyError(name)


def kept(data: bytes) -> Callable[[], AppData]:
    """An app's stored data, decoded once: what is returned gives each request its own copy of it."""
    values = json.loads(data) if data else {}
    nested = {name: value for name, value in values.items() if not isinstance(value, _SCALARS)}
    if not nested:
        return partial(AppData, values) if values else AppData
    # marshal, because it is the quickest copy of plain data; it never leaves this process.
    frozen = marshal.dumps(values)

    def copy() -> AppData:
        data = AppData(marshal.loads(frozen))  # noqa: S302
        data._nested = nested
        data.touched = True
        return data

    return copy


def merged(data: bytes, written: dict[str, Any], removed: Iterable[str]) -> bytes:
    """Rule 2. Raises ``TypeError`` or ``ValueError``, naming the key, for what can't be JSON."""
    values = json.loads(data) if data else {}
    for name in removed:
        values.pop(name, None)
    values.update(written)
    try:
        return _as_json(values)
    except (TypeError, ValueError):
        for name, value in written.items():
            _refuse_if_no_json(name, value)
        raise


def _as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_if_no_json(name: str, value: Any) -> None:
    try:
        _as_json({name: value})
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"session[{name!r}] can't be kept, it is no JSON: {error}") from error

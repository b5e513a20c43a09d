"""Conditional Access policies from files, read again when they change.

1. At start-up whatever can't be understood raises. Later it changes nothing: the last good set stays in force, an
   error is logged for each new content, and :attr:`PolicyBook.problem` says what is wrong, and since when.
2. Files are looked at (times, size, inode, the folder's list) at most every ``check_every`` seconds of
   the clock that is handed in; no thread waits for them. Only contents that differ are understood again, and only a
   set that differs is a new generation.
3. What changed is read twice, one look apart: a file system's clock may be too coarse to tell a second write. A file
   that is gone must be gone for two looks: an editor may put it back, and without it a door might open meanwhile.
4. A folder is its files ``*.json``, by name, those with a leading dot left out; folders in it are not looked into. A
   folder without any is no set of policies: to have none, write a file with an empty list.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..rules.conditional_access.load import load_policies
from ..rules.conditional_access.policy import PolicySet
from ..rules.conditional_access.reading import PolicyError
from ..vocabulary.errors import KMSIError, SettingsError
from ..vocabulary.records import frozen
from .forks import renew_after_fork

LARGEST = 4 * 1_024 * 1_024
"""Bytes that a policy file may have."""

Source = str | os.PathLike[str] | Sequence[Any]
"""A file, a folder, or a list of files, folders and parsed JSON."""

_log = logging.getLogger("kmsi_middleware")
_NOT_A_SOURCE = "give a file, a folder, or a list of files and of policies"


def read_documents(source: Source) -> list[tuple[str, Any]]:
    """The JSON of some policies with the name of each file, as :func:`.load.load_policies` takes it.

    What stands in a list and is no file is called ``policies[1]``, ``policies[2]``, by its place. Raises
    :class:`PolicyError` naming the file, and line and column where it is no JSON.
    """
    places = _places(source)
    return _documents(places, _contents(_Look(places)))


# Where the policies are ----------------------------------------------------------------------------------


@frozen
class _Place:
    """One item of the source: a path, or JSON that is parsed already."""

    shown: str
    path: Path | None
    document: Any = None


def _places(source: Source) -> tuple[_Place, ...]:
    if isinstance(source, str | os.PathLike):
        return (_file_place(source),)
    if not isinstance(source, Sequence) or isinstance(source, bytes | bytearray):
        raise SettingsError("policies", type(source).__name__, _NOT_A_SOURCE)
    places = []
    for number, item in enumerate(source, start=1):
        if isinstance(item, str | os.PathLike):
            places.append(_file_place(item))
        elif isinstance(item, Mapping | list):
            places.append(_Place(f"policies[{number}]", None, item))
        else:
            raise SettingsError(f"policies[{number}]", type(item).__name__, "give a file, or a policy as parsed JSON")
    return tuple(places)


def _file_place(source: str | os.PathLike[str]) -> _Place:
    shown = os.fspath(source)
    if not isinstance(shown, str) or not shown.strip() or "\0" in shown:
        raise SettingsError("policies", shown, _NOT_A_SOURCE)
    # Absolute, whatever the app's folder will be later; not resolved, because a link may be turned to other files.
    return _Place(shown, Path(shown).expanduser().absolute())


@frozen
class _Stamp:
    """What tells one state of a file from another without reading it; a ``problem`` where it has none."""

    shown: str
    path: Path
    state: tuple[int, ...] | None
    problem: str = ""


class _Look:
    """All files of some places as they are now. Reads none of them."""

    __slots__ = ("by_place", "stamps")

    def __init__(self, places: tuple[_Place, ...]) -> None:
        self.by_place = [_stamps(place.shown, place.path) if place.path else () for place in places]
        self.stamps = [stamp for stamps in self.by_place for stamp in stamps]

    @property
    def present(self) -> frozenset[Path]:
        return frozenset(stamp.path for stamp in self.stamps if stamp.state is not None)


def _stamps(shown: str, path: Path) -> tuple[_Stamp, ...]:
    try:
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            return (_stamp(shown, path, found),)
        names = sorted(name for name in (file.name for file in path.iterdir()) if _is_ours(name))
    except OSError as error:
        return (_Stamp(shown, path, None, _why(error)),)
    if not names:
        return (_Stamp(shown, path, None, "there is no *.json in this folder"),)
    stamps = []
    for name in names:
        one, inner = os.path.join(shown, name), path / name  # noqa: PTH118 -- as it was given, for messages
        try:
            stamps.append(_stamp(one, inner, inner.stat()))
        except OSError as error:
            stamps.append(_Stamp(one, inner, None, _why(error)))
    return tuple(stamps)


def _is_ours(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _stamp(shown: str, path: Path, found: os.stat_result) -> _Stamp:
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
        return _Stamp(shown, path, None, "this is no file")
    return _Stamp(shown, path, (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino))


def _why(error: OSError) -> str:
    return "there is no such file" if isinstance(error, FileNotFoundError) else f"{error.strerror or error}"


# From bytes to JSON --------------------------------------------------------------------------------------


Contents = list[list[tuple[str, bytes]]]
"""For each place its files, by name, and what they hold."""


def _documents(places: tuple[_Place, ...], contents: Contents) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for place, files in zip(places, contents, strict=True):
        if place.path is None:
            found.append((place.shown, place.document))
        else:
            found += [(shown, _json(shown, content)) for shown, content in files]
    return found


def _contents(look: _Look) -> Contents:
    return [[(stamp.shown, _read(stamp)) for stamp in stamps] for stamps in look.by_place]


def _read(stamp: _Stamp) -> bytes:
    if stamp.state is None:
        raise _bad_file(stamp.shown, stamp.problem)
    try:
        with stamp.path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise _bad_file(stamp.shown, _why(error)) from None
    if len(content) > LARGEST:
        raise _bad_file(stamp.shown, f"too large: give files of {LARGEST // 1_048_576} MiB at most")
    return content


def _json(shown: str, content: bytes) -> Any:
    try:
        text = content.decode("utf-8-sig")  # exports of PowerShell begin with a byte order mark
    except UnicodeDecodeError as error:
        raise _bad_file(shown, f"byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise _bad_file(shown, f"the field {name[:80]!a} is there twice in one object: leave one out")
            found[name] = value
        return found

    def constant(name: str) -> Any:
        raise _bad_file(shown, f"{name} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=constant)
    except json.JSONDecodeError as error:
        what = "it is empty" if not text.strip() else f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise _bad_file(shown, f"this is no JSON: {what}") from None
    except RecursionError:
        raise _bad_file(shown, "it is nested too deeply") from None
    except ValueError:  # a number of thousands of digits
        raise _bad_file(shown, "it has a number that is too large") from None


def _bad_file(shown: str, problem: str) -> PolicyError:
    return PolicyError(shown, "", "", None, problem, "file")


# The policies in force -----------------------------------------------------------------------------------


@frozen
class Problem:
    """Why the files as they are now are not in force, and since when (the clock's seconds since 1970)."""

    text: str
    since: float


class PolicyBook:
    """The policies in force, and their files. Safe to use from threads, and in forked children.

    ``check`` is called with every set before it comes into force, and raises :class:`KMSIError` for one that must
    not. What the loader notes is logged as a warning, once.

    ``generation`` grows with every set that differs from the one before. ``next_check_at``: until then, by the clock
    that is handed in, :meth:`current` has nothing to do, and who has asked already need not ask again. A list that
    names no file never changes: it is ``math.inf``.
    """

    def __init__(
        self, source: Source, *, check_every: float = 0.5, check: Callable[[PolicySet], None] | None = None
    ) -> None:
        self._places = _places(source)
        self._check_every = check_every
        self._check = check
        self._watched = any(place.path is not None for place in self._places)
        self._policies: PolicySet | None = None
        self._counted: PolicySet | None = None
        self._stamps: list[_Stamp] = []
        self._present: frozenset[Path] = frozenset()
        self._read_twice = False
        self._digest = b""
        self._bad_digest = b""
        self._lock = threading.Lock()
        self.generation = 0
        self.next_check_at = -math.inf if self._watched else math.inf
        self.problem: Problem | None = None
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`.forks`. What another thread of the parent had under way is done again."""
        self._lock = threading.Lock()
        self._read_twice, self._digest, self._bad_digest = False, b"", b""
        if self._policies is not self._counted:
            self.generation, self._counted = self.generation + 1, self._policies
        self.next_check_at = -math.inf if self._watched else math.inf

    def load(self) -> PolicySet:
        """Read everything, at start-up. Raises :class:`PolicyError`, and what ``check`` raises."""
        with self._lock:
            look = _Look(self._places)
            contents = _contents(look)
            found = self._understood(contents)
            self._stamps, self._read_twice = look.stamps, False
            self._take(found, look, _digest(contents))
            return found

    def current(self, now: float) -> PolicySet:
        """The policies in force at ``now``, after a look at the files if one is due. Raises only before
        :meth:`load`: what :meth:`load` does."""
        self.changed(now)
        return self._policies if self._policies is not None else self.load()

    def changed(self, now: float) -> bool:
        """Look at the files if it is time; whether this look found another set of policies. Raises nothing.

        A clock that was set back is noticed here, not by a comparison with ``next_check_at``.
        """
        if self._policies is None or not self._watched or self._is_early(now):
            return False
        if not self._lock.acquire(blocking=False):
            return False  # another thread is just looking
        try:
            if self._is_early(now):
                return False
            self.next_check_at = now + self._check_every
            return self._look(now)
        finally:
            self._lock.release()

    def _is_early(self, now: float) -> bool:
        return self.next_check_at - self._check_every <= now < self.next_check_at

    def _look(self, now: float) -> bool:
        look = _Look(self._places)
        same = look.stamps == self._stamps
        if same and self._read_twice:
            return False
        gone = self._present - look.present
        known = {stamp.path for stamp in self._stamps if stamp.state is not None}
        self._stamps, self._read_twice = look.stamps, same
        if gone & known:
            return False  # rule 3: the next look decides
        digest = b""
        try:
            contents = _contents(look)
            digest = _digest(contents)
            if digest == self._bad_digest:
                return False
            if digest == self._digest and self._policies is not None:
                return self._take(self._policies, look, digest)
            found = self._understood(contents)
        except KMSIError as error:
            self._complain(str(error), digest, now)
            self._read_twice = same and digest != b""  # what could not be read is tried again
            return False
        except Exception as error:  # a mistake of ours in understanding a file must not stop the app
            self._complain(f"policies: they could not be understood: {type(error).__name__}", digest, now)
            _log.exception("policies: an error that nobody expected")
            return False
        return self._take(found, look, digest)

    def _understood(self, contents: Contents) -> PolicySet:
        found = load_policies(_documents(self._places, contents))
        if self._check is not None:
            self._check(found)
        return found

    def _take(self, found: PolicySet, look: _Look, digest: bytes) -> bool:
        if self.problem is not None:
            _log.warning("policies: they can be read and understood again")
        self.problem, self._bad_digest = None, b""
        before, self._policies = self._policies, found
        for note in found.notes:
            if before is None or note not in before.notes:
                _log.warning("policies: %s", note)
        self._present, self._digest = look.present, digest
        if before is not None and (before.policies, before.locations) == (found.policies, found.locations):
            self._counted = found
            return False
        # After the policies, never before: who reads both reads this one first, and so never takes the older
        # policies for the newer.
        self.generation += 1
        self._counted = found
        if before is not None:
            enabled = sum(policy.state == "enabled" for policy in found.policies)
            _log.info("policies: read again; %d policies, %d of them enabled", len(found.policies), enabled)
        return True

    def _complain(self, text: str, digest: bytes, now: float) -> None:
        """``digest``: of what was read; empty if nothing could be. Rule 1."""
        before, self._bad_digest = self._bad_digest, digest
        if self.problem is None or digest != before or (not digest and text != self.problem.text):
            _log.error("%s. The policies that were read before stay in force until this is mended", text)
        self.problem = Problem(text, self.problem.since if self.problem is not None else now)


def _digest(contents: Contents) -> bytes:
    whole = hashlib.sha256()
    for files in contents:
        for shown, content in files:
            name = os.fsencode(shown)
            whole.update(b"%d %d " % (len(name), len(content)) + name + content)
    return whole.digest()

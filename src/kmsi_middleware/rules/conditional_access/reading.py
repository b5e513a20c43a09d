"""Reading the JSON of a policy file, member by member, so that nothing is passed over.

1. Every member of an object is asked for by name. What nobody asked for is unknown, and reported. Where it is set
   it stops the load if it could be a condition or a control, or is a slip of the pen for a member that matters.
2. *Unset* is what Graph writes for "not configured": null, ``false``, ``"none"``, nothing in it, or
   ``"isEnabled": false``.
3. OData's annotations (a name with ``@odata.`` in it) say nothing of their own.
4. Words of Graph's enumerations are taken in any case, and kept in Graph's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...vocabulary.errors import KMSIError, SettingsError

_DEEPEST = 20


class PolicyError(SettingsError):
    """A policy, or a named location, that can't be kept as it is written.

    ``file`` and ``policy`` say where, ``field`` is the path within it (``conditions.users.includeUsers``), ``value``
    what stands there, ``problem`` what would work. ``kind``: ``policy``, ``named location`` or ``file``.
    """

    def __init__(self, file: str, policy: str, field: str, value: object, problem: str, kind: str = "policy") -> None:
        self.name = "policies"
        self.file, self.policy, self.field, self.kind = file, policy, field, kind
        self.value, self.problem = value, problem
        place = f"{file}: {kind} {policy!r}" if policy else file
        what = f": {field} = {shown(value)}" if field else ""
        KMSIError.__init__(self, f"policies: {place}{what}: {problem}")


class Members:
    """One JSON object of a file. Every method raises :class:`PolicyError` for what it can't take."""

    def __init__(
        self, value: object, notes: list[str], *, file: str, policy: str, kind: str = "policy", path: str = ""
    ) -> None:
        self.file, self.policy, self.kind, self.path = file, policy, kind, path
        self.notes = notes
        self.asked: set[str] = set()
        self.passed_over: set[str] = set()
        if not isinstance(value, Mapping):
            raise PolicyError(file, policy, path, value, "give an object in braces", kind)
        self.value: Mapping[str, Any] = value

    def at(self, name: str) -> str:
        """The path of a member, for messages."""
        last = name if name.isprintable() and name.strip() else ascii(name)
        return f"{self.path}.{last}" if self.path else last

    def refuse(self, name: str, problem: str) -> PolicyError:
        """The error about one member, to be raised."""
        return PolicyError(self.file, self.policy, self.at(name), self.value.get(name), problem, self.kind)

    def note(self, name: str | None, text: str) -> None:
        """Report what does no harm but should be known, of a member or of the whole."""
        place = f"{self.file}: {self.kind} {self.policy!r}" if self.policy else self.file
        self.notes.append(f"{place}: {text}" if name is None else f"{place}: {self.at(name)}: {text}")

    def take(self, name: str) -> Any:
        """A member as it stands, for who checks it by other means."""
        self.asked.add(name)
        return self.value.get(name)

    def text(self, name: str) -> str | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(name, "give a text that is not blank")
        return value

    def texts(self, name: str, *, flags: bool = False) -> tuple[str, ...]:
        """Texts. ``flags``: Graph writes several into one text, with commas."""
        value = self.take(name)
        if flags and isinstance(value, str):
            value = [item for item in value.split(",") if item.strip()]
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise self.refuse(name, 'give a list of texts, as ["one", "two"]')
        return tuple(item.strip() for item in value)

    def ids(self, name: str, *words: str, without: Sequence[str] = ()) -> tuple[str, ...]:
        """Ids in lower case, each once. ``words`` mean something special here; those ``without`` do so elsewhere
        only, and as an id none of them would ever match. ``None`` stands alone."""
        found = tuple(dict.fromkeys(item.lower() for item in self.texts(name)))
        for word in without:
            if word.lower() in found:
                allowed = "".join(f", or {word}" for word in words)
                raise self.refuse(name, f"{word} has no place here: give ids{allowed}")
        if "none" in found and "None" in words and len(found) > 1:
            raise self.refuse(name, "None stands alone: leave it out, or everything else")
        return found

    def words(
        self,
        name: str,
        known: Collection[str],
        unsupported: Mapping[str, str] | None = None,
        *,
        flags: bool = False,
    ) -> tuple[str, ...]:
        """Words of an enumeration. Those ``unsupported`` are Graph's too; each with what would work instead."""
        found = self.texts(name, flags=flags)
        return tuple(dict.fromkeys(self._word(name, item, known, unsupported or {}) for item in found))

    def word(self, name: str, known: Collection[str]) -> str | None:
        value = self.text(name)
        return None if value is None else self._word(name, value, known, {})

    def _word(self, name: str, value: str, known: Collection[str], unsupported: Mapping[str, str]) -> str:
        for word in known:
            if word.lower() == value.strip().lower():
                return word
        for word, instead in unsupported.items():
            if word.lower() == value.strip().lower():
                raise self.refuse(name, f"{word} can't be kept here: {instead}")
        raise self.refuse(name, f"give {'one of ' if len(known) > 1 else ''}{', '.join(known)}{near(value, known)}")

    def flag(self, name: str) -> bool | None:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(name, "give true or false, without quotes")
        return value

    def whole(self, name: str) -> int | None:
        value = self.take(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise self.refuse(name, "give a whole number, without quotes")
        return value

    def inner(self, name: str) -> Members | None:
        """The object in there; ``None`` if it is null or missing."""
        value = self.take(name)
        if value is None:
            return None
        return Members(value, self.notes, file=self.file, policy=self.policy, kind=self.kind, path=self.at(name))

    def pass_over(self, *names: str) -> None:
        """Members that are known and mean nothing here."""
        self.passed_over.update(names)

    def unsupported(self, problems: Mapping[str, str]) -> None:
        """Members of Graph's that can't be kept: each must be unset, else its problem is raised."""
        for name, problem in problems.items():
            if is_set(self.take(name)):
                raise self.refuse(name, problem)

    def done(self, *, binding: bool = True) -> None:
        """All has been asked for. Rule 1; ``binding``: a member here would be a condition or a control."""
        for name in self.value:
            if name in self.asked or name in self.passed_over or "@odata." in name:
                continue
            hint = near(name, self.asked)
            if is_set(self.value[name]) and (binding or hint):
                raise self.refuse(name, f"there is no such field here{hint or ': leave it out'}")
            self.note(name, f"not known, and not used{hint}")


def is_set(value: object, depth: int = 0) -> bool:
    """Rule 2."""
    if value is None or value is False or value == "none":
        return False
    if isinstance(value, Mapping):
        if value.get("isEnabled") is False:
            return False
        inner = [item for name, item in value.items() if "@odata." not in str(name)]
        return any(depth > _DEEPEST or is_set(item, depth + 1) for item in inner)
    return not isinstance(value, str | list) or len(value) > 0


def shown(value: object) -> str:
    """A value as a message shows it, in JSON's spelling, never long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:79] + "…")
    if isinstance(value, list):
        short = len(value) <= 5 and all(isinstance(item, str | bool | None) for item in value)
        return f"[{', '.join(shown(item) for item in value)}]" if short else f"a list of {len(value)}"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else "a very large number"
    return repr(value) if isinstance(value, float) else "an object"


def near(name: str, known: Collection[str]) -> str:
    """A hint at what was probably meant, or nothing."""
    import difflib  # for mistakes only

    by_lower = {item.lower(): item for item in sorted(known)}
    found = difflib.get_close_matches(name.lower()[:80], list(by_lower), n=1, cutoff=0.8)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""

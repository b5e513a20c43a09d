"""Reading the elements of a policy file one by one, so that nothing is passed over.

Every child and attribute is asked for by name. What is known and has no meaning here is *named*: it appears among the
notes, by its path, with its line. What is not known stops the load where a misspelt name would change a session.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence

from .elements import Element, PolicyFileError

_INSTANCE = re.compile(r"https?://www\.w3\.org/2001/XMLSchema-instance .*")


class Notes:
    """What has no meaning here, by path: a file of a thousand lines needs no thousand notes."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}
        self._texts: list[str] = []

    def name(self, path: str, element: Element) -> None:
        """An element with all that is in it."""
        label = next((element.attributes[key] for key in ("Id", "Key", "Name") if key in element.attributes), "")
        self._places.setdefault(path, []).append(f"{label} (line {element.line})".lstrip())

    def name_attribute(self, path: str, attribute: str, element: Element) -> None:
        self._places.setdefault(f"{path} @{attribute}", []).append(f"(line {element.line})")

    def say(self, text: str) -> None:
        """Anything else that should be known."""
        self._texts.append(text)

    def lines(self) -> tuple[str, ...]:
        return (*self._texts, *(f"{path} {', '.join(places)}" for path, places in self._places.items()))


class Reading:
    """One element, while it is read. Every method raises :class:`PolicyFileError` for what it can't take."""

    def __init__(self, element: Element, notes: Notes, path: str = "") -> None:
        self.element = element
        self.notes = notes
        self.path = f"{path}/{element.name}" if path and path != "TrustFrameworkPolicy" else element.name
        self._children: set[str] = set()
        self._attributes: set[str] = set()

    def all(self, name: str) -> list[Reading]:
        """The children of that name."""
        self._children.add(name)
        found = [child for child in self.element.children if child.name == name]
        return [Reading(child, self.notes, self.path) for child in found]

    def one(self, name: str) -> Reading | None:
        """The only child of that name."""
        found = self.all(name)
        if len(found) > 1:
            raise found[1].element.error(f"{self.element.name} has one {name}, and this is the second")
        return found[0] if found else None

    def attribute(self, name: str, *, required: bool = False) -> str | None:
        self._attributes.add(name)
        value = self.element.attributes.get(name)
        if required and not (value or "").strip():
            raise self.element.error(f"it needs the attribute {name}")
        return value.strip() if value is not None else None

    def leaf(self) -> str:
        """The text of an element that holds nothing else."""
        if self.element.children:
            raise self.element.children[0].error(f"{self.element.name} holds a text, and no elements")
        self.done()
        return self.element.text

    def without_meaning(self, *names: str) -> None:
        """Name children that are known, and mean nothing here."""
        for name in names:
            for child in self.all(name):
                self.notes.name(child.path, child.element)

    def attributes_without_meaning(self, *names: str) -> None:
        for name in names:
            if self.attribute(name) is not None:
                self.notes.name_attribute(self.path, name, self.element)

    def rest_without_meaning(self) -> None:
        """Name everything that nobody asked for: an element in which no session's behaviour can hide."""
        self.without_meaning(*dict.fromkeys(child.name for child in self.element.children if self._is_new(child)))
        attributes = [name for name in self.element.attributes if name not in self._attributes]
        self.attributes_without_meaning(*(name for name in attributes if not _INSTANCE.fullmatch(name)))
        self.done()

    def done(self) -> None:
        """Refuse what nobody asked for; a text among elements says nothing, and is named."""
        for child in self.element.children:
            if self._is_new(child):
                raise child.error(f"{self.element.name} has no such element{near(child.name, self._children)}")
        for name in self.element.attributes:
            if name not in self._attributes and not _INSTANCE.fullmatch(name):
                raise self.element.error(f"it has no attribute {name[:80]}{near(name, self._attributes)}")
        if self.element.text and self._children:
            text = re.sub(r"\s+", " ", self.element.text)[:40]
            self.notes.say(f"{self.path} (line {self.element.line}): the text “{text}”")

    def _is_new(self, child: Element) -> bool:
        return child.name not in self._children


def near(name: str, known: Sequence[str] | set[str]) -> str:
    """A hint at what was probably meant, or what there is."""
    found = difflib.get_close_matches(name[:80], sorted(known), n=1)
    return f"; did you mean {found[0]}?" if found else f": there are {', '.join(sorted(known))}" if known else ""


# The simple types of B2C's schema (TrustFrameworkPolicy_0.3.0.0.xsd) ----------------------------------------


def word(choices: Sequence[str]) -> Callable[[Element, str], str]:
    """One of some words; capitals count, as in the schema."""

    def read(element: Element, text: str) -> str:
        if text not in choices:
            raise element.error(f"{text[:40]!r}: give {', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return read


def number(low: int, high: int, unit: str) -> Callable[[Element, str], int]:
    """``xs:int``, within limits."""

    def read(element: Element, text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise element.error(f"{text[:40]!r}: give {low:,} to {high:,} {unit}, in digits")
        return int(text)

    return read


_TRUTH: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


def truth(element: Element, text: str) -> bool:
    """``xs:boolean``."""
    if text not in _TRUTH:
        raise element.error(f"{text[:40]!r}: give true or false")
    return _TRUTH[text]


def truth_of_item(element: Element, text: str) -> bool:
    """The same in a metadata item, where capitals don't count: B2C's documentation writes ``True``."""
    return truth(element, text.lower())


__all__ = ["Notes", "PolicyFileError", "Reading", "near", "number", "truth", "truth_of_item", "word"]

"""The XML of a policy file as a tree of elements that know their lines.

The parser is expat, as Python has it, with handlers that refuse. ElementTree tells no lines, and defusedxml is the same
handlers around the same expat. What can harm never begins:

1. No document type declaration. So there are no entities but XML's own five, nothing to expand, and nothing to fetch.
2. At most ``LARGEST`` bytes, in one piece (expat rescans a long token that comes in pieces), and ``DEEPEST`` levels.
3. The encodings that expat reads itself: a declared one of another name would be looked up among Python's codecs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any
from xml.parsers import expat

from ...vocabulary.errors import KMSIError, SettingsError
from ...vocabulary.records import frozen

LARGEST = 1_048_576
"""Bytes; B2C itself takes policy files of 1,024 KB at most (Azure AD B2C: service limits)."""
DEEPEST = 64
ENCODINGS = ("UTF-8", "UTF-16", "US-ASCII", "ISO-8859-1")


class PolicyFileError(SettingsError):
    """A policy file that can't be taken as it is. ``file``, ``line`` and ``element`` say where."""

    def __init__(self, file: str, line: int, element: str, problem: str) -> None:
        self.name, self.value = "user_flows", file
        self.file, self.line, self.element, self.problem = file, line, element, problem
        place = f"{file}, line {line}" + (f", element {element[:80]}" if element else "")
        KMSIError.__init__(self, f"user_flows: {place}: {problem}")


@frozen
class Element:
    """One element. Names are without their namespace."""

    file: str
    line: int
    name: str
    namespace: str
    attributes: Mapping[str, str]
    texts: list[str] = field(default_factory=list)
    children: list[Element] = field(default_factory=list)

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    @property
    def text(self) -> str:
        """The text in it, without the space around."""
        return "".join(self.texts).strip()

    def error(self, problem: str) -> PolicyFileError:
        """The error about it, to be raised."""
        return PolicyFileError(self.file, self.line, self.name, problem)

    def walk(self) -> Iterator[Element]:
        """It, and all that is in it."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse(data: bytes, file: str) -> Element:
    """The root element. ``file`` is the file's name, for messages. Raises :class:`PolicyFileError`."""
    if len(data) > LARGEST:
        raise PolicyFileError(file, 1, "", f"the file has more than {LARGEST:,} bytes, and B2C takes no larger one")
    return _Parsing(file).root(data)


class _Parsing:
    """One parse: expat's handlers, and what is open."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[Element] = []
        self._roots: list[Element] = []
        self._expat = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def root(self, data: bytes) -> Element:
        try:
            self._expat.Parse(data, True)
        except expat.ExpatError as error:
            raise self._error(f"this is no well-formed XML: {expat.ErrorString(error.code)}", error.lineno) from None
        return self._roots[0]

    def _error(self, problem: str, line: int | None = None) -> PolicyFileError:
        inside = self._open[-1].name if self._open else ""
        return PolicyFileError(self._file, line or self._expat.CurrentLineNumber, inside, problem)

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        del version, standalone
        if encoding is not None and encoding.upper() not in ENCODINGS:
            raise self._error(f"the encoding {encoding[:40]!r} is not read here: save the file as UTF-8")

    def _doctype(self, *declared: Any) -> None:
        del declared
        raise self._error("a document type declaration (DOCTYPE) is refused, and with it every entity: take it out")

    def _start(self, full: str, attributes: Mapping[str, str]) -> None:
        namespace, _, name = full.rpartition(" ")
        if len(self._open) == DEEPEST:
            raise self._error(f"the elements are more than {DEEPEST} levels deep")
        element = Element(self._file, self._expat.CurrentLineNumber, name, namespace, dict(attributes))
        (self._open[-1].children if self._open else self._roots).append(element)
        self._open.append(element)

    def _end(self, full: str) -> None:
        del full
        self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].texts.append(text)

"""The rule language of the device filter: from text to a tree, from a tree to text, and whether a device fits.

1. ``-not`` binds tighter than ``-and``, ``-and`` tighter than ``-or``; parentheses decide otherwise.
2. Names, operators and values are compared without regard to case. An operator may be written without its hyphen,
   or with the en dash that word processors make of it.
3. A text stands in double quotes, with a backtick before a double quote in it; or in single quotes, with a single
   quote in it doubled. ``true``, ``false`` and ``null`` stand without quotes.
4. Each property has its own operators. On texts ``-contains`` finds a part; on collections (``physicalIds``,
   ``systemLabels``) it finds a whole member.
5. What a device lacks is null: every positive operator is false of it, every negative one true; so a device that is
   not registered fits negative rules and no positive ones. ``-eq null`` is true of it, ``-ne null`` false.
6. What is missing is told apart from what is known to be null: :class:`Match` names it where it matters.

Source: Microsoft Entra, "Conditional Access: Filter for devices" (properties, operators, table of behaviour), and
"Manage rules for dynamic membership groups" (syntax, precedence, quoting, null); Graph ``conditionalAccessFilter``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ...vocabulary.errors import SettingsError
from ...vocabulary.records import frozen

LONGEST = 3_072
"""Characters in a rule, as in Entra."""
DEEPEST = 50
"""Levels of parentheses and ``-not`` in a rule."""

_EQUALS = ("eq", "ne")
_AMONG = ("in", "notIn")
_PARTS = ("startsWith", "notStartsWith", "endsWith", "notEndsWith", "contains", "notContains")
_MEMBER = ("contains", "notContains")
_TEXT = (*_EQUALS, *_PARTS, *_AMONG)

PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "deviceId": (*_EQUALS, *_AMONG),
    "displayName": _TEXT,
    "deviceOwnership": _EQUALS,
    "enrollmentProfileName": _TEXT,
    "isCompliant": _EQUALS,
    "manufacturer": _TEXT,
    "mdmAppId": (*_EQUALS, *_AMONG),
    "model": _TEXT,
    "operatingSystem": _TEXT,
    "operatingSystemVersion": _TEXT,
    "physicalIds": _MEMBER,
    "profileType": _EQUALS,
    "systemLabels": _MEMBER,
    "trustType": _EQUALS,
    **{f"extensionAttribute{number}": _TEXT for number in range(1, 16)},
}
"""The properties that a rule may name, and the operators that each of them has."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "deviceOwnership": ("Personal", "Company"),
    "profileType": ("RegisteredDevice", "SecureVM", "Printer", "Shared", "IoT"),
    "trustType": ("AzureAD", "ServerAD", "Workplace"),
}
"""The values that a property can have at all: a rule that names another one is a slip of the pen."""

_COLLECTIONS = frozenset({"physicalIds", "systemLabels"})
_NEGATIONS = {
    "ne": "eq",
    "notStartsWith": "startsWith",
    "notEndsWith": "endsWith",
    "notContains": "contains",
    "notIn": "in",
}
_BY_NAME = {name.lower(): name for name in PROPERTIES} | {"devicephysicalids": "physicalIds"}
_OPERATORS = {name.lower(): name for name in _TEXT}
_GROUP_RULES = {"match", "notmatch", "any", "all", "le", "ge", "lt", "gt", "like", "notlike"}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>"(?:`"|`(?!")|[^"`])*"|'(?:''|[^'])*')
      | (?P<mark>[()\[\],])
      | (?P<word>[-\u2013]?\$?[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<number>-?[0-9][0-9.]*)""",
    re.VERBOSE,
)


class FilterError(SettingsError):
    """A rule that can't be understood. ``position`` is the place in the text, counted from 1."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.position = position
        super().__init__("policies", text, f"at character {position}: {problem}")


@frozen
class Comparison:
    """``device.property -operator value``; names as in :data:`PROPERTIES`, the operator without its hyphen."""

    property: str
    operator: str
    value: str | bool | tuple[str, ...] | None
    """A text; ``True`` or ``False`` for ``isCompliant``; a tuple for ``in`` and ``notIn``; ``None`` for null."""


@frozen
class Not:
    operand: Expression


@frozen
class And:
    operands: tuple[Expression, ...]
    """Two or more."""


@frozen
class Or:
    operands: tuple[Expression, ...]
    """Two or more."""


Expression = Comparison | Not | And | Or


@frozen
class DeviceFilter:
    """``include``: a policy is for devices that fit ``rule``; ``exclude``: for all others. ``text`` as written."""

    mode: Literal["include", "exclude"]
    rule: Expression
    text: str


@frozen
class Match:
    """Whether a device fits a rule."""

    holds: bool
    """The answer, with all that is missing taken for null."""
    missing: tuple[str, ...] = ()
    """The properties that the device does not tell, or tells in a form that makes no sense, and that could have made
    the answer another one. Empty: the answer is certain."""


# From text to a tree ------------------------------------------------------------------------------------


def parse(text: str) -> Expression:
    """The tree of a rule. Raises :class:`FilterError`."""
    if len(text) > LONGEST:
        raise FilterError(text[:40] + "…", LONGEST + 1, f"a rule has at most {LONGEST:,} characters")
    parser = _Parser(text)
    tree = parser.disjunction(0)
    if parser.kind:
        raise parser.error("-and, -or or the end of the rule should come here")
    return tree


class _Parser:
    """Recursive descent, one method for each level of precedence. ``kind`` and ``lexeme`` are what comes next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._scan()
        self.kind, self.lexeme, self.position = "", "", 0
        self.advance()

    def error(self, problem: str, position: int | None = None) -> FilterError:
        return FilterError(self.text, (self.position if position is None else position) + 1, problem)

    def _scan(self) -> Iterator[tuple[str, str, int]]:
        position = 0
        while position < len(self.text):
            found = _TOKEN.match(self.text, position)
            if found is None:
                character = self.text[position]
                if character in "\"'":
                    raise self.error(f"the text that begins here has no closing {character}", position)
                if character in "“”„‘’":
                    raise self.error('quotes must be straight ones: "', position)
                raise self.error(f"{character!r} means nothing here; a rule is like {_EXAMPLE}", position)
            if found.lastgroup != "space":
                yield str(found.lastgroup), found.group(), position
            position = found.end()

    def advance(self) -> None:
        self.kind, self.lexeme, self.position = next(self.tokens, ("", "", len(self.text)))

    def operator(self) -> str:
        """The coming word, as an operator: no hyphen, small letters."""
        return self.lexeme.lstrip("-\u2013").lower() if self.kind == "word" else ""

    def disjunction(self, depth: int) -> Expression:
        operands = [self.conjunction(depth)]
        while self.operator() == "or":
            self.advance()
            operands.append(self.conjunction(depth))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def conjunction(self, depth: int) -> Expression:
        operands = [self.negation(depth)]
        while self.operator() == "and":
            self.advance()
            operands.append(self.negation(depth))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def negation(self, depth: int) -> Expression:
        if depth > DEEPEST:
            raise self.error(f"more than {DEEPEST} levels of parentheses and -not")
        if self.operator() == "not":
            self.advance()
            return Not(self.negation(depth + 1))
        if self.lexeme != "(":
            return self.comparison()
        opened = self.position
        self.advance()
        inner = self.disjunction(depth + 1)
        if not self.kind:
            raise self.error("the parenthesis that opens here is never closed", opened)
        if self.lexeme != ")":
            raise self.error("-and, -or or a closing parenthesis should come here")
        self.advance()
        return inner

    def comparison(self) -> Expression:
        name = self.property()
        operator = self.comparing(name)
        at = self.position
        value = self.value()
        if isinstance(value, tuple) != (operator in _AMONG):
            if isinstance(value, tuple):
                raise self.error(f"a list goes with -in and -notIn; -{operator} takes a single value", at)
            raise self.error(f'-{operator} takes a list in brackets, as ["one", "two"]', at)
        if value is None and operator not in _EQUALS:
            raise self.error("null goes with -eq and -ne only", at)
        if name == "isCompliant" and isinstance(value, str):
            if value.lower() not in ("true", "false"):
                raise self.error("give True or False", at)
            value = value.lower() == "true"
        if isinstance(value, bool) and name != "isCompliant":
            raise self.error(f"{name} is a text: put the value in quotes", at)
        possible = VALUES.get(name)
        if possible and isinstance(value, str) and value.lower() not in {item.lower() for item in possible}:
            raise self.error(f"give one of {', '.join(possible)}", at)
        return Comparison(name, operator, value)

    def property(self) -> str:
        if not self.kind:
            raise self.error(f"the rule ends where a comparison should come, as {_EXAMPLE}")
        prefix, dot, rest = self.lexeme.partition(".")
        if self.kind != "word" or prefix.lower() != "device" or not dot:
            raise self.error(f"a comparison should come here, as {_EXAMPLE}")
        if rest.lower() not in _BY_NAME:
            raise self.error(f"there is no device property {rest!r}; there are {', '.join(PROPERTIES)}")
        self.advance()
        return _BY_NAME[rest.lower()]

    def comparing(self, name: str) -> str:
        word = self.operator()
        allowed = ", ".join(f"-{operator}" for operator in PROPERTIES[name])
        if word in _GROUP_RULES:
            raise self.error(f"-{word} is for rules about groups; {name} has {allowed}")
        operator = _OPERATORS.get(word, "")
        if operator not in PROPERTIES[name]:
            found = f"{self.lexeme} is none" if self.kind else "the rule ends here"
            raise self.error(f"an operator that {name} has should come here, {allowed}; {found}")
        self.advance()
        return operator

    def value(self) -> str | bool | tuple[str, ...] | None:
        if self.lexeme == "[":
            return self.list_of_texts()
        if self.kind == "text":
            return self.string()
        word = self.lexeme.lower()
        if self.kind == "word" and word in ("true", "false", "null", "$null"):
            self.advance()
            return None if "null" in word else word == "true"
        if self.kind in ("word", "number"):
            raise self.error(f'put the value in quotes: "{self.lexeme}"')
        raise self.error("a value should come here, as a text in quotes, True, False or null")

    def list_of_texts(self) -> tuple[str, ...]:
        opened = self.position
        items: list[str] = []
        while not items or self.lexeme == ",":
            self.advance()
            if self.kind != "text":
                raise self.error("a text in quotes should come here, for the list" + ("" if self.kind else " to end"))
            items.append(self.string())
        if self.lexeme != "]":
            if self.kind:
                raise self.error("a comma or a closing bracket should come here")
            raise self.error("the bracket that opens here is never closed", opened)
        self.advance()
        return tuple(items)

    def string(self) -> str:
        quote, inner = self.lexeme[0], self.lexeme[1:-1]
        if quote == '"' and "''" in inner:
            raise self.error("a doubled single quote is ambiguous in double quotes: put the text in single quotes")
        self.advance()
        return inner.replace('`"', '"') if quote == '"' else inner.replace("''", "'")


_EXAMPLE = 'device.trustType -eq "AzureAD"'


# From a tree to text ------------------------------------------------------------------------------------


def render(rule: Expression) -> str:
    """The rule as text, such that :func:`parse` makes the same tree of it."""
    if isinstance(rule, Comparison):
        return f"device.{rule.property} -{rule.operator} {_literal(rule.value)}"
    if isinstance(rule, Not):
        return f"-not ({render(rule.operand)})"
    word = " -and " if isinstance(rule, And) else " -or "
    return word.join(f"({render(item)})" if isinstance(item, And | Or) else render(item) for item in rule.operands)


def _literal(value: str | bool | tuple[str, ...] | None) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if not isinstance(value, str):
        return "null" if value is None else str(value)
    plain = not any(part in value for part in ('"', "`", "''"))
    return f'"{value}"' if plain else "'" + value.replace("'", "''") + "'"


# Whether a device fits ----------------------------------------------------------------------------------


def match(rule: Expression, device: Mapping[str, Any] | None) -> Match:
    """Whether ``device`` fits ``rule``.

    ``device`` has Graph's property names, in any case; extension attributes beside the others, or in an
    ``extensionAttributes`` object as in Graph's ``device``. ``None``: no registered device is known; the answer is
    then Microsoft's for unregistered devices, and ``missing`` names what it rests on. Never raises.
    """
    facts = _facts(device or {})
    missing: list[str] = []
    certain = _weigh(rule, facts, missing)
    if certain is not None:
        return Match(certain)
    return Match(_holds(rule, facts), tuple(dict.fromkeys(missing)))


def _facts(device: Mapping[str, Any]) -> dict[str, Any]:
    """The properties by their names in :data:`PROPERTIES`."""
    found: dict[str, Any] = {}
    for name, value in device.items():
        if str(name).lower() == "extensionattributes" and isinstance(value, Mapping):
            found |= {_BY_NAME.get(str(key).lower(), ""): item for key, item in value.items()}
        else:
            found[_BY_NAME.get(str(name).lower(), "")] = value
    return found


def _weigh(rule: Expression, facts: Mapping[str, Any], missing: list[str]) -> bool | None:
    """True, false, or ``None`` if that hangs on something missing (Kleene's logic)."""
    if isinstance(rule, Comparison):
        known, value = _value(rule.property, facts)
        if known:
            return _compare(rule, value)
        missing.append(rule.property)
        return None
    if isinstance(rule, Not):
        inner = _weigh(rule.operand, facts, missing)
        return None if inner is None else not inner
    decisive = isinstance(rule, Or)
    answers = [_weigh(item, facts, missing) for item in rule.operands]
    if decisive in answers:
        return decisive
    return None if None in answers else not decisive


def _holds(rule: Expression, facts: Mapping[str, Any]) -> bool:
    """The same with everything that is missing taken for null."""
    if isinstance(rule, Comparison):
        return _compare(rule, _value(rule.property, facts)[1])
    if isinstance(rule, Not):
        return not _holds(rule.operand, facts)
    decide = all if isinstance(rule, And) else any
    return decide(_holds(item, facts) for item in rule.operands)


def _value(name: str, facts: Mapping[str, Any]) -> tuple[bool, tuple[str, ...] | None]:
    """Whether the property is known, and its value as texts in one case; ``None`` for null."""
    if name not in facts:
        return False, None
    value = facts[name]
    if value is None:
        return True, None
    items = value if isinstance(value, list | tuple | set | frozenset) else [value]
    if not all(isinstance(item, str | bool | int) for item in items):
        return False, None
    try:
        texts = tuple(str(item).casefold() for item in items)
    except ValueError:  # an integer too long to be written out
        return False, None
    if name == "isCompliant" and (len(texts) != 1 or texts[0] not in ("true", "false")):
        return False, None
    return True, texts


def _compare(rule: Comparison, value: tuple[str, ...] | None) -> bool:
    if rule.operator in _NEGATIONS:
        return not _positive(_NEGATIONS[rule.operator], rule, value)
    return _positive(rule.operator, rule, value)


def _positive(operator: str, rule: Comparison, value: tuple[str, ...] | None) -> bool:
    if rule.value is None:
        return value is None
    if value is None:
        return False
    if isinstance(rule.value, tuple):
        return not {item.casefold() for item in rule.value}.isdisjoint(value)
    wanted = str(rule.value).casefold()
    if operator == "eq" or rule.property in _COLLECTIONS:
        return wanted in value
    if operator == "startsWith":
        return any(item.startswith(wanted) for item in value)
    if operator == "endsWith":
        return any(item.endswith(wanted) for item in value)
    return any(wanted in item for item in value)

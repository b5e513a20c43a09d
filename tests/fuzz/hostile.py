"""Hostile input, made from a number: the same number makes the same input, in every process and on every machine.

A *seed* is a good input. What is hostile is made of seeds by cutting, doubling, swapping, flipping and putting in what
has broken parsers before.
"""

from __future__ import annotations

import json
import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any

TOKENS = (
    "",
    "\0",
    "\r\n",
    "\r\nSet-Cookie: a=b",
    ";",
    ",",
    "=",
    "&",
    "#",
    "?",
    "%",
    "%00",
    "%0d%0a",
    "%2e%2e%2f",
    "%252e",
    "%ff",
    "%u0000",
    "+",
    "..",
    "//",
    "\\",
    "\\\\evil.example",
    "///evil.example",
    "http://evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "https:evil.example",
    "@evil.example",
    "\u202e",
    "\ufeff",
    "\u2028",
    "ünï",
    "\U0001f600",
    "<script>alert(1)</script>",
    '"',
    "'",
    "{{7*7}}",
    "${7*7}",
    "null",
    "true",
    "NaN",
    "1e999",
    "-1",
    "9" * 40,
    "0x10",
    "__proto__",
    "constructor",
    "A" * 300,
    "A" * 5_000,
    "=" * 100,
    "." * 50,
    "[" * 2_000,
    '{"a":' * 500,
)


class Hostile:
    """A source of hostile values. ``dice`` is seeded, so everything follows from one number."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def one(self, choices: Sequence[Any]) -> Any:
        return choices[self.dice.randrange(len(choices))]

    def often(self, share: float) -> bool:
        return self.dice.random() < share

    def text(self, seeds: Sequence[str], longest: int = 20_000) -> str:
        """A seed, as good as it was one time in five, else spoilt by up to six blows."""
        text = self.one(seeds)
        if self.often(0.2):
            return str(text)
        for _ in range(self.dice.randint(1, 6)):
            text = self._blow(text, seeds)
        return str(text)[:longest]

    def _blow(self, text: str, seeds: Sequence[str]) -> str:
        at, to = sorted((self.dice.randint(0, len(text)), self.dice.randint(0, len(text))))
        match self.dice.randrange(9):
            case 0:
                return text[:at] + text[to:]
            case 1:
                return text[:at] + text[at:to] * self.dice.randint(2, 4) + text[to:]
            case 2 | 3:
                return text[:at] + self.one(TOKENS) + text[at:]
            case 4:
                return text[:at] + self.one(TOKENS) + text[to:]
            case 5:
                other = self.one(seeds)
                return text[:at] + other[self.dice.randint(0, len(other)) :]
            case 6:
                return text.swapcase()
            case 7:
                return (
                    text[:at]
                    + chr(self.dice.choice((0, 9, 10, 13, 32, 37, 59, 127, 128, 255, 0x2028, 0x1F600)))
                    + text[at:]
                )
            case _:
                return text[to:] + text[:to]

    def blob(self, seeds: Sequence[bytes], longest: int = 20_000) -> bytes:
        """The same for bytes."""
        raw = bytearray(self.text([seed.decode("latin-1") for seed in seeds], longest).encode("utf-8", "replace"))
        for _ in range(self.dice.randrange(4)):
            if raw:
                raw[self.dice.randrange(len(raw))] ^= 1 << self.dice.randrange(8)
        return bytes(raw)

    def value(self, depth: int = 0) -> Any:
        """Some JSON value."""
        match self.dice.randrange(9 if depth < 4 else 6):
            case 0:
                return None
            case 1:
                return self.often(0.5)
            case 2:
                return self.one((0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e300, 1_700_000_000))
            case 3 | 4 | 5:
                return self.one(TOKENS)
            case 6:
                return [self.value(depth + 1) for _ in range(self.dice.randrange(4))]
            case _:
                return {self.one(TOKENS)[:40]: self.value(depth + 1) for _ in range(self.dice.randrange(4))}

    def document(self, seed: Any) -> Any:
        """A JSON document with some of its members changed, gone, or of another kind."""
        if self.often(0.25):
            return seed
        if isinstance(seed, dict):
            made = {name: self.document(value) for name, value in seed.items() if not self.often(0.07)}
            if self.often(0.1):
                made[self.one(TOKENS)[:40]] = self.value()
            return made if not self.often(0.03) else self.value()
        if isinstance(seed, list):
            made_list = [self.document(item) for item in seed if not self.often(0.07)]
            return made_list * self.dice.randint(1, 3) if not self.often(0.05) else self.value()
        return self.value() if self.often(0.12) else seed

    def body(self, seed: Any) -> bytes:
        """A document as bytes that are JSON, or nearly so."""
        raw = json.dumps(self.document(seed)).encode()
        return self.blob([raw]) if self.often(0.3) else raw

    def jwt(self, good: Sequence[str], resign: Callable[[dict[str, Any], dict[str, Any]], str]) -> str:
        """A token: spoilt as a text, or with another header or claims; signed again, so that claims are looked at."""
        token = self.one(good)
        if self.often(0.3):
            return self.text(good)
        header, claims = (json.loads(_decoded(part)) for part in token.split(".")[:2])
        if self.often(0.5):
            claims = self.document(claims)
        if self.often(0.4):
            header = self.document(header)
        if self.often(0.4) and isinstance(header, dict):
            header |= self.one(HEADERS)
        if self.often(0.6) and isinstance(header, dict) and isinstance(claims, dict):
            return resign(header, claims)
        parts = [_encoded(json.dumps(header).encode()), _encoded(json.dumps(claims).encode()), token.split(".")[2]]
        return ".".join(parts) if not self.often(0.1) else ".".join([*parts, self.one(TOKENS)])


HEADERS: tuple[dict[str, Any], ...] = (
    {"alg": "none"},
    {"alg": "None"},
    {"alg": "HS256"},
    {"alg": ["RS256"]},
    {"alg": {"x": 1}},
    {"alg": None},
    {"kid": "../../etc/passwd"},
    {"kid": ["k"]},
    {"kid": "' OR 1=1 --"},
    {"kid": None},
    {"jku": "https://evil.example/keys"},
    {"x5u": "https://evil.example/cert"},
    {"jwk": {"kty": "oct", "k": "AAAA"}},
    {"x5c": ["AAAA"] * 50},
    {"crit": ["exp"]},
    {"crit": []},
    {"b64": False},
    {"zip": "DEF"},
    {"cty": "JWT"},
    {"typ": "at+jwt"},
)


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()

"""What standards ask of an app's sessions, how it is met, and the tests that show it: the tables of docs/security.md.

One file for each standard: ``asvs.toml``, ``nist.toml``, ``owasp.toml``. ``[sections]`` lists the ids that it has, and
every id has one row, in words of our own:

==============  =====================================================================================
done            ``how``, ``tests``
in part         ``how``, ``tests``; ``left``: what is not met, why, and what can be done about it
operator        ``left``: what the operator does; ``how`` and ``tests``: what there is to do it with
provider        ``left``: what to ask of it; or ``how`` and ``tests``: what the embedded one does
does not apply  ``left``: why
not done        ``left``: why not
==============  =====================================================================================
"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from tests.attacks.attack_support import ATTACKS
from tests.conformance.plans import NOT_APPLICABLE, all_modules, modules_with_tests
from tests.fuzz.__main__ import COUNT as FUZZED_ON_REQUEST
from tests.fuzz.test_fuzz import COUNT as FUZZED_ALWAYS

from kmsi_middleware.rules.conditional_access.lint import INACTIVITY, OVERALL
from kmsi_middleware.rules.conditional_access.words import duration
from kmsi_middleware.vocabulary.settings import DAY, Settings

HERE = Path(__file__).parent
TESTS = HERE.parent
PAGE = TESTS.parent / "docs" / "security.md"
STANDARDS: dict[str, dict[str, Any]] = {
    name: tomllib.loads((HERE / f"{name}.toml").read_text("utf-8")) for name in ("asvs", "nist", "owasp")
}
STATUSES = {
    "done": {"how", "tests"},
    "in part": {"how", "tests", "left"},
    "operator": {"left"},
    "provider": set(),
    "does not apply": {"left"},
    "not done": {"left"},
}
"""What a row must say, by its status."""
AS_NIST_WANTS: dict[int, dict[str, Any]] = {
    1: {"session_max_age": 30},
    2: {"session_max_age": 1, "session_lifetime": 3_600, "keep_me_signed_in_days": 0},
    3: {"session_expiry": "absolute", "session_lifetime": 900, "keep_me_signed_in_days": 0},
}
"""Settings with which sessions are no longer than NIST SP 800-63B-4 says for an assurance level."""


@cache
def tests_in(path: Path) -> dict[str, None]:
    """The tests of a file, in its order."""
    found: dict[str, None] = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                if name.startswith(("test_", "Test")):
                    found[name] = None
    return found


def exists(test: str) -> bool:
    """Whether there is such a test; it is named as pytest names it, from the folder of the tests."""
    path, _, name = test.partition("::")
    return (TESTS / path).is_file() and name in tests_in(TESTS / path)


# What is on the page -----------------------------------------------------------------------------------------------


def blocks() -> dict[str, list[str]]:
    """What is generated, by the name that stands in the page."""
    made = {name: _requirements(standard) for name, standard in STANDARDS.items()}
    return {"counts": _counts(), "attacks": _attacks(), "timeouts": _timeouts(), **made}


def written(page: str) -> str:
    """The page with everything generated anew."""
    for name, lines in blocks().items():
        begin, end = f"<!-- {name}: written by make security -->\n", f"<!-- end of {name} -->\n"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{PAGE.name} has no place for {name}: {begin.strip()} … {end.strip()}")
        page = "".join((before, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, after))
    return page


def _link(test: str, text: str = "") -> str:
    path, _, name = test.partition("::")
    text = text or name.removeprefix("test_").removeprefix("Test").replace("_", " ")
    return f"[{text}](../tests/{path})"


def _requirements(standard: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for title, ids in standard["sections"].items():
        lines += ["", f"### {title}", "", "| | asks | status | how | shown by |", "|---|---|---|---|---|"]
        for name in ids:
            row = standard["rows"][name]
            of = f" ({row['of']})" if "of" in row else ""
            how = " ".join(filter(None, (row.get("how"), row.get("left"))))
            tests = "; ".join(map(_link, row.get("tests", ())))
            lines.append(f"| {name}{of} | {row['asks']} | {row['status']} | {how} | {tests} |")
    return lines[1:]


def _attacks() -> list[str]:
    lines = ["| attack | and how it ends |", "|---|---|"]
    for attack, prefix in ATTACKS.items():
        ends = [
            _link(f"attacks/{path.name}::{name}", name.removeprefix(f"test_{prefix}").replace("_", " ").strip())
            for path in sorted((TESTS / "attacks").glob("test_attack_*.py"))
            for name in tests_in(path)
            if name.startswith(f"test_{prefix}")
        ]
        lines.append(f"| {attack} | {'; '.join(ends)} |")
    return lines


def _counts() -> list[str]:
    attacks = sum(len(tests_in(path)) for path in (TESTS / "attacks").glob("test_attack_*.py"))
    modules, tested = all_modules(), modules_with_tests()
    statuses = [Counter(row["status"] for row in standard["rows"].values()) for standard in STANDARDS.values()]
    lines = [
        "| what is tried | how much | see it |",
        "|---|---|---|",
        f"| attacks, each shown to work against a weakened copy first | {len(ATTACKS)}, by {attacks} tests "
        "| `make attacks` |",
        f"| hostile inputs | {FUZZED_ALWAYS:,} in every run of the tests, {FUZZED_ON_REQUEST:,} more on request "
        "| `make fuzz` |",
        f"| modules of the OpenID Foundation's conformance suite | {len(modules & tested.keys())} of {len(modules)}; "
        f"{len(NOT_APPLICABLE)} do not apply | `make conformance` |",
        "",
        f"| requirements | {' | '.join(STATUSES)} | all |",
        f"|---|{'---|' * len(STATUSES)}---|",
    ]
    for standard, found in zip(STANDARDS.values(), statuses, strict=True):
        numbers = " | ".join(str(found[status]) for status in STATUSES)
        lines.append(f"| {standard['name']} | {numbers} | {found.total()} |")
    return lines


def _timeouts() -> list[str]:
    usual = Settings()
    inactivity = {level: duration(INACTIVITY[level]) if level in INACTIVITY else "any" for level in OVERALL}
    kept = usual.keep_me_signed_in_days * DAY
    lines = [
        "| a session ends | by default | setting | NIST AAL1 | AAL2 | AAL3 |",
        "|---|---|---|---|---|---|",
        f"| at the latest after | {duration(usual.session_max_age * DAY)} | `session_max_age` | "
        f"{' | '.join(map(duration, OVERALL.values()))} |",
        f"| without activity after | {duration(usual.session_lifetime)} | `session_lifetime` | "
        f"{' | '.join(inactivity.values())} |",
        f"| without activity, after a Yes, after | {duration(kept)} | `keep_me_signed_in_days` | "
        f"{' | '.join(inactivity.values())} |",
        "",
        "| for | settings that keep to it |",
        "|---|---|",
    ]
    for level, settings in AS_NIST_WANTS.items():
        said = ", ".join(f"`{name}={value}`" for name, value in settings.items())
        lines.append(f"| AAL{level} | {said} |")
    return lines

"""``kmsi import-b2c``: what Azure AD B2C's policy files come to, as the setting ``user_flows``.

1. What is printed can be pasted: a keyword in Python, or with ``--json`` a value for ``KMSI_USER_FLOWS``.
2. Beside it stands everything else that the files say of sessions, and everything that has no meaning here, by line.
3. A fragment of a policy is read too, and what it lacks is said.
"""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Callable
from typing import Any, get_args

from . import b2c
from .rules.b2c.settings import Imported
from .rules.sign_in_log import clean_text
from .vocabulary.user_flows import Kind


def add_command(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "import-b2c",
        help="print the settings that Azure AD B2C’s policy files come to",
        description="Read the XML of an Azure AD B2C custom policy, and print the user flow that it describes: the "
        "relying party’s file, and where KMSI and single sign-out are set in them, the files that it builds on.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="policy files, or fragments of one")
    parser.add_argument("--kind", choices=get_args(Kind), help="what the flow is for (default: by its user journey)")
    parser.add_argument("--authority", metavar="URL", help="where its metadata is (default: at b2clogin.com)")
    parser.add_argument("--json", action="store_true", help="one JSON object; its user_flows suit KMSI_USER_FLOWS")
    parser.set_defaults(run=_import)


def _import(given: argparse.Namespace, clock: Callable[[], float]) -> int:
    del clock
    found = b2c.read(*given.files, kind=given.kind, authority=given.authority)
    if given.json:
        print(json.dumps(_as_json(found), indent=2))
        return 0
    for line in _as_python(found):
        print(clean_text(line, 2_000))
    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 120))
    for heading, lines in (("Also in the files:", found.findings), ("Without a meaning here:", found.notes)):
        if lines:
            print(f"\n{heading}")
        for line in lines:
            text = clean_text(line, 20_000)
            print(
                textwrap.fill(
                    text,
                    width,
                    initial_indent="  ",
                    subsequent_indent="    ",
                    break_on_hyphens=False,
                    break_long_words=False,
                )
            )
    return 0


def _as_json(found: Imported) -> dict[str, Any]:
    return {
        "user_flows": {found.name: found.properties} if found.name else {},
        "properties": [
            {"name": setting.name, "value": setting.value, "source": setting.source} for setting in found.settings
        ],
        "singleSignOut": found.single_sign_out,
        "findings": list(found.findings),
        "withoutMeaning": list(found.notes),
    }


def _as_python(found: Imported) -> list[str]:
    if not found.settings:
        return ["# no relying party in these files, so no user flow"]
    pairs = [f'        "{setting.name}": {_literal(setting.value)},' for setting in found.settings]
    width = max(len(pair) for pair in pairs if len(pair) < 60)
    lines = [f"{pair:<{width}}  # {setting.source}" for pair, setting in zip(pairs, found.settings, strict=True)]
    return ["user_flows={", f"    {_literal(found.name or '…')}: {{", *lines, "    },", "}"]


def _literal(value: Any) -> str:
    return repr(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)

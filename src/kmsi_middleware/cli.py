"""The command line: ``kmsi sign-ins``, ``kmsi sessions``, ``kmsi what-if``, ``kmsi policies check``,
``kmsi policy-impact``, ``kmsi import-b2c``, ``kmsi settings``, ``kmsi idp``.

Exit codes: 0 done, 1 it could not be done (a log that can't be read) or was found wanting (policies), 2 asked for
wrongly. Bad input gets one line that says what would work, never a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import b2c_cli, policies_cli, sessions_cli
from .command_line import TIMES, NotDone, WrongUse, check_period, instant, print_table, sign_in_log
from .rules.sign_in_log import INTERRUPT, SUCCESS
from .vocabulary.errors import KMSIError
from .vocabulary.settings import default_text, described, environment_name


def main(argv: Sequence[str] | None = None, *, clock: Callable[[], float] = time.time) -> int:
    """Run one command and return its exit code. ``argv`` is ``sys.argv[1:]`` unless given."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no failure
    try:
        if arguments[:1] == ["idp"]:
            from .idp.serve import main as serve

            return serve(arguments[1:])
        given = _parser(clock()).parse_args(arguments)
        code: int = given.run(given, clock)
        sys.stdout.flush()
    except SystemExit as stopped:  # argparse has said why
        return stopped.code if isinstance(stopped.code, int) else 2
    except BrokenPipeError:
        # Whoever read us has seen enough (`kmsi sign-ins | head`); nor must Python flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (WrongUse, NotDone, KMSIError) as error:
        print(f"kmsi: {error}", file=sys.stderr)
        return 2 if isinstance(error, WrongUse) else 1
    return code


def _parser(now: float) -> argparse.ArgumentParser:
    def moment(text: str) -> float:
        return instant(text, now)

    parser = argparse.ArgumentParser(
        prog="kmsi", description="Sign-ins, sessions, policies, settings and a provider to try them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sign_ins = commands.add_parser(
        "sign-ins",
        help="list the sign-in log",
        description="List the sign-in log, newest first. Every filter given must hold.",
        epilog=TIMES,
    )
    sign_ins.add_argument("--user", default="", metavar="U", help="the id, or how the user name or name begins")
    sign_ins.add_argument("--code", type=int, metavar="N", help="the error code: 0 is a success, 50140 the interrupt")
    sign_ins.add_argument("--correlation-id", default="", metavar="ID", help="the correlation id, or its beginning")
    sign_ins.add_argument("--since", type=moment, metavar="TIME", help="from this instant on")
    sign_ins.add_argument("--until", type=moment, metavar="TIME", help="before this instant")
    sign_ins.add_argument("--abandoned", action="store_true", help="only “Stay signed in?” that nobody answered")
    sign_ins.add_argument("--limit", type=_positive, default=100, metavar="N", help="at most so many (100)")
    sign_ins.add_argument("--json", action="store_true", help="one JSON object a line, as Microsoft Graph's signIn")
    sign_ins.add_argument("--store", metavar="sqlite:PATH", help="the session store (default: KMSI_STORE)")
    sign_ins.set_defaults(run=_sign_ins)

    sessions_cli.add_commands(commands, _positive)
    policies_cli.add_commands(commands, moment)
    b2c_cli.add_command(commands)

    settings = commands.add_parser("settings", help="list every setting: default, unit, environment, effect")
    settings.set_defaults(run=_settings)

    # For the list of commands only: main() hands the rest of the line over.
    commands.add_parser("idp", help="run the identity provider for development", add_help=False)
    return parser


def _sign_ins(given: argparse.Namespace, clock: Callable[[], float]) -> int:
    check_period(given.since, given.until)
    log = sign_in_log(given.store)
    try:
        records = log.read(
            now=clock(),
            user=given.user,
            code=given.code,
            correlation_id=given.correlation_id.rstrip("…"),  # as a narrow table shows it
            since=given.since,
            until=given.until,
            abandoned=given.abandoned,
            limit=given.limit,
        )
    finally:
        log.close()
    if given.json:
        for record in records:
            print(json.dumps(record, separators=(",", ":")))
        return 0
    # The beginning of a correlation id is enough to ask for it with --correlation-id.
    print_table(_HEADINGS, map(_row, records), shrink=((3, 26), (4, 14), (1, 12), (3, 12)))
    if not records:
        print("No sign-ins match.", file=sys.stderr)
    elif len(records) == given.limit:
        print(f"The newest {given.limit}; --limit shows more.", file=sys.stderr)
    return 0


_HEADINGS = ("TIME (UTC)", "USER", "CODE", "RESULT", "CORRELATION ID")


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    status, extension = record["status"], record.get("kmsi", {})
    number = status["errorCode"]
    if number == SUCCESS:
        kept = {True: "persistent", False: "not persistent"}.get(extension.get("persistent"), "")
        result = ", ".join(filter(None, (kept, extension.get("decision")))) or "signed in"
    elif number == INTERRUPT:
        result = "“Stay signed in?” shown"
    else:
        result = ": ".join(dict.fromkeys(filter(None, (extension.get("code"), status["failureReason"])))) or "failed"
    return (
        record["createdDateTime"][:19].replace("T", " "),
        record["userPrincipalName"] or record["userDisplayName"] or record["userId"] or "-",
        str(number),
        result,
        record["correlationId"],
    )


def _settings(given: argparse.Namespace, clock: Callable[[], float]) -> int:
    del given, clock
    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 100))
    for item in described():
        print(item.name)
        lines = {
            "default": default_text(item) or "none",
            "unit": item.metadata["unit"],
            "environment": environment_name(item) or "in Python only",
            "effect": item.metadata["effect"],
        }
        for label, text in lines.items():
            indent = f"  {label + ':':<13}"
            print(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=" " * len(indent)))
    return 0


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

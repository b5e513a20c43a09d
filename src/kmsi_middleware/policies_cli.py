"""``kmsi what-if``, ``kmsi policies check`` and ``kmsi policy-impact``: Conditional Access on the command line.

1. ``what-if`` is :func:`kmsi_middleware.policies.what_if`, the very code that decides in earnest.
2. ``policies check`` ends with 1 if the policies can't be loaded, or if a finding is an error: people can be locked
   out, or a policy can't do what it says. Advice and notes end with 0.
3. ``policy-impact`` reads the sign-in log and nothing else.
4. Settings come from ``KMSI_…`` where they are there, else they are the defaults; an issuer is not needed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import policies as face
from .command_line import TIMES, WrongUse, ago, check_period, print_table, sign_in_log
from .edges.countries import Countries
from .flows.deployment import EMBEDDED_CLIENT_ID
from .rules.conditional_access.impact import Count, Impact, Impacts, summed_up
from .rules.conditional_access.policy import ALL, GUESTS, NONE, PolicySet
from .rules.conditional_access.reading import PolicyError
from .rules.conditional_access.what_if import OUTCOME_COLUMNS, POLICY_COLUMNS, Simulation, outcome_rows, policy_rows
from .rules.sign_in_log import clean_text, timestamp
from .vocabulary.addresses import EMBEDDED
from .vocabulary.settings import ENVIRONMENT_PREFIX, Settings

Clock = Callable[[], float]

_SETTINGS = (
    "session_lifetime",
    "session_expiry",
    "session_max_age",
    "keep_me_signed_in_days",
    "show_option_to_remain_signed_in",
    "inherit_keep_me_signed_in",
    "clock_skew",
    "country_database",
)
"""The settings that an outcome or a finding hangs on."""

_TELLS = {
    "user_ids": "--user",
    "groups": "--group",
    "roles": "--role",
    "guest": "--guest",
    "home_tenant": "--home-tenant",
    "application": "--app",
    "sign_in_risk": "--sign-in-risk",
    "user_risk": "--user-risk",
    "platform": "--platform",
    "address": "--ip",
    "country": "--country",
}
"""Which option tells a fact."""


def add_commands(commands: Any, moment: Callable[[str], float]) -> None:
    """Add the three commands to a parser's. ``moment`` reads the argument TIME."""
    _add_what_if(commands)
    policies = commands.add_parser("policies", help="check Conditional Access policies")
    _add_check(policies.add_subparsers(required=True, metavar="COMMAND"))
    _add_impact(commands, moment)


# What if -------------------------------------------------------------------------------------------------


def _add_what_if(commands: Any) -> None:
    parser = commands.add_parser(
        "what-if",
        help="what the Conditional Access policies would make of a sign-in",
        description="Which policies would apply to a sign-in, which not and why, and what would follow.",
        epilog="What is not given is not known, and counts against the person where a policy asks for it. Without "
        "--mfa and --signed-in, whatever the policies demand counts as shown. Settings come from KMSI_… where given.",
    )
    parser.add_argument("--policies", metavar="PATH", help="a file or a folder (default: KMSI_POLICIES)")
    parser.add_argument("--user", action="append", default=[], metavar="ID", help="an id of the person; repeatable")
    parser.add_argument("--group", action="append", metavar="G", help="a group's id; repeatable; '' for in none")
    parser.add_argument("--role", action="append", metavar="R", help="a role's id; repeatable; '' for none")
    parser.add_argument("--guest", metavar="TYPE", help="yes, no, or Graph's type, as b2bCollaborationGuest")
    parser.add_argument("--home-tenant", metavar="ID", help="the tenant that a guest comes from")
    parser.add_argument("--app", metavar="ID", help="the app's id (default: KMSI_CLIENT_ID)")
    parser.add_argument("--ip", metavar="ADDR", help="the client's address")
    parser.add_argument("--country", metavar="CC", help="two letters; none: the address belongs to no country")
    parser.add_argument("--platform", metavar="P", help="android, iOS, windows, windowsPhone, macOS, linux")
    parser.add_argument("--client-app", default="browser", metavar="T", help="Graph's clientAppType (browser)")
    parser.add_argument("--risk", metavar="L", help="of the sign-in and of the user: none, low, medium, high")
    parser.add_argument("--sign-in-risk", metavar="L", help="of the sign-in alone")
    parser.add_argument("--user-risk", metavar="L", help="of the user alone")
    parser.add_argument(
        "--device", action="append", metavar="KEY=VALUE", help="a device property, as isCompliant=true; repeatable"
    )
    parser.add_argument("--auth-context", metavar="C", help="the page's authentication context, c1 to c99")
    parser.add_argument("--mfa", action="store_true", help="a second factor was shown")
    parser.add_argument("--signed-in", type=_seconds, metavar="AGO", help="how long ago: 90s, 15m, 2h, 3d")
    parser.add_argument("--json", action="store_true", help="as Microsoft Graph's evaluate")
    parser.add_argument("--applied-only", action="store_true", help="only the policies that would apply")
    parser.set_defaults(run=_what_if)


def _what_if(given: argparse.Namespace, clock: Clock) -> int:
    now = clock()
    settings = _settings()
    policies = face.load(_path(given.policies, "--policies PATH"))
    try:
        found = face.what_if(
            policies,
            user=given.user,
            groups=given.group,
            roles=given.role,
            guest=_guest(given.guest),
            home_tenant=given.home_tenant,
            app=_app() if given.app is None else given.app,
            ip=given.ip,
            country=_country(given, settings),
            platform=given.platform,
            client_app=given.client_app,
            sign_in_risk=given.sign_in_risk or given.risk,
            user_risk=given.user_risk or given.risk,
            device=_device(given.device),
            auth_context=given.auth_context,
            mfa=given.mfa,
            signed_in_at=None if given.signed_in is None else now - given.signed_in,
            now=now,
            settings=settings,
        )
    except ValueError as error:
        raise WrongUse(str(error)) from None
    _advise(given.user, policies)
    if given.json:
        print(json.dumps(face.as_json(found, applied_only=given.applied_only), indent=2))
        return 0
    _print_simulation(found, given.applied_only)
    return 0


def _advise(ids: Iterable[str], policies: PolicySet) -> None:
    """Whoever gives a name where the policies have ids is told, and not only that nothing applies."""
    names = [name for name in ids if "@" in name]
    groups = [policy.conditions.users for policy in policies.policies]
    people = {person for users in groups for person in (*users.include, *users.exclude)} - {ALL, NONE, GUESTS}
    if names and people and not any("@" in person for person in people):
        told = clean_text(", ".join(names), 512)
        print(f"The policies name people by id, and none as {told}: give --user the object id.", file=sys.stderr)


def _print_simulation(found: Simulation, applied_only: bool) -> None:
    rows = [row for row in policy_rows(found) if not applied_only or row[POLICY_COLUMNS.index("applies")] == "yes"]
    print_table(_capitals(POLICY_COLUMNS), rows, shrink=((5, 24), (0, 16), (4, 10), (0, 8), (5, 12)))
    if rows:
        print()
    print_table(_capitals(OUTCOME_COLUMNS), outcome_rows(found), shrink=((2, 16), (1, 24), (2, 8)))
    missing = found.evaluation.missing
    if missing:
        tells = dict.fromkeys(_TELLS.get(name, f"--device {name.removeprefix('device.')}=…") for name in missing)
        print(f"\nNot known, and so counted against the person: {', '.join(missing)} ({', '.join(tells)})")


def _guest(text: str | None) -> str | bool | None:
    return {"yes": True, "no": False}.get(text.lower(), text) if text is not None else None


def _country(given: argparse.Namespace, settings: Settings) -> str | None:
    if given.country is not None:
        return "" if given.country.lower() == "none" else str(given.country)
    if given.ip is None or settings.country_database is None:
        return None
    return Countries(settings.country_database).country(given.ip)


def _device(pairs: Iterable[str] | None) -> dict[str, Any] | None:
    if pairs is None:
        return None
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name.strip() and equals):
            raise WrongUse(f"--device {pair!r}: give KEY=VALUE, as isCompliant=true")
        value: Any = {"true": True, "false": False, "null": None}.get(text.strip().lower(), text)
        if name.strip().lower() in ("physicalids", "devicephysicalids", "systemlabels"):
            value = [*found.get(name.strip(), ()), text]
        found[name.strip()] = value
    return found


# Check ---------------------------------------------------------------------------------------------------


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="load policies, and say what a careful administrator would want to know",
        description="Load policies and check them. Exit code 1: they can't be loaded, or a finding is an error.",
    )
    parser.add_argument("path", nargs="?", metavar="PATH", help="a file or a folder (default: KMSI_POLICIES)")
    parser.add_argument(
        "--assurance-level", type=int, choices=(1, 2, 3), help="NIST SP 800-63B's (default: what the policies suggest)"
    )
    parser.add_argument(
        "--issuer-remembers-mfa", choices=("yes", "no"), help="whether the issuer remembers second factors on devices"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_check)


def _check(given: argparse.Namespace, clock: Clock) -> int:
    del clock
    settings = _settings()
    try:
        policies = face.load(_path(given.path, "a PATH"))
    except PolicyError as error:
        if not given.json:
            raise
        names = ("file", "kind", "policy", "field", "problem")
        print(json.dumps({"error": {name: getattr(error, name) for name in names} | {"text": str(error)}}, indent=2))
        return 1
    remembers = None if given.issuer_remembers_mfa is None else given.issuer_remembers_mfa == "yes"
    findings = face.check(
        policies, settings, assurance_level=given.assurance_level, issuer_remembers_second_factor=remembers
    )
    findings = tuple(sorted(findings, key=lambda finding: not face.is_error(finding)))
    code = 1 if any(map(face.is_error, findings)) else 0
    if given.json:
        print(json.dumps(_findings_json(policies, findings), indent=2))
        return code
    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 100))
    for finding in findings:
        place = f"{finding.policy.display_name} ({finding.policy.source})" if finding.policy else "settings"
        print(clean_text(f"{_level(finding)} {finding.code}: {place}"))
        for text in (finding.text, f"What to do: {finding.what_to_do}"):
            print(textwrap.fill(clean_text(text, 2_000), width, initial_indent="  ", subsequent_indent="  "))
    for note in policies.notes:
        print(textwrap.fill(clean_text(f"note: {note}", 2_000), width, subsequent_indent="  "))
    print(_summary(policies, findings))
    return code


def _level(finding: face.Finding) -> str:
    return "error" if face.is_error(finding) else "advice"


def _summary(policies: PolicySet, findings: tuple[face.Finding, ...]) -> str:
    states = [policy.state for policy in policies.policies]
    parts = {
        "enabled": states.count("enabled"),
        "report-only": states.count("enabledForReportingButNotEnforced"),
        "disabled": states.count("disabled"),
    }
    told = ", ".join(f"{number} {name}" for name, number in parts.items() if number)
    errors = sum(map(face.is_error, findings))
    loaded = f"{_counted(len(states), 'policy', 'policies')}{f' ({told})' if told else ''}"
    advice = _counted(len(findings) - errors, "piece of advice", "pieces of advice")
    return (
        f"{loaded}, {_counted(len(policies.locations), 'named location')}: "
        f"{_counted(errors, 'error')}, {advice}, {_counted(len(policies.notes), 'note')}"
    )


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _findings_json(policies: PolicySet, findings: tuple[face.Finding, ...]) -> dict[str, Any]:
    return {
        "policies": len(policies.policies),
        "namedLocations": len(policies.locations),
        "findings": [
            {
                "level": _level(finding),
                "code": finding.code,
                "policy": finding.policy.id if finding.policy else None,
                "displayName": finding.policy.display_name if finding.policy else None,
                "file": finding.policy.source if finding.policy else None,
                "text": finding.text,
                "whatToDo": finding.what_to_do,
            }
            for finding in findings
        ],
        "notes": list(policies.notes),
    }


# Impact --------------------------------------------------------------------------------------------------


def _add_impact(commands: Any, moment: Callable[[str], float]) -> None:
    parser = commands.add_parser(
        "policy-impact",
        help="whom the policies touched, or would have touched in report-only mode",
        description="Sum up the sign-in log by policy: sign-ins, and people in parentheses.",
        epilog=TIMES,
    )
    parser.add_argument("--since", type=moment, default="7d", metavar="TIME", help="from this instant on (7d)")
    parser.add_argument("--until", type=moment, metavar="TIME", help="before this instant")
    parser.add_argument("--store", metavar="sqlite:PATH", help="the session store (default: KMSI_STORE)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_impact)


_IMPACT_HEADINGS = ("POLICY", "APPLIED", "WOULD INTERRUPT", "WOULD BLOCK", "WOULD LET IN", "LET IN", "REFUSED")


def _impact(given: argparse.Namespace, clock: Clock) -> int:
    check_period(given.since, given.until)
    log = sign_in_log(given.store)
    now = clock()
    try:
        found = summed_up(log.read(now=now, since=given.since, until=given.until))
    finally:
        log.close()
    since, until = max(given.since, 0.0), now if given.until is None else given.until
    if given.json:
        print(json.dumps(_impact_json(found, since, until), indent=2))
        return 0
    print_table(_IMPACT_HEADINGS, map(_impact_row, found.policies), shrink=((0, 12),))
    if found.policies:
        print()
    period = f"{_minute(since)} to {_minute(until)} UTC"
    print(f"{period}: {_cell(found.sign_ins)} sign-ins (people) that policies were asked about")
    return 0


def _impact_row(impact: Impact) -> tuple[str, ...]:
    counts = (
        impact.applied,
        impact.would_interrupt,
        impact.would_block,
        impact.of("reportOnlySuccess"),
        impact.of("success"),
        impact.of("failure"),
    )
    return (impact.display_name, *map(_cell, counts))


def _cell(count: Count) -> str:
    return f"{count.sign_ins} ({count.users})" if count.sign_ins else "0"


def _minute(at: float) -> str:
    return timestamp(at)[:16].replace("T", " ")


def _impact_json(found: Impacts, since: float, until: float) -> dict[str, Any]:
    def counted(count: Count) -> dict[str, int]:
        return {"signIns": count.sign_ins, "users": count.users}

    return {
        "since": timestamp(since),
        "until": timestamp(until),
        **counted(found.sign_ins),
        "policies": [
            {
                "id": impact.id,
                "displayName": impact.display_name,
                "applied": counted(impact.applied),
                "wouldInterrupt": counted(impact.would_interrupt),
                "wouldBlock": counted(impact.would_block),
                "results": {result: counted(count) for result, count in impact.results.items()},
            }
            for impact in found.policies
        ],
    }


# What they share -----------------------------------------------------------------------------------------


def _path(given: str | None, what: str) -> str:
    path = given or os.environ.get(f"{ENVIRONMENT_PREFIX}POLICIES")
    if not path:
        raise WrongUse(f"which policies? give {what}, or set KMSI_POLICIES")
    return path


def _settings() -> Settings:
    """Rule 4."""
    return Settings.resolve({}, None, os.environ, only=_SETTINGS)


def _app() -> str:
    """The id that policies know the app by, as in earnest."""
    environment: Mapping[str, str] = os.environ
    if environment.get(f"{ENVIRONMENT_PREFIX}ISSUER") == EMBEDDED:
        return EMBEDDED_CLIENT_ID
    return environment.get(f"{ENVIRONMENT_PREFIX}CLIENT_ID", "")


def _seconds(text: str) -> int:
    seconds = ago(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r}: give how long ago, as 90s, 15m, 2h or 3d")
    return seconds


def _capitals(headings: Iterable[str]) -> tuple[str, ...]:
    return tuple(heading.upper() for heading in headings)

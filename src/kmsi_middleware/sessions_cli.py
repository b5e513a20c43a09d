"""``kmsi sessions list``, ``show`` and ``revoke``: sessions on the command line.

1. It is :mod:`kmsi_middleware.sessions`, so what is revoked here passes in no process once the command has said so.
2. A session is named by its id or an unambiguous beginning of it, a person by whatever tells them from all others.
   Where a name fits several, nothing is ended, and the answer says which.
3. Everything is ended only after a Yes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .command_line import NotDone, WrongUse, print_table, store_text
from .errors import SettingsError
from .rules.devices import device_of
from .rules.sign_in_log import clean_text, timestamp
from .sessions import Sessions
from .vocabulary.addresses import EMBEDDED
from .vocabulary.session import Session, Tombstone
from .vocabulary.settings import ENVIRONMENT_PREFIX

Clock = Callable[[], float]

SHORTEST = 4
"""Digits of an id that its beginning must have."""
_STEP = 500


def add_commands(commands: Any, positive: Callable[[str], int]) -> None:
    """Add ``sessions`` to a parser's commands. ``positive`` reads a number from 1 on."""
    sessions = commands.add_parser("sessions", help="see sessions, and end them")
    inner = sessions.add_subparsers(required=True, metavar="COMMAND")
    _add_list(inner, positive)
    _add_show(inner)
    _add_revoke(inner)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="STORE",
        help="the session store: sqlite:PATH, or redis://HOST:6379/0 and its like (default: KMSI_STORE)",
    )


def _opened(given: argparse.Namespace, clock: Clock) -> Sessions:
    store = store_text(given.store)
    kind, _, place = store.partition(":")
    if kind == "memory":
        raise WrongUse(f"the store {store!r} is seen by its own process alone: give sqlite:PATH or redis://HOST:6379/0")
    try:
        sessions = Sessions(store=store, clock=clock, by="cli")
    except SettingsError as error:
        raise WrongUse(str(error)) from None
    if kind == "sqlite" and not Path(place).expanduser().exists():
        raise NotDone(f"there is no session store at {place} yet; --store or KMSI_STORE says where to look")
    return sessions


# List ------------------------------------------------------------------------------------------------------------


def _add_list(commands: Any, positive: Callable[[str], int]) -> None:
    parser = commands.add_parser("list", help="list live sessions", description="List live sessions.")
    _add_user(parser)
    parser.add_argument("--limit", type=positive, default=100, metavar="N", help="about so many (100)")
    parser.add_argument("--after", default="", metavar="CURSOR", help="go on where the list before ended")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    _add_store(parser)
    parser.set_defaults(run=_list)


def _add_user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", default="", metavar="U", help="the subject, the object id, or how the name begins")


def _list(given: argparse.Namespace, clock: Clock) -> int:
    if not re.fullmatch(r"(?:[0-9a-f]{2})*", given.after):
        raise WrongUse(f"--after {given.after!r}: give the cursor that the list before ended with")
    found: list[Session] = []
    cursor = given.after
    with _opened(given, clock) as sessions:
        while True:
            page, cursor = sessions.page(cursor, _STEP if given.user else given.limit)
            found += [session for session in page if _is_named(session, given.user)]
            if not cursor or len(found) >= given.limit:
                break
    found.sort(key=lambda session: (session.name.casefold(), session.issuer, session.subject, -session.renewed_at))
    if given.json:
        for session in found:
            print(json.dumps(_described(session), separators=(",", ":")))
    else:
        print_table(_HEADINGS, map(_row, found), shrink=((6, 8), (0, 12), (1, 14), (5, 12), (0, 8)))
    if cursor:
        print(f"There are more: --after {cursor}", file=sys.stderr)
    elif not found:
        print("No sessions match." if given.user else "There are no sessions.", file=sys.stderr)
    return 0


def _is_named(session: Session, user: str) -> bool:
    if not user or user in (session.subject, session.claims.get("oid")):
        return True
    names = (session.claims.get(claim) for claim in ("preferred_username", "email", "name"))
    return any(isinstance(name, str) and name.casefold().startswith(user.casefold()) for name in names)


_HEADINGS = ("SESSION", "USER", "SIGNED IN (UTC)", "LAST USED", "ENDS", "BROWSER", "FROM", "KEPT")


def _row(session: Session) -> tuple[str, ...]:
    return (
        session.id,
        _user_name(session),
        *(_minute(at) for at in (session.started_at, session.renewed_at, session.expires_at)),
        device_of(session.user_agent).name or "unknown",
        " ".join(filter(None, (session.country, session.address))) or "unknown",
        "yes" if session.persistent else "no",
    )


def _user_name(session: Session) -> str:
    name = session.claims.get("preferred_username")
    return name if isinstance(name, str) and name else session.name


def _minute(at: int) -> str:
    return timestamp(at)[:16].replace("T", " ")


def _described(session: Session) -> dict[str, Any]:
    """A session as JSON, without anything secret."""
    claims, device = session.claims, device_of(session.user_agent)
    return {
        "id": session.id,
        "issuer": session.issuer,
        "subject": session.subject,
        "tenant": claims.get("tid"),
        "object_id": claims.get("oid"),
        "name": session.name,
        "user_name": claims.get("preferred_username"),
        "signed_in_at": timestamp(session.started_at),
        "auth_time": None if session.auth_time is None else timestamp(session.auth_time),
        "last_used_at": timestamp(session.renewed_at),
        "ends_at": timestamp(session.expires_at),
        "persistent": session.persistent,
        "decision": session.decision,
        "browser": device.browser or None,
        "system": device.system or None,
        "user_agent": session.user_agent or None,
        "address": session.address or None,
        "country": session.country,
        "correlation_id": session.correlation_id,
    }


# Show ------------------------------------------------------------------------------------------------------------


def _add_show(commands: Any) -> None:
    parser = commands.add_parser(
        "show",
        help="show one session, or why it ended",
        description="Show one session; of one that ended within 24 hours, when and why.",
    )
    parser.add_argument("id", metavar="ID", help="of a live session also the beginning")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    _add_store(parser)
    parser.set_defaults(run=_show)


def _show(given: argparse.Namespace, clock: Clock) -> int:
    with _opened(given, clock) as sessions:
        found = _one(sessions, given.id)
    if isinstance(found, Session):
        facts = _described(found)
        if found.expires_at <= clock():
            facts = {"id": found.id, "ended_at": facts.pop("ends_at"), **facts}
    else:
        kept = {"reason": found.reason, "ended_at": timestamp(found.ended_at), "correlation_id": found.correlation_id}
        facts = {"id": _digits(given.id), **kept}
    if given.json:
        print(json.dumps(facts, indent=2))
        return 0
    width = max(map(len, facts))
    for name, value in facts.items():
        text = {True: "yes", False: "no", None: "unknown"}.get(value, value)
        print(f"{name.replace('_', ' '):<{width}}  {clean_text(str(text), 512)}")
    return 0


def _digits(text: str) -> str:
    """An id as it may have been copied from a narrow table."""
    return text.strip().rstrip("…").lower()


def _one(sessions: Sessions, text: str) -> Session | Tombstone:
    """Rule 2."""
    digits = _digits(text)
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", digits):
        raise WrongUse(f"{text!r} is no session's id: give its {SHORTEST} first hexadecimal digits or more")
    if len(digits) == 64:
        whole = sessions.get(digits)
        if whole is not None:
            return whole
    found = {session.id: session for session in _all(sessions) if session.id.startswith(digits)}
    if len(found) > 1:
        raise WrongUse(f"{len(found)} sessions begin with {digits}: give more of the id")
    for session in found.values():
        return session
    if len(digits) == 64:
        raise NotDone(f"there is no session {digits}")
    raise NotDone(f"no live session begins with {digits}; for one that has ended give the whole id")


def _all(sessions: Sessions) -> Iterator[Session]:
    cursor = ""
    while True:
        page, cursor = sessions.page(cursor, _STEP)
        yield from page
        if not cursor:
            return


# Revoke ----------------------------------------------------------------------------------------------------------


def _add_revoke(commands: Any) -> None:
    parser = commands.add_parser(
        "revoke",
        help="end sessions, in every process at once",
        description="End sessions: in every process at once. Sign-ins that are under way become no session, and the "
        "next sign-in is a real one.",
        epilog="Name a person who has no live session by --subject or --object-id: a sign-in of theirs may be under "
        "way all the same.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", help="one session: its id, or the beginning")
    which.add_argument("--user", metavar="U", help="all of the one person who is named so, as in list")
    which.add_argument("--subject", metavar="S", help="all of this subject of --issuer")
    which.add_argument("--object-id", metavar="O", help="all of this object id of --tenant (Entra ID)")
    which.add_argument("--others-of", metavar="ID", help="all of a session's person, but for that session")
    which.add_argument("--everything", action="store_true", help="all of everybody; asks first")
    parser.add_argument("--issuer", metavar="URL", help="for --subject (default: KMSI_ISSUER)")
    parser.add_argument("--tenant", metavar="T", help="for --object-id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    _add_store(parser)
    parser.set_defaults(run=_revoke)


def _revoke(given: argparse.Namespace, clock: Clock) -> int:
    if given.issuer is not None and given.subject is None:
        raise WrongUse("--issuer goes with --subject")
    if (given.tenant is None) != (given.object_id is None):
        raise WrongUse("--tenant and --object-id go together")
    with _opened(given, clock) as sessions:
        if given.everything:
            _confirm(given, "This ends every session of everybody.")
            ended = sessions.revoke_everything()
        elif given.subject is not None:
            ended = sessions.revoke_user(issuer=_issuer(given.issuer), subject=given.subject)
        elif given.object_id is not None:
            ended = sessions.revoke_user(tenant=given.tenant, object_id=given.object_id)
        elif given.user is not None:
            ended = sessions.revoke_user(**_person(sessions, given.user))
        elif given.others_of is not None:
            ended = sessions.revoke_others(_live(sessions, given.others_of))
        else:
            ended = sessions.revoke(_live(sessions, given.id))
    print(f"{ended} {'session' if ended == 1 else 'sessions'} ended.")
    return 0


def _live(sessions: Sessions, text: str) -> Session:
    found = _one(sessions, text)
    if isinstance(found, Tombstone):
        raise NotDone(f"session {_digits(text)} has ended already, at {timestamp(found.ended_at)}: {found.reason}")
    return found


def _person(sessions: Sessions, user: str) -> dict[str, str]:
    """Rule 2: how :meth:`Sessions.revoke_user` is to be told of the one person with this name."""
    if not user.strip():
        raise WrongUse("--user needs a name")
    found: dict[tuple[tuple[str, str], ...], Session] = {}
    for session in _all(sessions):
        if _is_named(session, user):
            names = {"issuer": session.issuer, "subject": session.subject}
            tenant = session.claims.get("tid")
            if user == session.claims.get("oid") and isinstance(tenant, str):
                names = {"tenant": tenant, "object_id": user}
            found[tuple(names.items())] = session
    if not found:
        raise NotDone(f"no live session is {user}'s; --subject or --object-id also stops sign-ins that are under way")
    if len(found) > 1:
        people = ", ".join(f"{_user_name(session)} ({session.subject})" for session in found.values())
        raise WrongUse(f"--user {user} fits several people: {clean_text(people, 512)}; give the subject")
    return dict(next(iter(found)))


def _issuer(given: str | None) -> str:
    issuer = given or os.environ.get(f"{ENVIRONMENT_PREFIX}ISSUER", "")
    if issuer in ("", EMBEDDED):
        raise WrongUse("which issuer? give --issuer URL, as kmsi sessions show tells it")
    return issuer


def _confirm(given: argparse.Namespace, what: str) -> None:
    """Rule 3."""
    if given.yes:
        return
    if not sys.stdin.isatty():
        raise WrongUse(f"{what} Nobody is there to be asked: give --yes")
    try:
        answer = input(f"{what} Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise NotDone("nothing was ended")

"""``kmsi sessions list``, ``show`` and ``revoke``."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.cli_support import DAY, HOUR, NOW, Run
from tests.stores.store_actors import ISSUER, key_of, session

from kmsi_middleware import sessions_cli
from kmsi_middleware.edges.stores import SQLiteStore
from kmsi_middleware.vocabulary.session import EVERYBODY, Mark, Session, Tombstone, user_key

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
ADA = {"sub": "s-ada", "name": "Ada Lovelace", "preferred_username": "ada@example.com"}
BEN = {"sub": "s-ben", "name": "Ben Ünal\x1b[2J", "tid": "tenant", "oid": "object"}
BEA = {"sub": "s-bea", "name": "Bea", "email": "ben.s.sister@example.com"}


def one(digits: str, claims: dict[str, Any], **changes: Any) -> Session:
    """A session whose id begins with these digits, and tells nothing of the others."""
    key = bytes.fromhex(digits) + key_of(digits)[len(digits) // 2 :]
    at = int(NOW) - DAY
    fixed: dict[str, Any] = {
        "key": key,
        "subject": claims["sub"],
        "claims": claims,
        "started_at": at,
        "renewed_at": at + HOUR,
        "expires_at": at + 30 * DAY,
        "begun_at": at,
        "user_agent": CHROME,
        "address": "192.0.2.7",
        "country": "DE",
        "sids": (f"sid {digits}",),
        "persistent": False,
    }
    return session(**{**fixed, **changes})


SESSIONS = {
    "ada 1": one("aaaa11", ADA, persistent=True),
    "ada 2": one("aaaa22", ADA, user_agent="curl/8", address="", country=None, renewed_at=int(NOW)),
    "ben": one("bbbb", BEN),
    "bea": one("cccc", BEA),
}


@pytest.fixture
def store(place: Path) -> SQLiteStore:
    store = SQLiteStore(place / ".kmsi" / "sessions.sqlite3")
    for each in SESSIONS.values():
        store.create(each, NOW - DAY)
    store.close()
    return store


def left(store: SQLiteStore) -> set[str]:
    names = {each.key: name for name, each in SESSIONS.items()}
    found = {names[each.key] for each in store.page(b"", 100, NOW)[0]}
    store.close()
    return found


def id_of(name: str) -> str:
    return SESSIONS[name].id


# List ------------------------------------------------------------------------------------------------------


def test_the_table(run: Run, store: SQLiteStore) -> None:
    code, out, err = run("sessions", "list")
    assert (code, err) == (0, "")
    lines = [re.split(" {2,}", line) for line in out.splitlines()]
    began, used, ends = "2023-11-13 22:13", "2023-11-13 23:13", "2023-12-13 22:13"
    usual = [began, used, ends, "Chrome on Windows", "DE 192.0.2.7"]
    assert lines == [
        ["SESSION", "USER", "SIGNED IN (UTC)", "LAST USED", "ENDS", "BROWSER", "FROM", "KEPT"],
        [id_of("ada 2"), "ada@example.com", began, "2023-11-14 22:13", ends, "unknown", "unknown", "no"],
        [id_of("ada 1"), "ada@example.com", *usual, "yes"],
        [id_of("bea"), "Bea", *usual, "no"],
        [id_of("ben"), "Ben Ünal\ufffd[2J", *usual, "no"],
    ]


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("s-ada", {"ada 1", "ada 2"}),
        ("ADA", {"ada 1", "ada 2"}),
        ("ada@example", {"ada 1", "ada 2"}),
        ("object", {"ben"}),
        ("ben", {"ben", "bea"}),
        ("s-be", set()),
        ("obj", set()),
        ("lovelace", set()),
    ],
)
def test_a_user_is_found_by_an_id_or_by_how_the_name_begins(
    run: Run, store: SQLiteStore, user: str, found: set[str]
) -> None:
    code, out, err = run("sessions", "list", "--user", user, "--json")
    assert {json.loads(line)["id"] for line in out.splitlines()} == {id_of(name) for name in found}
    assert code == 0
    assert err == ("" if found else "No sessions match.\n")


def test_json_has_what_the_store_knows_and_nothing_secret(run: Run, store: SQLiteStore) -> None:
    _, out, _ = run("sessions", "list", "--user", "object", "--json")
    assert json.loads(out) == {
        "id": id_of("ben"),
        "issuer": ISSUER,
        "subject": "s-ben",
        "tenant": "tenant",
        "object_id": "object",
        "name": "Ben Ünal\x1b[2J",
        "user_name": None,
        "signed_in_at": "2023-11-13T22:13:20.000Z",
        "auth_time": "2023-11-14T22:13:15.000Z",
        "last_used_at": "2023-11-13T23:13:20.000Z",
        "ends_at": "2023-12-13T22:13:20.000Z",
        "persistent": False,
        "decision": "answered_yes",
        "browser": "Chrome",
        "system": "Windows",
        "user_agent": CHROME,
        "address": "192.0.2.7",
        "country": "DE",
        "correlation_id": "c0ffee",
    }


def test_a_long_list_goes_on_where_it_ended(run: Run, store: SQLiteStore) -> None:
    seen: list[str] = []
    more: list[str] = []
    for _ in range(9):
        code, out, err = run("sessions", "list", "--json", "--limit", "2", *more)
        assert code == 0
        seen += [json.loads(line)["id"] for line in out.splitlines()]
        cursor = re.fullmatch(r"There are more: --after ([0-9a-f]+)\n", err)
        if cursor is None:
            break
        more = ["--after", cursor[1]]
    assert sorted(seen) == sorted(each.id for each in SESSIONS.values())


def test_a_user_is_looked_for_on_every_page(run: Run, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_cli, "_STEP", 1)
    for user in ("s-ada", "s-ben", "s-bea"):
        assert json.loads(run("sessions", "list", "--user", user, "--json")[1].splitlines()[0])["subject"] == user
    assert run("sessions", "revoke", "--user", "s-ada")[1] == "2 sessions ended.\n"


def test_an_empty_store_has_none(run: Run, place: Path) -> None:
    store = SQLiteStore(place / "other.sqlite3")
    store.page(b"", 1, NOW)
    store.close()
    assert run("sessions", "list", "--store", "sqlite:other.sqlite3") == (0, "", "There are no sessions.\n")


# Show ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [id_of("ben"), "bbbb", "BBBB", "bbbb…", id_of("ben")[:11] + "…"])
def test_a_session_is_shown_by_its_id_or_the_beginning(run: Run, store: SQLiteStore, text: str) -> None:
    code, out, err = run("sessions", "show", text)
    assert (code, err) == (0, "")
    lines = dict(re.split(" {2,}", line, maxsplit=1) for line in out.splitlines())
    assert lines["id"] == id_of("ben")
    assert lines["subject"] == "s-ben"
    assert lines["name"] == "Ben Ünal\ufffd[2J"
    assert lines["user name"] == "unknown"
    assert lines["persistent"] == "no"
    assert json.loads(run("sessions", "show", text, "--json")[1])["id"] == id_of("ben")


def test_of_an_ended_session_the_reason_is_shown(run: Run, store: SQLiteStore) -> None:
    store.end(SESSIONS["ben"].key, "back_channel", NOW - HOUR)
    store.close()
    code, out, _ = run("sessions", "show", id_of("ben"), "--json")
    assert (code, json.loads(out)) == (
        0,
        {
            "id": id_of("ben"),
            "reason": "back_channel",
            "ended_at": "2023-11-14T21:13:20.000Z",
            "correlation_id": "c0ffee",
        },
    )


def test_one_that_ran_out_is_shown_as_ended(run: Run, store: SQLiteStore) -> None:
    late = one("dddd", ADA, expires_at=int(NOW))
    store.create(late, NOW - DAY)
    store.close()
    shown = json.loads(run("sessions", "show", late.id, "--json")[1])
    assert shown["ended_at"] == "2023-11-14T22:13:20.000Z"
    assert "ends_at" not in shown


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("aaaa", 2, "2 sessions begin with aaaa: give more of the id"),
        ("eeee", 1, "no live session begins with eeee; for one that has ended give the whole id"),
        ("e" * 64, 1, "there is no session eeee"),
        ("aaa", 2, "give its 4 first hexadecimal digits or more"),
        ("xyzw", 2, "is no session's id"),
        ("a" * 65, 2, "is no session's id"),
        ("", 2, "is no session's id"),
    ],
)
@pytest.mark.parametrize("command", [["show"], ["revoke"], ["revoke", "--others-of"]])
def test_what_names_no_one_session_is_refused(
    run: Run, store: SQLiteStore, command: list[str], text: str, code: int, said: str
) -> None:
    got, out, err = run("sessions", *command, text)
    assert (got, out) == (code, "")
    assert said in err
    assert left(store) == set(SESSIONS)


# Revoke ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said", "stay"),
    [
        (["aaaa11"], "1 session ended.", {"ada 2", "ben", "bea"}),
        ([id_of("ben")], "1 session ended.", {"ada 1", "ada 2", "bea"}),
        (["--user", "ada"], "2 sessions ended.", {"ben", "bea"}),
        (["--user", "object"], "1 session ended.", {"ada 1", "ada 2", "bea"}),
        (["--user", "s-ben"], "1 session ended.", {"ada 1", "ada 2", "bea"}),
        (["--subject", "s-ada", "--issuer", ISSUER], "2 sessions ended.", {"ben", "bea"}),
        (["--object-id", "object", "--tenant", "tenant"], "1 session ended.", {"ada 1", "ada 2", "bea"}),
        (["--subject", "s-ada", "--issuer", ISSUER + "/"], "0 sessions ended.", set(SESSIONS)),
        (["--others-of", "aaaa11"], "1 session ended.", {"ada 1", "ben", "bea"}),
        (["--everything", "--yes"], "4 sessions ended.", set()),
    ],
)
def test_sessions_end(run: Run, store: SQLiteStore, arguments: list[str], said: str, stay: set[str]) -> None:
    assert run("sessions", "revoke", *arguments) == (0, said + "\n", "")
    assert left(store) == stay


def test_what_ends_is_told_as_revoked_and_the_person_is_marked(run: Run, store: SQLiteStore) -> None:
    run("sessions", "revoke", "--user", "ada")
    assert store.load(SESSIONS["ada 1"].key, NOW) == Tombstone("revoked", int(NOW), "c0ffee")
    assert store.read_mark([user_key(ISSUER, "s-ada")], NOW) == Mark(int(NOW), int(NOW))
    assert store.read_mark([user_key(ISSUER, "s-ben")], NOW) == Mark()
    store.close()


def test_the_issuer_may_come_from_the_environment(
    run: Run, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMSI_ISSUER", ISSUER)
    assert run("sessions", "revoke", "--subject", "s-ada") == (0, "2 sessions ended.\n", "")
    monkeypatch.setenv("KMSI_ISSUER", "embedded")
    code, _, err = run("sessions", "revoke", "--subject", "s-ben")
    assert code == 2
    assert "give --issuer URL" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "required"),
        (["aaaa11", "--everything"], 2, "not allowed with"),
        (["--user", "ada", "--subject", "s-ada"], 2, "not allowed with"),
        (["--user", "be"], 2, "--user be fits several people: "),
        (["--user", "nobody"], 1, "no live session is nobody's; --subject or --object-id also stops sign-ins"),
        (["--user", ""], 2, "--user needs a name"),
        (["--subject", "s-ada"], 2, "which issuer? give --issuer URL"),
        (["--object-id", "object"], 2, "--tenant and --object-id go together"),
        (["--tenant", "tenant", "--user", "ada"], 2, "--tenant and --object-id go together"),
        (["--issuer", ISSUER, "--user", "ada"], 2, "--issuer goes with --subject"),
        (["--everything"], 2, "Nobody is there to be asked: give --yes"),
    ],
)
def test_what_is_asked_for_wrongly_ends_nothing(
    run: Run, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    got, out, err = run("sessions", "revoke", *arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert left(store) == set(SESSIONS)


def test_several_people_of_a_name_are_told_apart(run: Run, store: SQLiteStore) -> None:
    _, _, err = run("sessions", "revoke", "--user", "be")
    assert "s-bea" in err
    assert "s-ben" in err
    assert "\x1b" not in err


def test_what_has_ended_is_not_ended_again(run: Run, store: SQLiteStore) -> None:
    run("sessions", "revoke", id_of("ben"))
    code, _, err = run("sessions", "revoke", id_of("ben"))
    assert code == 1
    assert err == f"kmsi: session {id_of('ben')} has ended already, at 2023-11-14T22:13:20.000Z: revoked\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "stay"),
    [("y\n", 0, False), ("YES\n", 0, False), ("\n", 1, True), ("n\n", 1, True), ("", 1, True)],
)
def test_everything_is_ended_after_a_yes_only(
    run: Run, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, stay: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    got, out, _ = run("sessions", "revoke", "--everything")
    assert got == code
    assert "This ends every session of everybody. Go on? [y/N]" in out
    assert left(store) == (set(SESSIONS) if stay else set())
    assert store.read_mark([EVERYBODY], NOW) == (Mark() if stay else Mark(int(NOW), int(NOW)))
    store.close()


# Which store -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store_text", "code", "said"),
    [
        ("sqlite:nowhere/sessions.sqlite3", 1, "there is no session store at nowhere/sessions.sqlite3 yet"),
        ("memory:", 2, "is seen by its own process alone"),
        ("sqlite:", 2, "setting store"),
        ("nonsense", 2, "setting store"),
        ("", 2, "setting store"),
    ],
)
@pytest.mark.parametrize("command", [["list"], ["show", "aaaa"], ["revoke", "--everything", "--yes"]])
def test_a_store_that_is_not_there_is_said_to_be_none(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], store_text: str, code: int, said: str
) -> None:
    got, out, err = run("sessions", *command, "--store", store_text)
    assert (got, out) == (code, "")
    assert said in err
    assert list(place.iterdir()) == [], "and none is made"
    monkeypatch.setenv("KMSI_STORE", store_text)
    assert run("sessions", *command) == (got, out, err)


def test_a_file_that_is_no_store_is_one_line(run: Run, place: Path) -> None:
    (place / "text").write_text("This is a text, and no database at all. " * 40)
    code, out, err = run("sessions", "list", "--store", "sqlite:text")
    assert (code, out) == (1, "")
    assert err.startswith("kmsi: store_unavailable: ")
    assert err.count("\n") == 1


def test_a_cursor_that_is_none_is_refused(run: Run, store: SQLiteStore) -> None:
    code, _, err = run("sessions", "list", "--after", "xyz")
    assert code == 2
    assert "--after 'xyz'" in err


def test_it_runs_as_a_program_and_writes_down_who_ended_what(place: Path) -> None:
    now = time.time()
    store = SQLiteStore(place / ".kmsi" / "sessions.sqlite3")
    store.create(one("abcd", ADA, expires_at=int(now) + HOUR), now)
    store.close()
    code = "import logging, sys; logging.basicConfig(level=20, format='%(name)s %(message)s')"
    code += "; from kmsi_middleware.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sessions", "revoke", "--everything", "--yes"]
    done = subprocess.run(command, cwd=place, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1 session ended.\n")
    name, _, line = done.stderr.strip().partition(" ")
    assert name == "kmsi_middleware.sessions"
    assert json.loads(line)["by"] == "cli"

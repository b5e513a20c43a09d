"""``kmsi``: what it prints, and how it says no."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.cli.cli_support import HOUR, NOW, Run

from kmsi_middleware import cli
from kmsi_middleware.edges.sign_in_log import FILE_NAME, SignInLog
from kmsi_middleware.rules.sign_in_log import INTERRUPT_CODE, sign_in_record
from kmsi_middleware.vocabulary.settings import described


def correlation(number: int) -> str:
    return f"{number:08d}-5860-4832-928f-3133e22ae912"


def fill(folder: Path) -> list[dict[str, Any]]:
    ada = {"sub": "s-ada", "name": "Ada Lovelace", "preferred_username": "ada@example.com"}
    cases: list[dict[str, Any]] = [
        {"at": NOW - 26 * HOUR, "claims": ada, "number": 1, "decision": "answered_yes", "persistent": True},
        {"at": NOW - 3 * HOUR, "claims": ada, "number": 2, "code": INTERRUPT_CODE},
        {
            "at": NOW - HOUR,
            "claims": None,
            "number": 3,
            "code": "access_denied",
            "failure_reason": "The sign-in was cancelled.",
        },
        {
            "at": NOW,
            "claims": {"sub": "s-ben", "name": "Ben\x1b[2J Ünal"},
            "number": 4,
            "decision": "guest",
            "persistent": False,
        },
    ]
    log = SignInLog(folder / FILE_NAME, days=30)
    records = []
    for case in cases:
        number = case.pop("number")
        records.append(
            sign_in_record(
                **case,
                record_id=f"r-{number}",
                correlation_id=correlation(number),
                app_id="app",
                app_name="App",
                client_address="192.0.2.1",
                user_agent="Test",
            )
        )
        log.append(records[-1], case["at"])
    log.close()
    return records


def test_the_table(run: Run, place: Path) -> None:
    fill(place / ".kmsi")
    code, out, err = run("sign-ins")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [re.split(" {2,}", line) for line in lines] == [
        ["TIME (UTC)", "USER", "CODE", "RESULT", "CORRELATION ID"],
        ["2023-11-14 22:13:20", "Ben\ufffd[2J Ünal", "0", "not persistent, guest", correlation(4)],
        ["2023-11-14 21:13:20", "-", "65004", "access_denied: The sign-in was cancelled.", correlation(3)],
        ["2023-11-14 19:13:20", "ada@example.com", "50140", "“Stay signed in?” shown", correlation(2)],
        ["2023-11-13 20:13:20", "ada@example.com", "0", "persistent, answered_yes", correlation(1)],
    ]
    assert len({line.rindex("  ") for line in lines}) == 1, "the columns are straight"


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_table_fits_a_terminal(run: Run, place: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place / ".kmsi")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, out, _ = run("sign-ins")
    lines = out.splitlines()
    assert max(map(len, lines)) <= columns
    assert all(line.startswith("2023-11-1") for line in lines[1:])
    assert [line for line in lines if "00000003-" in line and "65004" in line]
    assert (correlation(3) in out) == (columns == 120)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], [4, 3, 2, 1]),
        (["--user", "ADA@"], [2, 1]),
        (["--code", "0"], [4, 1]),
        (["--code", "50140"], [2]),
        (["--correlation-id", "00000003"], [3]),
        (["--correlation-id", "00000003-5860…"], [3]),
        (["--since", "2h"], [4, 3]),
        (["--since", "1d"], [4, 3, 2]),
        (["--until", "180m"], [1]),
        (["--since", "2023-11-14"], [4, 3, 2]),
        (["--since", "2023-11-14T21:13:20Z"], [4, 3]),
        (["--since", "2023-11-14T22:13:20+01:00"], [4, 3]),
        (["--since", "20231114T211320"], [4, 3]),
        (["--since", "1w", "--until", "60s"], [3, 2, 1]),
        (["--abandoned"], [2]),
        (["--limit", "1"], [4]),
        (["--user", "nobody"], []),
    ],
)
def test_filters_and_json_lines(run: Run, place: Path, arguments: list[str], found: list[int]) -> None:
    records = fill(place / ".kmsi")
    code, out, _ = run("sign-ins", "--json", *arguments)
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [records[number - 1] for number in found]


def test_where_the_log_is_looked_for(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place / "by-argument")
    fill(place / "by-environment")
    monkeypatch.setenv("KMSI_STORE", f"sqlite:{place}/by-environment/sessions.sqlite3")
    assert run("sign-ins")[0] == 0
    assert run("sign-ins", "--store", "sqlite:by-argument/other-name.sqlite3")[0] == 0
    code, out, err = run("sign-ins", "--store", "sqlite:nowhere/sessions.sqlite3")
    assert (code, out) == (1, "")
    assert err.startswith(f"kmsi: there is no sign-in log at {place}/nowhere/{FILE_NAME} yet;")
    assert not (place / "nowhere").exists()


def test_nothing_found_and_more_to_find_are_said_beside_the_table(run: Run, place: Path) -> None:
    fill(place / ".kmsi")
    assert run("sign-ins", "--user", "nobody") == (0, "", "No sign-ins match.\n")
    assert run("sign-ins", "--limit", "2")[2] == "The newest 2; --limit shows more.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["sign-in"], "invalid choice: 'sign-in'"),
        (["sign-ins", "--code", "x"], "--code: invalid int value: 'x'"),
        (["sign-ins", "--since", "yesterday"], "'yesterday' is no time: give 2026-11-21"),
        (["sign-ins", "--since", "2026-13-01"], "is no time"),
        (["sign-ins", "--since", "9999-12-31T23:59:59-14:00"], "there is no sign-in log"),
        (["sign-ins", "--since", "1h", "--until", "2h"], "--since must be before --until"),
        (["sign-ins", "--limit", "0"], "'0': give a whole number from 1 on"),
        (["sign-ins", "--store", "memory:"], "no sign-in log on disk; its records"),
        (["policy-impact", "--store", "rediss+sentinel://h/s"], "are on the logger kmsi_middleware.sign_ins"),
        (["sign-ins", "--store", "sqlite:"], "give sqlite:PATH"),
        (["sign-ins", "--store", ""], "give sqlite:PATH"),
        (["sign-ins", "stray"], "unrecognized arguments: stray"),
    ],
)
def test_bad_input_gets_one_line(run: Run, arguments: list[str], says: str) -> None:
    code, out, err = run(*arguments)
    assert code == (1 if "there is no" in says else 2)
    assert out == ""
    assert says in err


def test_a_message_about_the_store_has_no_password(run: Run) -> None:
    code, _, err = run("sign-ins", "--store", "redis://app:s3cret@cache.example/0")
    assert (code, "s3cret" in err, "cache.example" in err) == (2, False, True)


def test_an_empty_store_is_not_the_default(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place / ".kmsi")
    monkeypatch.setenv("KMSI_STORE", "")
    assert run("sign-ins")[:2] == (2, "")


def test_a_broken_log_is_named(run: Run, place: Path) -> None:
    (place / ".kmsi").mkdir()
    (place / ".kmsi" / FILE_NAME).write_bytes(b"no database" * 1000)
    code, out, err = run("sign-ins")
    assert (code, out) == (1, "")
    assert err.startswith(f"kmsi: store_unavailable: the sign-in log {place}/.kmsi/{FILE_NAME} could not be read")


def test_settings_lists_every_one(run: Run) -> None:
    code, out, _ = run("settings")
    assert code == 0
    for item in described():
        assert f"\n{item.name}\n" in "\n" + out
    assert (
        "session_lifetime\n"
        "  default:     86400\n"
        "  unit:        seconds, 900 to 86,400\n"
        "  environment: KMSI_SESSION_LIFETIME\n"
    ) in out
    assert "  environment: in Python only\n" in out


def test_idp_gets_the_rest_of_the_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = ModuleType("serve")
    seen: list[list[str]] = []

    def main(argv: list[str]) -> int:
        seen.append(argv)
        return 7

    vars(serve)["main"] = main
    monkeypatch.setitem(sys.modules, "kmsi_middleware.idp.serve", serve)
    assert run("idp", "--port", "9000", "--help")[0] == 7
    assert seen == [["--port", "9000", "--help"]]


def test_help_names_the_commands(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("sign-ins", "settings", "idp"))


def test_a_terminal_that_lacks_the_letters_is_no_failure(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place / ".kmsi")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert cli.main(["sign-ins"], clock=lambda: NOW) == 0
    assert b"\\xdcnal" in raw.getvalue()


@pytest.mark.skipif(os.name != "posix", reason="about pipes of POSIX")
def test_a_closed_pipe_is_no_failure(place: Path) -> None:
    fill(place / ".kmsi")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "kmsi_middleware.cli", "sign-ins"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")

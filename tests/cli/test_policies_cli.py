"""``kmsi what-if``, ``kmsi policies check``, ``kmsi policy-impact``, and the same from Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.cli_support import DAY, HOUR, NOW, Run

import kmsi_middleware.policies
from kmsi_middleware import policies
from kmsi_middleware.edges.sign_in_log import FILE_NAME, SignInLog
from kmsi_middleware.rules.conditional_access.evaluate import evaluate
from kmsi_middleware.rules.conditional_access.facts import Facts
from kmsi_middleware.rules.conditional_access.what_if import simulate
from kmsi_middleware.rules.sign_in_log import sign_in_record
from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.settings import Settings

EVERY_APP = {"includeApplications": ["All"]}


def policy(name: str, users: dict[str, Any] | None = None, state: str = "enabled", **more: Any) -> dict[str, Any]:
    conditions = {"users": users or {"includeUsers": ["All"], "excludeUsers": ["bg"]}, "applications": EVERY_APP}
    return {
        "id": name.lower(),
        "displayName": name,
        "state": state,
        "conditions": conditions | more.pop("conditions", {}),
        **more,
    }


NEVER = policy(
    "Never",
    {"includeGroups": ["nurses"]},
    sessionControls={"persistentBrowser": {"mode": "never", "isEnabled": True}},
)
HOURLY = policy("Hourly", sessionControls={"signInFrequency": {"value": 1, "type": "hours", "isEnabled": True}})
MFA = policy(
    "MFA",
    conditions={"signInRiskLevels": ["high", "medium"]},
    grantControls={"operator": "OR", "builtInControls": ["mfa"]},
)
BLOCK = policy(
    "Block",
    conditions={"platforms": {"includePlatforms": ["linux"]}, "locations": {"includeLocations": ["germany"]}},
    grantControls={"operator": "OR", "builtInControls": ["block"]},
)
COMPLIANT = policy(
    "Compliant",
    state="enabledForReportingButNotEnforced",
    conditions={"devices": {"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}}},
    grantControls={"operator": "OR", "builtInControls": ["block"]},
)
GERMANY = {"id": "germany", "displayName": "Germany", "countriesAndRegions": ["DE"]}
PAY = policy(
    "Pay",
    conditions={"applications": {"includeAuthenticationContextClassReferences": ["c1"]}},
    sessionControls={"signInFrequency": {"isEnabled": True, "frequencyInterval": "everyTime"}},
)
WHOLE = [NEVER, HOURLY, MFA, BLOCK, COMPLIANT, PAY, GERMANY]


@pytest.fixture(autouse=True)
def policies_json(place: Path) -> Path:
    file = place / "policies.json"
    file.write_text(json.dumps(WHOLE))
    return file


def what_if(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = run("what-if", "--policies", "policies.json", "--json", *arguments)
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


KNOWN = (
    *("--user", "mia", "--group", "staff", "--role", "", "--guest", "no", "--app", "shop", "--ip", "192.0.2.1"),
    *("--country", "FR", "--platform", "windows", "--risk", "none", "--device", "isCompliant=true"),
)


# What if -------------------------------------------------------------------------------------------------


def test_the_tables(run: Run) -> None:
    code, out, err = run("what-if", "--policies", "policies.json", "--user", "Mia", "--platform", "Windows")
    assert (code, err) == (0, "")
    assert out == (
        "POLICY     STATE        APPLIES  REASON                 NOT KNOWN           CONTROLS\n"
        "Never      on           yes                             groups              persistent browser: never\n"
        "Hourly     on           yes                                                 sign in every 1 hour\n"
        "MFA        on           yes                             sign_in_risk        mfa\n"
        "Compliant  report-only  yes                             device.isCompliant  block\n"
        "Block      on           no       devicePlatform                             block\n"
        "Pay        on           no       authenticationContext                      sign in every time\n"
        "\n"
        "OUTCOME             VALUE                             BECAUSE OF\n"
        "grant               mfa                               MFA\n"
        "sign-in frequency   every 1 hour                      Hourly\n"
        "persistent browser  never                             Never\n"
        "“Stay signed in?”   not shown                         policy\n"
        "cookie              non-persistent; session of 1 day\n"
        "\n"
        "Not known, and so counted against the person: groups, sign_in_risk, device.isCompliant "
        "(--group, --sign-in-risk, --device isCompliant=…)\n"
    )


@pytest.mark.parametrize(
    ("excluded", "user", "advised"),
    [
        (["bg"], "mia@example.com", True),
        (["bg"], "mia", False),
        (["bg@example.com"], "mia@example.com", False),
        (["GuestsOrExternalUsers"], "mia@example.com", False),
    ],
)
def test_a_name_where_the_policies_have_ids_is_advised_against(
    run: Run, policies_json: Path, excluded: list[str], user: str, advised: bool
) -> None:
    policies_json.write_text(json.dumps([policy("Hourly", {"includeUsers": ["All"], "excludeUsers": excluded})]))
    code, out, err = run("what-if", "--policies", "policies.json", "--user", user)
    assert code == 0
    assert out.startswith("POLICY")
    advice = "The policies name people by id, and none as mia@example.com: give --user the object id.\n"
    assert err == (advice if advised else "")


def test_only_what_applies(run: Run) -> None:
    _, out, _ = run("what-if", "--policies", "policies.json", "--applied-only", *KNOWN)
    assert [line.split()[0] for line in out.splitlines() if line] == [
        *("POLICY", "Hourly"),
        *("OUTCOME", "sign-in", "“Stay", "cookie", "cookie"),
    ]
    assert "Never" not in out
    assert "Not known" not in out


def test_a_table_fits_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, out, _ = run("what-if", "--policies", "policies.json", "--user", "mia")
    assert max(map(len, out.partition("\nNot known")[0].splitlines())) <= 80


def test_graphs_evaluate_and_what_would_follow(run: Run) -> None:
    found = what_if(run, *KNOWN)
    assert found["@odata.context"].endswith("#Collection(microsoft.graph.whatIfAnalysisResult)")
    assert {item["displayName"]: (item["policyApplies"], item["analysisReasons"]) for item in found["value"]} == {
        "Never": (False, "users"),
        "Hourly": (True, "notSet"),
        "MFA": (False, "signInRisk"),
        "Block": (False, "devicePlatform"),
        "Compliant": (False, "devices"),
        "Pay": (False, "authenticationContext"),
    }
    assert found["kmsi"] == {
        "letsIn": True,
        "blockedBy": None,
        "grants": [],
        "signInFrequency": {"seconds": HOUR, "policy": "hourly"},
        "signInFrequencySecondFactor": None,
        "signInDueAt": None,
        "maxAge": HOUR,
        "persistentBrowser": None,
        "staySignedInShown": True,
        "staySignedInReason": "asked",
        "cookies": [
            {"answer": "yes", "persistent": True, "lifetime": 30 * DAY},
            {"answer": "no", "persistent": False, "lifetime": DAY},
        ],
        "notKnown": [],
    }
    assert [item["id"] for item in what_if(run, "--applied-only", *KNOWN)["value"]] == ["hourly"]


@pytest.mark.parametrize(
    ("arguments", "applies"),
    [
        (["--group", "Nurses"], {"never", "hourly"}),
        (["--group", "staff", "--group", "nurses"], {"never", "hourly"}),
        (["--user", "BG", "--group", ""], set()),
        (["--risk", "medium"], {"hourly", "mfa"}),
        (["--risk", "none", "--sign-in-risk", "HIGH"], {"hourly", "mfa"}),
        (["--risk", "high", "--sign-in-risk", "none"], {"hourly"}),
        (["--platform", "Linux"], {"hourly"}),
        (["--platform", "linux", "--country", "de"], {"hourly", "block"}),
        (["--platform", "linux", "--country", "none"], {"hourly"}),
        (["--device", "isCompliant=False"], {"hourly", "compliant"}),
        (["--device", "trustType=azuread"], {"hourly", "compliant"}),
        (["--auth-context", "c1"], {"hourly", "pay"}),
        (["--auth-context", "c2"], {"hourly"}),
    ],
)
def test_what_each_option_changes(run: Run, arguments: list[str], applies: set[str]) -> None:
    given = list(KNOWN)
    for name in {item for item in arguments if item in ("--group", "--device", "--user")}:
        at = given.index(name)
        del given[at : at + 2]
    found = what_if(run, *given, *arguments)
    assert {item["id"] for item in found["value"] if item["policyApplies"]} == applies


def test_what_the_person_has_shown(run: Run) -> None:
    assert what_if(run, *KNOWN, "--risk", "high")["kmsi"]["letsIn"], "what is demanded counts as shown"
    shown = what_if(run, *KNOWN, "--risk", "high", "--signed-in", "5m")["kmsi"]
    assert (shown["letsIn"], shown["grants"][0]["wanting"]) == (False, ["mfa"])
    shown = what_if(run, *KNOWN, "--risk", "high", "--signed-in", "5m", "--mfa")["kmsi"]
    assert (shown["letsIn"], shown["grants"][0]["wanting"]) == (True, [])
    assert shown["signInDueAt"] == NOW - 300 + HOUR
    late = what_if(run, *KNOWN, "--signed-in", "1h")["kmsi"]
    assert (late["letsIn"], late["staySignedInShown"], late["cookies"]) == (False, None, [])


def test_settings_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMSI_SESSION_LIFETIME", "7200")
    monkeypatch.setenv("KMSI_KEEP_ME_SIGNED_IN_DAYS", "7")
    monkeypatch.setenv("KMSI_POLICIES", "policies.json")
    _, out, _ = run("what-if", *KNOWN, "--json")
    assert [cookie["lifetime"] for cookie in json.loads(out)["kmsi"]["cookies"]] == [7 * DAY, 7_200]
    monkeypatch.setenv("KMSI_SHOW_OPTION_TO_REMAIN_SIGNED_IN", "no")
    _, out, _ = run("what-if", *KNOWN, "--json")
    assert json.loads(out)["kmsi"]["staySignedInReason"] == "option_off"
    monkeypatch.setenv("KMSI_SESSION_LIFETIME", "5")
    assert run("what-if", *KNOWN)[0] == 1


def test_the_app_is_the_one_of_the_environment(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = policy("Mine", conditions={"applications": {"includeApplications": ["My-App"]}}, grantControls=None)
    mine["sessionControls"] = HOURLY["sessionControls"]
    (place / "policies.json").write_text(json.dumps(mine))
    assert what_if(run, "--user", "mia")["kmsi"]["notKnown"] == ["application"]
    monkeypatch.setenv("KMSI_CLIENT_ID", "my-app")
    assert what_if(run, "--user", "mia")["value"][0]["policyApplies"] is True
    assert what_if(run, "--user", "mia", "--app", "other")["value"][0]["policyApplies"] is False
    monkeypatch.setenv("KMSI_ISSUER", "embedded")
    assert what_if(run, "--user", "mia")["value"][0]["policyApplies"] is False


def test_the_country_is_looked_up_where_a_database_is_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Countries:
        def __init__(self, path: str) -> None:
            assert path == "geo.mmdb"

        def country(self, address: str) -> str:
            return {"192.0.2.1": "DE"}.get(address, "")

    monkeypatch.setattr("kmsi_middleware.policies_cli.Countries", Countries)
    monkeypatch.setenv("KMSI_COUNTRY_DATABASE", "geo.mmdb")
    linux = ("--user", "mia", "--platform", "linux", "--ip")
    assert what_if(run, *linux, "192.0.2.1")["kmsi"]["blockedBy"] == "block"
    assert what_if(run, *linux, "192.0.2.2")["kmsi"]["blockedBy"] is None
    assert what_if(run, *linux, "192.0.2.1", "--country", "FR")["kmsi"]["blockedBy"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--platform", "windwos"], "platform 'windwos': give one of android, iOS, windows, "),
        (["--platform", "all"], "platform 'all': give one of"),
        (["--risk", "hidden"], "sign_in_risk 'hidden': give one of none, low, medium, high"),
        (["--user-risk", "x"], "user_risk 'x': give one of"),
        (["--guest", "maybe"], "guest 'maybe': give one of internalGuest, "),
        (["--client-app", "fax"], "client_app 'fax': give one of browser, "),
        (["--ip", "localhost"], "ip 'localhost': give an address, as 192.0.2.7"),
        (["--country", "Germany"], "country 'Germany': give two letters, as DE"),
        (["--auth-context", "c0"], "auth_context 'c0': give c1 to c99"),
        (["--device", "isCompliant"], "--device 'isCompliant': give KEY=VALUE"),
        (["--device", "=x"], "give KEY=VALUE"),
        (["--device", "isCompliant=perhaps"], "device isCompliant 'perhaps': give true or false"),
        (["--device", "colour=red"], "device 'colour': give one of deviceId, "),
        (["--device", "trustType=much"], "device trustType 'much': give one of AzureAD, "),
        (["--signed-in", "yesterday"], "'yesterday': give how long ago, as 90s, 15m, 2h or 3d"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_a_question_that_makes_no_sense(run: Run, arguments: list[str], says: str) -> None:
    code, out, err = run("what-if", "--policies", "policies.json", *arguments)
    assert (code, out) == (2, "")
    assert says in err


def test_policies_that_cannot_be_loaded(run: Run, place: Path) -> None:
    assert run("what-if") == (2, "", "kmsi: which policies? give --policies PATH, or set KMSI_POLICIES\n")
    assert run("what-if", "--policies", "nowhere") == (1, "", "kmsi: policies: nowhere: there is no such file\n")
    (place / "policies.json").write_text(json.dumps({**HOURLY, "state": "on"}))
    code, out, err = run("what-if", "--policies", "policies.json")
    assert (code, out) == (1, "")
    assert err.startswith("kmsi: policies: policies.json: policy 'Hourly': state = 'on': give one of enabled, ")


def test_a_name_cannot_steer_the_terminal(run: Run, place: Path) -> None:
    (place / "policies.json").write_text(json.dumps({**HOURLY, "displayName": "a\x1b[2J\nb"}))
    _, out, _ = run("what-if", "--policies", "policies.json")
    assert "a\ufffd[2J\ufffdb" in out
    assert "\x1b" not in out + run("policies", "check", "policies.json")[1]


@pytest.mark.skipif(os.name != "posix", reason="about pipes of POSIX")
def test_a_closed_pipe_is_no_failure() -> None:
    for arguments in (["what-if", "--policies", "policies.json"], ["policies", "check", "policies.json"]):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "kmsi_middleware.cli", *arguments]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")


# Check ---------------------------------------------------------------------------------------------------


def test_nothing_to_find(run: Run, place: Path) -> None:
    lasting = policy("Daily", sessionControls={"signInFrequency": {"value": 1, "type": "days", "isEnabled": True}})
    (place / "policies.json").write_text(json.dumps(lasting))
    assert run("policies", "check", "policies.json") == (
        0,
        "1 policy (1 enabled), 0 named locations: 0 errors, 0 pieces of advice, 0 notes\n",
        "",
    )


def test_findings_say_what_to_do_and_errors_come_first(run: Run, place: Path) -> None:
    all_alone = policy("All", {"includeUsers": ["All"]}, grantControls=MFA["grantControls"], colour="red")
    (place / "policies.json").write_text(json.dumps([NEVER, all_alone]))
    code, out, err = run("policies", "check", "policies.json")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == "error break_glass: All (policies.json)"
    assert lines[1].startswith("  it is for all users and excludes nobody")
    assert any(line.startswith("  What to do: exclude your emergency access") for line in lines)
    assert any(line.startswith("advice lifetime_beyond_nist: settings") for line in lines)
    assert lines[-2] == "note: policies.json: policy 'All': colour: not known, and not used"
    assert lines[-1].startswith("2 policies (2 enabled), 0 named locations: 1 error, ")


def test_advice_alone_is_no_failure(run: Run, place: Path) -> None:
    (place / "policies.json").write_text(json.dumps([NEVER]))
    code, out, _ = run("policies", "check", "policies.json", "--json")
    found = json.loads(out)
    assert code == 0
    assert {item["level"] for item in found["findings"]} == {"advice"}
    assert set(found["findings"][0]) == {
        *("level", "code", "policy", "displayName", "file"),
        *("text", "whatToDo"),
    }


def test_what_is_known_about_the_issuer_is_told(run: Run, place: Path) -> None:
    hourly = HOURLY["sessionControls"]["signInFrequency"]
    second = {"signInFrequency": {**hourly, "authenticationType": "secondaryAuthentication"}}
    (place / "policies.json").write_text(json.dumps(policy("Second", sessionControls=second)))
    codes = {}
    for answer in ("yes", "no"):
        _, out, _ = run("policies", "check", "policies.json", "--json", "--issuer-remembers-mfa", answer)
        codes[answer] = {item["code"] for item in json.loads(out)["findings"]}
    assert codes["yes"] - codes["no"] == {"remembered_second_factor"}
    _, out, _ = run("policies", "check", "policies.json", "--assurance-level", "3")
    assert "assurance level 3" in " ".join(out.split())


def test_a_load_error_as_text_and_as_json(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "policies.json").write_text("[{]")
    code, out, err = run("policies", "check", "policies.json")
    assert (code, out) == (1, "")
    assert err.startswith("kmsi: policies: policies.json: this is no JSON: line 1, column 3: ")
    monkeypatch.setenv("KMSI_POLICIES", "policies.json")
    code, out, err = run("policies", "check", "--json")
    assert (code, err) == (1, "")
    error = json.loads(out)["error"]
    assert (error["file"], error["kind"]) == ("policies.json", "file")
    assert run("policies")[0] == 2


# Impact --------------------------------------------------------------------------------------------------


def fill(folder: Path) -> None:
    log = SignInLog(folder / FILE_NAME, days=30)
    cases = [
        (10 * DAY, "ada", {"try": "reportOnlyFailure", "on": "success"}),
        (3 * DAY, "ada", {"try": "reportOnlyInterrupted", "on": "success"}),
        (2 * DAY, "ada", {"try": "reportOnlyInterrupted", "on": "success"}),
        (DAY, "ben", {"try": "reportOnlyFailure", "on": "failure"}),
        (HOUR, "cyd", {"try": "reportOnlySuccess", "on": "notApplied"}),
    ]
    for number, (ago, user, results) in enumerate(cases):
        record = sign_in_record(
            at=NOW - ago,
            record_id=f"r-{number}",
            correlation_id=f"c-{number}",
            claims={"sub": user},
            app_id="app",
            app_name="App",
            client_address="192.0.2.1",
            user_agent="Test",
        )
        record["appliedConditionalAccessPolicies"] = [
            {"id": name, "displayName": name.capitalize(), "result": result} for name, result in results.items()
        ]
        log.append(record, NOW - ago)
    log.close()


def test_the_table_of_the_impact(run: Run, place: Path) -> None:
    fill(place / ".kmsi")
    assert run("policy-impact") == (
        0,
        "POLICY  APPLIED  WOULD INTERRUPT  WOULD BLOCK  WOULD LET IN  LET IN  REFUSED\n"
        "Try     4 (3)    2 (1)            1 (1)        1 (1)         0       0\n"
        "On      3 (2)    0                0            0             2 (1)   1 (1)\n"
        "\n"
        "2023-11-07 22:13 to 2023-11-14 22:13 UTC: 4 (3) sign-ins (people) that policies were asked about\n",
        "",
    )


def test_the_impact_as_json_and_of_another_period(run: Run, place: Path) -> None:
    fill(place / "other")
    store = ("--store", "sqlite:other/sessions.sqlite3")
    code, out, _ = run("policy-impact", *store, "--since", "30d", "--until", "36h", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["since"], found["until"]) == ("2023-10-15T22:13:20.000Z", "2023-11-13T10:13:20.000Z")
    assert (found["signIns"], found["users"]) == (3, 1)
    trying = next(item for item in found["policies"] if item["id"] == "try")
    assert trying == {
        "id": "try",
        "displayName": "Try",
        "applied": {"signIns": 3, "users": 1},
        "wouldInterrupt": {"signIns": 2, "users": 1},
        "wouldBlock": {"signIns": 1, "users": 1},
        "results": {
            "reportOnlyFailure": {"signIns": 1, "users": 1},
            "reportOnlyInterrupted": {"signIns": 2, "users": 1},
        },
    }


def test_a_period_without_sign_ins(run: Run, place: Path) -> None:
    fill(place / ".kmsi")
    code, out, _ = run("policy-impact", "--since", "5m")
    assert (code, out) == (
        0,
        "2023-11-14 22:08 to 2023-11-14 22:13 UTC: 0 sign-ins (people) that policies were asked about\n",
    )
    assert run("policy-impact", "--since", "999999w")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--since", "soon"], 2, "'soon' is no time"),
        (["--since", "1h", "--until", "2h"], 2, "--since must be before --until"),
        (["--store", "memory:"], 2, "with the store 'memory:' there is no sign-in log on disk"),
        ([], 1, "there is no sign-in log at"),
    ],
)
def test_an_impact_that_cannot_be_told(run: Run, arguments: list[str], code: int, says: str) -> None:
    found, out, err = run("policy-impact", *arguments)
    assert (found, out) == (code, "")
    assert says in err


# From Python ---------------------------------------------------------------------------------------------


def test_the_face_is_sorted_and_complete() -> None:
    assert list(policies.__all__) == sorted(set(policies.__all__))
    for name in policies.__all__:
        assert getattr(kmsi_middleware.policies, name) is not None


def test_the_same_from_python(run: Run) -> None:
    mine = policies.load("policies.json")
    found = policies.what_if(
        mine,
        user=["Mia", "mia@example.com"],
        groups=["staff"],
        roles=[],
        guest=False,
        app="shop",
        ip="192.0.2.1",
        country="FR",
        platform="windows",
        sign_in_risk="none",
        user_risk="none",
        device={"isCompliant": True},
        now=NOW,
    )
    assert policies.as_json(found) == what_if(run, *KNOWN)
    assert policies.check(mine) == ()
    findings = policies.check(
        policies.load([policy("All", {"includeUsers": ["All"]}, grantControls=MFA["grantControls"])])
    )
    assert [policies.is_error(finding) for finding in findings].count(True) == 1
    assert policies.load([NEVER, HOURLY]).policies == tuple(
        replace(item, source=f"policies[{number}]") for number, item in enumerate(mine.policies[:2], start=1)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": "nurses"},
        {"platform": "x"},
        {"ip": "x"},
        {"country": "x"},
        {"device": {"isCompliant": "true"}},
        {"sign_in_risk": "x"},
    ],
)
def test_python_refuses_what_there_is_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give"):
        policies.what_if(policies.load([HOURLY]), **wrong)


def test_what_cannot_be_loaded_raises_a_settings_error() -> None:
    with pytest.raises(SettingsError, match=r"policies\[1\]: policy 'MFA': state"):
        policies.load([{**MFA, "state": "on"}])
    assert issubclass(policies.PolicyError, SettingsError)


WORDS: dict[str, Any] = {
    "groups": [None, [], ["nurses"], ["staff"]],
    "platform": [None, "linux", "windows"],
    "country": [None, "", "DE", "FR"],
    "sign_in_risk": [None, "none", "medium", "high"],
    "auth_context": [None, "c1"],
    "device": [None, {"isCompliant": True}, {"isCompliant": False}],
    "user": ["", "bg", "mia"],
}


@given(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in WORDS.items()}),
    st.lists(st.sampled_from(WHOLE[:-1]), unique_by=lambda item: item["id"]),
)
def test_what_if_and_earnest_are_one(question: dict[str, Any], some: list[dict[str, Any]]) -> None:
    """The face adds nothing: the facts it makes of a question, judged in earnest, give the same."""
    mine = policies.load([*some, GERMANY])
    facts = Facts(
        user_ids=frozenset({question["user"]} - {""}),
        groups=None if question["groups"] is None else frozenset(question["groups"]),
        platform=question["platform"],
        country=question["country"],
        sign_in_risk=question["sign_in_risk"],
        auth_context=question["auth_context"],
        device=question["device"],
    )
    found = policies.what_if(mine, **question, now=NOW)
    assert found.evaluation == evaluate(mine, facts)
    assert found == simulate(mine, facts, Settings(), now=int(NOW))
    told = policies.as_json(found)
    assert told["kmsi"]["letsIn"] == (evaluate(mine, facts).controls.block is None)
    assert json.loads(json.dumps(told)) == told

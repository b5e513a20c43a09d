"""The demo's policies, by the very code that keeps them, and the demo's clock."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from examples import demo_clock
from examples.demo_clock import DemoClock, added, move
from examples.demo_servers import POLICIES, ROOT

from kmsi_middleware import policies
from kmsi_middleware.idp import User, default_config
from kmsi_middleware.policies import PolicySet, Simulation


@pytest.fixture(scope="module")
def mine() -> PolicySet:
    return policies.load(POLICIES)


def of(username: str) -> User:
    user = default_config().user(username)
    assert user is not None
    return user


def signing_in(mine: PolicySet, username: str, auth_context: str | None = None) -> Simulation:
    user = of(username)
    risk = str(user.claims.get("risk", "none"))
    ids = [user.oid, user.sub]
    return policies.what_if(mine, user=ids, groups=user.claims["groups"], sign_in_risk=risk, auth_context=auth_context)


def test_nothing_in_them_is_passed_over_and_nothing_is_found_wrong(mine: PolicySet) -> None:
    assert mine.notes == ()
    assert [policy.state for policy in mine.policies] == [*["enabled"] * 3, "enabledForReportingButNotEnforced"]
    assert policies.check(mine, issuer_remembers_second_factor=False) == ()


@pytest.mark.parametrize("username", ["mia", "gus", "rita", "sam", "iwa", "carl"])
def test_everybody_signs_in_every_hour(mine: PolicySet, username: str) -> None:
    frequency = signing_in(mine, username).evaluation.controls.sign_in_frequency_first
    assert frequency is not None
    assert frequency.seconds == 3_600


def test_payments_want_both_factors_every_time(mine: PolicySet) -> None:
    controls = signing_in(mine, "mia", "c1").evaluation.controls
    assert controls.sign_in_frequency_first is not None
    assert controls.sign_in_frequency_first.seconds is None
    assert [demand.grant.controls for demand in controls.grants] == [("mfa",)]
    assert signing_in(mine, "mia").evaluation.controls.grants == ()


def test_only_contractors_are_never_persistent(mine: PolicySet) -> None:
    decided = {user.username: signing_in(mine, user.username).evaluation.controls.persistent for user in people()}
    assert decided == {**dict.fromkeys(decided), "carl": False}


def test_high_risk_is_reported_and_not_blocked(mine: PolicySet) -> None:
    assert signing_in(mine, "rita").evaluation.controls.block is None


def test_the_break_glass_account_is_left_out_of_all(mine: PolicySet) -> None:
    for context in (None, "c1"):
        controls = signing_in(mine, "eve", context).evaluation.controls
        assert (controls.sign_in_frequency_first, controls.persistent, controls.grants) == (None, None, ())


def people() -> tuple[User, ...]:
    return default_config().users


# The clock --------------------------------------------------------------------------------------------------------


def test_without_a_file_it_is_the_time_of_day(tmp_path: Path) -> None:
    assert DemoClock(tmp_path / "clock")() == pytest.approx(time.time(), abs=60)


def test_what_is_added_adds_up_and_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "clock"
    monkeypatch.setattr(demo_clock, "LOOK_SECONDS", 0)
    clock = DemoClock(file)
    assert clock() == pytest.approx(time.time(), abs=60)
    for total in (3_600, 7_200):
        move(file, 3_600)
        assert added(file) == total
        assert clock() == pytest.approx(time.time() + total, abs=60)
    file.write_text("nonsense")
    assert clock() == pytest.approx(time.time() + 7_200, abs=60)


def test_it_looks_at_the_file_now_and_then_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_clock, "LOOK_SECONDS", 3_600)
    clock = DemoClock(tmp_path / "clock")
    clock()
    move(tmp_path / "clock", 86_400)
    assert clock() == pytest.approx(time.time(), abs=60)


def run(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "examples/demo_clock.py", *arguments]
    environment = {"DEMO_CLOCK": str(file), "PYTHONPATH": str(file.parent)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("step", "seconds"), [("+90s", 90), ("+45m", 2_700), ("+1h", 3_600), ("+2d", 172_800)])
def test_a_step_is_said_and_kept(tmp_path: Path, step: str, seconds: int) -> None:
    moved = run(tmp_path / "clock", step)
    assert f"{seconds:,} seconds ahead" in moved.stdout
    assert added(tmp_path / "clock") == seconds
    assert run(tmp_path / "clock").stdout.endswith(f"{seconds:,} seconds ahead.\n")


@pytest.mark.parametrize("wrong", ["-1h", "1h", "+1", "+1y", "reset", "run"])
def test_it_goes_forwards_only(tmp_path: Path, wrong: str) -> None:
    refused = run(tmp_path / "clock", wrong)
    assert (refused.returncode, refused.stderr.startswith("Give +1h")) == (2, True)
    assert not (tmp_path / "clock").exists()


def test_it_goes_no_further_than_ten_years(tmp_path: Path) -> None:
    refused = run(tmp_path / "clock", "+9999d")
    assert (refused.returncode, "further than ten years" in refused.stderr) == (1, True)


def test_a_program_runs_by_it(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("import sys, time\nprint(__name__, *sys.argv[1:], int(time.time()))\n")
    move(tmp_path / "clock", 7_200)
    name, argument, told = run(tmp_path / "clock", "run", "told", "x").stdout.split()
    assert (name, argument) == ("__main__", "x")
    assert int(told) == pytest.approx(time.time() + 7_200, abs=60)

"""``kmsi import-b2c``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.b2c.b2c_support import FRAGMENTS, PARTY, whole
from tests.cli.cli_support import Run

from kmsi_middleware.vocabulary.user_flows import UserFlow, read_user_flows


@pytest.fixture
def policy(place: Path) -> Path:
    path = place / "SignUpOrSignin.xml"
    path.write_text(whole())
    return path


@pytest.mark.usefixtures("policy")
def test_what_is_printed_can_be_pasted_as_a_keyword(run: Run) -> None:
    code, output, _ = run("import-b2c", "SignUpOrSignin.xml")
    assert code == 0
    pasted = output.partition("\n\n")[0]
    flows = eval(f"dict({pasted})")["user_flows"]
    assert read_user_flows(flows)["B2C_1A_signup_signin"] == UserFlow(
        authority="https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1A_signup_signin/v2.0",
        kind="sign_up_and_sign_in",
        session_lifetime_minutes=20,
        session_expiry="absolute",
        keep_me_signed_in_days=30,
        single_sign_on="tenant",
        require_id_token_on_logout=False,
    )
    assert '        "keep_me_signed_in_days": 30,         # line 7: SingleSignOn KeepAliveInDays' in output


@pytest.mark.usefixtures("policy")
def test_the_json_suits_the_environment(run: Run) -> None:
    code, output, _ = run("import-b2c", "--json", "SignUpOrSignin.xml")
    printed = json.loads(output)
    assert code == 0
    assert read_user_flows(json.dumps(printed["user_flows"])).default == "B2C_1A_signup_signin"
    assert printed["properties"][1] == {
        "name": "kind",
        "value": "sign_up_and_sign_in",
        "source": "line 5: DefaultUserJourney SignUpOrSignIn",
    }
    assert printed["singleSignOut"] is None
    assert printed["withoutMeaning"] == [
        "RelyingParty/TechnicalProfile PolicyProfile (line 11)",
        "TrustFrameworkPolicy @PublicPolicyUri (line 2)",
    ]


@pytest.mark.usefixtures("policy")
def test_what_else_the_files_say_and_what_has_no_meaning_here_stand_below(run: Run) -> None:
    _, output, _ = run("import-b2c", "SignUpOrSignin.xml", *(str(FRAGMENTS[n]) for n in (2, 3, 6)))
    also, without = output.split("Also in the files:\n")[1].split("\nWithout a meaning here:\n")
    assert "so that nobody is asked twice, set kmsi_asked_by to idp" in also
    assert "single sign-out from JwtIssuer: yes" in also
    assert "  SignUpOrSignin.xml: RelyingParty/TechnicalProfile PolicyProfile (line 11)\n" in without


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: str(path.stem))
def test_each_fragment_of_the_seed_is_printed(run: Run, path: Path) -> None:
    code, output, errors = run("import-b2c", str(path))
    assert (code, errors) == (0, "")
    assert output.startswith(("user_flows={", "# no relying party in these files, so no user flow"))
    assert "Also in the files:" in output or path.name.startswith("2")


def test_kind_and_authority_can_be_given(run: Run, policy: Path) -> None:
    policy.write_text(whole(PARTY.replace("SignUpOrSignIn", "CheckAge"), tenant="contoso.example"))
    _, output, _ = run("import-b2c", policy.name)
    assert "the kind is not known (line 5: DefaultUserJourney CheckAge)" in " ".join(output.split())
    authority = "https://login.contoso.example/contoso/B2C_1A_signup_signin/v2.0"
    code, output, _ = run("import-b2c", policy.name, "--kind", "sign_in", "--authority", authority)
    assert code == 0
    assert f'"authority": "{authority}"' in output
    assert '"kind": "sign_in"' in output


def test_an_error_names_file_line_and_element(run: Run, policy: Path) -> None:
    policy.write_text(whole().replace("1200", "60"))
    code, output, errors = run("import-b2c", policy.name)
    assert (code, output) == (1, "")
    assert errors == (
        "kmsi: user_flows: SignUpOrSignin.xml, line 9, element SessionExpiryInSeconds: "
        "'60': give 900 to 86,400 seconds, in digits\n"
    )


def test_a_file_that_is_not_there_is_one_line(run: Run) -> None:
    code, _, errors = run("import-b2c", "none.xml")
    assert (code, errors.count("\n")) == (1, 1)
    assert "No such file" in errors


def test_without_a_file_nothing_is_imported(run: Run) -> None:
    assert run("import-b2c")[0] == 2


def test_what_a_file_says_steers_no_terminal(run: Run, policy: Path) -> None:
    policy.write_text(whole().replace('Id="PolicyProfile"', 'Id="&#x9b;2J&#x202e;"'))
    _, output, _ = run("import-b2c", policy.name)
    assert "\x9b" not in output
    assert "\u202e" not in output

"""The user flow that follows from policy files, and what they leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.b2c.b2c_support import BEHAVIORS, FRAGMENTS, PARTY, SEED, loaded, whole

from kmsi_middleware import b2c
from kmsi_middleware.rules.b2c.elements import PolicyFileError
from kmsi_middleware.rules.b2c.load import load_policy_file
from kmsi_middleware.rules.b2c.settings import Imported, imported
from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.user_flows import Kind, UserFlow

AUTHORITY = "https://contoso.b2clogin.com/contoso/B2C_1A_signup_signin/v2.0"
DEFAULTS = {
    "session_lifetime_minutes": 1_440,
    "session_expiry": "rolling",
    "keep_me_signed_in_days": 0,
    "single_sign_on": "tenant",
    "require_id_token_on_logout": False,
}
EXTENSIONS = "B2C_1A_TrustFrameworkExtensions"
BASE = "B2C_1A_TrustFrameworkBase"


def on(base: str) -> str:
    return f"<BasePolicy><TenantId>contoso.onmicrosoft.com</TenantId><PolicyId>{base}</PolicyId></BasePolicy>"


def page(version: str, name: str = "api.signuporsignin") -> str:
    address = f"urn:com:microsoft:aad:b2c:elements:unifiedssp:{version}"
    definition = f'<ContentDefinition Id="{name}"><DataUri>{address}</DataUri></ContentDefinition>'
    return f"<BuildingBlocks><ContentDefinitions>{definition}</ContentDefinitions></BuildingBlocks>"


def remember(text: str) -> str:
    item = f'<Item Key="setting.enableRememberMe">{text}</Item>'
    profile = f'<TechnicalProfile Id="SelfAsserted"><Metadata>{item}</Metadata></TechnicalProfile>'
    return f"<ClaimsProvider><TechnicalProfiles>{profile}</TechnicalProfiles></ClaimsProvider>"


def of(*texts: str, **more: Any) -> Imported:
    return imported([loaded(text, f"{number}.xml") for number, text in enumerate(texts, start=1)], **more)


# The user flow -------------------------------------------------------------------------------------------


def test_a_relying_party_policy_is_a_user_flow() -> None:
    found = of(whole())
    assert found.name == "B2C_1A_signup_signin"
    assert found.properties == {
        "authority": "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1A_signup_signin/v2.0",
        "kind": "sign_up_and_sign_in",
        "session_lifetime_minutes": 20,
        "session_expiry": "absolute",
        "keep_me_signed_in_days": 30,
        "single_sign_on": "tenant",
        "require_id_token_on_logout": False,
    }
    assert found.user_flows() == {"B2C_1A_signup_signin": UserFlow(**found.properties)}
    assert [setting.source for setting in found.settings] == [
        "TenantId and PolicyId",
        "line 5: DefaultUserJourney SignUpOrSignIn",
        "line 9: SessionExpiryInSeconds",
        "line 8: SessionExpiryType",
        "line 7: SingleSignOn KeepAliveInDays",
        "line 7: SingleSignOn Scope",
        "B2C’s default",
    ]


def test_what_a_relying_party_does_not_say_is_the_default_of_b2c() -> None:
    found = of('<RelyingParty><DefaultUserJourney ReferenceId="SignUpOrSignIn"/></RelyingParty>')
    assert found.properties == {"kind": "sign_up_and_sign_in", **DEFAULTS}


@pytest.mark.parametrize(
    ("number", "properties"),
    [
        (1, DEFAULTS | {"single_sign_on": "application", "session_expiry": "absolute"}),
        (
            2,
            DEFAULTS | {"kind": "sign_up_and_sign_in", "single_sign_on": "application", "session_expiry": "absolute"},
        ),
        (3, {}),
        (4, {}),
        (
            5,
            DEFAULTS | {"session_lifetime_minutes": 20, "session_expiry": "absolute", "keep_me_signed_in_days": 30},
        ),
        (
            6,
            DEFAULTS
            | {
                "kind": "sign_up_and_sign_in",
                "session_lifetime_minutes": 20,
                "session_expiry": "absolute",
                "keep_me_signed_in_days": 30,
            },
        ),
        (7, {}),
        (8, DEFAULTS | {"require_id_token_on_logout": True}),
    ],
)
def test_what_each_fragment_of_the_seed_comes_to(number: int, properties: dict[str, Any]) -> None:
    path = FRAGMENTS[number - 1]
    assert imported([load_policy_file(path.read_bytes(), path.name)]).properties == properties


@pytest.mark.parametrize(
    ("journey", "kind"),
    [
        ("SignUpOrSignIn", "sign_up_and_sign_in"),
        ("CustomSignUpSignIn", "sign_up_and_sign_in"),
        ("SignUpOrSignInWithForgotPassword", "sign_up_and_sign_in"),
        ("SignIn", "sign_in"),
        ("SignUp", "sign_up"),
        ("ProfileEdit", "profile_editing"),
        ("PasswordReset", "password_reset"),
        ("CheckAge", None),
    ],
)
def test_the_kind_is_told_by_the_user_journey(journey: str, kind: Kind | None) -> None:
    text = f'<RelyingParty><DefaultUserJourney ReferenceId="{journey}"/></RelyingParty>'
    found = of(text)
    assert found.properties.get("kind") == kind
    assert bool(kind) != any("the kind is not known (line 1: DefaultUserJourney" in line for line in found.findings)
    assert of(text, kind="sign_in").properties["kind"] == "sign_in"


@pytest.mark.parametrize("kind", ["password_reset", "sign_up"])
def test_a_policy_that_keeps_people_signed_in_by_a_reset_or_a_sign_up_is_refused(kind: Kind) -> None:
    with pytest.raises(PolicyFileError, match=r"1.xml, line 7, element SingleSignOn: KeepAliveInDays 30: .* give 0"):
        of(whole(), kind=kind)
    assert of(whole().replace('"30"', '"0"'), kind=kind).properties["keep_me_signed_in_days"] == 0


@pytest.mark.parametrize(
    ("tenant", "authority"),
    [
        ("contoso.onmicrosoft.com", "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1A_signup_signin/v2.0"),
        ("Contoso.onmicrosoft.cn", "https://contoso.b2clogin.cn/contoso.onmicrosoft.cn/B2C_1A_signup_signin/v2.0"),
        ("login.contoso.example", None),
    ],
)
def test_the_authority_follows_from_tenant_and_policy(tenant: str, authority: str | None) -> None:
    found = of(whole(tenant=tenant))
    assert found.properties.get("authority") == authority
    assert bool(authority) != any("give the authority" in line for line in found.findings)
    assert of(whole(tenant=tenant), authority=AUTHORITY).properties["authority"] == AUTHORITY


def test_seconds_that_are_no_whole_minutes_become_the_shorter_and_it_is_said() -> None:
    found = of(BEHAVIORS.replace("1200", "959"))
    assert found.properties["session_lifetime_minutes"] == 15
    assert "line 4: SessionExpiryInSeconds 959: no whole minutes, so 15, the shorter" in found.findings


def test_the_schemas_fifth_scope_is_read_as_tenant_and_it_is_said() -> None:
    found = of(BEHAVIORS.replace("Tenant", "TrustFramework"))
    assert found.properties["single_sign_on"] == "tenant"
    assert any("TrustFramework: read as tenant" in line for line in found.findings)


@pytest.mark.parametrize("scope", ["Tenant", "Application", "Policy", "Suppressed"])
def test_each_scope_of_the_seed_is_a_setting(scope: str) -> None:
    found = of(whole().replace('Scope="Tenant"', f'Scope="{scope}"'))
    assert found.properties["single_sign_on"] == scope.lower()
    assert found.user_flows()["B2C_1A_signup_signin"].single_sign_on == scope.lower()


def test_two_relying_parties_are_two_user_flows() -> None:
    with pytest.raises(
        PolicyFileError, match=r"2.xml, line 1, element RelyingParty: 1.xml has a relying party already"
    ):
        of(whole(), PARTY)


# What KMSI needs beside it -------------------------------------------------------------------------------


def test_a_page_that_is_too_old_for_kmsi_is_refused() -> None:
    with pytest.raises(
        PolicyFileError, match=r"2.xml, line 1, element DataUri: setting.enableRememberMe \(3.xml:1\) needs"
    ):
        of(whole(), page("1.0.9"), remember("True"))
    of(whole(), page("1.0.9"), remember("False"))
    for version in ("1.1.0", "1.2.0", "2.0.0", "1.10.0"):
        of(whole(), page(version), remember("True"))


def test_a_page_of_another_name_may_be_older() -> None:
    of(whole(), page("1.0.0"), page("1.1.0", "api.other"), remember("True"))


def says(found: Imported, text: str) -> bool:
    return any(text in line for line in found.findings)


def test_who_is_asked_by_b2c_is_not_to_be_asked_twice() -> None:
    assert says(of(whole(), page("1.1.0"), remember("True")), "set kmsi_asked_by to idp")
    assert not says(of(whole(), page("1.1.0"), remember("False")), "kmsi_asked_by")
    assert says(of(whole(), page("1.1.0"), remember("False")), "enableRememberMe is off")


def test_what_the_files_do_not_tell_of_kmsi_is_said() -> None:
    assert says(of(whole()), "whether B2C asks on its own page (setting.enableRememberMe) is not in these files")
    assert says(of(remember("True")), "if that is unifiedssp 1.1.0 or above, which these files don’t tell")
    assert says(of(page("1.1.0")), "1.xml:1: api.signuporsignin is unifiedssp 1.1.0, which can ask")
    assert says(of(page("1.0.0")), "which can’t ask")


def test_a_checkbox_without_days_is_said_to_keep_nobody() -> None:
    without = whole().replace(' KeepAliveInDays="30"', "")
    assert says(of(without, page("1.1.0"), remember("True")), "KeepAliveInDays is 0 or not there")


# Single sign-out -----------------------------------------------------------------------------------------

ISSUERS = (SEED / "7-token-issuers.xml").read_text()
JWT = '<UseTechnicalProfileForSessionManagement ReferenceId="SM-jwt-issuer" />'


@pytest.mark.parametrize(
    ("text", "answer", "finding"),
    [
        (ISSUERS, True, "1.xml:5: single sign-out from JwtIssuer: yes, by SM-jwt-issuer"),
        (ISSUERS.replace(JWT, ""), False, "JwtIssuer: no, because it has no UseTechnicalProfileForSessionManagement"),
        (
            ISSUERS.replace('      <Protocol Name="OpenIdConnect" />\n', ""),
            False,
            "JwtIssuer: no, because it has no protocol",
        ),
        (
            ISSUERS.replace(' Id="SM-jwt-issuer"', ' Id="SM-other"'),
            None,
            "JwtIssuer: not known, because SM-jwt-issuer is not in these files",
        ),
        (
            ISSUERS.replace("OAuthSSOSessionProvider", "NoopSSOSessionProvider"),
            False,
            "because SM-jwt-issuer does not know which apps",
        ),
        (ISSUERS.replace("SM-Saml-issuer", "", 1).replace('ReferenceId=""', 'ReferenceId="x"'), None, "Saml2"),
    ],
)
def test_without_session_management_at_every_issuer_there_is_no_single_sign_out(
    text: str, answer: bool | None, finding: str
) -> None:
    found = of(text)
    assert found.single_sign_out is answer
    assert says(found, finding)


def test_a_policy_without_a_token_issuer_does_not_say() -> None:
    assert of(whole()).single_sign_out is None


# Files that build on each other --------------------------------------------------------------------------


def test_what_the_nearer_file_says_holds_in_whatever_order_they_are_given() -> None:
    party = whole(on(EXTENSIONS) + PARTY)
    extensions = whole(
        on(BASE) + page("1.1.0") + f"<ClaimsProviders>{remember('True')}</ClaimsProviders>", policy=EXTENSIONS
    )
    base = whole(page("1.0.0") + f"<ClaimsProviders>{remember('False')}</ClaimsProviders>", policy=BASE)
    for files in ((party, extensions, base), (base, extensions, party), (extensions, party, base)):
        assert says(of(*files), "set kmsi_asked_by to idp")
        assert says(of(*files), "unifiedssp 1.1.0")
        assert not says(of(*files), "not among the files")
    assert says(of(party, base), f"it builds on {EXTENSIONS}, which is not among the files")


def test_an_issuer_may_be_said_in_parts() -> None:
    def provider(inner: str) -> str:
        profiles = f"<TechnicalProfiles>{inner}</TechnicalProfiles>"
        return f"<ClaimsProviders><ClaimsProvider>{profiles}</ClaimsProvider></ClaimsProviders>"

    base = whole(
        provider(
            '<TechnicalProfile Id="JwtIssuer"><Protocol Name="OpenIdConnect"/>'
            "<OutputTokenFormat>JWT</OutputTokenFormat></TechnicalProfile>"
        ),
        policy=BASE,
    )
    handler = "Web.TPEngine.SSO.OAuthSSOSessionProvider, Web.TPEngine, Version=1.0.0.0"
    extensions = whole(
        on(BASE)
        + provider(
            f'<TechnicalProfile Id="JwtIssuer">{JWT}</TechnicalProfile>'
            '<TechnicalProfile Id="SM-jwt-issuer">'
            f'<Protocol Name="Proprietary" Handler="{handler}"/></TechnicalProfile>'
        ),
        policy=EXTENSIONS,
    )
    assert of(base).single_sign_out is False
    assert of(extensions, base).single_sign_out is True


def test_circles_of_files_end() -> None:
    assert of(whole(on("B2C_1A_signup_signin") + PARTY)).name == "B2C_1A_signup_signin"
    first, second = whole(on(BASE) + PARTY), whole(on("B2C_1A_signup_signin"), policy=BASE)
    assert of(first, second).name == "B2C_1A_signup_signin"


# From Python ---------------------------------------------------------------------------------------------


def test_files_are_loaded_as_the_setting(tmp_path: Path) -> None:
    (tmp_path / "SignUpOrSignin.xml").write_text(whole())
    flows = b2c.load(tmp_path / "SignUpOrSignin.xml", FRAGMENTS[3])
    assert flows["b2c_1a_SIGNUP_signin"].keep_me_signed_in_days == 30


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.xml.*the file can’t be read: No such file"):
        b2c.load(tmp_path / "none.xml")
    with pytest.raises(SettingsError, match="Is a directory"):
        b2c.load(tmp_path)


def test_a_file_that_never_ends_is_not_read_to_its_end() -> None:
    with pytest.raises(PolicyFileError, match="more than 1,048,576 bytes"):
        b2c.load("/dev/zero")


@pytest.mark.parametrize("number", [1, 3])
def test_a_fragment_is_no_user_flow(number: int) -> None:
    with pytest.raises(SettingsError, match="these files do not name their policy"):
        b2c.load(FRAGMENTS[number - 1])


def test_a_policy_whose_kind_nobody_tells_is_no_user_flow(tmp_path: Path) -> None:
    path = tmp_path / "policy.xml"
    path.write_text(whole(PARTY.replace("SignUpOrSignIn", "CheckAge")))
    with pytest.raises(SettingsError, match=r"user_flows\['B2C_1A_signup_signin'\]\['kind'\] = None: every user flow"):
        b2c.load(path)
    assert b2c.load(path, kind="sign_in")["B2C_1A_signup_signin"].kind == "sign_in"

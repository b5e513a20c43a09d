"""Policy files: what they say, every way to get them wrong, and everything hostile that XML can carry."""

from __future__ import annotations

import socket
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.b2c.b2c_support import BEHAVIORS, FRAGMENTS, PARTY, loaded, whole

from kmsi_middleware.rules.b2c.elements import DEEPEST, LARGEST, PolicyFileError
from kmsi_middleware.rules.b2c.load import NAMESPACE, load_policy_file
from kmsi_middleware.rules.b2c.policy import Said
from kmsi_middleware.vocabulary.errors import SettingsError


def refused(text: str | bytes) -> PolicyFileError:
    with pytest.raises(PolicyFileError) as caught:
        loaded(text)
    return caught.value


def values(record: object) -> dict[str, Any]:
    """The values that were said, by field."""
    named = {name: getattr(record, name) for name in type(record).__dataclass_fields__}  # type: ignore[attr-defined]
    return {name: said.value for name, said in named.items() if isinstance(said, Said)}


# What they say -------------------------------------------------------------------------------------------


def test_there_are_eight_fragments_in_the_seed() -> None:
    assert [path.name[0] for path in FRAGMENTS] == list("12345678")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, {"scope": "Application", "session_expiry_type": "Absolute", "session_expiry_in_seconds": 86_400}),
        (2, {"scope": "Application", "session_expiry_type": "Absolute", "session_expiry_in_seconds": 86_400}),
        (3, None),
        (4, None),
        (
            5,
            {
                "scope": "Tenant",
                "keep_alive_in_days": 30,
                "session_expiry_type": "Absolute",
                "session_expiry_in_seconds": 1_200,
            },
        ),
        (
            6,
            {
                "scope": "Tenant",
                "keep_alive_in_days": 30,
                "session_expiry_type": "Absolute",
                "session_expiry_in_seconds": 1_200,
            },
        ),
        (7, None),
        (8, {"scope": "Tenant", "enforce_id_token_hint": True}),
    ],
)
def test_each_fragment_of_the_seed_loads_as_it_stands(number: int, said: dict[str, Any] | None) -> None:
    path = FRAGMENTS[number - 1]
    found = load_policy_file(path.read_bytes(), path.name)
    assert (found.behaviors and values(found.behaviors)) == said


def test_the_fragments_beside_the_relying_party_say_what_kmsi_and_single_sign_out_need() -> None:
    page, remember, issuers = (load_policy_file(FRAGMENTS[n].read_bytes(), "f.xml") for n in (2, 3, 6))
    assert {name: said.value for name, said in page.pages.items()} == {"api.signuporsignin": (1, 1, 0)}
    profile = remember.profiles["SelfAsserted-LocalAccountSignin-Email"]
    assert profile.remember_me is not None
    assert profile.remember_me.value is True
    found = {name: (p.protocol, p.issues_tokens, p.manages, p.manager) for name, p in issuers.profiles.items()}
    assert found == {
        "JwtIssuer": ("OpenIdConnect", True, False, "SM-jwt-issuer"),
        "SM-jwt-issuer": ("Proprietary", False, True, None),
        "Saml2AssertionIssuer": ("SAML2", True, False, "SM-Saml-issuer"),
        "SM-Saml-issuer": ("Proprietary", False, True, None),
    }


def test_a_whole_policy_says_who_it_is() -> None:
    base = "<BasePolicy><TenantId>contoso.onmicrosoft.com</TenantId><PolicyId>B2C_1A_Base</PolicyId></BasePolicy>"
    found = loaded(whole(base + PARTY))
    assert (found.policy, found.tenant, found.base) == (
        "B2C_1A_signup_signin",
        "contoso.onmicrosoft.com",
        "B2C_1A_Base",
    )
    assert found.journey is not None
    assert (found.journey.value, found.journey.place) == ("SignUpOrSignIn", "line 5: DefaultUserJourney")
    assert found.behaviors is not None
    assert found.behaviors.keep_alive_in_days is not None
    assert found.behaviors.keep_alive_in_days.place == "line 7: SingleSignOn KeepAliveInDays"


def test_a_relying_party_without_behaviors_says_none() -> None:
    found = loaded(whole('<RelyingParty><DefaultUserJourney ReferenceId="SignIn"/></RelyingParty>'))
    assert found.behaviors is not None
    assert values(found.behaviors) == {}


def test_an_extension_file_has_no_relying_party() -> None:
    assert loaded(whole("<BuildingBlocks></BuildingBlocks>")).behaviors is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "us-ascii"])
def test_the_encodings_that_policies_come_in_are_read(encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = whole().replace('encoding="utf-8"', f'encoding="{declared}"')
    assert loaded(text.encode(encoding)).policy == "B2C_1A_signup_signin"


@pytest.mark.parametrize(
    ("xml", "value"),
    [
        ('KeepAliveInDays=" 30 "', 30),
        ('KeepAliveInDays="+1"', 1),
        ('KeepAliveInDays="0"', 0),
        ('KeepAliveInDays="90"', 90),
    ],
)
def test_a_number_is_what_the_schema_calls_one(xml: str, value: int) -> None:
    behaviors = loaded(BEHAVIORS.replace('KeepAliveInDays="30"', xml)).behaviors
    assert behaviors is not None
    assert values(behaviors)["keep_alive_in_days"] == value


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_a_truth_is_what_the_schema_calls_one(text: str, value: bool) -> None:
    sso = f'<SingleSignOn Scope="Tenant" EnforceIdTokenHintOnLogout="{text}"/>'
    found = loaded(f"<UserJourneyBehaviors>{sso}</UserJourneyBehaviors>")
    assert found.behaviors is not None
    assert values(found.behaviors)["enforce_id_token_hint"] is value


@pytest.mark.parametrize(
    ("address", "version"),
    [
        ("urn:com:microsoft:aad:b2c:elements:unifiedssp:1.0.0", (1, 0, 0)),
        ("urn:com:microsoft:aad:b2c:elements:contract:unifiedssp:2.1.17", (2, 1, 17)),
        ("urn:com:microsoft:aad:b2c:elements:contract:selfasserted:2.1.7", None),
        ("urn:com:microsoft:aad:b2c:elements:idpselection:1.0.0", None),
    ],
)
def test_a_pages_version_is_in_its_address(address: str, version: tuple[int, ...] | None) -> None:
    definition = f'<ContentDefinition Id="page"><DataUri>{address}</DataUri></ContentDefinition>'
    found = loaded(f"<BuildingBlocks><ContentDefinitions>{definition}</ContentDefinitions></BuildingBlocks>")
    assert [said.value for said in found.pages.values()] == ([version] if version else [])


def test_endpoints_may_stand_between_as_the_schema_has_it() -> None:
    found = loaded(PARTY.replace("<UserJourneyBehaviors>", "<Endpoints/><UserJourneyBehaviors>"))
    assert found.behaviors is not None
    assert found.notes == ("RelyingParty/Endpoints (line 3)", "RelyingParty/TechnicalProfile PolicyProfile (line 8)")


# What has no meaning here --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            BEHAVIORS.replace("</UserJ", "<ScriptExecution>Allow</ScriptExecution><JourneyInsights/></UserJ"),
            ("UserJourneyBehaviors/JourneyInsights (line 5)", "UserJourneyBehaviors/ScriptExecution (line 5)"),
        ),
        (whole(more='DeploymentMode="Development"'), ("TrustFrameworkPolicy @DeploymentMode (line 2)",)),
        (
            whole('<UserJourneys><UserJourney Id="X"/></UserJourneys>'),
            ("UserJourneys (line 4)", "TrustFrameworkPolicy @PublicPolicyUri (line 2)"),
        ),
        (
            "<BuildingBlocks><ClaimsSchema/><Localization/></BuildingBlocks>",
            ("BuildingBlocks/ClaimsSchema (line 1)", "BuildingBlocks/Localization (line 1)"),
        ),
        (
            "<ClaimsProviders><ClaimsProvider><Domain>x</Domain><TechnicalProfiles>"
            '<TechnicalProfile Id="A"/>\n<TechnicalProfile Id="B"/>'
            "</TechnicalProfiles></ClaimsProvider></ClaimsProviders>",
            (
                "ClaimsProviders/ClaimsProvider/TechnicalProfiles/TechnicalProfile A (line 1), B (line 2)",
                "ClaimsProviders/ClaimsProvider/Domain (line 1)",
            ),
        ),
        (
            '<ClaimsProvider><TechnicalProfiles><TechnicalProfile Id="A"><Metadata>'
            '<Item Key="setting.enableRememberMe">true</Item><Item Key="other">1</Item></Metadata>'
            "</TechnicalProfile></TechnicalProfiles></ClaimsProvider>",
            ("ClaimsProvider/TechnicalProfiles/TechnicalProfile/Metadata/Item other (line 1)",),
        ),
        (
            "<ClaimsProviders>hello\n  there</ClaimsProviders>",
            ("ClaimsProviders (line 1): the text “hello there”",),
        ),
        (
            whole().replace('"0.3.0.0"', '"0.4.0.0"'),
            ("PolicySchemaVersion 0.4.0.0 is not known here: read as 0.3.0.0",),
        ),
    ],
)
def test_what_has_no_meaning_here_is_named_with_its_line(text: str, named: tuple[str, ...]) -> None:
    assert set(named) <= set(loaded(text).notes)


def test_where_the_schema_lies_is_no_attribute_of_a_policy() -> None:
    instance = "http://www.w3.org/2001/XMLSchema-instance"
    text = whole(more=f'xmlns:xsi="{instance}" xsi:schemaLocation="a b"')
    assert loaded(text).notes == (
        "RelyingParty/TechnicalProfile PolicyProfile (line 11)",
        "TrustFrameworkPolicy @PublicPolicyUri (line 2)",
    )


# Every way to get one wrong ------------------------------------------------------------------------------

SSO = '<SingleSignOn Scope="Tenant" KeepAliveInDays="30" />'
PROFILE = (
    '<ClaimsProvider><TechnicalProfiles>\n<TechnicalProfile Id="A"><Metadata>\n{}</Metadata></TechnicalProfile>'
    "</TechnicalProfiles></ClaimsProvider>"
)
REMEMBER = '<Item Key="setting.enableRememberMe">{}</Item>'


@pytest.mark.parametrize(
    ("text", "line", "element", "problem"),
    [
        # Limits and words of the seed.
        (BEHAVIORS.replace("1200", "899"), 4, "SessionExpiryInSeconds", "'899': give 900 to 86,400 seconds"),
        (BEHAVIORS.replace("1200", "86401"), 4, "SessionExpiryInSeconds", "give 900 to 86,400 seconds"),
        (BEHAVIORS.replace("1200", "20m"), 4, "SessionExpiryInSeconds", "'20m': give 900 to 86,400 seconds, in digits"),
        (BEHAVIORS.replace("1200", ""), 4, "SessionExpiryInSeconds", "'': give 900"),
        (BEHAVIORS.replace("1200", "1200.0"), 4, "SessionExpiryInSeconds", "in digits"),
        (BEHAVIORS.replace("1200", "٩٠٠"), 4, "SessionExpiryInSeconds", "in digits"),
        (BEHAVIORS.replace("1200", "9" * 5_000), 4, "SessionExpiryInSeconds", "give 900 to 86,400 seconds"),
        (BEHAVIORS.replace('"30"', '"91"'), 2, "SingleSignOn", "'91': give 0 to 90 days"),
        (BEHAVIORS.replace('"30"', '"-1"'), 2, "SingleSignOn", "'-1': give 0 to 90 days"),
        (BEHAVIORS.replace("Absolute", "absolute"), 3, "SessionExpiryType", "'absolute': give Rolling or Absolute"),
        (BEHAVIORS.replace("Absolute", "Sliding"), 3, "SessionExpiryType", "give Rolling or Absolute"),
        (
            BEHAVIORS.replace("Tenant", "Everywhere"),
            2,
            "SingleSignOn",
            "'Everywhere': give Tenant, Application, Policy, Suppressed or TrustFramework",
        ),
        (BEHAVIORS.replace(' Scope="Tenant"', ""), 2, "SingleSignOn", "it needs the attribute Scope"),
        (BEHAVIORS.replace('"Tenant"', '" "'), 2, "SingleSignOn", "it needs the attribute Scope"),
        (
            BEHAVIORS.replace("/>", 'EnforceIdTokenHintOnLogout="True"/>'),
            2,
            "SingleSignOn",
            "'True': give true or false",
        ),
        (PROFILE.format(REMEMBER.format("yes")), 3, "Item", "'yes': give true or false"),
        # Names that would silently be the default.
        (
            BEHAVIORS.replace("KeepAliveInDays", "KeepAliveDays"),
            2,
            "SingleSignOn",
            "no attribute KeepAliveDays; did you mean KeepAliveInDays?",
        ),
        (
            BEHAVIORS.replace("SessionExpiryInSeconds", "SessionExpirySeconds"),
            4,
            "SessionExpirySeconds",
            "no such element; did you mean SessionExpiryInSeconds?",
        ),
        (
            PARTY.replace("UserJourneyBehaviors", "UserJourneyBehaviours"),
            3,
            "UserJourneyBehaviours",
            "did you mean UserJourneyBehaviors?",
        ),
        (whole("<RelyingPartys/>"), 4, "RelyingPartys", "did you mean RelyingParty?"),
        (whole(more='PolicyID="x"'), 2, "TrustFrameworkPolicy", "no attribute PolicyID; did you mean PolicyId?"),
        # Twice, or with something in it.
        (BEHAVIORS.replace(SSO, SSO + SSO), 2, "SingleSignOn", "has one SingleSignOn, and this is the second"),
        (whole(PARTY + PARTY), 12, "RelyingParty", "has one RelyingParty, and this is the second"),
        (BEHAVIORS.replace("1200", "<a/>"), 4, "a", "SessionExpiryInSeconds holds a text, and no elements"),
        (PROFILE.format((REMEMBER * 2).format("true", "true")), 3, "Item", "is there twice"),
        (
            '<ClaimsProvider><TechnicalProfiles><TechnicalProfile Id="A"/>\n<TechnicalProfile Id="A"/>'
            "</TechnicalProfiles></ClaimsProvider>",
            2,
            "TechnicalProfile",
            "there are two technical profiles A",
        ),
        (
            "<ClaimsProvider><TechnicalProfiles><TechnicalProfile/></TechnicalProfiles></ClaimsProvider>",
            1,
            "TechnicalProfile",
            "it needs the attribute Id",
        ),
        # The element's place.
        (
            f'<RelyingParty>\n{BEHAVIORS}\n<DefaultUserJourney ReferenceId="X"/></RelyingParty>',
            2,
            "UserJourneyBehaviors",
            "right after DefaultUserJourney",
        ),
        (
            PARTY.replace("<UserJourneyBehaviors>", '<TechnicalProfile Id="P"/>\n<UserJourneyBehaviors>'),
            4,
            "UserJourneyBehaviors",
            "right after DefaultUserJourney",
        ),
        (whole(BEHAVIORS), 4, "UserJourneyBehaviors", "it stands in RelyingParty, right after DefaultUserJourney"),
        (
            f"<ClaimsProvider>\n{BEHAVIORS}</ClaimsProvider>",
            2,
            "UserJourneyBehaviors",
            "it stands in RelyingParty",
        ),
        (f"<RelyingParty>{BEHAVIORS}</RelyingParty>", 1, "RelyingParty", "it needs a DefaultUserJourney"),
        (
            "<RelyingParty><DefaultUserJourney/></RelyingParty>",
            1,
            "DefaultUserJourney",
            "it needs the attribute ReferenceId",
        ),
        # Who it is.
        (whole().replace("PolicyId=", "Id="), 2, "TrustFrameworkPolicy", "it needs the attribute PolicyId"),
        (whole().replace(" TenantId=", " Tenant="), 2, "TrustFrameworkPolicy", "it needs the attribute TenantId"),
        (whole("<BasePolicy><TenantId>x</TenantId></BasePolicy>"), 4, "BasePolicy", "it needs the PolicyId"),
        ("<html/>", 1, "html", "this is no policy: give a TrustFrameworkPolicy, or RelyingParty"),
        # Namespaces.
        (
            whole().replace(NAMESPACE, "http://schemas.microsoft.com/online/cpim/schemas/2014/07"),
            2,
            "TrustFrameworkPolicy",
            f"the namespace 'http://schemas.microsoft.com/online/cpim/schemas/2014/07': B2C's is {NAMESPACE}",
        ),
        (whole().replace(f'xmlns="{NAMESPACE}"', ""), 2, "TrustFrameworkPolicy", "it has no namespace"),
        (
            BEHAVIORS.replace("<SingleSignOn", '<SingleSignOn xmlns="urn:other"'),
            2,
            "SingleSignOn",
            "it has the namespace 'urn:other'",
        ),
        # No XML, or not well-formed.
        ("", 1, "", "no well-formed XML: no element found"),
        ("  \n ", 2, "", "no element found"),
        ("{}", 1, "", "no well-formed XML"),
        ("<UserJourneyBehaviors>\n<SingleSignOn>\n</UserJourneyBehaviors>", 3, "SingleSignOn", "mismatched tag"),
        ("<UserJourneyBehaviors>\n", 2, "UserJourneyBehaviors", "no element found"),
        ("<a x='1' x='2'/>", 1, "", "duplicate attribute"),
        ("<p:a/>", 1, "", "unbound prefix"),
        (f"\n{whole()}", 2, "", "XML or text declaration not at start"),
        (f"{BEHAVIORS}{BEHAVIORS}", 5, "", "junk after document element"),
    ],
)
def test_what_is_wrong_is_refused_with_line_and_element(text: str, line: int, element: str, problem: str) -> None:
    error = refused(text)
    assert problem in error.problem
    assert (error.line, error.element) == (line, element)
    place = f"policy.xml, line {line}" + (f", element {element}" if element else "")
    assert str(error) == f"user_flows: {place}: {error.problem}"
    assert len(str(error)) < 400


def test_the_error_is_one_of_the_settings_so_that_it_stops_the_start_up() -> None:
    error = refused("<html/>")
    assert isinstance(error, SettingsError)
    assert error.code == "settings"


# Hostile -------------------------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPE = "a document type declaration (DOCTYPE) is refused"


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>\n<UserJourneyBehaviors>&l9;</UserJourneyBehaviors>',
        f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]><x>{"&a;" * 10_000}</x>',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        '<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/e.dtd"> %e;]><x/>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>',
        '<!DOCTYPE x PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1:9/x.dtd"><x/>',
        "<!DOCTYPE x><x/>",
        '<!DOCTYPE x [<!ATTLIST x y CDATA "z">]><x/>',
    ],
)
def test_a_document_type_is_refused_before_anything_in_it_counts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*given: object, **more: object) -> None:
        raise AssertionError(f"the parser reached outside: {given}")

    monkeypatch.setattr(socket, "socket", touched)
    monkeypatch.setattr("builtins.open", touched)
    tracemalloc.start()
    try:
        error = refused(text)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert error.problem.startswith(DOCTYPE)


def test_an_entity_that_nobody_declared_is_refused() -> None:
    assert "undefined entity" in refused("<UserJourneyBehaviors>&l9;</UserJourneyBehaviors>").problem


def test_a_file_is_read_up_to_the_size_that_b2c_takes() -> None:
    text = whole()
    full = text.replace("</T", f"<!--{' ' * (LARGEST - len(text) - 7)}--></T", 1)
    assert len(full) == LARGEST
    assert loaded(full).policy is not None
    error = refused(full + " ")
    assert (error.line, "more than 1,048,576 bytes" in error.problem) == (1, True)


def test_elements_are_read_to_a_depth_that_no_policy_needs() -> None:
    def nested(depth: int) -> str:
        return "<BuildingBlocks>" + "<a>" * (depth - 1) + "</a>" * (depth - 1) + "</BuildingBlocks>"

    assert loaded(nested(DEEPEST)).notes == ("BuildingBlocks/a (line 1)",)
    for depth in (DEEPEST + 1, 50_000):
        error = refused(nested(depth))
        assert (error.element, error.problem) == ("a", f"the elements are more than {DEEPEST} levels deep")


@pytest.mark.parametrize(
    "encoding", ["windows-1252", "rot13", "gb2312", "utf-7", "idna", "utf-32", "no-such-encoding", "x" * 500]
)
def test_another_encoding_is_refused_before_it_is_looked_up(encoding: str) -> None:
    error = refused(f'<?xml version="1.0" encoding="{encoding}"?><x/>')
    assert error.problem == f"the encoding {encoding[:40]!r} is not read here: save the file as UTF-8"


@pytest.mark.parametrize(
    "data",
    [
        b'<?xml version="1.0" encoding="utf-8"?><UserJourneyBehaviors>\xe9</UserJourneyBehaviors>',
        b'<?xml version="1.0" encoding="us-ascii"?><UserJourneyBehaviors>\xc3\xa9</UserJourneyBehaviors>',
        b'<?xml version="1.0" encoding="utf-16"?><UserJourneyBehaviors/>',
        "<x/>".encode("utf-32"),
        b"\x00\x01\x02",
        b"PK\x03\x04 a zip file",
        b"\x1f\x8b\x08 gzip",
        b"<UserJourneyBehaviors>\x00</UserJourneyBehaviors>",
        b"<UserJourneyBehaviors>\xed\xa0\x80</UserJourneyBehaviors>",
    ],
)
def test_bytes_that_are_not_what_they_say_are_refused(data: bytes) -> None:
    assert "no well-formed XML" in refused(data).problem


def test_a_great_many_attributes_and_elements_make_no_long_message() -> None:
    attributes = " ".join(f'a{n}="{n}"' for n in range(40_000))
    assert len(str(refused(f"<UserJourneyBehaviors {attributes}/>"))) < 400
    assert len(str(refused(f"<UserJourneyBehaviors>{'<a/>' * 100_000}</UserJourneyBehaviors>"))) < 400
    long = "a" * 500_000
    for text in (f"<{long}/>", f'<RelyingParty {long}=""/>', f'<RelyingParty xmlns="{long}"/>', f"<{long}>"):
        assert len(str(refused(text))) < 500


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_a_policy_or_an_error_comes_out(data: bytes) -> None:
    with suppress(PolicyFileError):
        loaded(data)


@given(st.data())
def test_a_damaged_policy_is_a_policy_or_an_error(data: st.DataObject) -> None:
    raw = bytearray(whole().encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(PolicyFileError):
        loaded(bytes(raw))

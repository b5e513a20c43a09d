"""From JSON to policies: Graph's own shapes, every field good and bad, and that nothing is ignored in silence."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmsi_middleware.rules.conditional_access.device_filter import Comparison, DeviceFilter
from kmsi_middleware.rules.conditional_access.graph import as_graph
from kmsi_middleware.rules.conditional_access.load import PASSED_OVER, PolicyError, load_policies
from kmsi_middleware.rules.conditional_access.policy import (
    Applications,
    Conditions,
    GrantControls,
    Guests,
    Locations,
    Platforms,
    Policy,
    PolicySet,
    SignInFrequency,
    Users,
)
from kmsi_middleware.vocabulary.errors import SettingsError

HOUR, DAY = 3_600, 86_400
OFFICE = "05239353-9117-4d29-a6a1-89724cb61b8c"
EMERGENCY = "9d3cc7f4-5f0b-4f0a-9d27-1f1b6c9e3a11"

# A whole export, in Graph's shape: every member that Graph writes is there, set or not.
EXPORT = json.loads("""
{
  "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#identity/conditionalAccess/policies",
  "@microsoft.graph.tips": "Use $select to choose only the properties your app needs",
  "value": [
    {
      "id": "3E5A1F0C-2B6C-4A31-9C33-6B0B3A1D7E01",
      "templateId": null,
      "displayName": "CA101: Admins sign in every 4 hours, never stay signed in",
      "createdDateTime": "2024-02-19T09:14:52.1234567Z",
      "modifiedDateTime": "2025-11-03T16:40:08Z",
      "deletedDateTime": null,
      "state": "enabled",
      "partialEnablementStrategy": null,
      "conditions": {
        "userRiskLevels": [],
        "signInRiskLevels": [],
        "clientAppTypes": ["all"],
        "servicePrincipalRiskLevels": [],
        "insiderRiskLevels": null,
        "platforms": null,
        "locations": {"includeLocations": ["All"], "excludeLocations": ["AllTrusted"]},
        "times": null,
        "deviceStates": null,
        "devices": null,
        "clientApplications": null,
        "authenticationFlows": null,
        "applications": {
          "includeApplications": ["All"],
          "excludeApplications": [],
          "includeUserActions": [],
          "includeAuthenticationContextClassReferences": [],
          "applicationFilter": null
        },
        "users": {
          "includeUsers": [],
          "excludeUsers": ["9D3CC7F4-5F0B-4F0A-9D27-1F1B6C9E3A11"],
          "includeGroups": [],
          "excludeGroups": [],
          "includeRoles": ["62e90394-69f5-4237-9190-012177145e10", "f28a1f50-f6e7-4571-818b-6a12f2af6b6c"],
          "excludeRoles": [],
          "includeGuestsOrExternalUsers": null,
          "excludeGuestsOrExternalUsers": {
            "guestOrExternalUserTypes": "b2bCollaborationGuest,serviceProvider",
            "externalTenants": {
              "@odata.type": "#microsoft.graph.conditionalAccessEnumeratedExternalTenants",
              "membershipKind": "enumerated",
              "members": ["F8CDEF31-A31E-4B4A-93E4-5F571E91255A"]
            }
          }
        }
      },
      "grantControls": {
        "operator": "OR",
        "builtInControls": ["mfa"],
        "customAuthenticationFactors": [],
        "termsOfUse": [],
        "authenticationStrength@odata.context": "https://graph.microsoft.com/v1.0/$metadata#identity/x/$entity",
        "authenticationStrength": null
      },
      "sessionControls": {
        "disableResilienceDefaults": null,
        "applicationEnforcedRestrictions": null,
        "cloudAppSecurity": {"isEnabled": false, "cloudAppSecurityType": "mcasConfigured"},
        "continuousAccessEvaluation": null,
        "secureSignInSession": null,
        "persistentBrowser": {"mode": "never", "isEnabled": true},
        "signInFrequency": {
          "value": 4,
          "type": "hours",
          "authenticationType": "primaryAndSecondaryAuthentication",
          "frequencyInterval": "timeBased",
          "isEnabled": true
        }
      }
    },
    {
      "id": "6f2d9c0e-8f34-4d0f-9d44-0e4b2a6c5d02",
      "templateId": "6b619f55-792e-45dc-9711-d83ec9d7ae90",
      "displayName": "CA102: Risky users change their password",
      "createdDateTime": "2024-02-19T09:20:11Z",
      "modifiedDateTime": null,
      "state": "enabledForReportingButNotEnforced",
      "sessionControls": {
        "persistentBrowser": {"mode": null, "isEnabled": false},
        "signInFrequency": {
          "value": null,
          "type": null,
          "authenticationType": "primaryAndSecondaryAuthentication",
          "frequencyInterval": "everyTime",
          "isEnabled": true
        }
      },
      "conditions": {
        "userRiskLevels": ["high"],
        "signInRiskLevels": [],
        "clientAppTypes": ["all"],
        "platforms": null,
        "locations": null,
        "applications": {"includeApplications": ["All"], "excludeApplications": [], "includeUserActions": []},
        "users": {"includeUsers": ["All"], "excludeUsers": ["9d3cc7f4-5f0b-4f0a-9d27-1f1b6c9e3a11"]}
      },
      "grantControls": {"operator": "AND", "builtInControls": ["mfa", "passwordChange"], "termsOfUse": []}
    },
    {
      "id": "8c1b7a55-0d0e-4a7e-8a55-7f4f3c2b1a03",
      "displayName": "CA103: Payments, every time, on phones that nobody manages",
      "createdDateTime": "2024-03-01T10:00:00Z",
      "state": "disabled",
      "conditions": {
        "userRiskLevels": [],
        "signInRiskLevels": ["medium", "high", "none"],
        "clientAppTypes": ["browser", "mobileAppsAndDesktopClients"],
        "platforms": {"includePlatforms": ["all"], "excludePlatforms": ["windows", "macOS"]},
        "locations": {
          "includeLocations": ["All"],
          "excludeLocations": ["05239353-9117-4D29-A6A1-89724CB61B8C"]
        },
        "devices": {
          "includeDevices": [],
          "excludeDevices": [],
          "deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}
        },
        "applications": {"includeAuthenticationContextClassReferences": ["c1", "c25"]},
        "users": {"includeUsers": ["GuestsOrExternalUsers"], "includeGroups": ["ba8e7ded-8b0f-4836-ba06-8ff1ecc5c8ba"]}
      },
      "grantControls": null,
      "sessionControls": {
        "signInFrequency": {
          "authenticationType": "secondaryAuthentication",
          "frequencyInterval": "everyTime",
          "isEnabled": true
        }
      }
    }
  ]
}
""")
PLACES = {
    "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#conditionalAccess/namedLocations",
    "value": [
        {
            "@odata.type": "#microsoft.graph.ipNamedLocation",
            "id": OFFICE,
            "displayName": "Head Office",
            "createdDateTime": "2024-01-01T00:00:00Z",
            "modifiedDateTime": "2024-01-01T00:00:00Z",
            "isTrusted": True,
            "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "192.0.2.0/24"}],
        }
    ],
}


def test_an_export() -> None:
    loaded = load_policies([("policies.json", EXPORT), ("places.json", PLACES)])
    assert [location.id for location in loaded.locations] == [OFFICE]
    assert loaded.notes == ("policies.json: @microsoft.graph.tips: not known, and not used",)
    assert loaded.policies == (
        Policy(
            id="3E5A1F0C-2B6C-4A31-9C33-6B0B3A1D7E01",
            display_name="CA101: Admins sign in every 4 hours, never stay signed in",
            state="enabled",
            conditions=Conditions(
                users=Users(
                    exclude=(EMERGENCY,),
                    include_roles=("62e90394-69f5-4237-9190-012177145e10", "f28a1f50-f6e7-4571-818b-6a12f2af6b6c"),
                    exclude_guests=Guests(
                        types=("b2bCollaborationGuest", "serviceProvider"),
                        tenants=("f8cdef31-a31e-4b4a-93e4-5f571e91255a",),
                    ),
                ),
                applications=Applications(include=("all",)),
                locations=Locations(include=("all",), exclude=("alltrusted",)),
            ),
            grant=GrantControls("OR", ("mfa",)),
            sign_in_frequency=SignInFrequency(4 * HOUR),
            persistent_browser="never",
            source="policies.json",
        ),
        Policy(
            id="6f2d9c0e-8f34-4d0f-9d44-0e4b2a6c5d02",
            display_name="CA102: Risky users change their password",
            state="enabledForReportingButNotEnforced",
            conditions=Conditions(
                users=Users(include=("all",), exclude=(EMERGENCY,)),
                applications=Applications(include=("all",)),
                user_risk_levels=("high",),
            ),
            grant=GrantControls("AND", ("mfa", "passwordChange")),
            sign_in_frequency=SignInFrequency(None),
            source="policies.json",
        ),
        Policy(
            id="8c1b7a55-0d0e-4a7e-8a55-7f4f3c2b1a03",
            display_name="CA103: Payments, every time, on phones that nobody manages",
            state="disabled",
            conditions=Conditions(
                users=Users(
                    include=("guestsorexternalusers",), include_groups=("ba8e7ded-8b0f-4836-ba06-8ff1ecc5c8ba",)
                ),
                applications=Applications(auth_contexts=("c1", "c25")),
                client_app_types=("browser", "mobileappsanddesktopclients"),
                sign_in_risk_levels=("medium", "high", "none"),
                platforms=Platforms(include=("all",), exclude=("windows", "macos")),
                locations=Locations(include=("all",), exclude=(OFFICE,)),
                device_filter=DeviceFilter(
                    "exclude", Comparison("isCompliant", "eq", True), "device.isCompliant -eq True"
                ),
            ),
            sign_in_frequency=SignInFrequency(None, second_factor_only=True),
            source="policies.json",
        ),
    )


def test_what_is_written_as_graphs_json_is_read_as_the_same() -> None:
    files = [("policies.json", EXPORT), ("places.json", PLACES)]
    policies = load_policies(files).policies
    written = {"value": [as_graph(item) for item in policies]}
    again = load_policies([("policies.json", written), ("places.json", PLACES)])
    assert again.policies == policies
    assert again.notes == ()


# Files --------------------------------------------------------------------------------------------------


def policy(**members: Any) -> dict[str, Any]:
    """A small good policy but for ``members``; those ``...`` are left out."""
    whole = {
        "displayName": "P",
        "state": "enabled",
        "conditions": {"users": {"includeUsers": ["All"]}, "applications": {"includeApplications": ["All"]}},
        "grantControls": {"operator": "OR", "builtInControls": ["mfa"]},
    }
    return {name: value for name, value in (whole | members).items() if value is not ...}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The small good policy with one member changed, by its path."""
    whole = copy.deepcopy(policy())
    *way, last = path.split(".")
    inner: Any = whole
    for name in way:
        inner = inner.setdefault(name, {})
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return whole


def load(item: Any) -> PolicySet:
    return load_policies([("p.json", item)])


def load_changed(path: str, value: Any) -> Policy:
    return load(changed(path, value)).policies[0]


PLACE = PLACES["value"][0]


@pytest.mark.parametrize(
    "document",
    [
        policy(),
        [policy()],
        {"value": [policy()]},
        {"@odata.context": "x", "@odata.count": 1, "value": [policy()]},
        {"policies": [policy()]},
        {"policies": policy(), "namedLocations": None},
        {"policies": {"value": [policy()]}, "namedLocations": {"@odata.context": "x", "value": [PLACE]}},
        {"policies": [policy()], "namedLocations": [PLACE]},
        {"policies": [policy()], "namedLocations": PLACE},
        [policy(), PLACE],
        {"value": [PLACE, policy()]},
        policy() | {"@odata.type": "#microsoft.graph.conditionalAccessPolicy", "@odata.etag": "x"},
    ],
)
def test_the_shapes_of_a_file(document: Any) -> None:
    loaded = load(document)
    assert loaded.policies == load(policy()).policies
    assert [location.id for location in loaded.locations] in ([], [OFFICE])
    assert len(loaded.locations) == json.dumps(document).count("ipRanges")
    assert loaded.notes == ()


def test_files_keep_their_order() -> None:
    files = [(f"{name}.json", policy(displayName=name)) for name in "bca"]
    loaded = load_policies(files)
    assert [(item.display_name, item.source) for item in loaded.policies] == [
        ("b", "b.json"),
        ("c", "c.json"),
        ("a", "a.json"),
    ]


@pytest.mark.parametrize("document", [[], {"value": []}, {"policies": [], "namedLocations": []}])
def test_an_empty_file_is_reported(document: Any) -> None:
    assert load(document) == PolicySet(notes=("p.json: holds no policy and no named location",))


def test_no_file_is_no_policy() -> None:
    assert load_policies([]) == PolicySet()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (None, "p.json: give a policy, a list of policies, or an export"),
        (7, "p.json: give a policy"),
        ("text", "p.json: give a policy"),
        ([7], "[1] = 7: give an object in braces"),
        ([policy(), None], "[2] = null: give an object in braces"),
        ([[policy()]], "[1] = a list of 1: give an object"),
        ({"value": [policy(), "x"]}, "value[2] = 'x': give an object"),
        ({"policies": 7}, "policies = 7: give a policy"),
        ({"policies": [PLACE]}, "'Head Office' is a named location: put it into namedLocations"),
        ({"namedLocations": [policy()]}, "'P' has neither ipRanges nor countriesAndRegions"),
        (
            {"policies": [policy()], "namedLocation": [PLACE]},
            "namedLocation = a list of 1: there is no such field here; did you",
        ),
        ({"@odata.nextLink": "https://graph", "value": [policy()]}, "this is not the whole export"),
        (
            {"@odata.type": "#microsoft.graph.group", "displayName": "G"},
            "'G': @odata.type = '#microsoft.graph.group': this",
        ),
        ({"@odata.type": 7}, "@odata.type = 7: this is neither"),
        ({}, "displayName = null: give a name"),
        ([policy(), {}], "p.json: policy '[2]': displayName = null: give a name"),
    ],
)
def test_a_file_that_is_none(document: Any, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(document)
    assert says in str(caught.value)
    assert caught.value.file == "p.json"


def test_two_policies_of_the_same_id() -> None:
    one = policy(id="A1")
    with pytest.raises(PolicyError, match=r"b\.json: policy 'P': id = 'a1': a\.json has a policy with this id"):
        load_policies([("a.json", one), ("b.json", policy(id="a1"))])
    with pytest.raises(PolicyError, match=r"id = 'A1': b\.json has a policy with this id"):
        load_policies([("b.json", policy(id="a1")), ("a.json", one)])
    with pytest.raises(PolicyError, match=r"displayName = 'p': p\.json has a policy with this id"):
        load([policy(), policy(displayName="p")])
    assert len(load([one, policy(id="A2"), policy()]).policies) == 3  # the same name, which Graph allows


def test_the_error_tells_all() -> None:
    with pytest.raises(SettingsError) as caught:
        load_policies([("folder/p.json", changed("state", "on"))])
    error = caught.value
    assert isinstance(error, PolicyError)
    assert (error.name, error.code) == ("policies", "settings")
    assert (error.file, error.policy, error.field, error.value) == ("folder/p.json", "P", "state", "on")
    assert str(error) == f"policies: folder/p.json: policy 'P': state = 'on': {error.problem}"


# Fields that are good: the path, what stands there, and what is made of it -------------------------------

FREQUENCY = {"value": 1, "type": "hours", "isEnabled": True}


@pytest.mark.parametrize(
    ("path", "value", "attribute", "expected"),
    [
        ("id", " x ", "id", "x"),
        ("state", "Disabled", "state", "disabled"),
        ("conditions.clientAppTypes", ..., "conditions.client_app_types", ("all",)),
        ("conditions.clientAppTypes", [], "conditions.client_app_types", ("all",)),
        (
            "conditions.clientAppTypes",
            ["other", "easSupported"],
            "conditions.client_app_types",
            ("other", "eassupported"),
        ),
        ("conditions.userRiskLevels", ["high", "HIGH", "low"], "conditions.user_risk_levels", ("high", "low")),
        ("conditions.platforms", {}, "conditions.platforms", None),
        ("conditions.platforms", {"includePlatforms": [], "excludePlatforms": []}, "conditions.platforms", None),
        ("conditions.platforms", {"includePlatforms": ["ios"]}, "conditions.platforms", Platforms(("ios",))),
        ("conditions.locations", {"includeLocations": []}, "conditions.locations", None),
        (
            "conditions.locations",
            {"includeLocations": ["AllTrusted"]},
            "conditions.locations",
            Locations(("alltrusted",)),
        ),
        ("conditions.devices", {"deviceFilter": None}, "conditions.device_filter", None),
        ("conditions.devices", {"deviceFilter": {"mode": None, "rule": None}}, "conditions.device_filter", None),
        ("conditions.authenticationFlows", {"transferMethods": "none"}, "conditions.platforms", None),
        ("conditions.clientApplications", {"includeServicePrincipals": []}, "conditions.platforms", None),
        ("conditions.users.includeUsers", ["None"], "conditions.users.include", ("none",)),
        ("conditions.users.includeGroups", [" G1", "g1 ", "G2"], "conditions.users.include_groups", ("g1", "g2")),
        (
            "conditions.users.excludeUsers",
            ["GuestsOrExternalUsers"],
            "conditions.users.exclude",
            ("guestsorexternalusers",),
        ),
        (
            "conditions.users.includeGuestsOrExternalUsers",
            {"guestOrExternalUserTypes": "internalGuest", "externalTenants": {"membershipKind": "all"}},
            "conditions.users.include_guests",
            Guests(("internalGuest",)),
        ),
        (
            "conditions.users.includeGuestsOrExternalUsers",
            {"guestOrExternalUserTypes": ["internalGuest", "otherExternalUser"], "externalTenants": None},
            "conditions.users.include_guests",
            Guests(("internalGuest", "otherExternalUser")),
        ),
        (
            "conditions.users.includeGuestsOrExternalUsers",
            {"guestOrExternalUserTypes": "none", "externalTenants": None},
            "conditions.users.include_guests",
            None,
        ),
        ("conditions.applications.includeApplications", ["None"], "conditions.applications.include", ("none",)),
        ("conditions.applications.excludeApplications", ["App-1"], "conditions.applications.exclude", ("app-1",)),
        ("grantControls", None, "grant", None),
        ("grantControls", {"operator": "OR", "builtInControls": []}, "grant", None),
        ("grantControls", {"builtInControls": ["block"]}, "grant", GrantControls("OR", ("block",))),
        (
            "grantControls",
            {"operator": "and", "builtInControls": ["compliantDevice", "domainJoinedDevice"]},
            "grant",
            GrantControls("AND", ("compliantDevice", "domainJoinedDevice")),
        ),
        ("sessionControls", {"disableResilienceDefaults": False}, "persistent_browser", None),
        ("sessionControls.signInFrequency", {}, "sign_in_frequency", None),
        ("sessionControls.signInFrequency", FREQUENCY, "sign_in_frequency", SignInFrequency(HOUR)),
        ("sessionControls.signInFrequency", FREQUENCY | {"value": 23}, "sign_in_frequency", SignInFrequency(23 * HOUR)),
        ("sessionControls.signInFrequency", FREQUENCY | {"type": "days"}, "sign_in_frequency", SignInFrequency(DAY)),
        (
            "sessionControls.signInFrequency",
            FREQUENCY | {"type": "days", "value": 365},
            "sign_in_frequency",
            SignInFrequency(365 * DAY),
        ),
        (
            "sessionControls.signInFrequency",
            FREQUENCY | {"authenticationType": "secondaryAuthentication"},
            "sign_in_frequency",
            SignInFrequency(HOUR, second_factor_only=True),
        ),
        ("sessionControls.signInFrequency", FREQUENCY | {"isEnabled": False}, "sign_in_frequency", None),
        ("sessionControls.persistentBrowser", {"mode": "always", "isEnabled": True}, "persistent_browser", "always"),
        ("sessionControls.persistentBrowser", {"mode": "always", "isEnabled": False}, "persistent_browser", None),
        ("sessionControls.persistentBrowser", {"mode": None, "isEnabled": None}, "persistent_browser", None),
    ],
)
def test_a_field_that_is_good(path: str, value: Any, attribute: str, expected: Any) -> None:
    found: Any = load_changed(path, value) if value is not ... else load(policy()).policies[0]
    for name in attribute.split("."):
        found = getattr(found, name)
    assert found == expected


def test_without_an_id_the_name_is_the_id_and_the_other_way_round() -> None:
    assert load(policy()).policies[0].id == "P"
    assert load(policy(id="x", displayName=...)).policies[0].display_name == "x"


# Fields that are bad: the path, what stands there, what the message says -----------------------------------

USERS, APPS = "conditions.users", "conditions.applications"
GRANT, SESSION = "grantControls", "sessionControls"
RISKY = {"conditions": policy()["conditions"] | {"userRiskLevels": ["high"]}}

BAD = [
    ("displayName", ..., "give a name"),
    ("displayName", 7, "give a text"),
    ("displayName", " ", "give a text that is not blank"),
    ("id", [], "give a text"),
    ("state", ..., "give one of enabled, disabled, enabledForReportingButNotEnforced"),
    ("state", None, "give one of enabled"),
    ("state", "enable", "did you mean enabled?"),
    ("state", True, "give a text"),
    ("deletedDateTime", "2025-01-01T00:00:00Z", "a deleted policy"),
    ("partialEnablementStrategy", {"x": 1}, "leave it out"),
    ("conditions", ..., "say for whom and for what"),
    ("conditions", [], "give an object"),
    ("sessionControl", {"signInFrequency": FREQUENCY}, "did you mean sessionControls?"),
    ("Conditions", {"x": 1}, "did you mean conditions?"),
    # Conditions that can't be judged here
    ("conditions.servicePrincipalRiskLevels", ["high"], "no workload identities"),
    ("conditions.servicePrincipalRiskLevels", ["none"], "no workload identities"),
    ("conditions.agentIdRiskLevels", "high", "no workload identities"),
    ("conditions.clientApplications", {"includeServicePrincipals": ["ServicePrincipalsInMyTenant"]}, "no workload"),
    ("conditions.insiderRiskLevels", "elevated", "insider risk is not known here"),
    ("conditions.authenticationFlows", {"transferMethods": "deviceCodeFlow"}, "the authorization code flow"),
    ("conditions.deviceStates", {"includeStates": ["All"]}, "give devices.deviceFilter"),
    ("conditions.times", {"allTimes": True}, "times of the day"),
    ("conditions.weather", "rain", "there is no such field here: leave it out"),
    ("conditions.userRiskLevel", ["high"], "did you mean userRiskLevels?"),
    # Users
    (USERS, ..., "say whom"),
    (USERS, None, "say whom"),
    (USERS, [], "give an object"),
    (f"{USERS}.includeUsers", ..., "it is for nobody"),
    (f"{USERS}.includeUsers", [], "it is for nobody"),
    (f"{USERS}.includeUsers", "All", 'give a list of texts, as ["one", "two"]'),
    (f"{USERS}.includeUsers", [7], "give a list of texts"),
    (f"{USERS}.includeUsers", [""], "give a list of texts"),
    (f"{USERS}.includeUsers", ["None", "x"], "None stands alone"),
    (f"{USERS}.excludeUsers", ["All"], "All has no place here: give ids, or GuestsOrExternalUsers"),
    (f"{USERS}.includeGroups", ["All"], "All has no place here: give ids"),
    (f"{USERS}.excludeRoles", ["none"], "None has no place here: give ids"),
    (f"{USERS}.excludeUser", [EMERGENCY], "did you mean excludeUsers?"),
    (
        f"{USERS}.includeGuestsOrExternalUsers.guestOrExternalUserTypes",
        "internalGuest,alien",
        "give one of internalGuest",
    ),
    (
        f"{USERS}.includeGuestsOrExternalUsers.externalTenants",
        {"membershipKind": "all"},
        "guestOrExternalUserTypes only",
    ),
    (f"{USERS}.excludeGuestsOrExternalUsers.externalTenants.membershipKind", "some", "give one of all, enumerated"),
    (f"{USERS}.excludeGuestsOrExternalUsers.externalTenants.members", "x", "give a list of texts"),
    # Applications
    (APPS, ..., "say what"),
    (APPS, "All", "give an object"),
    (f"{APPS}.includeApplications", ..., "it is for nothing"),
    (f"{APPS}.includeApplications", ["None", "x"], "None stands alone"),
    (f"{APPS}.excludeApplications", ["All"], "All has no place here"),
    (f"{APPS}.includeUserActions", ["urn:user:eat"], "give one of urn:user:registersecurityinfo"),
    (f"{APPS}.includeAuthenticationContextClassReferences", ["c0"], "give c1 to c99"),
    (f"{APPS}.includeAuthenticationContextClassReferences", ["c100"], "give c1 to c99"),
    (f"{APPS}.includeAuthenticationContextClassReferences", ["gold"], "give c1 to c99"),
    (f"{APPS}.applicationFilter", {"mode": "exclude", "rule": "x"}, "give the app ids"),
    (f"{APPS}.networkAccess", {"x": 1}, "leave the policy out"),
    (f"{APPS}.globalSecureAccess", {"x": 1}, "leave the policy out"),
    # The other conditions
    ("conditions.clientAppTypes", ["web"], "give one of all, browser"),
    ("conditions.clientAppTypes", ["unknownFutureValue"], "give one of all, browser"),
    ("conditions.clientAppTypes", "all", "give a list of texts"),
    ("conditions.userRiskLevels", ["hidden"], "hidden can't be kept here"),
    ("conditions.signInRiskLevels", ["severe"], "give one of none, low, medium, high"),
    ("conditions.platforms.includePlatforms", ["beos"], "give one of all, android, iOS"),
    ("conditions.platforms.excludePlatforms", ["beos"], "give one of all, android, iOS"),
    ("conditions.locations.includeLocations", ["None"], "None has no place here"),
    ("conditions.locations.includeLocations", ["hq"], "there is no named location with this id"),
    ("conditions.devices.includeDevices", ["All"], "give deviceFilter"),
    ("conditions.devices.deviceFilter", {"rule": "device.isCompliant -eq True"}, "give include or exclude"),
    ("conditions.devices.deviceFilter", {"mode": "exclude"}, "give a rule, as"),
    ("conditions.devices.deviceFilter", {"mode": "exclude", "rule": ""}, "give a text that is not blank"),
    ("conditions.devices.deviceFilter", {"mode": "allowed", "rule": "x"}, "give one of include, exclude"),
    (
        "conditions.devices.deviceFilter",
        {"mode": "exclude", "rule": "device.x"},
        "at character 1: there is no device property",
    ),
    # Grant controls
    (GRANT, [], "give an object"),
    (f"{GRANT}.operator", "XOR", "give one of AND, OR"),
    (GRANT, {"builtInControls": ["mfa", "compliantDevice"]}, "give AND (all of them) or OR (one of them)"),
    (f"{GRANT}.builtInControls", ["block", "mfa"], "block stands alone"),
    (f"{GRANT}.builtInControls", ["approvedApplication"], "give compliantDevice"),
    (f"{GRANT}.builtInControls", ["mfa", "compliantApplication"], "give compliantDevice"),
    (f"{GRANT}.builtInControls", ["riskRemediation"], "give mfa and passwordChange"),
    (f"{GRANT}.builtInControls", ["unknownFutureValue"], "give one of block, mfa"),
    (f"{GRANT}.builtInControls", ["MFA!"], "give one of block, mfa"),
    (f"{GRANT}.builtInControls", "mfa", "give a list of texts"),
    (f"{GRANT}.termsOfUse", ["ce580154-086a-40fd-91df-8a60abac81a0"], "there are no terms of use here"),
    (f"{GRANT}.customAuthenticationFactors", ["x"], "give mfa in builtInControls"),
    (f"{GRANT}.authenticationStrength", {"id": "00000000-0000-0000-0000-000000000004"}, "give mfa in builtInControls"),
    (f"{GRANT}.builtInControl", ["block"], "did you mean builtInControls?"),
    (f"{GRANT}.tea", ["x"], "there is no such field here: leave it out"),
    # Session controls
    (SESSION, [], "give an object"),
    (f"{SESSION}.applicationEnforcedRestrictions", {"isEnabled": True}, "leave it out"),
    (f"{SESSION}.cloudAppSecurity", {"isEnabled": True, "cloudAppSecurityType": "blockDownloads"}, "leave it out"),
    (f"{SESSION}.disableResilienceDefaults", True, "leave it out"),
    (f"{SESSION}.secureSignInSession", {"isEnabled": True}, "leave it out"),
    (f"{SESSION}.continuousAccessEvaluation", {"mode": "strictEnforcement"}, "leave it out"),
    (f"{SESSION}.globalSecureAccessFilteringProfile", {"profileId": "x", "isEnabled": True}, "leave it out"),
    (f"{SESSION}.networkAccessSecurity", {"policyId": "x", "isEnabled": True}, "leave it out"),
    (f"{SESSION}.signInFrequencies", FREQUENCY, "did you mean signInFrequency?"),
    (f"{SESSION}.tea", {"isEnabled": True}, "there is no such field here: leave it out"),
    (f"{SESSION}.signInFrequency", True, "give an object"),
    (f"{SESSION}.signInFrequency.isEnabled", "true", "give true or false"),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD)
def test_a_field_that_is_bad(path: str, value: Any, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load([changed(path, value)])
    error = caught.value
    assert error.field.startswith(path)
    assert says in error.problem
    label = "[1]" if path == "displayName" else "P"
    assert str(error).startswith(f"policies: p.json: policy '{label}': {error.field} = ")


@pytest.mark.parametrize(
    ("members", "field", "says"),
    [
        (FREQUENCY | {"isEnabled": None}, "isEnabled", "give true or false"),
        ({"value": 1, "type": "hours"}, "isEnabled", "give true or false"),
        (FREQUENCY | {"value": 0}, "value", "give 1 to 23 hours, or days"),
        (FREQUENCY | {"value": 24}, "value", "give 1 to 23 hours, or days"),
        (FREQUENCY | {"value": -1}, "value", "give 1 to 23 hours"),
        (FREQUENCY | {"value": 366, "type": "days"}, "value", "give 1 to 365 days"),
        (FREQUENCY | {"value": None}, "value", "give 1 to 23 hours"),
        (FREQUENCY | {"value": "4"}, "value", "give a whole number, without quotes"),
        (FREQUENCY | {"value": 1.5}, "value", "give a whole number"),
        (FREQUENCY | {"value": True}, "value", "give a whole number"),
        (FREQUENCY | {"value": 10**6_000}, "value", "give 1 to 23 hours"),
        (FREQUENCY | {"type": None}, "type", "give hours or days"),
        (FREQUENCY | {"type": "minutes"}, "type", "give one of hours, days"),
        (FREQUENCY | {"frequencyInterval": "sometimes"}, "frequencyInterval", "give one of timeBased, everyTime"),
        (FREQUENCY | {"frequencyInterval": "everyTime"}, "value", "everyTime has none"),
        ({"type": "hours", "frequencyInterval": "everyTime", "isEnabled": True}, "type", "everyTime has none"),
        (FREQUENCY | {"authenticationType": "tertiary"}, "authenticationType", "give one of primaryAndSecondary"),
        (FREQUENCY | {"grace": 5}, "grace", "there is no such field here"),
    ],
)
def test_a_sign_in_frequency_that_is_bad(members: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_changed("sessionControls.signInFrequency", members)
    assert caught.value.field == f"sessionControls.signInFrequency.{field}"
    assert says in caught.value.problem


PERSISTENT = {"sessionControls": {"persistentBrowser": {"mode": "never", "isEnabled": True}}}


@pytest.mark.parametrize(
    "applications",
    [
        {"includeApplications": ["app-1"]},
        {"includeApplications": ["Office365"]},
        {"includeApplications": ["None"]},
        {"includeApplications": ["All"], "excludeApplications": ["app-1"]},
        {"includeUserActions": ["urn:user:registerdevice"]},
        {"includeAuthenticationContextClassReferences": ["c1"]},
    ],
)
@pytest.mark.parametrize("mode", ["always", "never"])
def test_a_persistent_browser_session_needs_all_applications(applications: dict[str, Any], mode: str) -> None:
    """Seed: "this control requires to choose “All Cloud Apps” as a condition"."""
    whole = changed("conditions.applications", applications)
    control = {"persistentBrowser": {"mode": mode, "isEnabled": True}}
    with pytest.raises(PolicyError, match=r"conditions\.applications\.includeApplications \[\"All\"\]") as caught:
        load(whole | {"sessionControls": control})
    assert caught.value.field == "sessionControls.persistentBrowser.mode"
    control["persistentBrowser"]["isEnabled"] = False
    assert load(whole | {"sessionControls": control}).policies[0].persistent_browser is None


@pytest.mark.parametrize(
    ("control", "field", "says"),
    [
        ({"mode": "sometimes", "isEnabled": True}, "mode", "give one of always, never"),
        ({"isEnabled": True}, "mode", "give always or never"),
        ({"mode": "never"}, "isEnabled", "give true or false"),
        ({"mode": "never", "isEnabled": 1}, "isEnabled", "give true or false"),
        ({"mode": "never", "isEnabled": True, "days": 5}, "days", "there is no such field here"),
    ],
)
def test_a_persistent_browser_control_that_is_bad(control: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_changed("sessionControls.persistentBrowser", control)
    assert caught.value.field == f"sessionControls.persistentBrowser.{field}"
    assert says in caught.value.problem


PASSWORD = {"operator": "AND", "builtInControls": ["mfa", "passwordChange"]}


@pytest.mark.parametrize(
    ("grant", "conditions", "says"),
    [
        (PASSWORD | {"operator": "OR"}, {}, "goes with mfa and the operator AND"),
        (PASSWORD | {"builtInControls": ["passwordChange"]}, {}, "goes with mfa and the operator AND"),
        (PASSWORD, {"applications": {"includeApplications": ["app-1"]}}, "needs includeApplications"),
        (
            PASSWORD,
            {"applications": {"includeApplications": ["All"], "excludeApplications": ["app-1"]}},
            "needs includeApplications",
        ),
        (PASSWORD, {"userRiskLevels": []}, "needs userRiskLevels"),
        (PASSWORD, {"signInRiskLevels": ["high"]}, "leave signInRiskLevels out"),
        (PASSWORD, {"clientAppTypes": ["browser"]}, "leave clientAppTypes out"),
        (PASSWORD, {"platforms": {"includePlatforms": ["all"]}}, "leave platforms out"),
        (PASSWORD, {"locations": {"includeLocations": ["All"]}}, "leave locations out"),
        (
            PASSWORD,
            {"devices": {"deviceFilter": {"mode": "include", "rule": "device.isCompliant -ne True"}}},
            "leave devices out",
        ),
    ],
)
def test_what_a_password_change_needs(grant: dict[str, Any], conditions: dict[str, Any], says: str) -> None:
    """Graph, conditionalAccessGrantControls: "Special considerations when using passwordChange as a control"."""
    risky = policy()["conditions"] | {"userRiskLevels": ["high"]}
    assert load(policy(conditions=risky, grantControls=PASSWORD)).policies[0].grant == GrantControls(
        "AND", ("mfa", "passwordChange")
    )
    with pytest.raises(PolicyError) as caught:
        load(policy(conditions=risky | conditions, grantControls=grant))
    assert caught.value.field == "grantControls.builtInControls"
    assert says in caught.value.problem


@pytest.mark.parametrize(
    ("conditions", "field", "says"),
    [
        ({"platforms": {"excludePlatforms": ["iOS"]}}, "platforms.includePlatforms", "give all"),
        ({"locations": {"excludeLocations": ["AllTrusted"]}}, "locations.includeLocations", "give All"),
        (
            {"applications": {"includeApplications": ["All"], "includeUserActions": ["urn:user:registerdevice"]}},
            "applications.includeApplications",
            "give one of",
        ),
        (
            {"applications": {"includeAuthenticationContextClassReferences": ["c1"], "excludeApplications": ["x"]}},
            "applications.excludeApplications",
            "it goes with includeApplications only",
        ),
        (
            {
                "users": {
                    "includeGuestsOrExternalUsers": {
                        "guestOrExternalUserTypes": "internalGuest",
                        "externalTenants": {"membershipKind": "enumerated", "members": []},
                    }
                }
            },
            "users.includeGuestsOrExternalUsers.externalTenants.members",
            "enumerated goes with tenant ids",
        ),
        (
            {
                "users": {
                    "includeGuestsOrExternalUsers": {
                        "guestOrExternalUserTypes": "internalGuest",
                        "externalTenants": {"membershipKind": "all", "members": ["x"]},
                    }
                }
            },
            "users.includeGuestsOrExternalUsers.externalTenants.members",
            "all goes without",
        ),
        (
            {
                "users": {
                    "includeGuestsOrExternalUsers": {
                        "guestOrExternalUserTypes": "internalGuest",
                        "externalTenants": {"members": ["x"]},
                    }
                }
            },
            "users.includeGuestsOrExternalUsers.externalTenants.membershipKind",
            "give all or enumerated",
        ),
    ],
)
def test_conditions_that_do_not_go_together(conditions: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(policy(conditions=policy()["conditions"] | conditions))
    assert caught.value.field == f"conditions.{field}"
    assert says in caught.value.problem


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("hq", "there is no named location with this id: put it beside the policies"),
        ("Head Office", f"that is a name: give the id, {OFFICE}"),
        ("00000000-0000-0000-0000-000000000000", "multifactor authentication trusted IPs"),
        ("3d46dbda-8382-466a-856d-eb00cbc6b910", "all compliant network locations"),
    ],
)
@pytest.mark.parametrize("list_name", ["includeLocations", "excludeLocations"])
def test_every_location_that_is_named_must_be_there(named: str, says: str, list_name: str) -> None:
    item = changed("conditions.locations", {"includeLocations": ["All"], list_name: [named]})
    with pytest.raises(PolicyError) as caught:
        load_policies([("p.json", item), ("places.json", PLACES)])
    error = caught.value
    assert (error.file, error.policy, error.field) == ("p.json", "P", f"conditions.locations.{list_name}")
    assert says in error.problem
    item["conditions"]["locations"][list_name] = [OFFICE.upper()]
    assert load_policies([("p.json", item), ("places.json", PLACES)]).policies


def test_a_disabled_policy_is_read_as_strictly() -> None:
    with pytest.raises(PolicyError, match=r"policy 'P': grantControls\.termsOfUse = \['x'\]: there are no terms"):
        load(changed("grantControls.termsOfUse", ["x"]) | {"state": "disabled"})


# What is reported ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "note"),
    [
        (policy(colour="blue"), "p.json: policy 'P': colour: not known, and not used"),
        (policy(colour={"deep": 1}), "p.json: policy 'P': colour: not known, and not used"),
        (policy(lastModifiedDateTime="x"), "p.json: policy 'P': lastModifiedDateTime: not known, and not used"),
        (changed("conditions.weather", None), "p.json: policy 'P': conditions.weather: not known, and not used"),
        (changed("conditions.weather", []), "p.json: policy 'P': conditions.weather: not known, and not used"),
        (
            changed("sessionControls.tea", {"isEnabled": False}),
            "p.json: policy 'P': sessionControls.tea: not known, and not used",
        ),
        (
            changed("conditions.users.includeUser", []),
            "p.json: policy 'P': conditions.users.includeUser: not known, and not used; did you mean includeUsers?",
        ),
        (
            changed("sessionControls.signInFrequency", {"isEnabled": False, "colour": 1}),
            "p.json: policy 'P': sessionControls.signInFrequency.colour: not known, and not used",
        ),
        (
            changed("conditions.applications.includeApplications", ["Office365"]),
            "p.json: policy 'P': conditions.applications.includeApplications: Office365 means Microsoft's "
            "applications, and none here",
        ),
        (
            changed("conditions.applications.excludeApplications", ["MicrosoftAdminPortals"]),
            "p.json: policy 'P': conditions.applications.excludeApplications: MicrosoftAdminPortals means Microsoft's "
            "applications, and none here",
        ),
        (
            changed("conditions.applications", {"includeUserActions": ["urn:user:registersecurityinfo"]}),
            "p.json: policy 'P': conditions.applications.includeUserActions: sign-ins to apps have no such action: the "
            "policy applies to none here",
        ),
        (policy(grantControls=None), "p.json: policy 'P': it has no control that is configured, so it does nothing"),
        ({"value": [policy()], "total": 1}, "p.json: total: not known, and not used"),
        ({"policies": [policy()], "tenant": "contoso"}, "p.json: tenant: not known, and not used"),
    ],
)
def test_what_is_reported(document: Any, note: str) -> None:
    loaded = load(document)
    assert loaded.notes == (note,)
    assert len(loaded.policies) == 1


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_means_nothing_is_passed_over(name: str) -> None:
    assert load(policy(**{name: "x"})) == load(policy())


def test_a_user_action_is_kept_as_it_is() -> None:
    found = load_changed("conditions.applications", {"includeUserActions": ["urn:user:registerDevice"]})
    assert found.conditions.applications == Applications(user_actions=("urn:user:registerdevice",))


# Any JSON -----------------------------------------------------------------------------------------------


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to everything in some JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [way for name, item in inner for way in paths(item, (*path, name))]


WHOLE = {"policies": EXPORT["value"], "namedLocations": PLACES["value"]}
PATHS = paths(WHOLE)

# Every name that Graph has, and some that it doesn't.
ALL_NAMES = {str(way[-1]) for way in PATHS if way} | {path.rpartition(".")[2] for path, _, _ in BAD}
words = st.sampled_from(sorted(ALL_NAMES))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | words | st.just(10**4_000)
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def refused_or_loaded(document: Any) -> PolicyError | PolicySet:
    try:
        return load(document)
    except PolicyError as error:
        return error


@given(any_json)
def test_any_json_is_policies_or_a_policy_error(document: Any) -> None:
    found = refused_or_loaded(document)
    assert isinstance(found, PolicySet) or "p.json" in str(found)


@settings(max_examples=300)
@given(st.sampled_from(PATHS), any_json)
def test_an_export_in_which_anything_is_changed(path: tuple[str | int, ...], value: Any) -> None:
    document: Any = {"": copy.deepcopy(WHOLE)}
    inner, last = document, "" if not path else path[-1]
    for name in ("", *path[:-1]) if path else ():
        inner = inner[name]
    inner[last] = value
    found = refused_or_loaded(document[""])
    if isinstance(found, PolicySet):
        assert len(str(found.notes)) < 5_000
    else:
        assert "p.json" in str(found)
        assert len(str(found)) < 2_000


@pytest.mark.parametrize("path", ["conditions", "conditions.times", "sessionControls.tea", "colour", "displayName"])
@pytest.mark.parametrize("kind", ["list", "object"])
def test_json_of_any_depth(path: str, kind: str) -> None:
    deep: Any = None
    for _ in range(900):
        deep = [deep] if kind == "list" else {"x": deep}
    found = refused_or_loaded(changed(path, deep))
    assert isinstance(found, PolicyError) or path == "colour"


@given(st.sampled_from(["", "conditions", "conditions.users", "grantControls", "sessionControls"]), st.text(), any_json)
def test_nothing_is_ignored_in_silence(where: str, name: str, value: Any) -> None:
    """Whatever is added to a policy stops the load or is reported by its name."""
    assume(name not in ALL_NAMES and "@odata." not in name)
    whole: Any = changed("sessionControls", {"disableResilienceDefaults": None})
    inner = whole
    for step in where.split(".") if where else ():
        inner = inner[step]
    inner[name] = value
    path = f"{where}.{name}" if where else name
    found = refused_or_loaded(whole)
    if isinstance(found, PolicyError):
        assert found.value is value
        assert where or "did you mean" in found.problem
    else:
        assert len(found.notes) == 1
        assert found.notes[0].startswith("p.json: policy 'P': ")
        assert not (name.isprintable() and name.strip()) or f" {path}: not known, and not used" in found.notes[0]

"""Named locations: which address and which country is in which, and what is not known."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from kmsi_middleware.rules.conditional_access.evaluate import evaluate
from kmsi_middleware.rules.conditional_access.facts import Facts
from kmsi_middleware.rules.conditional_access.load import PolicyError, load_policies
from kmsi_middleware.rules.conditional_access.locations import contains
from kmsi_middleware.rules.conditional_access.policy import (
    Applications,
    Conditions,
    GrantControls,
    Locations,
    NamedLocation,
    Policy,
    PolicySet,
    Users,
)


def ranges(name: str, *texts: str, trusted: bool = False) -> NamedLocation:
    networks = tuple(ipaddress.ip_network(text) for text in texts)
    return NamedLocation(id=name, name=name, trusted=trusted, ranges=networks)


def countries(name: str, *codes: str, unknown: bool = False) -> NamedLocation:
    return NamedLocation(id=name, name=name, countries=codes, unknown_countries=unknown)


OFFICE = ranges("office", "192.0.2.0/24", "2001:db8:1::/48", trusted=True)
BRANCH = ranges("branch", "198.51.100.0/25", trusted=True)
CAFE = ranges("cafe", "203.0.113.7/32")
EUROPE = countries("europe", "de", "fr")
NOWHERE = countries("nowhere", "kp", unknown=True)
NOT_FOUND = countries("not-found", unknown=True)
ALL_LOCATIONS = (OFFICE, BRANCH, CAFE, EUROPE, NOWHERE, NOT_FOUND)


@pytest.mark.parametrize(
    ("location", "address", "expected"),
    [
        (OFFICE, "192.0.2.0", True),
        (OFFICE, "192.0.2.255", True),
        (OFFICE, "192.0.1.255", False),
        (OFFICE, "192.0.3.0", False),
        (OFFICE, "2001:db8:1::", True),
        (OFFICE, "2001:DB8:1:ffff:ffff:ffff:ffff:ffff", True),
        (OFFICE, "2001:db8:2::", False),
        (OFFICE, "::ffff:192.0.2.1", True),
        (OFFICE, "::ffff:c000:201", True),
        (OFFICE, "::ffff:192.0.3.1", False),
        (OFFICE, "::192.0.2.1", False),
        (OFFICE, "2001:db8:1::1%eth0", True),
        (CAFE, "203.0.113.7", True),
        (CAFE, "203.0.113.8", False),
        (OFFICE, None, None),
        (OFFICE, "", None),
        (OFFICE, "unknown", None),
        (OFFICE, "192.0.2.1:443", None),
        (OFFICE, "192.0.2.01", None),
        (OFFICE, "192.0.2.1, 10.0.0.1", None),
    ],
)
@pytest.mark.parametrize("country", [None, "", "de"])
def test_which_address_is_in_a_range(
    location: NamedLocation, address: str | None, expected: bool | None, country: str | None
) -> None:
    assert contains(location, address, country) is expected


@pytest.mark.parametrize(
    ("location", "country", "expected"),
    [
        (EUROPE, "de", True),
        (EUROPE, "DE", True),
        (EUROPE, "us", False),
        (EUROPE, "", False),
        (EUROPE, None, None),
        (NOWHERE, "kp", True),
        (NOWHERE, "us", False),
        (NOWHERE, "", True),
        (NOWHERE, None, None),  # nobody has looked: that is not "belongs to no country"
        (NOT_FOUND, "us", False),
        (NOT_FOUND, "", True),
        (NOT_FOUND, None, None),
    ],
)
@pytest.mark.parametrize("address", [None, "192.0.2.1"])
def test_which_country_is_in_a_location(
    location: NamedLocation, country: str | None, expected: bool | None, address: str | None
) -> None:
    assert contains(location, address, country) is expected


def applies(
    condition: Locations, locations: tuple[NamedLocation, ...], address: str | None, country: str | None
) -> bool | None:
    """Whether a policy for everybody and everything with this condition applies; ``None``: for want of a fact."""
    conditions = Conditions(Users(include=("all",)), Applications(include=("all",)), locations=condition)
    policies = PolicySet((Policy("p", "P", "enabled", conditions, GrantControls("OR", ("mfa",))),), locations)
    (verdict,) = evaluate(policies, Facts(address=address, country=country)).verdicts
    assert verdict.reason == ("notSet" if verdict.applies else "location")
    return None if verdict.missing else verdict.applies


INSIDE, OUTSIDE = "192.0.2.1", "203.0.113.9"


@pytest.mark.parametrize(
    ("include", "exclude", "address", "country", "expected"),
    [
        (("all",), (), INSIDE, None, True),
        (("all",), (), None, None, True),
        (("all",), ("alltrusted",), INSIDE, None, False),
        (("all",), ("alltrusted",), "198.51.100.1", None, False),
        (("all",), ("alltrusted",), "198.51.100.200", None, True),
        (("all",), ("alltrusted",), "203.0.113.7", None, True),  # named, and not trusted
        (("all",), ("alltrusted",), None, None, None),
        (("all",), ("cafe", "europe"), "203.0.113.7", None, False),  # the address decides, whatever the country
        (("all",), ("cafe", "europe"), OUTSIDE, None, None),
        (("all",), ("cafe", "europe"), OUTSIDE, "us", True),
        (("all",), ("cafe", "europe"), OUTSIDE, "fr", False),
        (("alltrusted",), (), INSIDE, None, True),
        (("alltrusted",), (), OUTSIDE, None, False),
        (("alltrusted",), (), None, None, None),
        (("alltrusted",), ("office",), INSIDE, None, False),
        (("alltrusted",), ("europe",), OUTSIDE, None, False),  # not included: the country is not needed
        (("alltrusted",), ("europe",), INSIDE, None, None),
        (("europe",), (), None, "de", True),
        (("europe",), (), None, None, None),
        (("europe",), ("office",), INSIDE, None, False),
        (("europe",), ("office",), OUTSIDE, None, None),
        (("europe", "cafe"), (), OUTSIDE, "us", False),
        (("europe", "cafe"), (), "203.0.113.7", None, True),
        (("gone",), (), INSIDE, "de", None),
        (("all",), ("gone",), INSIDE, "de", None),
    ],
)
def test_a_location_condition(
    include: tuple[str, ...], exclude: tuple[str, ...], address: str | None, country: str | None, expected: bool | None
) -> None:
    assert applies(Locations(include, exclude), ALL_LOCATIONS, address, country) is expected


def test_where_nothing_is_trusted_nobody_is_in_a_trusted_place() -> None:
    assert applies(Locations(("alltrusted",)), (CAFE, EUROPE), None, None) is False


# From Graph's JSON: two of Microsoft's own examples ------------------------------------------------------

MICROSOFTS = {
    "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#conditionalAccess/namedLocations",
    "value": [
        {
            "@odata.type": "#microsoft.graph.countryNamedLocation",
            "id": "1b7f0916-7677-40d8-97a1-d606f4ed8fcf",
            "displayName": "Country named location",
            "modifiedDateTime": "2018-09-10T16:54:53.7238848Z",
            "createdDateTime": "2018-09-10T16:54:53.7238848Z",
            "countriesAndRegions": ["US", "CA"],
            "includeUnknownCountriesAndRegions": False,
        },
        {
            "@odata.type": "#microsoft.graph.ipNamedLocation",
            "id": "05239353-9117-4D29-A6A1-89724CB61B8C",
            "displayName": "Trusted IPv6 named location",
            "modifiedDateTime": "2019-09-16T00:47:36.4967092Z",
            "createdDateTime": "2019-09-15T21:53:34.5001162Z",
            "isTrusted": True,
            "ipRanges": [
                {
                    "@odata.type": "#microsoft.graph.iPv6CidrRange",
                    "cidrAddress": "2001:4898:80e8:7:d92a:7695:fda1:9d62/48",
                },
                {"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "127.126.125.0/24"},
            ],
        },
    ],
}


def test_microsofts_examples() -> None:
    loaded = load_policies([("locations.json", MICROSOFTS)])
    assert loaded.notes == ()
    assert loaded.locations == (
        NamedLocation(id="1b7f0916-7677-40d8-97a1-d606f4ed8fcf", name="Country named location", countries=("us", "ca")),
        NamedLocation(
            id="05239353-9117-4d29-a6a1-89724cb61b8c",
            name="Trusted IPv6 named location",
            trusted=True,
            ranges=(ipaddress.ip_network("2001:4898:80e8::/48"), ipaddress.ip_network("127.126.125.0/24")),
        ),
    )


def read(**members: Any) -> NamedLocation:
    """One location from JSON, a good range of addresses but for ``members``; those ``...`` are left out."""
    item = {"id": "HQ", "displayName": "Head Office", "ipRanges": [{"cidrAddress": "192.0.2.0/24"}]} | members
    item = {name: value for name, value in item.items() if value is not ...}
    return load_policies([("places.json", {"namedLocations": [item]})]).locations[0]


def test_a_location_by_hand() -> None:
    assert read() == NamedLocation("hq", "Head Office", ranges=(ipaddress.ip_network("192.0.2.0/24"),))
    assert read(id=...).id == "head office"
    assert read(displayName=...).name == "hq"
    assert read(isTrusted=True).trusted is True
    assert read(isTrusted=None).trusted is False
    assert read(ipRanges=[{"cidrAddress": "10.0.0.0/8"}]).ranges == (ipaddress.ip_network("10.0.0.0/8"),)
    assert read(ipRanges=[{"cidrAddress": "192.0.2.9"}]).ranges == (ipaddress.ip_network("192.0.2.9/32"),)
    found = read(ipRanges=..., includeUnknownCountriesAndRegions=True, countryLookupMethod="clientIpAddress")
    assert (found.countries, found.unknown_countries) == ((), True)


@pytest.mark.parametrize(
    ("members", "field", "says"),
    [
        ({"id": ..., "displayName": ...}, "displayName", "give a name, or an id"),
        ({"id": 7}, "id", "give a text"),
        ({"id": " "}, "id", "give a text that is not blank"),
        ({"id": "AllTrusted"}, "id", "that word has a meaning"),
        ({"id": ..., "displayName": "All"}, "displayName", "that word has a meaning"),
        ({"deletedDateTime": "2024-01-01T00:00:00Z"}, "deletedDateTime", "a deleted location"),
        ({"@odata.type": "#microsoft.graph.compliantNetworkNamedLocation"}, "@odata.type", "leave it out"),
        ({"ipRanges": ...}, "", "'Head Office' has neither ipRanges nor countriesAndRegions"),
        ({"ipRanges": None}, "ipRanges", "it would hold nothing"),
        ({"ipRanges": []}, "ipRanges", "it would hold nothing"),
        ({"ipRanges": ..., "countriesAndRegions": []}, "ipRanges", "it would hold nothing"),
        ({"ipRanges": "192.0.2.0/24"}, "ipRanges", "give a list"),
        ({"ipRanges": ["192.0.2.0/24"]}, "ipRanges[0]", "give an object"),
        ({"ipRanges": [{"cidrAddress": "192.0.2.0/24"}, {}]}, "ipRanges[1].cidrAddress", "give a range, as"),
        ({"ipRanges": [{"cidrAddress": "192.0.2.0/33"}]}, "ipRanges[0].cidrAddress", "give a range, as"),
        ({"ipRanges": [{"cidrAddress": 5}]}, "ipRanges[0].cidrAddress", "give a text"),
        ({"ipRanges": [{"cidrAddress": "0.0.0.0/0"}]}, "ipRanges[0].cidrAddress", "a prefix of /8 or longer"),
        ({"ipRanges": [{"cidrAddress": "::ffff:192.0.2.0/120"}]}, "ipRanges[0].cidrAddress", "write it as the IPv4"),
        ({"ipRanges": [{"cidrAddress": "::/7"}]}, "ipRanges[0].cidrAddress", "a prefix of /8 or longer"),
        (
            {"ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "::1/128"}]},
            "ipRanges[0].cidrAddress",
            "that is IPv6",
        ),
        (
            {"ipRanges": [{"@odata.type": "#microsoft.graph.iPv4Range", "lowerAddress": "192.0.2.1"}]},
            "ipRanges[0].@odata.type",
            "give an iPv4CidrRange",
        ),
        ({"ipRanges": [{"cidrAddress": "192.0.2.0/24", "x": 1}]}, "ipRanges[0].x", "no such field"),
        ({"isTrusted": "true"}, "isTrusted", "give true or false, without quotes"),
        ({"countriesAndRegions": ["DE"]}, "countriesAndRegions", "not both"),
        ({"includeUnknownCountriesAndRegions": True}, "countriesAndRegions", "not both"),
        ({"ipRanges": ..., "countriesAndRegions": ["DEU"]}, "countriesAndRegions", "two letters"),
        ({"ipRanges": ..., "countriesAndRegions": "DE"}, "countriesAndRegions", "give a list of texts"),
        ({"ipRanges": ..., "countriesAndRegions": ["DE"], "isTrusted": True}, "isTrusted", "only ranges"),
        ({"countryLookupMethod": "authenticatorAppGps"}, "countryLookupMethod", "give clientIpAddress"),
        ({"countryLookupMethod": "phone"}, "countryLookupMethod", "one of clientIpAddress"),
        ({"istrusted": True}, "istrusted", "did you mean isTrusted?"),
    ],
)
def test_a_location_that_can_not_be_kept(members: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(**members)
    assert (caught.value.file, caught.value.field) == ("places.json", field or "namedLocations")
    assert says in caught.value.problem
    assert "places.json" in str(caught.value)
    if "." not in field and field and {"id", "displayName"}.isdisjoint(members):
        assert "named location 'Head Office'" in str(caught.value)


def test_what_is_not_known_of_a_location_is_reported() -> None:
    item = {"id": "hq", "ipRanges": [{"cidrAddress": "192.0.2.0/24"}], "colour": "blue"}
    loaded = load_policies([("places.json", item)])
    assert loaded.notes == ("places.json: named location 'hq': colour: not known, and not used",)


def test_two_locations_of_the_same_id() -> None:
    item = {"id": "hq", "ipRanges": [{"cidrAddress": "192.0.2.0/24"}]}
    with pytest.raises(PolicyError, match=r"b.json: named location 'HQ': id = 'HQ': a.json has a location"):
        load_policies([("a.json", item), ("b.json", item | {"id": "HQ"})])

"""Named locations: ranges of addresses, which may be trusted, and countries.

1. An address that came as IPv4 in IPv6 (``::ffff:192.0.2.1``) is the IPv4 address.
2. A country is known (``us``), known not to be one (``""``: looked up, and the address belongs to none), or not known
   (``None``: nobody looked it up). ``includeUnknownCountriesAndRegions`` is about the second case alone: not having
   looked is no answer, and never lets anybody through.
3. Only ranges of addresses can be trusted.

Source: Graph ``ipNamedLocation``, ``countryNamedLocation``; Microsoft Entra, "Conditional Access: Network assignment".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from .policy import ALL, ALL_TRUSTED, NamedLocation
from .reading import Members

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

WIDEST = 8
"""The shortest prefix that a range may have, as in Entra."""
RESERVED = {ALL, ALL_TRUSTED, "none"}
KNOWN_IDS: Mapping[str, str] = {
    "00000000-0000-0000-0000-000000000000": "the multifactor authentication trusted IPs: give an ipNamedLocation with "
    "this id and their ranges",
    "3d46dbda-8382-466a-856d-eb00cbc6b910": "all compliant network locations, of which nothing is known here",
}
"""Ids that Entra knows without a named location."""

_TELLING = {"ipRanges", "countriesAndRegions", "includeUnknownCountriesAndRegions"}
_FIELDS_IGNORED = ("createdDateTime", "modifiedDateTime")


# Whether an address is there ----------------------------------------------------------------------------


def contains(location: NamedLocation, address: str | None, country: str | None) -> bool | None:
    """Whether the location holds the address, or the country that it belongs to; ``None``: not known (rule 2, or
    an address that is none). ``country``: ISO 3166-1 alpha-2, in any case. Never raises."""
    if location.ranges:
        parsed = _parsed(address)
        return None if parsed is None else any(parsed in network for network in location.ranges)
    if country is None:
        return None
    return country.lower() in location.countries if country else location.unknown_countries


def _parsed(address: str | None) -> Address | None:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


# From Graph's JSON --------------------------------------------------------------------------------------


def is_location(item: Mapping[str, object]) -> bool:
    """Whether a JSON object means to be a named location: by its ``@odata.type``, or by its members."""
    kind = item.get("@odata.type")
    if isinstance(kind, str) and kind.lower().endswith("namedlocation"):
        return True
    return kind is None and not item.keys().isdisjoint(_TELLING)


def read_location(members: Members) -> NamedLocation:
    """A named location. Raises :class:`.reading.PolicyError`. Without an ``id``, as in files written by hand, its
    name is its id."""
    kind = str(members.value.get("@odata.type") or "").rpartition(".")[2]
    if kind.lower() not in ("", "ipnamedlocation", "countrynamedlocation"):
        raise members.refuse(
            "@odata.type", "only ipNamedLocation and countryNamedLocation are known here: leave it out"
        )
    name = members.text("displayName")
    location_id = (members.text("id") or name or "").strip().lower()
    if not location_id:
        raise members.refuse("displayName", "give a name, or an id")
    if location_id in RESERVED:
        raise members.refuse("displayName" if members.value.get("id") is None else "id", "that word has a meaning")
    if members.take("deletedDateTime") is not None:
        raise members.refuse("deletedDateTime", "a deleted location: leave it out of the file")
    members.pass_over(*_FIELDS_IGNORED)
    ranges = _ranges(members)
    countries = tuple(code.lower() for code in members.texts("countriesAndRegions"))
    for code in countries:
        if not re.fullmatch("[a-z]{2}", code):
            raise members.refuse("countriesAndRegions", "give ISO 3166-1 codes of two letters, as DE")
    trusted = members.flag("isTrusted") or False
    unknown = members.flag("includeUnknownCountriesAndRegions") or False
    method = members.word("countryLookupMethod", ("clientIpAddress", "authenticatorAppGps"))
    if method == "authenticatorAppGps":
        raise members.refuse("countryLookupMethod", "there is no Authenticator app here: give clientIpAddress")
    if ranges and (countries or unknown):
        raise members.refuse("countriesAndRegions", "give ranges of addresses or countries, not both")
    if not (ranges or countries or unknown):
        missing = "countriesAndRegions" if kind.lower().startswith("country") else "ipRanges"
        raise members.refuse(missing, "it would hold nothing: give at least one")
    if trusted and not ranges:
        raise members.refuse("isTrusted", "only ranges of addresses can be trusted")
    members.done(binding=False)
    return NamedLocation(
        id=location_id,
        name=name or location_id,
        trusted=trusted,
        ranges=ranges,
        countries=countries,
        unknown_countries=unknown,
    )


def _ranges(members: Members) -> tuple[Network, ...]:
    value = members.take("ipRanges")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise members.refuse("ipRanges", 'give a list, as [{"cidrAddress": "192.0.2.0/24"}]')
    return tuple(
        _range(
            Members(
                item,
                members.notes,
                file=members.file,
                policy=members.policy,
                kind=members.kind,
                path=members.at(f"ipRanges[{number}]"),
            )
        )
        for number, item in enumerate(value)
    )


def _range(members: Members) -> Network:
    kind = str(members.value.get("@odata.type") or "").rpartition(".")[2].lower()
    if kind not in ("", "ipv4cidrrange", "ipv6cidrrange"):
        raise members.refuse("@odata.type", "give an iPv4CidrRange or an iPv6CidrRange")
    text = members.text("cidrAddress")
    try:
        # Graph keeps what was typed, bits behind the prefix included.
        network = ipaddress.ip_network(text or "", strict=False)
    except ValueError:
        raise members.refuse("cidrAddress", "give a range, as 192.0.2.0/24 or 2001:db8::/32") from None
    if kind and kind[3] != str(network.version):
        raise members.refuse("cidrAddress", f"that is IPv{network.version}, and @odata.type says otherwise")
    if network.prefixlen < WIDEST:
        raise members.refuse("cidrAddress", f"too wide to tell anybody apart: give a prefix of /{WIDEST} or longer")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise members.refuse("cidrAddress", "write it as the IPv4 range that it is")
    members.done()
    return network

"""The country of an address, from a MaxMind database that the test writes itself."""

from __future__ import annotations

import ipaddress
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from kmsi_middleware.edges.countries import Countries
from kmsi_middleware.vocabulary.errors import SettingsError

GERMANY = {"country": {"iso_code": "DE", "names": {"en": "Germany"}}, "registered_country": {"iso_code": "US"}}
RECORDS: dict[str, Any] = {
    "192.0.2.0/24": GERMANY,
    "198.51.100.0/24": {"country": {"iso_code": "FR"}},
    "203.0.113.0/24": {"registered_country": {"iso_code": "US"}},
    "2001:db8::/32": GERMANY,
}


def encoded(value: Any) -> bytes:
    """The data section's format: a control byte of type and size, then the content."""
    if isinstance(value, dict):
        return bytes([7 << 5 | len(value)]) + b"".join(encoded(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return bytes([len(value), 11 - 7]) + b"".join(map(encoded, value))
    if isinstance(value, bytes):
        return value  # encoded already
    content = str(value).encode()
    assert len(content) < 29
    return bytes([2 << 5 | len(content)]) + content


def uint16(number: int) -> bytes:
    return bytes([5 << 5 | 2]) + struct.pack(">H", number)


def uint32(number: int) -> bytes:
    return bytes([6 << 5 | 4]) + struct.pack(">I", number)


def uint64(number: int) -> bytes:
    return bytes([8, 9 - 7]) + struct.pack(">Q", number)


def database(path: Path, records: dict[str, Any], kind: str = "GeoLite2-Country") -> Path:
    """Write an IPv6 tree with records of 24 bits; IPv4 lies below ``::/96``."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for text, record in records.items():
        network = ipaddress.ip_network(text)
        length = network.prefixlen + (96 if network.version == 4 else 0)
        bits = f"{int(network.network_address):0128b}"[:length]
        node = nodes[0]
        for bit in bits[:-1]:
            if node[int(bit)] is None:
                nodes.append([None, None])
                node[int(bit)] = len(nodes) - 1
            node = nodes[node[int(bit)]]
        node[int(bits[-1])] = ("data", len(data))
        data += encoded(record)

    def pointer(slot: Any) -> bytes:
        number = len(nodes) if slot is None else slot if isinstance(slot, int) else len(nodes) + 16 + slot[1]
        return int(number).to_bytes(3, "big")

    metadata = {
        "node_count": uint32(len(nodes)),
        "record_size": uint16(24),
        "ip_version": uint16(6),
        "database_type": kind,
        "languages": ["en"],
        "binary_format_major_version": uint16(2),
        "binary_format_minor_version": uint16(0),
        "build_epoch": uint64(1_700_000_000),
        "description": {"en": "a test"},
    }
    tree = b"".join(pointer(slot) for node in nodes for slot in node)
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encoded(metadata))
    return path


@pytest.fixture(scope="module")
def countries(tmp_path_factory: pytest.TempPathFactory) -> Countries:
    return Countries(database(tmp_path_factory.mktemp("geo") / "countries.mmdb", RECORDS))


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("192.0.2.7", "DE"),
        ("::ffff:192.0.2.7", "DE"),
        ("198.51.100.255", "FR"),
        ("2001:db8::1", "DE"),
        ("2001:db8::1%eth0", "DE"),
        ("203.0.113.1", ""),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("", None),
        (None, None),
        ("example.com", None),
        ("192.0.2.7:443", None),
        ("192.0.2.007", None),
        ("%", None),
    ],
)
def test_the_country_of_an_address(countries: Countries, address: str | None, country: str | None) -> None:
    assert countries.country(address) == country


@pytest.mark.parametrize("kind", ["GeoIP2-City", "GeoIP2-Enterprise", "DBIP-Country-Lite"])
def test_databases_that_tell_countries(tmp_path: Path, kind: str) -> None:
    assert Countries(str(database(tmp_path / "c.mmdb", RECORDS, kind))).country("192.0.2.7") == "DE"


def test_a_database_that_tells_none(tmp_path: Path) -> None:
    path = database(
        tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": uint32(64_496)}}, "GeoLite2-ASN"
    )
    with pytest.raises(SettingsError, match=r"country_database = .*'GeoLite2-ASN' tells no countries"):
        Countries(path)


def test_what_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"country_database = '.*nowhere\.mmdb': no such file"):
        Countries(tmp_path / "nowhere.mmdb")
    (tmp_path / "text.mmdb").write_text("Germany")
    (tmp_path / "empty.mmdb").write_text("")
    for name in ("text.mmdb", "empty.mmdb", "."):
        with pytest.raises(SettingsError, match="this is no MaxMind database"):
            Countries(tmp_path / name)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(SettingsError, match=r"install kmsi-middleware\[geo\]"):
        Countries(tmp_path / "c.mmdb")


def test_a_database_that_breaks_later_tells_nothing(countries: Countries, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def get(self, _: object) -> object:
            raise countries._broken("the tree is corrupt")

    monkeypatch.setattr(countries, "_reader", Broken())
    assert countries.country("192.0.2.7") is None

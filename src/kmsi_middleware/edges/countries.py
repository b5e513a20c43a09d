"""The country of an address, from a MaxMind database (the extra ``geo``)."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..vocabulary.errors import SettingsError

if TYPE_CHECKING:
    from maxminddb import Reader


class Countries:
    """A MaxMind database (GeoLite2 or GeoIP2; Country, City or Enterprise), in memory until the process ends.

    Raises :class:`SettingsError` if the package ``maxminddb`` or the file is missing, or if the file is no database
    that tells countries.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        shown = os.fspath(path)
        try:
            import maxminddb
        except ImportError:
            raise SettingsError(
                "country_database", shown, "reading it needs a package: install kmsi-middleware[geo]"
            ) from None
        try:
            self._reader: Reader = maxminddb.open_database(Path(shown).expanduser())
            kind = self._reader.metadata().database_type
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            problem = "this is no MaxMind database"
            if isinstance(error, OSError):
                problem = (error.strerror or str(error)).lower()
            raise SettingsError("country_database", shown, problem) from None
        if not any(word in kind for word in ("Country", "City", "Enterprise")):
            raise SettingsError("country_database", shown, f"a database of the kind {kind!r} tells no countries")
        self._broken = maxminddb.InvalidDatabaseError

    def country(self, address: str | None) -> str | None:
        """The country of an address as :attr:`.facts.Facts.country` has it: ISO 3166-1 alpha-2 in capitals; ``""``
        if the address belongs to none; ``None`` if it is no address, or the database can't tell. Raises nothing."""
        try:
            parsed = ipaddress.ip_address((address or "").partition("%")[0])
            mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
            record = self._reader.get(mapped or parsed)
        except (ValueError, self._broken):
            return None
        country = record.get("country") if isinstance(record, dict) else None
        code = country.get("iso_code") if isinstance(country, dict) else None
        return code.upper() if isinstance(code, str) else ""

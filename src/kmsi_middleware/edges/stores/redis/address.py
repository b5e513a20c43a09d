"""Where a Redis or Valkey server is: the spellings of the setting ``store``, read without importing redis-py.

==========================================================  ==================================================
``redis://[USER:PASSWORD@]HOST[:6379][/DB]``                one server
``redis+sentinel://[…@]HOST[:26379],HOST…/SERVICE[/DB]``    the primary that these Sentinels name
``redis+cluster://[…@]HOST[:6379],HOST…``                   a Redis Cluster, found from these members
==========================================================  ==================================================

``rediss`` in place of ``redis`` is the same over TLS. Options follow after ``?``: ``prefix`` of all keys
(``kmsi:``), ``sentinel_username`` and ``sentinel_password``, and for TLS ``ssl_ca_certs``, ``ssl_certfile``,
``ssl_keyfile`` (files) and ``ssl_check_hostname``, as redis-py has them. Whatever else a user name, a password or a
value contains is percent-encoded, as in any URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from ....vocabulary.addresses import without_password
from ....vocabulary.errors import SettingsError
from ....vocabulary.records import frozen

PREFIX = "kmsi:"
_PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SPELLINGS = (
    "give redis://HOST:6379/0, redis+sentinel://HOST:26379,HOST:26379/SERVICE or redis+cluster://HOST:6379,HOST:6379; "
    "rediss is over TLS"
)

_OPTIONS = (
    "its options are prefix; over TLS (rediss) ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_check_hostname; "
    "for Sentinels sentinel_username, sentinel_password"
)


@frozen
class Address:
    """What the setting says. ``shown`` is for messages: no password is in it."""

    kind: Literal["single", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    tls: Mapping[str, Any] | None = None
    """Options of TLS, by redis-py's names; ``None`` without TLS."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    service: str = ""
    """What the Sentinels call the primary."""
    prefix: str = PREFIX
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    shown: str = ""


def read(text: str) -> Address:
    """The address that a text spells. Raises :class:`SettingsError` with what would work."""
    found = re.fullmatch(r"(redis|rediss)(?:\+(sentinel|cluster))?://(?:(.*)@)?([^@/?#]*)([^@?#]*)(?:\?([^#]*))?", text)
    if found is None:
        raise _refused(text, _SPELLINGS)
    scheme, kind, user, hosts, path, query = found.groups(default="")
    kind = kind or "single"
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    username, _, password = user.partition(":")
    service, database = _path(text, kind, path)
    is_sentinel = kind == "sentinel"
    return Address(
        kind=kind,  # type: ignore[arg-type]
        hosts=_hosts(text, kind, hosts),
        username=unquote(username) or None,
        password=unquote(password) or None,
        database=database,
        service=service,
        prefix=options.pop("prefix", PREFIX),
        sentinel_username=(options.pop("sentinel_username", "") or None) if is_sentinel else None,
        sentinel_password=(options.pop("sentinel_password", "") or None) if is_sentinel else None,
        tls=_tls(text, options, scheme == "rediss"),
        shown=without_password(text).partition("?")[0],
    )


def _refused(text: str, problem: str) -> SettingsError:
    return SettingsError("store", without_password(text), problem)


def _hosts(text: str, kind: str, hosts: str) -> tuple[tuple[str, int], ...]:
    found = []
    for host in hosts.split(","):
        parts = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", host)
        if parts is None or not 0 <= int(parts[3] or 0) < 65_536:
            raise _refused(text, _SPELLINGS)
        found.append((parts[1] or parts[2], int(parts[3] or _PORTS[kind])))
    if kind == "single" and len(found) > 1:
        raise _refused(text, "several hosts go with redis+sentinel:// or redis+cluster:// only")
    return tuple(found)


def _path(text: str, kind: str, path: str) -> tuple[str, int]:
    """The service's name and the database's number."""
    service, database = "", path.removeprefix("/")
    if kind == "sentinel":
        service, _, database = database.partition("/")
        if not service:
            raise _refused(text, "name the service that the Sentinels watch: redis+sentinel://HOST:26379/SERVICE")
    if not re.fullmatch(r"[0-9]{0,5}", database):
        raise _refused(text, f"the database is a number, as 0. {_SPELLINGS}")
    if kind == "cluster" and int(database or 0) != 0:
        raise _refused(text, "a Redis Cluster has database 0 only: leave it out")
    return unquote(service), int(database or 0)


def _tls(text: str, options: Mapping[str, str], is_tls: bool) -> Mapping[str, Any] | None:
    """What is left of the options."""
    tls: dict[str, Any] = {}
    for name, value in options.items():
        if name in _FILES and is_tls:
            if not Path(value).is_file():
                raise _refused(text, f"there is no file {value!r} for {name}")
            tls[name] = value
        elif name == "ssl_check_hostname" and is_tls:
            if value.lower() not in ("true", "false"):
                raise _refused(text, "ssl_check_hostname is true or false")
            tls[name] = value.lower() == "true"
        else:
            raise _refused(text, _OPTIONS)
    return tls if is_tls else None

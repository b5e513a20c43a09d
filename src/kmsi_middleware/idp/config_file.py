"""The provider's configuration as a TOML file: ``default.toml`` is one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

from . import checks
from .checks import ConfigError
from .config import App, Device, FederatedProvider, IdPConfig, User

_PLAIN = ("tenant", "show_passwords", "behaviour", "tenant_name", "redirect_anywhere_after_sign_out")


def load_config(path: Path | str) -> IdPConfig:
    """Reads a TOML file. Raises :class:`ConfigError`, also when the file can't be read or is no TOML."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    return _parse(text, str(path))


def default_config() -> IdPConfig:
    """The users and apps that ship with the package: see ``default.toml``."""
    resource = resources.files(__package__) / "default.toml"
    return _parse(resource.read_text(encoding="utf-8"), "default.toml")


def _parse(text: str, name: str) -> IdPConfig:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not valid TOML: {error}") from error
    try:
        users = _tables("users", data.pop("users", []), User, ("username", "name"))
        apps = _tables("apps", data.pop("apps", []), App, ("client_id", "redirect_uris"))
        devices = _tables("devices", data.pop("devices", []), Device, ("id", "name", "owner"))
        needed = ("id", "name", "issuer", "client_id")
        federated = _tables("federated", data.pop("federated", []), FederatedProvider, needed)
        tables = ["[[users]]", "[[apps]]", "[[devices]]", "[[federated]]", "[user_flows.NAME]"]
        flows = data.pop("user_flows", {})
        _known("", data, list(_PLAIN), also=tables)
        return IdPConfig(
            users=tuple(users),
            apps=tuple(apps),
            devices=tuple(devices),
            federated=tuple(federated),
            user_flows=flows,
            **data,
        )
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _known(where: str, table: Mapping[str, Any], allowed: list[str], *, also: list[str] | None = None) -> None:
    for key, value in table.items():
        if key not in allowed:
            problem = f"is not known here; known are {', '.join([*allowed, *(also or [])])}"
            raise checks.fail(where + key, value, problem)


def _tables(where: str, tables: object, kind: type[Any], required: tuple[str, ...]) -> list[Any]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise checks.fail(where, tables, f"must be written as [[{where}]] tables")
    made = []
    for number, table in enumerate(tables, 1):
        place = f"[[{where}]] number {number}, "
        _known(place, table, [item.name for item in fields(kind)])
        for key in required:
            if key not in table:
                raise ConfigError(f"{place}{key} is missing; it is required")
        try:
            made.append(kind(**table))
        except ConfigError as error:
            raise ConfigError(place + str(error)) from error
    return made

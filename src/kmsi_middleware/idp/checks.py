"""What values of the provider's configuration are held against; a wrong one names itself and what would work."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_URI = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # what RFC 3986 allows; above all no space, quote or backslash
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")


class ConfigError(ValueError):
    """The provider's users or apps are not right. The message names the file, the key, the value and a
    remedy."""


def origin_of(uri: str) -> str:
    """Scheme, host and port of an absolute http(s) URI, as browsers write an ``Origin``."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, default) else "")


def fail(key: str, value: object, remedy: str) -> ConfigError:
    return ConfigError(f"{key} = {value!r}: {remedy}")


def text(key: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise fail(key, value, "must be a text that is not empty")


def uri(key: str, value: object) -> None:
    remedy = "must be an absolute http or https URI without a fragment, or begin with a single '/' or '../'"
    if not isinstance(value, str) or not _URI.fullmatch(value) or "#" in value:
        raise fail(key, value, remedy)
    if value.startswith(("/", "../")):
        if value.startswith("//"):
            raise fail(key, value, remedy)
        return
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise fail(key, value, remedy) from None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host or "") or parts.username is not None:
        raise fail(key, value, remedy)


def texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
        raise fail(key, value, "must be a list of texts")
    return tuple(value)

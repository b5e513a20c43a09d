"""Authentication contexts: the names by which policies and routes speak of what a page needs."""

from __future__ import annotations

import re


def auth_context(given: object) -> str:
    """The context as policies have it. Raises ``ValueError`` for what is none: no policy could ever name it."""
    if not isinstance(given, str) or not re.fullmatch("c[1-9][0-9]?", given, re.IGNORECASE):
        raise ValueError(f"auth_context {given!r}: give c1 to c99")
    return given.lower()

"""Step-up: an app asks for an authentication context, and gets a fresh sign-in with a second factor.

1. A context is ``c1`` to ``c99``. It is asked for in ``acr_values``, or as ``acrs`` or ``acr`` in the ``claims``
   parameter, for the ID token. Other values are nobody's business here, unless one of them is essential: then the
   request fails.
2. What answers a context is a sign-in with two factors, not older than five minutes: whoever has just shown both to
   one app is not asked by the next.
3. The ID token says which of the contexts asked for hold: ``acrs`` all of them, ``acr`` the first.
   A second factor alone, however old, is asked for as ``amr`` with the value ``mfa`` in ``claims``.
4. A person whose ``amr`` names ``mfa`` shows the second factor with every sign-in. Anybody else is asked for the
   code, and without a code that could be asked for the request fails.

OpenID Connect Core, sections 3.1.2.1, 5.5 and 5.5.1.1; RFC 9470, section 5; the names are Microsoft Entra's.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .config import User
from .store import BrowserSession

CONTEXTS = tuple(f"c{number}" for number in range(1, 100))
FRESH_SECONDS = 300
_CONTEXT = re.compile("c[1-9][0-9]?")


class Malformed(ValueError):
    """The ``claims`` parameter is not what it should be; the message says how."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an authorization request wants of the sign-in."""

    contexts: tuple[str, ...] = ()
    sub: str | None = None
    """The only person whose sign-in will do (OpenID Connect Core, section 5.5.1)."""
    second_factor: bool = False
    """A second factor, however old: ``amr`` with the value ``mfa`` in the ``claims`` parameter."""
    unmet: bool = False
    """Something essential is wanted that nothing here can answer."""


def wanted(values: dict[str, str]) -> Wanted:
    """Reads the parameters of an authorization request. Raises :class:`Malformed`."""
    asked = [name for name in values.get("acr_values", "").split() if _CONTEXT.fullmatch(name)]
    unmet = False
    claims = _id_token_claims(values["claims"]) if "claims" in values else {}
    for name in ("acrs", "acr"):
        found = _values(name, claims.get(name))
        contexts = [value for value in found if _CONTEXT.fullmatch(value)]
        asked += contexts
        unmet = unmet or bool(found and not contexts and (claims[name] or {}).get("essential"))
    sub = _values("sub", claims.get("sub"))
    second_factor = "mfa" in _values("amr", claims.get("amr"))
    return Wanted(tuple(dict.fromkeys(asked)), sub[0] if sub else None, second_factor or bool(asked), unmet)


def shows_second_factor(session: BrowserSession) -> bool:
    return "mfa" in session.amr


def holds(session: BrowserSession, asked: Wanted, now: float) -> bool:
    """Whether a sign-in answers what is wanted: every context (rule 2), and a second factor."""
    if asked.second_factor and not shows_second_factor(session):
        return False
    return not asked.contexts or now - int(session.auth_time) < FRESH_SECONDS


def needs_code(user: User, asked: Wanted) -> bool:
    """Whether the code is to be asked for, after the password (rule 4)."""
    return asked.second_factor and "mfa" not in user.amr


def amr_with_code(user: User) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*user.amr, "otp", "mfa")))


def _id_token_claims(text: str) -> dict[str, Any]:
    try:
        claims = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Malformed("claims must be a JSON object") from error
    if not isinstance(claims, dict):
        raise Malformed("claims must be a JSON object")
    for place in ("id_token", "userinfo"):
        members = claims.get(place)
        if members is not None and not isinstance(members, dict):
            raise Malformed(f"claims: {place} must be an object")
        for name, request in (members or {}).items():
            if request is not None and not isinstance(request, dict):
                raise Malformed(f"claims: {place}.{name} must be null or an object")
            if type((request or {}).get("essential", False)) is not bool:
                raise Malformed(f"claims: {place}.{name}.essential must be true or false")
    return claims.get("id_token") or {}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is there twice")
    return members


def _values(name: str, request: dict[str, Any] | None) -> list[str]:
    """The texts in ``value`` or ``values`` of one requested claim."""
    request = request or {}
    found = request.get("values", [request["value"]] if "value" in request else [])
    both = "value" in request and "values" in request
    if both or not isinstance(found, list) or not all(isinstance(value, str) for value in found):
        raise Malformed(f"claims: id_token.{name} takes a text as value, or a list of texts as values")
    return found

"""Tokens that the issuer signs: the ID token and the logout token (JWS compact; ASVS V9).

1. The signature is checked first, and always: TLS to the token endpoint is not taken in its place.
2. Keys come from the issuer's JWKS only; ``jku``, ``x5u``, ``jwk`` and ``x5c`` in the header are never looked at,
   and a header with ``crit`` is refused.
3. A ``kid`` that is not in the set may be a rotation: :class:`UnknownKey` asks for the set to be fetched again.
   No ``kid``: every key that fits the algorithm is tried.
4. A refusal's code begins with the kind of token, so that the log says which message was wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm

from ...vocabulary.errors import ProtocolError
from ...vocabulary.records import frozen
from ...vocabulary.settings import Settings
from ..seals import decode
from .discovery import TENANT, Provider

if TYPE_CHECKING:
    from joserfc.jws import JWSRegistry

LONGEST_TOKEN = 65_536
MOST_KEYS = 64
SHORTEST_RSA = 342  # 2,048 bits in base64url (RFC 7518 §3.3)


@frozen
class Kind:
    """A kind of token: how its codes begin, what it is called, and the status that a bad one deserves."""

    code: str
    name: str
    status: int

    def refuse(self, what: str, detail: str) -> ProtocolError:
        """The error for a token that fails the check ``what``; ``detail`` goes on after the token's name."""
        return ProtocolError(f"{self.code}_{what}", f"the {self.name} {detail}", status=self.status)


class UnknownKey(Exception):
    """The token names a key that the set does not have."""


def verified_claims(token: str, jwks: Mapping[str, Any], algorithms: Sequence[str], kind: Kind) -> dict[str, Any]:
    """The claims of a token whose signature is good.

    Raises :class:`UnknownKey`, or :class:`ProtocolError` (``…_malformed``, ``…_algorithm``, ``…_signature``).
    """
    header = header_of(token, kind)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise kind.refuse("algorithm", "is signed by an algorithm that is not accepted")
    if "crit" in header:
        raise kind.refuse("malformed", "has header parameters that are not understood")
    kid = header.get("kid")
    candidates = _candidates(jwks, algorithm, kid)
    if not candidates:
        raise UnknownKey
    from joserfc import jws
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    registry = _registry(algorithm)
    for candidate in candidates:
        try:
            signed = jws.deserialize_compact(token, import_key(dict(candidate)), registry=registry)
            claims = json.loads(signed.payload)
            json.dumps(claims, ensure_ascii=False).encode()  # half a surrogate pair would fail later
        except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(claims, dict):
            return claims
    if kid is None:
        raise UnknownKey
    raise kind.refuse("signature", "has a signature that is not the provider's")


def header_of(token: str, kind: Kind) -> dict[str, Any]:
    """A token's header, as it stands there: it says nothing before the signature is checked."""
    if len(token) > LONGEST_TOKEN or not re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]*", token, re.ASCII):
        raise kind.refuse("malformed", "is not a signed JWT")
    try:
        header = json.loads(decode(token.partition(".")[0]))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise kind.refuse("malformed", "has a header that can't be read")
    return header


def _registry(algorithm: str) -> JWSRegistry:
    """What joserfc may do with a token: its own limits are for tokens that it made. A header may be as long as an
    ``x5c`` makes it and may hold what we don't know (RFC 7515 §4)."""
    from joserfc.errors import UnsupportedAlgorithmError
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        max_header_length = max_payload_length = LONGEST_TOKEN

        def get_alg(self, name: str) -> Any:
            # Without the warning that RFC 9864 gave "EdDSA" another name: it is what providers write.
            if name not in self.algorithms or name != algorithm:
                raise UnsupportedAlgorithmError(name)
            return self.algorithms[name]

    return Registry(strict_check_header=False)


_KEY_TYPES = {"R": "RSA", "P": "RSA", "E": "EC"}


def _candidates(jwks: Mapping[str, Any], algorithm: str, kid: object) -> list[Mapping[str, Any]]:
    keys = jwks.get("keys")
    wanted = "OKP" if algorithm.startswith("Ed") else _KEY_TYPES[algorithm[0]]
    found: list[Mapping[str, Any]] = []
    for key in keys[:MOST_KEYS] if isinstance(keys, list) else []:
        if not isinstance(key, dict) or key.get("kty") != wanted or key.get("use", "sig") != "sig":
            continue
        if key.get("alg") not in (None, algorithm) or (kid is not None and key.get("kid") not in (None, kid)):
            continue
        if wanted == "RSA" and len(str(key.get("n", ""))) < SHORTEST_RSA:
            continue
        found.append({name: value for name, value in key.items() if name not in ("key_ops", "d")})
    return found


def check_issuer(claims: Mapping[str, Any], provider: Provider, settings: Settings, kind: Kind) -> None:
    """``iss`` is the provider's, to the letter; where each tenant has its own, that of an allowed tenant."""
    expected = provider.issuer
    if TENANT in expected:
        tenant = claims.get("tid")
        allowed = settings.allowed_tenants
        if not isinstance(tenant, str) or not re.fullmatch(r"[0-9A-Za-z.-]{1,64}", tenant):
            raise kind.refuse("iss", "does not name its tenant")
        if "*" not in allowed and tenant.lower() not in {name.lower() for name in allowed}:
            raise ProtocolError("tenant_not_allowed", "your organization may not sign in to this app", status=403)
        expected = expected.replace(TENANT, tenant)
    if claims.get("iss") != expected:
        raise kind.refuse("iss", "comes from another issuer")


def check_audience(claims: Mapping[str, Any], client_id: str, kind: Kind) -> None:
    """``aud`` names this app, as a text or in a list; ``azp``, if there is one, is this app."""
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if client_id not in audiences:
        raise kind.refuse("aud", "is for another app")
    if claims.get("azp") not in (None, client_id):
        raise kind.refuse("azp", "was issued to another app")


def instant(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is an instant, in seconds since 1970; ``None`` for anything else."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return value


def is_text(value: object, longest: int) -> bool:
    """A text that can be kept: not empty, not endless, and without the half characters that JSON can spell."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)

"""The ID token: its signature and its claims (OpenID Connect Core 1.0 §2, §3.1.3.7; ASVS V9, 10.5).

1. The signature is checked first, and always: TLS to the token endpoint is not taken in its place.
2. Keys come from the issuer's JWKS only; ``jku``, ``x5u``, ``jwk`` and ``x5c`` in the header are never looked at,
   and a header with ``crit`` is refused.
3. A ``kid`` that is not in the set may be a rotation: :class:`UnknownKey` asks for the set to be fetched again.
   No ``kid``: every key that fits the algorithm is tried.
4. Odd but honest tokens pass: ``aud`` as a list, no ``typ``, no ``at_hash``, ``auth_time`` as a float or 0.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm

from ...vocabulary.errors import ProtocolError
from ...vocabulary.settings import Settings
from ..seals import decode, encode
from .discovery import TENANT, Provider

if TYPE_CHECKING:
    from joserfc.jws import JWSRegistry

LONGEST_ID_TOKEN = 65_536
MOST_KEYS = 64
LONGEST_SID = 2_048
SHORTEST_RSA = 342  # 2,048 bits in base64url (RFC 7518 §3.3)


class UnknownKey(Exception):
    """The token names a key that the set does not have."""


def _refuse(code: str, detail: str) -> ProtocolError:
    return ProtocolError(code, detail, status=502)


def verified_claims(token: str, jwks: Mapping[str, Any], algorithms: Sequence[str]) -> dict[str, Any]:
    """The claims of a token whose signature is good.

    Raises :class:`UnknownKey`, or :class:`ProtocolError` (``id_token_malformed``, ``id_token_algorithm``,
    ``id_token_signature``).
    """
    header = _header(token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _refuse("id_token_algorithm", "the ID token is signed by an algorithm that is not accepted")
    if "crit" in header:
        raise _refuse("id_token_malformed", "the ID token has header parameters that are not understood")
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
    raise _refuse("id_token_signature", "the ID token's signature is not the provider's")


def _header(token: str) -> dict[str, Any]:
    if len(token) > LONGEST_ID_TOKEN or not re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]*", token, re.ASCII):
        raise _refuse("id_token_malformed", "the ID token is not a signed JWT")
    try:
        header = json.loads(decode(token.partition(".")[0]))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _refuse("id_token_malformed", "the ID token's header can't be read")
    return header


def _registry(algorithm: str) -> JWSRegistry:
    """What joserfc may do with a token: its own limits are for tokens that it made. A header may be as long as an
    ``x5c`` makes it and may hold what we don't know (RFC 7515 §4)."""
    from joserfc.errors import UnsupportedAlgorithmError
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        max_header_length = max_payload_length = LONGEST_ID_TOKEN

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


def check_claims(
    claims: Mapping[str, Any],
    provider: Provider,
    settings: Settings,
    *,
    client_id: str,
    nonce: str,
    now: float,
    access_token: str = "",
    algorithm: str = "",
) -> None:
    """§3.1.3.7, one row after the other. Raises :class:`ProtocolError`."""
    skew = settings.clock_skew
    _check_issuer(claims, provider, settings)
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if client_id not in audiences:
        raise _refuse("id_token_aud", "the ID token is for another app")
    if claims.get("azp") not in (None, client_id):
        raise _refuse("id_token_azp", "the ID token was issued to another app")
    subject = claims.get("sub")
    if not _is_text(subject, 255):
        raise _refuse("id_token_sub", "the ID token does not say who signed in")
    issued_at, expires = _instant(claims, "iat"), _instant(claims, "exp")
    if issued_at is None or issued_at > now + skew:
        raise _refuse("id_token_iat", "the ID token does not say when it was made, or was made in the future")
    if expires is None or expires <= now - skew:
        raise _refuse("id_token_expired", "the ID token is no longer good")
    not_before = _instant(claims, "nbf")
    if not_before is not None and not_before > now + skew:
        raise _refuse("id_token_nbf", "the ID token is not good yet")
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise _refuse("id_token_nonce", "the ID token belongs to another sign-in")
    _check_at_hash(claims, access_token, algorithm)


def _check_issuer(claims: Mapping[str, Any], provider: Provider, settings: Settings) -> None:
    issuer = claims.get("iss")
    if TENANT in provider.issuer:
        tenant = claims.get("tid")
        allowed = settings.allowed_tenants
        if not isinstance(tenant, str) or not re.fullmatch(r"[0-9A-Za-z.-]{1,64}", tenant):
            raise _refuse("id_token_iss", "the ID token does not name its tenant")
        if "*" not in allowed and tenant.lower() not in {name.lower() for name in allowed}:
            raise ProtocolError("tenant_not_allowed", "your organization may not sign in to this app", status=403)
        expected = provider.issuer.replace(TENANT, tenant)
    else:
        expected = provider.issuer
    if issuer != expected:
        raise _refuse("id_token_iss", "the ID token comes from another issuer")


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return value


_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


def _check_at_hash(claims: Mapping[str, Any], access_token: str, algorithm: str) -> None:
    given = claims.get("at_hash")
    make = _HASHES.get(algorithm[-3:], hashlib.sha512 if algorithm.startswith("Ed") else None)
    if given is None or not access_token or make is None:
        return  # optional in the code flow (§3.1.3.6)
    digest = make(access_token.encode()).digest()
    if not isinstance(given, str) or not hmac.compare_digest(
        given.encode(), encode(digest[: len(digest) // 2]).encode()
    ):
        raise _refuse("id_token_at_hash", "the ID token and the access token do not belong together")


def algorithm_of(token: str) -> str:
    """The ``alg`` of a token whose signature was checked."""
    return str(_header(token).get("alg", ""))


def auth_time_of(claims: Mapping[str, Any]) -> int | None:
    """When the person really signed in, in whole seconds; ``None`` if the issuer does not say (or says 0)."""
    value = _instant(claims, "auth_time")
    return int(value) if value else None


def sids_of(claims: Mapping[str, Any], session_state: str) -> tuple[str, ...]:
    """The issuer's name of its session: ``sid``, or the callback's ``session_state`` where there is none."""
    sid = claims.get("sid")
    name = str(sid) if _is_text(sid, LONGEST_SID) else session_state
    return (name,) if _is_text(name, LONGEST_SID) else ()


def _is_text(value: object, longest: int) -> bool:
    """A text that can be kept: not empty, not endless, and without the half characters that JSON can spell."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)

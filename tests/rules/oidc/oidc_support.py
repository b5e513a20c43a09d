"""An issuer made by hand: keys and signatures by ``cryptography`` alone, so that no JOSE library is its own judge."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kmsi_middleware.rules.oidc.discovery import Provider
from kmsi_middleware.vocabulary.settings import Settings

T0 = 1_700_000_000
ISSUER = "https://idp.example"
CLIENT = "app-1"
NONCE = "n-0S6_WzA2Mj"
SETTINGS = Settings(client_id=CLIENT)
ALL = SETTINGS.id_token_algorithms
SHARED = "https://login.microsoftonline.com/{tenantid}/v2.0"
TENANT_A = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def provider(**changed: Any) -> Provider:
    whole: dict[str, Any] = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/jwks",
        "end_session_endpoint": f"{ISSUER}/logout",
        "token_endpoint_auth_methods": ("client_secret_basic",),
        "iss_in_response": False,
    }
    return Provider(**whole | changed)


def claims(**changed: Any) -> dict[str, Any]:
    """An ID token's claims; what is changed to ``...`` is left out."""
    whole = {"iss": ISSUER, "sub": "ada", "aud": CLIENT, "iat": T0, "exp": T0 + 300, "nonce": NONCE} | changed
    return {name: value for name, value in whole.items() if value is not ...}


_HASHES: dict[str, Any] = {"256": SHA256, "384": SHA384, "512": SHA512}
_CURVES: dict[str, Any] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1, "ES256K": ec.SECP256K1}
_CURVE_NAMES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "secp256k1"}


@cache
def private_key(algorithm: str, which: int = 0, size: int = 2_048) -> Any:
    """The issuer's key for an algorithm; ``which`` makes other ones."""
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    if algorithm.startswith("Ed"):
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65_537, key_size=size)


def jwk(algorithm: str = "RS256", which: int = 0, size: int = 2_048, **changed: Any) -> dict[str, Any]:
    """The public key as a JWKS has it; ``...`` leaves a member out."""
    key = private_key("RS256" if algorithm[0] in "RP" else algorithm, which, size).public_key()
    whole: dict[str, Any] = {"use": "sig", "kid": f"k{which}"}
    if algorithm in _CURVES:
        numbers, length = key.public_numbers(), (key.key_size + 7) // 8
        x, y = numbers.x.to_bytes(length, "big"), numbers.y.to_bytes(length, "big")
        whole |= {"kty": "EC", "crv": _CURVE_NAMES[algorithm], "x": b64(x), "y": b64(y)}
    elif algorithm.startswith("Ed"):
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        whole |= {"kty": "OKP", "crv": "Ed448" if algorithm == "Ed448" else "Ed25519", "x": b64(raw)}
    else:
        numbers = key.public_numbers()
        whole |= {"kty": "RSA", "n": b64(numbers.n.to_bytes(size // 8, "big")), "e": b64(numbers.e.to_bytes(3, "big"))}
    return {name: value for name, value in (whole | changed).items() if value is not ...}


def jwks(*keys: dict[str, Any]) -> dict[str, Any]:
    return {"keys": list(keys)}


def signature(algorithm: str, content: bytes, which: int = 0, size: int = 2_048) -> bytes:
    key = private_key("RS256" if algorithm[0] in "RP" else algorithm, which, size)
    if algorithm.startswith("Ed"):
        return bytes(key.sign(content))
    digest = _HASHES["256" if algorithm == "ES256K" else algorithm[-3:]]()
    if algorithm.startswith("RS"):
        return bytes(key.sign(content, padding.PKCS1v15(), digest))
    if algorithm.startswith("PS"):
        return bytes(key.sign(content, padding.PSS(padding.MGF1(digest), digest.digest_size), digest))
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(digest)))
    length = (key.key_size + 7) // 8
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def token(
    algorithm: str = "RS256",
    payload: dict[str, Any] | bytes | None = None,
    *,
    which: int = 0,
    size: int = 2_048,
    **header: Any,
) -> str:
    """A signed token; its header names the key, and whatever else is given. ``...`` leaves a member out."""
    head = {"alg": algorithm, "kid": f"k{which}", "typ": "JWT"} | header
    head = {name: value for name, value in head.items() if value is not ...}
    body = payload if isinstance(payload, bytes) else json.dumps(claims() if payload is None else payload).encode()
    content = f"{b64(json.dumps(head).encode())}.{b64(body)}"
    return f"{content}.{b64(signature(algorithm, content.encode(), which, size))}"

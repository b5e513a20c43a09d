"""What the browser and the store carry for us: signed, or sealed.

1. *Signed* (itsdangerous): anybody may read it, nobody can make or change it. *Sealed* (AES-256-GCM): nor read it.
2. Each purpose has a key of its own, so that nothing made for one purpose is good for another.
3. Keys are a list, newest last: the newest makes, all of them open (rotation without a sign-out).
4. Everything that the browser carries has a time in it and is short-lived.
5. The issuer's tokens are sealed under a key that comes from the session's own token: who has the database has
   neither (HKDF, RFC 5869; the row's key is associated data, so that rows can't be swapped).
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

TOLERANCE = 60
"""Seconds that something may seem to come from the future: clocks are set back, and differ between machines."""

Dice = Callable[[int], bytes]
"""So many random bytes, from the operating system."""


def encode(raw: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The reverse; raises ``ValueError`` for what is not base64url."""
    raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if encode(raw) != text:  # the library skips what it doesn't know
        raise ValueError("not base64url")
    return raw


def key_of(token: str) -> bytes:
    """The store's key of a token: its SHA-256."""
    return hashlib.sha256(token.encode("ascii")).digest()


def _derive(secret: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"kmsi-middleware 1 " + purpose.encode()).derive(secret)


def _signer_at(now: float) -> type[TimestampSigner]:
    """itsdangerous asks a method for the time; ours answers with the clock that was handed in."""

    class SignerAt(TimestampSigner):
        default_digest_method = staticmethod(hashlib.sha256)

        def get_timestamp(self) -> int:
            return int(now)

    return SignerAt


class Seals:
    """Signs and seals under the settings' ``secret_keys``."""

    def __init__(self, secret_keys: Sequence[str], dice: Dice) -> None:
        self._secrets = [key.encode() for key in secret_keys]
        self._dice = dice
        self._ciphers: dict[str, list[AESGCM]] = {}

    def _serializer(self, purpose: str, now: float) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            self._secrets, salt=f"kmsi-middleware 1 {purpose}".encode(), signer=_signer_at(now)
        )

    def sign(self, purpose: str, payload: Any, now: float) -> str:
        """A signed, dated text of JSON-able ``payload``."""
        return str(self._serializer(purpose, now).dumps(payload))

    def unsign(self, purpose: str, text: str, *, within: int, now: float) -> Any | None:
        """What was signed at most ``within`` seconds ago, or ``None``."""
        try:
            return self._serializer(purpose, now + TOLERANCE).loads(text, max_age=within + TOLERANCE)
        except BadData:
            return None

    def seal(self, purpose: str, payload: Mapping[str, Any], now: float) -> str:
        """A sealed, dated text."""
        nonce = self._dice(12)
        plain = json.dumps([int(now), payload], separators=(",", ":")).encode()
        return encode(nonce + self._keys(purpose)[-1].encrypt(nonce, plain, purpose.encode()))

    def open(self, purpose: str, text: str, *, within: int, now: float) -> dict[str, Any] | None:
        """What was sealed at most ``within`` seconds ago, or ``None``."""
        try:
            raw = decode(text)
        except ValueError:
            return None
        for cipher in reversed(self._keys(purpose)):
            try:
                at, payload = json.loads(cipher.decrypt(raw[:12], raw[12:], purpose.encode()))
            except (InvalidTag, ValueError):
                continue
            return dict(payload) if -TOLERANCE <= now - at <= within else None
        return None

    def _keys(self, purpose: str) -> list[AESGCM]:
        ciphers = self._ciphers.get(purpose)
        if ciphers is None:
            ciphers = self._ciphers[purpose] = [AESGCM(_derive(secret, purpose)) for secret in self._secrets]
        return ciphers

    def same_for(self, purpose: str, token: str) -> str:
        """A token that follows from another one and nobody else can compute: always the same for the same.
        Made with the newest key."""
        return encode(_derive(self._secrets[-1] + token.encode(), purpose))


def seal_under(token: str, payload: Mapping[str, Any], dice: Dice) -> bytes:
    """Seal under a key that only ``token`` gives (rule 5)."""
    nonce = dice(12)
    cipher = AESGCM(_derive(token.encode(), "under a token"))
    return nonce + cipher.encrypt(nonce, json.dumps(payload, separators=(",", ":")).encode(), key_of(token))


def open_under(token: str, sealed: bytes) -> dict[str, Any]:
    """What :func:`seal_under` sealed; empty if there is nothing, or it is not this token's."""
    if not sealed:
        return {}
    try:
        plain = AESGCM(_derive(token.encode(), "under a token")).decrypt(sealed[:12], sealed[12:], key_of(token))
    except (InvalidTag, ValueError):
        return {}
    payload = json.loads(plain)
    return payload if isinstance(payload, dict) else {}

"""The authorization request and response: code flow with PKCE (OpenID Connect Core 1.0 §3.1.2; RFC 7636; RFC 9207).

1. One *transaction* is one attempt to sign in. Its secret seed stays in a cookie of its own; nonce and PKCE
   verifier follow from the seed. What else is to be remembered travels sealed in ``state``.
2. So a browser that lost the cookie can't complete the sign-in, and still it is known where it wanted to go.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...vocabulary.errors import ProtocolError
from ...vocabulary.messages import Site
from ...vocabulary.records import frozen
from ...vocabulary.settings import Settings
from ..seals import Dice, Seals, decode, encode
from .discovery import Provider

TRANSACTION_SECONDS = 3_600
"""How long a person may take at the issuer: sign-up, a lost phone, a password reset."""


@frozen
class Transaction:
    """One attempt to sign in."""

    id: str
    """128 random bits in base64url; its first eight characters name the cookie."""
    return_to: str
    started_at: int
    prompt: str = ""
    max_age: int | None = None
    """What was asked with ``max_age``, in seconds."""
    context: str = ""
    """The authentication context that the answer must have reached."""
    second_factor: bool = False
    """Whether a second factor was asked for."""
    forced: bool = False
    """Whether it was begun although, or because, there is a session."""
    again: bool = False
    """Whether this attempt follows one whose answer did not do."""
    user_flow: str = ""
    """The user flow that it goes through."""
    then: str = ""
    """The user flow that follows it."""
    came_from: str = ""
    """The page that the person was on, where that is known."""
    confirms: bool = False
    """Whether the issuer is only asked if it stands behind the session that there is."""
    unanswered: bool = False
    """Whether it follows a sign-in whose "Stay signed in?" found no answer in time."""

    @property
    def is_forced(self) -> bool:
        """Whether its answer counts although there is a session."""
        return self.forced or bool(self.prompt)

    @property
    def cookie_suffix(self) -> str:
        return self.id[:8]

    @property
    def correlation_id(self) -> str:
        """The sign-in's name on pages and in the sign-in log, as a GUID."""
        return str(uuid.UUID(bytes=decode(self.id)))


@frozen
class Secrets:
    """What binds a transaction to the browser, from the seed in its cookie."""

    seed: str = field(repr=False)

    def _derived(self, purpose: str) -> str:
        return encode(hashlib.sha256(f"{purpose} {self.seed}".encode()).digest())

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """RFC 7636 §4.1: 43 characters."""
        return self._derived("pkce")

    @property
    def challenge(self) -> str:
        """RFC 7636 §4.2: S256."""
        return encode(hashlib.sha256(self.verifier.encode()).digest())


def new_transaction(
    return_to: str,
    now: float,
    dice: Dice,
    *,
    prompt: str = "",
    max_age: int | None = None,
    context: str = "",
    second_factor: bool = False,
    forced: bool = False,
    again: bool = False,
    user_flow: str = "",
    then: str = "",
    came_from: str = "",
    confirms: bool = False,
    unanswered: bool = False,
) -> tuple[Transaction, Secrets]:
    """A fresh attempt and its secrets."""
    transaction = Transaction(
        encode(dice(16)),
        return_to,
        int(now),
        prompt,
        max_age,
        context,
        second_factor,
        forced,
        again,
        user_flow,
        then,
        came_from,
        confirms,
        unanswered,
    )
    return transaction, Secrets(encode(dice(16)))


def sealed_state(transaction: Transaction, seals: Seals, now: float) -> str:
    """The ``state`` parameter."""
    payload = {
        "i": transaction.id,
        "r": transaction.return_to,
        "t": transaction.started_at,
        "p": transaction.prompt,
        "m": transaction.max_age,
        "c": transaction.context,
        "s": transaction.second_factor,
        "f": transaction.forced,
        "a": transaction.again,
        "u": transaction.user_flow,
        "n": transaction.then,
        "b": transaction.came_from,
        "k": transaction.confirms,
        "q": transaction.unanswered,
    }
    return seals.seal("state", payload, now)


def opened_state(state: str, seals: Seals, now: float) -> Transaction | None:
    """The transaction of a ``state`` that we made, or ``None``."""
    payload = seals.open("state", state, within=TRANSACTION_SECONDS, now=now)
    try:
        return Transaction(*(payload[name] for name in "irtpmcsfaunbkq")) if payload is not None else None
    except KeyError:
        return None  # an older version made it, minutes ago


def authorization_url(
    provider: Provider,
    settings: Settings,
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    secrets: Secrets,
    prompt: str = "",
    login_hint: str = "",
    max_age: int | None = None,
    context: str = "",
    second_factor: bool = False,
) -> str:
    """§3.1.2.1: where the browser is sent."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": settings.scope,
        "state": state,
        "nonce": secrets.nonce,
        "code_challenge": secrets.challenge,
        "code_challenge_method": "S256",
    }
    if settings.response_mode == "form_post":
        parameters["response_mode"] = "form_post"
    if prompt:
        parameters["prompt"] = prompt
    if login_hint:
        parameters["login_hint"] = login_hint
    if max_age is not None:
        parameters["max_age"] = str(max_age)
    if context and settings.step_up == "acr_values":
        parameters["acr_values"] = context
    claims: dict[str, Any] = {}
    if context and settings.step_up == "claims":
        claims["acrs"] = {"essential": True, "value": context}
    if second_factor:
        claims["amr"] = {"values": ["mfa"]}
    if claims:
        parameters["claims"] = json.dumps({"id_token": claims})
    return with_query(provider.authorization_endpoint, parameters)


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """Append parameters; an endpoint may have a query of its own (RFC 6749 §3.1)."""
    separator = "" if url.endswith(("?", "&")) else "&" if urlsplit(url).query else "?"
    return url + separator + urlencode(parameters)


def check_response(parameters: Mapping[str, str], provider: Provider, site: Site) -> str:
    """The authorization code (§3.1.2.5 to §3.1.2.7). Raises :class:`ProtocolError`.

    ``iss`` is compared when it is there, on errors too, and missed only where it was promised (RFC 9207 §2.4).
    """
    issuer = parameters.get("iss")
    if issuer is None and provider.iss_in_response:
        raise ProtocolError("response_iss_missing", "the provider promised to name itself in its answer, and did not")
    if issuer is not None and issuer != site.issuer and not provider.may_be(issuer):
        raise ProtocolError("response_iss_mismatch", "the answer comes from another provider than the one asked")
    error = parameters.get("error")
    if error:
        hint = f"{error}: {parameters.get('error_description', '')}".removesuffix(": ")
        if error == "access_denied":
            raise ProtocolError("access_denied", "the sign-in was declined at the provider", status=403, hint=hint)
        raise ProtocolError("provider_error", "the provider could not sign you in", hint=hint)
    code = parameters.get("code")
    if not code:
        raise ProtocolError("code_missing", "the provider's answer has neither a code nor an error")
    return code

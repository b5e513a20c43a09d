"""Sign-in records in the shape of Microsoft Graph's ``signIn`` (v1.0, and ``userAgent`` from beta).

1. A record says what happened twice: as a number, Entra ID's where it has a fitting one, for those who know
   these logs; and as our own stable code (``kmsi.code``), which is also on the page and in the JSON.
2. Number 0 is a success. 50140 is the interrupt "Stay signed in?" being shown; answering it writes a success
   under the same correlation id, so an abandoned one is a 50140 without a success.
3. A failure is never 0 and never 50140, whatever the identity provider (IdP) says.
4. Text from outside is bounded, and cannot break a line or steer a terminal.
5. What we do not know is ``null``, empty or ``hidden``, as in Graph; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..vocabulary.signals import Risk

SUCCESS = 0
INTERRUPT = 50140
INTERRUPT_REASON = 'This error occurred due to "Keep me signed in" interrupt when the user was signing in.'
"""The failure reason of 50140, in the words of Entra ID, "Manage the 'Stay signed in?' prompt"."""
INTERRUPT_CODE = "kmsi_interrupt"
"""Our own code for 50140."""
ABANDONED_AFTER = 600
"""Seconds that a pending sign-in waits for its answer; an unanswered 50140 older than this is abandoned."""

UNSPECIFIED = 50000
"""TokenIssuanceError: the number of a failure that Entra ID has no fitting one for."""

NUMBERS: Mapping[str, int] = {
    "": SUCCESS,
    INTERRUPT_CODE: INTERRUPT,
    # The IdP refused, failed, or was not there.
    "access_denied": 65004,  # UserDeclinedConsent
    "provider_error": 40008,  # OAuth2IdPUnretryableServerError
    "provider_unavailable": 40010,  # OAuth2IdPRetryableServerError
    "token_refused": 40015,  # OAuth2IdPAuthCodeRedemptionUserError
    # It answered something that is not right.
    "code_missing": 40008,
    "discovery_invalid": 40008,
    "id_token_key_unknown": 50003,  # MissingSigningKey
    "id_token_missing": 40008,
    "id_token_signature": 50006,  # InvalidSignature
    "response_iss_missing": 40008,
    "tenant_not_allowed": 50020,  # UserUnauthorized
    "token_response_invalid": 40008,
    # The browser did, or did not.
    "interrupt_expired": 50089,  # the flow token expired
    "no_cookies": 50058,  # UserInformationNotProvided
    "sign_in_late": 50089,
    "sign_in_used": 54005,  # already redeemed
    "state_unknown": 50089,
    # The issuer was asked again, without the person.
    "session_revoked": 50173,  # FreshTokenNeeded: the grant was revoked
    "refresh_refused": 40015,
    # Conditional Access said so.
    "blocked_by_policy": 53003,  # BlockedByConditionalAccess
    "device_not_compliant": 53000,  # DeviceNotCompliant
    "device_not_joined": 53001,  # DeviceNotDomainJoined
    "second_factor_missing": 50076,  # UserStrongAuthClientAuthNRequired
    "step_up_failed": 50076,
    "sign_in_too_old": 70043,  # BadTokenDueToSignInFrequency
    "auth_time_missing": 70044,
    # A revocation did.
    "sign_in_revoked": 50173,  # FreshTokenNeeded: "either an admin or a user revoked the tokens for this user"
    "fresh_sign_in_required": 50173,
    # It failed on our side.
    "store_unavailable": 90033,  # MsodsServiceUnavailable: the directory did not answer
}
"""Our stable codes and Entra ID's numbers (its reference "AADSTS error codes"); else ``UNSPECIFIED``."""

_INVALID_JWT = 50027  # InvalidJwtToken: every other `id_token_…`

PROVIDER_NUMBERS: Mapping[str, int] = {
    "access_denied": 65004,
    "consent_required": 65001,  # DelegationDoesNotExist
    "invalid_client": 70002,  # InvalidClient
    "invalid_grant": 40015,
    "invalid_request": 90023,  # InvalidRequest
    "invalid_scope": 70011,  # InvalidScope
    "login_required": 50058,
    "server_error": 40008,
    "temporarily_unavailable": 40010,
    "unauthorized_client": 70001,  # UnauthorizedClient
    "unsupported_response_type": 70005,  # UnsupportedResponseType
}
"""The same for the errors that an IdP names (RFC 6749 §4.1.2.1 and §5.2; OpenID Connect Core 1.0 §3.1.2.6)."""

LONGEST_USER_AGENT = 512
_TEXT_LIMIT = 256
# C0, DEL and C1 controls; line and paragraph separators; what turns the writing's direction; lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ENTRA_NUMBER = re.compile(r"AADSTS([1-9][0-9]{4,8})(?![0-9])")


def number_of(code: str, hint: str = "") -> int:
    """The number for one of our codes; ``""`` is the success.

    ``hint`` is what the IdP itself said about a failure: its error, a colon, its description. What it says is
    more exact than that it failed: Entra ID sends ``access_denied`` for a declined consent and for a blocked
    user alike, and its own number in the description (``access_denied: AADSTS50105: …``).
    """
    number = NUMBERS.get(code, _INVALID_JWT if code.startswith("id_token_") else UNSPECIFIED)
    if number in (SUCCESS, INTERRUPT):
        return number
    said = _ENTRA_NUMBER.search(hint)
    if said and int(said[1]) != INTERRUPT:
        return int(said[1])
    return PROVIDER_NUMBERS.get(hint.partition(":")[0], number)


def clean_text(text: object, limit: int = _TEXT_LIMIT) -> str:
    """``text`` on one line, at most ``limit`` characters, with U+FFFD for what could break a line or steer a
    terminal. Anything that is not a text becomes empty."""
    if not isinstance(text, str):
        return ""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def sign_in_record(
    *,
    at: float,
    record_id: str,
    correlation_id: str,
    code: str = "",
    failure_reason: str = "",
    hint: str = "",
    claims: Mapping[str, Any] | None,
    app_id: str,
    app_name: str,
    client_address: str,
    user_agent: str,
    interactive: bool = True,
    risk: Risk | None = None,
    decision: str = "",
    persistent: bool | None = None,
    applied: Sequence[Mapping[str, Any]] = (),
    missing: Sequence[str] = (),
) -> dict[str, Any]:
    """One record, ready for JSON.

    ``at`` is in seconds since 1970 (UTC). ``code`` is empty for a success, ``INTERRUPT_CODE`` for the
    interrupt being shown, else a failure's stable code; ``failure_reason`` says it in words and ``hint`` in
    the IdP's. ``claims`` are those of the *checked* ID token, or ``None`` as long as nobody is known.
    ``applied`` is what each Conditional Access policy came to, ``missing`` the facts that policies needed and nobody
    told. ``decision`` is why the session is ``persistent`` or not; both only for a success.
    """
    number = number_of(code, hint)
    if number == INTERRUPT:
        failure_reason = INTERRUPT_REASON
    details = f"{code}: {hint}" if hint else code
    return {
        "id": clean_text(record_id),
        "createdDateTime": timestamp(at),
        "userDisplayName": _claim(claims, "name"),
        "userPrincipalName": _claim(claims, "preferred_username", "upn", "email"),
        "userId": _claim(claims, "oid", "sub"),
        "appId": clean_text(app_id),
        "appDisplayName": clean_text(app_name),
        "ipAddress": clean_text(client_address),
        "clientAppUsed": "Browser",
        "userAgent": clean_text(user_agent, LONGEST_USER_AGENT),
        "correlationId": clean_text(correlation_id),
        "conditionalAccessStatus": _conditional_access_status(applied),
        "isInteractive": interactive,
        "riskDetail": "none" if risk else "hidden",
        "riskLevelAggregated": risk or "hidden",
        "riskLevelDuringSignIn": risk or "hidden",
        "riskState": "atRisk" if risk in ("low", "medium", "high") else "none",
        "riskEventTypes": [],
        "riskEventTypes_v2": [],
        "resourceDisplayName": clean_text(app_name),
        "resourceId": clean_text(app_id),
        "status": {
            "errorCode": number,
            "failureReason": None if number == SUCCESS else clean_text(failure_reason or code),
            "additionalDetails": clean_text(details) or None,
        },
        "deviceDetail": {
            "deviceId": "",
            "displayName": None,
            "operatingSystem": "",
            "browser": "",
            "isCompliant": None,
            "isManaged": None,
            "trustType": None,
        },
        "location": {
            "city": None,
            "state": None,
            "countryOrRegion": None,
            "geoCoordinates": {"altitude": None, "latitude": None, "longitude": None},
        },
        "appliedConditionalAccessPolicies": [dict(policy) for policy in applied],
        "kmsi": {
            "code": clean_text(code),
            "decision": clean_text(decision),
            "persistent": persistent,
            **({"missing": list(missing)} if missing else {}),
        },
    }


def _conditional_access_status(applied: Sequence[Mapping[str, Any]]) -> str:
    results = {policy.get("result") for policy in applied}
    return "failure" if "failure" in results else "success" if "success" in results else "notApplied"


def timestamp(at: float) -> str:
    """An instant as Graph writes it: ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _claim(claims: Mapping[str, Any] | None, *names: str) -> str:
    for name in names:
        text = clean_text((claims or {}).get(name)).strip()
        if text:
            return text
    return ""

"""What persons are told: of a session that is over, of a sign-in that is wanted, of a failure. In their words, not in
the protocols': the issuer is called "your sign-in service", everywhere on our pages."""

from __future__ import annotations

from ..vocabulary.errors import ProtocolError, ProviderUnavailable, Refused, Unavailable
from ..vocabulary.session import EndReason

CODE_OF_REASON: dict[EndReason, str] = {
    "idle": "session_expired",
    "absolute": "session_expired",
    "signed_out": "signed_out",
    "front_channel": "signed_out",
    "back_channel": "signed_out",
    "replaced": "session_replaced",
    "revoked": "session_revoked",
    "sign_in_frequency": "sign_in_frequency",
    "policy": "policy",
}

WHY: dict[str, tuple[str, str]] = {
    # Why a session ended, by the reason.
    "idle": (
        "Your session has ended",
        "You were away for a while, so you were signed out to keep your account safe. Sign in to go on.",
    ),
    "absolute": ("Your session has ended", "A session here lasts only so long, even in use. Sign in to go on."),
    "signed_out": ("You are signed out", "You signed out in this browser. Sign in to go on."),
    "front_channel": (
        "You are signed out",
        "You signed out of another app, or at your sign-in service, and so you were signed out here, too. "
        "Sign in to go on.",
    ),
    "back_channel": (
        "You are signed out",
        "Your sign-in service has ended your session: you signed out there or of another app, or an administrator "
        "did it. Sign in to go on.",
    ),
    "replaced": (
        "Your session has ended",
        "You have signed in again in this browser, and the newer session took this one’s place. Sign in to go on.",
    ),
    "revoked": (
        "Your session was ended",
        "You ended it from another device, or an administrator did, or your sign-in service. Sign in to go on; "
        "you will be asked to prove that it is you.",
    ),
    "sign_in_frequency": (
        "Please sign in again",
        "Your organization asks for a fresh sign-in from time to time. Sign in to go on.",
    ),
    "policy": (
        "Please sign in again",
        "Your organization’s rules for signing in have changed since you did. Sign in to go on.",
    ),
    # What is wanted where none ended, by the code.
    "no_session": ("Please sign in", "You need to be signed in to do this."),
    "session_unconfirmed": ("Please sign in again", "Your sign-in service has not confirmed your session for a while."),
    "insufficient_user_authentication": ("Please sign in again", "This needs a fresh sign-in."),
    "password_change_required": (
        "Please change your password",
        "Your organization wants you to change your password before you go on. Then sign in again.",
    ),
}

NOT_CHANGED_YET = "As far as we know, it is still the old one. If you have just changed it, try again in a minute."
"""What is said besides, about the password, to who has signed in again since."""

_ABOUT_THE_LINK = (
    "bad_parameters",
    "bad_prompt",
    "bad_return_target",
    "initiate_login_issuer",
    "parameter_repeated",
    "unknown_user_flow",
)
"""Mistakes of whoever made the link. To who followed it they say nothing."""


def refusal(error: Refused) -> tuple[str, str, str]:
    """A refused request: title, text, and for who made the link what is wrong with it."""
    words = sentence(error.detail)
    if error.code in _ABOUT_THE_LINK:
        return "This link does not work", "There is a mistake in its address.", words
    return "That did not work", words, ""


def failed_sign_in(error: Refused | Unavailable) -> tuple[str, str]:
    """A failed sign-in for who tried, and in the protocol's words, where those are others."""
    if isinstance(error, ProviderUnavailable):
        return "Your sign-in service does not answer as it should. Please try again in a moment.", ""
    if isinstance(error, Unavailable):
        return "Something that signing in needs is not available. Please try again in a moment.", ""
    words = sentence(error.detail)
    match error.code:
        case "access_denied":  # the issuer's answer to who cancels, and to whom it refuses
            return "You have cancelled the sign-in, or your sign-in service did not let you in.", ""
        case "provider_error":
            return "Your sign-in service could not sign you in.", ""
        case "tenant_not_allowed":
            return words, ""
    if isinstance(error, ProtocolError):
        return "Your sign-in service did not give an answer that can be accepted.", words
    return words, ""


def sentence(text: str) -> str:
    """A detail as a sentence."""
    return text[:1].upper() + text[1:] + "."

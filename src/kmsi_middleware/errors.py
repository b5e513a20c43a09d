"""The errors that an app may meet. See :mod:`kmsi_middleware.vocabulary.errors` for the whole tree."""

from .vocabulary.errors import (
    KMSIError,
    NoAccessToken,
    ProtocolError,
    ProviderUnavailable,
    Refused,
    SessionEnded,
    SessionRequired,
    SettingsError,
    SignInRevoked,
    StoreConflict,
    StoreUnavailable,
    Unavailable,
    UnknownSession,
)

__all__ = [
    "KMSIError",
    "NoAccessToken",
    "ProtocolError",
    "ProviderUnavailable",
    "Refused",
    "SessionEnded",
    "SessionRequired",
    "SettingsError",
    "SignInRevoked",
    "StoreConflict",
    "StoreUnavailable",
    "Unavailable",
    "UnknownSession",
]

"""What can go wrong, as a tree. Every error has a stable code.

    KMSIError
    ├── SettingsError            a setting that can't work; stops the start-up
    ├── Refused                  a request that is refused; carries its HTTP status
    │   └── ProtocolError        a message of the identity provider (IdP) that fails a check
    ├── Unavailable              a part we need did not answer; 503 and Retry-After
    │   ├── StoreUnavailable
    │   └── ProviderUnavailable
    ├── StoreConflict            another writer was faster (a taken key, an older version)
    │   └── SignInRevoked        the user's sessions were revoked after this sign-in began
    ├── UnknownSession           an id that is no session's
    ├── SessionRequired          the app wants what only a session has, and there is none
    ├── SessionEnded             the session was there when the request began, and is over now
    └── NoAccessToken            there is no access token to give to the app

The code is the same in the exception, on the page, in the JSON and in the sign-in log. It never changes its
meaning; texts may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import EndReason


class KMSIError(Exception):
    """Base of all errors that this package raises on purpose."""

    code = "error"


class SettingsError(KMSIError):
    """A setting is unknown or can't work. Says which one, its value and what would work."""

    code = "settings"

    def __init__(self, name: str, value: object, problem: str) -> None:
        self.name = name
        self.value = value
        self.problem = problem
        super().__init__(f"setting {name} = {value!r}: {problem}")


class Refused(KMSIError):
    """A hostile, broken or late request. ``status`` is the HTTP status that it deserves; ``retry``: whether the
    person is offered to sign in."""

    def __init__(self, code: str, detail: str, *, status: int = 400, retry: bool = False) -> None:
        self.code = code
        self.retry = retry
        self.detail = detail
        self.status = status
        super().__init__(f"{code}: {detail}")


class ProtocolError(Refused):
    """The identity provider answered something that a relying party must not accept.

    ``hint`` is the error code and description that the provider itself sent, if it sent one.
    """

    def __init__(self, code: str, detail: str, *, status: int = 400, hint: str = "") -> None:
        super().__init__(code, detail, status=status)
        self.hint = hint


class Unavailable(KMSIError):
    """Something we depend on did not answer. Nobody is signed out by it; ``retry_after`` is in seconds."""

    code = "unavailable"
    retry_after = 5

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(f"{self.code}: {detail}")


class StoreUnavailable(Unavailable):
    """The session store failed. Not the same as "no such session", which is an answer."""

    code = "store_unavailable"


class ProviderUnavailable(Unavailable):
    """The identity provider could not be reached, answered with a server error, or with what nobody can read:
    then ``code`` says which of its answers it was."""

    code = "provider_unavailable"

    def __init__(self, detail: str, *, code: str = "provider_unavailable") -> None:
        self.code = code
        super().__init__(detail)


class StoreConflict(KMSIError):
    """A key was taken at ``create``, or a version had moved on at ``save``."""

    code = "store_conflict"


class SignInRevoked(StoreConflict):
    """At ``create``: the user's sessions, or everybody's, were revoked after the sign-in began."""

    code = "sign_in_revoked"


class UnknownSession(KMSIError, LookupError):
    """There is no session of this id (any more), or it is no id."""

    code = "unknown_session"


class SessionRequired(KMSIError, TypeError):
    """The app wrote to ``request.session``, or asked for an access token, in a request that has no session. An app may
    raise it, too."""

    code = "session_required"

    def __init__(self, what: str = "there is nowhere to keep data", before: str = "writing") -> None:
        super().__init__(
            f"this request has no session, so {what}: "
            f"protect the path, or see before {before} whether somebody is signed in (request.user.is_authenticated; "
            'under WSGI environ["kmsi"] is not None)'
        )


class SessionEnded(KMSIError):
    """The session is over since this request began: signed out meanwhile, or the issuer does not stand behind it any
    more. ``reason`` is the tombstone's word, ``None`` if there is none."""

    code = "session_ended"

    def __init__(self, reason: EndReason | None) -> None:
        self.reason = reason
        super().__init__(f"{self.code}: the session is over ({reason or 'nothing is known of it'})")


class NoAccessToken(KMSIError):
    """There is no access token for the app. ``no_access_token``: the issuer gave none. ``access_token_expired``: it
    is over, and without a refresh token (scope ``offline_access``) there is no other."""

    code = "no_access_token"

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")

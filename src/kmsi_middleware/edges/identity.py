"""Who the app sees: ``request.user`` and ``request.auth``, as Starlette's own authentication gives them."""

from __future__ import annotations

from typing import Any

from starlette.authentication import AuthCredentials, BaseUser, UnauthenticatedUser

from ..vocabulary.session import Session


class User(BaseUser):
    """The signed-in person."""

    __slots__ = ("identity_", "session")

    def __init__(self, session: Session, user_claim: str = "sub") -> None:
        self.session = session
        self.identity_ = str(session.claims.get(user_claim) or session.subject)

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        """``name``, else ``preferred_username``, ``email`` or the subject."""
        return self.session.name

    @property
    def identity(self) -> str:
        """``sub``, or the claim that the setting ``user_claim`` names."""
        return self.identity_

    @property
    def claims(self) -> dict[str, Any]:
        """A copy of the ID token's claims."""
        return dict(self.session.claims)


class _Credentials(AuthCredentials):
    """Shared by all requests, so it must not be changed by any."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes  # type: ignore[assignment]


SIGNED_IN = _Credentials("authenticated")
ANONYMOUS = _Credentials()
NOBODY = UnauthenticatedUser()

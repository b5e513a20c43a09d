"""Who the app sees: ``request.user`` and ``request.auth``, as Starlette's own authentication gives them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NoReturn

from starlette.authentication import AuthCredentials, BaseUser, UnauthenticatedUser

from ..vocabulary.session import Session


class _FixedList(list[Any]):
    """A list, and to ``json`` and ``isinstance`` nothing else, that refuses to be changed."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("claims can't be changed: every request of the session is shown the same. Make a copy")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        return list, (list(self),)  # a copy can be changed


class _FixedDict(dict[str, Any]):
    """The same for a dict."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("claims can't be changed: every request of the session is shown the same. Make a copy")

    __setitem__ = __delitem__ = __ior__ = setdefault = update = pop = popitem = clear = _refuse

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)


def fixed(value: Any) -> Any:
    """JSON as it is, but that nobody can change it."""
    if isinstance(value, dict):
        return _FixedDict({name: fixed(part) for name, part in value.items()})
    return _FixedList(map(fixed, value)) if isinstance(value, list) else value


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
        return deepcopy(dict(self.session.claims))


class _Credentials(AuthCredentials):
    """Shared by all requests, so it must not be changed by any."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes  # type: ignore[assignment]


SIGNED_IN = _Credentials("authenticated")
ANONYMOUS = _Credentials()
NOBODY = UnauthenticatedUser()

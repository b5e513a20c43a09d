"""Azure AD B2C's policy files as the setting ``user_flows``.

    from kmsi_middleware import KMSIMiddleware, b2c

    flows = b2c.load("SignUpOrSignin.xml", "TrustFrameworkExtensions.xml")
    app.add_middleware(KMSIMiddleware, user_flows={**flows, **b2c.load("PasswordReset.xml")}, …)

``kmsi import-b2c`` prints the same, and what has no meaning here.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from .rules.b2c.elements import LARGEST, PolicyFileError
from .rules.b2c.load import load_policy_file
from .rules.b2c.settings import Imported, imported
from .vocabulary.errors import SettingsError
from .vocabulary.user_flows import Kind, UserFlow, UserFlows

__all__ = ["Imported", "PolicyFileError", "UserFlow", "UserFlows", "load", "read"]


def load(*paths: str | PathLike[str], kind: Kind | None = None, authority: str | None = None) -> UserFlows:
    """The user flow of one relying party: its policy file, and where needed the extension and base files below it.

    ``kind`` and ``authority`` stand for what the files tell of them, for a user journey with a name of its own and a
    tenant with a domain of its own. Raises :class:`PolicyFileError` naming file, line and element; and
    :class:`SettingsError` for a file that can't be read or does not say enough.
    """
    return read(*paths, kind=kind, authority=authority).user_flows()


def read(*paths: str | PathLike[str], kind: Kind | None = None, authority: str | None = None) -> Imported:
    """The same, with all that the files say and leave open; a fragment of a policy is enough."""
    return imported([load_policy_file(_bytes(Path(path)), str(path)) for path in paths], kind=kind, authority=authority)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        problem = f"the file can’t be read: {error.strerror or error}"
        raise SettingsError("user_flows", str(path), problem) from error

"""Where sessions are kept. :class:`kmsi_middleware.vocabulary.effects.SessionStore` is the contract.

=============  ===========================================================================
``memory:``    one process, gone with it; for tests (:mod:`.memory`)
``sqlite:PATH``  a file that all processes of one machine share; the default (:mod:`.sqlite`)
=============  ===========================================================================
"""

from __future__ import annotations

from pathlib import Path

from ...vocabulary.effects import SessionStore
from ...vocabulary.errors import SettingsError
from .asynchronous import AsyncSessionStore
from .memory import MemoryStore
from .sqlite import SQLiteStore

__all__ = ["AsyncSessionStore", "MemoryStore", "SQLiteStore", "open_store"]


def open_store(text: str) -> SessionStore:
    """The store that the setting ``store`` names. Opens no file yet.

    Raises :class:`SettingsError` for anything but ``memory:`` and ``sqlite:PATH``.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "memory" and rest == "" and text.endswith(":"):
        return MemoryStore()
    if scheme == "sqlite" and rest not in ("", ":memory:"):
        return SQLiteStore(Path(rest).expanduser())
    raise SettingsError("store", text, "give sqlite:PATH or memory:")

"""Where sessions are kept. :class:`kmsi_middleware.vocabulary.effects.SessionStore` is the contract.

=================  ===========================================================================
``memory:``        one process, gone with it; for tests (:mod:`.memory`)
``sqlite:PATH``    a file that all processes of one machine share; the default (:mod:`.sqlite`)
``redis://HOST…``  a Redis or Valkey that several machines share (:mod:`.redis`)
=================  ===========================================================================
"""

from __future__ import annotations

from pathlib import Path

from ...vocabulary.addresses import without_password
from ...vocabulary.effects import SessionStore
from ...vocabulary.errors import SettingsError
from .asynchronous import AsyncSessionStore
from .memory import MemoryStore
from .sqlite import SQLiteStore

__all__ = ["AsyncSessionStore", "MemoryStore", "SQLiteStore", "open_store"]


def open_store(text: str, *, revocation_lag: int = 0) -> SessionStore:
    """The store that the setting ``store`` names. Opens nothing yet.

    Raises :class:`SettingsError` for what is none of the spellings.
    """
    scheme, _, rest = text.partition(":")
    if scheme.partition("+")[0] in ("redis", "rediss") and rest.startswith("//"):
        try:
            from .redis import RedisStore, read  # an extra, and it takes time to import
        except ImportError as error:
            problem = f"{error.name} is not installed: pip install 'kmsi-middleware[redis]'"
            raise SettingsError("store", without_password(text), problem) from None
        return RedisStore(read(text), revocation_lag=revocation_lag)
    if revocation_lag:
        problem = "it is for a store on redis:// only; all others are strict and no slower for it. Leave it at 0"
        raise SettingsError("revocation_lag", revocation_lag, problem)
    if scheme == "memory" and rest == "" and text.endswith(":"):
        return MemoryStore()
    if scheme == "sqlite" and rest not in ("", ":memory:"):
        return SQLiteStore(Path(rest).expanduser())
    raise SettingsError("store", without_password(text), "give sqlite:PATH, redis://HOST:6379/0 or memory:")

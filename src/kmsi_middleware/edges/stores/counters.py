"""The shared counters: how a process knows, without a read, that what it holds of a session is still true.

A file of ``SLOTS`` unsigned 64-bit counts lies beside the database and is mapped into the memory of every
process. A session's slot is the first two bytes of its key. The rules:

1. A count is stored only while its writer holds the database's write lock, so counts change one at a time, over
   all processes. They only ever grow: no value comes back.
2. **Mark.** A write makes its slot odd, as the last thing before COMMIT. Nobody can see the write before that.
3. **Settle.** After COMMIT, and before the write is answered, the writer takes the lock once more, and if the
   slot still holds its very mark, makes it even. If it does not, another write has marked the slot since, and
   settling is that one's business; this one's commit is in the database already.
4. A reader notes the count, then loads. If the count was even, what it loaded is true for as long as the count
   is the same. An odd count vouches for nothing.

Why 4 holds: let a reader see the even value *v* before its load and again later. Values never come back, so
nothing was stored in between, and a commit that became visible in between would have been marked in between
(2). So every commit visible by the second look was marked before *v* was stored. *v* was stored by a write whose
mark was the last one (3), after its own commit, and the commits of earlier marks came before that mark (1). The
load came after all of them. So a hit is never older than what the database says at that moment, and not only
than what was answered.

* A writer that is killed between mark and settle leaves its slot odd: everyone loads. The next write to that
  slot heals it. So does one that could not get the lock a second time.
* A COMMIT that fails is settled like one that succeeds; a count that moved for nothing costs one load.
* A file that is made anew starts at a random count, so that a count noted from the old one vouches for nothing.
* The file has an identity, and the database holds it too. A process that finds the file missing or foreign makes
  a new one, but only after it has proved itself alone (:mod:`.schema`): two processes with two files would not
  see each other's writes. So deleting the file under running processes leaves those as they are, and newcomers
  refuse to work until all have stopped. Never truncate it: as with SQLite's own ``-shm`` file, a process that has
  it mapped would be killed by the kernel.
"""

from __future__ import annotations

import mmap
import os
import secrets
from array import array
from pathlib import Path

from ...vocabulary.effects import SLOTS

_COUNTS = SLOTS * 8
_IDENTITY = 16


class Counters:
    """The counts of a database, mapped into memory. Mark and settle only under the database's write lock."""

    def __init__(self, mapped: mmap.mmap) -> None:
        # An aligned 8-byte count is read and written in one piece; the mapping lives as long as a view of it.
        self.view = memoryview(mapped)[:_COUNTS].cast("Q")

    def mark(self, slot: int) -> int:
        """Make the slot odd; returns the value, which nobody has stored before."""
        value = (self.view[slot] + 1) | 1
        self.view[slot] = value
        return value

    def settle(self, slot: int, mark: int) -> None:
        """Make the slot even, unless a later write has marked it."""
        if self.view[slot] == mark:
            self.view[slot] = mark + 1


def attach(path: Path, identity: bytes) -> Counters | None:
    """Map the file; ``None`` if it is missing or another one. Raises ``OSError`` if it can't be written."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(descriptor).st_size != _COUNTS + _IDENTITY:
            return None
        mapped = mmap.mmap(descriptor, _COUNTS + _IDENTITY)
    finally:
        os.close(descriptor)
    if mapped[_COUNTS:] != identity:
        mapped.close()
        return None
    return Counters(mapped)


def create(path: Path) -> bytes:
    """Write a new file, mode 0600, in place of any old one; returns its identity. Raises ``OSError``."""
    identity = secrets.token_bytes(_IDENTITY)
    start = secrets.randbits(62) & ~1
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(array("Q", [start]).tobytes() * SLOTS + identity)
    new.replace(path)
    return identity

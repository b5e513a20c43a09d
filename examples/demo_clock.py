"""The demo's clock: the time of day, and whatever was added to it, for all three servers at once.

    .venv/bin/python examples/demo_clock.py            says what time it is there
    .venv/bin/python examples/demo_clock.py +1h        an hour passes; also +45m, +2d, +90s
    .venv/bin/python examples/demo_clock.py run MODULE ...   python -m MODULE ..., by this clock

It only goes forwards: what was signed at noon must not come back in the morning. What was added is kept in the file
that DEMO_CLOCK names, or in .demo/clock; whoever wants the true time back deletes .demo. The apps know nothing of
it: `run` puts the clock where Python's own one is, before anything else is loaded.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

FILE = Path(os.environ.get("DEMO_CLOCK") or Path(__file__).resolve().parent.parent / ".demo" / "clock")
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONGEST = 10 * 365 * 86_400
LOOK_SECONDS = 0.2


class DemoClock:
    """Answers seconds since 1970. The file is looked at every 0.2 seconds, and read when it changed."""

    def __init__(self, file: Path) -> None:
        self._file, self._true_time = file, time.time
        self._looked, self._changed, self._added = float("-inf"), -1, 0

    def __call__(self) -> float:
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look()
        return self._true_time() + self._added

    def _look(self) -> None:
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._changed:
                self._added, self._changed = added(self._file), changed
        except (OSError, ValueError):
            self._added = max(self._added, 0)  # not there yet


def added(file: Path) -> int:
    """The seconds in the file."""
    return int(file.read_text()) if file.exists() else 0


def move(file: Path, seconds: int) -> None:
    total = added(file) + seconds
    if total > LONGEST:
        raise ValueError("that is further than ten years")
    file.parent.mkdir(mode=0o700, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(str(total))
    draft.replace(file)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"] and len(arguments) > 1:
        time.time = DemoClock(FILE)
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return 0
    step = re.fullmatch(r"\+([0-9]{1,9})([smhd])", arguments[0]) if len(arguments) == 1 else None
    if arguments and not step:
        print("Give +1h, +45m, +2d or +90s, or nothing. The clock only goes forwards.", file=sys.stderr)
        return 2
    try:
        if step:
            move(FILE, int(step[1]) * UNITS[step[2]])
        ahead = added(FILE)
    except (OSError, ValueError) as error:
        print(f"{FILE}: {error}", file=sys.stderr)
        return 1
    there = datetime.fromtimestamp(time.time() + ahead, UTC)
    print(f"For the demo it is {there:%d %B %Y, %H:%M:%S} UTC, {ahead:,} seconds ahead.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

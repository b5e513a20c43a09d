"""``make fuzz``: a million hostile inputs, other ones each time. A failure names the input, and how to see it again."""

from __future__ import annotations

import argparse
import logging
import time
from concurrent.futures import ProcessPoolExecutor

from tests.fuzz.targets import run

PART = 20_000
COUNT = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help=f"inputs ({COUNT:,})")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to see the same inputs again")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    parts = -(-given.count // PART)
    print(f"{parts * PART:,} inputs from seed {given.seed}, in {given.processes} processes …")
    totals: dict[str, int] = {}
    with ProcessPoolExecutor(given.processes, initializer=logging.disable) as pool:
        for counts in pool.map(run, [PART] * parts, range(given.seed, given.seed + parts)):
            for name, count in counts.items():
                totals[name] = (
                    max(totals.get(name, 0), count) if name.startswith("kept") else totals.get(name, 0) + count
                )
    for name, count in totals.items():
        print(f"{name:<24}{count:>12,}")
    print("No 500, no session, no growth, no answer above its limit.")


if __name__ == "__main__":
    main()

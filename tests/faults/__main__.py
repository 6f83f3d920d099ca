"""`python -m faults [damage] [guided] [kills] [pairs] [shares]`: try these on one small store; exit 1 where something went wrong.

How many by environment variable: FUZZ_TRIES, GUIDED, KILLS, PAIRS, SHARES (rounds); FAULTS_SEED says which.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from faults import damage, guided, kills, pairs, shares
from faults.world import World

HARNESSES = {
    "damage": (damage.run, "FUZZ_TRIES", 1000),
    "guided": (guided.run, "GUIDED", 300_000),
    "kills": (kills.run, "KILLS", 200),
    "pairs": (pairs.run, "PAIRS", 10),
    "shares": (shares.run, "SHARES", 10),
}


def main() -> int:
    chosen = sys.argv[1:] or list(HARNESSES)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    bad = 0
    try:
        world = World.make(folder / "world") if chosen != ["guided"] else World(folder)
        for name in chosen:
            run, variable, usual = HARNESSES[name]
            began = time.monotonic()
            bad += run(world, folder, int(os.environ.get(variable, usual)))
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Plants known bugs in the task stores, one after another, and sees whether the state machine finds each.

    .venv/bin/python chaos/planted_bugs.py [--examples 3000] [--seed 1]

Exits 1 if one is not found.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.contract.machine.bugs import BUGS
from tests.contract.machine.running import steps_to_find


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--examples", type=int, default=3_000, help="before one counts as not found")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    missed = 0
    print(f"{'store':8}{'bug':50}{'steps':>8}{'s':>8}")
    for bug in BUGS:
        began = time.monotonic()
        steps = steps_to_find(bug, examples=given.examples, start=given.seed)
        missed += steps is None
        told = "missed" if steps is None else str(steps)
        print(f"{bug.store:8}{bug.name:50}{told:>8}{time.monotonic() - began:8.1f}", flush=True)
    print(f"{len(BUGS) - missed} of {len(BUGS)} found")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

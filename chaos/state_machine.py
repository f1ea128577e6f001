"""The task stores against a plain model, act by act in any order, for as long as one likes.

    .venv/bin/python chaos/state_machine.py [--steps 20000] [--store memory] [--minutes 0] [--seed 1]

Counts the steps that changed something; a store on a server, where a step takes longer, is given up to five minutes for
them. With `--minutes` it goes on for that long, whatever `--steps` says. Exits 1 at the first violation, after printing
the shortest way to it that was found.
"""

import argparse
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.contract.machine.running import STORES, drive, store

EXAMPLES = {"postgres": 10}
"""In one round, else 100: what Hypothesis remembers of a round is forgotten after it."""
LIMITS_S = {"postgres": 300.0}
"""Time for a store if none is asked for."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=20_000, help="transitions that changed something, in each store")
    parser.add_argument("--store", choices=STORES, action="append", help="only this one")
    parser.add_argument("--minutes", type=float, default=0.0, help="for so long in each store instead")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    return max(storm(name, given.steps, given.minutes * 60, given.seed) for name in given.store or STORES)


def storm(name: str, wanted: int, seconds: float, start: int) -> int:
    began, effective, steps, rounds, violations = time.monotonic(), 0, 0, 0, 0
    limit_s, wanted = (seconds, sys.maxsize) if seconds else (LIMITS_S.get(name, float("inf")), wanted)
    with store(name) as open_subject:
        while not violations and effective < wanted and time.monotonic() - began < limit_s:
            try:
                counted = drive(open_subject, examples=EXAMPLES.get(name, 100), start=start + rounds)
            except AssertionError:
                traceback.print_exc()
                violations, rounds = 1, rounds + 1
                break
            rounds, steps, effective = rounds + 1, steps + counted.steps, effective + counted.effective
    took = time.monotonic() - began
    print(
        f"{name}: {effective} effective transitions of {steps} steps in {took:.0f} s "
        f"({effective / took:.0f}/s, {effective / took * 60:.0f} a minute), "
        f"seeds {start} to {start + rounds - 1}, violations {violations}",
        flush=True,
    )
    return violations


if __name__ == "__main__":
    sys.exit(main())

"""Every act of a task store in any order, through crashes, restarts and jumping clocks, against a plain model."""

import pytest
from tests.contract.machine.bugs import BUGS, Bug
from tests.contract.machine.running import STORES, drive, steps_to_find, store

EXAMPLES = {"memory": 60, "sqlite": 30, "postgres": 6}
"""Some seconds each; `chaos/state_machine.py` runs it for as long as one likes."""


@pytest.mark.parametrize("name", STORES)
def test_store_does_what_the_model_does(name: str) -> None:
    with store(name) as open_subject:
        counted = drive(open_subject, examples=EXAMPLES[name], start=1)
    assert counted.effective > 5 * EXAMPLES[name]


@pytest.mark.parametrize(
    "bug", [bug for bug in BUGS if bug.is_quick], ids=lambda bug: f"{bug.store}-{bug.name.replace(' ', '-')}"
)
def test_machine_finds_a_planted_bug(bug: Bug) -> None:
    assert steps_to_find(bug, examples=400) is not None

"""How a conversion ended, told apart."""

import signal

import pytest

from morag.domain.failure import FailureType
from morag.protocol import ChildFailed
from morag.worker.sandbox import verdict
from morag.worker.sandbox.verdict import Ended


def test_sigkill_is_a_crash_unless_the_kernel_ran_out_of_memory() -> None:
    end = Ended(returncode=-signal.SIGKILL)
    assert verdict.ended(end, kernel_killed=False).code == "child_crashed"
    assert verdict.ended(end, kernel_killed=True).type is FailureType.RESOURCE_EXHAUSTION


def test_crash_is_no_memory_failure_because_another_process_was_killed() -> None:
    assert verdict.ended(Ended(returncode=-signal.SIGSEGV), kernel_killed=True).code == "child_crashed"


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (-11, "SIGSEGV (segmentation fault)"),
        (-6, "SIGABRT (aborted)"),
        (3, "exit code 3"),
        (-99, "signal 99"),
    ],
)
def test_end_is_told_in_words(returncode: int, words: str) -> None:
    assert words in verdict.in_words(returncode)


def test_equal_crashes_have_equal_signatures_and_others_do_not() -> None:
    signatures = [verdict.ended(Ended(returncode=code), kernel_killed=False).signature for code in (-11, -11, -6)]
    assert signatures[0] == signatures[1] != signatures[2]


def test_child_out_of_memory_is_exhaustion() -> None:
    answer = ChildFailed(code=verdict.OUT_OF_MEMORY, message="", is_final=False, signature="MemoryError in m.f")
    failure = verdict.raised(answer)
    assert (failure.type, failure.signature) == (FailureType.RESOURCE_EXHAUSTION, "MemoryError in m.f")


def test_reason_for_not_starting_shows_no_path() -> None:
    failure = verdict.not_started(OSError(28, "No space left on device", "/secret/path"))
    assert failure.message == "The conversion could not be started: no space left on device."

"""What a child process passes on of its function's progress."""

import json
import os
from io import FileIO

from morag.worker.functions.call import Answers
from morag.worker.functions.frames import read


def passed_on(*reports: tuple[float, str]) -> list[tuple[float, str]]:
    """Reports made at once, as the parent hears of them."""
    reading, writing = os.pipe()
    with FileIO(writing, "wb") as pipe:
        answers = Answers(pipe)
        for fraction, stage in reports:
            answers.progress(fraction, stage, "")
    with os.fdopen(reading, "rb") as stream:
        messages = list(iter(lambda: read(stream), None))
    return [(fraction, stage) for fraction, stage, _ in (json.loads(body) for _, body in messages)]


def test_another_stage_is_passed_on_at_once() -> None:
    stages = [(0.1, "loading"), (0.2, "listening"), (0.3, "scoring")]
    assert passed_on(*stages) == stages


def test_steps_within_a_stage_are_not_all_passed_on() -> None:
    told = passed_on(*[(n / 500, "listening") for n in range(500)])
    assert told[0] == (0.0, "listening")
    assert len(told) < 250

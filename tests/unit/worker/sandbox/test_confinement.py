"""The rules a child binds itself with, as values."""

import errno
import json

import pytest

from morag.worker.sandbox import landlock, probe, seccomp
from morag.worker.sandbox.confinement import Bounds, Layers
from morag.worker.sandbox.serving import signature

ALLOWED, REFUSED, PRETENDED = seccomp.ALLOW, seccomp.ANSWER | errno.EPERM, seccomp.ANSWER


def verdict_on(number: int, *, machine: str = "x86_64", architecture: int | None = None, network: bool = False) -> int:
    """Run the filter as the kernel would."""
    program = seccomp.instructions(machine, network=network)
    loaded, at = 0, 0
    memory = {seccomp.NUMBER_OFFSET: number, seccomp.MACHINE_OFFSET: architecture or seccomp.MACHINES[machine][1]}
    while True:
        code, if_true, if_false, value = program[at]
        if code == seccomp.RETURN:
            return value
        if code == seccomp.LOAD:
            loaded = memory[value]
            at += 1
        else:
            holds = loaded == value if code == seccomp.IF_EQUAL else loaded >= value
            at += 1 + (if_true if holds else if_false)


@pytest.mark.parametrize(("machine", "read", "socket", "fchmod"), [("x86_64", 0, 41, 91), ("aarch64", 63, 198, 52)])
def test_filter_refuses_sockets_pretends_modes_and_lets_the_rest(
    machine: str, read: int, socket: int, fchmod: int
) -> None:
    verdicts = [verdict_on(number, machine=machine) for number in (read, socket, fchmod)]
    assert verdicts == [ALLOWED, REFUSED, PRETENDED]


def test_filter_lets_sockets_through_where_network_is_allowed_and_nothing_else() -> None:
    assert verdict_on(seccomp.SOCKETS["socket"][0], network=True) == ALLOWED
    assert verdict_on(seccomp.REFUSED["ptrace"][0], network=True) == REFUSED


def test_filter_refuses_calls_by_other_numbers() -> None:
    assert verdict_on(0, architecture=0x40000003) == REFUSED
    assert verdict_on(0 | seccomp.X32_NUMBERS) == REFUSED


@pytest.mark.parametrize(("version", "bits"), [(1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (7, 16)])
def test_rights_asked_for_are_those_the_kernel_knows(version: int, bits: int) -> None:
    assert landlock.everything(version) == (1 << bits) - 1


def test_programs_cannot_be_run_from_the_work_folder() -> None:
    assert not landlock.own_folder(7) & landlock.EXECUTE
    assert landlock.own_folder(7) & landlock.WRITE_FILE


@pytest.mark.parametrize("required", [None, Layers(landlock=7, seccomp=True, namespaces=False)])
def test_bounds_survive_the_command_line(required: Layers | None) -> None:
    bounds = Bounds(
        parent_pid=1, inbox="/in", work="/w", read_only=("/a", "/b"), network=False, required=required, file_bytes=9
    )
    assert Bounds.decode(bounds.encode()) == bounds
    assert json.loads(bounds.encode())["inbox"] == "/in"


@pytest.mark.parametrize(
    ("layers", "safe"),
    [
        (Layers(landlock=7, seccomp=True, namespaces=True), True),
        (Layers(landlock=2, seccomp=True, namespaces=True), False),  # it could be cut off with truncate()
        (Layers(landlock=7, seccomp=False, namespaces=True), False),  # its mode could be changed
    ],
)
def test_input_is_linked_only_where_it_cannot_be_changed(layers: Layers, *, safe: bool) -> None:
    assert layers.input_is_safe is safe


def test_doctor_hears_what_is_enforced_and_what_is_not() -> None:
    all_of_it = probe.describe(Layers(landlock=7, seccomp=True, namespaces=True))
    nothing = probe.describe(Layers(landlock=0, seccomp=False, namespaces=False))
    assert [(subject, holds) for subject, holds, _ in all_of_it] == [
        ("files", True),
        ("network", True),
        ("processes", True),
    ]
    assert [holds for _, holds, _ in nothing] == [False, False, False]


def caught(text: str) -> ValueError:
    try:
        json.loads(text)
    except ValueError as error:
        return error
    raise AssertionError


def test_signature_names_the_innermost_function_that_is_not_the_standard_librarys() -> None:
    assert signature(caught("{")).startswith("JSONDecodeError in ")
    assert signature(caught("{")).endswith(".caught")
    assert signature(caught("{")) == signature(caught("["))

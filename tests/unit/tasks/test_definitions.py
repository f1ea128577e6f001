import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from morag import TaskContext, TaskManager
from morag.control.tasks.definitions import Definition, Nature, Registry, Terms, define
from morag.domain.errors import Conflict, InvalidRequest


def plain(x: int, y: int = 2) -> int:
    return x + y


async def coroutine() -> None:
    await asyncio.sleep(0)


def with_context(ctx: TaskContext, x: int) -> int:
    return x + ctx.attempt


def with_quoted_context(x: int, *, context: "TaskContext") -> int:
    return x + context.attempt


def defined(function: Callable[..., Any], **terms: Any) -> Definition:
    return define(function, Terms(**terms))


@pytest.mark.parametrize(
    ("function", "terms", "nature"),
    [
        (coroutine, {}, Nature.LOOP),
        (coroutine, {"timeout_s": 1.0}, Nature.LOOP),
        (coroutine, {"heavy": True}, Nature.CHILD),
        (plain, {}, Nature.THREAD),
        (plain, {"timeout_s": 1.0}, Nature.CHILD),
        (plain, {"heavy": True}, Nature.CHILD),
    ],
)
def test_where_a_function_runs_follows_from_what_it_is(
    function: Callable[..., Any], terms: dict[str, Any], nature: Nature
) -> None:
    assert defined(function, **terms).nature is nature


@pytest.mark.parametrize(("function", "name"), [(with_context, "ctx"), (with_quoted_context, "context")])
def test_a_context_is_found_by_its_annotation_and_is_no_argument(function: Callable[..., Any], name: str) -> None:
    definition = defined(function)
    assert definition.context == name
    assert list(definition.signature.parameters) == ["x"]


def generator() -> Any:
    yield 1


BAD: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (plain, {"name": "a b"}, "cannot name"),
    (lambda: 1, {}, "cannot name"),
    (generator, {}, "generator"),
    (plain, {"retries": -1}, "negative"),
    (plain, {"timeout_s": 0}, "more than 0"),
    (lambda: 1, {"name": "nested", "heavy": True}, "cannot find"),
    (plain, {"trigger": "plain/now"}, "missing a required argument"),
    (coroutine, {"trigger": "/coroutine"}, "cannot be a trigger"),
    (coroutine, {"trigger": "coroutine/cancel"}, "cannot be a trigger"),
]


@pytest.mark.parametrize(("function", "terms", "why"), BAD)
def test_what_cannot_work_is_refused_when_it_is_defined(
    function: Callable[..., Any], terms: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        defined(function, **terms)
    assert refused.value.hint


def test_two_functions_cannot_share_a_name_or_a_trigger() -> None:
    registry = Registry()
    registry.add(defined(coroutine, trigger="now"))
    with pytest.raises(Conflict):
        registry.add(defined(plain, name="coroutine"))
    with pytest.raises(Conflict):
        registry.add(defined(lambda: 1, name="other", trigger="now"))


def test_a_module_loaded_again_replaces_its_functions() -> None:
    registry = Registry()
    registry.add(defined(plain))
    registry.add(defined(plain, retries=3))
    assert registry.find("plain").retries == 3


def test_the_names_on_offer_are_those_of_the_nature() -> None:
    registry = Registry()
    registry.add(defined(plain))
    assert registry.names(Nature.LOOP) == frozenset()
    registry.add(defined(coroutine))
    assert (registry.names(Nature.LOOP), registry.names(Nature.THREAD)) == ({"coroutine"}, {"plain"})


@pytest.mark.parametrize("every", [0, -1, 0.01, float("nan")])
def test_a_schedule_too_often_is_refused(every: float) -> None:
    with pytest.raises(InvalidRequest, match="too often"):
        TaskManager("t").task(every=every)


@pytest.mark.parametrize("namespace", ["morag", "a b", "-"])
def test_a_namespace_that_is_taken_or_odd_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidRequest, match="namespace"):
        TaskManager(namespace)


def test_the_namespace_is_the_module_that_makes_the_manager() -> None:
    assert TaskManager().namespace == __name__


def test_making_a_manager_opens_nothing() -> None:
    began = time.monotonic()
    TaskManager("t", data_dir="/nowhere/at/all")
    assert time.monotonic() - began < 1.0

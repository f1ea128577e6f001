"""How a function is called with what was submitted: arguments checked, in place, the context where it is asked for."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from morag.control.tasks.calls import Call
from morag.control.tasks.context import TaskContext
from morag.control.tasks.definitions import Definition
from morag.domain.errors import InvalidRequest


def call_of(definition: Definition, args: Sequence[Any], kwargs: dict[str, Any], *, hint: str) -> Call:
    """The call, if these arguments fit the function. Raises InvalidRequest."""
    try:
        definition.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidRequest(
            f"Task {definition.name}{definition.signature}: {error}.", code="bad_arguments", hint=hint, field="args"
        ) from None
    return Call(args=list(args), kwargs=kwargs)


def invoke(function: Callable[..., Any], call: Call, takes_context: str | None, context: TaskContext) -> Any:
    """Call the function; of an `async def`, its coroutine."""
    if takes_context is None:
        return function(*call.args, **call.kwargs)
    whole = inspect.signature(function)
    kept = [each for each in whole.parameters.values() if each.name != takes_context]
    given = whole.replace(parameters=kept).bind(*call.args, **call.kwargs).arguments
    arguments = {**given, takes_context: context}
    # in the order of the signature, which is what places them
    placed = inspect.BoundArguments(whole, {name: arguments[name] for name in whole.parameters if name in arguments})  # pyright: ignore[reportArgumentType] - any dict in order will do
    return function(*placed.args, **placed.kwargs)

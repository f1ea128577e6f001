"""How a function is called with what was submitted: arguments in place, the context where it is asked for."""

import inspect
from collections.abc import Callable
from typing import Any

from morag.control.tasks.calls import Call
from morag.control.tasks.context import TaskContext


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

"""What opens a block (`with redpool.deadline(0.25):`) as a decorator: each call of a function in a block of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def each_call(function: F, what: str, new_block: Callable[[], AbstractContextManager[Any]]) -> F:
    """Return the function, or coroutine function, with a new block around each call; `what` is what such a block is of.

    Raises `TypeError` for a generator function, whose body runs when its call is over.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function!r} is a generator function: open the block of the {what} inside of it")
    # An object that is called may have a coroutine function for that.
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    dressed: Any = functools.wraps(function)
    bound: F = dressed((_bound_async if is_async else _bound)(function, new_block))
    return bound


def _bound(function: Callable[..., Any], new_block: Callable[[], AbstractContextManager[Any]]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with new_block():
            return function(*args, **kwargs)

    return call


def _bound_async(
    function: Callable[..., Any], new_block: Callable[[], AbstractContextManager[Any]]
) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with new_block():
            return await function(*args, **kwargs)

    return call

"""The class of callers that a thread or task belongs to: `with redpool.priority("batch"):`."""

from __future__ import annotations

import functools
from contextvars import ContextVar

from .blocks import F, each_call

_DEFAULT = "default"
_current: ContextVar[str] = ContextVar("redpool_priority", default=_DEFAULT)

current = _current.get
"""Return the class of the caller; "default" outside of any block."""


class priority:  # noqa: N801  a context manager, spelled as the call that it is
    """Have all calls in a block belong to a class of callers: `with redpool.priority("batch"):`.

    Pools with the option `reserved` keep connections for classes, and serve them in turn; all others take no notice. It
    holds for the thread or task that enters the block, and for tasks started in it. The innermost block counts.
    `async with` is the same. As a decorator, `@redpool.priority("batch")`, it is for each call of a function or
    coroutine function.

    Raises `TypeError` where `name` is no string, and `ValueError` where it is empty. Entering one whose block is open
    raises `RuntimeError`.
    """

    __slots__ = ("_before", "name")

    _before: str | None

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name={name!r}: must be a string")
        if not name:
            raise ValueError("name='': a class of callers needs a name")
        self.name = name
        self._before = None  # no block of it is open

    def __enter__(self) -> priority:
        if self._before is not None:
            raise RuntimeError("a priority opens one block at a time: create another for the inner block")
        self._before = _current.get()
        _current.set(self.name)
        return self

    def __exit__(self, *exc_info: object) -> None:
        before, self._before = self._before, None
        _current.set(before or _DEFAULT)

    async def __aenter__(self) -> priority:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()

    def __call__(self, function: F) -> F:
        """Return the function with this class for each call.

        Raises `TypeError` for a generator function, whose body runs when its call is over.
        """
        return each_call(function, "priority", functools.partial(priority, self.name))

    def __repr__(self) -> str:
        return f"<priority {self.name!r}>"

"""`redpool.deadline`: what it takes, when its time is up, and for whom it holds."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import inspect
import math
import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import redpool
import redpool.asyncio
from redpool.deadline import current, deadline
from redpool.testing import Clock

# `redpool.deadline` is the class.
_MODULE = importlib.import_module("redpool.deadline")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the deadlines of the test go by; it stands at 100 seconds."""
    made = Clock(100.0)
    monkeypatch.setattr(_MODULE, "_monotonic", made)
    return made


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-1, -0.001, -math.inf, math.nan])
def test_no_time_is_no_deadline(seconds: float) -> None:
    """What is below 0 or not a number is a `ValueError` that shows it, before any block is entered."""
    with pytest.raises(ValueError, match=f"seconds={seconds!r}"):
        redpool.deadline(seconds)


@pytest.mark.parametrize("seconds", ["1", b"1", None, True, False, 1j, [1], Decimal(1)])
def test_what_is_no_number_is_refused(seconds: Any) -> None:
    """With a `TypeError` that shows it."""
    with pytest.raises(TypeError, match="seconds="):
        redpool.deadline(seconds)


@pytest.mark.parametrize("seconds", [0, 0.0, 1, 2.5, Fraction(1, 4), 1e9, math.inf])
def test_every_other_number_will_do(seconds: Any, clock: Clock) -> None:
    """Whole or not, none at all, or without end."""
    with redpool.deadline(seconds) as entered:
        assert (entered.seconds, entered.at) == (float(seconds), 100.0 + float(seconds))


def test_both_shells_have_the_same() -> None:
    """One block bounds the calls of both."""
    assert redpool.deadline is redpool.asyncio.deadline is deadline


# -- time --------------------------------------------------------------------------------------------------------------


def test_time_runs_from_the_beginning_of_the_block(clock: Clock) -> None:
    """Not from the making."""
    made = redpool.deadline(5)
    clock.advance(50.0)
    with made:
        assert (made.left(), made.reached()) == (5.0, False)
        clock.advance(4.5)
        assert (made.left(), made.reached()) == (0.5, False)
        clock.advance(0.5)
        assert (made.left(), made.reached()) == (0.0, True)
        clock.advance(10.0)
        assert (made.left(), made.reached()) == (0.0, True)


def test_a_deadline_at_once_is_reached_at_once(clock: Clock) -> None:
    """With 0 seconds nothing may begin."""
    with redpool.deadline(0) as entered:
        assert entered.reached()


def test_a_deadline_without_end_is_never_reached(clock: Clock) -> None:
    """However much time goes by."""
    with redpool.deadline(math.inf) as entered:
        clock.advance(1e12)
        assert (entered.left(), entered.reached()) == (math.inf, False)


def test_it_shows_what_is_left(clock: Clock) -> None:
    """In seconds."""
    with redpool.deadline(2.5) as entered:
        clock.advance(1.25)
        assert repr(entered) == "<deadline of 2.5 s, 1.250 s left>"


# -- scopes ------------------------------------------------------------------------------------------------------------


def test_it_holds_within_its_block_and_no_longer(clock: Clock) -> None:
    """However the block is left."""
    assert current() is None
    with redpool.deadline(1) as entered:
        assert (current(), entered.over) == (entered, False)
    assert (current(), entered.over) == (None, True)
    left = redpool.deadline(1)
    with contextlib.suppress(ZeroDivisionError), left:
        _ = 1 / 0
    assert (current(), left.over) == (None, True)


def test_of_nested_blocks_the_first_to_end_counts(clock: Clock) -> None:
    """An inner one may shorten the time, never lengthen it; after it the outer one holds as before."""
    with redpool.deadline(10) as outer:
        with redpool.deadline(3) as shorter:
            assert current() is shorter
            assert shorter.at == 103.0
        clock.advance(4.0)
        with redpool.deadline(30) as longer:
            assert current() is longer
            assert (longer.at, longer.left()) == (110.0, 6.0)
            with redpool.deadline(2) as innermost:
                assert innermost.at == 106.0
        assert current() is outer
        assert (outer.at, outer.over, longer.over) == (110.0, False, True)


def test_it_opens_one_block_at_a_time(clock: Clock) -> None:
    """One after the other it may open several, each with its whole time."""
    made = redpool.deadline(5)
    with made, pytest.raises(RuntimeError, match="one block at a time"), made:
        pass
    assert current() is None
    clock.advance(20.0)
    with made:
        assert made.at == 125.0


def test_it_holds_for_the_thread_that_opens_the_block(clock: Clock) -> None:
    """And for no other, though it is started in it; unless it is handed the context."""
    seen: list[Any] = []
    with redpool.deadline(1) as entered:
        context = contextvars.copy_context()
        for target in (lambda: seen.append(current()), lambda: seen.append(context.run(current))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [None, entered]


def test_it_holds_for_the_tasks_that_are_started_in_the_block(clock: Clock) -> None:
    """Also for theirs, and when the block has been left; not for those that were there before, nor for siblings."""

    async def look() -> Any:
        await asyncio.sleep(0)
        return current()

    async def start() -> Any:
        return await asyncio.create_task(look())

    async def bound() -> Any:
        with redpool.deadline(1):
            await asyncio.sleep(0)
            return current()

    async def main() -> None:
        before = asyncio.create_task(look())
        with redpool.deadline(5) as entered:
            inside, grandchild = asyncio.create_task(look()), asyncio.create_task(start())
            mine = asyncio.create_task(bound())
            await asyncio.sleep(0)
            assert current() is entered
        assert [await each for each in (before, inside, grandchild)] == [None, entered, entered]
        assert (await mine).at == 101.0
        assert current() is None

    asyncio.run(main())


# -- other spellings ---------------------------------------------------------------------------------------------------


def test_async_with_is_the_same(clock: Clock) -> None:
    """It holds for the task, from the beginning of the block to its end, however that is left."""

    async def main() -> None:
        async with redpool.deadline(2) as entered:
            assert (current(), entered.at) == (entered, 102.0)
            with pytest.raises(RuntimeError, match="one block at a time"):
                await entered.__aenter__()
        assert (current(), entered.over) == (None, True)
        with contextlib.suppress(ZeroDivisionError):
            async with redpool.deadline(2):
                _ = 1 / 0
        assert current() is None

    asyncio.run(main())


def test_as_a_decorator_it_bounds_each_call(clock: Clock) -> None:
    """With the whole time for each, also for one within another; the function stays what it is."""

    @redpool.deadline(5)
    def depth(calls: int, *, last: float = 0.0) -> list[float]:
        """Say until when each call has time."""
        clock.advance(1.0)
        limit = current()
        assert limit is not None
        return [limit.at] if calls == 1 else [limit.at, *depth(calls - 1)]

    assert depth(2) == [105.0, 105.0]
    assert depth(calls=1, last=1.0) == [107.0]
    assert current() is None
    assert (depth.__name__, depth.__doc__) == ("depth", "Say until when each call has time.")


def test_as_a_decorator_it_bounds_coroutine_functions(clock: Clock) -> None:
    """Each call to its end, for its own task; methods and objects that are called, too."""

    class Service:
        @redpool.deadline(1)
        async def call(self) -> Any:
            await asyncio.sleep(0)
            return current()

        async def __call__(self) -> Any:
            return await self.call()

    async def main() -> None:
        service = Service()
        first, second = await asyncio.gather(service.call(), service.call())
        assert first is not second
        assert (first.at, second.at, current()) == (101.0, 101.0, None)
        longer = redpool.deadline(0.5)(service)
        assert inspect.iscoroutinefunction(longer)
        assert (await longer()).at == 100.5

    asyncio.run(main())


def test_as_a_decorator_it_is_none_for_generators() -> None:
    """Their bodies run when the call is over: a deadline of the call would bound nothing."""

    def numbers() -> Any:
        yield 1

    async def numbers_of_tasks() -> Any:
        yield 1

    for function in (numbers, numbers_of_tasks):
        with pytest.raises(TypeError, match=f"{function.__name__}.*open the block"):
            redpool.deadline(1)(function)
    with pytest.raises(TypeError, match="seconds="):
        redpool.deadline(numbers)  # type: ignore[arg-type]  # without a number

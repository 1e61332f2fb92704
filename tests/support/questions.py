"""What callers ask: each question has words of its own, so that a reply to another one can't pass for its own."""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import redis

import redpool

# Replies of these sizes come in one piece with others, alone, and in several pieces.
_SIZES = (0, 0, 0, 30, 1000, 70_000)
# Errors that a caller may get when something breaks. That it waited too long for a connection isn't among it: nothing
# lasts so long here, unless a place was lost.
EXPECTED = (redis.ConnectionError, redis.TimeoutError)
_NEVER = (redpool.PoolTimeout, redpool.PoolFull, redpool.PoolClosed)


@dataclass(frozen=True)
class Question:
    """Some commands, and the only right replies."""

    commands: tuple[tuple[str, ...], ...]
    replies: tuple[Any, ...]
    together: bool = False
    """in one pipeline, be it `atomic` or not; else one after the other"""
    atomic: bool = False
    counter: str = ""
    """the key that it increments: no other question does, and none is asked twice"""


def questions(random: Random, count: int) -> Iterator[Question]:
    """So many, of all kinds."""
    # Not a generator: that would end for good where a caller is interrupted while it takes one.
    return map(functools.partial(_question, random), range(count))


def _question(random: Random, number: int) -> Question:
    kind = _KINDS[number % len(_KINDS)]
    return kind(f"{number}:{'x' * random.choice(_SIZES)}", f"counter {number}")


def _echo(token: str, counter: str) -> Question:
    return Question((("ECHO", token),), (token.encode(),))


def _keep(token: str, counter: str) -> Question:
    key = f"key of {token[:20]}"
    return Question((("SET", key, token), ("GET", key)), (True, token.encode()))


def _count(token: str, counter: str) -> Question:
    return Question((("INCR", counter),), (1,), counter=counter)


def _several(token: str, counter: str) -> Question:
    tokens = [f"{number} of {token}" for number in range(5)]
    return Question(tuple(("ECHO", each) for each in tokens), tuple(each.encode() for each in tokens), together=True)


def _transaction(token: str, counter: str) -> Question:
    commands = (("ECHO", token), ("INCR", counter), ("ECHO", token + "!"))
    replies = (token.encode(), 1, token.encode() + b"!")
    return Question(commands, replies, together=True, atomic=True, counter=counter)


class _Whatever:
    """Any reply is right."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def _pop(token: str, counter: str) -> Question:
    # A command that could block: no caller shares a connection with it.
    key = f"list of {token[:20]}"
    return Question((("LPUSH", key, token), ("BLPOP", key, "1")), (_Whatever(), (key.encode(), token.encode())))


_KINDS = (_echo, _count, _several, _keep, _transaction, _pop)


class Counters:
    """What was asked, and what came of it."""

    def __init__(self, forgets: bool = False, keeps: int | None = None) -> None:
        self.forgets = forgets  # the server loses its data now and then
        self.answered: deque[Question] = deque(maxlen=keeps)
        self.asked: deque[Question] = deque(maxlen=keeps)
        self.interruptions = 0
        self.progress = 0  # questions that have ended; threads count together, so that some may be left out
        self.errors: Counter[str] = Counter()
        self.late = 0  # of the errors those that say that a reply didn't come in time
        self.faults: list[str] = []

    def answer(self, question: Question, replies: Sequence[Any]) -> None:
        """A caller was answered."""
        right = [
            raised == meant or (self.forgets and raised is None)
            for raised, meant in zip(replies, question.replies, strict=False)
        ]
        if len(right) != len(question.replies) or not all(right):
            self.faults.append(f"asked {question.commands}"[:200] + f", was told {replies}"[:400])
        self.answered.append(question)
        self.progress += 1

    def error(self, question: Question, error: Exception) -> None:
        """A caller got an error."""
        self.errors[type(error).__name__] += 1
        self.late += isinstance(error, redis.TimeoutError)
        self.progress += 1
        if isinstance(error, _NEVER) or not isinstance(error, EXPECTED):
            self.faults.append(f"asked {question.commands}"[:200] + f", was told {type(error).__name__}: {error}"[:400])

    def check(self, url: str) -> None:
        """No caller got another's reply; what must not run twice didn't, and did run where a caller got a reply."""
        assert not self.faults, "\n".join(self.faults[:10])
        asked = [each.counter for each in self.asked if each.counter]
        answered = {each.counter for each in self.answered if each.counter}
        with redis.Redis.from_url(url) as client:
            counts = dict(zip(asked, client.mget(asked) if asked else [], strict=True))
        twice = [key for key, count in counts.items() if count not in (None, b"1")]
        assert not twice, f"ran more than once: {twice[:10]}"
        if not self.forgets:
            never = [key for key in answered if counts[key] != b"1"]
            assert not never, f"answered, but never ran: {never[:10]}"

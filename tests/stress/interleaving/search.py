"""Which runs there are: by schedule, by script, by chance, or all of those with few preemptions."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

from .scheduler import (
    BLOCKED,
    FREE,
    INTERRUPTION,
    LINE,
    OPCODE,
    OPERATION,
    PLANTED,
    PREEMPTION,
    Decider,
    Schedule,
    Scheduler,
)

Item = TypeVar("Item")


class Replay:
    """Follow a schedule; `choices` are what could be done otherwise after it, each with what it costs."""

    def __init__(self, schedule: Sequence[tuple[int, str]] = ()) -> None:
        self._moves = dict(schedule)
        self._last = max(self._moves, default=0)
        self._steps = [*sorted(self._moves), self._last + 1]
        self.choices: list[tuple[int, str, str]] = []

    def __call__(self, scheduler: Scheduler, kind: str) -> str | None:
        """Decide this step."""
        step = scheduler.step
        if step <= self._last:
            scheduler.next_decision = next(each for each in self._steps if each > step)
            return self._moves.get(step)
        if kind is not OPCODE:
            for move, cost in scheduler.moves(kind):
                self.choices.append((step, move, cost))
        return None


class Chance:
    """Make any possible move with some chance, at any opcode; a seed is a run."""

    def __init__(self, seed: int, chance: float = 0.02) -> None:
        self._random, self._chance = Random(seed), chance

    def __call__(self, scheduler: Scheduler, kind: str) -> str | None:
        """Decide this step."""
        if kind is not BLOCKED and self._random.random() >= self._chance:
            return None
        moves = [(move, cost) for move, cost in scheduler.moves(kind)]
        if not moves or (kind is BLOCKED and self._random.random() < 0.5):
            return None
        return self._random.choice(moves)[0]


class Script:
    """Run threads by turns, as `(thread, text)` says: until a line that has the text is next; to its end without."""

    def __init__(self, *turns: tuple[str, str]) -> None:
        self._turns = list(turns)

    def __call__(self, scheduler: Scheduler, kind: str) -> str | None:
        """Decide this step."""
        me = scheduler.current
        while self._turns:
            name, text = self._turns[0]
            if name == me.name and text and not me.ended and self._reached(scheduler, kind, text):
                self._turns.pop(0)
                continue
            if name != me.name:
                possible = [move for move, _ in scheduler.moves(kind)]
                if name in possible:
                    return name
                if any(each.name == name and each.ended for each in scheduler.threads):
                    self._turns.pop(0)
                    continue
            return None
        return None

    @staticmethod
    def _reached(scheduler: Scheduler, kind: str, text: str) -> bool:
        if kind is not LINE and kind is not OPERATION:
            return False
        _, _, where, line = scheduler.log[-1]
        return text in (where if isinstance(where, str) else linecache.getline(where.co_filename, line))


# -- all runs with few preemptions -------------------------------------------------------------------------------------


@dataclass
class Report:
    """What a search has found: the first schedule for each kind of failure, each with its run."""

    runs: int = 0
    complete: bool = True  # no schedule within the bounds was left out
    failures: dict[str, Scheduler] = field(default_factory=dict)

    def note(self, run: Scheduler) -> None:
        """Count a run."""
        self.runs += 1
        if run.failure:
            self.failures.setdefault(kind_of(run.failure), run)

    def __str__(self) -> str:
        how = "all" if self.complete else "a sample"
        lines = [f"{self.runs} runs, {how}"]
        lines += [
            f"{run.failure}\n{run.schedule}{' opcodes' * run.opcodes}\n{run.trace()}" for run in self.failures.values()
        ]
        return "\n\n".join(lines)


def kind_of(failure: str) -> str:
    """What went wrong, without where and to whom."""
    return failure.partition(":")[0].partition(" (in ")[0]


def explore(
    run: Callable[[Decider], Scheduler], *, most: int, preemptions: int = 2, interruptions: int = 1, seed: int = 0
) -> Report:
    """Run every schedule within these bounds, the shorter ones first; of more than `most` a sample that `seed` draws.

    Who goes on when a thread blocks or ends is free, and what is planted runs once.
    """
    bounds = {PREEMPTION: preemptions, INTERRUPTION: interruptions, PLANTED: 1, FREE: 3}
    random, report = Random(seed), Report()
    level: list[tuple[Schedule, tuple[str, ...]]] = [((), ())]
    while level:
        # What is deeper gets its share, too.
        share = most - report.runs if len(level) <= most - report.runs else (most - report.runs + 1) // 2
        if len(level) > share:
            level, report.complete = random.sample(level, share), False
        below = _Sample[tuple[Schedule, tuple[str, ...]]](most, random)
        for schedule, costs in level:
            replay = Replay(schedule)
            report.note(run(replay))
            for step, move, cost in replay.choices:
                if costs.count(cost) < bounds[cost]:
                    below.add((((*schedule, (step, move))), (*costs, cost)))
        report.complete &= below.complete
        level = below.items
    return report


def by_chance(run: Callable[[Decider], Scheduler], seeds: Iterator[int] | Sequence[int]) -> Report:
    """Run once with each seed."""
    report = Report(complete=False)
    for seed in seeds:
        report.note(run(Chance(seed)))
    return report


class _Sample(Generic[Item]):
    """At most so many of the items that are added, each with the same chance."""

    def __init__(self, most: int, random: Random) -> None:
        self.items: list[Item] = []
        self.complete = True
        self._most, self._random, self._seen = most, random, 0

    def add(self, item: Item) -> None:
        self._seen += 1
        if len(self.items) < self._most:
            self.items.append(item)
            return
        self.complete = False
        place = self._random.randrange(self._seen)
        if place < self._most:
            self.items[place] = item

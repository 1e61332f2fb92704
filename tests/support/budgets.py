"""Processes that share a budget, under a virtual clock: they join, die, are cut off, and lose the server."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from random import Random

from redpool.core.shares import Answer, Outcome, Share, Word

LOST_AFTER = 1.0
"""Seconds after which a process gives a word up."""


class Process:
    """One process: its share, and the connections that it has open."""

    def __init__(self, name: str, random: Random, now: float) -> None:
        self.share = Share(name, random, now)
        self.wanted = 0
        self.open = 0
        self.is_cut_off = False
        self.asked: Word | None = None  # the word whose answer it awaits
        self.looks = 0  # the last of which says when it speaks
        self.joined_at = now
        self.first_at = math.inf
        """when it first had a connection"""

    @property
    def may_hold(self) -> int:
        """What is open, and what it may open before it hears anything else."""
        return max(self.open, self.share.may_hold)


class Fleet:
    """Processes, the ways between them and a table, and the sum of what they may hold at every instant."""

    def __init__(self, hear: Callable[[Word, int, int], Answer], connections: int, seed: int) -> None:
        self.connections = connections
        self.now = 0.0
        self.most = 0
        """the largest sum that there was"""
        self.words = 0
        """how many the server has heard"""
        self.is_away = False
        self.processes: list[Process] = []
        self._sum = 0
        self._hear, self._random = hear, Random(seed)
        self._names, self._order = itertools.count(), itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def join(self, wanted: int) -> Process:
        process = Process(f"{self._random.getrandbits(32):08x}-{next(self._names)}", self._random, self.now)
        process.wanted = wanted
        self.processes.append(process)
        self._after(0.0, lambda: self._speak(process))
        return process

    def die(self, process: Process) -> None:
        """All its connections are closed, and it says nothing any more."""
        self._sum -= process.may_hold
        self.processes.remove(process)

    def leave(self, process: Process) -> None:
        """It says goodbye, and ends."""
        word = process.share.say(process.may_hold, 0, leaves=True)
        self._after(0.01, lambda: self._deliver(process, word, self.now))
        self._after(0.02, lambda: self.die(process))

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end

    def hungry(self) -> list[int]:
        """The shares of those that want more than they have."""
        return [each.share.may_hold for each in self.processes if each.wanted > each.share.may_hold]

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))

    def _speak(self, process: Process) -> None:
        if process not in self.processes:
            return
        word = process.asked = process.share.say(process.may_hold, process.wanted)
        sent_at, way = self.now, self._random.random()
        if not (self.is_away or process.is_cut_off or way < 0.02):
            # One in fifty words comes when it is given up; of others the answer may be lost.
            late = 2 * LOST_AFTER if way < 0.04 else 0.0
            self._after(late + self._random.uniform(0, 0.2), lambda: self._deliver(process, word, sent_at))
        self._after(LOST_AFTER, lambda: self._give_up(process, word))

    def _deliver(self, process: Process, word: Word, sent_at: float) -> None:
        self.words += 1
        answer = self._hear(word, self.connections, int(self.now * 1000))
        if self._random.random() > 0.02:
            self._after(self._random.uniform(0, 0.2), lambda: self._answer(process, word, answer, sent_at))

    def _answer(self, process: Process, word: Word, answer: Answer, sent_at: float) -> None:
        if process in self.processes and process.asked is word:
            process.asked = None
            self._change(process, lambda: process.share.answered(answer, sent_at, self.now))
            self._go_on(process)

    def _give_up(self, process: Process, word: Word) -> None:
        if process in self.processes and process.asked is word:
            process.asked = None
            outcome = Outcome.CUT_OFF if process.is_cut_off else Outcome.AWAY
            self._change(process, lambda: process.share.unanswered(outcome, self.now))
            self._go_on(process)

    def _go_on(self, process: Process) -> None:
        share = process.share
        if process.open < share.may_hold:
            self._change(process, lambda: setattr(process, "open", min(process.wanted, share.may_hold)))
            process.first_at = min(process.first_at, self.now if process.open else math.inf)
        elif process.open > share.may_hold:  # some are idle; the others are in use for a little longer
            self._change(process, lambda: setattr(process, "open", (process.open + share.may_hold) // 2))
            self._after(self._random.uniform(0, 2), lambda: self._come_back(process))
        self._look(process)

    def _come_back(self, process: Process) -> None:
        if process in self.processes:
            self._change(process, lambda: setattr(process, "open", min(process.open, process.share.may_hold)))
            self._look(process)

    def _look(self, process: Process) -> None:
        """Have it speak when its next word is due; no sooner than it has heard what became of the last one."""
        process.share.look(process.open, process.wanted, self.now)
        if process.asked is None:
            process.looks += 1
            look = process.looks
            due = max(0.0, process.share.due_at() - self.now)
            self._after(due, lambda: self._speak(process) if look == process.looks else None)

    def _change(self, process: Process, change: Callable[[], None]) -> None:
        self._sum -= process.may_hold
        change()
        self._sum += process.may_hold
        self.most = max(self.most, self._sum)


def jain(shares: list[int]) -> float:
    """Return how evenly something is shared (Jain, Chiu and Hawe 1984): 1 where all have as much."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))

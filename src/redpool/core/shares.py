"""One number of connections that processes share: who may have how many, such that they never have more together.

What each process may hold stands in a table that a server keeps. `TABLE_SCRIPT` is the only thing that changes it, and
`Table` is the same in Python: the virtual clock's, and what the script is tested against. Each process says every few
seconds how many it may hold and how many it could use. It gets its max-min fair share (water-filling) of what all want,
but never more than the others have left. What a process should give back counts as its own until it says that it holds
less, or until its term has run out.

So the sum never exceeds the number, whatever is lost or late, with two exceptions that a process can't rule out alone.
The server is away: then its clock stands, no term runs out, and all keep what they have. Or a process is cut off by
itself while others are served: once its term has run out it keeps no more than `FLOOR`, for which the table sets a
tenth of the number aside for `UNSEEN_FOR`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import NamedTuple, Protocol

from .stats import Decision

FLOOR = 2
"""Connections that each process is to have, whatever it wants, as far as there are any."""

BEAT = 5.0
"""Seconds between two words of a process, each with a `JITTER` of so much of it."""

JITTER = 0.2

SOON = 1.0
"""The same where a process holds less than it has said, as others may wait for that; and where it got no answer."""

TERM = 15.0
"""Seconds after its last word in which a process may hold what it has said, by the table's clock."""

ON_ITS_OWN_AFTER = 10.0
"""Seconds after its last word that was answered from which a process goes without: its term may soon be over.

Before it is, the word that is under way then is given up, and what is in use comes back.
"""

LONGEST_PAUSE = 7.0
"""Seconds without a word from any process that are no time to the table, as the server was away: all terms begin anew.

A table that is younger than that gives only what a process has already, and `FLOOR`: the server may have lost the one
before, and others may not have said yet what they hold. Once one comes that knew the one before, it is `TERM`.
"""

UNSEEN_FOR = 300.0
"""Seconds for which a process is reckoned with that has gone without a word."""

SHARE_UNSEEN = 10
"""The part of the number that is set aside for those at most: a tenth."""

LEAVES_WITHIN = 1.0
"""Seconds that a process takes that says goodbye."""


def water_fill(amount: int, wants: Mapping[str, int]) -> dict[str, int]:
    """Return the max-min fair shares of `amount`: none gets more than it wants, and the rest goes to those that do."""
    shares, left = {}, len(wants)
    for name, want in sorted(wants.items(), key=lambda item: (item[1], item[0])):
        shares[name] = min(want, amount // left)
        amount, left = amount - shares[name], left - 1
    return shares


class Word(NamedTuple):
    """What a process says to the table."""

    process: str
    number: int
    """counts its words: one that was late, and comes after a later one, is passed over"""
    held: int
    """the most that it may hold, until it hears the answer"""
    wanted: int
    known: bool
    """whether it has had an answer before"""
    leaves: bool = False


@dataclass(slots=True)
class _Entry:
    number: int
    granted: int
    wanted: int
    expires: int
    leaves: bool


@dataclass(slots=True)
class Table:
    """What the server keeps. Times are in whole milliseconds, by the table's own clock but for `heard_at`."""

    clock: int = 0
    heard_at: int | None = None
    young_until: int = int(LONGEST_PAUSE * 1000)
    entries: dict[str, _Entry] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)
    """processes that have gone without a word, and until when they are reckoned with"""

    def hear(self, word: Word, connections: int, now: int) -> int:
        """Return the share of a process; -1 for a word that is late. `now` is the server's time."""
        passed = 0 if self.heard_at is None else max(now - self.heard_at, 0)
        self.heard_at = now
        if passed > _ms(LONGEST_PAUSE):
            for each in self.entries.values():
                each.expires = self.clock + _ms(TERM)
        else:
            self.clock += passed
        self._forget_the_silent()
        entry = self.entries.get(word.process)
        if entry is not None and word.number <= entry.number:
            return -1
        if entry is None and word.known and self.clock < self.young_until:
            self.young_until = _ms(TERM)
        self.unseen.pop(word.process, None)
        connections -= min(FLOOR * len(self.unseen), connections // SHARE_UNSEEN)
        wanted = 0 if word.leaves else max(word.wanted, FLOOR)
        expires = self.clock + _ms(LEAVES_WITHIN if word.leaves else TERM)
        self.entries[word.process] = _Entry(word.number, word.held, wanted, expires, word.leaves)
        share = self._share(word, is_new=entry is None and not word.known, connections=connections)
        self.entries[word.process].granted = max(word.held, share)
        return share

    def _share(self, word: Word, *, is_new: bool, connections: int) -> int:
        shares = water_fill(connections, {name: entry.wanted for name, entry in self.entries.items()})
        others = sum(entry.granted for name, entry in self.entries.items() if name != word.process)
        share = min(shares[word.process], max(0, connections - others))
        if is_new or self.clock < self.young_until:
            share = min(share, max(word.held, FLOOR))
        return share

    def _forget_the_silent(self) -> None:
        for name, entry in self.entries.copy().items():
            if self.clock >= entry.expires:
                del self.entries[name]
                if not entry.leaves:
                    self.unseen[name] = self.clock + _ms(UNSEEN_FOR)
        for name, until in self.unseen.copy().items():
            if self.clock >= until:
                del self.unseen[name]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


# One key, so that any node of a cluster may keep it. An empty time means the server's own. The arithmetic stays within
# whole numbers below 2**53.
TABLE_SCRIPT = f"""
local key, now = KEYS[1], ARGV[1]
local me, number, held, wanted = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known, leaves, connections = ARGV[6] == '1', ARGV[7] == '1', tonumber(ARGV[8])
if now == '' then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
else
    now = tonumber(now)
end
local function whole(value) return string.format('%.0f', value) end
local function line(entry)
    return whole(entry.number) .. ' ' .. whole(entry.granted) .. ' ' .. whole(entry.wanted) .. ' '
        .. whole(entry.expires) .. ' ' .. (entry.leaves and '1' or '0')
end

local clock, heard_at, young_until, entries, unseen, gone = 0, nil, {_ms(LONGEST_PAUSE)}, {{}}, {{}}, {{}}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do
    local kind, name, value = string.sub(flat[i], 1, 1), string.sub(flat[i], 3), flat[i + 1]
    if kind == 'c' then clock = tonumber(value)
    elseif kind == 'h' then heard_at = tonumber(value)
    elseif kind == 'y' then young_until = tonumber(value)
    elseif kind == 'u' then unseen[name] = tonumber(value)
    elseif kind == 'e' then
        local n, g, w, x, l = string.match(value, '^(%d+) (%d+) (%d+) (%d+) (%d)$')
        entries[name] = {{number = tonumber(n), granted = tonumber(g), wanted = tonumber(w), expires = tonumber(x),
                         leaves = l == '1'}}
    end
end
local passed = heard_at and math.max(now - heard_at, 0) or 0
if passed > {_ms(LONGEST_PAUSE)} then
    for name, entry in pairs(entries) do
        entry.expires = clock + {_ms(TERM)}
        redis.call('HSET', key, 'e:' .. name, line(entry))
    end
else
    clock = clock + passed
end
local changed = {{'c', whole(clock), 'h', whole(now)}}

for name, entry in pairs(entries) do
    if clock >= entry.expires then
        gone[#gone + 1] = 'e:' .. name
        entries[name] = nil
        if not entry.leaves then
            unseen[name] = clock + {_ms(UNSEEN_FOR)}
            redis.call('HSET', key, 'u:' .. name, whole(unseen[name]))
        end
    end
end
local before = entries[me]
local late = before and number <= before.number
local waited_for = 0
for name, till in pairs(unseen) do
    if clock >= till or (name == me and not late) then
        gone[#gone + 1] = 'u:' .. name
        unseen[name] = nil
    else
        waited_for = waited_for + 1
    end
end

local share = -1
if not late then
    if not before and known and clock < young_until then young_until = {_ms(TERM)} end
    connections = connections - math.min({FLOOR} * waited_for, math.floor(connections / {SHARE_UNSEEN}))
    wanted = leaves and 0 or math.max(wanted, {FLOOR})
    local mine = {{number = number, granted = held, wanted = wanted, leaves = leaves,
                  expires = clock + (leaves and {_ms(LEAVES_WITHIN)} or {_ms(TERM)})}}
    entries[me] = mine
    -- As `water_fill`, for this process alone: how many want how much, and its place among those that want as much.
    local others, left, counts, levels, place = 0, 0, {{}}, {{}}, 1
    for name, entry in pairs(entries) do
        if name ~= me then others = others + entry.granted end
        if not counts[entry.wanted] then levels[#levels + 1] = entry.wanted end
        counts[entry.wanted] = (counts[entry.wanted] or 0) + 1
        left = left + 1
        if entry.wanted == wanted and name < me then place = place + 1 end
    end
    table.sort(levels)
    local amount = connections
    for _, level in ipairs(levels) do
        for i = 1, level == wanted and place or counts[level] do
            share = math.min(level, math.floor(amount / left))
            amount, left = amount - share, left - 1
        end
        if level == wanted then break end
    end
    share = math.min(share, math.max(0, connections - others))
    if (not before and not known) or clock < young_until then
        share = math.min(share, math.max(held, {FLOOR}))
    end
    mine.granted = math.max(held, share)
    changed[#changed + 1] = 'y'
    changed[#changed + 1] = whole(young_until)
    changed[#changed + 1] = 'e:' .. me
    changed[#changed + 1] = line(mine)
end
for _, name in ipairs(gone) do redis.call('HDEL', key, name) end
redis.call('HSET', key, unpack(changed))
redis.call('PEXPIRE', key, 86400000)
return share
"""


class Outcome(Enum):
    """How it went when a process had a word for the table, and got no answer."""

    AWAY = "the server is away for all: its machine answers, and it doesn't"
    CUT_OFF = "it may be this process alone that doesn't reach it"


class Share:
    """The share of one process: what it may hold, what it says, and when.

    A process that has not been heard yet, because the server is away, goes by `FLOOR`.
    """

    __slots__ = ("_answered_at", "_next_at", "_number", "_random", "_said", "known", "may_hold", "process")

    def __init__(self, process: str, random: Random, now: float) -> None:
        self.process = process
        self.may_hold = 0
        self.known = False
        """it has had an answer"""
        self._number = 0
        self._said = 0
        self._answered_at = -math.inf
        self._next_at = now
        self._random = random

    def say(self, held: int, wanted: int, leaves: bool = False) -> Word:
        """Return a word for the table, by what is held now."""
        self._number += 1
        self._said = max(held, self.may_hold)
        return Word(self.process, self._number, self._said, wanted, self.known, leaves)

    def answered(self, share: int, sent_at: float, now: float) -> None:
        """Take note of the answer to the last word, which was sent then."""
        self._next_at = now + self._pause(BEAT)
        if share >= 0:
            self.known, self._answered_at, self.may_hold = True, sent_at, share

    def unanswered(self, outcome: Outcome, now: float) -> None:
        """Take note that the last word was in vain: another one follows soon, as long as the term may be renewed."""
        alone_at = self._answered_at + ON_ITS_OWN_AFTER
        self._next_at = now + self._pause(SOON if now < alone_at else BEAT)
        if not self.known:
            self.may_hold = FLOOR
        elif outcome is Outcome.CUT_OFF and now >= alone_at:
            self.may_hold = min(self.may_hold, FLOOR)

    def holds(self, held: int, now: float) -> None:
        """Take note of what is held now: others may have what was given back."""
        if max(held, self.may_hold) < self._said:
            self._next_at = min(self._next_at, now + SOON)

    def due_at(self) -> float:
        """Return when the next word is due."""
        return self._next_at

    def _pause(self, seconds: float) -> float:
        return seconds * self._random.uniform(1 - JITTER, 1 + JITTER)


# -- pools of one process ----------------------------------------------------------------------------------------------


class Member(Protocol):
    """A part of a pool that gets a part of its process's share."""

    def may_hold(self) -> int:
        """Return how many connections may be open there, at most, before it is given another part."""

    def wants(self) -> int:
        """Return how many connections could be used there."""

    def is_over(self) -> bool:
        """Return whether none is open there any more, nor will be."""

    def take_share(self, granted: int) -> None:
        """Have no more than so many connections, as soon as what is used beyond that comes back."""


class Budgeted(ABC):
    """What gives pools their share of a number of connections: a `redpool.Budget`."""

    @abstractmethod
    def join(self, member: Member, at_once: bool) -> None:
        """Have a part of a pool get a part of this process's share; `at_once`: before a caller needs it."""

    @abstractmethod
    def caller_waits(self) -> None:
        """Note that a caller waits: the shares are given out anew soon. It may be called anywhere."""

    @abstractmethod
    def decisions(self) -> Sequence[Decision]:
        """Return the latest changes of this process's share."""


def give_out(share: int, members: Sequence[Member]) -> None:
    """Give a process's pools their parts of its share. What one should give back goes to others once it has."""
    wants = {f"{place:06}": member.wants() for place, member in enumerate(members)}
    shares = water_fill(share, wants)
    parts = [shares[name] for name in wants]
    holds = [member.may_hold() for member in members]
    for place, member in enumerate(members):
        if parts[place] < holds[place]:
            member.take_share(parts[place])
            holds[place] = member.may_hold()
    for place, member in enumerate(members):
        part = min(parts[place], max(0, share - sum(holds) + holds[place]))
        if part > holds[place]:
            member.take_share(part)
            holds[place] = part

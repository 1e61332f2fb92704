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

from .stats import BudgetShare, Decision

FLOOR = 2
"""Connections that each process is to have, whatever it wants, as far as there are any."""

BEAT = 5.0
"""Seconds between two words of a process at most, each with a `JITTER` of so much of it."""

JITTER = 0.2

SOON = 1.0
"""The same at least. It is as much where others may wait for what is given back, and where there was no answer."""

WORDS = 40.0
"""Words in a second of all processes together, as far as `BEAT` and `SOON` allow: fewer processes say more often.

So do all those together that have not got the floor.
"""

HURRY = 0.25
"""Seconds between two words of a process that lacks its floor, or gives back what another one lacks, at least.

And of one that needs more while some are free. With many processes these are more seconds, up to `SOON`.
"""

HURRIED_WORDS = 400.0
"""Words in a second of all processes together, should all of them hurry."""

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


class Answer(NamedTuple):
    """What the table says to a process."""

    share: int
    """how many connections it may hold from now on; -1 where its word was late"""
    floor: int = 0
    """how many each process is to have: `FLOOR`, or what there is for each"""
    processes: int = 0
    """how many there are"""
    short: int = 0
    """how many of them have less than the floor: others are to give back"""
    free: int = 0
    """how many connections no process may hold"""


@dataclass(slots=True)
class _Entry:
    number: int
    granted: int
    wanted: int
    expires: int
    leaves: bool
    share: int = 0
    """what it was told last: it gives back what was granted beyond that"""


@dataclass(slots=True)
class Table:
    """What the server keeps. Times are in whole milliseconds, by the table's own clock but for `heard_at`."""

    clock: int = 0
    heard_at: int | None = None
    young_until: int = int(LONGEST_PAUSE * 1000)
    entries: dict[str, _Entry] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)
    """processes that have gone without a word, and until when they are reckoned with"""

    def hear(self, word: Word, connections: int, now: int) -> Answer:
        """Return the answer to a process. `now` is the server's time."""
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
            return Answer(-1)
        if entry is None and word.known and self.clock < self.young_until:
            self.young_until = _ms(TERM)
        self.unseen.pop(word.process, None)
        connections -= min(FLOOR * len(self.unseen), connections // SHARE_UNSEEN)
        wanted = 0 if word.leaves else max(word.wanted, FLOOR)
        expires = self.clock + _ms(LEAVES_WITHIN if word.leaves else TERM)
        self.entries[word.process] = _Entry(word.number, word.held, wanted, expires, word.leaves)
        return self._answer(word, connections)

    def _answer(self, word: Word, connections: int) -> Answer:
        shares = water_fill(connections, {name: entry.wanted for name, entry in self.entries.items()})
        mine = self.entries[word.process]
        others = [entry for entry in self.entries.values() if entry is not mine]
        staying = sum(not entry.leaves for entry in self.entries.values())
        floor = min(FLOOR, connections // max(1, staying))
        lacking = [floor - entry.granted for entry in others if not entry.leaves and entry.granted < floor]
        room = max(0, connections - sum(entry.granted for entry in others))
        share = min(shares[word.process], room)
        is_young = self.clock < self.young_until
        if is_young:
            share = min(share, max(word.held, FLOOR))
        elif lacking:
            coming = sum(max(0, entry.granted - entry.share) for entry in others if self._spoke_lately(entry))
            left = room - sum(lacking)
            share = min(share, max(floor, left, min(word.held, left + coming)))
        mine.granted, mine.share = max(word.held, share), share
        is_short = not word.leaves and mine.granted < floor
        free = 0 if is_young else max(0, room - mine.granted)
        return Answer(share, floor, staying, len(lacking) + is_short, free)

    def _spoke_lately(self, entry: _Entry) -> bool:
        """Return whether it may be giving back what it was told to; where it is not, another one is told, too."""
        return entry.expires > self.clock + _ms(TERM - SOON)

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
        .. whole(entry.expires) .. ' ' .. (entry.leaves and '1' or '0') .. ' ' .. whole(entry.share)
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
        local n, g, w, x, l, s = string.match(value, '^(%d+) (%d+) (%d+) (%d+) (%d) (%d+)$')
        entries[name] = {{number = tonumber(n), granted = tonumber(g), wanted = tonumber(w), expires = tonumber(x),
                         leaves = l == '1', share = tonumber(s)}}
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

local answer = {{-1, 0, 0, 0, 0}}
if not late then
    if not before and known and clock < young_until then young_until = {_ms(TERM)} end
    connections = connections - math.min({FLOOR} * waited_for, math.floor(connections / {SHARE_UNSEEN}))
    wanted = leaves and 0 or math.max(wanted, {FLOOR})
    local mine = {{number = number, granted = held, wanted = wanted, leaves = leaves, share = 0,
                  expires = clock + (leaves and {_ms(LEAVES_WITHIN)} or {_ms(TERM)})}}
    entries[me] = mine
    -- As `water_fill`, for this process alone: how many want how much, and its place among those that want as much.
    local held_by_others, left, staying, counts, levels, place = 0, 0, 0, {{}}, {{}}, 1
    for name, entry in pairs(entries) do
        if name ~= me then held_by_others = held_by_others + entry.granted end
        if not entry.leaves then staying = staying + 1 end
        if not counts[entry.wanted] then levels[#levels + 1] = entry.wanted end
        counts[entry.wanted] = (counts[entry.wanted] or 0) + 1
        left = left + 1
        if entry.wanted == wanted and name < me then place = place + 1 end
    end
    table.sort(levels)
    local share, amount = 0, connections
    for _, level in ipairs(levels) do
        for i = 1, level == wanted and place or counts[level] do
            share = math.min(level, math.floor(amount / left))
            amount, left = amount - share, left - 1
        end
        if level == wanted then break end
    end
    local floor = math.min({FLOOR}, math.floor(connections / math.max(1, staying)))
    local short, lacking, coming = 0, 0, 0
    for name, entry in pairs(entries) do
        if name ~= me and not entry.leaves and entry.granted < floor then
            short, lacking = short + 1, lacking + floor - entry.granted
        end
        if name ~= me and entry.expires > clock + {_ms(TERM - SOON)} then
            coming = coming + math.max(0, entry.granted - entry.share)
        end
    end
    local room = math.max(0, connections - held_by_others)
    local young = clock < young_until
    share = math.min(share, room)
    if young then
        share = math.min(share, math.max(held, {FLOOR}))
    elseif short > 0 then
        share = math.min(share, math.max(floor, room - lacking, math.min(held, room - lacking + coming)))
    end
    mine.granted, mine.share = math.max(held, share), share
    if not leaves and mine.granted < floor then short = short + 1 end
    answer = {{share, floor, staying, short, young and 0 or math.max(0, room - mine.granted)}}
    changed[#changed + 1] = 'y'
    changed[#changed + 1] = whole(young_until)
    changed[#changed + 1] = 'e:' .. me
    changed[#changed + 1] = line(mine)
end
for _, name in ipairs(gone) do redis.call('HDEL', key, name) end
redis.call('HSET', key, unpack(changed))
redis.call('PEXPIRE', key, 86400000)
return answer
"""


class Outcome(Enum):
    """How it went when a process had a word for the table, and got no answer."""

    AWAY = "the server is away for all: its machine answers, and it doesn't"
    CUT_OFF = "it may be this process alone that doesn't reach it"


class Share:
    """The share of one process: what it may hold, what it says, and when.

    A process that has not been heard yet, because the server is away, goes by `FLOOR` after its second word.
    """

    __slots__ = ("_answer", "_answered_at", "_asked", "_next_at", "_number", "_random", "_said", "_spoke_at", "known",
                 "may_hold", "process")  # fmt: skip

    def __init__(self, process: str, random: Random, now: float) -> None:
        self.process = process
        self.may_hold = 0
        self.known = False
        """it has had an answer"""
        self._number = 0
        self._said = 0
        self._asked = 0
        self._answer = Answer(0)
        self._answered_at, self._spoke_at = now, -math.inf
        self._next_at = now
        self._random = random

    def say(self, held: int, wanted: int, leaves: bool = False) -> Word:
        """Return a word for the table, by what is held now."""
        self._number += 1
        self._said, self._asked = max(held, self.may_hold), wanted
        return Word(self.process, self._number, self._said, wanted, self.known, leaves)

    def answered(self, answer: Answer, sent_at: float, now: float) -> None:
        """Take note of the answer to the last word, which was sent then."""
        self._spoke_at = sent_at
        if answer.share >= 0:
            self._answer, self.known, self._answered_at, self.may_hold = answer, True, sent_at, answer.share
        pause = beat = min(max(SOON, self._answer.processes / WORDS), BEAT)
        if self.may_hold < self._answer.floor:
            pause = min(max(HURRY, self._answer.short / WORDS), beat)
        self._next_at = now + self._pause(pause)

    def unanswered(self, outcome: Outcome, now: float) -> None:
        """Take note that the last word was in vain: another one follows soon, as long as the term may be renewed."""
        self._spoke_at = now
        alone_at = self._answered_at + ON_ITS_OWN_AFTER
        self._next_at = now + self._pause(SOON if now < alone_at else BEAT)
        if not self.known and self._number == 1 and outcome is Outcome.AWAY:
            self._next_at = now + self._pause(HURRY)  # one answer that is lost, or late, has it take nothing yet
        elif not self.known:
            self.may_hold = FLOOR
        elif outcome is Outcome.CUT_OFF and now >= alone_at:
            self.may_hold = min(self.may_hold, FLOOR)

    def look(self, held: int, wanted: int, now: float) -> None:
        """Take note of what is held and wanted now: others may have what was given back, and some may be free."""
        answer, hurry = self._answer, min(max(HURRY, self._answer.processes / HURRIED_WORDS), SOON)
        if max(held, self.may_hold) < self._said:
            pause = hurry if answer.short else SOON
        elif answer.free and wanted > max(self._asked, self.may_hold):
            pause = hurry
        else:
            return
        self._next_at = min(self._next_at, max(now, self._spoke_at + pause))

    def heard_at(self) -> float | None:
        """Return when the last word was sent that was answered; `None` where none was."""
        return self._answered_at if self.known else None

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

    def is_busy(self) -> bool:
        """Return whether callers have a connection there, or wait for one."""

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

    @abstractmethod
    def describe(self, granted: int, age: float) -> BudgetShare:
        """Return how things stand, for a part of a pool that has had its part of the share for so many seconds."""


def give_out(share: int, members: Sequence[Member], turn: int) -> bool:
    """Give a process's pools their parts of its share. What one should give back goes to others once it has.

    Where there is less than one connection for each pool, busy ones come first, and take turns: others of them have one
    with each further `turn`. Return whether a pool holds more than its part.
    """
    parts = _parts(share, members, turn)
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
    return any(held > part for held, part in zip(holds, parts, strict=True))


def _parts(share: int, members: Sequence[Member], turn: int) -> list[int]:
    wants = [member.wants() for member in members]
    busy = [place for place, member in enumerate(members) if share < len(members) and member.is_busy()]
    if share < len(busy):
        served = {busy[(turn + each) % len(busy)] for each in range(share)}
        return [int(place in served) for place in range(len(members))]
    first = water_fill(share, {f"{place:06}": wants[place] for place in busy})
    rest = {f"{place:06}": want for place, want in enumerate(wants) if place not in busy}
    parts = first | water_fill(share - sum(first.values()), rest)
    return [part for _, part in sorted(parts.items())]

"""The view over a fleet: all reports in a Redis, joined with what the server says of its clients."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from .encoding import ReportError, decode, decode_samples
from .keys import DEFAULT, Keys
from .link import Command, Link, target_of_url
from .model import FleetView, ProcessReport, Sample, ServerView
from .server import ServerSide

_MOST_PROCESSES = 2_000
_MOST_SAMPLES = 50_000
_ENTRIES = 5_000  # of the history, in one look: all that processes leave there
_NAME = "redpool-fleet-reader"


class Reader:
    """Reads a fleet's reports, and looks at the server. It belongs to one thread, which calls `read` once a second.

    - `url`: the Redis that the processes report to; where none reports there, only the server's side is seen.
    - `fleet`: the name that the processes were given.
    - `server`: the Redis whose clients are looked at, where that is another one.
    - `history`: how many seconds of the past are read at first, and kept.
    - `idle_limit`: a client that sends nothing for more seconds than that is idle too long.

    Raises `ValueError` for a wrong option.
    """

    def __init__(
        self,
        url: str,
        *,
        fleet: str = DEFAULT,
        server: str | None = None,
        history: float = 900.0,
        idle_limit: float = 900.0,
    ) -> None:
        for name, value in (("history", history), ("idle_limit", idle_limit)):
            if not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{name}={value!r}: must be a number of seconds")
        reports_at = target_of_url(url)
        looked_at = reports_at if server is None else target_of_url(server, "server")
        self._reports = Link(lambda: reports_at, _NAME)
        self._server = self._reports if server is None else Link(lambda: looked_at, _NAME)
        self._fleet = _Fleet(Keys.of(fleet), _Past(history))
        self._side = ServerSide(idle_limit)
        self._view = FleetView(at=time.time(), server=ServerView(looked_at.shown))

    def read(self) -> FleetView:
        """Return the fleet as it is now; where that can't be seen the last view, with its `error` set."""
        try:
            self._view = self._look()
        except Exception as error:  # what is no Redis may answer anything
            self.close()
            known = isinstance(error, RedisError | OSError) and str(error)
            self._view = replace(self._view, error=known or f"{type(error).__name__}: {error}")
        return self._view

    def close(self) -> None:
        """Close the connections; the next `read` opens them again."""
        self._side.start_over()
        self._reports.close()
        self._server.close()

    def _look(self) -> FleetView:
        of_fleet, of_server = self._fleet.commands(), self._side.commands()
        if self._server is self._reports:
            replies = self._reports.ask([*of_fleet, *of_server])
            fleet, server = replies[: len(of_fleet)], replies[len(of_fleet) :]
        else:
            fleet, server = self._reports.ask(of_fleet), self._server.ask(of_server)
        unknown = self._fleet.take(fleet)
        if unknown:
            self._fleet.take_reports(unknown, self._reports.ask([self._fleet.asking_for(unknown)])[0])
        processes = self._fleet.processes()
        return FleetView(
            at=time.time(),
            processes=processes,
            server=self._side.view(self._server.shown, server, processes, self._fleet.unseen),
            history=self._fleet.past.samples(),
        )


class _Fleet:
    """The reports, each decoded once as long as its bytes stay the same."""

    def __init__(self, keys: Keys, past: _Past) -> None:
        self._keys, self.past = keys, past
        self._members: list[bytes] = []
        self._known: dict[bytes, tuple[bytes, ProcessReport | None]] = {}
        self.unseen: list[str] = []
        """what could not be read"""

    def commands(self) -> list[Command]:
        """Return what to ask: who is there, what is new in the history, and the reports of those who were there."""
        asked = [("ZREVRANGE", self._keys.index, 0, _MOST_PROCESSES - 1), self.past.asking(self._keys.history)]
        return [*asked, self.asking_for(self._members)] if self._members else asked

    def asking_for(self, members: Iterable[bytes]) -> Command:
        """Return the command that asks for the reports of these processes."""
        base = self._keys.process("").encode()
        return ("MGET", *(base + member for member in members))

    def take(self, replies: list[Any]) -> list[bytes]:
        """Take the replies, and return the processes that are there beside those that were asked for."""
        self.unseen = [f"reports: {reply}" for reply in replies if isinstance(reply, RedisError)][:1]
        members, entries, *reports = [None if isinstance(reply, RedisError) else reply for reply in replies]
        asked = set(self._members)
        self.take_reports(self._members, reports[0] if reports else None)
        self.past.take(entries)
        self._members = members or []
        return [member for member in self._members if member not in asked]

    def take_reports(self, members: list[bytes], reports: Any) -> None:
        """Take the reports of these processes; those that have none are gone."""
        for member, data in zip(members, reports if isinstance(reports, list) else [None] * len(members), strict=True):
            if data is None:
                self._known.pop(member, None)
            elif member not in self._known or self._known[member][0] != data:
                self._known[member] = data, self._decoded(member, data)

    def _decoded(self, member: bytes, data: bytes) -> ProcessReport | None:
        try:
            report = decode(data)
        except ReportError:
            return None
        return report if report.key.encode("utf-8", "replace") == member else None

    def processes(self) -> tuple[ProcessReport, ...]:
        """Return those that are alive, in the order of their names."""
        members = set(self._members)
        self._known = {member: known for member, known in self._known.items() if member in members}
        bad = sum(report is None for _, report in self._known.values())
        self.unseen += [f"reports: {bad} can't be read"] if bad else []
        found = [report for _, report in self._known.values() if report is not None]
        return tuple(sorted(found, key=lambda report: (report.service, report.host, report.pid)))


class _Past:
    """The history, read on from where the last look ended."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self._shown: tuple[Sample, ...] = ()
        self._last = b"%d-0" % max(0, round(1000 * (time.time() - seconds)))

    def asking(self, key: str) -> Command:
        """Return the command that asks for what is new."""
        return ("XREAD", "COUNT", _ENTRIES, "STREAMS", key, self._last)

    def take(self, reply: Any) -> None:
        """Take what is new. The times are the server's, one clock for all processes."""
        entries = reply[0][1] if isinstance(reply, list) and reply else []
        for entry, pairs in entries:
            self._last = entry
            at = int(entry.partition(b"-")[0]) / 1000
            try:
                self._samples += decode_samples(pairs[1], at)
            except (ReportError, IndexError, TypeError):
                continue  # it is of another making
        if entries:
            end = self._samples[-1].at - self._seconds if self._samples else 0.0
            while self._samples and self._samples[0].at < end:
                self._samples.popleft()
            self._shown = tuple(self._samples)

    def samples(self) -> tuple[Sample, ...]:
        """Return them, the oldest first."""
        return self._shown

"""The details of one row, as lines of text: who waits, who holds what it waits for, and what happened of late. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from redpool.fleet.model import Borrowed, ProcessReport, Waiting

from .clients import MEANING, ClientRow
from .rows import Row, oldest_wait_trend
from .shown import Line, Tone, as_text, count, plural, quantile, rate, seconds

# What threads and tasks are called in a report: a thread with its number.
_BORROWER = re.compile(r"(?:thread|task) '(.*)'(?: \(\d+\))?", re.DOTALL)
_UNRECORDED = "a client's command; leak_after=... records its line"
_MOST = 10  # borrowers and waiters
_LONGEST_NAME = 24


def borrower(name: str) -> str:
    """Return the name of a thread or task without its kind, and without a thread's number."""
    found = _BORROWER.fullmatch(name)
    return as_text(found[1] if found else name)


def detail(row: Row, width: int) -> list[Line]:
    """Return the details of a row, for a screen of so many cells."""
    leases = [(process, lease) for process, pool in row.reports for lease in pool.borrowed]
    waiters = [(process, waiter) for process, pool in row.reports for waiter in pool.waiters]
    leases.sort(key=lambda each: each[1].age, reverse=True)
    waiters.sort(key=lambda each: each[1].age, reverse=True)
    return [
        _title(row),
        *_story(row, leases, waiters),
        *_holders(row, leases[:_MOST], width),
        *_waiters(row, waiters[:_MOST], width),
        *_calls(row, width),
        (),
        *_recently(row),
        *_identity(row),
    ]


def _title(row: Row) -> Line:
    return ((row.name, Tone.STRONG), (f"  {row.place}", Tone.QUIET))


def _story(
    row: Row, leases: Sequence[tuple[ProcessReport, Borrowed]], waiters: Sequence[tuple[ProcessReport, Waiting]]
) -> list[Line]:
    """Say in sentences who waits for how long, and who holds what it waits for."""
    lines: list[Line] = []
    if row.waiting:
        who = f"{borrower(waiters[0][1].borrower)} has" if waiters else "The first caller has"
        others = f"; {plural(row.waiting, 'caller')} in the queue" if row.waiting > 1 else ""
        lines.append(((f"{who} waited {seconds(row.oldest_wait)}{others}.", row.tone),))
    else:
        used = f"{row.in_use} of {row.max_connections} in use, {row.idle} idle; no caller waits."
        lines.append(((used, Tone.QUIET),))
    if not leases:
        return lines
    lease = leases[0][1]
    held = f"{borrower(lease.borrower)} has held a connection for {seconds(lease.age)}"
    taken = f", taken at {as_text(lease.taken_at)}" if lease.taken_at else ""
    command = f", last command {as_text(lease.command)}" if lease.command else ""
    return [*lines, ((f"{held}{taken}{command}.", Tone.PLAIN),)]


def _holders(row: Row, leases: Sequence[tuple[ProcessReport, Borrowed]], width: int) -> list[Line]:
    if not leases:
        return []
    cells = [
        (seconds(lease.age), _who(row, process, lease.borrower), as_text(lease.command or ""),
         as_text(lease.taken_at or _UNRECORDED))
        for process, lease in leases
    ]  # fmt: skip
    more = row.in_use - len(leases)
    return [(), *_table(("held for", "by", "command", "taken at"), cells, width), *_more(more)]


def _waiters(row: Row, waiters: Sequence[tuple[ProcessReport, Waiting]], width: int) -> list[Line]:
    if not waiters:
        return []
    cells = [(seconds(waiter.age), _who(row, process, waiter.borrower)) for process, waiter in waiters]
    return [(), *_table(("waits for", "caller"), cells, width), *_more(row.waiting - len(waiters))]


def _calls(row: Row, width: int) -> list[Line]:
    """Return the oldest calls over shared connections: the first of them holds up those behind it."""
    calls = [(process, call) for process, pool in row.reports for call in pool.calls]
    if not calls:
        return []
    calls.sort(key=lambda each: each[1].age, reverse=True)
    cells = [
        (
            seconds(call.age),
            as_text(call.command),
            "sent" if call.sent else "queued",
            _who(row, process, call.borrower or "not known"),
            as_text(call.waits_at or ""),
        )
        for process, call in calls[:_MOST]
    ]
    in_flight = sum(pool.in_flight for _, pool in row.reports)
    table = _table(("under way", "command", "", "by", "waits at"), cells, width)
    return [(), *table, *_more(in_flight - len(cells))]


def _who(row: Row, process: ProcessReport, name: str) -> str:
    """Return a borrower's name, with its process where the row has several."""
    several = len({process.key for process, _ in row.reports}) > 1
    return borrower(name) + (as_text(f" {process.host}:{process.pid}") if several else "")


def _more(number: int) -> list[Line]:
    return [((f"{'':>9}  and {number} more", Tone.QUIET),)] if number > 0 else []


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    """Return a table: ages at the right of the first column, and as the last what is cut at its beginning."""
    widths = [max(cell_len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    widths = [9, *(min(_LONGEST_NAME, each) for each in widths[1:-1]), 0]
    widths[-1] = max(10, width - sum(widths) - 2 * (len(widths) - 1))
    lines: list[Line] = []
    for cells in (headings, *rows):
        tone = Tone.QUIET if cells is headings else Tone.PLAIN
        first, *middle, last = cells
        parts = [f"{first:>9}", *(_fit(cell, size) for cell, size in zip(middle, widths[1:-1], strict=True))]
        lines.append((("  ".join([*parts, _fit_end(last, widths[-1])]), tone),))
    return lines


def _fit(text: str, size: int) -> str:
    if cell_len(text) > size:
        return set_cell_size(text, size - 1) + "…"
    return set_cell_size(text, size)


def _fit_end(text: str, size: int) -> str:
    """Return a text, of which the beginning is left out where it is too long: the end of a path says most."""
    if cell_len(text) <= size:
        return text
    while cell_len(text) > size - 1:
        text = text[max(1, (cell_len(text) - size) // 2) :]
    return "…" + text


def _recently(row: Row) -> list[Line]:
    recent = row.recent
    if recent.rates is None:
        return [(("Rates and percentiles need a second report.", Tone.QUIET),), _closes(row)]
    calls = recent.rate("acquired"), recent.rate("waited"), recent.rate("timeouts"), recent.rate("rejected")
    names = ("checkouts", "waits", "timeouts", "rejected")
    lines: list[Line] = [_figures("last 10 s, each second", [(n, rate(v)) for n, v in zip(names, calls, strict=True)])]
    if any(pool.kind == "multiplexed" for _, pool in row.reports):
        in_flight = sum(pool.in_flight for _, pool in row.reports)
        commands = rate(recent.rate("commands"))
        lines.append(_figures("shared connections", [("commands/s", commands), ("in flight", count(in_flight))]))
    if recent.wait.count:
        shares = [(f"p{share:g}", quantile(recent.wait.quantile(share / 100))) for share in (50, 90, 99)]
        lines.append(_figures("waited, last 10 s", shares))
    lines.append(_figures("longest wait, last minute", [("", oldest_wait_trend(row))]))
    connects = [("connects", rate(recent.rate("connected"))), ("failed", rate(recent.rate("connect_failures")))]
    lines.append(_figures("connects, each second", connects))
    lines.append(_closes(row))
    return lines


def _closes(row: Row) -> Line:
    """Return how many connections were closed by reason since the pools were created, and which of them just now."""
    total: dict[str, int] = {}
    for _, pool in row.reports:
        for reason, number in pool.closed.items():
            total[reason] = total.get(reason, 0) + number
    shown = [
        (as_text(reason), count(number) + (f" ({rate(now)}/s)" if (now := row.recent.reasons.get(reason)) else ""))
        for reason, number in sorted(total.items(), key=lambda each: -each[1])
        if number
    ]
    return _figures("closed since creation", shown or [("", "none")])


def _figures(label: str, figures: Sequence[tuple[str, str]]) -> Line:
    pieces = [(f"{label:<25}", Tone.QUIET)]
    for name, value in figures:
        pieces += [(f"  {name}{' ' if name else ''}", Tone.QUIET), (value, Tone.PLAIN)]
    return tuple(pieces)


def _identity(row: Row) -> list[Line]:
    process, pool = row.reports[0]
    if len(row.reports) > 1:
        names = sorted({as_text(pool.name) for _, pool in row.reports})
        return [_figures("pools", [("", ", ".join(names[:_MOST]) + (" ..." if len(names) > _MOST else ""))])]
    kind = f"{pool.kind}, {pool.shell}, to {pool.address}"
    versions = f"redpool {process.redpool}, redis-py {process.redis_py}, Python {process.python}"
    return [
        _figures("pool", [("", as_text(kind))]),
        _figures("process", [("", as_text(f"{process.host}:{process.pid}, {versions}"))]),
    ]


def client_detail(row: ClientRow, width: int) -> list[Line]:
    """Return the details of a row of the server's clients: what it is, and its clients, the longest idle first."""
    tone = Tone.WARN if row.owner.value == "orphaned" else Tone.QUIET
    clients = sorted(row.clients, key=lambda client: client.idle, reverse=True)[:_MOST]
    cells = [
        (seconds(c.idle), seconds(c.age), as_text(c.command), as_text(c.user),
         as_text(f"{c.address} db {c.database} {c.name}"))
        for c in clients
    ]  # fmt: skip
    return [
        ((row.name, Tone.STRONG), (f"  {row.place}", Tone.QUIET)),
        ((f"{row.owner.value.capitalize()}: {MEANING[row.owner]}.", tone),),
        (),
        *_table(("idle for", "age", "command", "user", "address"), cells, width),
        *_more(len(row.clients) - len(clients)),
    ]

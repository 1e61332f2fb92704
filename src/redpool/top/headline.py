"""What stands above the rows, and in their place where there is none: what is looked at, how fresh it is, the server.

Pure: states and figures in, words out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from redpool.fleet.model import FleetView, Owner, ServerView

from .shown import Line, Tone, as_text, count, plural, rate, seconds

_MANY, _TOO_MANY = 0.8, 0.95  # of maxclients
_LATE = 3.0  # intervals without an answer


@dataclass(frozen=True, slots=True)
class Look:
    """What the looks at a source came to."""

    view: FleetView | None = None
    """the newest one without an error"""
    error: str | None = None
    """why there is none, or nothing newer"""
    at: float = 0.0
    """when the newest view came, on the clock that goes on steadily"""


def status(look: Look, now: float, interval: float, paused: bool) -> tuple[str, Tone]:
    """Return in words whether what is shown is what is."""
    if look.view is None:
        return ("disconnected", Tone.BAD) if look.error else ("connecting", Tone.QUIET)
    age = now - look.at
    if paused:
        return f"paused for {seconds(age)}", Tone.WARN
    if look.error:
        return f"stale for {seconds(age)}: {as_text(look.error)}", Tone.BAD
    if age > _LATE * interval + 1:
        return f"stale for {seconds(age)}: no answer", Tone.BAD
    return "live", Tone.QUIET


def title(where: str, look: Look, state: tuple[str, Tone]) -> Line:
    """Return the first line: what is looked at, how much of it there is, and how fresh that is."""
    pieces = [(as_text(where), Tone.STRONG), ("  ", Tone.PLAIN), state]
    if look.view is not None:
        pools = [pool for process in look.view.processes for pool in process.pools]
        waiting = sum(pool.waiting for pool in pools)
        processes = plural(len(look.view.processes), "process", "processes")
        beside = sum(process.more_pools for process in look.view.processes)
        more = f" and {beside} that are not reported" if beside else ""
        pieces.append((f"  {processes}, {plural(len(pools), 'pool')}{more}", Tone.PLAIN))
        if waiting:
            pieces += [(", ", Tone.PLAIN), (f"{plural(waiting, 'caller')} waiting", Tone.WARN)]
    return tuple(pieces)


def server_line(view: FleetView | None) -> Line:
    """Return the server's side: its clients against its limit, whose they are, and what could not be seen."""
    server = view.server if view else None
    if view is None or server is None:
        return ()
    owners = Counter(client.owner for client in server.clients)
    pieces = [("server", Tone.QUIET), *_clients(server)]
    if server.clients:
        orphaned, foreign = owners[Owner.ORPHANED], owners[Owner.FOREIGN]
        pieces += [
            (f"  orphaned {orphaned}", Tone.WARN if orphaned else Tone.QUIET),
            (f"  foreign {foreign}", Tone.PLAIN if foreign else Tone.QUIET),
            (f"  known {owners[Owner.KNOWN]}", Tone.PLAIN),
            *((f"  idle too long {idle}", Tone.WARN) for idle in [_idle(server)] if idle),
        ]
    if view.processes:
        too_many = server.max_clients is not None and view.max_connections > server.max_clients
        pieces.append((f"  pools may open {view.max_connections}", Tone.WARN if too_many else Tone.QUIET))
    if server.unseen:
        pieces.append((f"  not seen: {as_text('; '.join(server.unseen))}", Tone.WARN))
    if server.commands_per_second is not None:
        pieces.append((f"  {rate(server.commands_per_second)} commands/s", Tone.QUIET))
    if server.version:
        pieces.append((f"  version {as_text(server.version)}", Tone.QUIET))
    return tuple(pieces)


def _idle(server: ServerView) -> int:
    return sum(client.idle_too_long for client in server.clients)


def _clients(server: ServerView) -> Line:
    connected, most = server.connected_clients, server.max_clients
    if connected is None:
        return ()
    if not most:
        return ((f"  clients {connected}", Tone.PLAIN),)
    share = connected / most
    tone = Tone.BAD if share >= _TOO_MANY else Tone.WARN if share >= _MANY else Tone.PLAIN
    return ((f"  clients {count(connected)} of {count(most)}", tone),)


def instead_of_rows(
    where: str, look: Look, interval: float, filter_text: str, of_clients: bool, keys: bool = True
) -> list[Line]:
    """Return what to say where there is no row to show; `keys` says whether any can be pressed."""
    place = as_text(where)
    if look.view is None and look.error is None:
        return [((f"Looking at {place} for the first time ...", Tone.PLAIN),)]
    if look.view is None:
        return [
            ((f"{place} can't be read: {as_text(look.error or '')}", Tone.BAD),),
            ((f"It is tried again every {seconds(interval)}.", Tone.QUIET),),
        ]
    if filter_text:
        return [((f"Nothing matches {as_text(filter_text)!r}. Esc shows all.", Tone.PLAIN),)]
    if of_clients:
        why = "; ".join(look.view.server.unseen) if look.view.server else "only the process was asked"
        return [(("The server's clients can't be seen here" + (f": {as_text(why)}" if why else ""), Tone.PLAIN),)]
    unseen = look.view.server.unseen if look.view.server is not None else ()
    lines: list[Line] = [((f"Not seen: {as_text(each)}", Tone.BAD),) for each in unseen if each.startswith("reports: ")]
    if not lines:
        lines.append((("No process reports its pools here.", Tone.PLAIN),))
        lines.append((("A process does so once it calls  redpool.publish(pool, ...)", Tone.QUIET),))
    if look.view.server is not None and look.view.server.clients:
        number = plural(len(look.view.server.clients), "client")
        how = ": press c to see whose they are" if keys else ""
        lines.append(((f"The server has {number} all the same{how}.", Tone.QUIET),))
    return lines

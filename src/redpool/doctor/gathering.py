"""Gather all facts that are asked for, each from its source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from redis.exceptions import ConnectionError, TimeoutError

from ..command_line import place_of_process
from ..core.record import Record
from ..fleet import ReportError, ask, ask_records
from ..fleet.model import FleetView
from ..fleet.reader import Reader
from ..redispy.options import as_redis
from . import pools as of_pools
from . import server as of_server
from .code.look import read
from .facts import Facts, ServerFacts, Sighting, Unseen

HERE = "redis://localhost:6379"


class BadUsage(ValueError):
    """What was asked for makes no sense; its text names the option and the value."""


def gather(
    url: str | None,
    *,
    pools: Sequence[str] = (),
    code: Sequence[str] = (),
    fleet: str | None = None,
    process: str | None = None,
    seconds: float = 1.0,
    deadline: float = 30.0,
    processes: int | None = None,
) -> tuple[Facts, list[str]]:
    """Return the facts, and what was looked at.

    The server is the one of `url`, else that of the first of `pools` (each `module:attribute`), else, where there is no
    `code` to read (files and folders) and no `process` (its id, or the path of its socket) either, the one at home. It
    is looked at for so many `seconds`.

    Raises `BadUsage`, and redis-py's errors where the server can't be reached.
    """
    loaded, options = _loaded(pools), dict[str, Any]()
    if url is None and loaded:
        url, options = _server_of(loaded[0][1])
    elif url is None and not code and process is None:
        url = HERE
    seen, unseen = _server(url, options, seconds) if url is not None else (None, ())
    records: dict[tuple[str, str], Record] = {}
    if process is None:
        reports, unread = _fleet(fleet or (None if options else url), fleet is not None)
    elif fleet is None:
        (reports, records), unread = _process(process), ()
    else:
        raise BadUsage("--process, or --fleet: one of them")
    sightings, unreadable = _code(code)
    everything = of_pools.find_all() if loaded else ()
    facts = Facts(
        server=seen,
        pools=tuple(of_pools.facts_of(where, pool, everything) for where, pool in loaded),
        fleet=reports,
        code=sightings,
        redis_py=_version("redis"),
        deadline=deadline,
        processes=processes,
        records=records,
        unseen=(*unseen, *unread, *unreadable),
        silent=(*([seen.url] if seen and seen.silent else []), *(["the fleet"] if fleet and reports is None else [])),
    )
    asked = [] if process is None else [f"process {process}"]
    return facts, [*([seen.url] if seen else []), *asked, *(where for where, _ in loaded), *code]


def _loaded(pools: Sequence[str]) -> list[tuple[str, Any]]:
    try:
        return [found for where in pools for found in of_pools.load(where)]
    except of_pools.NotAPool as error:
        raise BadUsage(str(error)) from error


def _server_of(pool: Any) -> tuple[str, dict[str, Any]]:
    try:
        return of_pools.server_of(pool)
    except of_pools.NotAPool as error:
        raise BadUsage(str(error)) from error


def _server(url: str, options: Mapping[str, Any], seconds: float) -> tuple[ServerFacts, tuple[Unseen, ...]]:
    try:
        client = of_server.connect(url, options)
    except ValueError:
        # The error of what takes a URL apart may quote a part of a password.
        shown = of_server.without_credentials(url)
        raise BadUsage(f"URL {shown!r}: not the URL of a server, such as redis://host:6379/0") from None
    try:
        with client:
            return of_server.look(client, as_redis(url), seconds)
    except (ConnectionError, TimeoutError) as error:
        raise type(error)(f"{of_server.without_credentials(url)}: {error}") from error


def _fleet(url: str | None, asked: bool) -> tuple[FleetView | None, tuple[Unseen, ...]]:
    """Return the fleet that reports there, if one does."""
    if url is None:
        return None, ()
    try:
        reader = Reader(url)
    except ValueError:
        raise BadUsage(f"--fleet {of_server.without_credentials(url)!r}: not the URL of a server") from None
    try:
        view = reader.read()
    finally:
        reader.close()
    if view.processes:
        return view, ()
    refused = [why for why in (view.server.unseen if view.server else ()) if why.startswith("reports")]
    why = view.error or next(iter(refused), None)
    if why is None and asked:
        why = "no process reports there: redpool.publish(pool) makes one"
    return None, () if why is None else (Unseen("the fleet", why),)


def _process(where: str) -> tuple[FleetView, dict[tuple[str, str], Record]]:
    """Return a fleet of this process alone, and the records of its pools, where a name is only one pool's."""
    place = place_of_process(where)
    try:
        report, records = ask(place), ask_records(place)
    except (OSError, ReportError) as error:
        raise BadUsage(f"--process {where!r}: {error}") from None
    named = Counter(record.name for record in records)
    known = {(report.key, each.name): each for each in records if each.arrivals and named[each.name] == 1}
    return FleetView(report.at, (report,)), known


def _code(paths: Sequence[str]) -> tuple[tuple[Sighting, ...] | None, tuple[Unseen, ...]]:
    if not paths:
        return None, ()
    for path in paths:
        if not os.path.exists(path):
            raise BadUsage(f"--code {path!r}: there is no such file or folder")
    return read(paths)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

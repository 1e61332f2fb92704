"""Measure what a fleet costs: to report, to those that are reported, and to read.

::

    python benchmarks/fleet.py [--processes 200] [--pools 5] [--clients 1000] [--rounds 9]

*To read*: so many made-up processes report, all of them anew before each look; the figure is the reader's CPU time of a
look, with the server's list of so many clients now and then. *To report*: CPU time and bytes of a report of this
process's own, which is written to a private server. *To those that are reported*: CPU time of a checkout and release,
with a publisher that reports once a second and without, in turn. All figures are medians.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import redis

import redpool
from redpool import embedded
from redpool.core.histogram import Distribution
from redpool.fleet import ProcessReport, Reader, encode, of_process
from redpool.fleet.encoding import encode_samples
from redpool.fleet.keys import DEFAULT, HISTORY_EVERY, Keys, reporting

_LOOKS = 10


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("processes", 200), ("pools", 5), ("clients", 1000), ("rounds", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with embedded.start() as server:
        say("a report", to_report(server.url, asked.pools))
        say("checkout and release", to_those_reported(server.url, asked.rounds))
        with named(server, asked.clients):
            seconds = to_read(server.url, asked.processes, asked.pools, asked.rounds)
        load = f"{asked.processes} processes, {asked.processes * asked.pools} pools, {asked.clients} clients"
        say(load, f"{seconds * 1e3:.1f} ms of CPU a look: {seconds:.1%} of a core at one a second")
    return 0


def say(what: str, figure: str) -> None:
    """Print a line of the table."""
    sys.stdout.write(f"{what:44} {figure}\n")


def to_report(url: str, pools: int) -> str:
    """Return what a report costs this process, and how long it is."""
    held = [redpool.ConnectionPool.from_url(url, name=f"pool-{number}") for number in range(pools)]
    for pool in held:
        for _ in range(1000):
            pool.release(pool.get_connection())
    began = time.process_time()
    for _ in range(100):
        data = encode(report := of_process(held, service="checkout"))
    took = (time.process_time() - began) / 100
    alone = of_process(held[:1], service="checkout")
    sizes = [len(encode(each)) + len(encode_samples(each)) / HISTORY_EVERY for each in (alone, report)]
    assert data
    return f"{took * 1e3:.2f} ms of CPU; {sizes[0]:.0f} bytes with one pool, {sizes[1]:.0f} with {pools}"


def to_those_reported(url: str, rounds: int) -> str:
    """Return how much more CPU time a checkout and release takes."""
    pool = redpool.ConnectionPool.from_url(url)
    without, reported = [], []
    for _ in range(rounds):
        without.append(_pairs(pool))
        with redpool.publish(pool, service="checkout", period=1.0):
            time.sleep(0.2)  # the first report is out
            reported.append(_pairs(pool))
    ratio = median(with_it / alone for with_it, alone in zip(reported, without, strict=True))
    return f"{median(without) * 1e6:.2f} us; reported {median(reported) * 1e6:.2f} us: {ratio - 1:+.1%}"


def _pairs(pool: redpool.ConnectionPool) -> float:
    """Return the process's CPU seconds of one pair, over somewhat more than a second."""
    ends, pairs = time.monotonic() + 1.1, 0
    began = time.process_time()
    while time.monotonic() < ends:
        for _ in range(1000):
            pool.release(pool.get_connection())
        pairs += 1000
    return (time.process_time() - began) / pairs


def to_read(url: str, processes: int, pools: int, rounds: int) -> float:
    """Return the CPU seconds of a look at so many processes, each with a report that is new."""
    reports = [made_up(number, pools) for number in range(processes)]
    keys, taken = Keys.of(DEFAULT), []
    reader = Reader(url)
    with redis.Redis.from_url(url) as client:
        for look in range(rounds * _LOOKS):
            noting = look % HISTORY_EVERY
            for part in range(0, processes, 50):
                commands = client.pipeline(transaction=False)
                for number, report in enumerate(reports[part : part + 50]):
                    reports[part + number] = busier(report)
                    for command in reporting(
                        keys, reports[part + number], noted=number % HISTORY_EVERY == noting or look == 0
                    ):
                        commands.execute_command(*command)
                commands.execute()
            began = time.process_time()
            view = reader.read()
            taken.append(time.process_time() - began)
            assert view.error is None, view.error
            assert len(view.processes) == processes
    return median(taken[_LOOKS:])


def made_up(number: int, pools: int) -> ProcessReport:
    """Return a report of a process that isn't there."""
    pool = redpool.ConnectionPool(host="127.0.0.1", port=1)
    report = of_process([pool] * pools, service=f"service-{number % 7}", period=60.0)
    return replace(report, pid=number + 1)


def busier(report: ProcessReport) -> ProcessReport:
    """Return the report a second later, with more of everything."""
    more = Distribution(tuple(range(100, 118)), 12.345678)
    pools = tuple(
        replace(
            pool,
            in_use=(pool.in_use + 1) % 50,
            counters={name: count + 117 for name, count in pool.counters.items()},
            wait=pool.wait + more,
            use=pool.use + more,
            connect=pool.connect + more,
        )
        for pool in report.pools
    )
    return replace(report, at=time.time(), pools=pools)


@contextlib.contextmanager
def named(server: embedded.Server, clients: int) -> Iterator[None]:
    """Have so many clients connected, named as redpool names its connections."""
    with contextlib.ExitStack() as stack:
        for number in range(clients):
            peer = stack.enter_context(socket.create_connection((server.host, server.port)))
            name = f"service-{number % 7}/pool@{socket.gethostname()}:{number % 200 + 1}"
            peer.sendall(f"CLIENT SETNAME {name}\r\n".encode())
            peer.recv(16)
        yield


if __name__ == "__main__":
    sys.exit(main())

"""`redpool demo --dashboard`: a small fleet at work, and what can happen to one, while the dashboard shows it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import redis

from redpool import embedded
from redpool.dashboard.command import greeting, listen, serve
from redpool.fleet.reader import Reader

from .worker import MINUTE, RUSH

_PROCESSES = ("checkout", "checkout", "checkout", "search", "search", "jobs")
# It notes what takes longer than 5 ms.
_SERVER = ("--slowlog-log-slower-than", "5000", "--latency-monitor-threshold", "5", "--maxclients", "250")

STORY = f"""\
Six processes of three services, for as long as you look. In each minute:
  {RUSH[0]:.0f} s  a rush: the callers of checkout/carts keep their connections for longer, and others wait
  40 s  the server is restarted: all connections are lost, and come back
  45 s  a process of search is killed, and another one takes its place
  50 s  a process of jobs hangs for 8 s: the server's page shows its connections as orphaned
"""


class Fleet:
    """The processes, and the two servers: one that they use, one that they report to."""

    def __init__(self, server: embedded.Server, reports: str) -> None:
        self.server, self.reports = server, reports
        self._processes: list[subprocess.Popen[bytes]] = []
        self._strangers: list[redis.Redis] = []

    def start(self) -> None:
        """Start all processes, and a few clients of other programs."""
        self._processes = [self._started(service) for service in _PROCESSES]
        for number in range(5):
            stranger = redis.Redis.from_url(self.server.url, client_name="nightly-report" if number % 2 else None)
            stranger.ping()
            self._strangers.append(stranger)

    def _started(self, service: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "redpool.demo.worker", service, self.server.url, self.reports]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def restart_server(self) -> None:
        """Restart the server that the pools are of."""
        self.server.restart()

    def replace_search(self) -> None:
        """Kill a process of search, and start another."""
        self._processes[3].kill()
        self._processes[3].wait()
        self._processes[3] = self._started("search")

    def hang_jobs(self) -> None:
        """Have the process of jobs hang: it reports no more, and its connections stay."""
        self._processes[5].send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._processes[5].send_signal(signal.SIGCONT)

    def keep_strangers(self) -> None:
        """Have the clients of other programs do something: they connect again after a restart."""
        for stranger in self._strangers:
            with contextlib.suppress(redis.RedisError):
                stranger.ping()

    def stop(self) -> None:
        """End all processes, whatever state they are in."""
        for process in self._processes:
            process.kill()
            process.wait()
        for stranger in self._strangers:
            stranger.close()

    def events(self) -> Sequence[tuple[float, Callable[[], None]]]:
        """Return what happens in each minute, and when."""
        return (40.0, self.restart_server), (45.0, self.replace_search), (50.0, self.hang_jobs), (58.0, self.go_on)


@contextmanager
def happening(fleet: Fleet) -> Iterator[None]:
    """Let the story go on in a thread while the block runs."""
    ended = threading.Event()

    def tell() -> None:
        done = time.time()
        while not ended.wait(0.1):
            before, done = done, time.time()
            for second, event in fleet.events():
                if before % MINUTE < second <= done % MINUTE:
                    with contextlib.suppress(embedded.ServerFailed):
                        event()
            if int(before) % 5 == 4 and int(done) % 5 == 0:
                fleet.keep_strangers()

    thread = threading.Thread(target=tell, name="redpool demo")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def running() -> Iterator[Fleet]:
    """Run the fleet for the time of a block."""
    with ExitStack() as stack:
        fleet = Fleet(stack.enter_context(embedded.start(args=_SERVER)), stack.enter_context(embedded.server()))
        stack.callback(fleet.stop)
        fleet.start()
        yield fleet


def show(port: int) -> None:
    """Show the fleet in the dashboard at a port, until the process is interrupted."""
    host = "127.0.0.1"
    with listen(host, port) as listening, running() as fleet, happening(fleet):
        sys.stdout.write(f"{STORY}\n{greeting(listening, host, None)}\n")
        sys.stdout.flush()
        source = Reader(fleet.reports, server=fleet.server.url)
        try:
            serve(source, listening)
        finally:
            source.close()

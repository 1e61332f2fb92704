"""Where the scheduler may put client and server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

FREE = "free"
ONE_CORE = "one core"
APART = "two cores"


def why_not_one_core(server_pid: int | None) -> str | None:
    """Return why client and server can't be pinned to one CPU; `None` where they can."""
    if server_pid is None:
        return "the server is not the bench's own, so it can't be pinned"
    if not hasattr(os, "sched_setaffinity"):
        return "this system has no os.sched_setaffinity"
    return None


def why_not_apart(server_pid: int) -> str | None:
    """Return why client and server can't each have a CPU of its own; `None` where they can."""
    why_not = why_not_one_core(server_pid)
    if why_not is None and len(os.sched_getaffinity(0)) == 1:
        return "there is only one CPU"
    return why_not


@contextmanager
def placed(mode: str, server_pid: int | None) -> Iterator[None]:
    """Pin client and server for the time of the block: to one CPU (`ONE_CORE`), or each to its own (`APART`)."""
    if mode == FREE or server_pid is None:
        yield
        return
    before = {pid: os.sched_getaffinity(pid) for pid in (os.getpid(), server_pid)}
    theirs = min(set.intersection(*before.values()) or before[os.getpid()])
    ours = max(before[os.getpid()]) if mode == APART else theirs
    try:
        _pin(server_pid, {theirs})
        _pin(os.getpid(), {ours})
        yield
    finally:
        for pid, cpus in before.items():
            _pin(pid, cpus)


def _pin(pid: int, cpus: set[int]) -> None:
    # Each thread has an affinity of its own; threads that it starts later inherit that. A thread may end meanwhile.
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), cpus)
        except ProcessLookupError:
            continue

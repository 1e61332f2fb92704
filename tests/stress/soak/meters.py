"""What a process has, from second to second, and whether it grows."""

from __future__ import annotations

import gc
import os
import statistics
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Reading:
    """At one moment."""

    memory: float
    """resident, in MB"""
    threads: float
    descriptors: float
    objects: float
    """that the garbage collector knows, what could be collected left aside"""


# How much more than at first is no growth: a share, and so much besides.
SLACK = Reading(0.04, 0.0, 0.0, 0.04), Reading(3.0, 4.0, 8.0, 3000.0)


def read() -> Reading:
    """Now."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * _PAGE / 1e6
    return Reading(resident, threading.active_count(), len(os.listdir("/proc/self/fd")), len(gc.get_objects()))


def growth(readings: Sequence[Reading]) -> list[str]:
    """What was more at the end than after the warm-up, which is the first third."""
    third = len(readings) // 3
    early, late = _middle(readings[third : 2 * third]), _middle(readings[2 * third :])
    names = [field.name for field in fields(Reading)]
    rows = zip(names, *map(astuple, (early, late, *SLACK)), strict=True)
    return [f"{name}: {was:g} -> {now:g}" for name, was, now, share, more in rows if now > was * (1 + share) + more]


def table(readings: Sequence[Reading]) -> str:
    """About ten of them, one a line."""
    lines = ["second  memory MB  threads  descriptors  objects"]
    for second in range(0, len(readings), max(1, len(readings) // 10)):
        each = readings[second]
        lines.append(f"{second:6}  {each.memory:9.1f}  {each.threads:7g}  {each.descriptors:11g}  {each.objects:7g}")
    return "\n".join(lines)


def _middle(readings: Sequence[Reading]) -> Reading:
    return Reading(*(statistics.median(column) for column in zip(*map(astuple, readings), strict=True)))

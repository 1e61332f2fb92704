"""Whatever two threads do to a multiplexed connection at the same time, in any order: every reply is right.

`make test` takes a sample of `RUNS`, which begins with those that have one preemption; `make soak` a larger one.
A failure prints its schedule, which `python -m stress.interleaving` runs again.
"""

from __future__ import annotations

import os
import sys

import pytest

from .scenarios import Scenario, interrupted, scenarios
from .search import by_chance, explore

adapter = pytest.importorskip("stress.interleaving.subject").adapter

SCALE = max(1.0, float(os.environ.get("SOAK", "0")) / 40)
RUNS = {2: 80, 3: 250}  # by the number of actors
ALL = [*scenarios("one"), *scenarios("several")]
# There it crashes once a trace function has raised.
NOT_ON_312 = pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="CPython 3.12 can't trace interruptions")


@pytest.mark.parametrize("scenario", [each for each in ALL if interrupted not in each.actors], ids=str)
def test_orders(scenario: Scenario) -> None:
    """Two preemptions at most, at any line, lock or socket."""
    most = round(RUNS[len(scenario.actors)] * SCALE)
    report = explore(lambda decide: scenario.run(adapter, decide), most=most)
    assert not report.failures, f"{scenario}: {report}"


@NOT_ON_312
@pytest.mark.parametrize("scenario", [each for each in ALL if interrupted in each.actors], ids=str)
def test_interruptions(scenario: Scenario) -> None:
    """The same with an interruption, at any place where CPython has one."""
    most = round(RUNS[len(scenario.actors)] * SCALE / 2)  # they take longer
    report = explore(lambda decide: scenario.run(adapter, decide), most=most)
    assert not report.failures, f"{scenario}: {report}"


@NOT_ON_312
@pytest.mark.parametrize("scenario", [each for each in ALL if len(each.actors) > 2], ids=str)
def test_any_opcode(scenario: Scenario) -> None:
    """Any number of preemptions, at any opcode, drawn by a seed."""
    report = by_chance(lambda decide: scenario.run(adapter, decide, opcodes=True), range(round(15 * SCALE)))
    assert not report.failures, f"{scenario}: {report}"

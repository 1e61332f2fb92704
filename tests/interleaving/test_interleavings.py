"""Whatever two threads do to a multiplexed connection at the same time, in any order: every reply is right.

`make test` takes a sample of `RUNS`, which begins with those that have one preemption; `make soak` a larger one.
A failure prints its schedule, which `python -m interleaving` runs again.
"""

from __future__ import annotations

import os

import pytest

from .scenarios import Scenario, interrupted, pairs, triples
from .search import by_chance, explore

adapter = pytest.importorskip("interleaving.subject").adapter

SCALE = max(1.0, float(os.environ.get("SOAK", "0")) / 60)
RUNS = {2: 100, 3: 300}  # by the number of actors


@pytest.mark.parametrize("scenario", [*pairs("one"), *triples("one"), *pairs("several"), *triples("several")], ids=str)
def test_few_preemptions(scenario: Scenario) -> None:
    """Two preemptions at most, at any line; an interruption at any place where CPython has one."""
    runs = RUNS[len(scenario.actors)] / (2 if interrupted in scenario.actors else 1)  # those take longer
    report = explore(lambda decide: scenario.run(adapter, decide), most=round(runs * SCALE))
    assert not report.failures, f"{scenario}: {report}"


@pytest.mark.parametrize("scenario", [*triples("one"), *triples("several")], ids=str)
def test_any_opcode(scenario: Scenario) -> None:
    """Any number of preemptions, at any opcode, drawn by a seed."""
    report = by_chance(lambda decide: scenario.run(adapter, decide, opcodes=True), range(round(20 * SCALE)))
    assert not report.failures, f"{scenario}: {report}"

"""Measure the sides of each case in turn, round by round; take medians; compare the last side with the first."""

import gc
from collections.abc import Callable, Sequence
from statistics import median

from .cases import RATIO, Case, Target
from .load import Figures
from .place import ONE_CORE, placed, why_not_one_core
from .report import Report, Result, Verdict
from .setting import Setting

Tell = Callable[[str, int, int], None]
"""Shows the progress: what is measured next, how many measurements are done, and how many there are."""


def run(
    cases: Sequence[Case],
    modes: Sequence[str],
    rounds: int,
    setting: Setting,
    server_pid: int | None,
    tell: Tell,
) -> Report:
    """Measure `cases` in each of `modes`, and return the report; it notes modes that this machine doesn't allow."""
    notes = []
    why_not = why_not_one_core(server_pid) if ONE_CORE in modes else None
    if why_not:
        notes.append(f"not measured on one core: {why_not}")
        modes = [mode for mode in modes if mode != ONE_CORE]
    plan = [(case, mode) for mode in modes for case in cases if case.place_matters or mode == modes[0]]
    total = sum(len(case.sides) for case, _ in plan) * rounds
    results: list[Result] = []
    done = 0
    for case, mode in plan:
        seen: dict[str, list[Figures]] = {side: [] for side in case.sides}
        with placed(mode, server_pid):
            for _ in range(rounds):
                for side, measure in case.sides.items():
                    tell(f"{case.name}, {mode}: {side}", done, total)
                    gc.collect()
                    seen[side].append(measure(setting))
                    done += 1
        results.append(_result(case, mode, seen))
        notes.extend(_errors_seen(results[-1]))
    tell("done", done, total)
    return Report(setting.probe.server(), rounds, setting.seconds, tuple(results), tuple(notes))


def _result(case: Case, mode: str, seen: dict[str, list[Figures]]) -> Result:
    sides = {side: _medians(rounds) for side, rounds in seen.items()}
    first, last = next(iter(sides.values())), list(sides.values())[-1]
    ratio = None if case.ratio is None else case.ratio(first[case.main], last[case.main])
    values = last if ratio is None else {**last, RATIO: ratio}
    verdicts = tuple(_verdict(target, values) for target in case.targets if target.mode in (None, mode))
    return Result(case.name, case.about, mode, case.main, sides, ratio, verdicts, seen)


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


def _verdict(target: Target, values: Figures) -> Verdict:
    return Verdict(str(target), values[target.figure], target.met(values[target.figure]))


def _errors_seen(result: Result) -> list[str]:
    counts = {side: sum(figures.get("errors", 0) for figures in rounds) for side, rounds in result.rounds.items()}
    return [f"{result.case}, {result.mode}: {side} raised {count:g} errors" for side, count in counts.items() if count]

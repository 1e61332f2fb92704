"""Measure the peers of each case in turn, round by round; take medians; compare with the faster of redis-py's pools."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from redpool.bench.load import Figures
from redpool.bench.place import FREE, ONE_CORE, placed, why_not_one_core
from redpool.bench.report import Verdict
from redpool.bench.runner import Tell

from .cases import PER_S, REDIS_PYS, Case, Target
from .contenders import of_kind
from .ground import Ground
from .measure import check, measure
from .peer import Peer
from .report import NOT_INSTALLED, Report, Result, Row

# Above this share of a core the relay, and not the client, may set the pace.
_RELAY_BUSY = 0.8


@dataclass
class _Seen:
    """The measurements of a peer in a case so far, or why there are none."""

    peer: Peer
    absent: str = ""
    failed: bool = False
    rounds: list[Figures] = field(default_factory=list)


def run(cases: Sequence[Case], modes: Sequence[str], rounds: int, seconds: float, ground: Ground, tell: Tell) -> Report:
    """Measure the peers in `cases`, each case in those of `modes` that it has; the report notes what can't be done."""
    notes: list[str] = []
    why_not = why_not_one_core(ground.server.pid) if ONE_CORE in modes else None
    if why_not:
        notes.append(f"not measured on one core: {why_not}")
        modes = [mode for mode in modes if mode != ONE_CORE]
    notes.extend(_ways(cases, ground))
    plan = [(case, mode) for mode in modes for case in cases if mode == FREE or case.one_core]
    total = sum(len(of_kind(case.kind)) for case, _ in plan) * rounds
    results: list[Result] = []
    done = 0
    for case, mode in plan:
        seen = [_Seen(peer, "" if peer.installed else NOT_INSTALLED) for peer in of_kind(case.kind)]
        with placed(mode, ground.server.pid):
            for each in _in_turn(seen, rounds):
                tell(f"{case.name}, {mode}: {each.peer.name}", done, total)
                _measure(each, case, ground, seconds)
                done += 1
        results.append(_result(case, mode, seen))
        notes.extend(_worth_noting(results[-1]))
    tell("done", done, total)
    return Report(ground.about(), rounds, seconds, tuple(results), tuple(notes))


def _in_turn(seen: Sequence[_Seen], rounds: int) -> Iterator[_Seen]:
    # Each round begins with another peer, so that none always comes after the same one.
    for number in range(rounds):
        first = number % len(seen)
        yield from (*seen[first:], *seen[:first])


def _measure(each: _Seen, case: Case, ground: Ground, seconds: float) -> None:
    if each.absent:
        return
    gc.collect()
    try:
        if not each.rounds:
            check(each.peer, ground)
        each.rounds.append(measure(each.peer, case, ground, seconds))
    except Exception as error:
        # An exception is the failure of this peer only; the others still have their turn.
        each.absent, each.failed = f"failed: {_described(error)}", True


def _described(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _result(case: Case, mode: str, seen: Sequence[_Seen]) -> Result:
    medians = {each.peer.name: {} if each.absent else _medians(each.rounds) for each in seen}
    rows = tuple(
        Row(
            each.peer.name,
            each.peer.family,
            medians[each.peer.name],
            ratio(Target(each.peer.name, REDIS_PYS), medians),
            each.absent,
            each.failed,
            each.rounds,
        )
        for each in seen
    )
    targets = [target for target in case.targets if target.mode == mode]
    verdicts = [_verdict(target, ratio(target, medians)) for target in targets]
    return Result(case.name, case.group, case.about, mode, rows, tuple(each for each in verdicts if each))


def ratio(target: Target, medians: Mapping[str, Figures]) -> float | None:
    """Return the figure of the target's peer divided by that of the fastest it is compared with.

    `None` where one of them is missing.
    """
    mine = medians.get(target.peer)
    against = [figures for name in target.against if (figures := medians.get(name))]
    if not mine or not against:
        return None
    fastest = max(against, key=lambda figures: figures[PER_S])
    return mine[target.figure] / fastest[target.figure] if fastest[target.figure] else None


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


def _verdict(target: Target, seen: float | None) -> Verdict | None:
    return None if seen is None else Verdict(str(target), seen, target.met(seen))


def _ways(cases: Sequence[Case], ground: Ground) -> Iterator[str]:
    for round_trip in sorted({case.round_trip for case in cases} - {0.0}):
        with_it, without = (1e3 * ground.ping(each) for each in (round_trip, 0.0))
        yield (
            f"round trip {1e3 * round_trip:g} ms: a relay holds replies back; a lone PING took {with_it:.2f} ms "
            f"through it, {without:.2f} ms without"
        )


def _worth_noting(result: Result) -> Iterator[str]:
    for row in result.rows:
        where = f"{result.case}, {result.mode}: {row.peer}"
        errors = sum(figures["errors"] for figures in row.rounds)
        if errors:
            yield f"{where} raised {errors:g} errors"
        if row.figures.get("relay", 0.0) > _RELAY_BUSY:
            yield f"{where} may be held up by the relay, which was busy for {row.figures['relay']:.0%} of the time"

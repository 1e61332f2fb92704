"""What can be said of a pool of which only counters are known: a foreign one, or what an exporter has. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from . import formulas
from .advice import GUESSED_DISPERSION, SHARE, Advice, Candidate, Load, milliseconds, out_of_room
from .replay import LEAST_TARGET

_MOST = 10_000


def advise_from_counters(
    name: str,
    now: int,
    rate: float,
    hold: float,
    *,
    median_hold: float | None = None,
    variation: float = 1.0,
    dispersion: float | None = None,
    target: float | None = None,
    ceiling: int | None = None,
) -> Advice:
    """Return the smallest size that meets the target by Erlang's formula, with the wait scaled by the dispersion.

    `rate` callers a second keep a connection for `hold` seconds on average; `variation` and `dispersion` are those of
    `formulas.wait`. Nothing in counters says how callers bunch: where `dispersion` is `None` it is guessed, which
    the advice says.

    Raises `ValueError` with the name and the value of an argument that makes no sense.
    """
    guessed = dispersion is None
    dispersion = GUESSED_DISPERSION if dispersion is None else dispersion
    for what, value in (("rate", rate), ("hold", hold), ("variation", variation), ("dispersion", dispersion)):
        if not 0 <= value < math.inf or (what in ("rate", "hold") and value == 0):
            raise ValueError(f"{what} must be a number above 0, not {value!r}")
    usual = hold if median_hold is None else median_hold
    wanted = max(usual, LEAST_TARGET) if target is None else target
    busy = rate * hold
    if busy >= _MOST:
        raise ValueError(f"rate={rate!r} and hold={hold!r} keep {busy:.0f} connections busy: more than a pool has")

    def candidate(size: int) -> Candidate:
        wait = formulas.wait(size, rate, hold, SHARE, dispersion, variation)
        return Candidate(size, wait, formulas.erlang_c(size, busy), math.inf, (size - busy) if size > busy else 0.0)

    size = math.floor(busy) + 1
    while candidate(size).wait_p99 > wanted:
        size += 1
    if ceiling is not None:
        size = min(size, ceiling)
    curve = tuple(candidate(each) for each in range(max(1, size - 3), size + 4))
    load = Load(1.0, round(rate), rate, busy, 0, usual, hold, variation, dispersion)
    advice = Advice(
        name, now, size, wanted, candidate(size).wait_p99 <= wanted, load, curve, ceiling=ceiling, guessed=guessed
    )
    return replace(advice, notes=_notes(advice, guessed))


def _notes(advice: Advice, guessed: bool) -> tuple[str, ...]:
    load = advice.load
    bunch = f"a dispersion of {load.dispersion:g} is " + ("a guess" if guessed else "what you say")
    said = [
        f"{load.rate:.0f} callers/s keep {load.busy:.1f} connections busy on average, for "
        f"{milliseconds(load.mean_hold)} each",
        f"from counters alone, which don't say how callers bunch: {bunch}; where"
        " they come in bursts, a record of redpool's own pool says more",
    ]
    return tuple(said + out_of_room(advice))

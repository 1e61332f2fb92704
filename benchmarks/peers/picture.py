"""Draw the report as a picture for a light or a dark background; the one file that needs matplotlib."""

from pathlib import Path
from typing import Any

from .cases import CASES
from .peer import LIMIT, OTHERS, REDIS_PY, REDPOOL
from .report import Report, Result, Row

DRAWN = ("tasks-100", "threads-16", "round-trip-tasks-4ms", "round-trip-threads-4ms")
"""The cases that the picture shows, as far as they were measured with free placement."""

FORMATS = (".svg", ".png")

# Mid gray contrasts with white and with black.
_INK = "#7f8790"
_COLORS = {REDIS_PY: "#9aa1a9", REDPOOL: "#d8392b", OTHERS: "#4a86c5", LIMIT: "#c9b27c"}
_SIZE = 13
_CAPTION = "commands per second (times the faster of redis-py's pools, connections used)"
_PANEL = (6.4, 3.6)  # inches


def draw(report: Report, path: Path) -> None:
    """Write the picture to `path`, whose suffix is the format. Raises `OSError` where the file can't be written."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    results = [result for name in DRAWN for result in report.results if (result.case, result.mode) == (name, "free")]
    across = min(2, len(results))
    down = -(-len(results) // across)
    with rc_context({"font.size": _SIZE, "svg.fonttype": "path", "text.color": _INK}):
        figure = Figure(figsize=(_PANEL[0] * across, _PANEL[1] * down), layout="constrained")
        for place, result in enumerate(results, 1):
            _panel(figure.add_subplot(down, across, place), result)
        figure.supxlabel(_CAPTION, fontsize=_SIZE - 2, color=_INK)
        figure.savefig(path, transparent=True, dpi=150)


def _panel(axes: Any, result: Result) -> None:
    rows = [row for row in result.rows if not row.absent]
    rates = [row.figures["per_s"] for row in rows]
    bars = axes.barh([row.peer for row in rows], rates, color=[_COLORS[row.family] for row in rows], height=0.72)
    axes.bar_label(bars, [_label(row) for row in rows], padding=6, color=_INK)
    axes.invert_yaxis()
    axes.set_title(_title(result), color=_INK, fontweight="bold", loc="left")
    axes.set_xlim(0, 2.05 * max(rates, default=1.0))
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label(row: Row) -> str:
    rate = f"{row.figures['per_s']:,.0f}".replace(",", " ")
    ratio = "" if row.ratio is None else f"{row.ratio:.2g}x, "
    return f"{rate}  ({ratio}{row.figures['connections']:g} conn.)"


def _title(result: Result) -> str:
    case = CASES[result.case]
    where = f"{1e3 * case.round_trip:g} ms round trip" if case.round_trip else "loopback"
    return f"{case.callers} {case.kind}, GET, {where}"

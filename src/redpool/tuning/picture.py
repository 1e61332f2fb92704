"""Curves as SVG: pictures for a page, made of nothing but text. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 44
_COLORS = ("#1b6ac9", "#c9411b", "#2b8a3e", "#8a2b86", "#b58900", "#495057")

Points = Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """One picture: lines over one axis, and perhaps a level to compare them with."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Points]
    level: tuple[str, float] | None = None


def svg(charts: Sequence[Chart]) -> str:
    """Return charts as one SVG document, one below the other."""
    height = _HEIGHT * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for place, chart in enumerate(charts):
        parts += [f'<g transform="translate(0 {_HEIGHT * place})">', *_drawn(chart), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _drawn(chart: Chart) -> list[str]:
    points = [point for line in chart.lines.values() for point in line if math.isfinite(point[1])]
    level = [] if chart.level is None else [chart.level[1]]
    left, right = min((x for x, _ in points), default=0.0), max((x for x, _ in points), default=1.0)
    top = _round_up(max([y for _, y in points] + level, default=1.0))

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        up = min(1.0, y / top)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        _text(_LEFT, 18, chart.title, weight="bold"),
        _text(_WIDTH / 2, _HEIGHT - 8, chart.across, anchor="middle"),
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(left + share * (right - left), share * top)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{share * top:g}", anchor="end"))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{left + share * (right - left):g}", anchor="middle"))
    parts.append(_text(_LEFT, _TOP - 6, chart.up))
    if chart.level is not None:
        _, y = at(left, chart.level[1])
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#888" '
                     'stroke-dasharray="5 4"/>')  # fmt: skip
        parts.append(_text(_WIDTH - _RIGHT, y - 4, chart.level[0], anchor="end"))
    for place, (name, line) in enumerate(chart.lines.items()):
        color = _COLORS[place % len(_COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line if math.isfinite(point[1])))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        parts.append(_text(_WIDTH - _RIGHT, 18 + 14 * place, name, anchor="end", color=color))
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", color: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{color}">'
        f"{escape(text)}</text>"
    )


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 5, 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value * (1 - 1e-9))

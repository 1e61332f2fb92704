"""Draws the page of a slot's states, and its picture, from the table of transitions.

Run as `PYTHONPATH=../src python -m docs.draw_states` in the directory `tests`; it writes into docs/.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TypeAlias

from redpool.core.slot import TRANSITIONS, State

DOCS = Path(__file__).parents[2] / "docs"

PAGE = Template("""\
# The states of a slot

A slot is room for one connection. The table `TRANSITIONS` in `redpool.core.slot` lists every change of its state
there is; this page is drawn from it, and a test holds both the page and every run of the pool against it.

![The six states, with a numbered arrow for each change](states.svg)

| | from | to | when |
|---:|---|---|---|
$rows
""")

Point: TypeAlias = tuple[float, float]

# Where the states stand. An arrow bends to its right, so that the one that leads back doesn't hide it.
PLACES: dict[State, Point] = {
    State.EMPTY: (90, 210),
    State.CONNECTING: (270, 80),
    State.IDLE: (500, 80),
    State.LEASED: (500, 320),
    State.VALIDATING: (690, 200),
    State.CLOSING: (270, 320),
}
WIDTH, HEIGHT, BEND = 112, 40, 34
NUMBER_AT = 0.3  # of an arrow's way

PICTURE = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 410" font-family="sans-serif" font-size="15">
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>
<rect width="780" height="410" rx="8" fill="#fff"/><g text-anchor="middle">
$arrows
$boxes
</g></svg>
""")
BOX = Template("""\
<rect x="$left" y="$top" width="112" height="40" rx="8" fill="#fdeaea" stroke="#c62828"/>\
<text x="$x" y="$base">$name</text>""")
ARROW = Template("""\
<path d="M$ax $ay Q$bx $by $cx $cy" fill="none" stroke="#555" stroke-width="1.4" marker-end="url(#head)"/>\
<circle cx="$x" cy="$y" r="11" fill="#fff"/><text x="$x" y="$base">$number</text>""")


def page() -> str:
    """Return the whole of docs/states.md."""
    changes = enumerate(TRANSITIONS.items(), 1)
    rows = [f"| {number} | {old.value} | {new.value} | {why} |" for number, ((old, new), why) in changes]
    return PAGE.substitute(rows="\n".join(rows))


def picture() -> str:
    """Return the whole of docs/states.svg."""
    arrows = [arrow(number, PLACES[old], PLACES[new]) for number, (old, new) in enumerate(TRANSITIONS, 1)]
    boxes = [
        BOX.substitute(left=x - WIDTH / 2, top=y - HEIGHT / 2, x=x, base=y + 5, name=state.value)
        for state, (x, y) in PLACES.items()
    ]
    return PICTURE.substitute(arrows="\n".join(arrows), boxes="\n".join(boxes))


def arrow(number: int, start: Point, end: Point) -> str:
    """Return a numbered arrow from the edge of one box to that of another, or around below a box to itself."""
    if start == end:
        (x, y), below = start, start[1] + HEIGHT / 2
        a, b, c = (x + 24, below), (x, y + 100), (x - 24, below)
    else:
        (ax, ay), (cx, cy) = start, end
        length = ((cx - ax) ** 2 + (cy - ay) ** 2) ** 0.5
        right = (-(cy - ay) / length * BEND, (cx - ax) / length * BEND)
        b = ((ax + cx) / 2 + right[0], (ay + cy) / 2 + right[1])
        a, c = edge(start, b), edge(end, b)
    x, y = along(a, b, c)
    points = {"ax": a[0], "ay": a[1], "bx": b[0], "by": b[1], "cx": c[0], "cy": c[1], "x": x, "y": y, "base": y + 5}
    return ARROW.substitute({name: f"{value:.1f}" for name, value in points.items()}, number=number)


def edge(middle: Point, towards: Point) -> Point:
    """Return where the line from the middle of a box towards a point leaves the box."""
    x, y = towards[0] - middle[0], towards[1] - middle[1]
    share = min(WIDTH / 2 / abs(x) if x else 9.0, HEIGHT / 2 / abs(y) if y else 9.0)
    return middle[0] + x * share, middle[1] + y * share


def along(a: Point, b: Point, c: Point) -> Point:
    """Return the point of a curve at which its number stands."""
    t = NUMBER_AT if a[1] != c[1] or a[0] < c[0] else 0.5
    x, y = ((1 - t) ** 2 * p + 2 * t * (1 - t) * q + t * t * r for p, q, r in zip(a, b, c, strict=True))
    return x, y


if __name__ == "__main__":
    (DOCS / "states.md").write_text(page(), encoding="utf-8")
    (DOCS / "states.svg").write_text(picture(), encoding="utf-8")

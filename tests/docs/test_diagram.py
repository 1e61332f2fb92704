"""The diagram of the docs is drawn from the table of transitions."""

from __future__ import annotations

from pathlib import Path

from redpool.core.slot import TRANSITIONS, State

from .draw_states import page, picture

DOCS = Path(__file__).parents[2] / "docs"
REDRAW = "out of date; redraw: cd tests && PYTHONPATH=../src python -m docs.draw_states"


def test_the_page_of_states_is_what_the_table_says() -> None:
    """A change of the table is a change of the page, and of its picture."""
    assert (DOCS / "states.md").read_text(encoding="utf-8") == page(), REDRAW
    assert (DOCS / "states.svg").read_text(encoding="utf-8") == picture(), REDRAW


def test_every_state_can_be_reached_and_left() -> None:
    """No state is a dead end, and none is there for nothing."""
    assert {old for old, _ in TRANSITIONS} == {new for _, new in TRANSITIONS} == set(State)

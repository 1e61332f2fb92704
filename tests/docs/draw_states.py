"""Draws the diagram of a slot's states from the table of transitions.

Run as `python -m docs.draw_states > ../docs/states.md` in the directory `tests`.
"""

from __future__ import annotations

import sys

from redpool.core.slot import TRANSITIONS, State

HEAD = """\
# The states of a slot

A slot is room for one connection. The table `TRANSITIONS` in `redpool.core.slot` lists every change of its state
there is; this page is drawn from it, and a test holds both the page and every run of the pool against it.

"""


def diagram() -> str:
    """A Mermaid diagram with an arrow for each transition."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.EMPTY.value}"]
    lines += [f"    {old.value} --> {new.value}: {why}" for (old, new), why in TRANSITIONS.items()]
    return "\n".join(["```mermaid", *lines, "```"]) + "\n"


def table() -> str:
    """The same as a table, for where no diagram is shown."""
    rows = [f"| {old.value} | {new.value} | {why} |" for (old, new), why in TRANSITIONS.items()]
    return "\n".join(["| from | to | when |", "|---|---|---|", *rows]) + "\n"


def page() -> str:
    """The whole of docs/states.md."""
    return f"{HEAD}{diagram()}\n{table()}"


if __name__ == "__main__":
    sys.stdout.write(page())

"""Two trees in turn: what is printed of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import trees


def report(**rates: float) -> dict[str, Any]:
    """A report of one round of 100 tasks."""
    names = {"theirs": "redis-py, plain pool", "blocking": "redis-py, blocking pool", "client": "redpool client"}
    rows = [{"peer": names[key], "absent": "", "figures": {"per_s": rate}} for key, rate in rates.items()]
    return {
        "environment": {"redpool": "1"},
        "server": "redis 7",
        "results": [{"case": "tasks-100", "mode": "free", "rows": rows}],
    }


@pytest.mark.parametrize(("now", "status"), [(4000.0, 0), (3900.0, 0), (3800.0, 1)])
def test_a_ratio_that_fell_is_marked(
    now: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By more than 3 %, the faster of redis-py's pools being what it is held against; trees take turns to begin."""
    begun: list[str] = []

    def run(tree: Path, cases: Sequence[str], seconds: float) -> dict[str, Any]:
        begun.append(tree.name)
        return report(theirs=1000.0, blocking=2000.0, client=4000.0 if tree.name == "old" else now)

    monkeypatch.setattr(trees, "_run", run)
    assert trees.main([str(tmp_path / "old"), str(tmp_path / "new"), "--rounds", "3"]) == status
    assert begun == ["old", "new", "new", "old", "old", "new"]
    said = capsys.readouterr().out
    assert f"| 100 tasks | 2 000 |  | {now:,.0f} ({now / 2000:.1f}x) |  |".replace(",", " ") in said
    assert ("fell" in said) == bool(status)

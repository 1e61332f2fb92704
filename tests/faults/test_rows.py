"""Our side of the fault table holds, each row in a process of its own."""

from __future__ import annotations

import pytest

from faults.rows import Row, all_rows
from faults.runner import run
from faults.sides import OURS


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: f"{row.number}-{row.name}")
def test_redpool_holds(row: Row) -> None:
    """Whatever goes wrong, goes wrong as the docs say."""
    result = run(row, OURS)
    assert result.finding.held, f"{row.text}: {result.finding.figure}\n{result.log}"

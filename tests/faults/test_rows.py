"""Our side of the fault table holds, each row in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from faults.rows import Row, all_rows
from faults.runner import Result, run
from faults.sides import OURS


def held(row: Row) -> Result:
    """Run it; on a busy machine a timed row may need another try."""
    for _ in range(5 if row.timed else 1):
        result = run(row, OURS, patience=3)
        if result.finding.held:
            break
    return result


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Result]]]:
    """Of the rows that were asked for, two at a time: each waits for longer than it works."""
    asked = [item.callspec.params["row"] for item in request.session.items if item.path == request.path]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as executor:
        yield {row.name: executor.submit(held, row) for row in asked}
        executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: f"{row.number}-{row.name}")
def test_redpool_holds(row: Row, results: dict[str, Future[Result]]) -> None:
    """Whatever goes wrong, goes wrong as the docs say."""
    result = results[row.name].result()
    assert result.finding.held, f"{row.text}: {result.finding.figure}\n{result.log}"

"""Our side of the fault table holds, each row in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from benchmarks.faults.rows import Finding, Row, all_rows
from benchmarks.faults.runner import Result, run
from benchmarks.faults.sides import OF_OURS, SHARING


def held(row: Row, side: str) -> Result:
    """Run it; on a busy machine a timed row may need another try."""
    for _ in range(5 if row.timed else 1):
        result = run(row, side, patience=3)
        if result.finding.held is not False:
            break
    return result


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], Future[Result]]]:
    """Of the rows that were asked for, three at a time: each waits for longer than it works."""
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = [(item.callspec.params["row"], item.callspec.params["side"]) for item in items]
    with ThreadPoolExecutor(3) as executor:
        yield {(row.name, side): executor.submit(held, row, side) for row, side in asked}
        executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: f"{row.number}-{row.name}")
@pytest.mark.parametrize("side", OF_OURS)
def test_redpool_holds(row: Row, side: str, results: dict[tuple[str, str], Future[Result]]) -> None:
    """Whatever goes wrong, goes wrong as the docs say."""
    result = results[row.name, side].result()
    assert result.finding.held is not False, f"{row.text}: {result.finding.figure}\n{result.log}"


def test_what_cannot_be_shared_is_said() -> None:
    """Where a row isn't run over shared connections, the table has the reason; most rows are."""
    apart = [row for row in all_rows() if row.unshared]
    assert 0 < len(apart) < len(all_rows()) / 4
    assert all(run(row, side).finding == Finding(None, row.unshared) for row in apart for side in SHARING)

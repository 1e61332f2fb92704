"""The command line: exit statuses, what goes to standard output, and that the commands really run."""

import json
import subprocess
import sys
from typing import Any

import pytest

from redpool import __version__
from redpool.bench.cases import CASES
from redpool.cli import main


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    status = main(argv)
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nonsense",),
        ("bench", "no-such-case"),
        ("bench", "--rounds", "0"),
        ("bench", "--rounds", "many"),
        ("bench", "--seconds", "-1"),
        ("bench", "--free", "--one-core"),
        ("bench", "--url", "localhost:6379"),
        ("demo", "--seconds", "nan"),
        ("demo", "extra"),
    ],
)
def test_bad_usage_exits_with_status_2(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong stands on stderr, with the usage."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "usage: redpool" in said.err


def test_a_server_that_is_not_there_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that can't be reached is told in one line, without a traceback."""
    assert main(("bench", "checkout", "--url", "unix:///nowhere/to/be/found")) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("redpool: ")
    assert said.err.count("\n") == 1


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line needs an extra, and says which."""
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(("bench", "--list")) == 2
    assert "pip install 'redpool[cli]'" in capsys.readouterr().err


def test_importing_redpool_imports_no_rich() -> None:
    """Users of the pool need not have it."""
    code = "import redpool, redpool.asyncio, sys; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_the_package_version() -> None:
    """`redpool --version` says it in one line."""
    command = [sys.executable, "-m", "redpool", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"redpool {__version__}\n"


@pytest.mark.parametrize("argv", [("--help",), ("bench", "--help"), ("demo", "--help")])
def test_help_exits_with_status_0(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Help stands on stdout."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0
    assert "usage: redpool" in capsys.readouterr().out


def test_bench_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    """`redpool bench --list` leaves none out."""
    assert main(("bench", "--list")) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in CASES)


def test_bench_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The list for programs has the cases in their order."""
    status, cases = run_json(capsys, "bench", "--list", "--json")
    assert status == 0
    assert [case["case"] for case in cases] == list(CASES)


def test_bench_prints_one_json_document_with_a_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    """Each result for programs has both sides, and their ratio."""
    status, report = run_json(capsys, "bench", "checkout", "--rounds", "1", "--seconds", "0.05", "--json")
    assert status == 0
    assert report["environment"]["redpool"] == __version__
    for result in report["results"]:
        assert result["case"] == "checkout"
        assert result["ratio"] > 0
        assert len(result["sides"]) == 2


CLUSTERS = [case for case in CASES if case.startswith("cluster-")]


@pytest.mark.parametrize("cases", [*([case] for case in CASES if case not in CLUSTERS), CLUSTERS], ids=" ".join)
def test_every_case_runs_and_shows_its_table(
    cases: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each case runs to its end, and no side of redpool's raises. Those over a cluster share one."""
    monkeypatch.setattr("redpool.bench.memory._CONNECTIONS", 20)
    assert main(("bench", *cases, "--rounds", "1", "--seconds", "0.02", "--free")) == 0
    said = capsys.readouterr().out
    assert all(f"{case} (free)" in said for case in cases)
    assert not [line for line in said.splitlines() if "raised" in line and "redpool" in line]


def test_demo_serves_through_a_restart_and_compares_three_ways(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's figures for programs show load in each pool, and a restart."""
    status, seen = run_json(capsys, "demo", "--seconds", "1", "--json")
    assert status == 0
    assert seen["lines"]["result"] == "True"
    assert seen["load"]["restarted_at"] is not None
    assert all(pool["stats"]["acquired"] > 0 for pool in seen["load"]["pools"].values())
    assert len(seen["comparison"]) == 3


def test_demo_without_a_terminal_prints_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe or a log gets no escape sequences."""
    assert main(("demo", "--seconds", "1.2")) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert 'r.set("foo", "bar")' in said
    table = said[said.rindex("GET from 32 threads") :]
    for row in ("a new connection each time", "redis.BlockingConnectionPool", "redpool.ConnectionPool"):
        assert row in table

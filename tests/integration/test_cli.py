"""The command line: exit statuses, what goes to standard output, and that the commands really run."""

import json
import os
import subprocess
import sys
import tempfile
import termios
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from redpool import __version__, embedded
from redpool.bench.cases import CASES
from redpool.cli import main
from redpool.demo.drive import Seen
from redpool.demo.ways import WAYS


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


# -- demo --------------------------------------------------------------------------------------------------------------

QUICKLY = ("demo", "--seconds", "0.1")


def test_no_command_runs_twice_over_redpool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo's figures for programs have each way for each kind of callers; it leaves nothing running."""
    ours = [way for way in WAYS if way.ours]
    monkeypatch.setattr("redpool.demo.ways.WAYS", ours)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(threading.enumerate())
    status, seen = run_json(capsys, *QUICKLY, "--json")
    assert status == 0
    assert seen["lines"]["result"] == "True"
    assert [(name, crowd["callers"]) for name, crowd in seen["crowds"].items()] == [("threads", 32), ("tasks", 200)]
    for crowd in seen["crowds"].values():
        assert [way["name"] for way in crowd["ways"]] == [way.name for way in ours]
        assert [way["twice"] for way in crowd["ways"]] == [0, 0, 0]
        assert all(way["after"] > 0 for way in crowd["ways"])
    assert set(threading.enumerate()) <= before
    assert not list(tmp_path.iterdir()), "the server removes its directory when it is gone"


def test_the_demo_on_a_terminal_says_what_goes_on() -> None:
    """A terminal sees bars, and each thing that happens to the server while it happens; the cursor is given back."""
    code = (
        "import sys, redpool.cli, redpool.demo.ways as ways; ways.WAYS = (ways.WAYS[5],); sys.exit(redpool.cli.main())"
    )
    status, said = on_a_terminal(sys.executable, "-c", code, *QUICKLY)
    assert status == 0
    for what in ("all is well", "the server hangs", "answers again", "has crashed", "is back", "█"):
        assert what in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


def test_the_demo_leaves_a_server_of_the_users_alone(
    own_server: embedded.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """It hangs and crashes none but its own, goes each way, and deletes what it wrote."""
    pid = own_server.pid
    assert main((*QUICKLY, "--url", own_server.url)) == 0
    said = capsys.readouterr().out
    assert "the server hangs" not in said
    assert all(said.count(f" {way.name} ") >= 2 for way in WAYS)
    with redis.Redis.from_url(own_server.url) as client:
        assert client.info("server")["process_id"] == pid
        assert client.keys() == []


def test_the_demo_without_a_terminal_prints_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe or a log gets no escape sequences."""
    monkeypatch.setattr("redpool.demo.drive.drive", lambda *_: result())
    assert main(QUICKLY) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert 'r.set("foo", "bar")' in said
    assert "the server hangs" in said
    for title in ("32 threads, GET and INCR in turn", "200 tasks, GET and INCR in turn"):
        table = said[said.index(f"\n{title}") :]
        assert table.index("redis-py") < table.index("BlockingConnectionPool") < table.index("redpool")
    assert "0 ran twice" in said[said.rindex("\nredpool ") :]


@pytest.mark.parametrize(("twice", "after"), [(1, 9), (0, 0)])
def test_a_demo_that_fails_says_so(
    twice: int, after: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that redpool ran twice is status 1, and so are callers not served after the restart."""
    monkeypatch.setattr("redpool.demo.drive.drive", lambda *_: result(twice=twice, after=after))
    assert main(QUICKLY) == 1
    assert f"{6 * twice} ran twice" in capsys.readouterr().out


def result(*, per_s: float = 1.0, twice: int = 0, after: int = 1) -> Seen:
    return Seen(per_s=per_s, connections=1, failed={}, lost={}, twice=twice, starved=0, after=after)


def on_a_terminal(*argv: str) -> tuple[int, str]:
    """Run a command on a terminal of 100 columns, and return its status and all that it wrote there."""
    ours, its = os.openpty()
    termios.tcsetwinsize(ours, (40, 100))
    with subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(its)
        written = b"".join(iter(partial(_read, ours), b""))
    os.close(ours)
    return process.returncode, written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the other side has closed
        return b""

"""The comparison with other clients as it is called, what it prints and what it draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.peers import picture, screen
from benchmarks.peers.cases import CASES, GROUPS
from benchmarks.peers.command import main
from benchmarks.peers.contenders import PLAIN, of_kind
from benchmarks.peers.ground import Ground
from benchmarks.peers.peer import REDIS_PY

from .made_up import made_up, right, run, wrong


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (("no-such-case",), ("no-such-case", "threads-16")),
        (("--picture", "x.gif"), ("--picture", "x.gif", ".svg")),
        (("--picture", "nowhere/x.svg"), ("--picture", "nowhere/x.svg", "'nowhere'")),
        (("--url", "redis://localhost"), ("--url",)),  # it has a private server
        (("tasks-10", "--one-core"), ("--one-core", "tasks-10")),
        (("--rounds", "0"), ("--rounds", "not '0'")),
        (("--seconds", "-1"), ("--seconds", "not '-1'")),
    ],
)
def test_bad_usage_names_the_option_and_the_value(
    argv: tuple[str, ...], named: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, nothing on standard output."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert all(each in said.err for each in named)


def test_a_picture_of_nothing_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that can't be drawn for want of matplotlib."""
    command = "benchmarks.peers.command.find_spec"
    for found, named in ((object(), "tasks-100"), (None, "pip install -r")):
        monkeypatch.setattr(command, lambda module, found=found: found)
        with pytest.raises(SystemExit) as stop:
            main(("tasks-10", "--picture", "x.svg"))
        assert stop.value.code == 2
        assert named in capsys.readouterr().err


def test_a_picture_has_to_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before anything is measured."""
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(("--picture", str(tmp_path / "x.svg")))
    assert stop.value.code == 2
    assert "can't be written" in capsys.readouterr().err


def test_the_list_names_every_case_and_group(capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs."""
    assert main(("--list",)) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (*CASES, *GROUPS))
    assert main(("--list", "--json")) == 0
    assert [case["case"] for case in json.loads(capsys.readouterr().out)] == list(CASES)


@pytest.mark.parametrize("case", ["threads-1", "tasks-1"])
def test_json_is_one_document_with_every_peer(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Measured, or with the reason why not, which is never that it failed."""
    status = main((case, "--free", "--rounds", "1", "--seconds", "0.02", "--json"))
    report = json.loads(capsys.readouterr().out)
    assert status == 0
    (result,) = report["results"]
    assert [row["peer"] for row in result["rows"]] == [peer.name for peer in of_kind(CASES[case].kind)]
    for row in result["rows"]:
        assert not row["failed"], row["absent"]
        assert bool(row["figures"]) != bool(row["absent"])
        assert {"per_s", "p50_ms", "p99_ms", "cpu_us", "connections"} <= set(row["figures"]) or row["absent"]


def test_every_peer_has_its_line(
    monkeypatch: pytest.MonkeyPatch, place: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the ratio to redis-py, under a heading that says what was asked."""
    screen.show(run(monkeypatch, place, made_up(PLAIN, right, REDIS_PY), made_up("good", right)))
    said = capsys.readouterr().out
    assert "threads-1 (free): 1 thread: GET, values of 30 B" in said
    assert all(name in said for name in (PLAIN, "good", "commands", "p99", "CPU"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # matplotlib's own, about what it needs
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_picture_is_in_the_format_its_name_says(
    suffix: str, monkeypatch: pytest.MonkeyPatch, place: Ground, tmp_path: Path
) -> None:
    """One panel for each case that is drawn and was measured."""
    pytest.importorskip("matplotlib")
    report = run(monkeypatch, place, made_up(PLAIN, right, REDIS_PY), made_up("liar", wrong), case=picture.DRAWN[1])
    path = tmp_path / f"peers{suffix}"
    picture.draw(report, path)
    assert path.read_bytes().startswith({".svg": b"<?xml", ".png": b"\x89PNG"}[suffix])


def test_what_is_drawn_is_among_the_cases() -> None:
    """Otherwise it would silently be missing."""
    assert set(picture.DRAWN) <= set(CASES)

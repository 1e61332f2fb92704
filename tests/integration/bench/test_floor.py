"""The comparison with the floor: every row is measured, and its parts add up."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec

import pytest

from redpool.bench import floor
from redpool.bench.floor import ASYNCIO, ROWS, UVLOOP, own_client_tasks
from redpool.bench.place import APART, FREE
from redpool.cli import main

QUICK = ("--floor", "--rounds", "1", "--seconds", "0.001")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few calls as there can be."""
    monkeypatch.setattr(floor, "_BATCH", 1)
    monkeypatch.setattr(floor, "_FEWEST_EACH", 1)
    monkeypatch.setattr(floor, "_THREAD_BATCH", 10)
    crowd = "asyncio-10000"  # a few of them will do
    monkeypatch.setitem(ROWS, crowd, dataclasses.replace(own_client_tasks(ASYNCIO, 10), name=crowd))


def test_every_row_is_measured(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    """And one more on request; the parts add up to redpool's, and what is never negative isn't."""
    assert main(("bench", *QUICK, "--tasks", "7", "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    there = [name for name in ROWS if find_spec(UVLOOP) or not name.startswith(UVLOOP)]
    assert [row["row"] for row in report["rows"]] == [*there, "asyncio-7"]
    for row in report["rows"]:
        assert row["mode"] in (APART, FREE)
        assert row["share"] == pytest.approx(row["floor_us"] / row["ours_us"])
        assert sum(row["parts"].values()) == pytest.approx(row["ours_us"])
        assert list(row["parts"]) == ["bare_us", "redis_py_us", "redpool_us"]
        assert min(row["floor_us"], row["ours_us"], row["parts"]["bare_us"]) > 0
        assert row["server_us"] >= 0
        assert {side: len(rounds) for side, rounds in row["rounds"].items()} == {"bare": 1, "redis-py": 1, "redpool": 1}


def test_the_floor_of_redis_pys_client_is_its_own_cost(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Over a pool that costs nothing; that of redpool's client is the bare socket."""
    assert main(("bench", *QUICK, "thread", "thread-shared", "--json")) == 0
    own, under_redis_py = json.loads(capsys.readouterr().out)["rows"]
    assert own["floor_us"] == own["parts"]["bare_us"]
    parts = under_redis_py["parts"]
    assert under_redis_py["floor_us"] == pytest.approx(parts["bare_us"] + parts["redis_py_us"])


def test_without_uvloop_its_rows_are_noted(
    few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are measured."""
    monkeypatch.setattr(floor, "find_spec", lambda module: None)
    monkeypatch.setattr(floor, "why_not_apart", lambda pid: "there is only one CPU")
    assert main(("bench", *QUICK, "uvloop-100", "thread")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "uvloop-100: not measured, uvloop is not installed" in said
    assert "there is only one CPU" in said
    assert ROWS["thread"].about in said
    assert ROWS["uvloop-100"].about not in said


def test_the_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs."""
    assert main(("bench", "--floor", "--list")) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ROWS)
    assert main(("bench", "--floor", "--list", "--json")) == 0
    assert [row["case"] for row in json.loads(capsys.readouterr().out)] == list(ROWS)


@pytest.mark.parametrize(
    "argv",
    [
        ("--floor", "checkout"),
        ("--floor", "--check"),
        ("--floor", "--one-core"),
        ("--floor", "--url", "redis://localhost"),
        ("--floor", "--tasks", "0"),
        ("--tasks", "10"),
    ],
)
def test_what_does_not_go_together_is_bad_usage(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and nothing is measured."""
    with pytest.raises(SystemExit) as stop:
        main(("bench", *argv))
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


def test_a_row_for_any_number_of_tasks() -> None:
    """Its name says how many."""
    assert own_client_tasks(UVLOOP, 50_000).name == "uvloop-50000"

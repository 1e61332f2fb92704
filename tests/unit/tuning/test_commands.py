"""`redpool tune` and `redpool simulate`: what they take, and what they print."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from redpool.cli import main
from redpool.core.config import PoolConfig
from redpool.tuning import capture, command, formulas, workloads
from redpool.tuning.picture import Chart, svg
from redpool.tuning.simulator import Simulator


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a record of half a second."""
    simulator = Simulator(PoolConfig(max_connections=20, name="shop"))
    simulator.run(workloads.poisson(1000, workloads.exponential(0.002))(Random(1), 0.5), 0.5)
    path = tmp_path_factory.mktemp("records") / "shop.json"
    path.write_text(simulator.core.record(0.5).to_json())
    return str(path)


def asked(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    assert main(argv) == status
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_a_record_gets_an_answer(record: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As one line and the curve for people, as one document for programs, and as a picture."""
    assert "shop: max_connections=" in asked(capsys, "tune", record)
    picture = tmp_path / "curve.svg"
    (said,) = json.loads(asked(capsys, "tune", record, record, "--json", "--svg", str(picture), "--target", "4"))
    assert (said["name"], said["now"], said["processes"], said["target"]) == ("shop", 20, 2, 0.004)
    assert said["size"] in [each["size"] for each in said["curve"]]
    assert ElementTree.fromstring(picture.read_text()).tag.endswith("svg")


def test_counters_get_one_that_says_what_is_guessed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Described ones, and those of a pool's stats: both are the same load here."""
    text = asked(capsys, "tune", "--rate", "2000", "--hold", "2", "--json")
    (described,) = json.loads(text, parse_constant=pytest.fail)  # JSON has no Infinity
    assert (described["now"], described["load"]["peak"]) == (None, None)
    stats: dict[str, Any] = {"name": "other", "max_connections": 10, "acquired": 20_000, "utilization": 0.4}
    stats["use"] = {"count": 20_000, "mean": 0.002, "p50": 0.002}
    path = tmp_path / "stats.json"
    path.write_text(json.dumps(stats))
    (counted,) = json.loads(asked(capsys, "tune", str(path), "--json"))
    assert described["guessed"]
    assert "don't say how callers bunch" in " ".join(described["notes"])
    assert (counted["size"], counted["name"]) == (described["size"], "other")
    assert counted["load"]["rate"] == pytest.approx(2000)


@pytest.mark.parametrize(("columns", "widest"), [(40, 61), (80, 80), (200, 87)])
def test_a_narrow_terminal_cuts_no_figure_off(
    columns: int, widest: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bars become shorter, and are left out at last; what doesn't fit then the terminal breaks."""
    monkeypatch.setattr("redpool.tuning.screen.console", lambda: Console(width=columns))
    advised = asked(capsys, "tune", "--rate", "2000", "--hold", "2")
    (least,) = (line for line in advised.splitlines() if line.startswith("    6    8.4 ms        28.5%"))
    assert len(least) == widest
    simulated = asked(capsys, "simulate", "--rate", "200", "--size", "2", "--seconds", "1")
    assert "…" not in least + simulated
    assert " max_connections=2 " in simulated


def test_what_was_said_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """A dispersion of the user's; and holds that are all alike."""
    said = asked(capsys, "tune", "--rate", "2000", "--hold", "2", "--cv", "0", "--dispersion", "1")
    assert "a dispersion of 1 is what you say" in said
    assert "idle connection-seconds in 1 s" in said
    (given,) = json.loads(asked(capsys, "tune", "--rate", "2000", "--hold", "2", "--dispersion", "4", "--json"))
    assert not given["guessed"]


def test_counters_say_where_the_server_has_no_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a record does."""
    monkeypatch.setattr(command, "_ceiling", lambda *_: 5)
    said = asked(capsys, "tune", "--rate", "2000", "--hold", "2", status=1)
    assert "the server leaves 5 connections to each process" in said


def test_what_the_server_s_commands_took_meanwhile() -> None:
    """By the difference of what it counts; commands that were reset, or didn't come, say nothing."""
    server = command._Server(100, {"get": (4000, 1000), "ping": (7, 7), "reset": (1, 1), "new": (50, 10)})
    before = {"get": (1000, 500), "ping": (7, 7), "reset": (9, 9)}
    assert server.since(before) == [(6e-6, 500), (5e-6, 10)]


def test_of_a_process_that_runs_the_server_is_asked_twice(
    record: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all clients have sent since the server was started tells nothing of what this one's commands take."""
    said = iter([command._Server(100, {"eval": (10**9, 1000)}), command._Server(100, {"eval": (10**9 + 500, 1500)})])
    monkeypatch.setattr(command, "_asked", lambda *_: next(said))
    monkeypatch.setattr(command, "_attached", lambda *_: capture.read(Path(record).read_text()))
    monkeypatch.setattr(command, "_LOOK", 0.0)
    (advice,) = json.loads(asked(capsys, "tune", "--process", "1", "--url", "redis://x", "--json"))
    assert advice["shared_p99"] < 0.01


def test_a_command_s_own_usage_is_shown_where_a_word_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """A program may follow after options that stand behind other words; anything else that is left over may not."""
    assert "redpool tune: error: unrecognized arguments: --foo" in refused(capsys, "tune", "x", "--foo")
    assert "redpool top: error: unrecognized arguments:" in refused(capsys, "top", "--json", "redis://x", "--", "x")
    for command_of_a_server in ("top", "dashboard"):
        assert "argument URL: url must begin with redis://" in refused(capsys, command_of_a_server, "nonsense")
    argv = ("tune", "--record", "9", "redis://localhost:x", "--processes", "5", "--", "true", "--x")
    assert "the URL's host and port can't be read" in refused(capsys, *argv)


def test_a_server_that_can_t_be_asked_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Without credentials."""
    assert main(["tune", "--rate", "9", "--hold", "2", "--url", "redis://me:secret@127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("redpool: redis://127.0.0.1:1/0: ")
    assert "secret" not in said


def test_more_dispersion_asks_for_more() -> None:
    """The wait of Erlang's formula is scaled by it."""
    alone, bunched = (formulas.wait(6, 2000, 0.002, 0.99, dispersion, 1.0) for dispersion in (1.0, 4.0))
    assert bunched == pytest.approx(2.5 * alone)
    assert formulas.wait(3, 2000, 0.002, 0.99, 1.0, 1.0) == float("inf")


def test_a_target_out_of_reach_is_status_1(
    record: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a script sees that the server leaves too few connections."""
    monkeypatch.setattr(command, "_ceiling", lambda *_: 2)
    (said,) = json.loads(asked(capsys, "tune", record, "--json", status=1))
    assert (said["size"], said["ceiling"], said["met"]) == (2, 2, False)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "of which pool?"),
        (("/nowhere.json",), "/nowhere.json: No such file"),
        (("--rate", "5"), "--rate and --hold"),
        (("--rate", "5", "--hold", "2", "--record", "1", "--", "true"), "--rate and --hold"),
        (
            ("--rate", "5", "--hold", "2", "--url", "redis://me:sec?ret@localhost"),
            "the URL's host and port can't be read",
        ),
        (("--rate", "5", "--hold", "2", "--svg", "/nowhere/x.svg"), "no file can be written there: /nowhere/x.svg"),
        (("--record", "9", "--save", "/nowhere/x.json", "--", "true"), "no file can be written there: /nowhere/x.json"),
        (("--record", "99", "--", "true"), "60 s at most"),
        (("--record", "1"), "which program?"),
        (("--process", "/nowhere", "x.json"), "--process: without"),
        (("--process", "/nowhere"), "no process listens at /nowhere"),
        (("--record", "1", "--", "/nowhere/program"), "/nowhere/program: No such file"),
        (("--target", "0", "x"), "must be a number above 0"),
        (("--target", "x", "x"), "must be a number above 0, not 'x'"),
        (("redis://nowhere",), "after --url"),
    ],
)
def test_wrong_words_to_tune_are_refused(argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2 and what is wrong."""
    assert said in refused(capsys, "tune", *argv)


def test_pools_are_compared_with_the_same_callers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each with its own size and bound, in one table; the same seed gives the same figures."""
    argv = ("simulate", "--rate", "1000", "--seconds", "1", "--size", "1,4", "--max-waiting", "none,5", "--json")
    rows = json.loads(asked(capsys, *argv))
    assert [(row["max_connections"], row["max_waiting"]) for row in rows] == [(1, None), (1, 5), (4, None), (4, 5)]
    assert rows[1]["rejected"] > 0
    assert rows[0]["rejected"] == 0
    assert rows[2]["wait_p99_ms"] < rows[0]["wait_p99_ms"]
    assert json.loads(asked(capsys, *argv)) == rows


def test_a_pool_that_sizes_itself_is_compared_with_others(capsys: pytest.CaptureFixture[str]) -> None:
    """It opens what it needs, within its limits."""
    argv = ("simulate", "--rate", "2000", "--seconds", "1", "--size", "auto,4", "--limits", "2,9", "--cold", "--json")
    itself, _ = json.loads(asked(capsys, *argv))
    assert itself["max_connections"] == "auto"
    assert 2 < itself["most_open"] <= 9


def test_what_tune_has_saved_is_simulated(record: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The record of the pool that was used; not of several."""
    saved = tmp_path / "saved.json"
    asked(capsys, "tune", record, "--save", str(saved))
    (row,) = json.loads(asked(capsys, "simulate", str(saved), "--json"))
    assert row["max_connections"] == 20  # as it was
    (twice,) = json.loads(asked(capsys, "simulate", str(saved), "--load", "2", "--json"))
    assert row["replies_a_second"] == pytest.approx(1000, rel=0.2)
    assert twice["replies_a_second"] == pytest.approx(2 * row["replies_a_second"], rel=0.02)
    (advice,) = json.loads(asked(capsys, "tune", str(saved), "--load", "2", "--json"))
    assert advice["load"]["rate"] == pytest.approx(2 * row["replies_a_second"], rel=0.02)
    saved.write_text(json.dumps(2 * json.loads(saved.read_text())))
    assert "one record can be simulated, not 2" in refused(capsys, "simulate", str(saved))


def test_it_says_what_is_simulated_and_figures_of_a_column_have_the_same_digits(
    record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a table that is kept can be made again, and read down."""
    argv = ("simulate", "--rate", "2000", "--size", "6,40", "--seconds", "2", "--burst", "2x.1/1", "--cv", "0")
    said = asked(capsys, *argv)
    assert said.startswith("2000 callers/s, holds 2 ms fixed, 2 times as many for 0.1 s every 1 s, 2 s, seed 1\n")
    idle = [line.split()[-1] for line in said.splitlines() if line.startswith(" max_connections=")]
    assert len({len(figure.partition(".")[2]) for figure in idle[:2]}) == 1
    assert "batch: 100 callers/s, holds 5 ms exponential; web: 9 callers/s, holds 2 ms lognormal (cv 3)" in asked(
        capsys, "simulate", "--seconds", "1", "--class", "batch:rate=100,hold=5", "--class", "web:rate=9,cv=3"
    )
    assert ", 3 times those of the record, 0.5" in asked(capsys, "simulate", record, "--load", "3")


def test_a_pool_that_only_shares_is_not_simulated(
    record: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its one lease is its own."""
    document = json.loads(Path(record).read_text())
    shares = tmp_path / "shares.json"
    shares.write_text(json.dumps({**document, "arrivals": [[3, 1, 1, 0.0]], "commands": 50, "kept": 1}))
    assert "no caller of shop took a connection of its own" in refused(capsys, "simulate", str(shares))


def test_callers_that_would_come_too_late_are_turned_away_where_the_pool_sheds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At once, as a pool does that knows their deadlines: no call that is made comes too late."""
    argv = ("simulate", "--one-by-one", "--rate", "1500", "--hold", "1", "--cv", "0", "--size", "4", "--deadline", "20")
    without, with_it = json.loads(asked(capsys, *argv, "--seconds", "2", "--shed", "none,codel", "--json"))
    assert with_it["lost"] == 0 < without["lost"]
    assert with_it["replies_a_second"] > 950


def test_classes_of_callers_have_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    """What is reserved keeps one class quick while the other brings twice of what is served; without it, none is."""
    argv = ("simulate", "--size", "8", "--seconds", "2", "--hold", "10", "--cv", "0", "--class", "batch:rate=1600")
    (kept,) = json.loads(asked(capsys, *argv, "--class", "web:rate=100,reserved=4", "--json"))
    (mixed,) = json.loads(asked(capsys, *argv, "--class", "web:rate=100", "--json"))
    assert kept["classes"]["web"]["wait_p99_ms"] < 10
    assert mixed["classes"]["web"]["wait_p99_ms"] > 100
    for figure in ("replies_a_second", "timeouts"):
        assert sum(each[figure] for each in kept["classes"].values()) == pytest.approx(kept[figure])
    assert "  web " in asked(capsys, *argv, "--class", "web:rate=100,reserved=4")


def test_a_record_is_simulated_with_a_server_in_trouble(
    record: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The waits are longer than those of a server that is well; the picture shows both."""
    picture = tmp_path / "trouble.svg"
    (well,) = json.loads(asked(capsys, "simulate", record, "--size", "4", "--json"))
    argv = ("simulate", record, "--size", "4", "--dead", "0.1-0.2", "--slow", "4x@0.3-0.4", "--svg", str(picture))
    (ill,) = json.loads(asked(capsys, *argv, "--json"))
    assert ill["wait_p99_ms"] > well["wait_p99_ms"] + 50
    assert "Longest wait" in asked(capsys, *argv)
    assert picture.read_text().startswith("<svg")


def test_what_tune_saves_can_be_simulated(record: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A record that stands alone in its list. Its callers are its own: what would describe others is refused."""
    saved = str(tmp_path / "saved.json")
    asked(capsys, "tune", record, "--save", saved)
    assert "max_connections=4" in asked(capsys, "simulate", saved, "--size", "4")
    assert f"--rate: a record has its callers; leave this out, or {saved}" in refused(
        capsys, "simulate", saved, "--rate", "5"
    )
    asked(capsys, "tune", record, record, "--save", saved)
    assert "one record can be simulated, not 2: ['shop', 'shop']" in refused(capsys, "simulate", saved)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--size", "0"), "--size"),
        (("--size", "x"), "--size: must be a whole number of 1 or more, not 'x'"),
        (("--timeout", "x"), "--timeout: say a number, or several such as 4,8,16, not 'x'"),
        (("--limits", "2"), "say 2,50, not '2'"),
        (("--size", "auto", "--limits", "9,2"), "limits[1]"),
        (("--slow", "fast"), "4x@10-15"),
        (("--dead", "5-3"), "start < end"),
        (("--burst", "8x2"), "8x2/30"),
        (("--shed", "magic"), "shed"),
        (("--burst", "8x2/30", "--fan-out", "3"), "one of them"),
        (("--class", "web"), "say interactive:rate=200"),
        (("--class", "web:hold=2"), "say interactive:rate=200"),
        (("--class", "web:rate=1,reserved=0"), "say interactive:rate=200"),
        (("--class", "web:rate=1,reserved=11"), "reserved"),
        (("--class", "web:rate=1", "--fan-out", "3"), "--class: without"),
        (("--class", "web:rate=1", "--rate", "3"), "--class: without"),
        (("--class", "web:rate=1", "--class", "web:rate=2"), "a name of its own"),
        (("--load", "2"), "--load: of a record"),
        (("/nowhere.json", "--load", "0"), "--load: must be a number above 0"),
        (("--retries", "-1"), "must be 0 or more, not -1"),
        (("--cv", "nan"), "must be 0 or more, not nan"),
        (("--limits", "3"), "say 2,50"),
        (("--limits", "3,5"), "--limits: with --size auto"),
        (("--round-trip", "5"), "--round-trip: with --one-by-one"),
        (("--svg", "/nowhere/x.svg"), "no file can be written there"),
        (("/nowhere.json",), "--seconds: a record has its callers"),
        (("/nowhere.json", "--seconds", "60"), "No such file"),
    ],
)
def test_wrong_words_to_simulate_are_refused(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With status 2 and what is wrong."""
    assert said in refused(capsys, "simulate", "--seconds", "0.1", *argv)


def test_a_picture_takes_any_name_and_any_figure() -> None:
    """Names are text, not markup; what is infinite is left out."""
    chart = Chart("<pool>", "a & b", "ms", {"x<y": [(1.0, float("inf")), (2.0, 0.0), (3.0, 5.0)]}, ("target", 2.0))
    drawn = ElementTree.fromstring(svg([chart, Chart("empty", "", "", {})]))
    assert "<pool>" in [element.text for element in drawn.iter()]

"""The order of a run, what a peer that fails does to the rest, and who is held against whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.peers import runner, screen
from benchmarks.peers.cases import CASES, REDIS_PYS, Target, chosen
from benchmarks.peers.contenders import BLOCKING, CLIENT, PLAIN, SHARED, of_kind
from benchmarks.peers.ground import CHECKED_KEYS, Ground
from benchmarks.peers.peer import REDIS_PY, TASKS, THREADS
from redpool.bench.load import Figures
from redpool.bench.place import FREE, ONE_CORE

from .made_up import BARE_TASKS, BARE_THREADS, SECONDS, down, made_up, right, run, wrong


def test_peers_take_turns_and_each_round_begins_with_another(monkeypatch: pytest.MonkeyPatch, place: Ground) -> None:
    """No peer always comes after the same one."""
    raised: list[str] = []
    run(monkeypatch, place, *(made_up(name, right) for name in "abc"), rounds=3, raised=raised)
    assert [what.rpartition(" ")[2] for what in raised[:-1]] == [*"abc", *"bca", *"cab"]


@pytest.mark.parametrize("case", list(CASES))
def test_every_case_can_be_measured(case: str, monkeypatch: pytest.MonkeyPatch, place: Ground) -> None:
    """With the bare limit, which meets no targets."""
    peer = BARE_TASKS if CASES[case].kind == TASKS else BARE_THREADS
    (result,) = run(monkeypatch, place, peer, case=case).results
    assert not result.rows[0].failed, result.rows[0].absent
    assert result.rows[0].figures["per_s"] > 0
    assert result.rows[0].figures["errors"] == 0
    assert result.rows[0].ratio is None
    assert result.verdicts == ()


def test_a_peer_that_fails_is_raised_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, place: Ground
) -> None:
    """Whether its answer is wrong or it raises; it is not tried again, and the run isn't fine."""
    raised: list[str] = []
    report = run(
        monkeypatch,
        place,
        made_up("liar", wrong),
        made_up("dead", down),
        made_up("good", right),
        rounds=2,
        raised=raised,
    )
    liar, dead, good = report.results[0].rows
    assert liar.failed
    assert liar.absent.startswith("failed: WrongAnswer")
    assert dead.absent == "failed: ConnectionError: down"
    assert not liar.figures
    assert len(good.rounds) == 2
    assert not report.met


def test_a_peer_that_is_not_installed_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, place: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no failure."""
    absent = replace(made_up("rare", wrong), module="no_such_module_anywhere")
    report = run(monkeypatch, place, absent, made_up("good", right))
    assert report.met
    screen.show(report)
    assert "rare: not installed: pip install -r benchmarks/peers/requirements.txt" in capsys.readouterr().out


def test_errors_that_callers_meet_are_noted(monkeypatch: pytest.MonkeyPatch, place: Ground) -> None:
    """They make the other figures doubtful."""

    def sometimes(key: str) -> bytes:
        return right(key) if key in CHECKED_KEYS else down(key)

    report = run(monkeypatch, place, made_up("shaky", sometimes))
    assert any("shaky raised" in note for note in report.notes)


def test_a_round_trip_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch, place: Ground) -> None:
    """What a lone PING takes through the relay, and without."""
    report = run(monkeypatch, place, BARE_TASKS, case="round-trip-tasks-1ms")
    assert any(note.startswith("round trip 1 ms:") and "lone PING" in note for note in report.notes)
    assert report.results[0].rows[0].figures["relay"] > 0


def test_one_core_is_for_the_cases_that_say_so(monkeypatch: pytest.MonkeyPatch, place: Ground) -> None:
    """The others are measured once."""
    monkeypatch.setattr(runner, "of_kind", lambda kind: (made_up("good", right),))
    monkeypatch.setattr(runner, "why_not_one_core", lambda pid: None)
    cases = [CASES["threads-1"], CASES["threads-4"]]
    report = runner.run(cases, [FREE, ONE_CORE], 1, SECONDS, place, lambda what, done, total: None)
    seen = [(result.case, result.mode) for result in report.results]
    assert seen == [("threads-1", FREE), ("threads-4", FREE), ("threads-1", ONE_CORE)]


SEEN: dict[str, Figures] = {
    PLAIN: {"per_s": 100.0, "p99_ms": 50.0},
    BLOCKING: {"per_s": 200.0, "p99_ms": 80.0},
    CLIENT: {"per_s": 900.0, "p99_ms": 8.0},
    SHARED: {},
}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target(CLIENT, REDIS_PYS), 4.5),
        (Target(CLIENT, (PLAIN,)), 9.0),
        (Target(CLIENT, REDIS_PYS, figure="p99_ms"), 0.1),
        (Target(SHARED, REDIS_PYS), None),
        (Target(CLIENT, (SHARED,)), None),
        (Target(CLIENT, (SHARED, PLAIN)), 9.0),
    ],
)
def test_a_peer_is_held_against_the_fastest(target: Target, expected: float | None) -> None:
    """Also for its p99; without a peer to compare with there is no ratio."""
    assert runner.ratio(target, SEEN) == expected


@pytest.mark.parametrize(("ratio", "met"), [(2.0, True), (1.9, False)])
def test_a_target_is_a_limit_from_below_or_above(ratio: float, met: bool) -> None:
    """The limit itself is good enough."""
    assert Target(CLIENT, REDIS_PYS, at_least=2).met(ratio) is met
    assert Target(CLIENT, REDIS_PYS, at_most=1.9).met(ratio) is not met


def test_a_missed_target_is_not_fine(monkeypatch: pytest.MonkeyPatch, place: Ground) -> None:
    """It says so on the screen, too."""
    impossible = Target("good", ("good",), at_least=2)
    case = replace(CASES["threads-1"], targets=(impossible,))
    monkeypatch.setattr(runner, "of_kind", lambda kind: (made_up("good", right),))
    report = runner.run([case], [FREE], 1, SECONDS, place, lambda what, done, total: None)
    assert [verdict.met for verdict in report.results[0].verdicts] == [False]
    assert not report.met


def test_every_target_names_peers_of_its_case() -> None:
    """A target that named no peer would never be missed."""
    for case in CASES.values():
        there = {peer.name for peer in of_kind(case.kind)}
        for target in case.targets:
            assert {target.peer, *target.against} <= there
            assert target.mode == FREE or case.one_core


def test_redis_pys_pools_come_first_and_are_the_ones_compared_with() -> None:
    """For threads and for tasks."""
    for kind in (THREADS, TASKS):
        assert tuple(peer.name for peer in of_kind(kind) if peer.family == REDIS_PY) == REDIS_PYS


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], list(CASES)),
        (["threads-16"], ["threads-16"]),
        (["threads"], ["threads-1", "threads-4", "threads-16", "threads-64"]),
        (["threads-1", "tasks"], ["tasks-1", "tasks-10", "tasks-100", "tasks-1000", "threads-1"]),
    ],
)
def test_cases_are_chosen_by_name_or_by_group(names: list[str], expected: list[str]) -> None:
    """Each once, in the usual order."""
    assert [case.name for case in chosen(names)] == expected

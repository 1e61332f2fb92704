"""Each rule has a set-up that breaks it, a sound one that doesn't, and a page that says what it says."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from redpool.doctor.facts import Facts, PoolFacts, ServerFacts
from redpool.doctor.report import examine
from redpool.doctor.rule import Rule, Seconds, Severity
from redpool.doctor.rules import RULES
from redpool.doctor.rules.wording import most_common, seconds, size
from redpool.doctor.screen import _figure
from redpool.tuning import formulas

from .cases import (
    BUSY,
    CASES,
    FAST,
    MORE,
    POOL,
    SERVER,
    SLOW,
    SLOWER_TOGETHER,
    Case,
    client,
    on_busy_server,
    pool,
    report,
)
from .cases import fleet as a_fleet
from .cases import process as a_process

PAGES = Path(__file__).parents[3] / "docs" / "doctor"
# What the table of rules in docs/doctor/index.md says of those that aren't there.
LEFT_OUT = {"P11", "P12", "P16", "P17", "A1"}


def flowing(text: str) -> str:
    return " ".join(text.split())


def test_each_rule_has_its_cases() -> None:
    """A rule that nothing breaks here could be one that nothing ever breaks."""
    assert list(CASES) == list(RULES)


@pytest.mark.parametrize(("name", "case"), [*CASES.items(), *MORE])
def test_what_breaks_a_rule_is_found_and_what_is_sound_is_not(name: str, case: Case) -> None:
    """The finding says what will go wrong; and the rule has looked in both cases."""
    rule = RULES[name]
    found = list(rule.findings(case.broken))
    assert found
    assert all(finding.what and finding.what.endswith(".") for finding in found)
    assert rule.can_check(case.sound)
    assert list(rule.findings(case.sound)) == []


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_each_rule_has_its_page(rule: Rule) -> None:
    """With all that `--explain` says."""
    page = flowing((PAGES / f"{rule.id}.md").read_text(encoding="utf-8"))
    assert page.startswith(f"# {rule.id}: {rule.title}")
    assert f"*{rule.severity.value}*" in page
    for text in (rule.why, rule.seen, rule.write, rule.source):
        assert flowing(text) in page


def test_the_table_of_rules_is_complete() -> None:
    """Each rule with its severity; and those that are left out, with the reason."""
    page = (PAGES / "index.md").read_text(encoding="utf-8")
    there = re.findall(r"^\| \[([A-Z]\d+)\]\(\1\.md\) \| (\w+) \|", page, re.MULTILINE)
    assert there == [(rule.id, rule.severity.value) for rule in RULES.values()]
    assert set(re.findall(r"^\| ([A-Z]\d+) \|", page, re.MULTILINE)) == LEFT_OUT


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_no_rule_needs_more_than_it_says(rule: Rule) -> None:
    """A server may tell hardly anything, a pool may be of any kind: no rule fails for that."""
    bare = ServerFacts(
        "redis://host:6379", info={"redis_version": "?", "maxclients": "many"}, config={"timeout": "soon"}
    )
    other = PoolFacts("redis:6379/0", "app:pool", "other", "threads", "Pool")
    facts = Facts(bare, (other,), a_fleet(a_process(1, report())).fleet, (), "8", deadline=1e9)
    assert not [each for each in rule.findings(facts) if each.severity is Severity.SEVERE and rule.id[0] == "S"]
    for each in fields(SERVER):
        if each.name in ("before", "info", "config", "clients", "slow", "latency", "machine"):
            missing: Any = None if each.name in ("clients", "slow", "latency") else {}
            list(rule.findings(replace(CASES[rule.id].broken, server=replace(SERVER, **{each.name: missing}))))
    assert list(rule.findings(Facts())) == []


def test_the_worst_comes_first_and_what_was_not_looked_at_is_said() -> None:
    """A rule without facts is unchecked; a finding may be less severe than its rule."""
    facts = replace(pool(timeout=None, lifetime_jitter=0.0), unseen=())
    seen = examine(facts, RULES.values(), ["app:pool"])
    assert [each.severity for each in seen.found] == sorted(
        (each.severity for each in seen.found), key=lambda s: s.rank
    )
    assert {"P4", "C8"} <= {each.rule.id for each in seen.found}
    assert seen.severe
    assert {"F2", "P15"} <= set(seen.unchecked)
    assert set(seen.unchecked) | set(seen.checked) == set(RULES)
    assert not examine(Facts(SERVER, pools=(POOL,)), [RULES["P4"]]).severe


def test_a_deploy_that_would_not_fit_is_less_severe_than_what_does_not_fit() -> None:
    """F1 distinguishes the two."""
    (now,) = RULES["F1"].findings(CASES["F1"].broken)
    (then,) = RULES["F1"].findings(a_fleet(a_process(1, report(60))))
    assert (now.severity, then.severity) == (None, Severity.COSTLY)
    assert now.write is not None
    assert now.write.splitlines() == [
        "max_connections=22  # for each process; 45 with no room for a deploy",
        "# or one that all callers of a process share: redpool.Redis",
        "# or one number for all: budget=redpool.Budget(URL, NAME, connections=86)",
    ]
    (shares,) = RULES["F1"].findings(a_fleet(a_process(1, replace(report(120), kind="multiplexed"))))
    assert "redpool.Redis" not in str(shares.write)


def test_sizes_for_many_processes_are_those_that_tune_says() -> None:
    """And what is said of one number isn't said of another in the same words."""
    facts = replace(pool(max_connections=60, record=BUSY), processes=12)
    (found,) = RULES["F1"].findings(facts)
    assert "max_connections=3  # for each process; 7 with no room" in str(found.write)
    assert formulas.for_each(100, 12) == 7
    (tight,) = RULES["F1"].findings(replace(facts, processes=60))
    assert "max_connections=1  # for each process, with no room for a deploy" in str(tight.write)
    (none,) = RULES["F1"].findings(replace(facts, processes=200))
    assert "not one connection for each process" in str(none.write)
    assert found.what.count("more than there is room for") == 1


def test_a_pool_whose_calls_slow_each_other_is_not_to_be_larger() -> None:
    """P1 leaves it to P3; without the server's word for it, it doesn't know."""
    facts = on_busy_server(max_connections=3, record=SLOWER_TOGETHER, wait=SLOW)
    assert list(RULES["P3"].findings(facts))
    assert not list(RULES["P1"].findings(facts))
    assert list(RULES["P1"].findings(pool(max_connections=3, record=SLOWER_TOGETHER, wait=SLOW)))


def test_sharing_is_proposed_to_those_that_don_t() -> None:
    """Where nothing in the record is against it."""
    (alone,) = RULES["P1"].findings(pool(max_connections=3, record=BUSY, wait=SLOW))
    (shares,) = RULES["P1"].findings(pool(max_connections=3, record=BUSY, wait=SLOW, multiplexed=True))
    assert "MultiplexedConnectionPool" in str(alone.write)
    assert "MultiplexedConnectionPool" not in str(shares.write)


def test_a_time_is_shown_with_its_unit() -> None:
    """To people: a program gets seconds."""
    assert [_figure(value) for value in (Seconds(0.0095349), 0.5, 7, "x")] == ["9.53 ms", "0.5", "7", "x"]
    assert json.dumps(Seconds(0.25)) == "0.25"


def test_figures_are_said_in_units() -> None:
    """As a reader would write them."""
    assert [seconds(value) for value in (0, 0.0025, 1, 300)] == ["0 s", "2.5 ms", "1 s", "300 s"]
    assert [size(value) for value in (12, 32 * 1024**2)] == ["12 bytes", "32 MB"]
    assert most_common(["a", "b", "a", "", "c", "d"]) == "a 2, b 1, (unnamed) 1, and 2 others"


def test_owners_are_names_or_addresses() -> None:
    """A connection without a name is told by where it comes from."""
    assert client().owner == "shop/cache@web:7"
    assert client().process == "shop@web:7"
    assert client(name="").owner == "10.0.1.1"
    assert client(name="").process is None
    assert FAST.quantile(0.99) < 0.001

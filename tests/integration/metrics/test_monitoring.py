"""The dashboard and the alert rules name what is really exported, and Prometheus' own tool understands them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

import redpool
from redpool.core.slot import Reason
from redpool.metrics.prometheus import PoolCollector

MONITORING = Path(__file__).parents[3] / "docs" / "monitoring"
RULES, DASHBOARD = MONITORING / "alerts.yml", MONITORING / "grafana.json"
PROMTOOL = shutil.which("promtool")

SERIES = re.compile(r"(redpool_\w+)(?:{([^}]*)})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")


@pytest.fixture(scope="module")
def page(redis_server: Any) -> str:
    """What a pool exports that was used in every way."""
    with redpool.MultiplexedConnectionPool.from_url(redis_server.url, name="watched") as pool:
        client = redpool.Redis(connection_pool=pool)
        client.get("key")
        with pool.connection():
            pool.drain()
        registry = CollectorRegistry(auto_describe=True)
        registry.register(PoolCollector(pool))
        return generate_latest(registry).decode()


@pytest.fixture(scope="module")
def exported(page: str) -> dict[str, dict[str, set[str]]]:
    """The values that each label of each series has."""
    seen: dict[str, dict[str, set[str]]] = {}
    for family in parse(page):
        for sample in family.samples:
            labels = seen.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return seen


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in _rules():
        yield rule["alert"], rule["expr"]
    for panel in _panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("of", "expression"), list(_expressions()))
def test_all_that_is_asked_for_is_exported(of: str, expression: str, exported: dict[str, dict[str, set[str]]]) -> None:
    """Each metric, each label, and each value of a label that is written out."""
    series = SERIES.findall(expression)
    assert series
    known: set[str] = set()
    for name, matchers in series:
        assert name in exported, f"{of}: {name} is not exported"
        known |= exported[name].keys()
        for label, operator, value in MATCHER.findall(matchers):
            assert label in exported[name], f"{of}: {name} has no label {label}"
            if label == "reason":
                assert set(value.split("|")) <= {reason.value for reason in Reason}
            elif operator == "=":
                assert value in exported[name][label]
    for labels in GROUPED.findall(expression):
        assert {label.strip() for label in labels.split(",")} <= known, f"{of}: by {labels}"


def test_the_dashboard_says_what_each_panel_means(exported: dict[str, dict[str, set[str]]]) -> None:
    """And has every gauge, counter and histogram that is exported in one of them; no two panels overlap."""
    panels = _panels()
    assert all(panel["description"] and panel["title"] for panel in panels)
    shown = {name for panel in panels for target in panel["targets"] for name, _ in SERIES.findall(target["expr"])}
    parts = {name for name in exported if name.endswith(("_created", "_sum", "_count"))}
    assert exported.keys() - parts == shown
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(set(places)) == len(places)


@needs_promtool
def test_promtool_takes_the_rules_and_the_page(page: str) -> None:
    """No fault in a rule, and no name or type that Prometheus' conventions advise against."""
    assert PROMTOOL is not None
    checked = subprocess.run([PROMTOOL, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr, checked.stdout) == (0, "", "")


FIRES = {
    "RedpoolTimeouts": {
        'redpool_timeouts_total{pool="bad"}': "0+1x30",
        'redpool_timeouts_total{pool="good"}': "5+0x30",
    },
    "RedpoolRejected": {
        'redpool_rejected_total{pool="bad"}': "0+1x30",
        'redpool_rejected_total{pool="good"}': "5+0x30",
    },
    "RedpoolSheds": {
        'redpool_shed_total{pool="bad"}': "0+1x30",
        'redpool_shed_total{pool="good"}': "5+0x30",
    },
    "RedpoolOldestWait": {
        'redpool_oldest_wait_seconds{pool="bad",instance="one"}': "0+0x30",
        'redpool_oldest_wait_seconds{pool="bad",instance="two"}': "2+0x30",
        'redpool_oldest_wait_seconds{pool="good"}': "0.5+0x30",
    },
    "RedpoolSlowCheckouts": {
        'redpool_wait_seconds_bucket{pool="bad",le="0.1"}': "0+90x30",
        'redpool_wait_seconds_bucket{pool="bad",le="+Inf"}': "0+100x30",
        'redpool_wait_seconds_bucket{pool="bad",le="0.5"}': "0+100x30",
        'redpool_wait_seconds_bucket{pool="good",le="0.1"}': "0+1000x30",
        'redpool_wait_seconds_bucket{pool="good",le="0.5"}': "0+1001x30",
        'redpool_wait_seconds_bucket{pool="good",le="+Inf"}': "0+1001x30",
    },
    "RedpoolNearlyExhausted": {
        'redpool_connections{pool="bad",state="in_use",instance="one"}': "10+0x30",
        'redpool_connections{pool="bad",state="in_use",instance="two"}': "9+0x30",
        'redpool_connections{pool="good",state="in_use"}': "1+0x30",
        'redpool_connections{pool="good",state="idle"}': "9+0x30",
        'redpool_connections_max{pool="bad",instance="one"}': "10+0x30",
        'redpool_connections_max{pool="bad",instance="two"}': "10+0x30",
        'redpool_connections_max{pool="good"}': "10+0x30",
    },
    "RedpoolConnectFailures": {
        'redpool_connect_failures_total{pool="bad"}': "0+1x30",
        'redpool_connect_failures_total{pool="good"}': "3+0x30",
    },
    "RedpoolConnectionsLost": {
        'redpool_closed_total{pool="bad",reason="error"}': "0+12x30",
        'redpool_closed_total{pool="good",reason="idle"}': "0+60x30",
    },
    "RedpoolLeaks": {
        'redpool_leaks_total{pool="good"}': "2+0x30",
        'redpool_closed_total{pool="bad",reason="leaked"}': "0+1x30",
    },
    "RedpoolCallsGivenUp": {
        'redpool_commands_total{pool="bad"}': "0+100x30",
        'redpool_cancelled_total{pool="bad"}': "0+10x30",
        'redpool_commands_total{pool="good"}': "0+100x30",
        'redpool_cancelled_total{pool="good"}': "0+1x30",
    },
}
"""For each alert series of a pool that is in trouble and of one that is not, a value for each minute."""


@needs_promtool
def test_each_alert_fires_where_it_should(tmp_path: Path) -> None:
    """And for no sound pool."""
    assert PROMTOOL is not None
    assert FIRES.keys() == {rule["alert"] for rule in _rules()}
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            # What it says there is checked by hand: here it counts for which pool it fires.
            "promql_expr_test": [
                {
                    "expr": f'count by (pool) (ALERTS{{alertname="{alert}",alertstate="firing"}})',
                    "eval_time": "20m",
                    "exp_samples": [{"labels": '{pool="bad"}', "value": 1}],
                }
            ],
        }
        for alert, series in FIRES.items()
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

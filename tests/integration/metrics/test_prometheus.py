"""Pools as Prometheus sees them."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

import redpool
from redpool.core.config import PoolConfig
from redpool.core.histogram import BOUNDS, Distribution, Distributions
from redpool.core.stats import MultiplexedPoolStats, PoolStats
from redpool.metrics import numbers, prometheus
from redpool.metrics.prometheus import PoolCollector, export
from support.faces import PATIENCE, Face, eventually

EMPTY = PoolStats("fake", *(0,) * 15)


class Fake:
    """What has stats, and they are ours to choose."""

    def __init__(self, **values: Any) -> None:
        self.now = dataclasses.replace(EMPTY, **values)
        self.config = PoolConfig(name=self.now.name)
        self.durations = Distributions()

    def stats(self) -> PoolStats:
        """Those."""
        return self.now

    def distributions(self) -> Distributions:
        """What goes with them."""
        return self.durations

    def watch(self, instrument: object) -> None:
        """Tell it nothing."""


def _registered(*pools: Any) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(PoolCollector(*pools))
    return registry


def test_everything_is_exported(face: Face, at: dict[str, Any]) -> None:
    """Every number of `stats()` is there, under its name, with the pool's name as a label."""
    pool = face.pool(**at, max_connections=3, name="exported")
    registry = _registered(getattr(pool, "_target", pool))
    pool.warm_up(3)
    pool.drain()
    assert eventually(lambda: pool.stats().idle == 0)
    with pool.connection():
        stats = pool.stats()
        own = {"pool": "exported"}
        for state, count in {"idle": 0, "in_use": 1, "connecting": 0}.items():
            assert registry.get_sample_value("redpool_connections", {**own, "state": state}) == count
        counters = ("acquired", "waited", "timeouts", "rejected", "connected", "connect_failures", "released", "leaks")
        for name in counters:
            assert registry.get_sample_value(f"redpool_{name}_total", own) == getattr(stats, name)
        assert registry.get_sample_value("redpool_closed_total", {**own, "reason": "drained"}) == 3
        assert registry.get_sample_value("redpool_connections_max", own) == 3
        assert registry.get_sample_value("redpool_waiting", own) == 0
        assert registry.get_sample_value("redpool_oldest_wait_seconds", own) == 0
        for name in ("wait", "use", "connect"):
            durations: Distribution = getattr(pool.distributions(), name)
            buckets = dict(zip([*map(str, BOUNDS), "+Inf"], durations.counts, strict=True))
            assert buckets["+Inf"] == getattr(stats, name).count
            for bound, count in buckets.items():
                labels = {**own, "le": bound}
                assert registry.get_sample_value(f"redpool_{name}_seconds_bucket", labels) == count
            assert registry.get_sample_value(f"redpool_{name}_seconds_count", own) == durations.count
            assert registry.get_sample_value(f"redpool_{name}_seconds_sum", own) == pytest.approx(durations.sum)


def test_the_oldest_wait_is_exported() -> None:
    """In seconds, for each pool; and the share of connections in use."""
    first, second = Fake(name="first", oldest_wait=1.5, utilization=0.25), Fake(name="second")
    registry = _registered(first, second)
    waits = [registry.get_sample_value("redpool_oldest_wait_seconds", {"pool": name}) for name in ("first", "second")]
    assert waits == [1.5, 0.0]
    assert registry.get_sample_value("redpool_utilization", {"pool": "first"}) == 0.25


def test_no_number_is_left_out() -> None:
    """All that stats have is exported; what can be derived from that isn't, and their summaries are as histograms."""
    derived = {"name", "open", *numbers.HISTOGRAMS, "batch"}
    names = {"idle", "in_use", "connecting", "max_connections", "oldest_wait"} | numbers.GAUGES.keys()
    fields = {field.name for field in dataclasses.fields(MultiplexedPoolStats)}
    assert fields - derived <= names | numbers.COUNTERS.keys()


def test_the_page_can_be_read() -> None:
    """What is exposed is valid in both of Prometheus' formats, also where a name has quotes in it."""
    pool = Fake(name='a "name"\n', closed={"idle": 2})
    pool.durations = Distributions(use=Distribution((0, *(2,) * len(BOUNDS)), 0.5))
    registry = _registered(pool)
    families = {family.name: family for family in parse(generate_latest(registry).decode())}
    assert families["redpool_connections"].type == "gauge"
    assert families["redpool_acquired"].type == "counter"
    assert families["redpool_use_seconds"].type == "histogram"
    assert {sample.labels["pool"] for family in families.values() for sample in family.samples} == {'a "name"\n'}
    page = openmetrics.generate_latest(registry).decode()
    stricter = {family.name for family in parse_openmetrics(page)}
    assert stricter == set(families)


def test_a_pool_that_is_gone_vanishes(threads: Face, at: dict[str, Any]) -> None:
    """The collector keeps no pool alive, and exports the others."""
    stays, goes = Fake(name="stays"), threads.pool_class(**at, name="goes")
    registry = _registered(stays, goes)
    assert registry.get_sample_value("redpool_waiting", {"pool": "goes"}) == 0
    del goes
    gc.collect()
    assert registry.get_sample_value("redpool_waiting", {"pool": "goes"}) is None
    assert registry.get_sample_value("redpool_waiting", {"pool": "stays"}) == 0


def test_pools_may_come_later_and_need_names_of_their_own() -> None:
    """`add` exports further pools, the same one once; two of one name would mix their series, and are refused."""
    first, second = Fake(name="first", waiting=1), Fake(name="second", waiting=2)
    collector = PoolCollector()
    registry = CollectorRegistry(auto_describe=True)
    registry.register(collector)
    collector.add(first, second)
    collector.add(first)
    samples = [sample for family in registry.collect() if family.name == "redpool_waiting" for sample in family.samples]
    assert sorted((sample.labels["pool"], sample.value) for sample in samples) == [("first", 1), ("second", 2)]
    other = Fake(name="first")
    with pytest.raises(ValueError, match="'first'"):
        collector.add(other)
    with pytest.raises(ValueError, match="'first'"):
        PoolCollector(first, other)


def test_each_pool_is_asked_once_a_scrape() -> None:
    """All that is exported of a pool is of one moment."""
    asked = []

    class Tracked(Fake):
        def stats(self) -> PoolStats:
            asked.append(self)
            return super().stats()

    pool = Tracked()
    collector = PoolCollector(pool)
    asked.clear()
    list(collector.collect())
    assert asked == [pool]


def test_one_call_exports_to_the_registry() -> None:
    """`export` makes the registry's collector, and adds later pools to it."""
    registry, first, second = CollectorRegistry(auto_describe=True), Fake(name="first"), Fake(name="second")
    export(first, registry=registry)
    export(second, registry=registry)
    assert [registry.get_sample_value("redpool_waiting", {"pool": each}) for each in ("first", "second")] == [0, 0]
    with pytest.raises(ValueError, match="every=0"):
        export(first, registry=registry, every=0)
    del prometheus._collectors[registry]


def test_what_is_shared_is_exported(redis_url: str) -> None:
    """Of a pool whose connections are shared, also what went over them."""
    with redpool.MultiplexedConnectionPool.from_url(redis_url, name="shared") as pool:
        client = redpool.Redis(connection_pool=pool)
        client.set("key", 1)
        client.get("key")
        registry, own = _registered(pool), {"pool": "shared"}
        assert registry.get_sample_value("redpool_in_flight", own) == 0
        assert registry.get_sample_value("redpool_commands_total", own) == 2
        assert registry.get_sample_value("redpool_writes_total", own) == 2
        assert registry.get_sample_value("redpool_cancelled_total", own) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_processes_write_what_they_count(redis_url: str, tmp_path: Path) -> None:
    """In multiprocess mode: of pools that are used, over resets and forks; of one that is gone what it has counted."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    program = Path(__file__).with_name("multiprocess_child.py")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(program), redis_url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr

"""The examples that need no framework run as they stand. The others: tests/integrations/examples."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from topology import servers

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@contextmanager
def started(name: str, url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run an example over the server at `url`, until the block ends at the latest."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    example = subprocess.Popen(
        command, env={**os.environ, "REDIS_URL": url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with example:
        try:
            yield example
        finally:
            example.kill()


def said(example: subprocess.Popen[str]) -> str:
    """Return what an example says until it ends, well and without a complaint."""
    out, complaints = example.communicate(timeout=60)
    assert (example.returncode, complaints) == (0, "")
    return out


def test_workers_in_threads_do_all_jobs(redis_url: str) -> None:
    """Each job once, over a connection for each worker and a shared one."""
    with started("threads.py", redis_url, "--jobs", "200", "--workers", "4") as example:
        out = said(example)
    assert "200 done, 0 left, 0 unsure" in out
    with redis.Redis.from_url(redis_url) as client:
        assert client.hget("words", "words") == b"400"


def test_a_signal_ends_the_workers(redis_url: str) -> None:
    """What they have taken is done; no job is lost."""
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("jobs", *("a b" for _ in range(50)))
    with started("threads.py", redis_url, "--jobs", "0", "--workers", "4") as example:
        assert example.stdout is not None
        assert "at it" in example.stdout.readline()
        example.send_signal(signal.SIGTERM)
        found = re.search(r"(\d+) done, (\d+) left, 0 unsure", said(example))
    assert found is not None
    assert int(found[1]) + int(found[2]) == 50


def test_counters_over_a_cluster() -> None:
    """All visits are counted, over few connections to each node."""
    with servers.cluster() as cluster, started("cluster.py", cluster.servers[0].url, "--visits", "200") as example:
        out = said(example)
    assert "200 visits" in out
    assert len(re.findall(r"[1-9] connections, \d+ commands", out)) == 3


def test_each_example_is_listed_and_run() -> None:
    """In examples/README.md, and by a test here or in tests/integrations/examples."""
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = [Path(__file__), *(ROOT / "tests" / "integrations" / "examples").glob("test_*.py")]
    run = "\n".join(test.read_text(encoding="utf-8") for test in tests)
    names = [each.name for each in EXAMPLES.iterdir() if each.name != "README.md" and each.name[0] not in "._"]
    assert [name for name in names if f"`{name}" not in listed or name not in run] == []

"""Each example over a framework runs as it stands, in processes of its own, as examples/README.md says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
STARTS_WITHIN = 30.0  # seconds

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(redis_url: str) -> Iterator[Start]:
    """Start a program in an example's folder, over the test's server; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: str, *command: str) -> subprocess.Popen[str]:
        place = EXAMPLES / folder
        path = os.pathsep.join((str(place), *sys.path))
        program = subprocess.Popen(
            [sys.executable, *command],
            cwd=place,
            env={**os.environ, "REDIS_URL": redis_url, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()
        program.communicate()


def ended(program: subprocess.Popen[str], *, after: signal.Signals | None = None) -> str:
    """Return what a program has said when it has ended well, by itself or after a signal."""
    if after is not None:
        program.send_signal(after)
    out, _ = program.communicate(timeout=60)
    assert program.returncode in (0, -(after or 0)), out
    return out


def needs(*frameworks: str) -> None:
    """Skip the test where a framework isn't installed; `make integrations` installs all of them."""
    for each in frameworks:
        if find_spec(each) is None:
            pytest.skip(f"{each} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(start: Start, folder: str, *command: str, port: int) -> Iterator[Callable[[str], str]]:
    """Run a web server, and yield what gets a page of it; cookies are kept, and it ends by itself on a signal."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(page: str) -> str:
        with browser.open(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    program = start(folder, *command)
    until = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert program.poll() is None, program.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
    yield get
    ended(program, after=signal.SIGINT)


def test_fastapi(start: Start) -> None:
    """What is slow is so once, the pool is healthy, and a caller that comes too often is turned away."""
    needs("fastapi", "uvicorn")
    port = free_port()
    with serving(start, "fastapi", "-m", "uvicorn", "app:app", "--port", str(port), port=port) as get:
        assert [get("squares/12") for _ in range(3)] == ["144"] * 3
        health = json.loads(get("health"))
        assert health["healthy"]
        assert health["pool"]["open"] == 1
        with pytest.raises(urllib.error.HTTPError, match="429"):
            [get("squares/12") for _ in range(100)]


def test_django(start: Start) -> None:
    """A page is cached, and a visitor's session is kept."""
    needs("django")
    port = free_port()
    with serving(start, "django", "site.py", "runserver", "--noreload", str(port), port=port) as get:
        assert get("now") == get("now")
        assert [json.loads(get("visits")) for _ in range(2)] == [{"visits": 1}, {"visits": 2}]


def test_celery(start: Start) -> None:
    """Tasks and what follows them run on a worker, which ends without a complaint."""
    needs("celery")
    worker = start("celery", "-m", "celery", "--app", "tasks", "worker", "--pool", "threads", "--concurrency", "4")
    assert ended(start("celery", "tasks.py")).strip() == "to: 3, be: 2, is: 2"
    assert "dropped without being given back" not in ended(worker, after=signal.SIGTERM)


def test_rq(start: Start) -> None:
    """Jobs are enqueued by one process, done by another one and its children, and read by a third."""
    needs("rq")
    assert "10 jobs enqueued" in ended(start("rq", "jobs.py", "enqueue", "10"))
    assert "dropped without being given back" not in ended(start("rq", "jobs.py", "work"))
    assert "10 done: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]" in ended(start("rq", "jobs.py", "results"))

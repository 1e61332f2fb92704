"""`redpool tune --record`: a program is run, and its pools' records are what is asked."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

import redpool
from redpool.cli import main
from redpool.fleet import listen
from redpool.tuning import capture
from redpool.tuning.advice import came

PROGRAM = """
import os, sys
import redpool
print("hello")
pool = redpool.ConnectionPool.from_url(sys.argv[1], name="of-a-program")
client = redpool.Redis(connection_pool=pool)
parent = os.fork()
for _ in range(50):
    client.ping()
if parent:
    os.waitpid(parent, 0)
"""


def test_the_pools_of_a_program_are_recorded(redis_url: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In the process that was started and in the one that it forks, until it ends; and the server's limit is known.

    What the program prints is no part of the document.
    """
    saved = tmp_path / "records.json"
    argv = ["tune", "--record", "60", "--target", "9000", "--json", "--save", str(saved), redis_url]
    argv += ["--processes", "2", "--", sys.executable, "-c", PROGRAM, redis_url]
    assert main(argv) == 0
    printed = capfd.readouterr()
    (said,) = json.loads(printed.out)
    assert "hello" in printed.err
    assert (said["name"], said["processes"], said["now"]) == ("of-a-program", 2, 50)
    assert [came(record) for record in capture.read(saved.read_text())] == [50, 50]
    assert said["ceiling"] > 1000
    assert said["shared"] is not False
    assert said["shared_p99"] is not None


def test_the_pools_that_redpool_run_makes_are_recorded(
    redis_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of a program that makes redis-py's own; each of the two begins Python with a file of its own."""
    program = f"import redis; r = redis.Redis.from_url({redis_url!r}); [r.ping() for _ in range(50)]"
    saved = tmp_path / "records.json"
    argv = ["tune", "--record", "60", "--target", "9000", "--json", "--save", str(saved)]
    assert main([*argv, "--", sys.executable, "-m", "redpool", "run", "--", sys.executable, "-c", program]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["processes"] == 1
    assert [came(record) for record in capture.read(saved.read_text())] == [50]


def test_records_are_written_when_the_time_is_up(redis_url: str, tmp_path: Path) -> None:
    """Once, though the program goes on; the file has its name when it is whole."""
    site = runpy.run_path(capture.SITE + "/sitecustomize.py")
    with redpool.ConnectionPool.from_url(redis_url, name="goes-on") as pool:
        with pool.connection():
            pass
        writer = site["_Writer"](tmp_path, 0.0)
        writer._wait()
        (written,) = tmp_path.iterdir()
        assert "goes-on" in [record.name for record in capture.read(written.read_bytes())]
        written.unlink()
        writer.write()
        assert not list(tmp_path.iterdir())


def test_a_process_that_runs_is_asked(redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its socket, several at once; a terminal sees no name that it would obey."""
    with redpool.ConnectionPool.from_url(redis_url, name="[/b]\x1b[2J") as pool, listen(tmp_path / "s"):
        for _ in range(20):
            with pool.connection():
                pass
        argv = ["tune", "--process", str(tmp_path / "s"), "--target", "9000"]
        assert main([*argv, *argv[1:3], "--json"]) == 0
        (said,) = [each for each in json.loads(capsys.readouterr().out) if each["load"]["callers"] == 20]
        assert (said["name"], said["processes"]) == ("[/b]\\x1b[2J", 2)
        assert main(argv) == 0
        assert "[/b]\\x1b[2J: max_connections=" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(argv)
    assert f"no process listens at {tmp_path / 's'}" in capsys.readouterr().err


def test_a_pool_gives_advice(redis_url: str) -> None:
    """Of what it was asked in the last minute."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=7) as pool:
        with pytest.raises(ValueError, match="no caller came"):
            pool.advice()
        for _ in range(20):
            with pool.connection():
                pass
        advice = pool.advice(target=0.5)
        assert (advice.now, advice.target) == (7, 0.5)
        assert sum(each.callers for each in pool.record().arrivals) == 20
        assert advice.size <= 2  # one more than enough, where a stall has made one lease far longer than the others

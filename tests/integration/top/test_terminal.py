"""`redpool top` as it is started: on a terminal, without one, over a server and over one process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pyte
import pytest

import redpool
from redpool import fleet
from redpool.cli import main
from support.faces import eventually

PATIENCE = 60.0
SIZE = (24, 80)


class Terminal:
    """A command on a terminal of its own, of which one sees the screen."""

    def __init__(self, *argv: str) -> None:
        self._ours, its = os.openpty()
        termios.tcsetwinsize(self._ours, SIZE)
        environment = os.environ | {"TERM": "xterm-256color"}
        self.process = subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=environment)
        os.close(its)
        self._screen = pyte.Screen(SIZE[1], SIZE[0])
        self._stream = pyte.ByteStream(self._screen)
        self.rest = ""
        """what was written at the end"""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, condition: Callable[[str], object]) -> str:
        """Return the screen as soon as it is so."""
        end = time.monotonic() + PATIENCE
        while not condition(self.text):
            readable, _, _ = select.select([self._ours], [], [], end - time.monotonic())
            assert readable, f"in vain:\n{self.text}"
            self._stream.feed(os.read(self._ours, 65536))
        return self.text

    def sees(self, *parts: str) -> str:
        """Return the screen as soon as all of this stands there."""
        return self.until(lambda text: all(part in text for part in parts))

    def status(self) -> int:
        """Return the exit status, once the command has ended; what it writes meanwhile is read."""
        while self.process.poll() is None:
            try:
                self.rest += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # Linux: the other side has closed
                break
        return self.process.wait(PATIENCE)


@pytest.fixture
def exhausted(redis_url: str) -> Iterator[redpool.ConnectionPool]:
    """A pool of which a thread holds all connections while another one waits; a calm one is beside it."""
    with (
        redpool.ConnectionPool.from_url(redis_url, max_connections=1, timeout=None, name="orders") as pool,
        redpool.ConnectionPool.from_url(redis_url, max_connections=5, name="quiet") as quiet,
        fleet.publish([pool, quiet], service="shop", url=redis_url, period=0.2),
    ):
        wait = threading.Thread(target=lambda: pool.release(pool.get_connection()), name="web-7", daemon=True)
        with pool.connection():  # the line that the screen shows
            wait.start()
            yield pool
        wait.join()


def line_of_the_holder() -> str:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "the line that the screen shows" in line)
    return f"{Path(__file__).name}:{number} in exhausted"


def test_a_terminal_shows_who_waits_for_whom(exhausted: redpool.ConnectionPool, redis_url: str) -> None:
    """With the holder's line of code; keys sort, filter and pause, and it ends well."""
    with Terminal(sys.executable, "-m", "redpool", "top", redis_url, "--interval", "0.2") as terminal:
        said = terminal.sees("web-7 has waited", line_of_the_holder(), "1 process, 2 pools, 1 caller waiting")
        assert said.index("shop/orders") < said.index("shop/quiet")
        assert "clients" in said
        terminal.press("SSSSr")
        terminal.until(lambda text: "in use↑" in text and text.index("shop/quiet") < text.index("shop/orders"))
        terminal.press("/QUIET\r")
        terminal.until(lambda text: "shop/quiet" in text and "shop/orders" not in text)
        terminal.press(" ")
        terminal.sees("paused for")
        terminal.process.terminate()
        assert terminal.status() == 128 + signal.SIGTERM
        assert "\x1b[?1049l" in terminal.rest  # the screen that was there before


def test_without_a_terminal_it_prints_tables(
    exhausted: redpool.ConnectionPool, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one look, and without an escape sequence; a service may be chosen."""
    assert main(("top", redis_url, "--interval", "0.3")) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.index("shop/orders") < said.index("shop/quiet")
    assert f"{line_of_the_holder()}" in said
    assert main(("top", redis_url, "--once", "--interval", "0.1", "--service", "other")) == 0
    assert "No process reports its pools here." in capsys.readouterr().out


def test_it_prints_tables_without_any_stdin(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it was closed. However long a pool's name is, its figures stay."""
    monkeypatch.setattr(sys, "stdin", None)
    with (
        redpool.ConnectionPool.from_url(redis_url, max_connections=12_345, name="n" * 300) as pool,
        fleet.publish(pool, service="shop", url=redis_url, period=0.2),
    ):
        assert eventually(lambda: fleet.Reader(redis_url).read().processes)
        assert main(("top", redis_url, "--interval", "0.1")) == 0
    said = capsys.readouterr().out
    assert next(line for line in said.splitlines() if "shop/nnn" in line).split()[2] == "12345"


def test_one_process_is_seen_without_a_redis(
    exhausted: redpool.ConnectionPool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its socket, as one JSON document: the same figures, and no server's side."""
    path = tmp_path / "s"
    with fleet.listen(path, service="shop"):
        assert main(("top", "--process", str(path), "--json", "--interval", "0.1")) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["server"] is None
    found = {each["name"]: each for each in seen["pools"]}["orders"]
    assert (found["in_use"], found["waiting"], found["rates"]["acquired"]) == (1, 1, 0)
    assert found["oldest_wait"] > 0
    assert found["borrowed"][0]["taken_at"].endswith(line_of_the_holder())
    assert "web-7" in found["waiters"][0]["borrower"]
    assert found["calls"] == []


def test_a_look_that_finds_nothing_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told in one line, for a server as for a process."""
    for argv in (("unix:///nowhere/to/be/found",), ("--process", str(tmp_path / "s"))):
        assert main(("top", "--once", *argv)) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert said.err.startswith("redpool: ")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--interval", "0"), "--interval"),
        (("--interval", "soon"), "not soon"),
        (("localhost:6379",), "redis://"),
        (("redis://localhost", "--process", "1"), "not allowed with"),
        (("--process", "1", "--fleet", "x"), "--fleet"),
        (("--fleet", "a b",), "a b"),
    ],
)  # fmt: skip
def test_bad_usage_is_status_2(argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the option, or the value."""
    with pytest.raises(SystemExit) as stop:
        main(("top", *argv))
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["rich", "textual"])
def test_what_is_missing_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to type."""
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(("top",)) == 2
    assert f"top needs {missing}: pip install 'redpool[top]'" in capsys.readouterr().err

"""`redpool dashboard`: where it serves, and what it refuses to start with."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest

from redpool.cli import main

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--host", "0.0.0.0"), "can be reached from elsewhere"),
        (("--host", "::"), "can be reached from elsewhere"),
        (("--host", "0.0.0.0", "--token", "short"), "16 characters"),
        (("--token", "short"), "16 characters"),
        (("--port", "70000"), "0 to 65535"),
        (("redis://localhost:many",), "host and port"),
        (("--fleet", "x", "--process", "1"), "no fleet"),
    ],
)
def test_what_it_does_not_start_with(
    argv: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above all not where others reach it, without a token."""
    monkeypatch.setattr("redpool.dashboard.command.listen", lambda *_: pytest.fail("it listens"))
    with pytest.raises(SystemExit) as stop:
        main(("dashboard", *argv))
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            main(("dashboard", "--port", str(port)))
    assert f"can't serve at 127.0.0.1:{port}: Address already in use\n" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And which packages are missing."""
    found = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        return None if name == "uvicorn" else found(name, *more)

    monkeypatch.setattr("redpool.dashboard.command.find_spec", without)
    assert main(("dashboard",)) == 2
    assert capsys.readouterr().err == "redpool: dashboard needs uvicorn: pip install 'redpool[dashboard]'\n"


def test_it_serves_until_it_is_interrupted(redis_url: str) -> None:
    """It says where, without the token, serves the page there, logs no address, and ends at once."""
    command = [sys.executable, "-m", "redpool", "dashboard", redis_url, "--port", "0"]
    environment = os.environ | {"REDPOOL_DASHBOARD_TOKEN": TOKEN}
    with (
        subprocess.Popen(command, stdout=-1, stderr=subprocess.STDOUT, text=True, env=environment) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        said = process.stdout.readline()
        url = said.partition("Dashboard: ")[2].partition(";")[0]
        bearer = urllib.request.Request(url, headers={"authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(bearer, timeout=30) as answer:
            assert b"redpool" in answer.read()
        with pytest.raises(urllib.error.HTTPError):  # it leads to the page, which asks for the cookie
            urllib.request.urlopen(f"{url}?token={TOKEN}", timeout=30)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert TOKEN not in said + rest

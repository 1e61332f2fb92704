"""The real uWSGI, which forks its workers after it has loaded the application, without Python's fork hooks."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.faces import PATIENCE, eventually, together

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pyuwsgi") is None, reason="needs pyuwsgi")

WORKERS, CALLERS, REQUESTS = 4, 8, 4
_APPLICATION = Path(__file__).with_name("application.py")
_UWSGI = "import pyuwsgi; pyuwsgi.run()"
# A worker that was forked while a thread of the master wanted the interpreter's lock hangs in CPython.
_TRIES = 3


@dataclass
class Served:
    """What came of the requests."""

    pids: set[int] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)


@pytest.mark.parametrize(
    ("options", "patched"),
    [((), ""), (("--threads", "3"), ""), (("--gevent", "20"), "1")],
    ids=["default options", "threads", "gevent"],
)
def test_workers_that_were_forked_from_the_loaded_application(
    redis_url: str, tmp_path: Path, options: tuple[str, ...], patched: str
) -> None:
    """Each gets its own replies, over each kind of pool."""
    for _ in range(_TRIES):
        served = serve({"REDIS_URL": redis_url, "PATCHED": patched}, options, tmp_path / "log")
        assert served.faults == {}
        if not served.lost:
            break
    assert served.lost == []
    assert len(served.pids) > 1


def serve(environment: dict[str, str], options: tuple[str, ...], log: Path) -> Served:
    """Have the workers serve."""
    path = os.pathsep.join(each for each in sys.path if each)
    with socket.socket() as listener, log.open("wb") as out:
        listener.bind(("127.0.0.1", 0))
        listener.listen(CALLERS)
        command = ["--socket", f"fd://{listener.fileno()}", "--protocol", "http", "--wsgi-file", str(_APPLICATION)]
        server = subprocess.Popen(
            [sys.executable, "-c", _UWSGI, *command, "--master", "--processes", str(WORKERS), *options],
            env={**os.environ, **environment, "PYTHONPATH": path},
            pass_fds=[listener.fileno()],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            spawned = f"spawned uWSGI worker {WORKERS}".encode()
            assert eventually(lambda: spawned in log.read_bytes() or server.poll() is not None)
            assert server.poll() is None, log.read_text()
            return asked(listener.getsockname()[1])
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def asked(port: int) -> Served:
    """Ask from several threads at once."""
    served = Served()

    def call(_: int) -> None:
        for _ in range(REQUESTS):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE / 4)
            try:
                connection.request("GET", "/")
                answer = json.loads(connection.getresponse().read())
            except OSError as error:
                served.lost.append(repr(error))
                continue
            finally:
                connection.close()
            served.pids.add(answer["pid"])
            for kind, faults in answer["faults"].items():
                served.faults.update(f"{kind}: {fault}" for fault in faults)

    for doing in together(CALLERS, call):
        doing.result()
    return served

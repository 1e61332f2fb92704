"""One process seen without Redis: it answers who connects to its Unix socket.

The socket is the user's alone. It stands in the user's runtime directory under the process's id, and goes with it.

Who connects sends one line: `redpool`, the protocol's version and what it asks for. The answer, as `encoding` has it,
goes until the connection ends. To any other line it is a refusal that says why; to one that is too long, or comes too
late, there is none.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import stat
import tempfile
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from .. import registry
from ..background import UntilClosed
from ..core.record import Record
from .encoding import (
    MOST_BYTES,
    MOST_BYTES_OF_RECORDS,
    ReportError,
    decode,
    decode_records,
    encode,
    encode_records,
    encode_refusal,
    sample_of,
)
from .model import FleetView, ProcessReport, Sample
from .reports import checked_service, of_process, records_of, service_of

logger = logging.getLogger("redpool.fleet")

_REPORT, _RECORDS = b"redpool 1 report", b"redpool 1 records"
_LONGEST_REQUEST = 64  # bytes
_ASK_WITHIN = 1.0  # seconds
_SEND_WITHIN = 1.0  # seconds
_CHILD_AFTER = 1.0  # seconds after which a forked child listens: by then it is no other program, and won't end at once
_MOST_SAMPLES = 5_000


def socket_path(pid: int | None = None) -> Path:
    """Return where a process listens that was given no path: this one, or another one of the same user's."""
    return _directories()[0] / f"{os.getpid() if pid is None else pid}.sock"


def _directories() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    own = [Path(runtime, "redpool")] if runtime and Path(runtime).is_dir() else []
    return [*own, Path(tempfile.gettempdir(), f"redpool-{os.geteuid()}")]


def listen(path: str | Path | None = None, *, service: str | None = None, signum: int | None = None) -> Listener:
    """Tell what the pools of this process are like to who connects to a Unix socket, such as `redpool top --process`.

    - `path`: where the socket is; by default `PID.sock` in the user's runtime directory. Others can't connect.
    - `service`: what the process is a part of; by default the `service` of the first pool, else the
      program's name.
    - `signum`: a signal, such as `signal.SIGUSR2`, at which the socket is opened; by default it is opened now. The
      handler that was there is called, too.

    It returns what `close()` ends; it ends with the process, too. A forked child has a socket of its own, unless there
    is a `path`. Raises `OSError` where the socket can't be opened, or where the system has none.
    """
    _check_system()
    return Listener(path, service_of(registry.noted()) if service is None else checked_service(service), signum)


def _check_system() -> None:
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "geteuid"):
        raise OSError("this system has no Unix sockets of a user's own: use redpool.publish() and a Redis")


class Listener(UntilClosed):
    """Listens until it is closed, or used up as a context manager; `listen` makes it."""

    def __init__(self, path: str | Path | None, service: str, signum: int | None) -> None:
        self._given = None if path is None else Path(path)
        self._service, self._signum = service, signum
        self._opened: _Opened | None = None
        self._before: Any = None
        if signum is None:
            self._opened = self._open()
        super().__init__("redpool fleet socket")
        if signum is not None:
            self._before = signal.signal(signum, self._on_signal)
        self._begin(0.0 if signum is None else threading.TIMEOUT_MAX)

    @property
    def path(self) -> Path:
        """Where it listens."""
        return self._given or socket_path()

    def end(self) -> None:
        """Stop listening, and remove the socket, without waiting for that."""
        if self.closing:
            return
        super().end()
        if self._signum is not None and signal.getsignal(self._signum) == self._on_signal:
            signal.signal(self._signum, self._before)
        if self._opened is not None:
            self._opened.wake()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.path}>"

    def begin_in_child(self) -> None:
        """After a fork, in the child: listen at a path of its own, if there is one."""
        super().begin_in_child()
        if self._opened is not None:
            self._opened.close()
        self._opened = None
        if self._given is not None and self._signum is None:
            self.closing = True
        else:
            self._begin(_CHILD_AFTER if self._signum is None else threading.TIMEOUT_MAX)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._wake()
        if callable(self._before):
            self._before(signum, frame)

    def _open(self) -> _Opened:
        return _Opened(self.path, own_directory=self._given is None)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._opened is None and not self.closing:
            try:
                self._opened = self._open()
            except (OSError, ValueError) as error:
                logger.warning("can't listen at %s: %s", self.path, error)
            else:
                logger.info("listens at %s", self.path)
        if self._opened is not None:
            self._serve(self._opened)

    def _serve(self, opened: _Opened) -> None:
        while not self.closing:
            try:
                peer = opened.accept()
            except OSError:
                break  # it was closed
            with peer, contextlib.suppress(OSError):
                request = _request(peer)
                if request and not self.closing:
                    peer.settimeout(_SEND_WITHIN)
                    peer.sendall(self._answer(request))
        opened.close()

    def _answer(self, request: bytes) -> bytes:
        if request == _REPORT:
            return encode(of_process(registry.noted(), service=self._service))
        if request == _RECORDS:
            return encode_records(records_of(registry.noted()))
        return encode_refusal(f"the process answers only {_REPORT.decode()!r} and {_RECORDS.decode()!r}")


def _request(peer: socket.socket) -> bytes:
    """Return the line that a peer has sent; nothing where it sent none in time, or one that is too long."""
    end = time.monotonic() + _ASK_WITHIN
    received = b""
    while b"\n" not in received and len(received) <= _LONGEST_REQUEST:
        peer.settimeout(max(0.001, end - time.monotonic()))
        part = peer.recv(_LONGEST_REQUEST)
        if not part:
            return b""
        received += part
    line, ended, _ = received.partition(b"\n")
    return line if ended and len(line) <= _LONGEST_REQUEST else b""


class _Opened:
    """A socket that listens, and the file that it has."""

    def __init__(self, path: Path, own_directory: bool) -> None:
        self._path, self._pid = path, os.getpid()
        if own_directory:
            _make_own(path.parent)
        _remove_stale(path)
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.bind(str(path))
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # before it listens, so that nothing else connects
            self._file = _identity(path)
            self._socket.listen()
        except BaseException:
            self._socket.close()
            raise

    def accept(self) -> socket.socket:
        """Return the next who connects."""
        return self._socket.accept()[0]

    def wake(self) -> None:
        """Have `accept` return: on Linux by a shutdown, elsewhere by a connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(_SEND_WITHIN)
            peer.connect(str(self._path))

    def close(self) -> None:
        """Close the socket, and remove its file, unless another process has put its own there; in a child keep it."""
        with contextlib.suppress(OSError):
            if self._pid == os.getpid() and _identity(self._path) == self._file:
                self._path.unlink()
        self._socket.close()


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _make_own(directory: Path) -> None:
    """Make a directory that is the user's alone. Raises `PermissionError` where it is another's."""
    directory.mkdir(mode=stat.S_IRWXU, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is not this user's own: pass path= to listen elsewhere")
    if stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
        directory.chmod(stat.S_IRWXU)


def _remove_stale(path: Path) -> None:
    """Remove a socket at which none listens. Raises `OSError` where there is something else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise FileExistsError(f"{path} is there, and is no socket of this user's")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(_SEND_WITHIN)
        try:
            peer.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise FileExistsError(f"{path} is there, and a process listens")


# -- the other side ----------------------------------------------------------------------------------------------------


def ask(where: str | Path | int, timeout: float = 3.0) -> ProcessReport:
    """Return what a process says of its pools that listens at this path, or has this process id.

    Raises `OSError` where none listens there, or where it doesn't answer within `timeout` seconds, and `ReportError`
    where what it says is no report.
    """
    return decode(_asked(where, _REPORT, MOST_BYTES, timeout))


def ask_records(where: str | Path | int, timeout: float = 10.0) -> tuple[Record, ...]:
    """Return what the pools of such a process were asked for in the last minute, as `pool.record()` has it.

    Of more than 32 pools they are those with the most callers. Raises as `ask` does.
    """
    return decode_records(_asked(where, _RECORDS, MOST_BYTES_OF_RECORDS, timeout))


def _asked(where: str | Path | int, request: bytes, most: int, timeout: float) -> bytes:
    """Return what a process answers to a request."""
    _check_system()
    path = _found(where) if isinstance(where, int) else Path(where)
    end = time.monotonic() + timeout
    received = bytearray()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(timeout)
        try:
            peer.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise type(error)(f"no process listens at {path}: it calls redpool.fleet.listen() for that") from None
        peer.sendall(request + b"\n")
        while part := peer.recv(65536):
            received += part
            if len(received) > most:
                raise ReportError(f"no report: more than {most} bytes")
            peer.settimeout(max(0.001, end - time.monotonic()))
    return bytes(received)


def _found(pid: int) -> Path:
    """Return where a process listens: in its environment there may be no runtime directory."""
    paths = [directory / f"{pid}.sock" for directory in _directories()]
    return next((path for path in paths if path.exists()), paths[0])


class SocketSource:
    """Shows one process, which listens at a path or has this process id; `history` begins with the first `read`."""

    def __init__(self, where: str | Path | int) -> None:
        self._where = where
        self._history: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self._view = FleetView(at=time.time())

    def read(self) -> FleetView:
        """Return what the process says now; where it can't be asked the last view, with its `error` set."""
        try:
            report = ask(self._where)
        except (OSError, ReportError) as error:
            self._view = replace(self._view, error=str(error) or type(error).__name__)
            return self._view
        self._history += (sample_of(report, pool) for pool in report.pools)
        self._view = FleetView(at=time.time(), processes=(report,), history=tuple(self._history))
        return self._view

    def close(self) -> None:
        """Do nothing: each `read` has a connection of its own."""

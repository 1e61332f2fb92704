"""One process is asked by its Unix socket, without Redis."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

import redpool
from redpool.fleet import ReportError, SocketSource, ask, ask_records, decode, listen, socket_path
from support.faces import eventually


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_a_process_tells_its_report(runtime: Path) -> None:
    """Its pools can't reach their server, and are seen all the same, by path and by process id."""
    pool = redpool.ConnectionPool(host="127.0.0.1", port=1, name="unreachable")
    with listen(service="checkout") as listener:
        assert listener.path == socket_path() == runtime / "redpool" / f"{os.getpid()}.sock"
        assert stat.S_IMODE(listener.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(listener.path.parent.stat().st_mode) == 0o700
        for where in (listener.path, str(listener.path), os.getpid()):
            assert "unreachable" in {each.name for each in ask(where).pools}
        source = SocketSource(os.getpid())
        first = source.read()
        assert first.error is None
        assert first.processes[0].service == "checkout"
        history = [sample.pool for sample in source.read().history]  # others' pools may go meanwhile
        assert history.count("unreachable") == 2
    last = source.read()
    assert last.error
    assert f"no process listens at {listener.path}" in last.error
    assert last.processes[0].service == "checkout"
    assert not listener.path.exists()
    listener.close()
    assert pool.config.name == "unreachable"


def test_a_process_tells_its_records(redis_url: str) -> None:
    """Of all its pools, without the password that a name may have; a replay of them needs nothing else."""
    url = redis_url.replace("redis://", "redis://:secret@")
    with redpool.ConnectionPool.from_url(redis_url, name=url) as pool, listen() as listener:
        for _ in range(20):
            with pool.connection():
                pass
        given = {record.name: record for record in ask_records(listener.path)}
    (name,) = (name for name in given if name in url.replace(":secret@", ""))
    assert sum(arrivals.callers for arrivals in given[name].arrivals) == 20
    assert given[name].max_connections == pool.max_connections
    assert not [name for name in given if "secret" in name]


@pytest.mark.parametrize("request_", [b"redpool 2 report\n", b"redpool 1 keys\n", b"GET / HTTP/1.1\r\n\r\n", b"\n"])
def test_what_the_process_does_not_know_is_refused(request_: bytes) -> None:
    """It says what it knows; an empty line gets no answer."""
    with listen() as listener, socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(listener.path))
        peer.sendall(request_)
        said = peer.makefile("rb").read()
    if request_ == b"\n":
        assert said == b""
        return
    with pytest.raises(ReportError, match="answers only 'redpool 1 report' and 'redpool 1 records'"):
        decode(said)


@pytest.mark.parametrize("sent", [b"", b"redpool 1 rep", b"x" * 1000])
def test_what_asks_for_nothing_gets_nothing_and_the_next_is_served(sent: bytes, monkeypatch: Any) -> None:
    """One that connects and stays silent, one that leaves in the middle, and one that goes on and on."""
    monkeypatch.setattr("redpool.fleet.unix._ASK_WITHIN", 0.05)
    with listen() as listener, socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(listener.path))
        peer.sendall(sent)
        assert ask(listener.path).pid == os.getpid()
        with contextlib.suppress(ConnectionResetError):  # it was not read to its end
            assert peer.recv(100) == b""


def test_on_a_signal(runtime: Path) -> None:
    """Nothing is open until it comes; the handler before is called, too, and stands again in the end."""
    came: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda signum, _frame: came.append(signum))
    try:
        handler = signal.getsignal(signal.SIGUSR2)
        with listen(signum=signal.SIGUSR2) as listener:
            assert not listener.path.exists()
            os.kill(os.getpid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGUSR2)
            assert eventually(listener.path.exists)
            assert came == [signal.SIGUSR2] * 2
            assert eventually(lambda: SocketSource(os.getpid()).read().error is None)
        assert signal.getsignal(signal.SIGUSR2) == handler
        assert not listener.path.exists()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_what_stands_at_the_path(tmp_path: Path) -> None:
    """A socket that a dead process has left is replaced; a file, or a socket with a process, is not."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with listen(path):
        with pytest.raises(FileExistsError, match="a process listens"):
            listen(path)
        assert ask(path).pid == os.getpid()
    listener = listen(path)
    path.unlink()
    path.write_text("mine")
    listener.close()
    with pytest.raises(FileExistsError, match="no socket of this user's"):
        listen(path)
    assert path.read_text() == "mine"


def test_a_directory_of_anothers(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not used: its owner could put a socket of its own there. One that is open to others is closed to them."""
    (runtime / "redpool").mkdir(mode=0o777)
    with listen() as listener:
        assert stat.S_IMODE(listener.path.parent.stat().st_mode) == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="not this user's own: pass path="):
        listen()


def test_a_forked_child_has_its_own(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its own path, once it goes on for some time; its parent's stays."""
    monkeypatch.setattr("redpool.fleet.unix._CHILD_AFTER", 0.0)
    with listen() as listener:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        try:
            assert eventually(lambda: SocketSource(pid).read().error is None)
            assert ask(pid).pid == pid
            assert ask(listener.path).pid == os.getpid()
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        with listen(socket_path(pid)):
            assert ask(pid).pid == os.getpid()


@pytest.mark.parametrize("said", [b"", b"nonsense", b"{" * 300_000])
def test_who_listens_may_be_anyone(tmp_path: Path, said: bytes) -> None:
    """What it says is data; the source shows that it is no report."""
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(tmp_path / "s"))
        impostor.listen()
        source: Any = SocketSource(tmp_path / "s")
        ended = _answer(impostor, said)
        with pytest.raises(ReportError):
            ask(tmp_path / "s")
        ended.join(20)
        ended = _answer(impostor, said)
        with pytest.raises(ReportError):
            ask_records(tmp_path / "s")
        ended.join(20)
        ended = _answer(impostor, said)
        assert "no report" in source.read().error
        ended.join(20)


def _answer(impostor: socket.socket, said: bytes) -> Any:
    def answer() -> None:
        with impostor.accept()[0] as peer, contextlib.suppress(OSError):
            peer.recv(100)
            peer.sendall(said)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread

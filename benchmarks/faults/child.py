"""Run rows, each in a process of its own, forked from one that has imported everything: `runner.py` starts that one."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import socket
import sys
import traceback

from redpool import embedded
from redpool.forks import begin_in_child

from .rows import Finding, Row, all_rows
from .sides import side

LONGEST = 1024
"""Bytes of a request, at most."""


def find(row: Row, name: str) -> Finding:
    """Bring the fault about on one side, and return the finding; a row that raises has not held."""
    with embedded.start(args=row.server) as server:
        try:
            found = row.check(side(name, server))
            return found if isinstance(found, Finding) else asyncio.run(found)
        except Exception as error:
            traceback.print_exc()
            return Finding(False, f"broke off: {type(error).__name__}: {error}")


def serve(requests: socket.socket) -> None:
    """Fork a process for each row that is asked for, and say which; its output goes to the files that came with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing waits for them
    while True:
        asked, files, _, _ = socket.recv_fds(requests, LONGEST, 2)
        if not asked:
            return
        pid = os.fork()
        if pid == 0:
            requests.close()
            become(*files)
            main(*json.loads(asked))
        for each in files:
            os.close(each)
        requests.sendall(f"{pid}\n".encode())


def become(out: int, log: int) -> None:
    """Be a process as if it had been started, in a session of its own, so that those that it forks end with it."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for file, place in ((out, 1), (log, 2)):
        os.dup2(file, place)
        os.close(file)
    begin_in_child()


def main(name: str, side_name: str) -> None:
    """Print the finding of a row on a side as JSON, and exit."""
    try:
        (row,) = (each for each in all_rows() if each.name == name)
        sys.stdout.write(json.dumps(dataclasses.asdict(find(row, side_name))))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    # A thread or a loop that the fault has left hanging must not keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

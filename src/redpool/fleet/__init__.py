"""The view over all processes of a service: each reports its pools, a reader joins them with the server's clients.

A process reports by `redpool.publish()`. What shows a fleet takes a `Source`: a `Reader` of a Redis, or a
`SocketSource` of one process.
"""

from __future__ import annotations

from .encoding import ReportError
from .model import FleetView, Owner, PoolReport, ProcessReport, Sample, ServerClient, ServerView
from .publisher import Publisher, publish
from .reader import Reader
from .reports import decode, encode, of_process
from .source import Source
from .unix import Listener, SocketSource, ask, ask_records, listen, socket_path

__all__ = [
    "FleetView", "Listener", "Owner", "PoolReport", "ProcessReport", "Publisher", "Reader", "ReportError", "Sample",
    "ServerClient", "ServerView", "SocketSource", "Source", "ask", "ask_records", "decode", "encode", "listen",
    "of_process", "publish", "socket_path",
]  # fmt: skip

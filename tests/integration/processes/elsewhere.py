"""A plugin of pytest's that hides what Windows, and in part macOS, lacks, before redpool is imported: `-p` takes it."""

from __future__ import annotations

import importlib
import mmap
import os
import select
import signal
import socket
import sys
from types import ModuleType

MISSING: dict[ModuleType, tuple[str, ...]] = {
    select: ("poll", "POLLIN", "POLLOUT"),
    socket: ("SO_RCVTIMEO", "MSG_DONTWAIT", "TCP_USER_TIMEOUT"),
    os: ("register_at_fork", "fork"),
    mmap: ("MAP_PRIVATE", "MAP_ANONYMOUS"),
    signal: ("pthread_kill", "setitimer", "SIGALRM", "SIGHUP"),
}

assert "redpool" not in sys.modules
importlib.import_module("asyncio")  # the real platform's
for module, names in MISSING.items():
    for name in names:
        delattr(module, name)
for name in ("fcntl", "termios"):
    sys.modules[name] = None  # type: ignore[assignment]  # so importing it fails
importlib.import_module("redis.asyncio")  # with what it imports, which needs the real platform
platform, sys.platform = sys.platform, "win32"
importlib.import_module("redpool.asyncio")
sys.platform = platform

"""Both shells, and servers to hold them against."""

from contract.fixtures import at, face, refusing, silent, threads, unix_server, watch

__all__ = ["at", "face", "refusing", "silent", "threads", "unix_server", "watch"]

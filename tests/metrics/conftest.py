"""Both shells, and a server to hold them against."""

from contract.fixtures import at, face, threads, watch

__all__ = ["at", "face", "threads", "watch"]

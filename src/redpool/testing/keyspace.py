"""What an in-memory server remembers: sixteen databases of strings, lists and hashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .resp import CommandError

Value = bytes | list[bytes] | dict[bytes, bytes]
V = TypeVar("V", bytes, list[bytes], dict[bytes, bytes])

DATABASES = 16


class Keyspace:
    """`changed` is told of each key that is written, or that has expired, with its database."""

    def __init__(self, clock: Callable[[], float], changed: Callable[[int, bytes], None]) -> None:
        self.clock = clock
        self._changed = changed
        self._values: list[dict[bytes, Value]] = [{} for _ in range(DATABASES)]
        self._ends: list[dict[bytes, float]] = [{} for _ in range(DATABASES)]

    def find(self, db: int, key: bytes) -> Value | None:
        """What the key holds, whatever its type."""
        if self._ends[db].get(key, float("inf")) <= self.clock():
            self.remove(db, key)
        return self._values[db].get(key)

    def get(self, db: int, key: bytes, kind: type[V]) -> V | None:
        """What the key holds; a `CommandError` where that is of another kind."""
        value = self.find(db, key)
        if value is not None and not isinstance(value, kind):
            raise CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def put(self, db: int, key: bytes, value: Value) -> None:
        """Write; a list or a hash that has become empty is no more. An expiry stays as it was."""
        if isinstance(value, bytes) or value:
            self._values[db][key] = value
            self._changed(db, key)
        else:
            self.remove(db, key)

    def expire(self, db: int, key: bytes, when: float | None) -> None:
        """The key ends when the clock says `when`; never, with None."""
        self._ends[db].pop(key, None)
        if when is not None:
            self._ends[db][key] = when

    def remove(self, db: int, key: bytes) -> bool:
        """Whether there was such a key."""
        self._ends[db].pop(key, None)
        if self._values[db].pop(key, None) is None:
            return False
        self._changed(db, key)
        return True

    def flush(self, db: int) -> None:
        """Remove every key of a database."""
        for key in self.keys(db):
            self.remove(db, key)

    def flush_all(self) -> None:
        """Remove every key."""
        for db in range(DATABASES):
            self.flush(db)

    def keys(self, db: int) -> list[bytes]:
        """The keys that have not expired."""
        return [key for key in list(self._values[db]) if self.find(db, key) is not None]

"""RESP, as a server writes it: version 2 and 3 of https://redis.io/docs/latest/develop/reference/protocol-spec/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


class Status(str):
    """A simple string: `+OK`."""


class Raw(bytes):
    """A reply that is on the wire already."""


class Push(list[Any]):
    """What no caller asked for: a push in RESP3, an array in RESP2."""


class Several(list[Any]):
    """Replies of their own, one after the other, to one command."""


class CommandError(Exception):
    """An error reply, by its text: `ERR no such key`."""


@dataclass(frozen=True)
class _Nothing:
    """No array: RESP2 has another null for it than for a string."""


OK: Final = Status("OK")
NO_ARRAY: Final = _Nothing()


def encode(value: Any, protocol: int) -> bytes:
    """A reply: `bytes` and `str` as bulk strings, `int`, `None`, lists, dicts, and the types above."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Status):
        return b"+%b\r\n" % value.encode()
    if isinstance(value, CommandError):
        return b"-%b\r\n" % str(value).encode()
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None or value is NO_ARRAY:
        return b"_\r\n" if protocol == 3 else b"$-1\r\n" if value is None else b"*-1\r\n"
    return _encode_many(value, protocol)


def _encode_many(value: Any, protocol: int) -> bytes:
    if isinstance(value, dict):
        sign, count = (b"%", len(value)) if protocol == 3 else (b"*", 2 * len(value))
        parts = [part for pair in value.items() for part in pair]
    else:
        sign = b">" if isinstance(value, Push) and protocol == 3 else b"*"
        parts, count = value, len(value)
    return sign + b"%d\r\n" % count + b"".join(encode(part, protocol) for part in parts)

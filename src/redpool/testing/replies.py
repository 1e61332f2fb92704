"""What a scripted server can be told to say, and how that is written in RESP, versions 2 and 3.

The protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import ResponseError


@dataclass(frozen=True)
class Slow:
    """A step that goes well, after so many seconds."""

    seconds: float


class Raw(bytes):
    r"""A reply as it goes over the wire: `Raw(b"+QUEUED\r\n")`, rubbish, a part of a reply, or nothing at all."""


class Status(str):
    """A simple string: `+OK`."""


class Push(list[Any]):
    """What no command asked for: a push in RESP3, an array in RESP2."""


Step = Literal["ok", "never"] | BaseException | Slow
Value = bytes | int | list[Any] | dict[Any, Any] | None
Reply = Step | Value


def check_step(name: str, step: object) -> None:
    """Raise `TypeError` for what is no step."""
    if not (isinstance(step, BaseException | Slow) or (isinstance(step, str) and step in ("ok", "never"))):
        raise TypeError(f"{name}: {step!r} is no step; there are 'ok', 'never', Slow(seconds) and exceptions")


def check_reply(name: str, reply: object) -> None:
    """Raise `TypeError` for what is neither a step nor a value."""
    if isinstance(reply, str) and reply not in ("ok", "never"):
        raise TypeError(f"{name}: {reply!r} is no reply; a string on the wire is bytes")
    if not isinstance(reply, str | BaseException | Slow | bytes | int | list | dict | None):
        raise TypeError(f"{name}: {reply!r} is no reply; there are values of Redis and the steps of a script")


def encode(value: Any, protocol: int) -> bytes:  # noqa: PLR0911  a return for each kind of reply
    """Return a value on the wire: `bytes` and `str` as bulk strings, `int`, `None`, lists, dicts, and those above."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Status):
        return b"+%b\r\n" % value.encode()
    if isinstance(value, ResponseError):
        return b"-%b\r\n" % str(value).encode()
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"_\r\n" if protocol == 3 else b"$-1\r\n"
    return _encode_many(value, protocol)


def _encode_many(value: list[Any] | dict[Any, Any], protocol: int) -> bytes:
    if isinstance(value, dict):
        sign, count = (b"%", len(value)) if protocol == 3 else (b"*", 2 * len(value))
        parts = [part for pair in value.items() for part in pair]
    else:
        sign = b">" if isinstance(value, Push) and protocol == 3 else b"*"
        parts, count = value, len(value)
    return sign + b"%d\r\n" % count + b"".join(encode(part, protocol) for part in parts)

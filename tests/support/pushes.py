"""What servers announce unasked, as bytes."""

from __future__ import annotations


def announcement(kind: str, number: int, *rest: int | str) -> bytes:
    """Return a maintenance notification, as a push of RESP3."""
    words = [
        b":%d\r\n" % each if isinstance(each, int) else b"$%d\r\n%s\r\n" % (len(each), each.encode()) for each in rest
    ]
    parts = [b"+%s\r\n" % kind.encode(), b":%d\r\n" % number, *words]
    return b">%d\r\n%s" % (len(parts), b"".join(parts))

"""What servers reply to those who look at them."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.wire.server_replies import SlowEntry, listed_clients, slow_entries, whole


@pytest.mark.parametrize(
    ("entry", "taken"),
    [
        ([7, 1_700_000_000, 12_000, [b"SET", b"a-key"], b"10.0.0.1:5000", b"shop"], ("SET", "10.0.0.1:5000", "shop")),
        ([7, 1_700_000_000, 12_000, [b"SET", b"a-key"]], ("SET", "", "")),
        ([7, 1_700_000_000, 12_000, []], ("", "", "")),
        ([7, 1_700_000_000, 12_000, b"N/A", [b"SET"], b"10.0.0.1:5000", b"shop"], ("SET", "10.0.0.1:5000", "shop")),
    ],
    ids=["all", "before Redis 4", "no command", "Redis Enterprise"],
)
def test_slow_entries(entry: list[Any], taken: tuple[str, str, str]) -> None:
    """Of each server; of the command its name only."""
    assert list(slow_entries([entry])) == [SlowEntry(1_700_000_000.0, 0.012, *taken)]


def test_listed_clients() -> None:
    """Line by line; what is no pair is passed over, and a name may be any bytes."""
    reply = b"id=3 addr=[::1]:7 name=a=b\xff db=0\nid=4 odd name=\n"
    assert list(listed_clients(reply)) == [
        {"id": "3", "addr": "[::1]:7", "name": "a=b\ufffd", "db": "0"}, {"id": "4", "name": ""},
    ]  # fmt: skip


@pytest.mark.parametrize(("figure", "number"), [("12", 12), (None, None), ("", None), ("-1", None), ("9" * 20, None)])
def test_whole_numbers(figure: str | None, number: int | None) -> None:
    """What is none is missing."""
    assert whole(figure) == number

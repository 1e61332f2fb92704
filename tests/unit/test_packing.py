"""Commands as bytes: what Python packs by itself is what hiredis makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
import pytest

from redpool.redispy import packing
from redpool.wire.commands import PLAIN

_by_hiredis: Any = hiredis.pack_command
NAMES = sorted(packing.of_one_word(PLAIN))


@pytest.mark.parametrize(
    "word", ["", "a", "x" * 255, "x" * 256, "\r\n", "\x00", "\x7f", "\x80", "\u20ac", b"a", b"\xff"]
)
def test_a_command_and_its_key_are_packed_as_by_hiredis(word: str | bytes) -> None:
    """Whatever the name, however long the key, and whether or not its bytes are as many as its characters."""
    for name in NAMES:
        assert packing.pack_words((name, word)) == _by_hiredis((name, word))


def test_a_subclass_of_text_is_no_text() -> None:
    """What it turns into is its own affair."""

    class Key(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "another"

    with pytest.raises(TypeError):
        packing.pack_words(("GET", object()))
    assert packing.pack_words(("GET", Key("a"))) == _by_hiredis(("GET", "a"))


@pytest.mark.parametrize("pack", [packing.pack_words, packing.pack, lambda args: packing.pack_all([args])])
def test_of_a_view_the_bytes_are_packed_that_it_shows(pack: Callable[[tuple[Any, ...]], bytes]) -> None:
    """Also where they lie apart, or in the other order: hiredis would take those that lie behind the first."""
    for step, shown in (1, b"abcdef"), (2, b"ace"), (-1, b"fedcba"):
        assert pack(("SET", "k", memoryview(b"abcdef")[::step])) == _by_hiredis(("SET", "k", shown))

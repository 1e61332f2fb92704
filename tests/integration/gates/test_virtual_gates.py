"""The core with each gate in each state: all 16 250 combinations that differ, in virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from .virtual import COLLECTED_AFTER, World

GATES = ("connect", "handshake", "check", "send", "reply", "release")
HOW = ("ok", "error", "slow", "never", "cancelled")
PASSES = ("ok", "slow")
LONG_ENOUGH = 4.0  # seconds; less than the pool's own timeout: no caller waits in vain


def states(connect: str) -> Iterator[dict[str, str]]:
    """Yield the states of all gates; behind a send that fails no call comes to a reply, which is in one state then."""
    for hows in itertools.product(HOW, repeat=len(GATES) - 1):
        gates = dict(zip(GATES, (connect, *hows), strict=True))
        if gates["send"] in PASSES or gates["reply"] == "ok":
            yield gates


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("connect", HOW)
def test_whatever_becomes_of_a_call_the_pool_is_whole_afterwards(size: int, connect: str) -> None:
    """Every caller gets something in time, and none another's answer; in the end every slot is free."""
    for gates in states(connect):
        world = World(size, gates)
        first = world.comes(0.0, {gate: gates[gate] for gate in ("connect", "handshake")})
        interrupted = world.comes(2.0, gates)
        behind = world.comes(2.01)
        world.run_until(2.0 + LONG_ENOUGH + COLLECTED_AFTER)
        try:
            for caller in (first, interrupted, behind):
                assert caller.raised in (caller, "error", "cancelled")
                assert caller.raised_at <= 2.0 + LONG_ENOUGH
            assert behind.raised is behind
            world.check_at_rest()
        except AssertionError as error:
            error.add_note(f"{gates}")
            raise

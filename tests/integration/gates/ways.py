"""The ways that one call can take, and the script for each.

Only what can be met is listed: what comes after a gate that ended the call makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from redpool.testing import Script, Slow
from redpool.testing.replies import Step

SLOW = 0.003  # seconds
NEVER = 0.12  # seconds after which the sockets' timeouts end what takes for ever
CUT_OFF = 0.02  # seconds after which a caller is cancelled, or its deadline comes

_PASSES = ("ok", "slow")
_ENDS = ("error", "never", "cancelled")
_HOW = (*_PASSES, *_ENDS)
_COLD = ("connect", "handshake", "send", "reply", "release")


@dataclass(frozen=True)
class Way:
    """What befalls one call at each gate that it comes to; a connection is `warm` that was used before."""

    warm: bool
    gates: tuple[tuple[str, str], ...]

    @property
    def cut_off(self) -> bool:
        """Whether the caller itself is cut off before its answer has come."""
        return any(how == "cancelled" for gate, how in self.gates if gate != "release")

    @property
    def release(self) -> str:
        """How the connection is released."""
        return dict(self.gates).get("release", "ok")

    def play(self, script: Script) -> None:
        """Have the script's next steps be these."""
        for gate, how in self.gates:
            if gate != "release":
                setattr(script, gate, [_step(how), "ok"])

    def __str__(self) -> str:
        return f"{'warm' if self.warm else 'cold'}: {', '.join(f'{gate} {how}' for gate, how in self.gates)}"


def ways() -> Iterator[Way]:
    """All of them."""
    for gates in _from(_COLD):
        yield Way(False, gates)
    for check in _HOW:
        # One that fails its check is closed, and the caller has another one connected, unless it was cut off.
        rest: tuple[str, ...] = ("send", "reply", "release") if check in _PASSES else _COLD
        for gates in [()] if check == "cancelled" else _from(rest):
            yield Way(True, (("ping", check), *gates))


def _from(gates: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], ...]]:
    if len(gates) == 1:
        yield from [((gates[0], how),) for how in _HOW]
        return
    yield from [((gates[0], how),) for how in _ENDS]
    for how in _PASSES:
        for rest in _from(gates[1:]):
            yield ((gates[0], how), *rest)


def _step(how: str) -> Step:
    if how == "slow":
        return Slow(SLOW)
    return {"ok": "ok", "error": ConnectionResetError(104, "reset")}.get(how, "never")  # type: ignore[return-value]

"""What a shell must carry out, outside its lock. The core puts orders into its outbox; the shell empties it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .slot import Reason, Slot
from .ticket import Ticket


class Dial(NamedTuple):
    """Ask `PoolCore.begin_dial` whether it is still wanted; then open a connection for `slot`.

    Answer with `dialed` or `dial_failed`, exactly once.
    """

    slot: Slot


class CutDial(NamedTuple):
    """The dial of `slot` has used up its time: make it fail."""

    slot: Slot


class Check(NamedTuple):
    """Ask `PoolCore.begin_check`; then send a PING over the connection in `slot`, and answer with `checked`."""

    slot: Slot


class CutCall(NamedTuple):
    """The deadline of the call over the connection in `slot` has come, and the call goes on: make it fail."""

    slot: Slot
    limit: Any


class Close(NamedTuple):
    """Close `connection`, then say `closed_connection(slot)`."""

    slot: Slot
    connection: Any
    reason: Reason
    age: float


class Wake(NamedTuple):
    """The ticket has ended: wake its caller."""

    ticket: Ticket


class ReportLeak(NamedTuple):
    """A lease is older than `leak_after`, or its caller has dropped the connection without giving it back.

    Whose it is, and the stack that took it, as the shell noted them.
    """

    slot: Slot
    age: float
    holder: Any
    stack: Any
    dropped: bool = False


AnyOrder = Dial | CutDial | Check | CutCall | Close | Wake | ReportLeak

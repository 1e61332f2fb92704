"""What a shell must carry out, outside its lock. The core puts orders into its outbox; the shell empties it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .slot import Reason, Slot
from .ticket import Ticket


class Connect(NamedTuple):
    """Ask `PoolCore.begin_connect` whether it is still wanted; then open a connection for `slot`.

    Answer with `connected` or `connect_failed`, exactly once.
    """

    slot: Slot


class CutConnect(NamedTuple):
    """The connect of `slot` has used up its time: make it fail."""

    slot: Slot


class Validate(NamedTuple):
    """Ask `PoolCore.begin_validation`; then send a PING over the connection in `slot`, and answer with `validated`."""

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
    borrower: Any
    stack: Any
    dropped: bool = False


AnyAction = Connect | CutConnect | Validate | CutCall | Close | Wake | ReportLeak

"""What a shell must carry out, outside its lock. The core puts actions into its outbox; the shell empties it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .slot import Borrower, Callsite, Connection, Limit, Reason, Slot
from .waiters import Ticket


class Connect(NamedTuple):
    """Ask `PoolCore.begin_connect` whether it is still wanted; then connect, for `slot`.

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
    limit: Limit


class Close(NamedTuple):
    """Close `connection`, then say `closed_connection(slot)`."""

    slot: Slot
    connection: Connection
    reason: Reason
    age: float


class Wake(NamedTuple):
    """The ticket has ended: wake its caller."""

    ticket: Ticket


class Note(NamedTuple):
    """The pool has decided something by itself: log it."""

    what: str


class ReportLeak(NamedTuple):
    """A lease is older than `leak_after`, or its caller has dropped the connection without releasing it.

    Whose it is, and the stack that took it, as the shell noted them.
    """

    slot: Slot
    age: float
    borrower: Borrower
    stack: Callsite
    dropped: bool = False
    over: bool = False
    """the pool was closed while it lasted: all is being put away, and a connection that is dropped does no harm"""


class Holder(NamedTuple):
    """Who has a connection, for how many seconds, and where it was taken."""

    age: float
    borrower: Borrower
    taken: Callsite
    connection: Callable[[], Connection] | None
    """returns the connection; `None` once it was collected"""


class ReportWait(NamedTuple):
    """A caller has waited for longer than `warn_wait`, as `more` others have since the last such report."""

    waited: float
    borrower: Borrower
    more: int
    counts: dict[str, int]
    held_by: tuple[Holder, ...]
    """the oldest leases"""


AnyAction = Connect | CutConnect | Validate | CutCall | Close | Wake | Note | ReportLeak | ReportWait

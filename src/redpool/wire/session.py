"""What a connection's session has become, told by the commands that went over it.

A session that differs must not be called clean. So what changes it counts as though it succeeded, and what is malformed
as a change. What restores it counts only where nothing refuses or postpones it: an open transaction, which may still be
discarded or aborted, does; so does a subscription, under which RESP2 allows little else. Going by the commands alone
this may call a session changed that isn't; that costs a connection, never an answer.

HIMPORT is left out: redis-py itself knows which fieldsets were prepared over a connection. So are ASKING, which is gone
with the next command, and CLIENT SETINFO, which nothing depends on.
"""

from __future__ import annotations

from .commands import Args, parse, text, upper

_LASTING = frozenset({
    "AUTH", "CLIENT CACHING", "CLIENT CAPA", "CLIENT MAINT_NOTIFICATIONS", "MONITOR", "MULTI", "PSUBSCRIBE", "PSYNC",
    "QUIT", "READONLY", "REPLCONF", "RESET", "SSUBSCRIBE", "SUBSCRIBE", "SYNC", "WATCH",
})  # fmt: skip

_SUBSCRIBED = frozenset({"PSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE"})

_LISTENING = _SUBSCRIBED | {"MONITOR"}

# The only argument with which each leaves things as they were made.
_SWITCHES = {
    "CLIENT IMPORT-SOURCE": "OFF",
    "CLIENT NO-EVICT": "OFF",
    "CLIENT NO-TOUCH": "OFF",
    "CLIENT REPLY": "ON",
    "CLIENT TRACKING": "OFF",
    "SCRIPT DEBUG": "NO",
}

# What ends what, where it comes without arguments.
_ENDS = {
    "DISCARD": {"MULTI", "WATCH"},
    "EXEC": {"MULTI", "WATCH"},
    "PUNSUBSCRIBE": {"PSUBSCRIBE"},
    "READWRITE": {"READONLY"},
    "SUNSUBSCRIBE": {"SSUBSCRIBE"},
    "UNSUBSCRIBE": {"SUBSCRIBE"},
    "UNWATCH": {"WATCH"},
}

RESTORING = frozenset({"CLIENT SETNAME", "SELECT"}) | _SWITCHES.keys() | (_ENDS.keys() - {"EXEC"})
"""What may end a change of the session, if the server doesn't refuse it."""


class Session:
    """How the session of one connection differs from what it was when it was made, with `db` and `client_name`."""

    __slots__ = ("_changed", "_client_name", "_db")

    def __init__(self, db: int | str = 0, client_name: str | None = None) -> None:
        self._db = str(int(db or 0))
        self._client_name = text(client_name or "")
        self._changed: set[str] = set()

    def __repr__(self) -> str:
        return f"<Session {', '.join(sorted(self._changed)) or 'clean'}>"

    @property
    def changed(self) -> frozenset[str]:
        """The names of the commands by which it differs; of what can be ended, that which began it."""
        return frozenset(self._changed)

    @property
    def listens(self) -> bool:
        """Whether the server sends unasked what its user has subscribed to, or monitors."""
        return not self._changed.isdisjoint(_LISTENING)

    @property
    def clean(self) -> bool:
        """Whether it is as it was made."""
        return not self._changed

    def note(self, args: Args) -> None:
        """Note a command that goes over the connection; `args` are those of redis-py's `execute_command`."""
        name, arguments = parse(args)
        if name in _LASTING or (name == "HELLO" and arguments):
            self._changed.add(name)
        elif name == "SELECT":
            # Text is compared, not numbers: the server refuses " 0" and "00".
            self._set(name, [text(each) for each in arguments] == [self._db])
        elif name == "CLIENT SETNAME":
            self._set(name, [text(each) for each in arguments] == [self._client_name])
        elif name in _SWITCHES:
            self._set(name, [upper(each) for each in arguments] == [_SWITCHES[name]])
        elif name in _ENDS and not arguments:
            self._end(_ENDS[name])

    def _set(self, name: str, as_made: bool) -> None:
        if not as_made:
            self._changed.add(name)
        else:
            self._end({name})

    def _end(self, names: set[str]) -> None:
        if self._changed & _SUBSCRIBED:
            counts = names <= _SUBSCRIBED and "MULTI" not in self._changed
        else:
            counts = ("MULTI" in names) == ("MULTI" in self._changed)
        if counts:
            self._changed -= names

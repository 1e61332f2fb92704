"""What a command means for the pool: may it run twice, does it wait, may others use its connection meanwhile.

Commands are looked at as redis-py's `execute_command` gets them: a sequence whose first item is the name, in any case,
as text or bytes, a subcommand being behind a space or an item of its own. The hot path asks only whether the first item
is in `PLAIN`.

What isn't in the table, such as the commands of modules, is never repeated and never shares a connection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from .table import (
    ACTS,
    CONTAINERS,
    EXPIRIES,
    KNOWN,
    LOOKS,
    OVERWRITES,
    READS,
    RESCUES,
    REWRITES,
    SETTINGS,
    SUBSCRIPTIONS,
    WAITS,
    WRITE_WHEN_STORING,
    WRITES,
)

Args = Sequence[object]
"""One command, its name first."""

Sent: TypeAlias = Sequence[Any]
"""What goes over a connection in one piece: a command, which is a tuple, or a list of commands."""

_ORDINARY = READS | LOOKS | OVERWRITES | REWRITES | WRITES | ACTS
_SHARING = _ORDINARY - RESCUES
_READ_ONLY = READS | LOOKS
_REPEATABLE = READS | LOOKS | OVERWRITES | REWRITES | SETTINGS | SUBSCRIPTIONS
_OF_THE_SESSION = SETTINGS | SUBSCRIPTIONS
_TELLING = frozenset({
    "EVAL", "EVALSHA", "FCALL", "GETDEL", "GETEX", "GETSET", "HGETDEL", "HGETEX", "LMOVE", "LMPOP", "LPOP", "RPOP",
    "RPOPLPUSH", "SORT", "SPOP", "XAUTOCLAIM", "XCLAIM", "XREADGROUP", "ZMPOP", "ZPOPMAX", "ZPOPMIN",
})  # fmt: skip
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "FCALL"})
_ENDS_TRANSACTION = frozenset({"EXEC", "DISCARD"})

# The reply to PING is another one where the connection has subscribed.
PLAIN: frozenset[str] = _ORDINARY - WAITS.keys() - CONTAINERS - RESCUES - {"PING"}
"""The names, as redis-py writes them, of the commands that in no form wait, change the session or subscribe, and that
may be queued behind any other."""


def command_name(args: Args) -> str:
    """Return the name in upper case, of a container's subcommand both words: `"GET"`, `"CLIENT SETNAME"`."""
    return parse(args)[0]


def parse(args: Args) -> tuple[str, list[object]]:
    """Return the name, and the arguments after it."""
    first = args[0] if args else ""
    if type(first) is str and first in PLAIN:  # as redis-py writes it
        return first, list(args[1:])
    words = [*text(args[0]).split(), *args[1:]] if args else []
    if not words:
        return "", []
    name = upper(words[0])
    if name in CONTAINERS and len(words) > 1:
        return f"{name} {upper(words[1])}", words[2:]
    return name, words[1:]


def text(value: object) -> str:
    """Return an argument as the text that stands for its bytes."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="backslashreplace")
    return str(value)


def upper(value: object) -> str:
    """Return an argument as a word of Redis's own, whose case doesn't matter."""
    return text(value).upper()


def read_only(args: Args) -> bool:
    """Return whether it changes nothing: neither data nor the server nor the session."""
    return _only_reads(*parse(args))


def _only_reads(name: str, arguments: list[object]) -> bool:
    return name in _READ_ONLY or (name in WRITE_WHEN_STORING and not _stores(arguments))


def repeatable(args: Args) -> bool:
    """Return whether running it twice in a row leaves the same as running it once, and is answered alike.

    It says nothing of the session: what was selected or watched over a connection that broke is not there for the
    second run.
    """
    return _may_repeat(*parse(args))


def _may_repeat(name: str, arguments: list[object]) -> bool:
    if name == "SET":
        options = _set_options(arguments)
        return options <= EXPIRIES or options == {"XX"}
    return name in _REPEATABLE or (name in WRITE_WHEN_STORING and not _stores(arguments))


def all_repeatable(commands: Iterable[Args]) -> bool:
    """Return whether a packed pipeline, with MULTI and EXEC or without, may run twice as a whole."""
    return first_unrepeatable(commands) is None


def first_unrepeatable(commands: Iterable[Args]) -> Args | None:
    """Return the first command for whose sake a packed pipeline must not run twice; `None` if it may.

    What is harmless alone need not be so in company: in GET, SET of the same key the second run would answer GET with
    what the first one has set. So no write may stand after anything that sees the data. MULTI counts as harmless with
    the EXEC or DISCARD that ends it; whether something was watched before is for the caller to know.
    """
    seen = False
    transaction: Args | None = None
    for args in commands:
        name, arguments = parse(args)
        if name == "MULTI":
            transaction = args
        elif transaction is not None and name in _ENDS_TRANSACTION:
            transaction = None
        elif name not in _OF_THE_SESSION:
            if not _may_repeat(name, arguments) or (seen and not _only_reads(name, arguments)):
                return args
            seen = seen or not _overwrites(name, arguments)
    return transaction


def must_run_once(sent: Sent, rule: str) -> Args | None:
    """Return the first command that must not be sent again, by the pool's `retry_sent`; `None` where none is."""
    several: Sequence[Args] = [sent] if type(sent) is tuple else sent
    if rule == "all":
        return None
    if rule == "none":
        return several[0]
    return first_unrepeatable(several)


def first_name(sent: Sent) -> str:
    """Return the name of a command, of several that of the first."""
    return command_name(sent if type(sent) is tuple else sent[0])


def undone_where_refused(args: Args) -> bool:
    """Return whether nothing of it was done where the server has refused it for what it writes.

    A script may have done something before its first write, and nothing is known of what modules do.
    """
    name = command_name(args)
    return name in KNOWN and name not in _SCRIPTS


def may_answer_at_length(args: Args) -> bool:
    """Return whether the reply may be large: it tells what is stored, or nothing is known of the command."""
    name, arguments = parse(args)
    return _only_reads(name, arguments) or name in _TELLING or name not in KNOWN


def blocks_for(args: Args) -> float | None:
    """How many seconds it asks the server to wait: `math.inf` for ever, `None` if it doesn't wait.

    `None`, too, with the wrong number of words or no proper time, since the server refuses that at once.
    """
    name, arguments = parse(args)
    wait = WAITS.get(name)
    words = len(arguments) + 1
    if wait is None or words < abs(wait.arity) or (wait.arity > 0 and words > wait.arity):
        return None
    asked = _asked(name, arguments)
    if asked is None:
        return None
    try:
        time = float(text(asked))
    except ValueError:
        return None
    if not 0.0 <= time < math.inf:
        return None
    return time * wait.unit or math.inf


def shares(args: Args) -> bool:
    """Return whether others may use the connection by pipelining at the same time."""
    name, arguments = parse(args)
    return name in _SHARING and (name not in WAITS or _asked(name, arguments) is None)


def _asked(name: str, arguments: list[object]) -> object | None:
    """Return the argument that says how long to wait; `None` where there is none."""
    place = WAITS[name].argument
    if isinstance(place, int):
        return arguments[place - 1 if place > 0 else place]
    asked: object | None = None
    rest = iter(arguments)
    for each in rest:
        option = upper(each)
        if option == "STREAMS":
            break
        if option == "GROUP":  # two names follow, which could be any words
            next(rest, None)
            next(rest, None)
        elif option == place:
            asked = next(rest, "")
    return asked


def _stores(arguments: list[object]) -> bool:
    return not {"STORE", "STOREDIST"}.isdisjoint(map(upper, arguments))


def _set_options(arguments: list[object]) -> set[str]:
    # With NX, GET and the conditions the second run finds what the first one left. KEEPTTL, and XX beside a time to
    # live, too, may find that the key has run out: what KEEPTTL then sets would stay for ever.
    options: set[str] = set()
    rest = iter(arguments[2:])
    for each in rest:
        option = upper(each)
        options.add(option)
        if option in EXPIRIES:
            next(rest, None)
    return options


def _overwrites(name: str, arguments: list[object]) -> bool:
    return name in OVERWRITES or (name == "SET" and _set_options(arguments) <= EXPIRIES)

"""The commands about the connection and the server: greeting, clients, transactions, subscriptions."""

from __future__ import annotations

import math
import time
from typing import Any

from .keyspace import DATABASES
from .resp import NO_ARRAY, OK, CommandError, Push, Several, Status
from .session import Session
from .table import ANY_NUMBER, command, integer

VERSION = "7.2.0"  # the Redis whose answers these are

# -- greeting ----------------------------------------------------------------------------------------------------------


@command("HELLO", 0, ANY_NUMBER)
def hello(session: Session, args: list[bytes]) -> Any:
    options = list(args)
    protocol = integer(options.pop(0)) if options else session.protocol
    if protocol not in (2, 3):
        raise CommandError("NOPROTO unsupported protocol version")
    while options:
        option = options.pop(0).upper()
        if option == b"AUTH" and len(options) >= 2:
            _log_in(session, options.pop(0), options.pop(0))
        elif option == b"SETNAME" and options:
            session.about["name"] = options.pop(0)
        else:
            raise CommandError("ERR Syntax error in HELLO")
    if not session.authenticated:
        raise CommandError("NOAUTH HELLO must be called with the client already authenticated")
    session.protocol = protocol
    return {
        "server": "redis", "version": VERSION, "proto": protocol, "id": session.id, "mode": "standalone",
        "role": "master", "modules": [],
    }  # fmt: skip


@command("AUTH", 1, 2)
def auth(session: Session, args: list[bytes]) -> str:
    if len(args) == 1 and session.backend.password is None:
        raise CommandError(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    _log_in(session, args[0] if len(args) == 2 else b"default", args[-1])
    return OK


def _log_in(session: Session, user: bytes, password: bytes) -> None:
    right = session.backend.password
    if user != b"default" or (right is not None and password != right.encode()):
        raise CommandError("WRONGPASS invalid username-password pair or user is disabled.")
    session.authenticated = True


@command("PING", 0, 1)
def ping(session: Session, args: list[bytes]) -> Any:
    if session.protocol == 2 and (session.channels or session.patterns):
        return [b"pong", args[0] if args else b""]
    return args[0] if args else Status("PONG")


@command("ECHO", 1)
def echo(session: Session, args: list[bytes]) -> bytes:
    return args[0]


@command("SELECT", 1)
def select(session: Session, args: list[bytes]) -> str:
    db = integer(args[0])
    if not 0 <= db < DATABASES:
        raise CommandError("ERR DB index is out of range")
    session.db = db
    return OK


@command("QUIT")
def quit_(session: Session, args: list[bytes]) -> str:
    session.leaving = True
    return OK


@command("TIME")
def time_(session: Session, args: list[bytes]) -> list[str]:
    seconds, rest = divmod(time.time_ns() // 1000, 1_000_000)
    return [str(seconds), str(rest)]


@command("INFO", 0, ANY_NUMBER)
def info(session: Session, args: list[bytes]) -> str:
    facts = {
        "redis_version": VERSION, "redis_mode": "standalone", "role": "master", "loading": 0,
        "connected_clients": len(session.backend.sessions), "maxclients": session.backend.max_clients,
    }  # fmt: skip
    return "# Server\r\n" + "".join(f"{name}:{value}\r\n" for name, value in facts.items())


# -- clients -----------------------------------------------------------------------------------------------------------


@command("CLIENT", 1, ANY_NUMBER)
def client(session: Session, args: list[bytes]) -> Any:
    name = args[0].decode("latin-1").upper()
    if name not in _CLIENT:
        raise CommandError(f"ERR unknown subcommand '{args[0].decode('latin-1')}'. Try CLIENT HELP.")
    least, most, function = _CLIENT[name]
    if not least <= len(args) - 1 <= most:
        raise CommandError(f"ERR wrong number of arguments for 'client|{name.lower()}' command")
    return function(session, args[1:])


def _set_name(session: Session, args: list[bytes]) -> str:
    session.about["name"] = args[0]
    return OK


def _set_info(session: Session, args: list[bytes]) -> str:
    what = args[0].decode("latin-1").lower()
    if what not in ("lib-name", "lib-ver"):
        raise CommandError(f"ERR Unrecognized option '{what}'")
    session.about[what] = args[1]
    return OK


def _list(session: Session, args: list[bytes]) -> bytes:
    return b"".join(_line(each) for each in session.backend.sessions.values())


def _line(session: Session) -> bytes:
    facts: dict[str, Any] = {"id": session.id, "addr": session.address, "db": session.db, "resp": session.protocol}
    line = " ".join(f"{name}={value}" for name, value in facts.items()).encode()
    return line + b"".join(b" %b=%b" % (name.encode(), value) for name, value in session.about.items()) + b"\n"


def _kill(session: Session, args: list[bytes]) -> Any:
    everybody = session.backend.sessions.values()
    if len(args) == 1:
        if not _end(session, [each for each in everybody if each.address.encode() == args[0]]):
            raise CommandError("ERR No such client")
        return OK
    if len(args) % 2:
        raise CommandError("ERR syntax error")
    filters = {option.upper(): value for option, value in zip(args[::2], args[1::2], strict=True)}
    if not filters.keys() <= {b"ID", b"ADDR", b"SKIPME"}:
        raise CommandError("ERR syntax error")
    chosen = [
        each
        for each in everybody
        if filters.get(b"ID", b"%d" % each.id) == b"%d" % each.id
        and filters.get(b"ADDR", each.address.encode()) == each.address.encode()
        and not (each is session and filters.get(b"SKIPME", b"yes").lower() == b"yes")
    ]
    return _end(session, chosen)


def _end(session: Session, chosen: list[Session]) -> int:
    # The caller that kills itself gets its answer first.
    session.leaving = session.leaving or session in chosen
    session.backend.kill(each for each in chosen if each is not session)
    return len(chosen)


def _reply(session: Session, args: list[bytes]) -> str:
    # "SKIP" leaves out the answer to itself and to the next command.
    mutes = {b"ON": 0.0, b"OFF": math.inf, b"SKIP": 2.0}
    if args[0].upper() not in mutes:
        raise CommandError("ERR syntax error")
    session.mute = mutes[args[0].upper()]
    return OK


_CLIENT: dict[str, tuple[int, float, Any]] = {
    "ID": (0, 0, lambda session, args: session.id),
    "SETNAME": (1, 1, _set_name),
    "GETNAME": (0, 0, lambda session, args: session.about["name"] or None),
    "SETINFO": (2, 2, _set_info),
    "LIST": (0, ANY_NUMBER, _list),
    "KILL": (1, ANY_NUMBER, _kill),
    "REPLY": (1, 1, _reply),
    "TRACKING": (1, ANY_NUMBER, lambda session, args: OK),
}

# -- transactions ------------------------------------------------------------------------------------------------------


@command("MULTI")
def multi(session: Session, args: list[bytes]) -> str:
    if session.queue is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    session.queue, session.spoilt = [], False
    return OK


@command("EXEC")
def exec_(session: Session, args: list[bytes]) -> Any:
    if session.queue is None:
        raise CommandError("ERR EXEC without MULTI")
    queue, spoilt, dirty = session.queue, session.spoilt, session.dirty
    _end_transaction(session)
    if spoilt:
        raise CommandError("EXECABORT Transaction discarded because of previous errors.")
    if dirty:
        return NO_ARRAY
    session.in_transaction = True
    replies = [session.run(name, args) for name, args in queue]
    session.in_transaction = False
    return replies


@command("DISCARD")
def discard(session: Session, args: list[bytes]) -> str:
    if session.queue is None:
        raise CommandError("ERR DISCARD without MULTI")
    _end_transaction(session)
    return OK


@command("WATCH", 1, ANY_NUMBER)
def watch(session: Session, args: list[bytes]) -> str:
    if session.queue is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    session.watched.update((session.db, key) for key in args)
    return OK


@command("UNWATCH")
def unwatch(session: Session, args: list[bytes]) -> str:
    session.watched.clear()
    session.dirty = False
    return OK


def _end_transaction(session: Session) -> None:
    session.queue = None
    unwatch(session, [])


# -- subscriptions -----------------------------------------------------------------------------------------------------


@command("SUBSCRIBE", 1, ANY_NUMBER)
def subscribe(session: Session, args: list[bytes]) -> Any:
    return _begin(session, b"subscribe", session.channels, args)


@command("PSUBSCRIBE", 1, ANY_NUMBER)
def psubscribe(session: Session, args: list[bytes]) -> Any:
    return _begin(session, b"psubscribe", session.patterns, args)


@command("UNSUBSCRIBE", 0, ANY_NUMBER)
def unsubscribe(session: Session, args: list[bytes]) -> Any:
    return _stop(session, b"unsubscribe", session.channels, args)


@command("PUNSUBSCRIBE", 0, ANY_NUMBER)
def punsubscribe(session: Session, args: list[bytes]) -> Any:
    return _stop(session, b"punsubscribe", session.patterns, args)


@command("PUBLISH", 2)
def publish(session: Session, args: list[bytes]) -> int:
    return session.backend.publish(args[0], args[1])


def _begin(session: Session, kind: bytes, mine: dict[bytes, None], names: list[bytes]) -> Any:
    said = Several()
    for name in names:
        mine[name] = None
        said.append(Push([kind, name, len(session.channels) + len(session.patterns)]))
    return said


def _stop(session: Session, kind: bytes, mine: dict[bytes, None], names: list[bytes]) -> Any:
    said = Several()
    leaving: list[bytes | None] = [*(names or mine)]
    for name in leaving or [None]:  # with nothing to leave there is one answer, too
        if name is not None:
            mine.pop(name, None)
        said.append(Push([kind, name, len(session.channels) + len(session.patterns)]))
    return said

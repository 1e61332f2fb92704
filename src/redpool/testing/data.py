"""The commands that read and write keys: strings, lists, hashes."""

from __future__ import annotations

from typing import Any

from .resp import NO_ARRAY, OK, CommandError
from .session import BLOCKED, Session, Waiting
from .table import ANY_NUMBER, command, integer

# -- keys --------------------------------------------------------------------------------------------------------------


@command("DEL", 1, ANY_NUMBER)
def delete(session: Session, args: list[bytes]) -> int:
    return sum(session.keys.remove(session.db, key) for key in args if session.keys.find(session.db, key) is not None)


@command("EXISTS", 1, ANY_NUMBER)
def exists(session: Session, args: list[bytes]) -> int:
    return sum(session.keys.find(session.db, key) is not None for key in args)


@command("DBSIZE")
def db_size(session: Session, args: list[bytes]) -> int:
    return len(session.keys.keys(session.db))


@command("FLUSHDB", 0, 1)
def flush_db(session: Session, args: list[bytes]) -> str:
    session.keys.flush(session.db)
    return OK


@command("FLUSHALL", 0, 1)
def flush_all(session: Session, args: list[bytes]) -> str:
    session.keys.flush_all()
    return OK


# -- strings -----------------------------------------------------------------------------------------------------------


@command("GET", 1)
def get(session: Session, args: list[bytes]) -> bytes | None:
    return session.keys.get(session.db, args[0], bytes)


@command("SET", 2, ANY_NUMBER)
def set_(session: Session, args: list[bytes]) -> Any:
    key, value, *rest = args
    options = iter([option.upper() for option in rest])
    flags, end = set(), None
    for option in options:
        if option in (b"EX", b"PX"):
            span = integer(next(options, b""))
            if span <= 0:
                raise CommandError("ERR invalid expire time in 'set' command")
            end = session.keys.clock() + (span if option == b"EX" else span / 1000)
        elif option in (b"NX", b"XX", b"GET", b"KEEPTTL"):
            flags.add(option)
        else:
            raise CommandError("ERR syntax error")
    before = session.keys.get(session.db, key, bytes) if b"GET" in flags else session.keys.find(session.db, key)
    done = not (b"NX" in flags and before is not None) and not (b"XX" in flags and before is None)
    if done:
        session.keys.put(session.db, key, value)
        if b"KEEPTTL" not in flags:
            session.keys.expire(session.db, key, end)
    if b"GET" in flags:
        return before
    return OK if done else None


@command("MGET", 1, ANY_NUMBER)
def mget(session: Session, args: list[bytes]) -> list[bytes | None]:
    found = [session.keys.find(session.db, key) for key in args]
    return [value if isinstance(value, bytes) else None for value in found]


@command("MSET", 2, ANY_NUMBER)
def mset(session: Session, args: list[bytes]) -> str:
    if len(args) % 2:
        raise CommandError("ERR wrong number of arguments for 'mset' command")
    for key, value in zip(args[::2], args[1::2], strict=True):
        set_(session, [key, value])
    return OK


@command("INCR", 1)
def incr(session: Session, args: list[bytes]) -> int:
    return _add(session, args[0], 1)


@command("INCRBY", 2)
def incrby(session: Session, args: list[bytes]) -> int:
    return _add(session, args[0], integer(args[1]))


def _add(session: Session, key: bytes, step: int) -> int:
    total = integer(session.keys.get(session.db, key, bytes) or b"0") + step
    session.keys.put(session.db, key, b"%d" % total)
    return total


@command("APPEND", 2)
def append(session: Session, args: list[bytes]) -> int:
    key, tail = args
    value = (session.keys.get(session.db, key, bytes) or b"") + tail
    session.keys.put(session.db, key, value)
    return len(value)


# -- lists -------------------------------------------------------------------------------------------------------------


@command("LPUSH", 2, ANY_NUMBER)
def lpush(session: Session, args: list[bytes]) -> int:
    key, *values = args
    return _put_list(session, key, [*reversed(values), *_list(session, key)])


@command("RPUSH", 2, ANY_NUMBER)
def rpush(session: Session, args: list[bytes]) -> int:
    key, *values = args
    return _put_list(session, key, [*_list(session, key), *values])


@command("LPOP", 1, 2)
def lpop(session: Session, args: list[bytes]) -> Any:
    return _pop_as_asked(session, args, 0)


@command("RPOP", 1, 2)
def rpop(session: Session, args: list[bytes]) -> Any:
    return _pop_as_asked(session, args, -1)


@command("LLEN", 1)
def llen(session: Session, args: list[bytes]) -> int:
    return len(_list(session, args[0]))


@command("LRANGE", 3)
def lrange(session: Session, args: list[bytes]) -> list[bytes]:
    values = _list(session, args[0])
    first, last = (max(0, n + len(values)) if n < 0 else n for n in map(integer, args[1:]))
    # An end before the beginning of the list is nowhere.
    return [] if integer(args[2]) < -len(values) else values[first : last + 1]


@command("BLPOP", 2, ANY_NUMBER)
def blpop(session: Session, args: list[bytes]) -> Any:
    return _pop_or_wait(session, args, 0)


@command("BRPOP", 2, ANY_NUMBER)
def brpop(session: Session, args: list[bytes]) -> Any:
    return _pop_or_wait(session, args, -1)


def _list(session: Session, key: bytes) -> list[bytes]:
    return session.keys.get(session.db, key, list) or []


def _put_list(session: Session, key: bytes, values: list[bytes]) -> int:
    session.keys.put(session.db, key, values)
    return len(values)


def _pop(session: Session, key: bytes, end: int) -> bytes | None:
    values = _list(session, key)
    if not values:
        return None
    popped = values.pop(end)
    _put_list(session, key, values)
    return popped


def _pop_as_asked(session: Session, args: list[bytes], end: int) -> Any:
    if len(args) == 1:
        return _pop(session, args[0], end)
    count = min(integer(args[1]), len(_list(session, args[0])))
    return [_pop(session, args[0], end) for _ in range(count)] or NO_ARRAY


def _pop_or_wait(session: Session, args: list[bytes], end: int) -> Any:
    *keys, timeout = args
    try:
        seconds = float(timeout)
    except ValueError:
        raise CommandError("ERR timeout is not a float or out of range") from None
    if seconds < 0:
        raise CommandError("ERR timeout is negative")

    def pop_first() -> Any:
        for key in keys:
            if (popped := _pop(session, key, end)) is not None:
                return [key, popped]
        return None

    got = pop_first()
    if got is not None:
        return got
    if session.in_transaction:
        return NO_ARRAY
    session.wait(Waiting(pop_first, seconds))
    return BLOCKED


# -- hashes ------------------------------------------------------------------------------------------------------------


@command("HSET", 3, ANY_NUMBER)
def hset(session: Session, args: list[bytes]) -> int:
    key, *pairs = args
    if len(pairs) % 2:
        raise CommandError("ERR wrong number of arguments for 'hset' command")
    fields = session.keys.get(session.db, key, dict) or {}
    before = len(fields)
    fields.update(zip(pairs[::2], pairs[1::2], strict=True))
    session.keys.put(session.db, key, fields)
    return len(fields) - before


@command("HGET", 2)
def hget(session: Session, args: list[bytes]) -> bytes | None:
    return (session.keys.get(session.db, args[0], dict) or {}).get(args[1])

"""What follows from the table: which commands may run twice, wait, or share a connection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from redpool import embedded
from redpool.wire import table
from redpool.wire.commands import (
    PLAIN,
    all_repeatable,
    blocks_for,
    command_name,
    first_unrepeatable,
    parse,
    read_only,
    repeatable,
    shares,
)

NAMES = sorted(table.KNOWN)


# -- spellings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (("GET", "k"), "GET"),
        (("get", "k"), "GET"),
        ((b"Get", b"k"), "GET"),
        ((memoryview(b"get"), "k"), "GET"),
        (("CLIENT SETNAME", "me"), "CLIENT SETNAME"),
        (("client", b"setname", "me"), "CLIENT SETNAME"),
        ((b"client no-evict", "on"), "CLIENT NO-EVICT"),
        (("XGROUP CREATE", "k", "g", "$"), "XGROUP CREATE"),
        (("CLIENT",), "CLIENT"),
        (("CLIENT", 7), "CLIENT 7"),
        (("SET k v",), "SET"),
        (("JSON.GET", "k"), "JSON.GET"),
        (("DEBUG OBJECT", "k"), "DEBUG"),
        ((b"\xff\xfe", "k"), r"\XFF\XFE"),
        (("",), ""),
        ((), ""),
    ],
)
def test_a_name_is_one_word_or_a_container_with_its_subcommand(args: tuple[object, ...], name: str) -> None:
    """In upper case, however it was spelled; what isn't known keeps its first word."""
    assert command_name(args) == name


def spellings(words: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The same command as redis-py would pack it to the same words, but for their case."""
    for change in (str.upper, str.lower, str.title):
        changed = [change(word) for word in words]
        yield tuple(changed)
        yield tuple(word.encode() for word in changed)
        yield (" ".join(changed[:2]), *changed[2:])
        yield (" ".join(changed[:2]).encode(), *[memoryview(word.encode()) for word in changed[2:]])


@given(
    st.sampled_from(NAMES), st.lists(st.sampled_from(["1", "0", "STORE", "BLOCK", "STREAMS", "EX", "NX"]), max_size=5)
)
def test_the_spelling_makes_no_difference(name: str, arguments: list[str]) -> None:
    """Case, bytes, one item or two: every answer is the same."""
    answers = {
        (command_name(args), repeatable(args), blocks_for(args), shares(args), read_only(args))
        for args in spellings([*name.split(), *arguments])
    }
    assert len(answers) == 1
    assert next(iter(answers))[0].startswith(name)


# -- the hot path -----------------------------------------------------------------------------------------------------


def test_a_plain_name_is_taken_as_it_is() -> None:
    """`parse` needn't look into a name that redis-py writes so: it is the name, and all that follows are arguments."""
    for name in PLAIN:
        assert parse((name, "a", b"b")) == parse((name.lower(), "a", b"b")) == (name, ["a", b"b"])


def test_plain_commands_need_no_second_look() -> None:
    """They share, they don't wait, and they are spelled as redis-py spells them."""
    for name in PLAIN:
        assert shares((name, "1", "0"))
        assert blocks_for((name, "1", "0")) is None
        assert name == name.upper()
    assert {"GET", "SET", "INCR", "DEL", "HSET", "EVALSHA", "PUBLISH", "OBJECT ENCODING", "CLIENT LIST"} <= PLAIN


@pytest.mark.parametrize(
    "name",
    [
        "PING", "XREAD", "XREADGROUP", "BLPOP", "WAIT", "SELECT", "MULTI", "EXEC", "WATCH", "SUBSCRIBE", "MONITOR",
        "RESET", "QUIT", "AUTH", "HELLO", "DEBUG", "CLIENT", "COMMAND", "CLIENT SETNAME", "CLIENT REPLY",
        "CLIENT TRACKING", "SCRIPT DEBUG", "HIMPORT SET", "JSON.GET", "get", "",
    ],
)  # fmt: skip
def test_what_needs_care_is_not_plain(name: str) -> None:
    """What may wait, changes the session or subscribes; what isn't known; and what isn't spelled so."""
    assert name not in PLAIN


# -- may it run twice --------------------------------------------------------------------------------------------------

SETUP = [
    ("SET", "s", "value"), ("SET", "n", "1"), ("RPUSH", "l", "b", "a", "c"), ("HSET", "h", "f", "v"),
    ("SADD", "m", "x", "y"), ("ZADD", "z", "1", "x"), ("XADD", "x", "1-1", "f", "v"), ("GEOADD", "g", "1", "1", "p"),
    ("XGROUP", "CREATE", "x", "group", "0"), ("SET", "t", "1", "EX", "100"),
]  # fmt: skip

TWICE_IS_ONCE = [
    "GET s", "MGET s n no", "GETRANGE s 0 2", "HGETALL h", "LRANGE l 0 -1", "SMEMBERS m", "ZRANGE z 0 -1",
    "XRANGE x - +", "XREAD STREAMS x 0", "XREAD BLOCK 1 STREAMS x $", "OBJECT ENCODING s", "EXISTS s no", "TTL s",
    "TYPE s", "TOUCH s no", "HSCAN h 0", "SORT l ALPHA", "SORT_RO n", "GEORADIUS g 1 1 1 km",
    "GEORADIUSBYMEMBER g p 1 km", "DUMP s", "DBSIZE", "ECHO hello", "PING", "CONFIG GET maxmemory", "CLIENT GETNAME",
    "CLUSTER KEYSLOT k", "COMMAND COUNT", "SET s new", "SET no new", "SET l new", "SET s new EX 100",
    "SET s new px 100000", "SET no new EXAT 9999999999", "SET s new PXAT 9999999999999", "SET s new XX",
    "SET no new XX", "SET s new EX", "SET s new EX nx", "SET s", "SETEX s 100 new", "PSETEX s 100000 new",
    "MSET s 1 no 2", "HMSET h f w g u", "LSET l 0 new", "LSET l 9 new", "LSET no 0 new", "SETRANGE s 2 new",
    "SETRANGE no 2 new", "HMSET s f v", "SCRIPT LOAD return", "SCRIPT EXISTS abc", "SELECT 1", "SELECT 99",
    "CLIENT SETNAME me", "WATCH s", "UNWATCH", "ASKING", "READONLY", "CLIENT NO-EVICT on", "CLIENT TRACKING off",
    "SUBSCRIBE news", "GET", "LSET l",
]  # fmt: skip

TWICE_IS_ANOTHER_THING = [
    "SET no new NX", "SET s new GET", "SET no new EX 100 NX", "SET s new XX GET", "SETNX no new", "GETSET s new",
    "GETDEL s", "MSETNX no 1 nope 2", "APPEND s x", "INCR n", "DECRBY n 2", "INCRBYFLOAT n 0.5", "SETBIT s 1 0",
    "DEL s", "UNLINK s", "PERSIST t", "RENAME s no", "COPY s no", "MOVE s 1", "HSET h new v", "HSETNX h new v",
    "HINCRBY h i 1", "HDEL h f", "LPUSH l x", "RPUSH l x", "LPOP l", "RPOPLPUSH l l", "LMOVE l l LEFT RIGHT",
    "LREM l 1 a", "LINSERT l BEFORE a x", "SADD m new", "SREM m x", "SPOP m", "SMOVE m no x", "ZADD z 1 new",
    "ZINCRBY z 1 x", "ZREM z x", "ZPOPMIN z", "XADD x * f v", "XDEL x 1-1", "XGROUP CREATE x new $",
    "XGROUP DESTROY x group", "XREADGROUP GROUP group me STREAMS x >", "XTRIM x MAXLEN 0", "PFADD p x",
    "EVAL return(redis.call('incr','n')) 0", "BITFIELD n INCRBY u8 0 1", "SWAPDB 0 1",
]  # fmt: skip

NEVER_TWICE = [
    "EXPIRE s 100", "GETEX s EX 100", "SET s new KEEPTTL", "SET s new XX EX 100", "SET s new EX 100 KEEPTTL",
    "SET s new IFEQ value", "SET s new FUTURE", "FLUSHALL", "PUBLISH news hello", "SORT l ALPHA STORE no",
    "GEORADIUS g 1 1 1 km STORE no", "GEORADIUSBYMEMBER g p 1 km STOREDIST no", "BITOP NOT no s", "SINTERSTORE no m",
    "ZUNIONSTORE no 1 z", "WAIT 0 1", "WAITAOF 0 0 1", "BLPOP l 1", "CONFIG SET maxmemory 0", "CONFIG RESETSTAT",
    "CLIENT KILL ID 0", "CLIENT REPLY OFF", "CLIENT CACHING yes", "MULTI", "EXEC", "DISCARD", "QUIT", "MONITOR",
    "SAVE", "ACL LOG", "EVALSHA abc 0", "FCALL f 0", "HGETEX h EX 100 FIELDS 1 f", "HEXPIRE h 100 FIELDS 1 f",
    "HIMPORT SET k f v", "VADD v VALUES 1 1 e", "JSON.GET k", "JSON.SET k $ 1", "FT.SEARCH idx q", "NOSUCH k",
    "CLIENT NOSUCH", "CLIENT", "",
]  # fmt: skip


def words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


@pytest.mark.parametrize("line", TWICE_IS_ANOTHER_THING + NEVER_TWICE)
def test_what_may_make_a_difference_is_not_repeated(line: str) -> None:
    """What changes more the second time or is answered otherwise, what might, and whatever isn't known."""
    assert not repeatable(words(line))


def test_scripts_and_functions_that_only_read_are_repeated() -> None:
    """The server sees to it that they write nothing."""
    for name in ("EVAL_RO", "EVALSHA_RO", "FCALL_RO"):
        assert repeatable((name, "f", 1, "k"))
        assert not repeatable((name.removesuffix("_RO"), "f", 1, "k"))


def test_a_value_is_not_an_option() -> None:
    """What stands where a value stands is one, whatever it says."""
    assert repeatable(("SET", "NX", "GET"))
    assert repeatable(("SET", "k", b"KEEPTTL", "EX", 10))
    assert repeatable(("SET", memoryview(b"k"), 3.5, b"pxat", 10))


class Outcome(NamedTuple):
    replies: list[Any]
    data: dict[Any, Any]


def ask(connection: redis.Connection, *args: Any) -> Any:
    connection.send_command(*args)
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return str(error)


def outcome(server: embedded.Server, commands: list[tuple[str, ...]], times: int) -> Outcome:
    """The replies of the last run, each over a new connection, and all that is in the server afterwards."""
    connection = redis.Connection(server.host, server.port, protocol=2)
    try:
        for args in (("FLUSHALL",), *SETUP):
            ask(connection, *args)
        replies: list[Any] = []
        for _ in range(times):
            connection.disconnect()
            replies = [ask(connection, *args) for args in commands]
        connection.disconnect()
        data = {}
        for db in (0, 1):
            ask(connection, "SELECT", db)
            for key in ask(connection, "KEYS", "*"):
                data[db, key] = (ask(connection, "DUMP", key), ask(connection, "TTL", key) > 0)
        return Outcome(replies, data)
    finally:
        connection.disconnect()


@pytest.mark.parametrize("line", TWICE_IS_ONCE)
def test_what_is_repeated_makes_no_difference(redis_server: embedded.Server, line: str) -> None:
    """On the server: after two runs the data and the last reply are those of one."""
    assert repeatable(words(line))
    assert outcome(redis_server, [words(line)], 2) == outcome(redis_server, [words(line)], 1)


@pytest.mark.parametrize("line", TWICE_IS_ANOTHER_THING)
def test_the_difference_would_be_seen(redis_server: embedded.Server, line: str) -> None:
    """On the server: these do make a difference, and `outcome` tells."""
    assert outcome(redis_server, [words(line)], 2) != outcome(redis_server, [words(line)], 1)


# -- pipelines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "culprit"),
    [
        ([], None),
        (["GET s", "GET n"], None),
        (["MULTI", "SET s 1", "GET s", "EXEC"], None),
        (["SET s 1", "SETEX n 10 1", "MSET a 1 b 2", "HMSET h f v"], None),
        (["SELECT 1", "SET s 1", "CLIENT SETNAME x"], None),
        (["GET s", "MULTI", "GET n", "DISCARD"], None),
        (["EXEC"], "EXEC"),
        (["GET s", "DISCARD"], "DISCARD"),
        (["GET s", "MULTI", "GET n"], "MULTI"),
        (["MULTI", "EXEC", "EXEC"], "EXEC"),
        (["MULTI", "GET s", "INCR n", "DEL s", "EXEC"], "INCR n"),
        (["GET s", "SET s 1"], "SET s 1"),
        (["DBSIZE", "MSET s 1"], "MSET s 1"),
        (["SET no 1 XX", "SET no 2"], "SET no 2"),
        (["SETRANGE s 1 x", "SET s longer"], "SET s longer"),
        (["SCRIPT EXISTS abc", "SCRIPT LOAD return"], "SCRIPT LOAD return"),
        (["JSON.GET k"], "JSON.GET k"),
    ],
)
def test_a_pipeline_is_repeated_as_a_whole(lines: list[str], culprit: str | None) -> None:
    """Not with a command in it that isn't, with half a transaction, or with a write after what sees the data."""
    commands = [words(line) for line in lines]
    assert all_repeatable(commands) == (culprit is None)
    assert first_unrepeatable(commands) == (culprit and words(culprit))


# What subscribes is refused in company, by RESP2 at least, and so would be all the rest.
IN_PIPELINES = [line for line in TWICE_IS_ONCE if not line.startswith("SUBSCRIBE")]


@given(st.lists(st.sampled_from(IN_PIPELINES), max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_repeated_pipeline_makes_no_difference(redis_server: embedded.Server, lines: list[str]) -> None:
    """On the server, for pipelines of what may run twice alone: those called repeatable may, too."""
    commands = [words(line) for line in lines]
    assume(all_repeatable(commands))
    assert outcome(redis_server, commands, 2) == outcome(redis_server, commands, 1)


# -- how long it waits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "seconds"),
    [
        (("BLPOP", "k", "l", 8), 8.0),
        (("blpop", "k", b"0.5"), 0.5),
        (("BRPOP", "k", 0), math.inf),
        (("BRPOPLPUSH", "k", "l", "2"), 2.0),
        (("BLMOVE", "k", "l", "LEFT", "RIGHT", 2.5), 2.5),
        (("BLMOVEM", "k", "l", "LEFT", "RIGHT", 3), 3.0),
        (("BLMOVEM", "k", "l", "LEFT", "RIGHT", 3, "COUNT", 10, "BULK"), 3.0),
        (("BZPOPMIN", "k", memoryview(b"4")), 4.0),
        (("BZPOPMAX", "k", 4), 4.0),
        (("BLMPOP", 5, 1, "9", "LEFT"), 5.0),
        (("BZMPOP", "0", 1, "k", "MIN", "COUNT", 3), math.inf),
        (("WAIT", 1, 1500), 1.5),
        (("WAIT", 1, 0), math.inf),
        (("WAITAOF", 1, 0, b"250"), 0.25),
        (("XREAD", "BLOCK", 100, "STREAMS", "k", "$"), 0.1),
        (("XREAD", "COUNT", 1, b"block", b"0", "STREAMS", "k", "$"), math.inf),
        (("XREAD", "STREAMS", "BLOCK", "5"), None),
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "BLOCK", 2000, "NOACK", "STREAMS", "k", ">"), 2.0),
        (("XREADGROUP", "GROUP", "STREAMS", "BLOCK", "BLOCK", 2000, "STREAMS", "k", ">"), 2.0),
        (("XREADGROUP", "CLAIM", 10, "BLOCK", 20, "GROUP", "g", "c", "STREAMS", "k", ">"), 0.02),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "k", ">"), None),
        (("GET", "k"), None),
        (("BLOCK", "k"), None),
        ((), None),
    ],
)
def test_a_command_says_how_long_the_server_is_to_wait(args: tuple[object, ...], seconds: float | None) -> None:
    """In seconds, whatever the command counts in; 0 is for ever; `None` for what doesn't wait."""
    asked = blocks_for(args)
    assert asked == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "line",
    [
        "BLPOP 0", "BLPOP k x", "BLPOP k -1", "BLPOP k nan", "BLPOP k inf", "BRPOPLPUSH k l 0 0",
        "BLMOVE k l LEFT RIGHT", "BLMOVE k l LEFT RIGHT 0 0", "WAIT 0", "WAIT 1 0 0", "WAIT 1 -1", "XREAD BLOCK",
        "XREAD BLOCK x STREAMS k $", "XREAD BLOCK -1 STREAMS k $", "XREADGROUP BLOCK 0 STREAMS k >", "BZPOPMIN k -0.5",
    ],
)  # fmt: skip
def test_a_malformed_command_does_not_wait(redis_server: embedded.Server, line: str) -> None:
    """The server answers it with an error at once."""
    assert blocks_for(words(line)) is None
    client = redis.Redis(host=redis_server.host, port=redis_server.port, socket_timeout=30.0)
    with client, pytest.raises(redis.ResponseError):
        client.execute_command(*words(line))


# -- sharing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["GET k", "set k v", "PING", "EVALSHA abc 0", "XREAD STREAMS k 0", "SORT k STORE l",
                                  "XREADGROUP GROUP g BLOCK STREAMS k >", "CLIENT LIST", "CONFIG GET x"])  # fmt: skip
def test_ordinary_commands_share_a_connection(line: str) -> None:
    """Theirs is the next reply, and nothing is left behind."""
    assert shares(words(line))


@pytest.mark.parametrize(
    "line",
    [
        "BLPOP k 1", "BLPOP k x", "BLPOP", "WAIT 1 1", "XREAD BLOCK 1 STREAMS k $", "XREAD BLOCK x STREAMS k $",
        "XREAD COUNT 1 BLOCK", "XREADGROUP GROUP g c BLOCK 0 STREAMS k >", "SELECT 0", "MULTI", "EXEC", "WATCH k",
        "UNWATCH", "DISCARD", "SUBSCRIBE c", "PUNSUBSCRIBE", "MONITOR", "PSYNC ? -1", "AUTH x", "HELLO 3", "RESET",
        "QUIT", "ASKING", "READONLY", "CLIENT SETNAME x", "CLIENT REPLY OFF", "CLIENT TRACKING ON", "SCRIPT DEBUG YES",
        "HIMPORT SET k f v", "JSON.GET k", "NOSUCH", "",
    ],
)  # fmt: skip
def test_others_have_one_to_themselves(line: str) -> None:
    """What may wait, be it malformed; what changes the session or takes it over; and whatever isn't known."""
    assert not shares(words(line))


@pytest.mark.parametrize("name", sorted(table.RESCUES))
def test_a_rescue_is_never_queued_behind_what_it_is_to_end(name: str) -> None:
    """SCRIPT KILL and its kind don't share, however they are spelled and whatever their arguments are."""
    for arguments in ([], ["ABORT"], ["TO", "host", "1", "FORCE"], ["ID", "7"]):
        for args in spellings([*name.split(), *arguments]):
            assert not shares(args), args
            assert args[0] not in PLAIN, args


def test_read_only_is_what_changes_nothing() -> None:
    """Neither data nor the server nor the session; by its options, too."""
    for line in ("GET k", "INFO", "PING", "XREAD BLOCK 0 STREAMS k $", "SORT k", "GEORADIUS k 1 1 1 km", "EVAL_RO x 0"):
        assert read_only(words(line)), line
    for line in ("SET k v", "SORT k STORE l", "SELECT 1", "WATCH k", "SUBSCRIBE c", "SCRIPT LOAD x", "CONFIG SET a b",
                 "EVAL x 0", "WAIT 0 0", "JSON.GET k", ""):  # fmt: skip
        assert not read_only(words(line)), line

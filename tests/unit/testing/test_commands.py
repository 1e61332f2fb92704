"""The in-memory server answers as Redis does: the same commands, sent to both, get the same replies."""

from __future__ import annotations

import re
from typing import Any

import pytest

from redpool.embedded import Server
from redpool.testing import MemoryServer

from .wire import ErrorReply, Wire

# Commands of one client, one a line; what differs from server to server is not asked.
TALKS = {
    "strings": """
        SET a 1 | GET a | GET nothing | SET a 2 NX | SET a 3 XX | SET b 1 XX | SET a 4 GET | SET c 1 NX GET | GET c
        INCR a | INCRBY a 10 | APPEND a 0 | GET a | INCR nothing | APPEND word x | INCR word | MSET d 1 e 2
        MGET a d nothing e | EXISTS a d nothing a | DEL a d nothing | EXISTS a | DBSIZE | SET a 1 EX 100 | SET a 1 PX 9
        SET a 1 EX 0 | SET a 1 EX x | SET a 1 FROG | SET a | GET a b | MSET a""",
    "lists": """
        RPUSH l a b c | LPUSH l y x | LRANGE l 0 -1 | LRANGE l 1 2 | LRANGE l -2 -1 | LRANGE l 3 1 | LRANGE l 0 -9
        LRANGE l 9 12 | LRANGE l -99 0 | LLEN l | LLEN nothing | LPOP l | RPOP l | LPOP l 2 | LPOP l 5 | LPOP l
        LPOP l 2 | EXISTS l | RPUSH l a | BLPOP nothing l 1 | BRPOP l 0.001 | BLPOP l x | BLPOP l -1""",
    "hashes": "HSET h a 1 b 2 | HSET h a 3 c 4 | HGET h a | HGET h nothing | HGET nothing a | HSET h a | EXISTS h",
    "kinds": """
        SET s 1 | LPUSH s 1 | HSET s a 1 | LLEN s | RPUSH l 1 | GET l | INCR l | MGET s l | SET l 1 | GET l | LPOP l""",
    "databases": """
        SET a 1 | SELECT 5 | GET a | SET b 1 | DBSIZE | FLUSHDB | DBSIZE | SELECT 0 | DBSIZE | FLUSHALL | DBSIZE
        SELECT 16 | SELECT x""",
    "transactions": """
        MULTI | SET a 1 | INCR a | LPUSH a 1 | GET nothing | BLPOP nothing 0 | EXEC | EXEC | DISCARD | MULTI | MULTI
        WATCH a | FROG | EXEC | GET a | MULTI | SET a 9 | DISCARD | GET a | WATCH a | SET a 5 | MULTI | GET a | EXEC
        WATCH a | SET a 6 | UNWATCH | MULTI | GET a | EXEC | MULTI | GET | EXEC | WATCH a nothing | MULTI | EXEC""",
    "subscriptions": """
        SUBSCRIBE a b | PSUBSCRIBE a* | PING | PING x | UNSUBSCRIBE a | GET a | UNSUBSCRIBE | PUNSUBSCRIBE | PING
        UNSUBSCRIBE | PUNSUBSCRIBE x | GET a""",
    "connection": """
        PING | PING x | ECHO x | CLIENT GETNAME | CLIENT SETNAME me | CLIENT GETNAME | CLIENT FROG | CLIENT ID x
        CLIENT KILL 1.2.3.4:5 | CLIENT KILL ID 987654 | CLIENT KILL FROG 1 | HELLO 4 | HELLO x | AUTH x | AUTH x y
        AUTH default x | FROG | FROG x | PING x y | ECHO""",
}  # fmt: skip


def transcript(port: int, protocol: int, lines: str) -> list[Any]:
    """What the server says to each command; of errors only the kind, as texts differ among versions."""
    said: list[Any] = []
    with Wire(port) as wire:
        wire.ask("HELLO", str(protocol))
        for command in lines.replace("\n", "|").split("|"):
            if not (parts := command.split()):
                continue
            wire.send(*parts)
            said += [(command.strip(), kinds(wire.read())) for _ in range(answers(parts))]
    return said


def answers(parts: list[str]) -> int:
    """How many replies a command has."""
    return max(1, len(parts) - 1) if "SUBSCRIBE" in parts[0] else 1


def kinds(reply: Any) -> Any:
    """A reply with the texts of errors cut down to their kind."""
    if isinstance(reply, list):
        return [kinds(each) for each in reply]
    return str(reply).split()[0] if isinstance(reply, ErrorReply) else reply


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("lines", TALKS.values(), ids=TALKS)
@pytest.mark.usefixtures("redis_url")
def test_it_answers_as_redis_does(server: MemoryServer, redis_server: Server, lines: str, protocol: int) -> None:
    """Word for word, but for the texts of errors."""
    with Wire(redis_server.port) as wire:
        if int(re.findall(rb"redis_version:(\d+)", wire.ask("INFO"))[0]) < 7:
            pytest.skip("its model is Redis 7")
    theirs = transcript(redis_server.port, protocol, lines)
    assert transcript(server.port, protocol, lines) == theirs
    assert len(theirs) > 3


@pytest.mark.parametrize("name", ["HELLO", "CLIENT LIST", "INFO", "TIME", "CLIENT ID", "CLIENT TRACKING ON"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_what_differs_from_server_to_server_has_the_same_form(
    server: MemoryServer, redis_server: Server, name: str, protocol: int
) -> None:
    """The same type of reply."""
    forms = []
    for port in (server.port, redis_server.port):
        with Wire(port) as wire:
            wire.ask("HELLO", str(protocol))
            forms.append(type(wire.ask(*name.split())))
    assert forms[0] is forms[1]


def test_every_command_promised_is_known(server: MemoryServer) -> None:
    """None of the table's names is refused as unknown."""
    promised = """
        HELLO AUTH PING ECHO SELECT GET SET DEL EXISTS INCR INCRBY APPEND MGET MSET LPUSH RPUSH LPOP RPOP LLEN LRANGE
        BLPOP BRPOP HSET HGET FLUSHDB FLUSHALL DBSIZE TIME INFO MULTI EXEC DISCARD WATCH UNWATCH SUBSCRIBE UNSUBSCRIBE
        PSUBSCRIBE PUNSUBSCRIBE PUBLISH CLIENT QUIT"""
    unknown = []
    for name in [*promised.split(), "FROG"]:
        with Wire(server.port) as wire:
            if "unknown command" in str(wire.ask(name)):
                unknown.append(name)
    assert unknown == ["FROG"]

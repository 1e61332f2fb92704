"""The table of commands, held against each server found and against redis-py."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import redis
import redis.commands.cluster
import redis.commands.core
import redis.commands.sentinel

from redpool import embedded
from redpool.wire import table
from redpool.wire.commands import PLAIN, command_name, repeatable

GROUPS = ("READS", "LOOKS", "OVERWRITES", "REWRITES", "WRITES", "ACTS", "SETTINGS", "SUBSCRIPTIONS", "APART")


def test_a_command_stands_in_one_group() -> None:
    """Otherwise two answers about it could contradict each other."""
    for one, other in itertools.combinations(GROUPS, 2):
        assert not getattr(table, one) & getattr(table, other), (one, other)
    assert frozenset().union(*(getattr(table, group) for group in GROUPS)) == table.KNOWN
    assert table.WRITE_WHEN_STORING <= table.WRITES
    assert table.WAITS.keys() <= table.KNOWN
    assert table.RESCUES <= table.ACTS | table.APART


# -- what the servers say ----------------------------------------------------------------------------------------------

# Of these `COMMAND` says "pubsub", or counts them among those on connections; they leave the connection as it is.
HARMLESS = table.LOOKS | {"PUBLISH", "SPUBLISH", "CLIENT KILL", "CLIENT PAUSE", "CLIENT UNBLOCK", "CLIENT UNPAUSE"}

# What browsers send; old servers list it, to hang up.
NOT_COMMANDS = {"HOST:", "POST"}


class Listed(NamedTuple):
    """What a server says of one of its commands."""

    arity: int
    flags: set[str]
    categories: set[str]


class Catalogue(NamedTuple):
    server: str
    commands: dict[str, Listed]


def entries(rows: list[Any]) -> Iterator[tuple[str, Listed]]:
    for row in rows:
        yield row[0].upper().replace("|", " "), Listed(row[1], set(row[2]), set(row[6]))
        if len(row) > 9:
            yield from entries(row[9])


@pytest.fixture(scope="module", params=embedded.find_servers(), ids=lambda path: path.strip("/").replace("/", "-"))
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    """What a server says of its commands; before 7.0 it doesn't list subcommands."""
    with embedded.start(binary=request.param) as server:
        connection = redis.Connection(server.host, server.port, protocol=2, decode_responses=True)
        try:
            connection.send_command("COMMAND")
            commands = dict(entries(connection.read_response()))
        finally:
            connection.disconnect()
        names = {name: listed for name, listed in commands.items() if name not in NOT_COMMANDS and "." not in name}
        return Catalogue(f"{server.binary} {server.version}", names)


def test_every_command_of_the_server_is_known(catalogue: Catalogue) -> None:
    """But for those of modules. After an upgrade of the server this says what the table lacks."""
    missing = sorted(catalogue.commands.keys() - table.KNOWN - table.CONTAINERS)
    assert not missing, f"{catalogue.server} has commands that the table lacks: {', '.join(missing)}"
    assert len(catalogue.commands) > 200


def test_what_reads_is_not_a_write_on_the_server(catalogue: Catalogue) -> None:
    """`readonly` there is a read here, and the other way round; a look is no write."""
    listed = {name: each.flags for name, each in catalogue.commands.items() if name not in table.CONTAINERS}
    assert {name for name, flags in listed.items() if "readonly" in flags} == table.READS & listed.keys()
    assert not [name for name in table.LOOKS & listed.keys() if "write" in listed[name]]


def test_what_is_repeated_is_no_write_on_the_server(catalogue: Catalogue) -> None:
    """But for those that write the same again."""
    same = table.OVERWRITES | table.REWRITES | table.WRITE_WHEN_STORING | {"SET"}
    for name, listed in catalogue.commands.items():
        if repeatable((name, "1", "1")) and name not in same:
            assert "write" not in listed.flags, name


def test_what_waits_is_known_with_its_number_of_words(catalogue: Catalogue) -> None:
    """`blocking` there is in the table of waits here, with the same arity."""
    blocking = {name for name, each in catalogue.commands.items() if "blocking" in each.flags}
    assert blocking <= table.WAITS.keys()
    for name in table.WAITS.keys() & catalogue.commands.keys():
        assert table.WAITS[name].arity == catalogue.commands[name].arity, name


def test_what_concerns_the_connection_is_not_plain(catalogue: Catalogue) -> None:
    """Whatever a server counts among `pubsub` or `@connection`, or keeps out of transactions, unless it is harmless."""
    for name, listed in catalogue.commands.items():
        if "pubsub" in listed.flags or "@connection" in listed.categories:
            assert name not in PLAIN or name in HARMLESS, name
        if "no_multi" in listed.flags:
            assert name not in PLAIN or name == "SAVE", name


# -- what redis-py sends -----------------------------------------------------------------------------------------------

SENDING = {"execute_command", "send_command", "immediate_execute_command"}

# What begins a list of arguments there, and is no command.
OPTIONS = {"LIBRARYNAME", "OFF", "ON", "REPLACE"}

# What a module knows that servers no longer have, and redis-py before 6 sends.
OF_GEARS = {"REDISGEARS_2.REFRESHCLUSTER", "TFCALL", "TFCALLASYNC", "TFUNCTION"}


def leading_words(values: Iterable[ast.expr]) -> Iterator[str]:
    for each in values:
        if not (isinstance(each, ast.Constant) and isinstance(each.value, str)):
            return
        yield each.value


def commands_sent(module: ModuleType) -> Iterator[str]:
    """The names that stand at the head of what is sent, or of a list that is put together to be sent."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SENDING:
            values = node.args
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.List):
            values = node.value.elts
        words = list(leading_words(values))
        if words and words[0].isupper():
            yield command_name(words)


def test_every_command_that_redis_py_sends_is_known() -> None:
    """But for those of modules. After an upgrade of redis-py this says what the table lacks."""
    modules = (redis.commands.core, redis.commands.cluster, redis.commands.sentinel, redis.client, redis.connection)
    sent = {name for module in modules for name in commands_sent(module)}
    missing = sorted(sent - table.KNOWN - table.CONTAINERS - OPTIONS - OF_GEARS)
    assert not missing, f"redis-py {redis.__version__} sends what the table lacks: {', '.join(missing)}"
    assert len(sent) > 300

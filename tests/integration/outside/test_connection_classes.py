"""What a user's connection class does to commands and replies is done, over every kind of pool; so are patches."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import redis.asyncio.connection as aio
import redis.connection
from redis._parsers import Encoder

import redpool.asyncio.sentinel
import redpool.sync.sentinel
from redpool.redispy import internals
from support import faces
from support.faces import Asyncio, Face, MultiplexedAsyncio, MultiplexedThreads, Threads

KEYED = ("SET", "GET", "INCRBY")


def prefixed(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A command with a tenant's name before its key."""
    return (args[0], f"tenant:{args[1]}", *args[2:]) if args[0] in KEYED else args


class SendsCommands(redis.connection.Connection):
    """Prefixes what goes out as single commands."""

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        super().send_command(*prefixed(args), **kwargs)


class SendsCommandsAsync(aio.Connection):
    """The same on an event loop."""

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        await super().send_command(*prefixed(args), **kwargs)


class PacksCommands(redis.connection.Connection):
    """Prefixes what is packed."""

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        packed = self.pack_command(*args)
        self.send_packed_command(packed, check_health=kwargs.get("check_health", True))

    def pack_command(self, *args: Any) -> Any:
        return super().pack_command(*prefixed(args))


class PacksCommandsAsync(aio.Connection):
    """The same on an event loop."""

    def pack_command(self, *args: Any) -> Any:
        return super().pack_command(*prefixed(args))


class OwnPacker(redis.connection.Connection):
    """Has a packer that prefixes."""

    def _construct_command_packer(self, packer: Any) -> Any:
        inner = super()._construct_command_packer(packer)

        class Packer:
            def pack(self, *args: Any) -> Any:
                return inner.pack(*prefixed(args))

        return Packer()


def stored(kind: Face, at: dict[str, Any]) -> set[bytes]:
    """The names of the keys that the server has, as redis-py sees them."""
    with redis.Redis(**at) as plain:
        return set(plain.keys())


@pytest.fixture
def at(redis_url: str) -> dict[str, Any]:
    """Where the server is."""
    return dict(redis.connection.parse_url(redis_url))


@pytest.mark.parametrize("how", ["send_command", "pack_command", "a packer"])
def test_a_prefix_reaches_the_server(kind: Face, at: dict[str, Any], how: str) -> None:
    """The class has the word that it has over redis-py's own pool, and none of its replies is lost or left over."""
    classes: dict[str, tuple[Any, Any]] = {
        "send_command": (SendsCommands, SendsCommandsAsync),
        "pack_command": (PacksCommands, PacksCommandsAsync),
        "a packer": (OwnPacker, PacksCommandsAsync),
    }
    client = kind.client(kind.pool(connection_class=classes[how][kind.asynchronous], **at))
    assert client.set("key", "value") is True
    assert client.get("key") == b"value"
    assert client.incr("n") == 1
    assert stored(kind, at) == {b"tenant:key", b"tenant:n"}
    stats = client.connection_pool.stats()
    assert (stats.open, stats.in_use, dict(stats.closed)) == (1, 0, {})


def test_what_packs_pipelines_is_asked(kind: Face, at: dict[str, Any]) -> None:
    """A class that packs several commands in its own way has its way with a pipeline."""

    class ForThreads(redis.connection.Connection):
        def pack_commands(self, commands: Any) -> Any:
            return super().pack_commands([prefixed(each) for each in commands])

    class ForTasks(aio.Connection):
        def pack_commands(self, commands: Any) -> Any:
            return super().pack_commands([prefixed(each) for each in commands])

    client = kind.client(kind.pool(connection_class=ForTasks if kind.asynchronous else ForThreads, **at))
    assert client.pipeline().set("key", "value").get("key").execute() == [True, b"value"]
    assert stored(kind, at) == {b"tenant:key"}


def test_what_reads_replies_is_asked(kind: Face, at: dict[str, Any]) -> None:
    """A class that reads replies in its own way need not know what redis-py doesn't ask of it."""

    class ForThreads(redis.connection.Connection):
        def read_response(self, disable_decoding: bool = False) -> Any:  # type: ignore[override]
            reply = super().read_response(disable_decoding)
            return reply.upper() if isinstance(reply, bytes) and reply.islower() else reply

    class ForTasks(aio.Connection):
        async def read_response(self, disable_decoding: bool = False) -> Any:  # type: ignore[override]
            reply = await super().read_response(disable_decoding)
            return reply.upper() if isinstance(reply, bytes) and reply.islower() else reply

    client = kind.client(kind.pool(connection_class=ForTasks if kind.asynchronous else ForThreads, **at))
    client.set("key", "value")
    assert client.get("key") == b"VALUE"


def test_a_parser_derived_from_hirediss_is_asked(kind: Face, at: dict[str, Any]) -> None:
    """It isn't taken for hiredis's own, which redpool feeds itself."""
    base: Any = redis.connection._HiredisParser if not kind.asynchronous else aio._AsyncHiredisParser  # type: ignore[attr-defined]

    class ForThreads(base):  # type: ignore[misc]
        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            reply = super().read_response(*args, **kwargs)
            return b"read" if reply == b"value" else reply

    class ForTasks(base):  # type: ignore[misc]
        async def read_response(self, *args: Any, **kwargs: Any) -> Any:
            reply = await super().read_response(*args, **kwargs)
            return b"read" if reply == b"value" else reply

    client = kind.client(kind.pool(parser_class=ForTasks if kind.asynchronous else ForThreads, **at))
    client.set("key", "value")
    assert client.get("key") == b"read"


@pytest.mark.parametrize("how", ["a class", "an encoding"])
def test_an_encoder_is_asked(kind: Face, at: dict[str, Any], how: str) -> None:
    """What redis-py's connections on an event loop make of a value, by class or by name, reaches the server."""

    class Reversing(Encoder):
        def encode(self, value: Any) -> Any:
            return super().encode(value)[::-1] if value == "value" else super().encode(value)

    if not kind.asynchronous:
        pytest.skip("redis-py's connections of threads have no encoder_class, and hiredis packs for them")
    options: dict[str, Any] = {"encoder_class": Reversing} if how == "a class" else {"encoding": "latin-1"}
    client = kind.client(kind.pool(**options, **at))
    client.set("key", "value" if how == "a class" else "\xe4")
    with redis.Redis(**at) as plain:
        assert plain.get("key") == (b"eulav" if how == "a class" else b"\xe4")


def tracking(function: Any, calls: list[str]) -> Any:
    """The function, which notes each call but those of a handshake: the pool may be connecting beside the test."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not getattr(args[0], "__dict__", {}).get("handshaking"):
            calls.append(function.__name__)
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("method", ["send_command", "send_packed_command", "read_response"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_patch_onto_redis_pys_connections(
    kind: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch, method: str, when: str
) -> None:
    """It runs with each command, whether it came before the first one or after; without it, callers share again."""
    client, calls = kind.client(kind.pool(**at)), list[str]()
    pool = client.connection_pool
    if when == "after":
        client.ping()
    owner = (aio if kind.asynchronous else redis.connection).Connection
    monkeypatch.setattr(owner, method, tracking(getattr(owner, method), calls))
    if when == "after":  # as maintenance does within a second
        if not kind.asynchronous:
            pool._factory.look_again()
        assert not (hasattr(pool, "may_share") and pool.may_share())
    client.ping()
    calls.clear()
    client.get("key")
    assert calls == [method]
    monkeypatch.undo()
    if hasattr(pool, "may_share"):
        assert pool.may_share()
        before = pool.stats().commands
        client.get("key")
        assert pool.stats().commands == before + 1


@pytest.mark.parametrize("shell", [MultiplexedThreads, MultiplexedAsyncio], ids=lambda shell: shell.name)
def test_maintenance_sees_a_patch(shell: type[Face], at: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where connections are shared already, it is seen within about a second: they are retired."""
    face = shell()
    pool = face.pool(**at)
    client = face.client(pool)
    client.ping()
    assert pool.sharing
    owner = (aio if face.asynchronous else redis.connection).Connection
    monkeypatch.setattr(owner, "send_command", tracking(owner.send_command, []))
    assert faces.eventually(lambda: not pool.sharing and pool.stats().in_use == 0)
    face.close()


@pytest.mark.parametrize("shell", [Threads, Asyncio], ids=lambda shell: shell.name)
def test_a_connection_that_is_open_sees_a_patch(
    shell: type[Face], at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within about a second, both when it comes and when it goes, and nothing is connected anew for it."""
    face, calls = shell(), list[str]()
    pool = face.pool(**at)
    client = face.client(pool)
    client.ping()

    def passed_by() -> bool:
        calls.clear()
        client.ping()
        return not calls

    owner = (aio if face.asynchronous else redis.connection).Connection
    monkeypatch.setattr(owner, "read_response", tracking(owner.read_response, calls))
    assert faces.eventually(lambda: not passed_by())
    monkeypatch.undo()
    assert faces.eventually(passed_by)
    assert pool.stats().connected == 1
    face.close()


def test_the_pools_of_a_sentinel_share_over_redis_pys_way_to_read() -> None:
    """redis-py's own class for a Sentinel's masters reads in its own way; one derived by a user may send so, too."""
    sentinel: Any = object()
    for module in (redpool.sync.sentinel, redpool.asyncio.sentinel):
        pool_class: Any = module.SentinelConnectionPool
        derived = type("Derived", (module.ManagedConnection,), {"send_command": lambda self, *args: None})
        assert pool_class("mymaster", sentinel).may_share()
        assert not pool_class("mymaster", sentinel, connection_class=derived).may_share()


@pytest.mark.parametrize(
    ("where", "method"),
    [
        ("class", "execute_command"),
        ("class", "parse_response"),
        *(("instance", name) for name in ("execute_command", *internals.CLIENT_METHODS)),
    ],
)
def test_a_patch_onto_redis_pys_client(
    kind: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: str, method: str
) -> None:
    """It runs with each command from the next one on, and no more once it is gone."""
    client, calls = kind.client(kind.pool(**at)), list[str]()
    owner = kind.redis.Redis if where == "class" else faces._unwrapped(client)
    if not hasattr(owner, method):
        pytest.skip("redis-py's client for event loops has none")
    client.ping()
    monkeypatch.setattr(owner, method, tracking(getattr(owner, method), calls))
    client.get("key")
    assert calls == [method]
    monkeypatch.undo()
    client.get("key")
    assert calls == [method]


def test_another_clients_method_runs_for_that_client(kind: Face, at: dict[str, Any]) -> None:
    """It is of the same class, but what it makes of a reply is the other client's affair."""
    pool = kind.pool(**at)
    client, other = kind.client(pool), kind.client(pool)
    faces._unwrapped(other).set_response_callback("GET", lambda reply, **_: ("other", reply))
    faces._unwrapped(client).parse_response = faces._unwrapped(other).parse_response
    client.set("key", "value")
    assert client.get("key") == ("other", b"value")


@pytest.mark.parametrize("method", internals.PIPELINE_METHODS)
def test_a_patch_onto_redis_pys_pipeline(
    kind: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The same with a pipeline."""
    client, calls = kind.client(kind.pool(**at)), list[str]()
    owner = kind.redis.client.Pipeline
    monkeypatch.setattr(owner, method, tracking(getattr(owner, method), calls))
    assert client.pipeline(transaction=method != "_execute_pipeline").set("key", "value").execute() == [True]
    assert calls
    monkeypatch.undo()
    assert client.pipeline().get("key").execute() == [b"value"]


def test_a_connection_is_of_the_class_that_was_asked_for(kind: Face, at: dict[str, Any]) -> None:
    """To those that compare classes, as rq does; `type` tells that more was mixed in."""
    asked = SendsCommandsAsync if kind.asynchronous else SendsCommands
    pool = kind.pool(connection_class=asked, **at)
    connection = pool.get_connection()
    held = faces._unwrapped(connection)
    assert held.__class__ == asked
    assert isinstance(held, asked)
    pool.release(connection)

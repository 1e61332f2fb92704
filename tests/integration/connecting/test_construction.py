"""How a pool is made: every option, every constructor, and nonsense refused at the door."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.cache import CacheConfig
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider

import redpool
from redpool import embedded
from redpool.redispy.internals import MaintNotificationsConfig, has
from support.faces import Asyncio, Face, Threads

REJECTED: list[tuple[str, Any, type[Exception]]] = [
    ("max_connections", 0, ValueError),
    ("max_connections", -3, ValueError),
    ("max_connections", 2.5, ValueError),
    ("max_connections", "10", ValueError),
    ("max_connections", True, ValueError),
    ("timeout", -0.5, ValueError),
    ("timeout", float("nan"), ValueError),
    ("timeout", "5", TypeError),
    ("max_waiting", -1, ValueError),
    ("max_waiting", 1.5, TypeError),
    ("min_idle", -1, ValueError),
    ("min_idle", None, TypeError),
    ("min_idle", 51, ValueError),
    ("max_idle_time", -1, ValueError),
    ("max_idle_time", "soon", TypeError),
    ("max_lifetime", 0, ValueError),
    ("max_lifetime", -1.0, ValueError),
    ("lifetime_jitter", 1, ValueError),
    ("lifetime_jitter", -0.1, ValueError),
    ("lifetime_jitter", None, TypeError),
    ("max_connecting", 0, ValueError),
    ("max_connecting", None, TypeError),
    ("validate_after_idle", -1, ValueError),
    ("validate_after_idle", None, TypeError),
    ("ping_after_idle", -1, ValueError),
    ("ping_after_idle", "30", TypeError),
    ("order", "newest", ValueError),
    ("order", None, ValueError),
    ("leak_after", 0, ValueError),
    ("leak_after", -1, ValueError),
    ("retry_sent", "sometimes", ValueError),
    ("name", 7, TypeError),
    ("service", 7, TypeError),
    ("service", "", ValueError),
    ("warn_wait", 0, ValueError),
    ("instruments", "tracer", TypeError),
    ("instruments", 7, TypeError),
]


@pytest.mark.parametrize(("option", "value", "error"), REJECTED, ids=lambda each: str(each))
def test_nonsense_is_refused_with_the_name_and_the_value(
    face: Face, option: str, value: Any, error: type[Exception]
) -> None:
    """An option that makes no sense is a `ValueError` or `TypeError` at construction, with its name and the value."""
    with pytest.raises(error) as caught:
        face.pool(**{option: value})
    assert option in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("max_idle_tme", "max_idle_time"), ("max_connection", "max_connections"), ("sockettimeout", "socket_timeout")],
)
def test_an_unknown_option_is_refused_with_a_suggestion(face: Face, wrong: str, right: str) -> None:
    """A misspelt option is refused at construction, by name and value, and the one that was meant is named."""
    with pytest.raises(TypeError, match=rf"{wrong}.*7.*{right}"):
        face.pool(**{wrong: 7})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of `__del__` in an earlier redis-py
def test_so_it_is_by_the_client_for_a_cluster() -> None:
    """Where redis-py would drop it without a word."""
    with pytest.raises(TypeError, match=r"max_conections.*7.*max_connections"):
        redpool.RedisCluster("127.0.0.1", 1, max_conections=7)  # type: ignore[call-overload]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
def test_what_is_an_option_of_other_clients_is_not_misspelt() -> None:
    """The client for a cluster drops it, as redis-py's does, and gets as far as to the server."""
    options: dict[str, Any] = {"single_connection_client": False}
    with pytest.raises(redis.exceptions.RedisClusterException, match="refused"):
        redpool.RedisCluster("127.0.0.1", 1, **options)


def test_an_unknown_option_like_none_goes_to_the_connection_class(face: Face) -> None:
    """Where nothing is close, the connection class judges, as in redis-py: the first caller gets its error."""
    with face.pool(zzzzqqq=7) as pool, pytest.raises(TypeError, match="zzzzqqq"):
        pool.get_connection()


@pytest.mark.needs("maintenance notifications on event loops")
@pytest.mark.parametrize("option", [{"path": "/nowhere"}, {"connection_class": dict}], ids=["path", "class"])
def test_maintenance_notifications_are_refused_in_redis_pys_words(face: Face, option: dict[str, Any]) -> None:
    """Where the connections can't have them and they were asked for, the error is the one of redis-py's pool."""
    aio = isinstance(face, Asyncio)
    theirs = redis.asyncio.ConnectionPool if aio else redis.ConnectionPool
    if "path" in option:
        option = {**option, "connection_class": (redis.asyncio if aio else redis).UnixDomainSocketConnection}
    option["maint_notifications_config"] = MaintNotificationsConfig(enabled=True)
    with pytest.raises(redis.RedisError) as expected:
        theirs(**option)
    with pytest.raises(redis.RedisError) as caught:
        face.pool(**option)
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("option", ["passwrod", "pasword", "passwd"])
def test_a_refused_option_never_shows_a_password(face: Face, option: str) -> None:
    """The message about a misspelt password does not contain it."""
    with pytest.raises((TypeError, ValueError)) as caught:
        face.pool(**{option: "s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://:s3cret/word@host:1/0", "redis://me:s3cret#word@host", "redis://:s3cret?@[h"])
def test_a_url_that_cannot_be_read_never_shows_a_password(face: Face, url: str) -> None:
    """What should have been quoted in it ends the host too soon, and a port is looked for in the password."""
    with pytest.raises(ValueError, match="host and port") as caught:
        face.pool_from_url(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


class OnlyThreads(CredentialProvider):
    """A provider that would block an event loop."""

    def get_credentials(self) -> tuple[str]:
        return ("s3cret",)


class OnlyLoops(CredentialProvider):
    """A provider for event loops alone."""

    async def get_credentials_async(self) -> tuple[str]:
        return ("s3cret",)


class CoroutineForThreads(CredentialProvider):
    """A provider whose method for threads is a coroutine function."""

    async def get_credentials(self) -> tuple[str]:  # type: ignore[override]
        return ("s3cret",)


MAINTENANCE: dict[str, Any] = {
    "maint_notifications_config": MaintNotificationsConfig(enabled=True),
    "host": "localhost",
    "protocol": 3,
}
KEY: dict[str, Any] = {"ssl_password": "s3cret", "connection_class": redis.asyncio.SSLConnection}
DISPATCHER: dict[str, Any] = {"event_dispatcher": object()}
ASKED_FOR: list[tuple[type[Face], str, dict[str, Any]]] = [
    (Threads, "client-side caching", {"cache_config": CacheConfig(), "protocol": 3}),
    (Threads, "events", DISPATCHER),
    (Threads, "maintenance notifications", MAINTENANCE),
    (Asyncio, "asynchronous credentials", {"credential_provider": CoroutineForThreads()}),
    (Asyncio, "events", DISPATCHER),
    (Asyncio, "maintenance notifications on event loops", MAINTENANCE),
    (Asyncio, "passwords of TLS keys on event loops", KEY),
]


@pytest.mark.parametrize(("kind", "feature", "options"), ASKED_FOR)
def test_an_option_for_what_redis_py_lacks_is_refused(kind: type[Face], feature: str, options: dict[str, Any]) -> None:
    """It is named at construction, with what it asks for; where redis-py has that, the option is taken."""
    face = kind()
    try:
        if has(feature):
            face.pool(**options)
        else:
            with pytest.raises(redis.RedisError, match=f"^{next(iter(options))}: {feature} needs redis-py"):
                face.pool(**options)
    finally:
        face.close()


def test_the_other_shells_retry_is_refused(face: Face) -> None:
    """A retry policy of the wrong flavour would be ignored or break: it is a `TypeError` at construction."""
    other: Face = Threads() if face.asynchronous else Asyncio()
    try:
        with pytest.raises(TypeError, match="retry"):
            face.pool(retry=other.retry(3))
        with pytest.raises(TypeError, match="retry"):
            face.pool().set_retry(other.retry(3))
    finally:
        other.close()


@pytest.mark.needs("asynchronous credentials")
def test_a_provider_on_a_loop_may_leave_the_coroutine_to_its_base_class() -> None:
    """As in redis-py, which warns of it; one that has none at all is a `TypeError` at construction."""

    class WithoutCoroutine:
        def get_credentials(self) -> tuple[str]:
            return ("s3cret",)

    class WithoutBase:
        async def get_credentials_async(self) -> tuple[str]:
            return ("s3cret",)

    face = Asyncio()
    try:
        assert face.pool(credential_provider=OnlyThreads()).stats().open == 0
        assert face.pool(credential_provider=WithoutBase()).stats().open == 0
        with pytest.raises(TypeError, match="credential_provider"):
            face.pool(credential_provider=WithoutCoroutine())
    finally:
        face.close()


@pytest.mark.parametrize("provider", [OnlyLoops, CoroutineForThreads])
def test_a_provider_for_loops_is_refused_by_the_pool_for_threads(
    threads: Face, provider: type[CredentialProvider]
) -> None:
    """A credential provider that only works on a loop is a `TypeError` at construction."""
    with pytest.raises(TypeError, match="credential_provider"):
        threads.pool(credential_provider=provider())


def test_redis_pys_own_provider_serves_both(face: Face) -> None:
    """A provider with both methods is accepted by both."""
    face.pool(credential_provider=UsernamePasswordCredentialProvider("user", "s3cret"))


def test_a_coroutine_to_greet_the_server_is_refused_by_the_pool_for_threads(threads: Face) -> None:
    """`redis_connect_func` must not be a coroutine function where nothing could await it."""

    async def greet(connection: Any) -> None: ...

    with pytest.raises(TypeError, match="redis_connect_func"):
        threads.pool(redis_connect_func=greet)


@pytest.mark.parametrize("own", [False, True], ids=["redis-py's", "redpool's"])
def test_the_other_shells_client_is_refused(face: Face, own: bool) -> None:
    """It would fail at its first command, or never answer: it is a `TypeError` as soon as it is given the pool."""
    other = Threads if face.asynchronous else Asyncio
    client_class = (other.redpool if own else other.redis).Redis
    remedy = r"use a pool of redpool, or a client of redis.asyncio$"
    if not face.asynchronous:
        remedy = r"use a pool of redpool.asyncio, or a client of redis$"
    for kind in (face.redpool.ConnectionPool, face.redpool.MultiplexedConnectionPool):
        with pytest.raises(TypeError, match=remedy):
            client_class(connection_pool=kind())
        with pytest.raises(TypeError, match=remedy):
            client_class.from_pool(kind())


@pytest.mark.parametrize("name", ["Connection", "SSLConnection", "UnixDomainSocketConnection"])
def test_the_other_shells_connections_are_refused(face: Face, name: str) -> None:
    """Also a user's own class derived from one."""
    theirs = getattr(redis if face.asynchronous else redis.asyncio, name)
    for kind in (theirs, type("Own", (theirs,), {})):
        with pytest.raises(TypeError, match=r"connection_class=.* is for .*: use a pool of redpool"):
            face.pool(kind)


@pytest.mark.parametrize(
    "option",
    [
        {"ssl": True},
        {"ssl": False},
        {"ssl_ca_certs": "ca.pem"},
        pytest.param({"ssl_password": "s3cret"}, marks=pytest.mark.needs("passwords of TLS keys on event loops")),
    ],
)
def test_options_for_tls_want_a_connection_for_tls(face: Face, option: dict[str, Any]) -> None:
    """A pool has TLS by its class or by its URL: anything else is a `TypeError` that says so, without values."""
    (name,) = option
    remedy = rf"^{name}: .* rediss://, or by connection_class=redis{'.asyncio' * face.asynchronous}.SSLConnection$"
    with pytest.raises(TypeError, match=remedy):
        face.pool(**option)
    with pytest.raises(TypeError, match=remedy):
        face.pool_from_url("redis://localhost", **option)
    if name != "ssl":
        assert face.pool(face.redis.SSLConnection, **option).connection_kwargs[name] == option[name]
        assert face.pool_from_url("rediss://localhost", **option).connection_kwargs[name] == option[name]


def test_a_users_class_may_take_options_for_tls(face: Face) -> None:
    """What its keywords are, only it knows."""

    class Own(face.redis.Connection):  # type: ignore[misc, name-defined]
        def __init__(self, ssl: bool = False, **kwargs: Any) -> None:
            super().__init__(**kwargs)

    assert face.pool(Own, ssl=True).connection_kwargs["ssl"] is True


def test_defaults(face: Face) -> None:
    """The defaults are those of the contract, and `None` for `max_connections` is the default, too."""
    config = face.pool(max_connections=None).config
    assert (config.max_connections, config.timeout, config.max_waiting, config.min_idle) == (50, 5.0, None, 0)
    assert (config.max_idle_time, config.max_lifetime, config.lifetime_jitter) == (300.0, 3600.0, 0.1)
    assert (config.max_connecting, config.validate_after_idle, config.ping_after_idle) == (4, 0.0, 30.0)
    assert (config.order, config.leak_after, config.retry_sent, config.instruments) == ("lifo", None, "safe", ())
    pool = face.pool()
    assert (pool.max_connections, pool.stats().name) == (50, "localhost:6379/0")


def test_positions_are_redis_pys(face: Face, at: dict[str, Any]) -> None:
    """The first two arguments are `connection_class` and `max_connections`."""

    class Own(face.redis.Connection):  # type: ignore[misc, name-defined]
        pass

    pool = face.pool(Own, 3, **at)
    assert pool.max_connections == 3
    with pool.connection() as connection:
        assert isinstance(getattr(connection, "_target", connection), Own)


def test_the_keywords_of_the_blocking_pool(face: Face, at: dict[str, Any]) -> None:
    """It takes `BlockingConnectionPool`'s keywords; `queue_class` is accepted and ignored."""

    class Unused:
        def __init__(self, *args: Any) -> None:
            raise AssertionError("no caller asked for a queue")

    pool = face.pool(max_connections=2, timeout=0.01, connection_class=face.redis.Connection, queue_class=Unused, **at)
    assert (pool.max_connections, pool.timeout) == (2, 0.01)
    pool.warm_up(2)
    assert face.client(pool).ping() is True
    with pool.connection(), pool.connection(), pytest.raises(face.redpool.PoolTimeout):
        pool.get_connection()


def test_other_keywords_reach_the_connection_unchanged(face: Face, at: dict[str, Any]) -> None:
    """Whatever the pool does not know goes to the connection class, and `connection_kwargs` shows it."""
    pool = face.pool(**at, socket_timeout=7.5, client_name="me", encoding="latin-1", max_connections=3)
    with pool.connection() as connection:
        assert (connection.socket_timeout, connection.client_name) == (7.5, "me")
    kwargs = pool.connection_kwargs
    assert (kwargs["socket_timeout"], kwargs["client_name"], kwargs["port"]) == (7.5, "me", at["port"])
    assert "max_connections" not in kwargs
    assert pool.get_encoder().encoding == "latin-1"


def test_the_name(face: Face, at: dict[str, Any]) -> None:
    """A pool's name is `host:port/db`, its socket's path, or the option `name`."""
    assert face.pool(**at, db=3).stats().name == f"127.0.0.1:{at['port']}/3"
    unix = face.redis.UnixDomainSocketConnection
    assert "/tmp/a.sock" in face.pool(unix, path="/tmp/a.sock").stats().name
    assert face.pool(name="jobs").stats().name == "jobs"


# -- from_url ----------------------------------------------------------------------------------------------------------


def test_a_url(face: Face, redis_server: embedded.Server, redis_url: str) -> None:
    """`redis://host:port/db` is a pool to that database."""
    client = face.client(face.pool_from_url(f"{redis_url}/4"))
    client.set("foo", "bar")
    with redis.Redis.from_url(redis_url, db=4) as other:
        assert other.get("foo") == b"bar"


def test_a_url_of_a_unix_socket(face: Face, unix_server: embedded.Server) -> None:
    """`unix://path?db=n` is a pool to that socket."""
    pool = face.pool_from_url(f"unix://{unix_server.path}?db=2")
    client = face.client(pool)
    client.set("foo", "bar")
    with redis.Redis.from_url(unix_server.url, db=2) as other:
        assert other.get("foo") == b"bar"
    assert pool.stats().name == f"{unix_server.path}/2"


def test_a_url_for_tls(face: Face) -> None:
    """`rediss://` chooses the connection class for TLS."""
    pool = face.pool_from_url("rediss://example.invalid:6380/1")
    assert issubclass(pool.connection_class, face.redis.SSLConnection)


def test_options_in_a_url(face: Face, redis_url: str) -> None:
    """Every option may stand in the query, those of the pool and those of the connection."""
    pool = face.pool_from_url(
        f"{redis_url}/0?max_connections=7&timeout=5.5&max_waiting=3&min_idle=2&max_idle_time=none&max_lifetime=60"
        "&lifetime_jitter=0.2&max_connecting=2&validate_after_idle=0&ping_after_idle=None&order=fifo&leak_after=9"
        "&retry_sent=all&name=jobs&protocol=2&socket_timeout=7&client_name=me&decode_responses=yes"
    )
    config = pool.config
    assert (config.max_connections, config.timeout, config.max_waiting, config.min_idle) == (7, 5.5, 3, 2)
    assert (config.max_idle_time, config.max_lifetime, config.lifetime_jitter) == (None, 60.0, 0.2)
    assert (config.max_connecting, config.validate_after_idle, config.ping_after_idle) == (2, 0.0, None)
    assert (config.order, config.leak_after, config.retry_sent, config.name) == ("fifo", 9.0, "all", "jobs")
    assert face.client(pool).client_getname() in ("me", b"me")
    with pool.connection() as connection:
        assert connection.socket_timeout == 7.0


def test_a_url_may_say_that_waits_never_end(face: Face, redis_url: str) -> None:
    """`timeout=none` in the query is `timeout=None`, as it is for the other options that may be `None`."""
    assert face.pool_from_url(f"{redis_url}?timeout=none").timeout is None


def test_what_the_url_says_wins(face: Face, redis_url: str) -> None:
    """Keywords fill in what the URL leaves open, and yield where it does not."""
    pool = face.pool_from_url(f"{redis_url}/3?timeout=0.5", timeout=9, max_connections=2, db=1)
    assert (pool.timeout, pool.max_connections, pool.connection_kwargs["db"]) == (0.5, 2, 3)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("max_connections=many", "max_connections.*many"),
        ("max_connections=0", "max_connections.*0"),
        ("timeout=soon", "timeout.*soon"),
        ("timeout=-1", "timeout.*-1"),
        ("min_idle=1.5", "min_idle.*1.5"),
        ("max_idle_time=never", "max_idle_time.*never"),
        ("order=newest", "order.*newest"),
        ("max_lifetime=0", "max_lifetime.*0"),
        ("max_idle_tme=3", "max_idle_tme.*max_idle_time"),
    ],
)
def test_bad_values_in_a_url(face: Face, query: str, says: str) -> None:
    """A bad value in a URL is refused at once, with the option's name and the value."""
    with pytest.raises((ValueError, TypeError), match=says):
        face.pool_from_url(f"redis://localhost:6379/0?{query}")


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "", "redis//localhost"])
def test_urls_of_another_kind(face: Face, url: str) -> None:
    """A URL that is not redis-py's is a `ValueError`."""
    with pytest.raises(ValueError):
        face.pool_from_url(url)


def test_a_subclass_keeps_its_kind(face: Face, redis_url: str) -> None:
    """`from_url` of a subclass makes one of the subclass: a framework's dotted path may name any."""

    class Own(face.pool_class):  # type: ignore[misc, name-defined]
        pass

    face._made.append(made := face._wrap(Own.from_url(redis_url)))
    assert isinstance(getattr(made, "_target", made), Own)
    assert face.client(made).ping() is True


# -- passwords ---------------------------------------------------------------------------------------------------------


def test_a_password_is_never_shown(
    face: Face,
    own_server: embedded.Server,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither `repr`, nor stats, dump, errors, logs or warnings ever hold a password."""
    caplog.set_level("DEBUG")
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("requirepass", "s3cret")
    url = f"redis://:{{}}@{own_server.host}:{own_server.port}/0?max_connections=1&timeout=1"
    pool = face.pool_from_url(url.format("s3cret"))
    said = []
    with pool.connection():
        said += [repr(pool), str(pool.stats()), str(pool.dump())]
        with pytest.raises(face.redpool.PoolTimeout) as timed_out:
            pool.get_connection()
        said.append(repr(timed_out.value))
    with pytest.warns(RuntimeWarning) as stranger:
        pool.release(object())
    connection = pool.get_connection()
    pool.release(connection)
    with pytest.warns(RuntimeWarning) as twice:
        pool.release(connection)
    said += [str(each.message) for each in (*stranger, *twice)]
    wrong = face.pool_from_url(url.format("not-the-s3cret"))
    with pytest.raises(redis.AuthenticationError) as rejected:
        wrong.get_connection()
    said += [repr(rejected.value), repr(wrong), str(wrong.stats()), str(wrong.dump())]
    assert face.client(pool).ping() is True
    said += [caplog.text, *capsys.readouterr()]
    assert not [each for each in said if "s3cret" in each]


def test_more_connections_than_there_can_be_cost_nothing(face: Face, at: dict[str, Any]) -> None:
    """2**31, once redis-py's own default, is taken as the most that one machine can open to a server."""
    pool = face.pool(**at, max_connections=2**31)
    assert pool.max_connections == 65_535
    pool.resize(2)
    pool.resize(2**31)
    assert pool.max_connections == 65_535
    pool.release(pool.get_connection())


def test_a_pools_own_way_to_make_connections_is_taken(
    face: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a subclass has it or the pool itself was given it: every connection is made so."""
    made = []

    def noting(pool: Any) -> Any:
        made.append(pool)
        return kind.make_connection(pool)

    kind = face.pool_class
    pool = face.pool(**at)
    monkeypatch.setattr(face, "pool_class", type("Noting", (kind,), {"make_connection": noting}))
    assert face.client(face.pool(**at)).ping() is True
    assert len(made) == 1
    own = getattr(pool, "_target", pool)
    own.make_connection = lambda: noting(own)
    assert face.client(pool).ping() is True
    assert len(made) == 2


def test_another_class_gets_only_what_it_takes(face: Face, at: dict[str, Any]) -> None:
    """The class of connections may be changed, for one that takes no more than it needs."""
    kind = face.redis.Connection

    def begin(self: Any, host: str, port: int) -> None:
        kind.__init__(self, host=host, port=port)

    pool = face.pool(**at)
    own = getattr(pool, "_target", pool)
    own.connection_class = type("Narrow", (kind,), {"__init__": begin})
    own.connection_kwargs = at
    assert face.client(pool).ping() is True

"""Options: nonsense is refused at the door, with the option's name and the value."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from redpool.core.config import MultiplexedConfig, PoolConfig, suggest, whole_number

WHOLE = ["max_connections", "max_waiting", "min_idle", "max_connecting", "break_after"]
SECONDS = [
    "timeout",
    "max_idle_time",
    "max_lifetime",
    "validate_after_idle",
    "ping_after_idle",
    "leak_after",
    "warn_wait",
]
MAY_BE_NONE = [
    "timeout", "max_waiting", "max_idle_time", "max_lifetime", "break_after", "ping_after_idle", "leak_after",
    "warn_wait",
]  # fmt: skip
NEVER_NONE = [
    "max_connections",
    "min_idle",
    "lifetime_jitter",
    "max_connecting",
    "validate_after_idle",
    "order",
    "name",
]


def config(**options: Any) -> PoolConfig:
    """As users pass options, whatever their type."""
    return PoolConfig(**options)


def rejected(error: type[Exception], name: str, value: Any) -> None:
    with pytest.raises(error) as caught:
        config(**{name: value})
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_the_defaults_are_those_of_the_contract() -> None:
    """Nothing given: fifty connections, five seconds of patience, and so on."""
    config = PoolConfig()
    assert (config.max_connections, config.timeout, config.max_waiting, config.min_idle) == (50, 5.0, None, 0)
    assert (config.max_idle_time, config.max_lifetime, config.lifetime_jitter) == (300.0, 3600.0, 0.1)
    assert (config.max_connecting, config.break_after) == (4, None)
    assert (config.validate_after_idle, config.ping_after_idle) == (0.0, 30.0)
    assert (config.order, config.leak_after, config.retry_sent, config.instruments) == ("lifo", None, "safe", ())


def test_a_config_is_frozen() -> None:
    """Options don't change at run time."""
    with pytest.raises(FrozenInstanceError):
        PoolConfig().timeout = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("value", ["3", 1.5, True, [], math.nan])
@pytest.mark.parametrize("name", WHOLE)
def test_a_count_is_a_whole_number(name: str, value: Any) -> None:
    """Text, fractions and truth values are no counts; for max_connections that is a ValueError, as in redis-py."""
    rejected(ValueError if name == "max_connections" else TypeError, name, value)


@pytest.mark.parametrize("name", WHOLE)
def test_a_count_is_never_negative(name: str) -> None:
    """Fewer than none makes no sense."""
    rejected(ValueError, name, -1)


@pytest.mark.parametrize("name", ["max_connections", "max_connecting", "break_after"])
def test_a_pool_can_connect(name: str) -> None:
    """No connection at all, no connect at all, or none after no failure at all, is no pool."""
    rejected(ValueError, name, 0)


@pytest.mark.parametrize("name", ["max_waiting", "min_idle"])
def test_no_caller_waiting_and_none_kept_are_fine(name: str) -> None:
    """Zero means none."""
    assert getattr(config(**{name: 0}), name) == 0


@pytest.mark.parametrize("value", ["3", True, [], 1j])
@pytest.mark.parametrize("name", [*SECONDS, "lifetime_jitter"])
def test_a_time_is_a_number(name: str, value: Any) -> None:
    """Text, truth values and complex numbers are no times."""
    rejected(TypeError, name, value)


@pytest.mark.parametrize("value", [-0.1, -1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", SECONDS)
def test_a_time_is_finite_and_not_negative(name: str, value: float) -> None:
    """For ever is `None`, not infinity."""
    rejected(ValueError, name, value)


@pytest.mark.parametrize("name", SECONDS)
def test_a_time_too_large_for_a_float_is_refused_by_name(name: str) -> None:
    """A whole number that no float can hold is a nonsense like any other: a `ValueError` that names the option."""
    with pytest.raises(ValueError, match=name):
        config(**{name: 10**400})


@pytest.mark.parametrize("name", ["max_lifetime", "leak_after", "warn_wait"])
def test_some_times_are_above_zero(name: str) -> None:
    """A connection without a life, or a lease that leaks at once, makes no sense."""
    rejected(ValueError, name, 0)


@pytest.mark.parametrize("name", ["timeout", "validate_after_idle"])
def test_other_times_may_be_zero(name: str) -> None:
    """Zero is at once: never wait, always look."""
    assert getattr(config(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", MAY_BE_NONE)
def test_none_is_never_or_for_ever(name: str) -> None:
    """`None` is accepted where the contract has a meaning for it."""
    assert getattr(config(**{name: None}), name) is None


@pytest.mark.parametrize("name", NEVER_NONE)
def test_none_is_refused_elsewhere(name: str) -> None:
    """`None` has no meaning for the others."""
    with pytest.raises((TypeError, ValueError), match=f"{name}.*None"):
        config(**{name: None})


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, math.nan, math.inf])
def test_jitter_is_a_share(value: float) -> None:
    """Lifetimes are shortened by less than all of it."""
    rejected(ValueError, "lifetime_jitter", value)


@pytest.mark.parametrize("name", ["order", "retry_sent"])
@pytest.mark.parametrize("value", ["LIFO", "", 1, []])
def test_a_choice_is_one_of_a_few(name: str, value: Any) -> None:
    """The message lists the choices."""
    rejected(ValueError, name, value)
    with pytest.raises(ValueError, match=r"'lifo', 'fifo', 'random'|'safe', 'all', 'none'"):
        config(**{name: value})


@pytest.mark.parametrize("value", [1, b"name"])
def test_the_name_is_text(value: Any) -> None:
    """It goes into logs and metrics."""
    rejected(TypeError, "name", value)


def test_no_more_can_be_kept_idle_than_there_may_be() -> None:
    """Both options are in the message."""
    with pytest.raises(ValueError, match="min_idle=3 is more than max_connections=2"):
        PoolConfig(max_connections=2, min_idle=3)


def test_take_leaves_what_is_not_for_the_pool() -> None:
    """Options of the connection class stay where they are."""
    options = {"host": "example", "timeout": 1.0, "instruments": [1, 2]}
    config = PoolConfig.take(options)
    assert (config.timeout, config.instruments) == (1.0, (1, 2))
    assert options == {"host": "example"}


def test_take_gives_the_default_for_none_as_redis_py_does() -> None:
    """`max_connections=None` is what redis-py's clients pass where the user sets nothing."""
    config = PoolConfig.take({"max_connections": None, "name": None, "timeout": None})
    assert (config.max_connections, config.name, config.timeout) == (50, "redis", None)


@pytest.mark.parametrize("value", ["watcher", 3])
def test_take_wants_several_instruments(value: Any) -> None:
    """One instrument alone, or text, isn't a sequence of them."""
    with pytest.raises(TypeError, match=f"instruments.*{value!r}"):
        PoolConfig.take({"instruments": value})


def test_from_strings_reads_each_option_as_its_type() -> None:
    """As a URL has them; options of others stay text."""
    read = PoolConfig.from_strings(
        {"max_connections": "7", "timeout": "2.5", "max_waiting": "None", "leak_after": "none", "order": "fifo",
         "host": "7", "min_idle": 2, "break_after": "3"}
    )  # fmt: skip
    assert read == {
        "max_connections": 7, "timeout": 2.5, "max_waiting": None, "leak_after": None, "order": "fifo",
        "host": "7", "min_idle": 2, "break_after": 3,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [("max_connections", "many"), ("timeout", "soon"), ("min_idle", "None")])
def test_from_strings_refuses_what_it_cannot_read(name: str, text: str) -> None:
    """The message has the option's name and the text."""
    with pytest.raises(ValueError, match=f"{name}.*{text}"):
        PoolConfig.from_strings({name: text})


def test_a_slip_of_the_pen_gets_a_suggestion() -> None:
    """Options of the pool and of others are suggested, and nothing where nothing is near."""
    assert suggest("max_idle_tiem", []) == "; did you mean 'max_idle_time'?"
    assert suggest("hots", ["host"]) == "; did you mean 'host'?"
    assert suggest("zzz", ["host"]) == ""
    assert suggest("slow_after", ["host"]) == "; only a MultiplexedConnectionPool has it"


def test_text_says_limits_and_that_none_are_shed() -> None:
    """In a URL and in the environment."""
    asked = PoolConfig.from_strings({"max_connections": "auto", "limits": "3,9", "shed": "none"})
    assert asked == {"max_connections": "auto", "limits": (3, 9), "shed": None}
    assert PoolConfig.take(asked).limits == (3, 9)
    with pytest.raises(ValueError, match=r"limits.*3-9"):
        PoolConfig.from_strings({"limits": "3-9"})


def test_the_lower_limit_is_named_where_it_is_too_low() -> None:
    """The user of a pool that sizes itself never said `max_connections=2`."""
    with pytest.raises(ValueError, match=r"reserved=.* leaves none of limits\[0\]=2"):
        PoolConfig.take({"max_connections": "auto", "reserved": {"web": 2}})
    with pytest.raises(ValueError, match=r"shared_connections=3 is more than limits\[0\]=2"):
        MultiplexedConfig.take({"max_connections": "auto", "shared_connections": 3})


def test_whole_number_returns_what_it_accepts() -> None:
    """Arguments of methods are checked as options are."""
    assert whole_number("n", 3, at_least=3) == 3
    with pytest.raises(ValueError, match="n must be at least 3, not 2"):
        whole_number("n", 2, at_least=3)


@pytest.mark.parametrize("url", ["redis://:hush@host/0", "redis://me:hu/sh@host/0", "rediss://hush@a@host"])
def test_a_name_that_is_a_url_shows_no_password(url: str) -> None:
    """It stands in messages, logs, metrics and spans."""
    taken = PoolConfig.take({"name": url, "service": url})
    assert "sh" not in taken.name + taken.service
    assert taken.name.partition("//")[2].startswith("host")

"""Commands as bytes, and replies as values or errors, the way redis-py has them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import hiredis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, ResponseError, WatchError

from ..wire import commands
from ..wire.commands import PLAIN

# For commands all of whose words are text or bytes: see `pack_words` for others.
_pack_text: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
_serialize = HiredisRespSerializer().pack

__all__ = ["EMPTY_RESPONSE", "NEVER_DECODE", "USUAL", "called", "is_lost", "of_one_word", "pack", "pack_all",
           "pack_words", "pipeline", "reply", "share", "transaction", "usual"]  # fmt: skip


_LONG = 256
# What `pack_words` puts before the second of two words: the name, by itself, and the word's length, by that.
_named: dict[str, str] = {}
_sized = [f"${size}\r\n" for size in range(_LONG)]


def of_one_word(names: frozenset[str]) -> frozenset[str]:
    """Return the names that go to the server as one word; two words in one, as redis-py writes some, go apart."""
    found = frozenset(name for name in names if " " not in name)
    _named.update((name, f"*2\r\n${len(name.encode())}\r\n{name}\r\n") for name in found)
    return found


_ONE_WORD = of_one_word(PLAIN)

# Those that may share and whose replies redis-py leaves as they are, whatever the pool decodes.
_NEVER_DECODED = frozenset({"DUMP", "FUNCTION DUMP", "SLOWLOG GET", "VEMB"})


_TEXT = {str, bytes}

USUAL = frozenset({bytes, str, int, float, bool, dict, set, type(None)})
"""The kinds of replies that `reply` leaves as they are; it looks at those of any other."""

_PARTICULAR = frozenset({NEVER_DECODE, EMPTY_RESPONSE})

# The options of a command that are redis-py's own affair.
_NOT_FOR_CALLBACKS = ("keys", NEVER_DECODE, EMPTY_RESPONSE)


def pack_words(args: tuple[Any, ...]) -> bytes:
    """Return the bytes of a command named by one word. Raises `TypeError` for kinds of words that only `pack` knows."""
    if len(args) == 2 and type(word := args[1]) is str and len(word) < _LONG and word.isascii():
        # A command and its key are by far the most frequent: for these Python is quicker than hiredis.
        return f"{_named[args[0]]}{_sized[len(word)]}{word}\r\n".encode()
    for word in args:
        if type(word) is not str and type(word) is not bytes:
            return _pack_text(_with_plain_words(args))
    return _pack_text(args)


def _with_plain_words(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the same without what hiredis gets wrong.

    It would crash where a signal handler raises while it turns a number into text. And of a view whose bytes lie apart
    it would send those that lie together, up to what is another's memory.
    """
    return (args[0], *[repr(each) if type(each) is int or isinstance(each, float)
                       else bytes(each) if type(each) is memoryview else each for each in args[1:]])  # fmt: skip


def pack(args: tuple[Any, ...]) -> bytes:
    """Return a command's bytes. Raises redis-py's `DataError` where a word is none of bytes, text and numbers."""
    if args[0] in _ONE_WORD:
        try:
            return pack_words(args)
        except TypeError:
            pass  # a kind of word that redis-py turns into bytes first, or refuses by its own error
    return b"".join(_serialize(*_with_plain_words(args)))


def pack_all(several: Sequence[tuple[Any, ...]]) -> bytes:
    """Return the bytes of a pipeline's commands, as `pack` does."""
    if {args[0] for args in several} <= _ONE_WORD:
        with contextlib.suppress(TypeError):
            text_alone = set(map(type, chain.from_iterable(several))) <= _TEXT
            return b"".join(map(_pack_text if text_alone else pack_words, several))
    return b"".join([pack(args) for args in several])


def share(several: Sequence[tuple[Any, ...]], names: frozenset[str], decodes: bool) -> bool:
    """Return whether a packed pipeline may share: each of its commands, and a transaction only as a whole."""
    inner = several
    if several and commands.command_name(several[0]) == "MULTI":
        if commands.command_name(several[-1]) != "EXEC":
            return False
        inner = several[1:-1]
    used = {args[0] for args in inner}
    if used <= names:
        return bool(several) and not (decodes and used & _NEVER_DECODED)
    if decodes and any(commands.command_name(args) in _NEVER_DECODED for args in inner):
        return False  # the replies are decoded as they come, all or none
    return all(args[0] in names or commands.shares(args) for args in inner)


def usual(stack: Sequence[Any]) -> bool:
    """Return whether no command of a pipeline wants its reply otherwise than the others."""
    return _PARTICULAR.isdisjoint(set[str]().union(*[options for _, options in stack]))


def reply(value: Any) -> Any:
    """Return the value; raise what the server has refused, and what could not be decoded."""
    if isinstance(value, Exception):
        try:
            raise value
        finally:
            del value  # else it and this frame would keep each other
    if type(value) is list and is_lost(value):
        raise value[0]
    return value


def is_lost(replies: Any) -> bool:
    """Return whether a list is no reply but says that the connection has failed."""
    return bool(replies) and isinstance(replies[0], RedisConnectionError)


def called(callback: Any, value: Any, options: dict[str, Any]) -> Any:
    """Return what a command's callback makes of its reply, with the options that are for it."""
    if options:
        for name in _NOT_FOR_CALLBACKS:
            options.pop(name, None)
    return callback(value, **options)


def pipeline(client: Any, stack: Sequence[Any], replies: list[Any], raise_on_error: bool) -> list[Any]:
    """Return what a pipeline's caller gets for these replies."""
    results = _made_of(client, stack, replies)
    if raise_on_error and _has_errors(results):
        client.raise_first_error(stack, results)
    return results


def transaction(client: Any, stack: Sequence[Any], replies: list[Any], raise_on_error: bool) -> list[Any]:
    """Return what a transaction's caller gets: the first reply is MULTI's, the last one EXEC's."""
    refused = [(place, each) for place, each in enumerate(replies[1:-1]) if isinstance(each, ResponseError)]
    for place, error in refused:
        client.annotate_exception(error, place + 1, stack[place][0])
    results = replies[-1]
    if isinstance(results, ExecAbortError) and (refused or isinstance(replies[0], ResponseError)):
        reply(replies[0] if isinstance(replies[0], ResponseError) else refused[0][1])
    results = reply(results)
    if results is None:
        raise WatchError("Watched variable changed.")
    for place, error in refused:
        results.insert(place, error)
    if len(results) != len(stack):
        raise ResponseError("Wrong number of response items from pipeline execution")
    if raise_on_error:
        client.raise_first_error(stack, results)
    return _made_of(client, stack, results)


def _made_of(client: Any, stack: Sequence[Any], replies: list[Any]) -> list[Any]:
    callbacks = client.response_callbacks
    if not _has_errors(replies) and not any(name in callbacks for name in {args[0] for args, _ in stack}):
        return replies
    results = []
    for (args, options), value in zip(stack, replies, strict=True):
        if isinstance(value, Exception):
            if not isinstance(value, ResponseError):
                reply(value)
        elif (callback := callbacks.get(args[0])) is not None:
            value = called(callback, value, options)  # noqa: PLW2901  a callback makes another value of it
        results.append(value)
    return results


def _has_errors(values: list[Any]) -> bool:
    return any(issubclass(kind, Exception) for kind in set(map(type, values)))

"""Replies whose shape depends on the protocol: what RESP2 says flat, in the shape that RESP3 has for it.

redis-py's clients choose how they read replies before anything is connected. Where they expect RESP3 and the server
knows RESP2 only, its replies must look as RESP3's do. What is not in the table reads alike in both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from .commands import Args, command_name, parse, upper
from .pipeline import Pipeline, Reply, Request

_Shape = Callable[[list[object], Reply], Reply]


def have_resp3s_shapes(pipeline: Pipeline) -> None:
    """Give its callers replies in RESP3's shape: for a connection that speaks RESP2 where they expect RESP3."""
    pipeline.shape(_Gets)


class _Gets:
    """What takes replies from a reader, each in RESP3's shape by the request that is at the head."""

    def __init__(self, pending: deque[Request], gets: Callable[..., Reply], not_enough: object) -> None:
        self._pending, self._gets, self._not_enough = pending, gets, not_enough

    def __call__(self, *decode: bool) -> Reply:
        reply = self._gets(*decode)
        if reply is self._not_enough or not self._pending:
            return reply
        request = self._pending[0]
        if type(request.commands) is tuple:
            return as_resp3([request.commands], 0, reply)
        return as_resp3(request.commands, len(request.commands) - request.expects, reply)


def as_resp3(sent: Sequence[Args], position: int, reply: Reply) -> Reply:
    """Return the reply to the command at a position of those that were sent together, in RESP3's shape.

    The reply to EXEC holds those to the commands behind the MULTI before it.
    """
    if command_name(sent[position]) != "EXEC":
        return _in_shape(sent[position], reply)
    begins = position - len(reply) if isinstance(reply, list) else 0
    if begins < 1 or command_name(sent[begins - 1]) != "MULTI":
        return reply
    return [_in_shape(*each) for each in zip(sent[begins:position], reply, strict=True)]


def _in_shape(args: Args, reply: Reply) -> Reply:
    name, arguments = parse(args)
    shape = _SHAPES.get(name)
    if shape is None or reply is None or isinstance(reply, Exception):
        return reply
    try:
        return shape(arguments, reply)
    except (TypeError, ValueError):  # QUEUED, or what a proxy has made up
        return reply


def _two_by_two(flat: Reply) -> list[tuple[Reply, Reply]]:
    if not isinstance(flat, list) or len(flat) % 2:
        raise TypeError("not a list of pairs")
    return list(zip(flat[::2], flat[1::2], strict=True))


def _map(_: list[object], reply: Reply) -> Reply:
    return dict(_two_by_two(reply))


def _maps(_: list[object], reply: Reply) -> Reply:
    if not isinstance(reply, list):
        raise TypeError("not a list")
    return [dict(_two_by_two(each)) for each in reply]


def _double(_: list[object], reply: Reply) -> Reply:
    return reply if reply is None else float(reply)


def _doubles(_: list[object], reply: Reply) -> Reply:
    return [_double([], each) for each in reply]


def _double_if(word: str) -> _Shape:
    return lambda arguments, reply: float(reply) if word in map(upper, arguments) else reply


def _scored(pairs: Reply) -> list[list[Reply]]:
    return [[member, float(score)] for member, score in pairs]


def _scores_if(word: str) -> _Shape:
    return lambda arguments, reply: _scored(_two_by_two(reply)) if word in map(upper, arguments) else reply


def _values(arguments: list[object], reply: Reply) -> Reply:
    return [list(pair) for pair in _two_by_two(reply)] if "WITHVALUES" in map(upper, arguments) else reply


def _popped(arguments: list[object], reply: Reply) -> Reply:
    pairs = _scored(_two_by_two(reply))
    return pairs if len(arguments) > 1 or not pairs else pairs[0]  # nested only where a count was asked for


def _popped_of(_: list[object], reply: Reply) -> Reply:
    key, pairs = reply
    return [key, _scored(pairs)]


def _rank(arguments: list[object], reply: Reply) -> Reply:
    return [reply[0], float(reply[1])] if "WITHSCORE" in map(upper, arguments) else reply


def _positions(_: list[object], reply: Reply) -> Reply:
    return [each if each is None else _doubles([], each) for each in reply]


def _streams(_: list[object], reply: Reply) -> Reply:
    return dict(reply)


def _memory(_: list[object], reply: Reply) -> Reply:
    return {name: _map([], value) if isinstance(value, list) else value for name, value in _two_by_two(reply)}


def _each(names: str, shape: _Shape) -> dict[str, _Shape]:
    return dict.fromkeys(names.split(), shape)


_SHAPES: dict[str, _Shape] = {
    **_each("ZDIFF ZINTER ZRANDMEMBER ZRANGE ZRANGEBYSCORE ZREVRANGE ZREVRANGEBYSCORE ZUNION",
            _scores_if("WITHSCORES")),
    **_each("ZPOPMAX ZPOPMIN", _popped),
    **_each("BZMPOP ZMPOP", _popped_of),
    **_each("ZRANK ZREVRANK", _rank),
    **_each("ZINCRBY ZSCORE", _double),
    **_each("XREAD XREADGROUP", _streams),
    "ZADD": _double_if("INCR"),
    "ZMSCORE": _doubles,
    "HGETALL": _map,
    "HRANDFIELD": _values,
    "GEOPOS": _positions,
    "CONFIG GET": _map,
    "MEMORY STATS": _memory,
    "MODULE LIST": _maps,
    "SENTINEL MASTER": _map,
    "SENTINEL MASTERS": _maps,
    "SENTINEL REPLICAS": _maps,
    "SENTINEL SENTINELS": _maps,
    "SENTINEL SLAVES": _maps,
    "XINFO CONSUMERS": _maps,
    "XINFO GROUPS": _maps,
}  # fmt: skip

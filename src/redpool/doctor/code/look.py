"""Look at files together for what goes wrong: calls are followed from the functions that handle requests."""

from __future__ import annotations

import ast
import os
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..facts import Pattern, Sighting, Unseen
from .source import Function, Made, Source, first_made, kept, last, made_by, parse

_SKIPPED = {"node_modules", "site-packages", "build", "dist", "tests", "test", "testing", "__pycache__", "venv", "env"}
_SMALL = 10
_MOST_HANDS = 5  # through which an imported name goes
# By its name, the position of its timeout among the arguments.
_BLOCKING = {
    "blpop": 1,
    "brpop": 1,
    "brpoplpush": 2,
    "blmove": 2,
    "bzpopmin": 1,
    "bzpopmax": 1,
    "blmpop": 0,
    "bzmpop": 0,
}
_STREAMS = {"xread", "xreadgroup"}
_ALL_KEYS = {"keys", "flushall", "flushdb"}
_WHOLE = {"smembers", "hgetall", "lrange", "zrange", "hkeys", "hvals", "sunion", "sinter", "sdiff"}
_SINGLE = {
    "get", "set", "setex", "hget", "hset", "incr", "decr", "exists", "expire", "delete", "sadd", "srem", "zadd",
    "lpush", "rpush", "ttl", "sismember", "zscore", "hincrby", "unlink",
}  # fmt: skip
_COMMANDS = _SINGLE | _WHOLE | _ALL_KEYS | _STREAMS | set(_BLOCKING) | {"ping", "publish", "execute_command", "mget"}
_FORKS = {
    "os.fork", "multiprocessing.Process", "multiprocessing.Pool", "multiprocessing.pool.Pool",
    "concurrent.futures.ProcessPoolExecutor", "multiprocessing.process.Process",
}  # fmt: skip
_DEPENDS = {"Depends", "Security", "Provide"}
_LOOPS = {"asyncio.run", "asgiref.sync.async_to_sync"}
# They run once for each process, whatever they are called by.
_ONCE = re.compile(
    r"(main|run|setup|startup|init|initialize|lifespan|create_app|cli|configure|test)(_.*)?|setUp|__init__"
)
_COMMAND_LINE = {"command", "group", "callback", "option", "argument"}


def files(paths: Iterable[str]) -> Iterator[str]:
    """Yield the files of Python that paths name: those below a folder but for tests and what others made."""
    for path in paths:
        if os.path.isdir(path):
            for folder, below, names in os.walk(path):
                below[:] = sorted(name for name in below if name not in _SKIPPED and not name.startswith("."))
                yield from (os.path.join(folder, name) for name in sorted(names) if _is_looked_at(name))
        else:
            yield path


def _is_looked_at(name: str) -> bool:
    return (
        name.endswith(".py")
        and not name.startswith("test_")
        and not name.endswith("_test.py")
        and name != "conftest.py"
    )


def read(paths: Iterable[str]) -> tuple[tuple[Sighting, ...], tuple[Unseen, ...]]:
    """Return what is seen in these files and folders, and what can't be read. Raises `OSError` where one is gone."""
    sources, unread = [], []
    for path in files(paths):
        try:
            with tokenize.open(path) as file:
                text = file.read()
            sources.append(parse(os.path.relpath(path) if Path(path).is_absolute() else path, text))
        except (SyntaxError, ValueError, RecursionError):
            unread.append(Unseen(path, "it is no Python that this interpreter can read"))
    return tuple(look(sources)), tuple(unread)


def look(sources: Sequence[Source]) -> Iterator[Sighting]:
    """Yield what is seen in these files, in the order of files and lines."""
    project = _Project(sources)
    project.follow()
    for source in sources:
        yield from sorted(set(project.in_file(source)), key=lambda sighting: (sighting.line, sighting.pattern.value))


RULES = {
    Pattern.POOL_PER_CALL: "P13",
    Pattern.ASYNC_BEFORE_FORK: "P14",
    Pattern.LOOP_PER_CALL: "P15",
    Pattern.BLOCKING_ON_SMALL_POOL: "C4",
    Pattern.BLOCKING_PAST_TIMEOUT: "P5",
    Pattern.WHOLE_KEYSPACE: "A3",
    Pattern.WHOLE_VALUE: "A3",
    Pattern.COMMAND_PER_ITEM: "A2",
}
"""By what a comment names a pattern: `# redpool: ignore[P13]`."""


class _Project:
    """All files, and where a name of one is defined in another. `follow` marks what handlers call."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._by_end: dict[str, list[Source]] = {}
        for source in sources:
            if source.module:
                self._by_end.setdefault(source.module[-1], []).append(source)
        self._callers: dict[Function, list[tuple[Source, ast.Call, Function | None]]] = {}
        for source in sources:
            for call in source.calls:
                function = source.function_of(call)
                if (target := self._defined(source, function, call.func)) is not None:
                    self._callers.setdefault(target[1], []).append((source, call, function))

    def follow(self) -> None:
        """Mark all functions that are called, by name, from one that handles requests, or that it depends on."""
        for source in self._sources:
            for call in source.calls:
                # FastAPI, Litestar: called by the framework, for each request.
                if last(call) in _DEPENDS and call.args:
                    depended = self._defined(source, None, call.args[0])
                    if depended is not None and not depended[1].keeps:
                        depended[1].handles = depended[1].on_request = True
        waiting = [(s, function) for s in self._sources for function in s.functions.values() if function.on_request]
        while waiting:
            source, function = waiting.pop()
            for call in calls(function.node):
                target = self._defined(source, function, call.func)
                if target is not None and not target[1].on_request:
                    target[1].on_request = True
                    waiting.append(target)

    def in_file(self, source: Source) -> Iterator[Sighting]:
        """Yield what is seen in one file."""
        forks = any(source.meaning(node.func) in _FORKS for node in source.calls)
        for call in source.calls:
            function = source.function_of(call)
            found: list[Sighting | None] = [self._made(source, call, function, forks)]
            if function is not None and source.meaning(call.func) in _LOOPS:
                found.append(self._new_loop(source, call, function))
            found += self._commands(source, call, function)
            yield from (each for each in found if each and not source.ignores(each.line, RULES[each.pattern]))

    # -- pools ------------------------------------------------------------------------------------------------------

    def _made(self, source: Source, call: ast.Call, function: Function | None, forks: bool) -> Sighting | None:
        made = made_by(source, call)
        if made is None or not made.own_pool:
            return None
        if function is None:
            if made.asynchronous and made.family != "redpool" and forks:
                return _seen(Pattern.ASYNC_BEFORE_FORK, source, call, None, made.call)
            return None
        if self._per_call(source, call, function, frozenset()):
            return _seen(Pattern.POOL_PER_CALL, source, call, function, made.call)
        return None

    def _per_call(self, source: Source, call: ast.Call, function: Function, asked: frozenset[Function]) -> bool:
        """Return whether what a call in a function makes is made, and lost, each time that the function is called."""
        if function.keeps or kept(source, call, function) or _runs_once(function.node) or function in asked:
            return False
        if not function.handles and _hands_on(call, function):
            sites = self._callers.get(function, ())
            return any(each[2] is not None and self._per_call(*each[:2], each[2], asked | {function}) for each in sites)
        return function.on_request or (not asked and not source.is_script and _used_here_only(source, call, function))

    # -- event loops --------------------------------------------------------------------------------------------------

    def _new_loop(self, source: Source, call: ast.Call, function: Function) -> Sighting | None:
        if isinstance(function.node, ast.AsyncFunctionDef) or _runs_once(function.node):
            return None
        often = function.on_request or _loop_of(source, call, function)
        if often and self._uses_asyncio_client(source, function, call):
            return _seen(Pattern.LOOP_PER_CALL, source, call, function, ast.unparse(call.func))
        return None

    def _uses_asyncio_client(self, source: Source, function: Function, call: ast.Call) -> bool:
        """Return whether what is run there has to do with an asyncio client, as far as the imports say."""
        run = call.args[0] if call.args else None
        target = self._defined(source, function, run.func if isinstance(run, ast.Call) else run) if run else None
        return source.uses_asyncio_client or (target is not None and target[0].uses_asyncio_client)

    # -- commands -----------------------------------------------------------------------------------------------------

    def _commands(self, source: Source, call: ast.Call, function: Function | None) -> Iterator[Sighting | None]:
        if not isinstance(call.func, ast.Attribute):
            return
        command = call.func.attr
        if command not in _COMMANDS:
            return
        client = self._client(source, function, call.func.value)
        shown = command.upper()
        if command in _BLOCKING or command in _STREAMS:
            yield from _blocking(source, call, function, client)
        elif function is None or not function.on_request:
            return
        elif command in _ALL_KEYS and (client or _looks_like_redis(call)):
            yield _seen(Pattern.WHOLE_KEYSPACE, source, call, function, shown)
        elif client and command in _WHOLE:
            yield _seen(Pattern.WHOLE_VALUE, source, call, function, shown)
        elif client and command in _SINGLE and _each_item(source, call, function):
            yield _seen(Pattern.COMMAND_PER_ITEM, source, call, function, shown)

    def _client(self, source: Source, function: Function | None, node: ast.AST) -> Made | None:
        """Return how the client was made that an expression is, where that is certain."""
        made = first_made(source, node)
        if made is not None:
            return made
        if isinstance(node, ast.Call) and (target := self._defined(source, function, node.func)) is not None:
            return _returned(*target)
        if isinstance(node, ast.Await):
            return self._client(source, function, node.value)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return source.clients.get(f"{function.class_name}.{node.attr}") if function else None
        if isinstance(node, ast.Name):
            return self._named(source, function, node.id)
        return self._elsewhere(source.meaning(node))

    def _named(self, source: Source, function: Function | None, name: str) -> Made | None:
        if function is not None:
            for value in assigned(function, name):
                made = first_made(source, value)
                if made is None and isinstance(value, ast.Call | ast.Await):
                    made = self._client(source, function, value)
                return made
        return source.clients.get(name) or self._elsewhere(source.imports.get(name))

    def _elsewhere(self, meaning: str | None) -> Made | None:
        """Return the client that another file has at module level by that name."""
        found = self._home(meaning)
        return found[0].clients.get(found[1]) if found else None

    # -- names --------------------------------------------------------------------------------------------------------

    def _module(self, dotted: str) -> tuple[Source, ...]:
        """Return the one file that is this module, if it is among those that were given."""
        parts = tuple(dotted.split("."))
        found = [s for s in self._by_end.get(parts[-1], ()) if s.module[-len(parts) :] == parts]
        return tuple(found) if len(found) == 1 else ()

    def _defined(self, source: Source, function: Function | None, called: ast.AST) -> tuple[Source, Function] | None:
        """Return the function that a name is, where it is one of these files'."""
        if isinstance(called, ast.Name) and called.id in source.functions:
            return source, source.functions[called.id]
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "self":
            method = source.functions.get(f"{function.class_name}.{called.attr}") if function else None
            return (source, method) if method else None
        home = self._home(source.meaning(called))
        found = home[0].functions.get(home[1]) if home else None
        return (home[0], found) if home and found else None

    def _home(self, meaning: str | None) -> tuple[Source, str] | None:
        """Return the file in which an imported name is defined, and its name there; a package may hand it on."""
        for _ in range(_MOST_HANDS):
            module, dot, name = (meaning or "").rpartition(".")
            found = self._module(module) if dot else ()
            if not found:
                return None
            if name not in found[0].imports:
                return found[0], name
            meaning = found[0].imports[name]
        return None


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """Yield all calls below a node."""
    return (each for each in ast.walk(node) if isinstance(each, ast.Call))


def assigned(function: Function, name: str) -> list[ast.expr]:
    """Return what a function assigns a name, by `=` or `with`."""
    if function.assigned is None:
        function.assigned = {}
        for target, value in _assignments(function.node):
            if isinstance(target, ast.Name):
                function.assigned.setdefault(target.id, []).append(value)
    return function.assigned.get(name, [])


def _assignments(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[*targets], value=value):
                yield from ((target, value) for target in targets)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield target, value
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                yield target, value


def _returned(source: Source, function: Function) -> Made | None:
    """Return the client that a function returns or yields."""
    for node in ast.walk(function.node):
        if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            values = [node.value]
            if isinstance(node.value, ast.Name):
                values += assigned(function, node.value.id)
                if (made := source.clients.get(node.value.id)) is not None:
                    return made
            for value in values:
                if (made := first_made(source, value)) is not None:
                    return made
    return None


def _blocking(source: Source, call: ast.Call, function: Function | None, client: Made | None) -> Iterator[Sighting]:
    """Yield what is wrong with a call of a blocking command."""
    assert isinstance(call.func, ast.Attribute)  # it was called by its name
    command = call.func.attr
    waits, own = _own_timeout(command, call)
    if client is None or not waits:
        return
    if client.size is not None and client.size <= _SMALL:
        yield _seen(Pattern.BLOCKING_ON_SMALL_POOL, source, call, function, command.upper(), size=client.size)
    if client.family != "redpool" and client.timeout_known and own is not None:
        yield _seen(
            Pattern.BLOCKING_PAST_TIMEOUT,
            source,
            call,
            function,
            command.upper(),
            own_timeout=own,
            socket_timeout=client.socket_timeout,
        )


def _own_timeout(command: str, call: ast.Call) -> tuple[bool, float | None]:
    """Return whether a command blocks, and for how long where the code says so."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if command in _STREAMS:
        value = given.get("block")
        if value is None or (isinstance(value, ast.Constant) and value.value is None):
            return False, None
        milliseconds = _constant(value)
        return True, None if milliseconds is None else milliseconds / 1000
    place = _BLOCKING[command]
    value = given.get("timeout", call.args[place] if len(call.args) > place else None)
    if value is None:
        return True, 0.0 if None not in given and not any(isinstance(each, ast.Starred) for each in call.args) else None
    return True, 0.0 if isinstance(value, ast.Constant) and value.value is None else _constant(value)


def _constant(node: ast.AST) -> float | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _looks_like_redis(call: ast.Call) -> bool:
    """Return whether a call on an unknown object can only be meant for Redis: `dict.keys()` takes no pattern."""
    assert isinstance(call.func, ast.Attribute)  # it was called by its name
    named = ast.unparse(call.func.value).lower()
    return "redis" in named and (call.func.attr != "keys" or len(call.args) == 1)


def _loop_of(source: Source, node: ast.AST, function: Function) -> ast.For | ast.AsyncFor | ast.While | None:
    while (above := source.parents.get(node)) is not None and above is not function.node:
        if isinstance(above, ast.For | ast.AsyncFor | ast.While):
            return above
        node = above
    return None


def _each_item(source: Source, call: ast.Call, function: Function) -> bool:
    """Return whether a call is made for each item of a loop: with its variable, and to the end."""
    node: ast.AST = call
    while (above := source.parents.get(node)) is not None and above is not function.node:
        targets = [above.target] if isinstance(above, ast.For) else []
        if isinstance(above, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            targets = [each.target for each in above.generators]
        names = {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        used = {each.id for argument in call.args for each in ast.walk(argument) if isinstance(each, ast.Name)}
        if names & used:
            ends = any(isinstance(each, ast.Break | ast.Return) for each in ast.walk(above))
            return not ends and not isinstance(source.parents.get(call), ast.If | ast.While)
        node = above
    return False


def _runs_once(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = {ast.unparse(each).partition("(")[0].rpartition(".")[2] for each in function.decorator_list}
    named = _ONCE.fullmatch(function.name) or _ONCE.fullmatch(function.name.lstrip("_"))
    return named is not None or bool(decorators & (_COMMAND_LINE | {"on_event"}))


def _used_here_only(source: Source, call: ast.Call, function: Function) -> bool:
    """Return whether a function makes a client, calls a command of it, and hands it to none."""
    name = None
    above = source.parents.get(call)
    if isinstance(above, ast.Await):
        above = source.parents.get(above)
    if isinstance(above, ast.Assign) and isinstance(above.targets[0], ast.Name):
        name = above.targets[0].id
    elif isinstance(above, ast.withitem) and isinstance(above.optional_vars, ast.Name):
        name = above.optional_vars.id
    if name is None:
        return False
    uses = [node for node in ast.walk(function.node) if isinstance(node, ast.Name) and node.id == name]
    loads = [source.parents.get(node) for node in uses if isinstance(node.ctx, ast.Load)]
    called = [each.attr for each in loads if isinstance(each, ast.Attribute)]
    return len(called) == len(loads) and any(command in _COMMANDS for command in called)


def _hands_on(call: ast.Call, function: Function) -> bool:
    """Return whether a function returns or yields what a call in it makes, or what is made of that."""
    results = [each for each in ast.walk(function.node) if isinstance(each, ast.Return | ast.Yield) and each.value]
    names = {
        target.id
        for each in ast.walk(function.node)
        if isinstance(each, ast.Assign) and any(below is call for below in ast.walk(each.value))
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    below = [node for result in results for node in ast.walk(result)]
    # What a command returns isn't the client.
    receivers = [node.value for node in below if isinstance(node, ast.Attribute) and node.attr in _COMMANDS]
    handed = [node for node in below if node not in receivers]
    return any(node is call or (isinstance(node, ast.Name) and node.id in names) for node in handed)


def _seen(
    pattern: Pattern,
    source: Source,
    call: ast.Call,
    function: Function | None,
    what: str,
    *,
    own_timeout: float | None = None,
    socket_timeout: float | None = None,
    size: int | None = None,
) -> Sighting:
    return Sighting(
        pattern,
        source.path,
        call.lineno,
        function.name if function else "",
        what,
        bool(function and function.on_request),
        own_timeout,
        socket_timeout,
        size,
    )

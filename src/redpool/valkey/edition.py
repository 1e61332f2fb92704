"""redpool's modules a second time, over valkey-py in the place of redis-py.

valkey-py is redis-py under other names. So all of redpool that imports redis-py, or what does, runs once more:
`redpool.sync.pool` as `redpool.valkey.sync.pool`, from the same code, in which `import redis` means valkey-py. What has
nothing to do with redis-py, such as `redpool.wire` and `redpool.deadline`, there is once for both.

Three things make that work. `Finder` finds the modules of this edition. Each of them has an `__import__` of its own,
`_import`, which says what its import statements mean. And its code says `valkey_connection` where redis-py has
`redis_connection`: see `WORDS`. No other module of the process sees a difference.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from types import CodeType, ModuleType
from typing import Any, cast

from . import complements

TWICE = ("errors", "core.pool", "redispy", "sync", "asyncio")
"""The modules of redpool that there are twice, with all that they consist of."""

FIRST, SECOND = "redpool.", "redpool.valkey."
"""What the names of an edition's modules begin with."""

THEIRS = f"{SECOND}theirs"
"""valkey-py, by the names that redis-py has for the same modules, classes and functions."""

WORDS = {
    "get_redis_connection": "get_valkey_connection",
    "redis_class": "valkey_class",
    "redis_connect_func": "valkey_connect_func",
    "redis_connection": "valkey_connection",
}
"""What redis-py calls methods, attributes and arguments, and what valkey-py calls them."""


# -- what import statements mean ---------------------------------------------------------------------------------------


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import for a module of this edition, as an import statement has it done."""
    if level and globals is not None:
        name = _of_this_edition(resolve_name("." * level + name, globals["__package__"]))
    elif name == "redis" or name.startswith("redis."):
        name = THEIRS + name.removeprefix("redis")
        if not fromlist:  # `import redis.client` binds `redis`
            import_module(name)
            return sys.modules[THEIRS]
    return builtins.__import__(name, globals, locals, fromlist or (), 0)


def _of_this_edition(name: str) -> str:
    """Return the name of the module that is meant: of most, and of the package, there is but one for both editions."""
    own = f"{name}.".removeprefix(SECOND)
    return name if any(own.startswith(f"{each}.") for each in TWICE) else (FIRST + own).removesuffix(".")


_BUILTINS = {**vars(builtins), "__import__": _import}


# -- finding and loading -----------------------------------------------------------------------------------------------


class Finder(MetaPathFinder):
    """Finds the modules of this edition: redpool's, and valkey-py's under redis-py's names."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002  as importlib calls it
        """Return how such a module is loaded; `None` for all others."""
        if name == THEIRS or name.startswith(f"{THEIRS}."):
            return find_theirs(name, name.removeprefix(THEIRS))
        return _found(name, FIRST + name.removeprefix(SECOND), _Again) if name.startswith(SECOND) else None


def find_theirs(name: str, within: str) -> ModuleSpec | None:
    """Return how a module of valkey-py's is loaded by this name, where `within` redis-py it has that one."""
    return _found(name, "valkey" + within.replace("hiredis", "libvalkey"), _Renamed)


def _found(name: str, original: str, loader: type[_Again | _Renamed]) -> ModuleSpec | None:
    spec = find_spec(original)
    if spec is None and original not in complements.MODULES:
        return None
    found = ModuleSpec(name, loader(original, spec), origin=None if spec is None else spec.origin)
    found.has_location = found.origin is not None
    found.submodule_search_locations = None if spec is None or spec.submodule_search_locations is None else []
    return found


class _Again(Loader):
    """Runs a module of redpool's again."""

    def __init__(self, original: str, spec: ModuleSpec | None) -> None:
        assert spec is not None
        self._original, self._loader = original, cast(InspectLoader, spec.loader)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code with the imports of this edition."""
        vars(module)["__builtins__"] = _BUILTINS
        exec(self.get_code(module.__name__), vars(module))

    def get_code(self, name: str) -> CodeType:  # noqa: ARG002  as importlib calls it
        """Return the module's code: it is the first edition's, with valkey-py's words."""
        code = self._loader.get_code(self._original)
        assert code is not None
        return in_their_words(code)

    def get_source(self, name: str) -> str | None:  # noqa: ARG002  as above
        """Return the module's source, which tracebacks show."""
        return self._loader.get_source(self._original)


def in_their_words(code: CodeType) -> CodeType:
    """Return the code, and that of the functions inside, with each of `WORDS` exchanged."""

    def exchanged(constant: object) -> object:
        if isinstance(constant, CodeType):
            return in_their_words(constant)
        if isinstance(constant, tuple):  # the names of arguments, for one
            return tuple(exchanged(each) for each in constant)
        return WORDS.get(constant, constant) if isinstance(constant, str) else constant

    return code.replace(
        co_names=tuple(WORDS.get(each, each) for each in code.co_names),
        co_varnames=tuple(WORDS.get(each, each) for each in code.co_varnames),
        co_consts=tuple(exchanged(each) for each in code.co_consts),
    )


class _Renamed(Loader):
    """Fills a module with what valkey-py's has, by redis-py's names, and with what that lacks."""

    def __init__(self, original: str, spec: ModuleSpec | None) -> None:
        self._original, self._exists = original, spec is not None

    def exec_module(self, module: ModuleType) -> None:
        """Copy valkey-py's names; modules inside of it come when they are imported themselves."""
        names = vars(module)
        for name, value in (vars(import_module(self._original)) if self._exists else {}).items():
            if name not in names and not isinstance(value, ModuleType):
                names[_redis_pys(name)] = value
        names.update(complements.MODULES.get(self._original, {}))


def _redis_pys(name: str) -> str:
    """Return what redis-py calls what valkey-py has by this name."""
    return name.replace("Libvalkey", "Hiredis").replace("Valkey", "Redis").replace("VALKEY", "REDIS")


sys.meta_path.append(Finder())

"""A plugin of pytest that has every `import redis` mean valkey-py, by the names that redis-py has.

So redpool's tests run over valkey-py: what they find holds for `redpool.valkey`, which is the same code over the same.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import valkey.cluster

# Under another name, since `redpool` itself would import redis-py; and under one whose code passes for valkey-py's own.
_apart = ModuleType("valkey.redpool")
_apart.__path__ = [str(Path(__file__).resolve().parents[2] / "src" / "redpool" / "valkey")]
sys.modules[_apart.__name__] = _apart
edition: Any = import_module("valkey.redpool.edition")


class Loader(SourceFileLoader):
    """Loads redpool's own modules with valkey-py's words, as those of `redpool.valkey` are."""

    def get_code(self, fullname: str) -> Any:
        """Return a module's code."""
        return edition.in_their_words(super().get_code(fullname))


class Finder(MetaPathFinder):
    """Finds valkey-py where redis-py is asked for."""

    def find_spec(self, name: str, path: Any = None, target: object = None) -> ModuleSpec | None:
        """Return how to load a module of redpool's, or of valkey-py's by redis-py's names."""
        spec: ModuleSpec | None = None
        if name == "redis" or name.startswith("redis."):
            spec = edition.find_theirs(name, name.removeprefix("redis"))
            if spec is None:
                raise ModuleNotFoundError(f"valkey-py has no {name}", name=name)
        elif name == "redpool" or name.startswith("redpool."):
            spec = PathFinder.find_spec(name, path)
            if spec is not None and spec.origin is not None:
                spec.loader = Loader(name, spec.origin)
        return spec


assert not [name for name in sys.modules if name in ("redis", "redpool") or name.startswith(("redis.", "redpool."))]
sys.meta_path.insert(0, Finder())
# What tests call by redis-py's names.
edition.complements.MODULES["valkey.cache"]["CacheConfig"] = edition.complements.Absent
edition.complements.MODULES["valkey.cluster"] = {"LoadBalancingStrategy": edition.complements.Absent}
_node: Any = valkey.cluster.ClusterNode
_node.redis_connection = property(lambda node: node.valkey_connection)

# -- what is otherwise in valkey-py ------------------------------------------------------------------------------------

_TIMED = "a connection's own timeout, 5 seconds, ends a subscriber's wait, too"
OTHERWISE = {
    "test_a_connection_reads_nothing_from_disk": "it asks how redis-py finds out its version",
    "test_the_other_shells_client_is_refused": "the text names redpool.valkey",
    "test_options_for_tls_want_a_connection_for_tls": "the text names valkey-py's class",
    "test_commands_and_their_callbacks": "a set is a list",
    "test_replicas_read_where_the_user_wants_it": "its clusters have no such strategies",
    "test_a_silent_path_is_replaced.*by_(waiting|listening)": _TIMED,
    "test_a_path_that_answers_is_kept.*by_(waiting|listening)-at leisure": _TIMED,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of what is otherwise."""
    for item in items:
        for name, reason in OTHERWISE.items():
            if re.search(name, item.name):
                item.add_marker(pytest.mark.skip(reason=f"valkey-py: {reason}"))

"""Who may import whom, as a table; and the names that users rely on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import redpool
import redpool.asyncio

SOURCE = Path(redpool.__file__).parent

STDLIB = "the standard library"
ANY = "anything that users have"

# What stands beside the package in the project and is not in the wheel.
NOT_SHIPPED = {"benchmarks", "tests"}

# The longest entry that a module's name begins with decides. "redpool" itself is the package's own `__init__`.
MAY_IMPORT: dict[str, set[str]] = {
    # The four last are imported when they are first used.
    "redpool": {
        STDLIB, "redpool.budget", "redpool.core", "redpool.errors", "redpool.deadline", "redpool.priority",
        "redpool.sync", "redpool.asyncio", "redpool.embedded", "redpool.installation", "redpool.valkey",
        "redpool.registry", "redpool.signals", "redpool.version", "redpool.fleet.publisher",
    },
    "redpool.installation": {STDLIB, "redpool.core", "redpool.redispy", "redpool.sync", "redpool.asyncio"},
    "redpool.errors": {STDLIB, "redis.exceptions"},
    "redpool.version": set(),
    "redpool.registry": {STDLIB, "redpool.core"},
    "redpool.forks": {STDLIB, "redpool.registry"},
    "redpool.alarm": {STDLIB},
    "redpool.threads": {STDLIB},
    "redpool.background": {STDLIB, "redpool.alarm", "redpool.forks", "redpool.threads"},
    "redpool.signals": {STDLIB, "redpool.registry", "redpool.metrics.logs"},
    "redpool.blocks": {STDLIB},
    "redpool.deadline": {STDLIB, "redpool.blocks"},
    "redpool.priority": {STDLIB, "redpool.blocks"},
    "redpool.budget": {
        STDLIB, "redpool.core", "redpool.background", "redpool.redispy.factory", "redpool.redispy.naming",
        "redpool.redispy.options", "redpool.threads", "redis.backoff", "redis.connection", "redis.exceptions",
        "redis.retry",
    },
    "redpool.core": {STDLIB, "redpool.errors"},
    "redpool.wire": {STDLIB, "redpool.errors", "hiredis"},
    "redpool.redispy": {
        STDLIB, "redis", "hiredis", "redpool.errors", "redpool.forks", "redpool.registry", "redpool.deadline",
        "redpool.priority", "redpool.core", "redpool.wire", "redpool.version",
    },
    # Both are imported when redis-py's recorder is on.
    "redpool.redispy.recording": {
        STDLIB, "redpool.redispy", "redpool.core", "redpool.registry", "redpool.metrics.histograms", "opentelemetry",
    },
    # A pool's `advice()` imports the advisor when it is called.
    "redpool.redispy.surface": {
        STDLIB, "redis", "redpool.core", "redpool.redispy", "redpool.tuning.advice",
    },
    # Of redis-py the shells need what stands in their signatures and what they raise.
    "redpool.sync": {
        STDLIB, "redpool.core", "redpool.wire", "redpool.errors", "redpool.forks", "redpool.registry", "redpool.alarm",
        "redpool.threads", "redpool.deadline", "redpool.redispy", "redis.client", "redis.connection",
        "redis.exceptions", "redis.maint_notifications",
    },
    "redpool.asyncio": {
        STDLIB, "redpool.budget", "redpool.core", "redpool.wire", "redpool.errors", "redpool.forks",
        "redpool.registry", "redpool.deadline", "redpool.priority", "redpool.redispy", "redis.asyncio.client",
        "redis.asyncio.connection", "redis.exceptions",
        "redis.maint_notifications",
    },
    # redis-py's own code knows the topology.
    "redpool.sync.cluster": {
        STDLIB, "redpool.sync", "redpool.redispy", "redpool.wire", "redpool.deadline", "redpool.errors",
        "redpool.forks", "redis.client", "redis.cluster", "redis.exceptions",
    },
    "redpool.sync.sentinel": {
        STDLIB, "redpool.sync", "redpool.redispy", "redpool.wire", "redpool.deadline", "redis.sentinel",
        "redis.exceptions",
    },
    "redpool.asyncio.cluster": {
        STDLIB, "redpool.asyncio", "redpool.redispy", "redpool.wire", "redpool.deadline", "redis.asyncio.cluster",
        "redis.exceptions",
    },
    "redpool.asyncio.sentinel": {
        STDLIB, "redpool.asyncio", "redpool.redispy", "redpool.wire", "redpool.deadline", "redis.asyncio.sentinel",
        "redis.exceptions",
    },
    "redpool.embedded": {STDLIB},
    # `redpool.valkey.sync` and the like are the modules above, once more.
    "redpool.valkey": {STDLIB, "redpool.budget", "redpool.core", "redpool.deadline", "redpool.priority"},
    "redpool.valkey.keywords": {STDLIB, "redpool.core.config", "redpool.redispy.keywords", "valkey"},
    "redpool.valkey.edition": {STDLIB, "redpool.valkey.complements"},
    "redpool.valkey.complements": {STDLIB, "hiredis", "valkey"},
    "redpool.metrics": {
        STDLIB, "redpool.alarm", "redpool.core.callsite", "redpool.core.config", "redpool.core.stats",
        "redpool.core.histogram", "redpool.core.instrument", "prometheus_client", "opentelemetry", "datadog",
    },
    "redpool.fleet": {
        STDLIB, "redpool.core.arrivals", "redpool.core.callsite", "redpool.core.config", "redpool.core.histogram",
        "redpool.core.record", "redpool.core.stats", "redpool.background", "redpool.command_line", "redpool.registry",
        "redpool.redispy.factory", "redpool.redispy.naming", "redpool.redispy.options", "redpool.version",
        "redpool.wire.client_names", "redpool.wire.server_replies", "redis",
    },
    "redpool.fleet.model": {STDLIB, "redpool.core.histogram"},
    "redpool.fleet.encoding": {
        STDLIB, "redpool.core.arrivals", "redpool.core.histogram", "redpool.core.record", "redpool.fleet.model",
    },
    # The core's layer is that of what reports are made of.
    "redpool.top": {STDLIB, "redpool.fleet", "redpool.core.histogram", "redpool.command_line", "rich", "textual"},
    "redpool.dashboard": {STDLIB, "redpool.fleet", "redpool.core.histogram", "starlette"},
    "redpool.dashboard.command": {
        STDLIB, "redpool.fleet", "redpool.dashboard", "uvicorn",
    },
    "redpool.testing": {STDLIB, "redis", "hiredis", "redpool.core"},
    # All but the commands is pure, and stands on the core alone.
    "redpool.tuning": {STDLIB, "redpool.core"},
    "redpool.tuning.command": {ANY},
    "redpool.tuning.what_if": {ANY},
    "redpool.tuning.screen": {ANY},
    "redpool.startup": {STDLIB, "redpool.installation"},
    "redpool.contrib": {ANY},
    "redpool.instrumentation": {ANY},
    "redpool.bench": {ANY},
    "redpool.demo": {ANY},
    "redpool.doctor": {
        STDLIB, "redpool", "redpool.core", "redpool.wire", "redpool.redispy", "redpool.fleet", "redpool.tuning.advice",
        "redpool.tuning.counters", "redpool.command_line", "redis", "rich",
    },
    "redpool.command_line": {STDLIB, "rich"},
    "redpool.cli": {ANY},
    "redpool.__main__": {STDLIB, "redpool.cli"},
}  # fmt: skip

# What has no place in a package that never performs I/O, waits or looks at a clock.
IMPURE = {"threading", "asyncio", "socket", "ssl", "select", "selectors", "time", "logging"}
PURE = ("redpool.core", "redpool.wire")

NAMES = [
    "BlockingConnectionPool", "Budget", "ConnectionPool", "DeadlineExceeded", "Instrument", "MultiplexedConnectionPool",
    "MultiplexedPoolStats", "PoolClosed", "PoolDump", "PoolFull", "PoolOverloaded", "PoolStats", "PoolTimeout", "Redis",
    "RedisCluster", "ReplyLate", "ReplyLost", "Sentinel", "deadline", "from_url", "priority",
]  # fmt: skip


def module_name(path: Path) -> str:
    parts = ["redpool", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports(name: str, path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, with relative names made absolute."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            yield from (each if each in MODULES else module for each in submodules)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer_of(name: str) -> str:
    entries = [entry for entry in MAY_IMPORT if within(name, entry) and (entry != "redpool" or name == entry)]
    return max(entries, key=len, default="")


def allowed(name: str, imported: str) -> bool:
    layer = layer_of(name)
    may = MAY_IMPORT[layer]
    if imported.split(".", maxsplit=1)[0] in NOT_SHIPPED:
        return False
    if ANY in may or (within(imported, layer) and layer != "redpool"):
        return True
    if imported.split(".", maxsplit=1)[0] in sys.stdlib_module_names:
        return not (layer in PURE and imported.split(".", maxsplit=1)[0] in IMPURE)
    return any(within(imported, each) for each in may)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_its_layer_may(name: str) -> None:
    """The table above is the architecture; a module outside of it has no layer yet."""
    assert layer_of(name), f"{name} is in no layer: give it one in MAY_IMPORT"
    wrong = {imported for imported in imports(name, MODULES[name]) if not allowed(name, imported)}
    assert not wrong, f"{name} may not import {sorted(wrong)}"


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("redpool.core.pool", "threading"),
        ("redpool.core.pool", "time"),
        ("redpool.core.pool", "redis"),
        ("redpool.core.pool", "redpool.sync.pool"),
        ("redpool.wire.pipeline", "redpool.core.pool"),
        ("redpool.sync.pool", "redpool.asyncio.pool"),
        ("redpool.asyncio.pool", "redpool.sync.pool"),
        ("redpool.redispy.surface", "redpool.sync.pool"),
        ("redpool.errors", "redis"),
        ("redpool.embedded", "redis"),
        ("redpool.bench.command", "benchmarks.peers"),
        ("redpool", "rich"),
    ],
)
def test_the_table_forbids_what_it_should(name: str, imported: str) -> None:
    """The check would see it."""
    assert not allowed(name, imported)


def test_every_kind_of_import_is_seen(tmp_path: Path) -> None:
    """Relative, nested, renamed: nothing slips through."""
    path = tmp_path / "pool.py"
    path.write_text(
        "import a.b as c\nfrom . import policy, nothing\nfrom ..errors import PoolFull\nfrom .slot import Slot\n"
        "def later():\n    import time\n"
    )
    seen = set(imports("redpool.core.pool", path))
    assert seen == {"a.b", "redpool.core.policy", "redpool.core", "redpool.errors", "redpool.core.slot", "time"}


def imported_modules(name: str) -> set[str]:
    """The modules of the package that a module imports, without the packages that it is in itself."""
    found = set()
    for imported in imports(name, MODULES[name]):
        module = imported
        while module and module not in MODULES:
            module = module.rpartition(".")[0]
        if module and not within(name, module):
            found.add(module)
    return found


def circles(graph: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """The groups of modules each of which is reached from each of the others (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: set[frozenset[str]] = set()

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        path.append(name)
        for imported in graph[name]:
            if imported not in order:
                visit(imported)
            if imported in path:
                lowest[name] = min(lowest[name], lowest[imported])
        if lowest[name] == order[name]:
            circle = frozenset(path[path.index(name) :])
            del path[path.index(name) :]
            if len(circle) > 1:
                found.add(circle)

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_no_import_circle() -> None:
    """Each module can be read without those that use it, its types included."""
    found = circles({name: imported_modules(name) for name in MODULES})
    assert not found, [sorted(circle) for circle in found]


def test_a_circle_is_seen() -> None:
    """The check would see one, however long; a chain or a diamond is none."""
    graph = {"a": "b", "b": "cx", "c": "a", "d": "ae", "e": "f", "f": "e", "x": ""}
    assert circles(graph) == {frozenset("abc"), frozenset("ef")}
    assert circles({"a": "bc", "b": "d", "c": "d", "d": ""}) == set()


@pytest.mark.parametrize("module", ["redpool", "redpool.asyncio"])
def test_importing_the_pool_imports_nothing_that_only_the_command_line_needs(module: str) -> None:
    """In a fresh interpreter: no `rich`, no demo, no bench."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert module in loaded
    unwanted = ("rich", "textual", "redpool.cli", "redpool.demo", "redpool.bench", "redpool.top")
    assert not [name for name in loaded if any(within(name, each) for each in unwanted)]


@pytest.mark.parametrize("module", [redpool, redpool.asyncio])
def test_the_public_names_are_these(module: object) -> None:
    """For threads and for event loops the same; adding one is a decision."""
    exported = list(module.__all__)  # type: ignore[attr-defined]
    assert exported == NAMES
    assert all(hasattr(module, name) for name in exported)


def test_both_have_the_same_errors_and_stats() -> None:
    """Only the pools and the clients are others."""
    others = {name for name in NAMES if getattr(redpool, name) is not getattr(redpool.asyncio, name)}
    assert others <= {
        "BlockingConnectionPool", "ConnectionPool", "MultiplexedConnectionPool", "Redis", "RedisCluster", "Sentinel",
        "from_url",
    }  # fmt: skip
    assert "ConnectionPool" in others

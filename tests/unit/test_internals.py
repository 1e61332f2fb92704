"""What redpool relies on inside redis-py is there in the installed version, and all of it is on the list."""

from __future__ import annotations

import ast
import dis
import inspect
import logging
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import redis

import redpool
from matrix.versions import MINOR_VERSIONS, VALKEY
from redpool.redispy import internals
from redpool.redispy.internals import PRIVATE

ROOT = Path(__file__).parents[2]
SOURCE = Path(redpool.__file__).parent
THEIRS = Path(redis.__file__).parent
NAME = re.compile(r"_[a-zA-Z]\w*")
RUFF = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]

# Of the standard library, or redpool's own on objects of redis-py's.
NOT_THEIRS = {"_getframe", "_is_owned", "_redpool"}
# Read of an object of redpool's own, whatever else in redis-py is called so.
FRIENDS = {"_connected"}
# Packages and modules that know nothing of redis-py's inside.
APART = ("core", "wire", "bench", "demo", "metrics", "contrib", "cli", "embedded", "valkey", "__main__")


def functions(owner: type) -> Iterator[FunctionType]:
    """Yield the functions that a class defines, those of its properties and under its decorators, too."""
    for value in vars(owner).values():
        for found in (value, *(getattr(value, name, None) for name in ("fget", "fset", "__func__"))):
            if isinstance(function := inspect.unwrap(found) if callable(found) else found, FunctionType):
                yield function


@cache
def sets(owner: type) -> set[str]:
    """Return the names that the functions of a class set on anything."""
    steps = (step for function in functions(owner) for step in dis.get_instructions(function))
    return {step.argval for step in steps if step.opname == "STORE_ATTR"}


def has(owner: type, name: str) -> bool:
    """Return whether a class, or one that it is derived from, defines a name or sets it on its instances."""
    return hasattr(owner, name) or any(name in sets(base) for base in owner.__mro__)


MAINTENANCE = {name for names in PRIVATE.values() for name in names if "maint_notifications" in name} | {
    "_get_parser", "_get_free_connections", "_get_in_use_connections", "_get_pool_lock", "_on_close",
    "_run_proactive_reconnect_without_locking", "_should_update_connection",
    "_update_connections_settings_without_locking",
}  # fmt: skip

# Where the owner's name begins so, these names come with a feature.
COME_WITH: list[tuple[str, set[str], str]] = [
    ("redis.asyncio", {"_himport_prepared", "_himport_reconciled_revision"}, "fieldsets"),
    ("redis.asyncio.connection", MAINTENANCE, "maintenance notifications on event loops"),
    ("redis.asyncio.connection.ConnectionPool", {"_lock"}, "asynchronous credentials"),
    ("redis.client.PubSub", {"_lock"}, "events"),
    ("redis.connection", MAINTENANCE, "maintenance notifications"),
    ("redis.connection.ConnectionPool", {"_pool_id"}, "OpenTelemetry recording"),
    ("redis.observability", {"_provider_manager"}, "OpenTelemetry recording"),
    ("redis.observability", {"_metrics_collector"}, "OpenTelemetry recording"),
    ("redis.asyncio.observability", {"_get_or_create_collector"}, "OpenTelemetry recording on event loops"),
    ("redis.cluster", {"_record_command_metric"}, "OpenTelemetry recording on event loops"),
    ("redis.asyncio.cluster", {"_record_command_metric"}, "OpenTelemetry recording on event loops"),
    ("redis.cluster.RedisCluster", MAINTENANCE, "RESP3 by default"),
    ("redis.cluster.RedisCluster", {"_policy_resolver"}, "policies of a cluster's commands"),
    ("redis.asyncio.cluster.RedisCluster", {"_policy_resolver"}, "policies of a cluster's commands"),
    ("redis.cluster", set(PRIVATE["redis.cluster.PipelineStrategy"]), "cluster pipelines by strategies"),
    ("redis.cluster", {"_execution_strategy", "_reinitialize_on_error"}, "cluster pipelines by strategies"),
    ("redis.asyncio.cluster", {"_execution_strategy", "_reinitialize_on_error"}, "cluster pipelines by strategies"),
    (
        "redis.asyncio.cluster",
        set(PRIVATE["redis.asyncio.cluster.PipelineStrategy"]),
        "cluster pipelines by strategies",
    ),
]

STOOD_IN = {
    "redis.connection.Connection": internals.STAND_INS,
    "redis.asyncio.connection.Connection": internals.STAND_INS_ASYNC,
}


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE.items() for name in names])
def test_a_private_name_is_there(owner: str, name: str) -> None:
    """A release of redis-py that renames one fails here, not in the midst of a call."""
    for begins, names, feature in COME_WITH:
        if owner.startswith(begins) and name in names and not internals.has(feature):
            pytest.skip(f"this redis-py lacks {feature}")
    assert any(has(each, name) for each in (pkgutil.resolve_name(owner), *STOOD_IN.get(owner, ())))


def test_a_name_that_is_gone_would_be_seen() -> None:
    """Neither of the class, nor set on its instances."""
    assert not has(redis.Connection, "_socket_of_yore")


@pytest.mark.parametrize(
    ("version", "newer"), [((5, 2, 0), False), ((8, 1, 9), False), ((8, 2, 0), True), ((9, 0), True)]
)
def test_a_version_newer_than_the_tested_ones_is_logged(
    caplog: pytest.LogCaptureFixture, version: tuple[int, ...], newer: bool
) -> None:
    """Its inside may differ; what is older is no news, since the package requires what is supported."""
    caplog.set_level(logging.INFO, logger="redpool")
    internals.check_version(version)
    assert ("newer than 8.1" in caplog.text) is newer


def test_what_a_version_lacks_is_said_by_name() -> None:
    """With the option that asks for it, and the version that is needed."""
    assert all(internals.has(feature) for feature in internals.FEATURES) or redis.VERSION[:2] < internals.NEWEST_TESTED
    for feature, (since, _) in internals.FEATURES.items():
        if internals.has(feature):
            internals.require(feature, "option")
        else:
            with pytest.raises(
                redis.RedisError, match=f"option: {feature} .* {since} or newer, .* {redis.__version__}"
            ):
                internals.require(feature, "option")


def test_the_versions_that_are_allowed_are_run() -> None:
    """From the first that the package allows to the newest that is known; the workflow runs each."""
    first, newest = MINOR_VERSIONS[0], MINOR_VERSIONS[-1]
    assert newest == ".".join(map(str, internals.NEWEST_TESTED))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"redis>={first},<{internals.NEWEST_TESTED[0] + 1}" in project["dependencies"]
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    listed = ", ".join(f'"{version}"' for version in (*MINOR_VERSIONS, VALKEY))
    assert f"redis-py: [{listed}]" in workflow


def test_the_page_of_versions_says_what_comes_with_which() -> None:
    """Each feature behind the version that has it."""
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    for feature, (since, _) in internals.FEATURES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {since} |") and feature in line]
        assert row


# -- the list is complete ----------------------------------------------------------------------------------------------


def defined(tree: ast.AST) -> Iterator[str]:
    """Yield the names that code defines, or sets on anything."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def set_by(tree: ast.AST) -> Iterator[str]:
    """Yield the names that classes define for themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (each.id for each in targets if isinstance(each, ast.Name))


def modules(folder: Path) -> dict[str, Path]:
    """Return the modules in a folder by their dotted names within it."""
    return {".".join(path.relative_to(folder).with_suffix("").parts): path for path in sorted(folder.rglob("*.py"))}


OURS = {name: path for name, path in modules(SOURCE).items() if name.partition(".")[0] not in APART}


@cache
def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def their_names() -> set[str]:
    """Return the private names of redis-py's own code."""
    trees = map(parsed, modules(THEIRS).values())
    return {name for tree in trees for name in defined(tree) if NAME.fullmatch(name)} - NOT_THEIRS


@cache
def our_names() -> set[str]:
    """Return the names that redpool's classes define for themselves."""
    return {name for path in OURS.values() for name in set_by(parsed(path))}


def foreign(tree: ast.AST) -> set[str]:
    """Return the private names of redis-py's that code reads of another object, or of what it is derived from."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in their_names():
            of_itself = ast.unparse(node.value) in ("self", "cls", "type(self)")
            if not of_itself or node.attr not in our_names():
                found.add(node.attr)
    return found


def listed(module: str) -> set[str]:
    """Return the private names that a module uses by the list."""
    return {name for names in PRIVATE.values() for name, users in names.items() if module in users.split()}


@pytest.mark.parametrize("module", OURS)
def test_what_a_module_reads_is_listed(module: str) -> None:
    """Read, set or called, of redis-py's objects or by a class derived from redis-py's."""
    assert foreign(parsed(OURS[module])) - FRIENDS <= listed(module)


def overridden() -> Iterator[tuple[str, str]]:
    """Yield each private method of redis-py's that a class of redpool's overrides, with the module."""
    for found in pkgutil.walk_packages([str(SOURCE)], "redpool."):
        if found.name.removeprefix("redpool.").partition(".")[0] in APART:
            continue
        for owner in vars(pkgutil.resolve_name(found.name)).values():
            if isinstance(owner, type) and owner.__module__ == found.name:
                bases = [base for base in owner.__mro__ if base.__module__.partition(".")[0] == "redis"]
                names = [name for name in vars(owner) if NAME.fullmatch(name) and not name.startswith("__")]
                yield from ((found.name.removeprefix("redpool."), name) for name in names
                            if any(name in vars(base) or has(base, name) for base in bases))  # fmt: skip


def test_what_is_overridden_is_listed() -> None:
    """A release that no longer calls it would change what redpool does."""
    made_by_python = {"_abc_impl", "_is_protocol"}
    ours = {"_redpool_tracking"}  # on a class of which another test has made connections
    assert not {(module, name) for module, name in overridden() if name not in listed(module) | made_by_python | ours}


@pytest.mark.parametrize(
    ("module", "name"),
    sorted({(m, name) for names in PRIVATE.values() for name, users in names.items() for m in users.split()}),
)
def test_what_is_listed_is_used(module: str, name: str) -> None:
    """The list says no more than there is."""
    text = (SOURCE / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    text = text if module != "redispy.internals" else text.replace(f'"{name}": "', "")
    assert re.search(rf"\b{name}\b", text)


def test_ruff_allows_these_names_alone() -> None:
    """So it reports each other private name that code reads of another object."""
    allowed: list[Any] = RUFF["flake8-self"]["extend-ignore-names"]
    assert sorted(allowed) == sorted(NOT_THEIRS.union(*PRIVATE.values()))

"""What redpool relies on inside redis-py is there in the installed version, and all of it is on the list."""

from __future__ import annotations

import ast
import dis
import inspect
import pkgutil
import re
import tomllib
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import redis

import redpool
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
APART = ("core", "wire", "bench", "demo", "metrics", "contrib", "cli", "embedded", "__main__")


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


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE.items() for name in names])
def test_a_private_name_is_there(owner: str, name: str) -> None:
    """A release of redis-py that renames one fails here, not in the midst of a call."""
    assert has(pkgutil.resolve_name(owner), name)


def test_a_name_that_is_gone_would_be_seen() -> None:
    """Neither of the class, nor set on its instances."""
    assert not has(redis.Connection, "_socket_of_yore")


@pytest.mark.parametrize(
    ("inside", "version"), [(False, (8, 0, 1)), (True, (8, 1, 0)), (True, (8, 9)), (False, (9, 0))]
)
def test_another_version_is_warned_of(inside: bool, version: tuple[int, ...]) -> None:
    """The range is the one that the package requires."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        internals.check_version(version)
    assert bool(caught) is not inside
    first, end = (".".join(map(str, each)) for each in internals.MADE_FOR)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"redis>={first},<{end}" in project["dependencies"]


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


def parsed(folder: Path) -> dict[str, ast.AST]:
    """Return the modules in a folder by their dotted names within it."""
    paths = sorted(folder.rglob("*.py"))
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
    }


OURS = {name: tree for name, tree in parsed(SOURCE).items() if name.partition(".")[0] not in APART}
THEIR_NAMES = {name for tree in parsed(THEIRS).values() for name in defined(tree) if NAME.fullmatch(name)}
OUR_NAMES = {name for tree in OURS.values() for name in set_by(tree)}


def foreign(tree: ast.AST) -> set[str]:
    """Return the private names of redis-py's that code reads of another object, or of what it is derived from."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in THEIR_NAMES - NOT_THEIRS:
            of_itself = ast.unparse(node.value) in ("self", "cls", "type(self)")
            if not of_itself or node.attr not in OUR_NAMES:
                found.add(node.attr)
    return found


def listed(module: str) -> set[str]:
    """Return the private names that a module uses by the list."""
    return {name for names in PRIVATE.values() for name, users in names.items() if module in users.split()}


@pytest.mark.parametrize("module", OURS)
def test_what_a_module_reads_is_listed(module: str) -> None:
    """Read, set or called, of redis-py's objects or by a class derived from redis-py's."""
    assert foreign(OURS[module]) - FRIENDS <= listed(module)


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

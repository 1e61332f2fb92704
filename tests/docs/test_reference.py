"""What stands in the reference by hand is what the code says: options with their defaults, log lines, reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import redpool
import redpool.asyncio
from redpool.core.config import MultiplexedConfig
from redpool.core.slot import Reason

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "redpool"
# `| name | default | meaning |`
OPTION = re.compile(r"^\| `([a-z_]+)` \| `?([^|`]+)`? \|", re.MULTILINE)
LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}
# What stands for a value: in a format of `logging`, in an f-string.
VALUE = re.compile(r"%[srdg]|\{[^}]*\}")


def read(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def logged(code: str) -> Iterator[tuple[str, str]]:
    """Yield the level and the longest fixed part of each line that some code logs."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[ast.Constant(value=str(text)), *_]):
                named = ast.unparse(logger).rpartition(".")[2] == "logger"
                if named and level in LEVELS and (part := max(VALUE.split(text), key=len)).strip(" :"):
                    yield LEVELS[level], part.strip(" :")


def lines_logged() -> list[tuple[str, str]]:
    code = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    return sorted({found for text in code for found in logged(text)})


def test_each_option_has_its_line_and_its_default() -> None:
    """In the tables. The defaults of `name` and `service` depend on the connection, and on the program."""
    defaults = {each.name: repr(each.default).replace("'", '"') for each in fields(MultiplexedConfig)}
    assert dict(OPTION.findall(read("options.md"))) == defaults | {
        "name": "host:port/db",
        "service": "the program's name",
    }


def test_each_line_that_is_logged_is_explained() -> None:
    """With its level."""
    rows, lines = read("logs.md").splitlines(), lines_logged()
    assert lines
    assert not [
        (level, part)
        for level, part in lines
        if not any(row.startswith(f"| {level} |") and part in row for row in rows)
    ]


def test_a_line_that_is_not_explained_would_be_found() -> None:
    """By its level, and by what is fixed in it."""
    assert list(logged('self.logger.info("%s: it is %d o\'clock", x, 3)')) == [("INFO", "it is")]
    assert list(logged('logger.warning("%s", x)\nother.info("no")')) == []


def test_each_reason_is_explained() -> None:
    """Of `stats().closed`, of the hooks and of the debug log."""
    reasons = re.findall(r"^\| `([\w ]+)` \|", read("stats.md"), re.MULTILINE)
    assert reasons == [reason.value for reason in Reason]


def shown() -> set[str]:
    """The names that have an entry."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    return set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))


def test_each_public_name_of_a_framework_is_in_the_reference() -> None:
    """The classes and functions of its module, and the names in it that have a docstring; and how to install them."""
    modules = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in (SOURCE / "contrib").glob("*.py")}
    del modules["__init__"], modules["pools"]  # the pools are what the modules share
    assert modules
    named = {f"redpool.contrib.{module}.{name}" for module, tree in modules.items() for name in documented(tree)}
    assert named | {"redpool.install", "redpool.uninstall"} <= shown()


def documented(tree: ast.Module) -> Iterator[str]:
    """Yield the public names that a module defines with a docstring."""
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found = name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                found = name if is_text else "_"
            case _:
                continue
        if not found.startswith("_"):
            yield found


def test_all_that_stats_and_dumps_are_made_of_is_in_the_reference() -> None:
    """With each of their fields, as the pages show those without a docstring, too."""
    made_of = {f"redpool.core.stats.{name}" for name in ("Lease", "Waiter", "Call", "Decision")}
    assert made_of | {"redpool.core.histogram.Summary"} <= shown()


def test_each_public_name_is_in_the_reference() -> None:
    """Those of `redpool` under that name; of `redpool.asyncio`, those that differ."""
    # The class in a module of its own name has to be named there in full.
    names = {re.sub(r"^redpool\.(\w+)\.\1$", r"redpool.\1", name) for name in shown()}
    own = {name for name in redpool.asyncio.__all__ if getattr(redpool.asyncio, name) is not getattr(redpool, name)}
    assert {f"redpool.{name}" for name in redpool.__all__} | {f"redpool.asyncio.{name}" for name in own} <= names

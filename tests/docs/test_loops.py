"""Where loops stand, since CPython leaves them open to interruptions.

From CPython 3.12 on no handler covers the jump from the end of a loop back to its beginning, although an asynchronous
exception or a signal handler may raise there: `with lock:` around a loop leaves the lock locked then. A function that
is called in the block may loop as it likes, since the call is covered. So is `return call()` in the block: what comes
when the call returns is raised as if the call did.
"""

from __future__ import annotations

import ast
import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import redpool

SOURCE = Path(redpool.__file__).parent
# What callers of a pool run in their threads. A task is canceled only where it awaits.
FILES = sorted(path for name in ("core", "wire", "redispy", "sync") for path in (SOURCE / name).glob("*.py"))

_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp)
_APART = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.GeneratorExp)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """What runs in the same frame; of a task, only until it awaits."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _APART):
            yield child
            yield from _inside(child)


def _must_be_left_whole(node: ast.AST) -> list[ast.stmt]:
    """Return the block of a statement that has something to put right where an interruption ends it."""
    if isinstance(node, ast.With):
        harmless = all(ast.unparse(item.context_expr).startswith("contextlib.suppress(") for item in node.items)
        return [] if harmless else node.body
    if isinstance(node, ast.Try):
        catches = any(each.type is None or ast.unparse(each.type) == "BaseException" for each in node.handlers)
        return node.body if catches or node.finalbody else []
    return []


def open_loops(tree: ast.AST) -> list[int]:
    """Return the lines of loops that an interruption could leave past the handler around them."""
    tasks = {id(each) for task in ast.walk(tree) if isinstance(task, ast.AsyncFunctionDef) for each in ast.walk(task)}
    blocks = [each for node in ast.walk(tree) if id(node) not in tasks for each in _must_be_left_whole(node)]
    found = [each for block in blocks for each in (block, *_inside(block)) if isinstance(each, _LOOPS)]
    return sorted({each.lineno for each in found})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_loop_stands_where_its_end_must_be_covered(path: Path) -> None:
    """A `with` and a `try` that put something right call a function that loops; they don't loop themselves."""
    assert open_loops(ast.parse(path.read_text())) == []


def test_a_loop_under_a_lock_is_found() -> None:
    """The rule finds loops, comprehensions among them, but neither calls nor generators."""
    source = (
        "with lock:\n    for each in all:\n        pass\n    [each for each in all]\n    any(each for each in all)\n"
    )
    assert open_loops(ast.parse(source)) == [2, 4]


def test_the_way_out_of_a_return_is_covered() -> None:
    """An exception that is pending as the returned call ends leaves no lock behind."""
    lock, raise_in = threading.RLock(), ctypes.pythonapi.PyThreadState_SetAsyncExc
    me, error = ctypes.c_ulong(threading.get_ident()), ctypes.py_object(InterruptedError)

    def interrupted() -> Any:
        with lock:
            return raise_in(me, error)

    with pytest.raises(InterruptedError):
        interrupted()
    assert not lock._is_owned()  # type: ignore[attr-defined]

"""How a container is copied that a finalizer, or another thread, may change meanwhile.

In CPython up to 3.11 the collector may come wherever an object is made, and with it finalizers and other threads. So a
copy must make none while it iterates, else it ends with `RuntimeError: dictionary changed size during iteration`:

- `list(d)`, `[*d]`, `list(d.values())` and `d.copy()` make none: these are one step.
- `list(d.items())` makes a tuple for each item; `d.copy().items()` is what looks at a copy.
- `tuple(d)` makes the tuple when it iterates already; `(*d,)` makes a list first.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import redpool
from support.collecting import while_collecting

SOURCE = Path(redpool.__file__).parent
WHERE_THREADS_MEET = ("", "core", "wire", "redispy", "sync", "asyncio", "metrics", "instrumentation")
FILES = sorted(path for name in WHERE_THREADS_MEET for path in (SOURCE / name).glob("*.py"))

_STEPS: list[Callable[[Any], object]] = [list, lambda d: [*d], lambda d: (*d,), lambda d: d.copy()]
_OF_DICTS: list[Callable[[Any], object]] = [dict, lambda d: list(d.values()), lambda d: list(d.copy().items())]
_KINDS: list[Callable[[Any], Any]] = [dict.fromkeys, OrderedDict.fromkeys, Counter, deque, set]


def _is_shared(node: ast.expr) -> bool:
    """Return whether it may be: an attribute, or a private name of the module's. What a function made is its own."""
    return isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id.startswith("_"))


def _in_several_steps(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1):
        return False
    copy, container, view = node.func.id, node.args[0], ""
    if isinstance(container, ast.Call) and isinstance(container.func, ast.Attribute) and not container.args:
        view, container = container.func.attr, container.func.value
    makes_tuples = view == "items" and copy in ("list", "tuple", "sorted")
    return (makes_tuples or (view in ("", "keys", "values") and copy == "tuple")) and _is_shared(container)


def copies_in_several_steps(tree: ast.AST) -> list[int]:
    """Return the lines of copies of what others may change meanwhile."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and _in_several_steps(node)]


def test_a_copy_is_one_step() -> None:
    """What others may change is never copied in several."""
    found = {path: copies_in_several_steps(ast.parse(path.read_text())) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_copies_in_several_steps_are_found() -> None:
    """Of attributes, and of the module's own containers."""
    found = ["tuple(self.a)", "list(_of_all.items())", "sorted(a.b.items())", "tuple(self.a.values())"]
    fine = ["list(self.a)", "tuple(a)", "self.a.copy().items()", "list(self.a.values())", "tuple(a for a in self.b)"]
    assert copies_in_several_steps(ast.parse("\n".join([*fine, *found]))) == [6, 7, 8, 9]


@pytest.mark.parametrize("kind", _KINDS)
def test_one_step_is_one(kind: Callable[[Any], Any]) -> None:
    """The collector doesn't come into it, nor does who changes the container meanwhile."""
    container = kind([object() for _ in range(3)])
    change = getattr(container, "append", None) or getattr(container, "add", None)
    steps = [*_STEPS, *_OF_DICTS] if change is None else _STEPS
    while_collecting(
        lambda: change(object()) if change is not None else container.update({object(): 1}),
        *(partial(step, container) for step in steps),
    )


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there the collector comes between two bytecodes")
@pytest.mark.parametrize("copy", [lambda d: list(d.items()), tuple])
def test_several_steps_are_several(copy: Callable[[Any], object]) -> None:
    """The rule is needed: the copy finds the container changed."""
    container: dict[object, None] = dict.fromkeys([object() for _ in range(3)])
    with pytest.raises(RuntimeError, match="dictionary changed size during iteration"):
        while_collecting(lambda: container.update({object(): None}), partial(copy, container))

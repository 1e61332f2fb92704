"""What CONTRIBUTING.md says of style, where ruff has no rule for it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py"))
PURE = [path for path in SOURCE if path.parent.name in ("core", "wire")]
TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)]

TO_BE_DONE = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
# The code of what is to be ignored, and in the same line why.
NO_REASON = re.compile(r"#\s*type:\s*ignore(?!\[[\w, -]+\]  # \w)|#\s*noqa(?!: [A-Z]+\d+(?:, [A-Z]+\d+)*  \S)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def comments(code: str) -> list[tuple[int, str]]:
    """Return each comment in Python code, with its line."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def put_off(code: str) -> list[int]:
    """Return the lines whose comments put something off."""
    return [line for line, comment in comments(code) if TO_BE_DONE.search(comment)]


def unreasoned(code: str) -> list[int]:
    """Return the lines in which a checker is to ignore something, without a code or a reason."""
    return [line for line, comment in comments(code) if NO_REASON.search(comment)]


def untyped(code: str) -> list[int]:
    """Return the lines in which `Any` stands, but for those that give it a name (`Borrower: TypeAlias = Any`)."""
    tree = ast.parse(code)
    aliases = {
        node.lineno for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.dump(node)
    }
    found = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Any"}
    return sorted(found - aliases)


def rules_unstated(code: str) -> list[str]:
    """Return the tests without a docstring."""
    functions = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node.name for node in functions if node.name.startswith("test_") and not ast.get_docstring(node)]


@pytest.mark.parametrize("path", SOURCE, ids=name_of)
def test_nothing_is_put_off(path: Path) -> None:
    """What is still to be done stands in an issue, not in a comment."""
    assert not put_off(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCE, ids=name_of)
def test_what_a_checker_ignores_has_its_reason(path: Path) -> None:
    """The code of the finding, and why it is one only to mypy or ruff."""
    assert not unreasoned(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_what_is_carried_unseen_has_a_name(path: Path) -> None:
    """What the core and the wire never look into is no mere `Any`."""
    assert not untyped(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_each_test_states_its_rule(path: Path) -> None:
    """The docstring says what must be true."""
    assert not rules_unstated(path.read_text(encoding="utf-8"))


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    """A module is named after what it owns: none begins with `utils`."""
    assert not [name_of(path) for path in (*(ROOT / "src").rglob("*"), *TESTS) if path.name.startswith("utils")]


@pytest.mark.parametrize("code", ["x = 1  # TODO: more", "# FIXME", "# XXX what is this?"])
def test_what_is_put_off_would_be_found(code: str) -> None:
    """In a comment behind code, and in one of its own."""
    assert put_off(code) == [1]


@pytest.mark.parametrize("code", ["x  # type: ignore", "x  # type: ignore[misc]", "x  # noqa", "x  # noqa: B018"])
def test_a_missing_reason_would_be_found(code: str) -> None:
    """So would a missing code."""
    assert unreasoned(code) == [1]


def test_what_has_its_reason_is_left_alone() -> None:
    """Neither a reason, nor a string, nor a name for `Any`; and no test with a docstring."""
    assert not unreasoned("x  # type: ignore[misc, override]  # redis-py's own bases disagree\ny  # noqa: B018  typed")
    assert not put_off("x = '# TODO'")
    assert untyped("Waker: TypeAlias = Any\ndef wake(waker: Any) -> None: ...") == [2]
    assert rules_unstated("def test_x():\n    'It is.'\ndef test_y(): ...") == ["test_y"]

"""One language: the words that docs/glossary.md has replaced stand nowhere any more."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["*.md", "mkdocs.yml", "docs/**/*.md", "examples/**/*.md", ".github/**/*"]
CODE = ["src/**/*.py", "tests/**/*.py", "benchmarks/**/*.py", "examples/**/*.py"]

# Coined for this project once: no engineer who knows connection pools could search for them.
COINED = """
    lane lanes struck strike strikes striking torn mending heir heirs parting partings lessee lessees bygone ledger
    ledgers housekeeper housekeepers doubt doubts doubted distrust rested spare spares dial dials dialed dialled dialing
    dialling untold
"""
# Callers, threads and tasks are *it* and *they*.
PERSONS = "he his him himself she her hers herself whoever nobody somebody"
TWO_WORDS = r"(?:see|sees|seen|seeing|saw) off|(?:let|lets|letting) go"
REPLACED = re.compile(rf"\b(?:{'|'.join((COINED + PERSONS).split())}|{TWO_WORDS})\b", re.IGNORECASE)
# Fine as a verb of everyday prose.
NOT_AS_A_NAME = re.compile(r"\btold\b", re.IGNORECASE)
# Where a name's next word begins: `snake_case`, `CamelCase`.
JOINT = re.compile(r"_|(?<=[a-z0-9])(?=[A-Z])")


def words(text: str) -> str:
    """Return the text with each name taken apart."""
    return JOINT.sub(" ", text)


def names(code: str) -> Iterator[tuple[int, str]]:
    """Yield each name in Python code, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def replaced(text: str, of_code: bool) -> list[str]:
    """Return what was replaced and is still there, as `line: word`."""
    found = [
        f"{number}: {word}"
        for number, line in enumerate(text.splitlines(), 1)
        for word in REPLACED.findall(words(line))
    ]
    if of_code and NOT_AS_A_NAME.search(words(text)):
        found += [f"{number}: {name}" for number, name in names(text) if NOT_AS_A_NAME.search(words(name))]
    return found


def files(*patterns: str) -> list[Path]:
    """Return the project's files of these patterns, without this one."""
    found = (path for pattern in patterns for path in ROOT.glob(pattern))
    return sorted(p for p in found if p.is_file() and p != Path(__file__) and "__pycache__" not in p.parts)


@pytest.mark.parametrize("path", files(*CODE, *PAGES), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_replaced_word_is_used(path: Path) -> None:
    """Not in names, comments, docstrings, messages or pages; for the term to use see docs/glossary.md."""
    assert not replaced(path.read_text(encoding="utf-8"), of_code=path.suffix == ".py")


@pytest.mark.parametrize(
    "text",
    ["def take_lane(): ...", "class TornReply: ...", "# he waits", "x = told_error", "'nobody waits'", "self.let_go()"],
)
def test_a_replaced_word_would_be_found(text: str) -> None:
    """As a whole word, and as a part of a name."""
    assert replaced(text, of_code=True)


@pytest.mark.parametrize(
    "text", ["# the caller is told", "this.planet", "there = sparse", "'heirloom'", "a.history", "others"]
)
def test_other_words_are_left_alone(text: str) -> None:
    """Neither everyday prose nor a part of a longer word is meant."""
    assert not replaced(text, of_code=True)

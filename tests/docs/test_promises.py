"""Every promise of docs/reliability.md names the tests that hold it, and there are such tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
# The table at the end shows the promises at work; it makes none.
FAULTS = "The fault table"

SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
HELD_BY = re.compile(r"^\*Held by\* .+?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`\s][^`]*)`")


def promises(page: str) -> dict[str, list[str]]:
    """Return each section of the page that promises something, with its paragraphs that say what holds it."""
    found = {title: HELD_BY.findall(text) for title, text in SECTION.findall(page)}
    return {title: paragraphs for title, paragraphs in found.items() if title != FAULTS}


def holders(paragraph: str) -> Iterator[str]:
    """Yield what such a paragraph names. A `::name` alone is of the file before it."""
    file = ""
    for quoted in QUOTED.findall(paragraph):
        path, colons, name = quoted.partition("::")
        file = path or file
        yield f"{file}{colons}{name}"


def is_there(holder: str) -> bool:
    """Return whether there is such a target of make, or such a file or folder with a test (of this name)."""
    if holder.startswith("make "):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return re.search(rf"^{holder.removeprefix('make ')}:", makefile, re.MULTILINE) is not None
    path, _, name = holder.partition("::")
    place = ROOT / path
    files = [place] if place.is_file() else sorted(place.rglob("test_*.py"))
    # A test is a function, a row of the fault table, or a `TestCase` of Hypothesis.
    wanted = rf"^(async )?def {name}\(" if name else r"^(async )?def test_|^@row\(|^Test\w+ = |^class Test"
    return any(re.search(wanted, file.read_text(encoding="utf-8"), re.MULTILINE) for file in files)


PROMISES = promises(PAGE)


@pytest.mark.parametrize("title", PROMISES)
def test_a_promise_names_what_holds_it(title: str) -> None:
    """A section without a *Held by* would be a promise that nothing keeps."""
    assert [holder for paragraph in PROMISES[title] for holder in holders(paragraph)]


@pytest.mark.parametrize("holder", sorted({h for ps in PROMISES.values() for p in ps for h in holders(p)}))
def test_what_holds_a_promise_is_there(holder: str) -> None:
    """Each file, folder, test and row that the page names."""
    assert is_there(holder)


def test_what_is_missing_would_be_seen() -> None:
    """A section that names nothing, a file and a test that are gone."""
    page = "## One\nIt is.\n\n## Two\nIt is.\n\n*Held by* `tests/docs/test_words.py::test_gone`,\n`::test_gone_too`.\n"
    found = promises(page)
    assert found["One"] == []
    gone = [holder for paragraph in found["Two"] for holder in holders(paragraph)]
    assert gone == ["tests/docs/test_words.py::test_gone", "tests/docs/test_words.py::test_gone_too"]
    assert not any(map(is_there, [*gone, "tests/docs/test_gone.py", "tests/support", "make gone"]))

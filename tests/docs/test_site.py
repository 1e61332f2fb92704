"""The docs as a site: it is built without a warning, and a browser loads nothing of it from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a browser loads by itself; a link (`<a href>`) is followed by its reader only.
LOADED = {"src", "srcset", "poster", "data"}
ELSEWHERE = re.compile(r"(?:https?:)?//[\w.-]+")
IN_STYLES = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^)\"'\s]+)")


class Loads(HTMLParser):
    """What a page has a browser load, and the classes of its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LOADED or (name == "href" and tag == "link"):
                self.found.append(value or "")
            elif name == "class":
                self.classes.update((value or "").split())


def from_elsewhere(text: str) -> list[str]:
    """Return what a page, or a style sheet in it, loads from another host."""
    loads = Loads(text)
    return [each for each in loads.found if ELSEWHERE.match(each)] + IN_STYLES.findall(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning, such as of a link that leads nowhere, is an error."""
    place = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    # It would announce its successor at each build.
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(build, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return place


def test_every_page_is_built(site: Path) -> None:
    """Each one of docs/, and the names of the package in the reference."""
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert pages <= {page.relative_to(site) for page in site.rglob("*.html")}
    reference = (site / "reference" / "pools.html").read_text(encoding="utf-8")
    assert 'id="redpool.asyncio.ConnectionPool.get_connection"' in reference


def test_nothing_comes_from_another_host(site: Path) -> None:
    """Neither a font, nor a script, nor a picture."""
    loading = {page: from_elsewhere(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    loading |= {sheet: IN_STYLES.findall(sheet.read_text(encoding="utf-8")) for sheet in site.rglob("*.css")}
    assert {str(file.relative_to(site)): found for file, found in loading.items() if found} == {}


def test_the_theme_has_no_reason_to_load_more(site: Path) -> None:
    """Its script would fetch mermaid where a page has such a diagram, and figures where the page names a repository."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "mermaid" not in Loads(text).classes, page
        assert 'data-md-component="source"' not in text, page


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<img src="//pictures.example/x.png">',
        '<link rel="stylesheet" href="https://fonts.example/css">',
        "<style>@import 'https://fonts.example/css';</style>",
    ],
)
def test_what_is_loaded_would_be_found(text: str) -> None:
    """A script, a picture, a font and a style sheet."""
    assert from_elsewhere(text)


def test_a_link_is_no_load() -> None:
    """It may lead anywhere."""
    assert not from_elsewhere('<a href="https://redis.io">Redis</a> <img src="../peers.svg">')

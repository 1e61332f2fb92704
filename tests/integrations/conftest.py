"""What the applications need: the lines of the framework's page, written where they can be imported."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol
from urllib.parse import urlsplit

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "frameworks"
# The first line of a block names its file.
BLOCK = re.compile(r"^```python\n(# (\w+)\.py\n.*?)^```", re.MULTILINE | re.DOTALL)


class Load(Protocol):
    """Imports the files on a framework's page."""

    def __call__(self, page: str, *names: str) -> list[ModuleType]: ...


def write_page(page: str, folder: Path, url: str) -> None:
    """Write the files on a page into a folder, with the test's server for the one on the page."""
    text, server = (PAGES / f"{page}.md").read_text(encoding="utf-8"), urlsplit(url)
    for block, name in BLOCK.findall(text):
        code = block.replace("localhost:6379", server.netloc).replace("port=6379", f"port={server.port}")
        (folder / f"{name}.py").write_text(code, encoding="utf-8")


@pytest.fixture
def base_url(redis_url: str) -> str:
    """URL of the shared server, without a database."""
    return redis_url.rpartition("/")[0] if redis_url.count("/") > 2 else redis_url


@pytest.fixture
def load(base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import files of a page, which are forgotten after the test."""
    loaded: list[str] = []

    def load(page: str, *names: str) -> list[ModuleType]:
        write_page(page, tmp_path, base_url)
        loaded.extend(names)
        return [import_module(name) for name in names]

    monkeypatch.syspath_prepend(tmp_path)
    yield load
    for name in loaded:
        sys.modules.pop(name, None)

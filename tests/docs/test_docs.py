"""The code in the README and the docs runs, as written, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio.connection
import redis.connection

from redpool.embedded import Server

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _blocks() -> Iterator[Any]:
    for page in PAGES:
        code = BLOCK.findall(page.read_text(encoding="utf-8"))
        if code:
            yield pytest.param("\n".join(code), id=page.name)


@pytest.fixture
def at_home(redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """localhost:6379, where the pages say that a server is, is the test's own server."""
    for connection_class in (redis.connection.Connection, redis.asyncio.connection.Connection):
        connect = connection_class._connect

        def redirected(self: Any, connect: Any = connect) -> Any:
            if self.port == 6379:
                self.host, self.port = redis_server.host, redis_server.port
            return connect(self)

        monkeypatch.setattr(connection_class, "_connect", redirected)


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("code", list(_blocks()))
def test_code_on_the_pages_runs(code: str) -> None:
    """Each page's code, taken together, runs without an error."""
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    exec(compile(code, "<docs>", "exec"), namespace)
    for value in namespace.values():
        if isinstance(value, redis.connection.ConnectionPoolInterface):
            value.close()


def test_the_list_of_what_differs_is_the_one_that_is_run() -> None:
    """docs/compat.md ends with what `make compat` reads, as `tests/compat/run.py --tables` shows it."""
    shown = subprocess.run(
        [sys.executable, ROOT / "tests" / "compat" / "run.py", "--tables"], capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "compat.md").read_text(encoding="utf-8")
    assert page.partition("-->\n")[2].strip() == shown.strip()

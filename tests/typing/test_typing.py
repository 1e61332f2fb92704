"""Type checkers know of redpool what its users need, and find fault with what is wrong.

The folder is no package: where `tests` is on the path, as a package it would be taken for the standard library's
`typing`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

import redpool

PAGES = [Path(__file__).parent / name for name in ("for_threads.py", "for_tasks.py", "for_valkey.py", "mistakes.py")]
SOURCE = Path(redpool.__file__).parents[1]


def check(*command: str | Path) -> None:
    """Run a checker in a directory of its own, where it finds no configuration of this project."""
    environment = {**os.environ, "MYPYPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def paths(pages: Sequence[Path]) -> list[str]:
    return [str(page) for page in pages]


def test_mypy_agrees() -> None:
    """With all that `--strict` asks for, and none of the exceptions that this project makes for redis-py."""
    strict = ("--config-file=", "--strict", "--warn-unreachable", f"--cache-dir={os.devnull}")
    check(sys.executable, "-m", "mypy", *strict, *paths(PAGES))


@pytest.mark.skipif(find_spec("basedpyright") is None, reason="basedpyright is not installed: `make pyright` does it")
def test_pyright_agrees(tmp_path: Path) -> None:
    """In its strict mode, as users' editors may run it. basedpyright is pyright with all that it needs in the wheel."""
    settings = {
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": True,
        "reportUnnecessaryTypeIgnoreComment": "error",
        "extraPaths": [str(SOURCE)],
        "include": paths(PAGES),
    }
    path = tmp_path / "pyrightconfig.json"
    path.write_text(json.dumps(settings))
    check(sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--project", path)

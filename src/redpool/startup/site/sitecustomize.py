"""Python begins with this under `redpool run`: once it has imported redis-py, `redpool.install()` is called."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class _Watch(MetaPathFinder):
    """Call a function once a module was imported."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self._name, self._then = name, then
        self._asking = False

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Return the module's spec as the other finders have it, with the call added."""
        if fullname != self._name or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is None or spec.loader is None:
            return spec
        execute, then = spec.loader.exec_module, self._then

        def exec_module(module: ModuleType) -> None:
            execute(module)
            then()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # each spec has a loader of its own
        return spec


def _import_redpool() -> None:
    with suppress(ModuleNotFoundError):  # this may be a Python that lacks it
        importlib.import_module("redpool")


def _install() -> None:
    importlib.import_module("redpool").install()


def _run_the_one_that_is_hidden() -> None:
    """Run the `sitecustomize` that Python would have found without this one.

    It stands further back in the path. In front there may be one that is running this one: `redpool tune --record` and
    `redpool run` go together.
    """
    here = str(Path(__file__).parent)
    spec = PathFinder.find_spec(__name__, sys.path[sys.path.index(here) + 1 :] if here in sys.path else [])
    if spec is not None and spec.loader is not None:
        module = sys.modules[__name__] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


# redpool imports redis-py itself, which then finds it under way, and the other watch sees it complete.
sys.meta_path.insert(0, _Watch("redis", _import_redpool))
sys.meta_path.insert(0, _Watch("redpool", _install))
_run_the_one_that_is_hidden()

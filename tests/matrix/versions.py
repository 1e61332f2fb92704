"""Run redpool's tests on each supported minor version of redis-py, and on valkey-py.

::

    python tests/matrix/versions.py [--only 6.4 valkey ...] [--contract] [-- arguments for pytest]

Each version stands in a folder of its own below `.matrix/`, in front of what else is installed. The tests that stand
for the contract run on all of them, the whole suite on some. A test of what a version lacks is skipped: see `FEATURES`
in `redpool.redispy.internals`. Exit status: 0 nothing fails, 1 something does, 2 a version could not be had.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HOME = ROOT / ".matrix"

MINOR_VERSIONS = ("5.2", "5.3", "6.0", "6.1", "6.2", "6.3", "6.4", "7.0", "7.1", "7.2", "7.3", "7.4", "8.0", "8.1")
VALKEY = "valkey"
"""valkey-py 6, which the tests take for redis-py: see `over_valkey`."""
WHOLE_SUITE = ("5.2", "6.4", "7.4", "8.1")

CONTRACT = (
    "tests/docs/test_docs.py",
    "tests/unit/test_internals.py",
    "tests/integration/connecting",
    "tests/integration/deadlines",
    "tests/integration/dedicated",
    "tests/integration/multiplexed",
    "tests/topology",
)
"""The tests that stand for the contract: the code on the pages, pools, clients, deadlines, clusters and Sentinels."""

APART = ("tests/docs/test_docs.py", "tests/unit/test_internals.py", "tests/topology/test_valkey.py")
"""What redis-py has, what its pages say, and what imports `redpool.valkey`: not for valkey-py in redis-py's place."""

NEWEST_ALONE = (
    "tests/integration/bench",  # measures, with the newest
    "tests/integration/outside",  # a double, which follows the newest
    "tests/typing/test_typing.py",  # the newest's types; pytest would take the folder in spite of it
)
"""Left out on other versions."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and say how each version fared. Returns the exit status."""
    options = _parser().parse_args(arguments)
    outcomes: dict[str, str] = {}
    for version in options.only or (*MINOR_VERSIONS, VALKEY):
        folder = HOME / version
        if not _installed(version, folder):
            outcomes[version] = "could not be had"
            continue
        whole = version in WHOLE_SUITE and not options.contract
        _say(f"== {_package(version)}: {'the whole suite' if whole else 'the contract'}")
        outcomes[version] = _run(version, folder, whole, options.pytest)
    _say("\n".join(f"{_package(version)}: {outcome}" for version, outcome in outcomes.items()))
    if "could not be had" in outcomes.values():
        return 2
    return 0 if all(outcome.startswith("passed") for outcome in outcomes.values()) else 1


def _package(version: str) -> str:
    """Return what is installed, as pip has it."""
    return "valkey[libvalkey]==6.*" if version == VALKEY else f"redis=={version}.*"


def _installed(version: str, folder: Path) -> bool:
    """Install the last release of a minor version, unless it is there."""
    if all((folder / each).is_dir() for each in (("valkey", "libvalkey") if version == VALKEY else ("redis",))):
        return True
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*command, "--target", folder, _package(version)], check=False).returncode == 0


def _run(version: str, folder: Path, whole: bool, arguments: Sequence[str]) -> str:
    """Run the tests; return how they ended."""
    path = os.pathsep.join([str(folder), str(ROOT / "src"), str(HERE), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "2", "--dist", "loadfile"]
    if version == VALKEY:
        command += ["-p", "over_valkey", *(each for each in CONTRACT if each not in APART)]
        command += [f"--ignore={each}" for each in APART]
    elif not whole:
        command += CONTRACT
    elif version != MINOR_VERSIONS[-1]:
        command += [f"--ignore={each}" for each in NEWEST_ALONE]
    began = time.monotonic()
    status = subprocess.run(
        [*command, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False
    ).returncode
    return f"{'passed' if status == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run redpool's tests on redis-py's versions and valkey-py.")
    parser.add_argument(
        "--only", nargs="+", choices=(*MINOR_VERSIONS, VALKEY), metavar="VERSION", help="these versions"
    )
    parser.add_argument("--contract", action="store_true", help="the tests of the contract only, on each of them")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Run redis-py's own test files over redis-py itself, then over what redpool puts in its place, and compare.

::

    python tests/compat/run.py [options] [-- arguments for pytest]

The tests come from the source distribution of the installed redis-py, or from a directory (`--source`). A test that
passes over theirs must pass over each of ours, unless `internals.toml` says why it can't. Exit status: 0 nothing else
fails, 1 something does, 2 the tests could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import redpool
from redpool import embedded

HERE = pathlib.Path(__file__).resolve().parent
KINDS = {
    "pool": "redis-py's clients on redpool.ConnectionPool",
    "shared": "redis-py's clients on redpool.MultiplexedConnectionPool",
    "client": "redpool.Redis",
}
SHARING = ("shared", "client")
INTERNALS_OF: dict[str, tuple[str, ...]] = {
    "theirs": (),
    "pool": ("not_run", "pool"),
    "shared": ("not_run", "pool", "shared"),
    "client": ("not_run", "pool", "shared", "client"),
}
# What runs over each kind, in tests/ and in tests/test_asyncio/.
OF_ALL = ("commands", "pipeline", "pubsub", "lock", "monitor", "scripting", "encoding")
# What looks at a pool's connections, each of which has one user there, runs over pools of such.
OF_POOLS = ("connection_pool", "connection", "max_connections_error", "multiprocessing", "retry", "client", "cwe_404")
# What their tests need beyond pytest, and we don't. Kept apart from our environment: it changes how pytest behaves.
NEEDS = ("pytest", "pytest-asyncio", "pytest-timeout")
LONGEST_RUN = 1800  # seconds
USUAL_PORT = 6379


class CannotRunError(Exception):
    """The tests could not be had or run; the message says why."""


class Outcome(NamedTuple):
    """How a test ended (`passed`, `failed`, `skipped`), and the traceback where it failed."""

    word: str
    why: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, tell. Returns the exit status."""
    options = _parser().parse_args(arguments)
    kinds = options.over or list(KINDS)
    try:
        cache: pathlib.Path = options.cache.resolve()
        cache.mkdir(parents=True, exist_ok=True)
        source = find_tests(options.source, cache)
        packages = install_needs(cache)
        outcomes = {}
        with start_server() as server:
            _say(f"== Redis {server.version} at {server.url}")
            if server.port != USUAL_PORT:
                _say(f"note: port {USUAL_PORT} is taken; some tests use whatever server is there")
            for kind in ("theirs", *kinds):
                _say(f"== redis-py's tests over {KINDS.get(kind, 'redis-py')}; the log is {cache / kind}.log")
                outcomes[kind] = run_tests(kind, server.url, source, packages, cache, options.pytest)
                _say(_counts(outcomes[kind]))
                server.restart()
    except CannotRunError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return max(compare(kind, outcomes["theirs"], outcomes[kind], verbose=options.verbose) for kind in kinds)


def read_internals(*names: str) -> dict[str, str]:
    """Test id to reason, from the tables that are named after the files, in the sets of these names."""
    sets = tomllib.loads((HERE / "internals.toml").read_text(encoding="utf-8"))
    return {
        f"{file}::{test}": reason
        for name in names
        for file, tests in sets.get(name, {}).items()
        for test, reason in tests.items()
    }


def find_tests(source: pathlib.Path | None, cache: pathlib.Path) -> pathlib.Path:
    """A directory with redis-py's tests/ and pyproject.toml: the one given, else that of its source distribution."""
    version = importlib.metadata.version("redis")
    if source is None:
        source = cache / f"redis-{version}"
        if not source.exists():
            _download(version, cache)
    if not (source / "tests" / "conftest.py").is_file():
        raise CannotRunError(f"{source} has no tests of redis-py; say where they are with --source")
    return source.resolve()


def _download(version: str, cache: pathlib.Path) -> None:
    _say(f"== fetching the source distribution of redis {version}")
    _pip("download", "--no-deps", "--no-binary", "redis", "--dest", str(cache), f"redis=={version}")
    root = f"redis-{version}"
    with tarfile.open(cache / f"{root}.tar.gz") as archive:
        # Without redis/: the installed one is tested.
        wanted = [each for each in archive if each.name.startswith((f"{root}/tests/", f"{root}/pyproject.toml"))]
        archive.extractall(cache, wanted, filter="data")


def install_needs(cache: pathlib.Path) -> pathlib.Path:
    """A directory with the packages that redis-py's tests need."""
    packages = cache / "packages"
    if not packages.exists():
        _pip("install", "--target", str(packages), *NEEDS)
    return packages


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise CannotRunError(f"{' '.join(command[1:])} failed")


def start_server() -> embedded.Server:
    """A private server; where it is free, on the port that some of redis-py's tests take for granted.

    They also need the DEBUG command, which must be allowed from Redis 7 on, by an option that older ones don't know.
    """
    for port in (USUAL_PORT, None):
        for args in (("--enable-debug-command", "yes"), ()):
            with contextlib.suppress(embedded.ServerFailed):
                return embedded.start(port=port, args=args)
    raise CannotRunError("no server starts")


def run_tests(
    kind: str, url: str, source: pathlib.Path, packages: pathlib.Path, cache: pathlib.Path, chosen: Sequence[str]
) -> dict[str, Outcome]:
    """One run of pytest. The worst phase of a test counts."""
    lines = cache / f"{kind}.jsonl"
    lines.unlink(missing_ok=True)
    paths = (packages, HERE, pathlib.Path(redpool.__file__).parents[1])
    environment = {
        **os.environ,
        "COMPAT_KIND": kind,
        "COMPAT_OUTCOMES": str(lines),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    files = [file for file in files_of(kind) if (source / file).exists()]
    command = [sys.executable, "-m", "pytest", "-p", "swap_pools", "-p", "no:cacheprovider", "-q", "--tb=short"]
    command += ["--continue-on-collection-errors", "-m", "not onlycluster and not redismod and not replica"]
    command += [f"--deselect={test}" for test in read_internals("not_run")]
    command += [f"--redis-url={url}/0", *(chosen or files)]
    with (cache / f"{kind}.log").open("w") as log:
        try:
            subprocess.run(
                command, cwd=source, env=environment, stdout=log, stderr=log, timeout=LONGEST_RUN, check=False
            )
        except subprocess.TimeoutExpired:
            _say(f"ended after {LONGEST_RUN} s")
    outcomes = read_outcomes(lines) if lines.exists() else {}
    if kind == "theirs" and not any(outcome.word == "passed" for outcome in outcomes.values()):
        raise CannotRunError(f"no test passes over redis-py itself; see {log.name}")
    return outcomes


def files_of(kind: str) -> list[str]:
    """The test files that make sense there; not all of them have a twin."""
    names = OF_ALL if kind in SHARING else (*OF_ALL, *OF_POOLS)
    return [f"{folder}/test_{name}.py" for folder in ("tests", "tests/test_asyncio") for name in names]


def read_outcomes(lines: pathlib.Path) -> dict[str, Outcome]:
    """How each test ended, from the lines that the plugin wrote."""
    severity = ("passed", "skipped", "failed")
    outcomes: dict[str, Outcome] = {}
    for line in lines.read_text(encoding="utf-8").splitlines():
        test, word, why = json.loads(line)
        if test not in outcomes or severity.index(word) > severity.index(outcomes[test].word):
            outcomes[test] = Outcome(word, why)
    return outcomes


def compare(kind: str, theirs: Mapping[str, Outcome], ours: Mapping[str, Outcome], *, verbose: bool) -> int:
    """Tell what passes over theirs and not over ours; 1 if `internals.toml` doesn't explain all of it."""
    known, files = read_internals(*INTERNALS_OF[kind]), files_of(kind)
    theirs = {test: outcome for test, outcome in theirs.items() if test in ours or test.partition("::")[0] in files}
    worse = {
        test: ours.get(test, Outcome("did not run"))
        for test, outcome in theirs.items()
        if outcome.word == "passed" and (test not in ours or ours[test].word != "passed")
    }
    new = {test: outcome for test, outcome in worse.items() if not _entries_for(test, known)}
    for test, outcome in new.items():
        _say(f"{outcome.word.upper()} {test}")
        if verbose:
            _say(outcome.why)
    explained = {entry for test in worse for entry in _entries_for(test, known)}
    passing = {
        entry for test, outcome in ours.items() if outcome.word == "passed" for entry in _entries_for(test, known)
    }
    for entry in sorted(passing - explained):
        _say(f"note: {entry} is listed in internals.toml, but passes")
    both = sum(theirs[test].word == "failed" == outcome.word for test, outcome in ours.items() if test in theirs)
    _say(
        f"{KINDS[kind]}: {sum(outcome.word == 'passed' for outcome in theirs.values())} pass over theirs; of these "
        f"{len(worse)} don't pass over ours, {len(worse) - len(new)} of them explained; {both} fail over both"
    )
    return 1 if new else 0


def _entries_for(test: str, known: Mapping[str, str]) -> list[str]:
    """The entries that cover a test: its id, that of all its parameters, or that of its class."""
    return [entry for entry in known if test == entry or test.startswith((f"{entry}[", f"{entry}::"))]


def _counts(outcomes: Mapping[str, Outcome]) -> str:
    words = [outcome.word for outcome in outcomes.values()]
    return ", ".join(f"{words.count(word)} {word}" for word in ("passed", "failed", "skipped"))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="redis-py's own tests over redpool, compared with redis-py.")
    parser.add_argument("--source", type=pathlib.Path, help="a directory with redis-py's tests/ and pyproject.toml")
    parser.add_argument("--over", action="append", choices=list(KINDS), help="one kind of ours alone (can be repeated)")
    parser.add_argument(
        "--cache", type=pathlib.Path, default=pathlib.Path(".venv/compat"), help="for downloads and logs (%(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="show the tracebacks of what differs")
    parser.add_argument("pytest", nargs="*", help="test files and options for pytest instead of the usual files")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

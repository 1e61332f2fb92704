"""Run redis-py's own test files over redis-py itself, then over what redpool puts in its place, and compare.

::

    python tests/compat/run.py [options] [-- arguments for pytest]

The tests come from the source distribution of the installed redis-py, or from a directory (`--source`). All of its
files run, but for those that `internals.toml` leaves out. A test that passes over theirs must pass over each of ours,
unless `internals.toml` says why it can't. Exit status: 0 nothing else fails, 1 something does, 2 the tests could not be
run.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import importlib.metadata
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redpool
from redpool import embedded

HERE = pathlib.Path(__file__).resolve().parent
KINDS = {
    "pool": "redis-py's clients on redpool.ConnectionPool",
    "shared": "redis-py's clients on redpool.MultiplexedConnectionPool",
    "client": "redpool.Redis",
}
INTERNALS_OF: dict[str, tuple[str, ...]] = {
    "theirs": (),
    "pool": ("not_run", "pool", "dedicated"),
    "shared": ("not_run", "pool", "shared"),
    "client": ("not_run", "pool", "shared", "client"),
}
HEADS = {
    "not_run": "Tests that aren't run, over redis-py neither",
    "pool": "Tests, over all kinds",
    "dedicated": "Tests, over `redpool.ConnectionPool` (`pool`)",
    "shared": "Tests, over multiplexed connections (`shared` and `client`)",
    "client": "Tests, over `redpool.Redis` (`client`)",
}
# What their tests need beyond pytest, and we don't. Kept apart from our environment: it changes how pytest behaves.
NEEDS = ("pytest", "pytest-asyncio", "pytest-timeout", "pybreaker", "PyJWT", "redis-entraid")
LONGEST_RUN = 1800  # seconds
_ENDS_OF_PYTEST = (0, 1)  # all passed, some failed
USUAL_PORT, USUAL_TLS_PORT = 6379, 6666


class CannotRunError(Exception):
    """The tests could not be had or run; the message says why."""


class Outcome(NamedTuple):
    """How a test ended (`passed`, `failed`, `skipped`), and the traceback where it failed."""

    word: str
    why: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, tell. Returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.tables:
        _say(tables().rstrip("\n"))
        return 0
    kinds = options.over or list(KINDS)
    try:
        cache: pathlib.Path = options.cache.resolve()
        cache.mkdir(parents=True, exist_ok=True)
        source = find_tests(options.source, cache)
        packages = install_needs(cache)
        outcomes = {}
        with start_server(make_certificates(cache)) as server:
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
    return max(
        compare(kind, find_files(source), outcomes["theirs"], outcomes[kind], verbose=options.verbose) for kind in kinds
    )


def read_internals(*names: str) -> dict[str, str]:
    """Test id to reason, from the tables that are named after the files, in the sets of these names."""
    sets = _read_toml()
    return {
        f"{file}::{test}": reason
        for name in names
        for file, tests in sets.get(name, {}).items()
        for test, reason in tests.items()
    }


def tables() -> str:
    """Return what `internals.toml` says as docs/compat.md has it, in Markdown."""
    sets = _read_toml()
    left_out = [(f"`{each}`", reason) for reason, patterns in sets.pop("left_out").items() for each in patterns]
    lines = ["### Files", "", *_table("files", left_out)]
    for name, files in sets.items():
        lines += [f"### {HEADS[name]}", ""]
        for file, tests in files.items():
            lines += [f"`{file}`", "", *_table("test", [(f"`{test}`", reason) for test, reason in tests.items()])]
    return "\n".join(lines)


def _table(head: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"| {head} | why not |", "|---|---|", *(f"| {what} | {why} |" for what, why in rows), ""]


def _read_toml() -> dict[str, Any]:
    return tomllib.loads((HERE / "internals.toml").read_text(encoding="utf-8"))


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
    packages, receipt = cache / "packages", cache / "packages.txt"
    if not receipt.exists() or receipt.read_text(encoding="utf-8").split() != list(NEEDS):
        shutil.rmtree(packages, ignore_errors=True)
        _pip("install", "--target", str(packages), *NEEDS)
        for brought in (*packages.glob("redis"), *packages.glob("redis-*.dist-info")):
            shutil.rmtree(brought)  # redis-entraid wants it; the installed one is tested
        receipt.write_text("\n".join(NEEDS), encoding="utf-8")
    return packages


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise CannotRunError(f"{' '.join(command[1:])} failed")


def make_certificates(cache: pathlib.Path) -> pathlib.Path:
    """Return the folder beside the tests in which they look for certificates, filled once; empty without openssl."""
    folder = cache / "dockers" / "standalone" / "tls"
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if not certificate.exists() and shutil.which("openssl"):
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=localhost"
        command += " -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout ca.key -out ca.crt"
        subprocess.run(command.split(), cwd=folder, capture_output=True, check=True)
        for name in ("redis", "client", "test_user"):  # one for all: it is signed by itself
            shutil.copy(certificate, folder / f"{name}.crt")
            shutil.copy(key, folder / f"{name}.key")
    return folder


def start_server(certificates: pathlib.Path) -> embedded.Server:
    """A private server; where they are free, on the ports that some of redis-py's tests take for granted.

    They also need the DEBUG command, which must be allowed from Redis 7 on, by an option that older ones don't know,
    and TLS, which not all are built with.
    """
    debug = ("--enable-debug-command", "yes")
    tls = ["--tls-port", str(USUAL_TLS_PORT), "--tls-auth-clients", "optional"]
    for option, name in (
        ("--tls-cert-file", "redis.crt"),
        ("--tls-key-file", "redis.key"),
        ("--tls-ca-cert-file", "ca.crt"),
    ):
        tls += [option, str(certificates / name)]
    for port in (USUAL_PORT, None):
        for args in ((*debug, *tls), debug, ()):
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
    # pytest's own tracebacks parse whole files, for seconds, and two threads that parse at once can end it (before
    # Python 3.11.8): Python's own are shown, and none of other threads.
    command = [sys.executable, "-m", "pytest", "-p", "swap_pools", "-p", "no:cacheprovider", "-p", "no:threadexception"]
    command += ["-q", "--tb=native"]
    command += ["--continue-on-collection-errors", "-m", "not onlycluster and not redismod and not replica"]
    command += [f"--deselect={test}" for test in read_internals("not_run")]
    command += [f"--redis-url={url}/0", *(chosen or find_files(source))]
    with (cache / f"{kind}.log").open("w") as log:
        try:
            status = subprocess.run(
                command, cwd=source, env=environment, stdout=log, stderr=log, timeout=LONGEST_RUN, check=False
            ).returncode
            if status not in _ENDS_OF_PYTEST:
                _say(f"pytest ended early, with status {status}: some tests did not run; see {log.name}")
        except subprocess.TimeoutExpired:
            _say(f"ended after {LONGEST_RUN} s")
    outcomes = read_outcomes(lines) if lines.exists() else {}
    if kind == "theirs" and not any(outcome.word == "passed" for outcome in outcomes.values()):
        raise CannotRunError(f"no test passes over redis-py itself; see {log.name}")
    return outcomes


def find_files(source: pathlib.Path) -> list[str]:
    """The test files that run: all but those that `internals.toml` leaves out."""
    patterns = [*itertools.chain(*_read_toml()["left_out"].values())]
    files = sorted(file.relative_to(source).as_posix() for file in source.glob("tests/**/test_*.py"))
    return [file for file in files if not any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)]


def read_outcomes(lines: pathlib.Path) -> dict[str, Outcome]:
    """How each test ended, from the lines that the plugin wrote."""
    severity = ("passed", "skipped", "failed")
    outcomes: dict[str, Outcome] = {}
    for line in lines.read_text(encoding="utf-8").splitlines():
        test, word, why = json.loads(line)
        if test not in outcomes or severity.index(word) > severity.index(outcomes[test].word):
            outcomes[test] = Outcome(word, why)
    return outcomes


def compare(
    kind: str, files: Sequence[str], theirs: Mapping[str, Outcome], ours: Mapping[str, Outcome], *, verbose: bool
) -> int:
    """Tell what passes over theirs and not over ours; 1 if `internals.toml` doesn't explain all of it."""
    known = read_internals(*INTERNALS_OF[kind])
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
    parser.add_argument("--tables", action="store_true", help="show the lists of docs/compat.md, and run nothing")
    parser.add_argument("pytest", nargs="*", help="test files and options for pytest instead of the usual files")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

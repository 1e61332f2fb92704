"""Show that the newest release of each framework installs beside redpool, and that its small application works then.

Each has an environment of its own, in which pip resolves both at once: it would take a framework back to an older
release, without a word, where the two ask for different versions of redis-py.

    python tests/integrations/fresh.py          all of them
    python tests/integrations/fresh.py arq rq   some
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
WITHIN = 600.0  # seconds, for each command


class Framework(NamedTuple):
    """What users install of a framework, and what its tests need beside it."""

    asked: str
    beside: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The name of the package, without extras."""
        return self.asked.partition("[")[0]


FRAMEWORKS = {
    "arq": Framework("arq"),
    "celery": Framework("celery[redis]"),
    "django": Framework("django"),
    "limits": Framework("limits[redis]"),
    "litestar": Framework("litestar[redis]", ("httpx",)),
    "rq": Framework("rq"),
    "saq": Framework("saq[redis]", ("typing_extensions",)),  # it imports that, and asks for it nowhere
    "taskiq": Framework("taskiq-redis", ("taskiq",)),
}


def main(names: Sequence[str]) -> int:
    """Try these, by default all, and print a line for each. Return 1 where one is taken back, or doesn't work."""
    write("| framework | newest | beside redpool | redis-py | its application |\n|---|---|---|---|---|\n")
    failed = 0
    for name in names or FRAMEWORKS:
        with tempfile.TemporaryDirectory() as place:
            failed += not tried(name, FRAMEWORKS[name], Path(place))
    return int(failed > 0)


def tried(name: str, framework: Framework, place: Path) -> bool:
    """Install a framework beside redpool, run its application, and print a line. Return whether all is well."""
    newest = newest_of(framework.package)
    run(sys.executable, "-m", "venv", str(place))
    python = str(place / "bin" / "python")
    installed = run(
        python, *INSTALL, "pytest", "--editable", f"{ROOT}[embedded]", framework.asked, *framework.beside, check=False
    )
    if installed.returncode:
        write(f"| {name} | {newest} | can't be installed | - | - |\n{installed.stderr}\n")
        return False
    got, redis = version_in(python, framework.package), version_in(python, "redis")
    if got != newest:
        write(f"| {name} | {newest} | {got}: taken back | {redis} | not run |\n")
        return False
    works = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / name), check=False)
    said = works.stdout.strip().rpartition("\n")[2]
    write(f"| {name} | {newest} | {got} | {redis} | {said} |\n" + (works.stdout if works.returncode else ""))
    return not works.returncode and "skipped" not in said


def write(text: str) -> None:
    """Show it at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def newest_of(package: str) -> str:
    """Return the newest release for this interpreter, whatever it needs."""
    report = run(sys.executable, *INSTALL, "--dry-run", "--no-deps", "--ignore-installed", "--report", "-", package)
    return str(json.loads(report.stdout)["install"][0]["metadata"]["version"])


def version_in(python: str, package: str) -> str:
    """Return the version of a package in an environment."""
    asks = f"from importlib.metadata import version; print(version({package!r}))"
    return run(python, "-c", asks).stdout.strip()


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of ours; with `check`, it must succeed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

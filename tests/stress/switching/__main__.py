"""`python -m stress.switching [SECONDS [SHELL [KIND]]]`, with `tests` on the path: seconds for each kind, in turn.

Another interpreter: `PYTHONPATH=src:tests /path/to/python3.13 -m stress.switching 60`.
"""

from __future__ import annotations

import sys

from .runner import EVERY_KIND, run


def main(seconds: str = "20", *which: str) -> int:
    """Print a line for each kind, and what was wrong with it; the exit status says whether anything was."""
    say(f"Python {sys.version.split()[0]}, {seconds} s for each kind")
    failed = 0
    for shell, kind in EVERY_KIND:
        if which and (shell, kind)[: len(which)] != which:
            continue
        found, log = run(shell, kind, float(seconds))
        failed += bool(found.wrong)
        say(
            f"{shell}, {kind}: {found.answered} answered, {found.interruptions} interruptions, "
            f"errors {found.errors}, {'WRONG' if found.wrong else 'nothing wrong'}"
        )
        for each in found.wrong[:10]:
            say(f"  {each}")
        if found.wrong and log:
            say("  | " + "\n  | ".join(log.splitlines()[:60]))
    return 1 if failed else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

"""`python -m stress.soak [SECONDS]`, with `tests` on the path: the exit status says whether anything was wrong."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import warnings

from support.interrupting import start_undisturbed

from .run import soak


def main(seconds: int = 120) -> int:
    """Run the soak in this process, which is its own: what interrupts anywhere would interrupt pytest's hooks, too."""
    faulthandler.enable()
    warnings.simplefilter("ignore")  # pools are dropped open on purpose
    logging.disable(logging.CRITICAL)  # an interruption would leave its lock locked
    sys.unraisablehook = lambda _: None  # an interruption can't be raised out of a finalizer
    threading.Thread.start = start_undisturbed  # type: ignore[assignment, method-assign]
    wrong = soak(seconds, say)
    for each in wrong:
        say(f"WRONG: {each}")
    if wrong:
        faulthandler.dump_traceback(all_threads=True)
    say(f"soak: {'failed' if wrong else 'passed'}, {seconds} s")
    return 1 if wrong else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # A thread that hangs shall not keep the process.
    os._exit(main(*map(int, sys.argv[1:])))

"""`python -m benchmarks.faults` in the project's directory, with `tests` on the path."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())

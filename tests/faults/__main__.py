"""`python -m faults`, with `tests` on the path."""

from faults.command import main

if __name__ == "__main__":
    raise SystemExit(main())

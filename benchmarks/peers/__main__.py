"""`python -m benchmarks.peers`, in the project's directory."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())

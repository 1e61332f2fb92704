"""`redpool demo`. It imports what it shows only when it runs, so that `--help` needs none of it."""

import argparse

from redpool.bench.command import positive, server_url

_LONGEST_COMPARISON = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool demo`."""
    parser.add_argument(
        "--url",
        type=server_url,
        help="server to use (default: a private one, restarted halfway); the demo writes keys redpool:*",
    )
    parser.add_argument("--seconds", type=positive, default=10.0, help="length of the load (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(arguments: argparse.Namespace, _: argparse.ArgumentParser) -> int:
    """Carry out `redpool demo` and return its exit status: 1 where redpool's pool failed to serve."""
    from redpool.bench.setting import serving
    from redpool.demo.compare import compare, served_all
    from redpool.demo.drive import drive
    from redpool.demo.lines import four_lines
    from redpool.demo.screen import JsonScreen, Screen

    screen = JsonScreen() if arguments.json else Screen()
    with serving(arguments.url) as (url, server):
        screen.lines(four_lines(url, server))
        outcome = drive(url, server, arguments.seconds, screen)
        screen.outcome(outcome)
        rows = compare(url, min(_LONGEST_COMPARISON, arguments.seconds / 5), screen.comparing)
    screen.comparison(rows)
    return 0 if outcome.served and served_all(rows) else 1

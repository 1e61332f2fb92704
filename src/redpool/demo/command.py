"""`redpool demo`. It imports what it shows only when it runs, so that `--help` needs none of it."""

import argparse

from redpool.bench.command import server_url
from redpool.command_line import positive
from redpool.dashboard.command import PORT, missing, port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool demo`."""
    parser.add_argument(
        "--url",
        type=server_url,
        help="server to use (default: a private one, which hangs and crashes); the demo writes keys redpool:demo*",
    )
    parser.add_argument(
        "--seconds", type=positive, default=0.5, help="how long each way works while all is well (default: 0.5)"
    )
    parser.add_argument(
        "--dashboard", action="store_true", help="show a small fleet in the dashboard instead: `redpool dashboard`"
    )
    parser.add_argument("--port", type=port, default=PORT, help=f"with --dashboard: port to serve at (default: {PORT})")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool demo` and return its exit status: 1 where redpool failed to serve, or ran a command twice."""
    if arguments.dashboard:
        return _show_fleet(arguments, parser)
    from redpool.demo.crowd import CROWDS
    from redpool.demo.drive import drive, probing, serving
    from redpool.demo.lines import four_lines
    from redpool.demo.screen import JsonScreen, Screen
    from redpool.demo.ways import WAYS

    screen = JsonScreen() if arguments.json else Screen()
    good = True
    with serving(arguments.url) as (url, server), probing(url) as probe:
        screen.lines(four_lines(url, server))
        screen.story(server is not None)
        for kind in CROWDS:
            with screen.board(kind, WAYS) as board:
                for way in WAYS:
                    board.begin(way)
                    seen = drive(kind(way, url), probe, server, arguments.seconds, board.now)
                    board.done(way, seen)
                    good = good and not (way.ours and (seen.twice or not seen.after))
    screen.end()
    return 0 if good else 1


def _show_fleet(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if (status := missing()) is not None:
        return status
    from redpool.demo.fleet import show

    try:
        show(arguments.port)
    except OSError as error:
        parser.error(f"can't serve at port {arguments.port}: {error.strerror or error}")
    return 0

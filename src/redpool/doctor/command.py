"""`redpool doctor`. It imports what it needs only when it runs, so that `--help` needs none of it."""

import argparse

from .. import __version__
from ..command_line import positive, whole, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool doctor`."""
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="the server to look at (default: that of --pool, else localhost:6379)"
    )
    parser.add_argument("--pool", action="append", default=[], metavar="MODULE:ATTRIBUTE",
                        help="a pool or client of yours, which is imported; may be given again")  # fmt: skip
    parser.add_argument("--code", nargs="+", default=[], metavar="PATH", help="files and folders of code to read")
    parser.add_argument("--fleet", metavar="URL", help="the Redis that processes report to (default: the same server)")
    parser.add_argument("--process", metavar="PID|PATH",
                        help="a process that listens (redpool.fleet.listen()), in place of a fleet")  # fmt: skip
    parser.add_argument("--look", type=positive, default=1.0, metavar="SECONDS",
                        help="how long to look at the server for rates (default: 1)")  # fmt: skip
    parser.add_argument("--deadline", type=positive, default=30.0, metavar="SECONDS",
                        help="how long callers of the pool have themselves (default: 30)")  # fmt: skip
    parser.add_argument("--processes", type=whole, metavar="N", help="how many processes have such a pool")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--sarif", action="store_true", help="print a SARIF 2.1.0 log")
    form.add_argument("--explain", metavar="RULE", help="say all about a rule, such as S4")
    form.add_argument("--list", action="store_true", help="list the rules")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool doctor` and return its exit status.

    It is 1 where something severe was found, else 2 where what was asked for has told nothing, else 0.
    """
    from . import screen
    from .gathering import BadUsage, gather
    from .report import examine
    from .rules import RULES
    from .sarif import as_sarif

    if arguments.list:
        screen.list_rules(RULES)
        return 0
    if arguments.explain:
        rule = RULES.get(arguments.explain.upper())
        if rule is None:
            parser.error(f"--explain: there is no rule {arguments.explain!r}; choose from: {', '.join(RULES)}")
        screen.explain(rule)
        return 0
    try:
        facts, looked_at = gather(
            arguments.url,
            pools=arguments.pool,
            code=arguments.code,
            fleet=arguments.fleet,
            process=arguments.process,
            seconds=arguments.look,
            deadline=arguments.deadline,
            processes=arguments.processes,
        )
    except BadUsage as error:
        parser.error(str(error))
    report = examine(facts, RULES.values(), looked_at)
    if arguments.json:
        write_json(report.to_dict())
    elif arguments.sarif:
        write_json(as_sarif(report, RULES.values(), __version__))
    else:
        screen.show(report)
    return 1 if report.severe else 2 if report.silent else 0

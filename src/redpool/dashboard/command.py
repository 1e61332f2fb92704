"""`redpool dashboard`. It imports what it serves with only when it runs, so that `--help` needs none of it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from importlib.util import find_spec

from redpool.fleet import choice
from redpool.fleet.source import Source

from .guard import check_token, is_loopback

_HOST = "127.0.0.1"
PORT = 8379
_TOKEN = "REDPOOL_DASHBOARD_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool dashboard`."""
    choice.add_arguments(parser)
    parser.add_argument("--host", default=_HOST, help=f"address to serve at (default: {_HOST}); another needs a token")
    parser.add_argument("--port", type=port, default=PORT, help=f"port to serve at (default: {PORT}; 0: a free one)")
    parser.add_argument(
        "--token", help=f"what visitors have to bring, 16 characters or more (better in ${_TOKEN}: others can see "
        "a command's arguments)",
    )  # fmt: skip
    parser.set_defaults(needs_rich=False)


def port(text: str) -> int:
    """Return a port from the command line. Raises `ArgumentTypeError` for what is none."""
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text}")
    return int(text)


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool dashboard` until it is interrupted, and return its exit status."""
    if (status := missing()) is not None:
        return status
    token = _checked_token(arguments, parser)
    _, source = choice.source_of(arguments, parser)
    try:
        listening = listen(arguments.host, arguments.port)
    except OSError as error:
        parser.error(f"can't serve at {arguments.host}:{arguments.port}: {_reason(error)}")
    try:
        sys.stdout.write(f"{greeting(listening, arguments.host, token)}\n")
        sys.stdout.flush()
        serve(source, listening, token)
    finally:
        source.close()
    return 0


def missing() -> int | None:
    """Return `None` where all that serves is installed; else say what isn't, and return the exit status for that."""
    names = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if not names:
        return None
    sys.stderr.write(f"redpool: dashboard needs {' and '.join(names)}: pip install 'redpool[dashboard]'\n")
    return 2


def _reason(error: OSError) -> str:
    """Return what went wrong, without the address that Python adds."""
    return (error.strerror or str(error)).partition(" (")[0]


def _checked_token(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> str | None:
    """Return the token, if any. Elsewhere than on loopback there must be one."""
    token: str | None = arguments.token if arguments.token is not None else os.environ.get(_TOKEN)
    if token is None:
        if not is_loopback(arguments.host):
            parser.error(f"argument --host: {arguments.host} can be reached from elsewhere: give a --token, too")
        return None
    try:
        return check_token(token)
    except ValueError as error:
        parser.error(f"argument --token: {str(error).removeprefix('token: ')}")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises `OSError` where that can't be."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family)


def greeting(listening: socket.socket, host: str, token: str | None) -> str:
    """Return what to open in a browser, in words. The token isn't among them."""
    port = listening.getsockname()[1]
    asks = "; it asks for the token" if token is not None else ""
    return f"Dashboard: http://{f'[{host}]' if ':' in host else host}:{port}/{asks}. Ctrl-C ends it."


def serve(source: Source, listening: socket.socket, token: str | None = None) -> None:
    """Serve the dashboard until this thread is interrupted, or the process gets SIGTERM."""
    import uvicorn

    from redpool.dashboard import app

    config = uvicorn.Config(
        app(source, token=token),
        # Addresses may hold a token: none is logged. The page streams for as long as it is open.
        access_log=False,
        log_level="warning",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listening])

"""TLS before any server, also one that was built without it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PIECE = 32 * 1024
_MAKE = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"


def certificate(place: Path) -> tuple[str, str]:
    """Make a certificate of this machine's, which signs for itself, and its key; return the files."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    made, key = str(place / "certificate.pem"), str(place / "key.pem")
    subprocess.run([*_MAKE.split(), "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@contextmanager
def before(host: str, port: int, context: ssl.SSLContext) -> Iterator[tuple[str, int]]:
    """Accept TLS on a free port of 127.0.0.1 and pass all of it on to a server; yield that port's address."""
    loop = asyncio.new_event_loop()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, port)
        try:
            # Where one side ends, so does the other one, and the second of these with it.
            await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))
        except asyncio.CancelledError:
            for each in (writer, there[1]):
                each.transport.abort()  # to close one may take longer than the loop has
            raise

    listener = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, name="tls")
    thread.start()
    try:
        address: tuple[str, int] = listener.sockets[0].getsockname()
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(_end(listener), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _end(listener: asyncio.Server) -> None:
    listener.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # so that the transports are closed, too

"""What redpool needs of redis-py and valkey-py lacks: parsers and a packer over hiredis, and stand-ins for the rest.

valkey-py reads by libvalkey, where that is installed. It is hiredis by another name, but for one thing: it doesn't tell
what a server pushes from a reply.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import hiredis

try:
    import valkey.asyncio.cluster
    import valkey.cluster
except ModuleNotFoundError as error:
    raise ImportError("redpool.valkey needs valkey-py: pip install 'redpool[valkey]'") from error
from valkey._parsers import BaseParser
from valkey._parsers.libvalkey import NOT_ENOUGH_DATA, _AsyncLibvalkeyParser, _LibvalkeyParser
from valkey.exceptions import DataError, InvalidResponse


def _reader(errors: Any, encoder: Any) -> Any:
    """Return hiredis's reader, which does what libvalkey's does for a parser with these classes of errors."""
    parse_error: Any = BaseParser.parse_error
    classes = SimpleNamespace(EXCEPTION_CLASSES=errors)
    decoding = {"encoding": encoder.encoding} if encoder.decode_responses else {}
    return hiredis.Reader(
        protocolError=InvalidResponse,
        replyError=partial(parse_error.__func__, classes),
        errors=encoder.encoding_errors,
        notEnoughData=NOT_ENOUGH_DATA,
        **decoding,
    )


class HiredisParser(_LibvalkeyParser):
    """valkey-py's parser for threads, over hiredis."""

    errors: Any = BaseParser.EXCEPTION_CLASSES

    def __init__(self, socket_read_size: int) -> None:
        # What valkey-py's does there needs libvalkey.
        self.socket_read_size, self._buffer = socket_read_size, bytearray(socket_read_size)

    def on_connect(self, connection: Any, **_unused: Any) -> None:
        """Begin to read from a connection."""
        self._sock, self._socket_timeout = connection._sock, connection.socket_timeout
        self._reader, self._next_response = _reader(self.errors, connection.encoder), NOT_ENOUGH_DATA

    def read_response(self, disable_decoding: bool = False, push_request: bool = False) -> Any:  # noqa: ARG002  asked for where libvalkey isn't installed
        """Return the next reply, or push."""
        return super().read_response(disable_decoding)


class AsyncHiredisParser(_AsyncLibvalkeyParser):
    """valkey-py's parser for event loops, over hiredis."""

    errors: Any = BaseParser.EXCEPTION_CLASSES

    def __init__(self, socket_read_size: int) -> None:
        # As above.
        self._read_size, self._stream, self._reader, self._connected = socket_read_size, None, None, False

    def on_connect(self, connection: Any) -> None:
        """Begin to read from a connection."""
        self._stream, self._reader, self._connected = connection._reader, _reader(self.errors, connection.encoder), True

    async def read_response(self, disable_decoding: bool = False, push_request: bool = False) -> Any:  # noqa: ARG002  as above
        """Return the next reply, or push."""
        return await super().read_response(disable_decoding)


class HiredisPacker:
    """Packs the commands of a connection of threads."""

    def pack(self, *args: Any) -> list[bytes]:
        """Return the bytes of a command, whose name may be several words. Raises `DataError` for what has none."""
        name = args[0].encode() if isinstance(args[0], str) else args[0]
        try:
            return [hiredis.pack_command((*name.split(), *args[1:]))]
        except TypeError as error:
            raise DataError(str(error)) from error


class OverHiredis:
    """A mixin for valkey-py's connections: they read and pack by hiredis, unless their user says otherwise."""

    def set_parser(self, parser_class: Any) -> None:
        """Read by a parser of this class, or by the one that stands for it."""
        theirs: Any = super()
        theirs.set_parser(_PARSERS.get(parser_class, parser_class))
        if parser_class in _PARSERS:
            parser: Any = self._parser  # type: ignore[attr-defined]  # a mixin's: the class beside it has it
            parser.errors = parser_class.EXCEPTION_CLASSES

    def _construct_command_packer(self, packer: Any) -> Any:
        return HiredisPacker() if packer is None else packer


_PARSERS = {
    valkey.connection.DefaultParser: HiredisParser,
    valkey.cluster.ClusterParser: HiredisParser,
    valkey.asyncio.connection.DefaultParser: AsyncHiredisParser,
    valkey.asyncio.cluster.ClusterParser: AsyncHiredisParser,
}


class Absent:
    """Stands for a class of which there is no object."""


MODULES: dict[str, dict[str, Any]] = {
    "valkey.cache": dict.fromkeys(
        ("CacheEntry", "CacheEntryStatus", "CacheFactory", "CacheInterface", "CacheKey"), Absent
    ),
    "valkey.connection": {"CacheProxyConnection": Absent, "HiredisRespSerializer": HiredisPacker},
    "valkey.utils": {"compare_versions": None},  # which only client-side caching needs
    "valkey._parsers.libvalkey": {"_HiredisParser": HiredisParser, "_AsyncHiredisParser": AsyncHiredisParser},
    # Which `redpool.redispy.internals` asks for.
    "valkey.complements": {"STAND_INS": (OverHiredis,)},
}
"""What modules of valkey-py have beside their own, by redis-py's names; the first and the last are made up."""

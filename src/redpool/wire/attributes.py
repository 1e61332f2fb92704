r"""Attribute frames of RESP3, which hiredis takes for replies: seen before they can shift all replies behind them.

hiredis returns an attribute (`|1\r\n...`) as a list like any other reply, or as one more element of an aggregate.
Afterwards it can't be told from a reply. So each chunk is looked at before hiredis is fed with it.

RESP is a flat row of tokens. A token is a line that begins with its type. With a bulk type, as many bytes as the line
says and a line end follow. An attribute is a token of type `|`; how deep it is nested makes no difference. So:

- A `|` begins a token only at the beginning of the stream or behind a line end, and a number follows. Almost every
  chunk is settled by one search or two.
- Where there is such a `|`, it may still stand inside a bulk. That is known only if all tokens are walked through, from
  a place where one began. So what was received behind the last such place is kept, and walked through only if it must.
- hiredis tells such places, for it drops what it has understood: its buffer begins with a token, even in the middle of
  an aggregate. Only the byte that says the type may be dropped alone. A line feed before the buffer tells them apart.

What hiredis refuses anyway (streamed strings and aggregates, blob errors, malformed numbers) needs no care here: the
connection ends with it.
"""

from __future__ import annotations

import re

import hiredis

KEEP = 256 * 1024
"""More bytes than these aren't kept: they are walked through, which for a large bulk is one step a chunk."""

_MAY_BE = re.compile(rb"\n\|(?:[0-9-]|\Z)").search  # the chunk may end behind the first byte
_ATTRIBUTE, _LINE_FEED = b"|\n"
_BULKS = b"$="
_LONGEST_HEADER = 32  # bytes; there is no bulk so large that its line would be longer


class AttributeReceived(Exception):
    """The server sends attributes: replies can't be matched to commands, so that the connection must be closed."""

    def __init__(self) -> None:
        super().__init__("the server sends RESP3 attributes, which can't be told from replies: connect with protocol=2")


class AttributeWatch:
    """Watch what one connection receives: `check` each chunk, feed hiredis, take all replies out, and call `fed`.

    A chunk without a `|` needs no `check`. One that ends with a line end and leaves the reader empty needs no `fed`
    where the watch is `at_start`.

    For connections that speak RESP3; in RESP2 there are no attributes. The reader must be empty at first.
    """

    __slots__ = ("_has_data", "_kept", "_length", "_size", "_tokens", "_walked", "at_start")

    def __init__(self, reader: hiredis.Reader) -> None:
        self._has_data, self._length = reader.has_data, reader.len
        self._tokens = _Tokens()
        self._kept: list[bytes | bytearray] = []  # received behind what `_tokens` has walked through
        self._size = 0  # bytes of it
        self._walked = False  # `_tokens` has walked through the chunk that was checked last
        self.at_start = True
        """of a token: nothing is kept, and nothing needs to be where a chunk leaves the reader empty"""

    def check(self, data: bytes | bytearray, size: int) -> None:
        """Raise `AttributeReceived` if an attribute begins in the first `size` bytes of `data`."""
        if data.find(b"|", 0, size) < 0:
            return
        if data[0] == _ATTRIBUTE or (data.find(b"\n|", 0, size) >= 0 and _MAY_BE(data, 0, size)):
            self._walk_through_kept()
            self._tokens.walk(data, size)
            self._walked, self.at_start = True, False

    def fed(self, data: bytes | bytearray, size: int) -> None:
        """Keep what is needed of the chunk that was checked last; `data` may be used for other chunks after that."""
        if data[size - 1] == _LINE_FEED and not self._has_data():
            if not self.at_start:
                self._keep(b"")
                self.at_start = True
            return
        self.at_start = False
        before = size - self._length() - 1  # the last byte that hiredis has dropped
        if before >= 0:
            self._keep(data[before + (data[before] == _LINE_FEED) : size])
        elif not self._walked:
            self._kept.append(data[:size])
            self._size += size
            if self._size > KEEP:
                self._walk_through_kept()
        self._walked = False

    def _keep(self, tail: bytes | bytearray) -> None:
        """Keep nothing but this, which begins with a token."""
        self._kept, self._size, self._walked = [tail], len(tail), False
        self._tokens.restart()

    def _walk_through_kept(self) -> None:
        for chunk in self._kept:
            self._tokens.walk(chunk, len(chunk))
        self._kept, self._size = [], 0


class _Tokens:
    """A place in a stream of RESP, always known relative to the token it is in."""

    __slots__ = ("_ahead", "_line")

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Be where a token begins."""
        self._ahead = 0  # bytes to come of a bulk, its line end included
        self._line = b""  # the beginning of a line that isn't complete

    def walk(self, data: bytes | bytearray, size: int) -> None:
        """Go on by `size` bytes; raise `AttributeReceived` at the first attribute that begins in them."""
        at = self._ahead
        if self._line and at < size:
            at = self._finish_line(data, size)
        while at < size:
            if data[at] == _ATTRIBUTE:
                raise AttributeReceived
            end = data.find(b"\r\n", at, size)
            if end < 0:
                self._begin_line(data[at:size])
                at = size
            else:
                at = end + 2 + (_bulk(data[at:end]) if data[at] in _BULKS else 0)
        self._ahead = at - size

    def _begin_line(self, line: bytes | bytearray) -> None:
        # Of a long line its type is needed, and whether it ends with half of a line end.
        self._line = bytes(line if len(line) <= _LONGEST_HEADER else line[:1] + line[-1:])

    def _finish_line(self, data: bytes | bytearray, size: int) -> int:
        """Return where the token ends whose line began in an earlier chunk: beyond `size` if it isn't complete."""
        if self._line.endswith(b"\r") and data[0] == _LINE_FEED:
            line, end = self._line[:-1], 1
        else:
            found = data.find(b"\r\n", 0, size)
            if found < 0:
                self._begin_line(self._line + data[:size])
                return size
            line, end = self._line + data[:found], found + 2
        self._line = b""
        return end + (_bulk(line) if line[0] in _BULKS else 0)


def _bulk(line: bytes | bytearray) -> int:
    """Return how many bytes follow the line of a bulk, its line end included; none follow a null."""
    try:
        length = int(line[1:])
    except ValueError:
        return 0
    return length + 2 if length >= 0 else 0

"""A server that sends attributes, RESP3's notes beside a reply: they are refused in words, and shift nothing."""

from __future__ import annotations

import pytest
import redis

from redpool.testing import Raw, ScriptedServer
from support.faces import Face, together

ATTRIBUTE = b"|1\r\n+key-popularity\r\n*2\r\n$1\r\na\r\n,0.5\r\n"
ALIKE = b"before\r\n|1\r\n+key\r\n+value\r\nbehind"


def marked(args: list[bytes]) -> bytes:
    """Answer ECHO, with an attribute before what is odd."""
    (word,) = args
    return Raw(ATTRIBUTE + b"$%d\r\n%b\r\n" % (len(word), word)) if word.startswith(b"odd") else word


def test_an_attribute_before_a_reply_is_refused(face: Face, scripted: ScriptedServer) -> None:
    """Its caller gets an error that names the cause and the way out; all others their own reply, or that error."""
    scripted.answer("ECHO", marked)
    pool = face.pool(host=scripted.host, port=scripted.port, protocol=3, max_connections=4, retry=face.retry(0))
    client = face.client(pool)

    def work(number: int) -> list[object]:
        raised: list[object] = []
        for turn in range(20):
            word = f"{'odd' if number == 0 else 'even'} {number} {turn}".encode()
            try:
                raised.append(client.echo(word) == word or f"{word!r} was answered otherwise")
            except redis.ConnectionError as error:
                raised.append(str(error))
        return raised

    odd, *others = [doing.result() for doing in together(4, work)]
    wrong = [each for raised in (odd, *others) for each in raised if each is not True and "attributes" not in str(each)]
    assert not wrong, f"{len(wrong)}, the first: {wrong[0]}"
    assert True not in odd
    assert all("RESP3 attributes" in str(each) and "protocol=2" in str(each) for each in odd)


def test_an_attribute_inside_a_reply_is_refused(face: Face, scripted: ScriptedServer) -> None:
    """It would be one element more, or a reply of its own."""
    scripted.answer("LRANGE", Raw(b"*2\r\n:1\r\n" + ATTRIBUTE + b":2\r\n"))
    pool = face.pool(host=scripted.host, port=scripted.port, protocol=3, retry=face.retry(0))
    client = face.client(pool)
    with pytest.raises(redis.ConnectionError, match=r"RESP3 attributes.*protocol=2"):
        client.lrange("list", 0, -1)
    assert client.echo("x") == b"x"


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_payload_that_looks_like_one(face: Face, scripted: ScriptedServer, size: int) -> None:
    """It is the caller's value, in RESP3 as well."""
    client = face.client(face.pool(host=scripted.host, port=scripted.port, protocol=3))
    value = ALIKE * size
    scripted.answer("GET", value)
    for doing in together(4, lambda _: [client.get("key") == value and client.echo("x") == b"x" for _ in range(5)]):
        assert doing.result() == [True] * 5

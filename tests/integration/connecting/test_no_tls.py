"""Where TLS can't be had, callers are told at once, with the cause: to wait, or to try again, would change nothing."""

from __future__ import annotations

import errno
import inspect
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

import redpool
from redpool import embedded
from redpool.redispy import no_tls
from redpool.testing import FaultProxy
from support import tls
from support.faces import Face, Listener

PATIENT: dict[str, Any] = {"timeout": 3.0, "max_connections": 2}
"""A caller would wait for so long, where its retry policy sits through failures."""
BRIEF = 0.05
"""Seconds of silence that make a pool ask, in these tests."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate that no authority has signed, and its key."""
    return tls.certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(certificate: tuple[str, str], redis_server: embedded.Server) -> Iterator[tuple[str, int]]:
    """Where a server is that speaks TLS, with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    with tls.before(redis_server.host, redis_server.port, context) as address:
        yield address


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server counts as silent soon."""
    monkeypatch.setattr(no_tls, "SILENT_AFTER", BRIEF)
    monkeypatch.setattr(no_tls, "ANSWERS_WITHIN", 2 * BRIEF)


def pool_over_tls(face: Face, host: str, port: int, **options: Any) -> Any:
    """A pool over TLS whose callers sit through any number of failures."""
    options = {**PATIENT, "retry": face.retry(1000, 0.01), **options}
    return face.pool(face.redis.SSLConnection, host=host, port=port, **options)


def fails_at_once(face: Face, pool: Any, says: str) -> None:
    """Two calls get the connect's own error, long before `timeout`."""
    client, began = face.client(pool), time.monotonic()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError, match=says) as caught:
            client.get("key")
        assert not isinstance(caught.value, redpool.PoolTimeout)
    assert time.monotonic() - began < PATIENT["timeout"]


def test_a_certificate_that_can_not_be_verified(any_face: Face, secured: tuple[str, int]) -> None:
    """The error is that of the handshake."""
    fails_at_once(any_face, pool_over_tls(any_face, *secured), "CERTIFICATE_VERIFY_FAILED")


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path"])
def test_a_file_that_is_missing(
    any_face: Face, secured: tuple[str, int], certificate: tuple[str, str], tmp_path: Path, option: str
) -> None:
    """The error names its option and its path."""
    if option not in inspect.signature(any_face.redis.SSLConnection.__init__).parameters:
        pytest.skip("this redis-py has no such option")
    options: dict[str, Any] = {}
    if option.endswith("file"):
        options = {"ssl_certfile": certificate[0], "ssl_keyfile": certificate[1]}
    missing = options[option] = str(tmp_path / "missing.pem")
    pool = pool_over_tls(any_face, *secured, **options)
    fails_at_once(any_face, pool, f"Can't use {option}={missing}: No such file")


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
def test_a_file_that_holds_something_else(
    face: Face, secured: tuple[str, int], certificate: tuple[str, str], option: str
) -> None:
    """It is named, too: here the key is where a certificate should be."""
    options: dict[str, Any] = {option: certificate[1]}
    pool = pool_over_tls(face, *secured, **options)
    fails_at_once(face, pool, f"Can't use {option}={certificate[1]}")


def test_a_key_whose_password_is_missing(certificate: tuple[str, str], tmp_path: Path) -> None:
    """It is named where OpenSSL has no terminal at which it could ask, as it is where the password is another."""
    locked = str(tmp_path / "locked.pem")
    lock = f"openssl rsa -aes128 -passout pass:secret -in {certificate[1]} -out {locked}"
    subprocess.run(lock.split(), check=True, capture_output=True)
    connection = SimpleNamespace(certfile=certificate[0], keyfile=locked)
    with pytest.raises(ssl.SSLError, match=f"ssl_keyfile={locked}"):
        no_tls.check_files(connection, OSError(errno.EINVAL, "Invalid argument"))


def test_a_port_without_tls(any_face: Face, at: dict[str, Any], brief: None) -> None:
    """Redis waits for the rest of what it takes for a command. It is asked whether it speaks without TLS, and does."""
    fails_at_once(any_face, pool_over_tls(any_face, **at), "does not speak TLS")


def test_a_server_that_is_slow_to_speak_tls(
    face: Face, secured: tuple[str, int], certificate: tuple[str, str], brief: None
) -> None:
    """The pool connects to it all the same, with all the time that a connect has; it is asked once."""
    with FaultProxy(*secured) as proxy:
        proxy.delay(3 * BRIEF)
        pool = pool_over_tls(face, proxy.host, proxy.port, ssl_ca_certs=certificate[0], timeout=20.0)
        connections = [pool.get_connection() for _ in range(2)]
        assert proxy.connections <= 2 + 2
        for connection in connections:
            pool.release(connection)
        proxy.delay(0.0)


def test_a_server_that_is_silent_without_tls_too(face: Face, silent: Listener, brief: None) -> None:
    """Its connect times out as ever: nothing says that it doesn't speak TLS."""
    pool = pool_over_tls(face, "127.0.0.1", silent.port, retry=None, socket_timeout=BRIEF, socket_connect_timeout=BRIEF)
    with pytest.raises(redis.TimeoutError, match=r"Timeout connecting|took too long"):
        pool.get_connection()


@pytest.mark.parametrize(
    ("error", "rejected"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), True),
        (ssl.SSLError(1, "tlsv13 alert certificate required"), True),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), False),
        (ConnectionResetError(104, "reset by peer"), False),
    ],
)
def test_what_says_that_a_handshake_is_rejected(error: Exception, rejected: bool) -> None:
    """Errors of TLS do, wherever in the chain, except those of a connection that broke."""
    for raised in (error, redis.ConnectionError("while connecting")):
        if raised is not error:
            raised.__context__ = error
        assert no_tls.rejected(raised) is rejected

"""Applications over Flask, and its extensions that take a client."""

from __future__ import annotations

import threading

import pytest
from flask import Flask

import redpool
from redpool.contrib.flask import client, init_app

from ..conftest import Load


def test_the_application_on_the_page(load: Load) -> None:
    """It counts, with the options that were given."""
    (app,) = load("flask", "app")
    visitor = app.app.test_client()
    assert [visitor.get("/visits").text for _ in range(3)] == ["1", "2", "3"]
    with app.app.app_context():
        assert client.connection_pool.config.timeout == 2


def test_extensions_take_the_client(load: Load) -> None:
    """Flask-Caching keeps what it is to keep in the server, and Flask-Session its sessions."""
    (extensions,) = load("flask", "extensions")
    visitor, other = extensions.app.test_client(), extensions.app.test_client()
    assert [visitor.get("/slow").text for _ in range(3)] == ["1"] * 3
    assert [visitor.get("/mine").text for _ in range(2)] == ["1", "2"]
    assert other.get("/mine").text == "1"
    assert {key.split(b":")[0].split(b"_")[0] for key in extensions.redis.keys("*")} == {b"session", b"flask"}


def test_an_application_has_its_own_client(redis_url: str) -> None:
    """Two with the same URL and options share a pool; the threads that serve them share a connection."""
    app, same, other = Flask("app"), Flask("same"), Flask("other")
    same.config["REDIS_URL"] = redis_url
    first, second = init_app(app, redis_url, client_name="flask"), init_app(same, client_name="flask")
    third = init_app(other, redis_url, "dedicated", max_connections=3, client_name="flask")
    assert first.connection_pool is second.connection_pool
    assert type(third.connection_pool) is redpool.ConnectionPool
    assert third.connection_pool.max_connections == 3

    @app.get("/")
    def count() -> str:
        return str(client.incr("visits"))

    replies: list[int] = []
    barrier = threading.Barrier(16)

    def visit() -> None:
        barrier.wait()
        replies.extend(int(app.test_client().get("/").text) for _ in range(10))

    threads = [threading.Thread(target=visit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(replies) == list(range(1, 161))
    assert first.connection_pool.stats().open == 1


def test_what_is_wrong_is_said_at_once() -> None:
    """A misspelt option, a kind that isn't, a URL that isn't there."""
    with pytest.raises(TypeError, match="max_connections"):
        init_app(Flask("app"), "redis://localhost", max_conections=3)
    with pytest.raises(ValueError, match="'dedicated', 'multiplexed', not 'both'"):
        init_app(Flask("app"), "redis://localhost", "both")
    with pytest.raises(KeyError, match="REDIS_URL"):
        init_app(Flask("app"))

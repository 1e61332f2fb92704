"""Flask over one pool for each process and URL: `init_app`, and the client of the application at hand.

::

    app = Flask(__name__)
    init_app(app, "redis://localhost:6379/0")

    @app.get("/visits")
    def visits():
        return str(client.incr("visits"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flask import current_app
from werkzeug.local import LocalProxy

import redpool

from . import pools

if TYPE_CHECKING:
    from flask import Flask

_NAME = "redpool"


def init_app(app: Flask, url: str | None = None, kind: str = "multiplexed", **options: Any) -> redpool.Redis:
    """Give the application a client for the server at `url`, and return it for extensions that want one.

    Without `url`, `app.config["REDIS_URL"]` says where the server is. `kind` is "multiplexed" or "dedicated", `options`
    are the pool's, and redis-py's.
    """
    pool = pools.pool(app.config["REDIS_URL"] if url is None else url, kind, **options)
    app.extensions[_NAME] = redpool.Redis(connection_pool=pool)
    return cast(redpool.Redis, app.extensions[_NAME])


client = cast(redpool.Redis, LocalProxy(lambda: current_app.extensions[_NAME]))
"""The client of the application that handles the request."""

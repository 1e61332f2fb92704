"""The first four lines of a user's code."""

from dataclasses import dataclass
from typing import Any

from redpool.embedded import Server


@dataclass(frozen=True)
class Lines:
    """Source lines that were run, and the `result` of the last one as Python shows it."""

    source: tuple[str, ...]
    result: str


def four_lines(url: str, server: Server | None) -> Lines:
    """Run the four lines against `url`, and return them with their result; the key that they set is deleted."""
    if server is not None and server.port:
        key, pool = "foo", f"redpool.ConnectionPool(host={server.host!r}, port={server.port}, db=0)"
    else:
        # By name: a URL may contain a password.
        key, pool = "redpool:demo:foo", "redpool.ConnectionPool.from_url(url)"
    *preparation, last = source = (
        "import redis, redpool",
        f"pool = {pool}",
        "r = redis.Redis(connection_pool=pool)",
        f'r.set("{key}", "bar")',
    )
    names: dict[str, Any] = {"url": url}
    # Run exactly what is shown.
    exec("\n".join(preparation), names)
    try:
        result = eval(last, names)
        names["r"].delete(key)
    finally:
        names["pool"].close()
    return Lines(source, repr(result))

"""How many files the process may have open, of which a connection is one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files(count: int) -> Iterator[None]:
    """Within the block the process, and those it starts, may open `count` files, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft == resource.RLIM_INFINITY or soft >= enough:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

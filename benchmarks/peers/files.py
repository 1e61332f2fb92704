"""The limit of open files; each connection is one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files(count: int) -> Iterator[None]:
    """Let this process, and those it starts in the block, open `count` files, as far as the system allows."""
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

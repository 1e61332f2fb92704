"""The names that CLIENT LIST shows of connections: `service/pool@host:pid`."""

from __future__ import annotations

import re
from typing import NamedTuple

# What CLIENT SETNAME takes: printable ASCII without the space. The rest would end a part of the name too soon.
_REFUSED = re.compile(r"[^!-~]")
_NOT_IN_SERVICE = re.compile(r"[^!-~]|[/@]")
_NOT_IN_HOST = re.compile(r"[^!-~]|[@]")

_LONGEST_SERVICE, _LONGEST_POOL, _LONGEST_HOST = 40, 80, 64
# `\Z`, as the pool's name may contain what separates the others.
_NAME = re.compile(r"(?P<service>[^/]+)/(?P<pool>.*)@(?P<host>[^@]*):(?P<pid>[0-9]{1,10})", re.DOTALL)


class ClientName(NamedTuple):
    """What the name of a connection says."""

    service: str
    pool: str
    host: str
    """of the process, as the machine calls itself"""
    pid: int

    def __str__(self) -> str:
        return f"{prefix(self.service, self.pool, self.host)}{self.pid}"


def prefix(service: str, pool: str, host: str) -> str:
    """Return such a name up to the process id, 187 characters at most; what CLIENT SETNAME refuses is replaced."""
    service = _NOT_IN_SERVICE.sub("_", service)[:_LONGEST_SERVICE] or "_"
    return f"{service}/{pool_part(pool)}@{host_part(host)}:"


def pool_part(pool: str) -> str:
    """Return what such a name has of a pool's name."""
    return _REFUSED.sub("_", pool)[:_LONGEST_POOL]


def host_part(host: str) -> str:
    """Return what such a name has of a host's name."""
    return _NOT_IN_HOST.sub("_", host)[:_LONGEST_HOST]


def read(name: str) -> ClientName | None:
    """Return what a name says that CLIENT LIST shows; `None` where it is not one of redpool's."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return ClientName(match["service"], match["pool"], match["host"], int(match["pid"]))

"""Whose a client is, as CLIENT LIST and the reports say."""

from __future__ import annotations

import pytest

from redpool.fleet.clients import Owners, clients_of
from redpool.fleet.model import Owner, ServerClient
from redpool.wire.client_names import ClientName

from .made_up import line, pool, process


def client(limit: float = 60.0, **given: object) -> ServerClient:
    """What is seen of a client, while one process is alive."""
    owners = Owners()
    owners.know([process()])
    (found,) = clients_of(line(**given), owners, limit)
    return found


@pytest.mark.parametrize(
    ("name", "owner", "of", "its_pool"),
    [
        ("checkout/cache@web-1:4711", Owner.KNOWN, "checkout@web-1:4711", "cache"),
        # The service of a pool may have another name than that of the report.
        ("app/a@b/c@web-1:4711", Owner.KNOWN, "checkout@web-1:4711", "a@b/c"),
        ("checkout/cache@web-1:4712", Owner.ORPHANED, "checkout@web-1:4712", "cache"),
        ("checkout/cache@web-2:4711", Owner.ORPHANED, "checkout@web-2:4711", "cache"),
        ("celery@web-1:4711", Owner.FOREIGN, None, None),
        ("checkout/cache@web-1:", Owner.FOREIGN, None, None),
        ("checkout/cache@web-1:47x", Owner.FOREIGN, None, None),
        ("", Owner.FOREIGN, None, None),
    ],
)
def test_owners(name: str, owner: Owner, of: str | None, its_pool: str | None) -> None:
    """By host and process id: alive, gone, or no name of redpool's."""
    found = client(name=name)
    assert (found.owner, found.process, found.pool) == (owner, of, its_pool)


def test_pools_are_those_of_the_reports() -> None:
    """A name on the wire is shorter, and lacks some characters; of two services in one process each has its pools."""
    owners = Owners()
    long = "the sessions of " + 100 * "x"
    owners.know([process(pools=(pool(name=long),)), process(service="mail", pools=(pool(name="outbox"),))])
    wire = str(ClientName("checkout", long, "web-1", 4711))
    assert long not in wire
    assert owners.of(wire) == (Owner.KNOWN, "checkout@web-1:4711", long)
    assert owners.of("checkout/outbox@web-1:4711") == (Owner.KNOWN, "mail@web-1:4711", "outbox")


@pytest.mark.parametrize(
    ("idle", "flags", "too_long"),
    [(60, "N", False), (61, "N", True), (61, "P", False), (61, "b", False), (61, "S", False)],
)
def test_idle_too_long(idle: int, flags: str, too_long: bool) -> None:
    """A subscriber, a blocked client and a replica are right to be silent."""
    assert client(idle=idle, flags=flags).idle_too_long is too_long


def test_what_servers_say_is_data() -> None:
    """Fields that lack, are strange or hostile are 0 or empty; a value may contain what separates."""
    odd = "\n".join(
        [line(name="a=b", age="old", db="9" * 30, **{"lib-name": "x(<script>)", "sub": 2, "ssub": 3}), "x", ""]
    )
    first, second = clients_of(odd, Owners(), 1.0)
    assert (first.name, first.age, first.database, first.library, first.subscriptions) == (
        "a=b",
        0,
        0,
        "x(<script>)",
        5,
    )
    assert (second.id, second.name, second.owner) == (0, "", Owner.FOREIGN)


def test_one_who_dies_is_orphaned() -> None:
    """What was known of a name is no longer true once its process is gone."""
    owners = Owners()
    owners.know([process()])
    name = "checkout/cache@web-1:4711"
    assert owners.of(name)[0] is Owner.KNOWN
    owners.know([])
    assert owners.of(name)[0] is Owner.ORPHANED

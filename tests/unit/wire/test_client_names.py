"""The names that CLIENT LIST shows: what they say can be read again, and CLIENT SETNAME takes any of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpool.wire.client_names import ClientName, prefix, read


def test_a_name_says_which_process_and_which_pool() -> None:
    """And what it says can be read."""
    name = f"{prefix('checkout', 'localhost:6379/0', 'web-1')}4711"
    assert name == "checkout/localhost:6379/0@web-1:4711"
    assert read(name) == ClientName("checkout", "localhost:6379/0", "web-1", 4711)
    assert str(read(name)) == name


@pytest.mark.parametrize("name", ["", "mine", "a/b", "a/b@c", "a/b@c:d", "/b@c:1", "a@c:1"])
def test_other_names_are_not_taken_for_such(name: str) -> None:
    """They are their users' own."""
    assert read(name) is None


@given(st.text(), st.text(), st.text())
def test_the_server_takes_any_such_name(service: str, pool: str, host: str) -> None:
    """Whatever it is made of: printable, without a space, of bounded length; no part runs into the next one."""
    name = f"{prefix(service, pool, host)}1"
    assert re.fullmatch(r"[!-~]{1,190}", name)
    found = read(name)
    assert found is not None
    assert str(found) == name
    assert found.pid == 1

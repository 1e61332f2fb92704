"""The rules: pure functions from facts to findings, in a file for each kind. `RULES` has them all, in their order."""

from __future__ import annotations

from collections.abc import Mapping

from ..rule import Rule
from . import application, clients, fleet, pool, server, versions

RULES: Mapping[str, Rule] = {
    each.id: each
    for module in (server, clients, pool, fleet, versions, application)
    for each in vars(module).values()
    if isinstance(each, Rule)
}
"""by their ids"""

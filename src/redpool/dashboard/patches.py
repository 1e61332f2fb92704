"""What has changed between two JSON documents, as a JSON Merge Patch (RFC 7396).

A patch is a document of what is new; `null` in it removes. So no document may hold a `null` itself. A list is replaced
as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["Json", "merged", "patch"]

Json: TypeAlias = Mapping[str, Any]
"""a JSON object: strings, numbers, lists, objects"""


def patch(before: Json, after: Json) -> dict[str, Any]:
    """Return the merge patch that makes `after` of `before`: empty where they are equal."""
    made: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if value != old:
                made[name] = patch(old, value)
        elif value != old:
            made[name] = value
    return made


def merged(before: Json, change: Json) -> dict[str, Any]:
    """Return what a merge patch makes of a document. The page does the same: `merge` in `static/stream.js`."""
    made = dict(before)
    for name, value in change.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, dict):
            old = made.get(name)
            made[name] = merged(old if isinstance(old, dict) else {}, value)
        else:
            made[name] = value
    return made

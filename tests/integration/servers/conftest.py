"""Every kind of pool and client, against servers that behave as some do in the field."""

from __future__ import annotations

import pytest

from support.faces import Face


@pytest.fixture
def face(any_face: Face) -> Face:
    """Each kind of pool in each shell, under redis-py's client; and redpool's client."""
    return any_face

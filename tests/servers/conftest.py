"""Every kind of pool and client, against servers that behave as some do in the field."""

from __future__ import annotations

import pytest

from contract.faces import Face
from contract.fixtures import at, memory
from shared.fixtures import any_face, multiplexed_face

__all__ = ["any_face", "at", "memory", "multiplexed_face"]


@pytest.fixture
def face(any_face: Face) -> Face:
    """Each kind of pool in each shell, under redis-py's client; and redpool's client."""
    return any_face

"""All kinds of pool and client, by threads and by tasks."""

from __future__ import annotations

import pytest

from support.faces import Face


@pytest.fixture
def kind(any_face: Face) -> Face:
    """A kind of pool and client."""
    return any_face

"""Fixtures that every part's tests share."""

from __future__ import annotations

import pytest

from tests.server import ScriptedServer


@pytest.fixture
def server():
    """A model's endpoint that answers from a script; see `tests.server`."""
    with ScriptedServer() as running:
        yield running

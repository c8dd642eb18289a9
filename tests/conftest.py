"""Fixtures that every part's tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.server import ScriptedServer

settings.register_profile("distask", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("distask")


@pytest.fixture
def server():
    """A model's endpoint that answers from a script; see `tests.server`."""
    with ScriptedServer() as running:
        yield running

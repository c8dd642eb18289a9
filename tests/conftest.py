"""Fixtures that every part's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.cage import Cage
from tests.server import ScriptedServer

settings.register_profile("distask", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("distask")


@pytest.fixture
def server():
    """A model's endpoint that answers from a script; see `tests.server`."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture(scope="session")
def cage():
    """Runs commands in processes that start at once; see `tests.cage`."""
    with Cage() as made:
        yield made


BATTERIES = ("crash", "hostile", "real", "differential")
"""Folders whose tests are all slow; elsewhere, a marker at the test or the module says so."""


def pytest_ignore_collect(collection_path, config):
    """Do not even read the slow folders for `just test`."""
    is_slow = collection_path.parent == Path(__file__).parent and collection_path.name in BATTERIES
    return True if is_slow and config.option.markexpr == "not battery" else None


def pytest_collection_modifyitems(items):
    """Mark what `just test` leaves out."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in BATTERIES:
            item.add_marker("battery")

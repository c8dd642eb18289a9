"""What the batteries share: processes that are cheap to begin."""

from __future__ import annotations

import pytest

from tests.crash.forks import Forks


@pytest.fixture(scope="session")
def forks():
    """Where commands are begun; see `tests.crash.forks`."""
    with Forks() as running:
        yield running

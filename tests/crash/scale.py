"""How much the batteries do: `DISTASK_BATTERY=20 python -m pytest tests/crash` does twenty times as much, from other seeds on."""

from __future__ import annotations

import os

SCALE = float(os.environ.get("DISTASK_BATTERY", "1"))


def scaled(count):
    """So many, at the usual scale."""
    return max(1, round(count * SCALE))

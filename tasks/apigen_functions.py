"""A few functions to try apigen-execution-checker on."""

from __future__ import annotations

import math
import subprocess
import sys
import time


def final_velocity(initial: float, acceleration: float, duration: float) -> float:
    """The velocity after accelerating for some time."""
    return initial + acceleration * duration


def square_root(number: float) -> float:
    """The square root of a number that is not negative."""
    return math.sqrt(number)


def greet(name: str) -> str:
    """A greeting."""
    print("greeting", name)  # noqa: T201
    return f"Hello, {name}!"


def wait() -> None:
    """Never done."""
    time.sleep(3600)


def leave() -> None:
    """End the process."""
    sys.exit(3)


def run(command: str) -> str:
    """Begin another process."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout  # noqa: S602

"""`python -m distask` is `distask`."""

from __future__ import annotations

from distask.cli import script

if __name__ == "__main__":
    script()

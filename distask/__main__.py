"""`python -m distask` is `distask`."""

from __future__ import annotations

import sys

from distask.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m distask`."""

from distask.cli import main

main()

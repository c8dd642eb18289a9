# The commands of contributors; `just` lists them.

default:
    @just --list

# The fast tests, or those of them that are named; CI also runs the slow ones, marked `battery`
test *names:
    python -m pytest -m "not battery" {{names}}

# Every test, also the slow ones
all:
    python -m pytest

# Lint, format and types
lint:
    ruff check .
    ruff format --check .
    mypy

# Write the generated pages and the README's picture
docs:
    python tests/test_docs.py

# The lines that `just test` does not run
coverage:
    python -m pytest -m "not battery" --cov --cov-report=term

# What must pass before a change lands, in a fresh environment
ci:
    .ci/run

"""Rows in, rows out."""

from distask.data.input import Input, open_input, rows_input
from distask.data.writers import Writer, open_output

__all__ = ["Input", "Writer", "open_input", "open_output", "rows_input"]

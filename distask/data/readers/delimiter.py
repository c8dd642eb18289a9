"""Detect the character that separates the columns of a CSV file."""

from __future__ import annotations

import csv
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distask.data.compression import kind_of, open_binary
from distask.data.readers.lines import MAX_LINE, lines_of
from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import BinaryIO

CANDIDATES = (";", "\t", "|")
"""Delimiters to try when the header has no comma."""
RECORDS = 20
"""Number of records after the header that must have as many fields as the header."""
MAX_HEADER_LINES = 100
_QUOTED = re.compile(r'"(?:[^"]|"")*+"')
_NAMES = {"tab": "\t", r"\t": "\t"}


def find_delimiter(path: Path, default: str) -> str:
    """Return the delimiter of a file: `default` unless the beginning of the file clearly shows another one.

    The first line may name it, as Excel does: `sep=;`. Otherwise, if `default` is a comma, the header must have no
    comma outside quotes, and exactly one of `CANDIDATES` must split the header and the first records into the same
    number of fields, more than one.
    """
    csv.field_size_limit(MAX_LINE)
    with open_binary(path) as file:
        lines = _texts(file)
        header = next(lines, "")
        if (named := named_delimiter(header)) is not None:
            return named
        for line in islice(lines, MAX_HEADER_LINES):
            if header.count('"') % 2 == 0:
                break
            header += line
    outside = _QUOTED.sub("", header)
    if default != "," or "," in outside:
        return default
    fitting = [candidate for candidate in CANDIDATES if candidate in outside and _splits_evenly(path, candidate)]
    return fitting[0] if len(fitting) == 1 else default


def named_delimiter(line: str) -> str | None:
    r"""Return the delimiter that a first line such as `sep=;` names; None if it names none."""
    found = re.fullmatch(r'("?)sep=([^\w"\r\n])\1[\r\n]*', line, re.IGNORECASE)
    return None if found is None else found[2]


def parse_delimiter(written: str) -> str:
    r"""Return the delimiter that a user names: one character, `tab` or `\t`. Raises `UsageError`."""
    delimiter = _NAMES.get(written, written)
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UsageError(
            f"--delimiter {written!r}: use one character such as `;`, or `tab`; a quote can't be a delimiter"
        )
    return delimiter


def shown(delimiter: str) -> str:
    """Return a delimiter as messages and `--delimiter` show it."""
    return "tab" if delimiter == "\t" else delimiter


def delimiter_hint(file: str, columns: Collection[str]) -> str | None:
    """Suggest another delimiter if the column names of a CSV file contain one; else None."""
    if kind_of(Path(file)) not in (".csv", ".tsv"):
        return None
    found = next((c for c in CANDIDATES if any(c in name for name in columns)), None)
    return None if found is None else f"if the separator is `{shown(found)}`, add --delimiter '{shown(found)}'"


def _splits_evenly(path: Path, delimiter: str) -> bool:
    with open_binary(path) as file:
        records = csv.reader(_texts(file), delimiter=delimiter, strict=True)
        try:
            sizes = [len(record) for record in islice(filter(None, records), RECORDS + 1)]
        except csv.Error:
            return False
    return len(sizes) > 1 and sizes[0] > 1 and len(set(sizes)) == 1


def _texts(file: BinaryIO) -> Iterator[str]:
    """Yield the lines, and stop at a line that is too long."""
    for number, line in lines_of(file):
        if line is None:
            return
        yield line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")

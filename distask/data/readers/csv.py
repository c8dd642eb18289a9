"""CSV: a header, then rows; every value is text, and nothing is guessed."""

from __future__ import annotations

import csv
import io
import sys
from typing import TYPE_CHECKING

from distask.data.compression import kind_of, open_binary
from distask.data.faults import fault
from distask.data.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_csv(path: Path, file: str) -> Iterator[Row]:
    """The rows of a `.csv` (commas) or `.tsv` (tabs) file."""
    csv.field_size_limit(min(sys.maxsize, 1 << 31))
    delimiter = "\t" if kind_of(path) == ".tsv" else ","
    with open_binary(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
        lines = csv.reader(text, delimiter=delimiter, strict=True)
        number = 1
        try:
            header = next(lines, [])
            double = {name for name in header if header.count(name) > 1}
            if double or "" in header:
                what = f"the column `{min(double)}` is there twice" if double - {""} else "a column has no name"
                yield Row({}, file, 1, error=fault(file, 1, what))
                return
            for values in lines:
                number = lines.line_num
                if not values:
                    continue
                if len(values) != len(header):
                    message = f"there are {len(values)} values, and {len(header)} columns in the header"
                    yield Row({}, file, number, error=fault(file, number, message))
                else:
                    yield Row(dict(zip(header, values, strict=True)), file, number)
        except UnicodeDecodeError:
            yield Row({}, file, number + 1, error=fault(file, number + 1, "the line is not UTF-8"))
        except csv.Error as error:
            yield Row({}, file, lines.line_num, error=fault(file, lines.line_num, f"this is not CSV: {error}"))

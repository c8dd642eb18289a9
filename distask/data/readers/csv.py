"""Read CSV: a header, then rows; every value is text."""

from __future__ import annotations

import csv
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distask.data.compression import kind_of, no_text, open_binary
from distask.data.readers.lines import MAX_LINE, fault, lines_of
from distask.data.row import Row
from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import BinaryIO

    from distask.errors import InputError


_BOM = b"\xef\xbb\xbf"


def read_csv(
    path: Path, file: str, *, delimiter: str | None = None, notify: Callable[[str], None] | None = None
) -> Iterator[Row]:
    """Yield the rows of a `.csv` or `.tsv` file; a row that can't be read has its `error`.

    Args:
        path: the file.
        file: its name in messages.
        delimiter: what separates the columns; None to detect it (default: a comma for `.csv`, a tab for `.tsv`).
        notify: called with a sentence about the detected delimiter if it is not the default.
    """
    csv.field_size_limit(MAX_LINE)
    if delimiter is None:
        usual = "\t" if kind_of(path) == ".tsv" else ","
        delimiter = find_delimiter(path, usual)
        if delimiter != usual and notify is not None:
            notify(f"CSV: the columns are separated by `{shown(delimiter)}` (--delimiter sets another)")
    with open_binary(path) as raw:
        texts = _Texts(raw, file)
        lines = csv.reader(texts, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        first = 1  # the line where the header begins
        while True:
            error, values = None, list[str]()
            try:
                values = next(lines)
            except StopIteration:
                return
            except csv.Error as wrong:
                error = fault(file, lines.line_num, _explained(wrong))
            error, texts.error = texts.error or error, None
            number = lines.line_num
            if header is None:
                if number == 1 and error is None and named_delimiter(delimiter.join(values)) is not None:
                    first = 2
                    continue
                error = error or _wrong_header(values, file, first)
                header = values
                if error is not None:  # no row can be read without the names
                    yield Row({}, file, number, error=error)
                    return
            elif error is not None:
                yield Row({}, file, number, error=error)
            elif values and len(values) != len(header):
                there = "there is 1 value" if len(values) == 1 else f"there are {len(values)} values"
                hint = delimiter_hint(file, header)
                message = f"{there}, but the header has {len(header)} columns{'; ' + hint if hint else ''}"
                yield Row({}, file, number, error=fault(file, number, message))
            elif values:
                yield Row(dict(zip(header, values, strict=True)), file, number)


def _wrong_header(names: list[str], file: str, line: int) -> InputError | None:
    double = {name for name in names if names.count(name) > 1}
    if double or "" in names:
        message = f"the column `{min(double)}` appears twice" if double - {""} else "a column has no name"
        return fault(file, line, message)
    return None


class _Texts:
    """Iterate over the lines as text. A line that can't be read sets `error`, and reading continues."""

    def __init__(self, raw: BinaryIO, file: str) -> None:
        self._lines = lines_of(raw)
        self._file = file
        self.error: InputError | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        if line is None:
            self._report(number, f"the line is longer than {MAX_LINE >> 20} MiB")
            return "\n"
        if number == 1:
            if (why := no_text(line)) is not None:
                self._report(1, why)
            line = line.removeprefix(_BOM)
        if b"\0" in line:
            message = "there are NUL bytes in the line: was it damaged by a crash?"
            self._report(number, message, line, line.index(b"\0") + 1)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            message = f"the line is not UTF-8: byte {error.start + 1} is 0x{line[error.start]:02x}"
            self._report(number, message, line, error.start + 1)
            return line.decode(errors="replace")

    def _report(self, number: int, message: str, line: bytes | None = None, column: int | None = None) -> None:
        self.error = self.error or fault(self._file, number, message, line, column)


def _explained(error: csv.Error) -> str:
    words = str(error)
    if "new-line character seen" in words:
        return "lines end with CR only; save the file with LF line endings"
    if "field larger" in words:
        return f"a value is longer than {MAX_LINE >> 20} MiB: is a closing quote missing?"
    if "unexpected end of data" in words:
        return "this is not CSV: the file ends inside quotes"
    return f"this is not CSV: {words}"


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

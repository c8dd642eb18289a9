"""Read JSON: a file that is one array of objects, a part at a time."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING

from distask.data.compression import no_text, open_binary
from distask.data.readers.jsonl import read_line
from distask.data.readers.lines import MAX_LINE, fault
from distask.data.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from distask.data.readers.jsonl import OnNan

_SPACE = " \t\r\n"
_BREAKS = re.compile(r"[\r\n]+")
"""Line breaks between values. JSON strings can't contain them."""
PART = 1 << 18
"""Bytes to read at a time; more if an object is longer."""
_BEFORE = 80
"""Characters before the current place that are kept, to show where an error is."""
_LONGEST_WORD = 32
"""Characters. An error this close to the end of a part may come from a word that was cut there."""


def read_json(path: Path, file: str, *, on_nan: OnNan = "stop") -> Iterator[Row]:
    """Yield the array's objects, each with its own bytes and first line; a single object is one row.

    `on_nan` is as for JSON Lines.
    """
    with open_binary(path) as stream:
        if (why := no_text(stream.peek(4)[:4] if hasattr(stream, "peek") else b"")) is not None:
            yield Row({}, file, 1, error=fault(file, 1, why))
            return
        yield from _Array(stream, file, on_nan).rows()


class _Wrong(Exception):  # noqa: N818 - carries an error in the file to its row
    def __init__(self, position: int, message: str) -> None:
        self.position = position
        self.message = message


class _Array:
    """Split the text of an array into objects, and discard the text that is done."""

    def __init__(self, stream: BinaryIO, file: str, on_nan: OnNan) -> None:
        self._stream = stream
        self._file = file
        self._on_nan = on_nan
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._line, self._column = 1, 0  # where the kept text begins
        self._ended = False
        self._no_utf8: tuple[str, str] | None = None
        self._scan = json.JSONDecoder().raw_decode

    def rows(self) -> Iterator[Row]:
        """Yield the objects until the end or the first error."""
        try:
            yield from self._rows()
            wrong = None
        except _Wrong as error:
            wrong = error
        if self._no_utf8 is not None:  # it also stopped the values before it
            message, rest = self._no_utf8
            position = len(self._text)
            self._text += rest
            yield self._fault(position, message)
        elif wrong is not None:
            yield self._fault(wrong.position, wrong.message)

    def _rows(self) -> Iterator[Row]:
        at = self._skip(0)
        if not self._at(at):
            return
        many = self._at(at) == "["
        at = self._skip(at + 1) if many else at
        while self._at(at) and not (many and self._at(at) == "]"):
            at, end = self._value(at)
            raw = _BREAKS.sub(" ", self._text[at:end]).encode()
            yield read_line(raw, self._file, self._place(at)[0], "entry", on_nan=self._on_nan)
            at = self._skip(end)
            if not many:
                break
            if self._at(at) == ",":
                after = self._skip(at + 1)
                if self._at(after) in ("]", ""):
                    raise _Wrong(self._text.rindex(",", 0, after), "there is no value after the last `,`")
                at = after
            elif self._at(at) not in ("]", ""):
                raise _Wrong(at, "this is not JSON: expected `,` between two objects")
        self._end(at, many=many)

    def _end(self, at: int, *, many: bool) -> None:
        """Raise an error if the text after the last object is wrong."""
        if many and not self._at(at):
            raise _Wrong(max(0, len(self._text.rstrip()) - 1), "the array is not closed; is the file truncated?")
        after = self._skip(at + 1) if many else at
        if self._at(after):
            lines = "this looks like JSON Lines; rename the file to .jsonl"
            is_lines = not many and self._at(after) == "{"
            raise _Wrong(after, lines if is_lines else "there is text after the JSON value")

    def _value(self, at: int) -> tuple[int, int]:
        """Return where the value at this place begins and ends, once it is complete."""
        while True:
            try:
                _, end = self._scan(self._text, at)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_go_on(error):
                    raise _Wrong(error.pos, f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}") from None
            except RecursionError:
                raise _Wrong(at, "this is not JSON: nested too deeply") from None
            except ValueError:  # Python's limit for integers
                raise _Wrong(at, "an integer has more than 4,300 digits") from None
            else:
                if end < len(self._text) or self._ended or self._text[end - 1] in '}]"':
                    return at, end
            if len(self._text) - at > MAX_LINE:
                raise _Wrong(at, f"the value is longer than {MAX_LINE >> 20} MiB")
            at = self._more(at)

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _LONGEST_WORD

    def _skip(self, at: int) -> int:
        """Return the next place that is not white space, or the end of the text."""
        while True:
            while at < len(self._text) and self._text[at] in _SPACE:
                at += 1
            if at < len(self._text) or self._ended:
                return at
            at = self._more(at)

    def _at(self, at: int) -> str:
        return self._text[at : at + 1]

    def _more(self, at: int) -> int:
        """Read more, discard the text well before this place, and return the place in the kept text."""
        begin = max(0, at - _BEFORE)
        self._line, self._column = self._place(begin)[0], self._place(begin)[1] - 1
        self._text = self._text[begin:]
        data = self._stream.read(max(PART, len(self._text)))
        self._ended = not data
        try:
            self._text += self._decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            whole, start = error.object, error.start
            self._text += whole[:start].decode("utf-8-sig")
            message = f"the file is not UTF-8: found the byte 0x{whole[start]:02x}"
            self._no_utf8 = message, whole[start : start + _BEFORE].decode(errors="replace")
            self._ended = True
        return at - begin

    def _place(self, at: int) -> tuple[int, int]:
        """Return line and column, from 1."""
        breaks = self._text.count("\n", 0, at)
        if not breaks:
            return self._line, self._column + at + 1
        return self._line + breaks, at - self._text.rfind("\n", 0, at)

    def _fault(self, position: int, message: str) -> Row:
        line, column = self._place(position)
        begin = self._text.rfind("\n", 0, position) + 1
        end = self._text.find("\n", position)
        source = self._text[begin : end if end >= 0 else len(self._text)].encode()
        cut = column - 1 - (position - begin)
        return Row({}, self._file, line, error=fault(self._file, line, message, source, column, cut))

"""JSON: a file that is one array of objects."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from distask.data.compression import no_text, open_binary
from distask.data.faults import fault
from distask.data.readers.jsonl import read_line
from distask.data.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SPACE = " \t\r\n"
_BREAKS = re.compile(r"[\r\n]+")
"""Line ends between values; in a string of JSON there are none, but for those that are no line ends elsewhere."""


def read_json(path: Path, file: str) -> Iterator[Row]:
    """The array's objects, each with its own bytes and the line that it begins in; one object alone is a row."""
    with open_binary(path) as stream:
        data = stream.read()
    if (why := no_text(data[:4])) is not None:
        yield Row({}, file, 1, error=fault(file, 1, why))
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        told = f"the file is not UTF-8: the byte 0x{data[error.start]:02x} stands here"
        yield Row({}, file, line, error=fault(file, line, told, data.split(b"\n")[line - 1], column))
        return
    yield from _Array(text, file).rows()


class _Array:
    """An array's text, taken apart into its objects."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._line, self._counted = 1, 0

    def rows(self) -> Iterator[Row]:
        """The objects; what is wrong ends them."""
        text, decoder, at = self._text, json.JSONDecoder(), self._skip(0)
        if at == len(text):
            return
        many = text[at] == "["
        at = self._skip(at + 1) if many else at
        while at < len(text) and not (many and text[at] == "]"):
            line = self._line_of(at)
            try:
                _, end = decoder.raw_decode(text, at)
            except (json.JSONDecodeError, RecursionError) as error:
                words = getattr(error, "msg", "nested too deeply")
                yield self._fault(getattr(error, "pos", at), f"this is not JSON: {words[0].lower()}{words[1:]}")
                return
            except ValueError:  # of Python, which reads no whole number beyond this
                yield self._fault(at, "a whole number has more than 4,300 digits")
                return
            yield read_line(_BREAKS.sub(" ", text[at:end]).encode(), self._file, line)
            at = self._skip(end)
            if not many:
                break
            if text[at : at + 1] == ",":
                comma, at = at, self._skip(at + 1)
                if text[at : at + 1] in ("]", ""):
                    yield self._fault(comma, "nothing follows the last `,`")
                    return
            elif text[at : at + 1] not in ("]", ""):
                yield self._fault(at, "this is not JSON: a `,` is expected between two objects")
                return
        yield from self._end(at, many=many)

    def _end(self, at: int, *, many: bool) -> Iterator[Row]:
        """What is wrong with the text after the last object."""
        text = self._text
        if many and at == len(text):
            yield self._fault(max(0, len(text.rstrip()) - 1), "the array is never closed: was the file cut?")
            return
        after = self._skip(at + 1) if many else at
        if after < len(text):
            lines = "this looks like JSON Lines; name the file .jsonl"
            yield self._fault(after, lines if not many and text[after] == "{" else "something follows the JSON value")

    def _fault(self, position: int, message: str) -> Row:
        text, line = self._text, self._text.count("\n", 0, position) + 1
        begin = text.rfind("\n", 0, position) + 1
        end = text.find("\n", position)
        source = text[begin : end if end >= 0 else len(text)].encode()
        return Row({}, self._file, line, error=fault(self._file, line, message, source, position - begin + 1))

    def _line_of(self, at: int) -> int:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def _skip(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in _SPACE:
            at += 1
        return at

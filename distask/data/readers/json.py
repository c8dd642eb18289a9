"""JSON: a file that is one array of objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from distask.data.compression import open_binary
from distask.data.faults import fault
from distask.data.readers.jsonl import read_line
from distask.data.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SPACE = " \t\r\n"


def read_json(path: Path, file: str) -> Iterator[Row]:
    """The array's objects, each with its own bytes and the line that it begins in; one object alone is a row."""
    with open_binary(path) as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield Row({}, file, line, error=fault(file, line, f"the file is not UTF-8: byte {error.start + 1}"))
        return
    decoder, at, line, counted = json.JSONDecoder(), _skip(text, 0), 1, 0
    many = text[at : at + 1] == "["
    at = _skip(text, at + 1) if many else at
    while at < len(text) and text[at] != "]":
        line += text.count("\n", counted, at)
        counted = at
        try:
            _, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            position = getattr(error, "pos", at)
            where = text.count("\n", 0, position) + 1
            column = position - text.rfind("\n", 0, position)
            source = text.splitlines()[where - 1].encode() if text else b""
            words = getattr(error, "msg", "nested too deeply")
            yield Row({}, file, where, error=fault(file, where, f"this is not JSON: {words.lower()}", source, column))
            return
        yield read_line(" ".join(text[at:end].splitlines()).encode(), file, line)
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at

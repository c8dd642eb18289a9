"""Read a YAML text with the position of everything in it.

Scalars are YAML 1.2's (`no` is a string), a duplicate key is an error, and a text that would grow without bound when its
aliases are written out is refused before it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from distask.errors import SpecError
from distask.spec.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000
"""Nodes with every alias written out."""

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")}

Path = tuple[str | int, ...]
"""Keys and indices from the root to a value."""


@dataclass(slots=True)
class _Node:
    value: Any
    """A scalar; a list of nodes; a dict of key to node."""
    start: yaml.Mark
    end: yaml.Mark
    style: str | None = None
    keys: dict[Any, _Node] = field(default_factory=dict)
    size: int = 1


class Document:
    """A YAML text, its data, and where each value stands."""

    def __init__(self, text: str, file: str, root: _Node) -> None:
        self.text = text
        self.file = file
        self.lines = text.splitlines()
        self.data = _plain(root)
        self._root = root

    @classmethod
    def parse(cls, text: str, file: str) -> Document:
        """Read a text; raises `SpecError` with the one fault that stops the reading, or all its duplicate keys."""
        lines = text.splitlines()

        def fault(message: str, mark: yaml.Mark | None, hint: str | None = None) -> Diagnostic:
            line = min(mark.line if mark else 0, max(0, len(lines) - 1))
            source = lines[line] if lines else ""
            column = min(mark.column if mark else 0, len(source))
            return Diagnostic(file, line + 1, column + 1, message, hint, source)

        if len(text.encode(errors="replace")) > MAX_BYTES:
            raise SpecError([fault(f"the file is larger than {MAX_BYTES >> 20} MiB", None)])
        composer = _Composer()
        try:
            root = composer.compose(text)
        except _Refused as error:
            raise SpecError([fault(str(error), error.mark, error.hint)]) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise SpecError([fault(f"this is not YAML: {_problem(error)}", mark, _yaml_hint(lines, mark))]) from None
        except yaml.YAMLError as error:
            raise SpecError([fault(f"this is not YAML: {str(error).splitlines()[0]}", None)]) from None
        if composer.duplicates:
            raise SpecError(
                [
                    fault(f"the key `{key}` is there twice", mark, f"first in line {first.line + 1}")
                    for key, mark, first in composer.duplicates
                ]
            )
        return cls(text, file, root)

    def position(self, path: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Line and column (from 1) of a value, or of its key; of the nearest value above where the path leads nowhere."""
        node, key_node = self._find(path)
        mark = key_node.start if key and key_node is not None else node.start
        return mark.line + 1, mark.column + 1

    def inside(self, path: Sequence[str | int], offset: int) -> tuple[int, int]:
        """Line and column (from 1) of a character of a scalar, whatever the style it is written in."""
        node, _ = self._find(path)
        if not isinstance(node.value, str):
            return self.position(path)
        if node.style == "|":
            return self._inside_literal(node, offset)
        index = _align(self.text, node, offset)
        before = self.text[:index]
        return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1

    def diagnostic(
        self,
        path: Sequence[str | int],
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
        offset: int | None = None,
        length: int | None = None,
    ) -> Diagnostic:
        """A fault at a value, at its key, or at a character inside of it."""
        line, column = self.position(path, key=key) if offset is None else self.inside(path, offset)
        source = self.lines[line - 1] if line <= len(self.lines) else ""
        if length is None:
            node, key_node = self._find(path)
            shown = key_node if key and key_node is not None else node
            one_line = shown.start.line == shown.end.line
            length = shown.end.column - shown.start.column if one_line and offset is None else 1
        return Diagnostic(self.file, line, column, message, hint, source, max(1, length))

    def _find(self, path: Sequence[str | int]) -> tuple[_Node, _Node | None]:
        node, key_node = self._root, None
        for step in path:
            children = node.value
            if isinstance(children, dict) and step in children:
                key_node, node = node.keys[step], children[step]
            elif isinstance(children, list) and isinstance(step, int) and step < len(children):
                key_node, node = None, children[step]
            else:
                break
        return node, key_node

    def _inside_literal(self, node: _Node, offset: int) -> tuple[int, int]:
        before = node.value[:offset]
        row = before.count("\n")
        column = offset - (before.rfind("\n") + 1)
        first = node.start.line + 1
        body = self.lines[first : node.end.line + 1]
        written = node.value.split("\n")
        indent = 0
        for value_line, source_line in zip(written, body, strict=False):
            if value_line.strip():
                indent = max(0, len(source_line) - len(value_line)) if source_line.endswith(value_line) else 0
                break
        return first + row + 1, indent + column + 1


class _Refused(Exception):  # noqa: N818 - it is turned into a diagnostic at once
    def __init__(self, message: str, mark: yaml.Mark, hint: str | None = None) -> None:
        super().__init__(message)
        self.mark = mark
        self.hint = hint


class _Composer:
    """Builds nodes from the parser's events, within bounds."""

    def __init__(self) -> None:
        self.duplicates: list[tuple[Any, yaml.Mark, yaml.Mark]] = []
        self._anchors: dict[str, _Node] = {}
        self._open: set[str] = set()
        self._events: Iterator[Any] = iter(())

    def compose(self, text: str) -> _Node:
        self._events = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        next(self._events)  # the stream's start
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise _Refused(
                "the file is empty", first.start_mark, "a task needs format_input, outputs and format_output"
            )
        root = self._node(next(self._events), 1)
        next(self._events)  # the document's end
        more = next(self._events)
        if not isinstance(more, yaml.StreamEndEvent):
            raise _Refused("there is a second document in the file", more.start_mark, "one file holds one task")
        return root

    def _node(self, event: Any, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            raise _Refused(f"this is nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None and event.tag not in _TAGS and event.tag != "!":
            raise _Refused(
                f"the tag `{event.tag}` is not known", event.start_mark, "a task is plain YAML, without tags"
            )
        if event.anchor is not None:
            self._open.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(_scalar(event), event.start_mark, event.end_mark, event.style)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if node.size > MAX_NODES:
            raise _Refused(
                f"this holds more than {MAX_NODES:,} values once its aliases are written out", event.start_mark
            )
        if event.anchor is not None:
            self._open.discard(event.anchor)
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> _Node:
        if event.anchor in self._open:
            raise _Refused(f"`*{event.anchor}` stands inside of what it stands for", event.start_mark)
        if event.anchor not in self._anchors:
            raise _Refused(f"`*{event.anchor}` has no `&{event.anchor}` before it", event.start_mark)
        return self._anchors[event.anchor]

    def _sequence(self, start: Any, depth: int) -> _Node:
        children, size = [], 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            child = self._node(event, depth + 1)
            children.append(child)
            size += child.size
            if size > MAX_NODES:
                break
        return _Node(children, start.start_mark, start.end_mark, size=size)

    def _mapping(self, start: Any, depth: int) -> _Node:
        children: dict[Any, _Node] = {}
        keys: dict[Any, _Node] = {}
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if isinstance(key.value, list | dict):
                raise _Refused("a key is a list or a mapping", event.start_mark, "put quotes around text with braces")
            if key.value == "<<" and key.style is None:
                raise _Refused("merge keys (`<<`) are not part of YAML 1.2", event.start_mark)
            child = self._node(next(self._events), depth + 1)
            if key.value in children:
                self.duplicates.append((key.value, key.start, keys[key.value].start))
            children[key.value], keys[key.value] = child, key
            size += child.size + 1
            if size > MAX_NODES:
                break
        return _Node(children, start.start_mark, start.end_mark, keys=keys, size=size)


def _scalar(event: Any) -> Any:
    value = event.value
    if event.tag == "tag:yaml.org,2002:str" or event.tag == "!" or event.style not in (None, ""):
        return value
    if value in _NULL:
        return None
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    if _INTEGER.fullmatch(value) and len(value) < 1000:
        return int(value)
    if _BASED.fullmatch(value):
        return int(value, 0)
    if _FLOAT.fullmatch(value):
        return float(value)
    if _SPECIAL.fullmatch(value):
        return float(value.replace(".", "").lower())
    return value


def scalar(text: str) -> Any:
    """The value of one line of YAML, as on a command line; the text itself where it is no YAML."""
    try:
        return Document.parse(text, "<value>").data if text.strip() else text
    except SpecError:
        return text


def _plain(node: _Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    return node.value


def _align(text: str, node: _Node, offset: int) -> int:
    """Where a character of a scalar's value stands in the source: both are walked side by side, past folds and escapes."""
    at, end = node.start.index, node.end.index
    if node.style in (">",):
        at = text.find("\n", at) + 1
    elif node.style in ("'", '"'):
        at += 1
    for character in node.value[:offset]:
        if character.isspace():
            while at < end and text[at].isspace():
                at += 1
            if at < end and text.startswith(("\\n", "\\t", "\\r"), at):
                at += 2
            continue
        while at < end and text[at].isspace():
            at += 1
        if node.style == '"' and text[at] == "\\":
            at += {"x": 4, "u": 6, "U": 10}.get(text[at + 1], 2)
        elif node.style == "'" and text.startswith("''", at):
            at += 2
        else:
            at += 1
    while at < end and text[at].isspace() and offset < len(node.value) and not node.value[offset].isspace():
        at += 1
    return min(at, len(text) - 1)


def _problem(error: yaml.MarkedYAMLError) -> str:
    words = [w for w in (error.context, error.problem) if w]
    return ", ".join(words)


def _yaml_hint(lines: Sequence[str], mark: yaml.Mark | None) -> str | None:
    if mark is None or mark.line >= len(lines):
        return None
    line = lines[mark.line]
    if "\t" in line[: mark.column + 1]:
        return "YAML indents with spaces, never with tabs"
    if "{{" in line or "{%" in line:
        return "put quotes around a template, or write it as a block after `|`"
    if line.count(": ") > 1:
        return "put quotes around text that holds `: `"
    return None

"""Read YAML and keep the position of every value.

Scalars follow YAML 1.2 (`no` is a string). Duplicate keys and aliases that expand to too many values are errors.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import yaml
from msgspec import Struct, field

from distask.diagnostics import Diagnostic
from distask.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
_TOO_DEEP = f"this is nested deeper than {MAX_DEPTH} levels"
MAX_NODES = 100_000
"""Maximum number of values in a file."""
MAX_EXPANDED = 10_000
"""Maximum number of values that the aliases of a file may add."""

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""YAML line breaks."""

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")}


class _Node(Struct):
    value: Any
    """A scalar, a list of nodes, or a dict of key to node."""
    start: Any
    """A PyYAML mark: line, column and index, from 0."""
    end: Any
    style: str | None = None
    keys: dict[Any, _Node] = field(default_factory=dict)
    size: int = 1
    """Number of values, including itself."""
    height: int = 1
    """Number of levels, including its own."""


class Document:
    """A YAML document, its data, and the position of each value."""

    def __init__(self, text: str, file: str, root: _Node) -> None:
        self.text = text
        self.file = file
        self.lines, self._starts = _lines(text)
        self.data = _plain(root)
        self._root = root

    @classmethod
    def parse(cls, text: str, file: str, faults: list[Diagnostic] | None = None) -> Document:
        """Parse YAML; raises `SpecError` for a fatal error.

        Other errors (a duplicate key, a custom tag, a merge key) are added to `faults` if it is given, else raised.
        """
        text = text.removeprefix("\ufeff")
        lines, starts = _lines(text)

        def fault(message: str, at: tuple[int, int], hint: str | None = None, length: int = 1) -> Diagnostic:
            line = min(at[0], len(lines) - 1)
            return Diagnostic(file, line + 1, min(at[1], len(lines[line])) + 1, message, hint, lines[line], length)

        if len(text) > MAX_BYTES:
            raise SpecError([fault(f"the file is larger than {MAX_BYTES >> 20} MiB", (0, 0))])
        composer = _Composer()
        try:
            root = composer.compose(text)
        except _Refused as error:
            raise SpecError([*map(_as_diagnostic(fault), composer.refused), _as_diagnostic(fault)(error)]) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            if error.problem == "found unexpected end of stream" and error.context_mark:
                mark = error.context_mark
            line, column = (mark.line, mark.column) if mark else (0, 0)
            found = fault(_problem(error), (line, column), _yaml_hint(lines, error))
            raise SpecError([*map(_as_diagnostic(fault), composer.refused), found]) from None
        except (yaml.reader.ReaderError, UnicodeEncodeError) as error:
            at = error.start if isinstance(error, UnicodeEncodeError) else _character(text, error.position)
            line = bisect_right(starts, at) - 1
            message = f"the character U+{ord(text[at]):04X} is not allowed in YAML"
            hint = 'write it as an escape in double quotes ("\\x1b")'
            raise SpecError([fault(message, (line, at - starts[line]), hint)]) from None
        found_on = [_as_diagnostic(fault)(refused) for refused in composer.refused]
        if found_on and faults is None:
            raise SpecError(found_on)
        if faults is not None:
            faults.extend(found_on)
        return cls(text, file, root)

    def part(self, path: Sequence[str | int]) -> Document:
        """Return the value at a place as a separate document."""
        node, _ = self._find(path)
        return Document(self.text, self.file, node)

    def rename(self, path: Sequence[str | int], key: Any, meant: str) -> None:
        """Make the value of `key` available as `meant`, so that a misspelled key's value can be checked."""
        node, _ = self._find(path)
        if isinstance(node.value, dict) and key in node.value:
            node.value[meant], node.keys[meant] = node.value[key], node.keys[key]

    def position(self, path: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Return line and column (from 1) of a value or its key; of the nearest parent if the path does not exist."""
        node, key_node = self._find(path)
        mark = key_node.start if key and key_node is not None else node.start
        return mark.line + 1, mark.column + 1

    def inside(self, path: Sequence[str | int], offset: int) -> tuple[int, int]:
        """Return line and column (from 1) of a character in a scalar of any style."""
        node, _ = self._find(path)
        if not isinstance(node.value, str):
            return self.position(path)
        if node.style == "|":
            return self._inside_literal(node, offset)
        index = _align(self.text, node, offset)
        line = bisect_right(self._starts, index) - 1
        return line + 1, index - self._starts[line] + 1

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
        """Return an error at a value, its key, or a character in it."""
        line, column = self.position(path, key=key) if offset is None else self.inside(path, offset)
        source = self.lines[min(line, len(self.lines)) - 1]
        if length is None:
            node, key_node = self._find(path)
            shown = key_node if key and key_node is not None else node
            one_line = shown.start.line == shown.end.line and isinstance(shown.value, str | int | float | None)
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


class _Refused(Exception):  # noqa: N818 - always converted to a diagnostic
    def __init__(self, message: str, mark: Any, hint: str | None = None, length: int = 1) -> None:
        super().__init__(message)
        self.mark = mark
        self.hint = hint
        self.length = length


class _Composer:
    """Builds nodes from parser events, within limits."""

    def __init__(self) -> None:
        self.refused: list[_Refused] = []
        """Errors that do not stop parsing."""
        self._values = 0
        self._expanded = 0
        self._anchors: dict[str, _Node] = {}
        self._open: set[str] = set()
        self._events: Iterator[Any] = iter(())

    def compose(self, text: str) -> _Node:
        self._events = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        next(self._events)  # stream start
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise _Refused("the file is empty", first.start_mark, "add format_input, outputs and format_output")
        root = self._node(next(self._events), 1)
        next(self._events)  # document end
        more = next(self._events)
        if not isinstance(more, yaml.StreamEndEvent):
            raise _Refused("the file contains a second document", more.start_mark, "write one task per file")
        return root

    def _node(self, event: Any, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            raise _Refused(_TOO_DEEP, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._values += 1
        if self._values > MAX_NODES:
            raise _Refused(f"the file contains more than {MAX_NODES:,} values", event.start_mark)
        if event.tag is not None and event.tag not in _TAGS and event.tag != "!":
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.refused.append(
                _Refused(f"unknown tag `{tag}`", event.start_mark, "remove it; a spec has no tags", len(tag))
            )
        if event.anchor is not None:
            self._open.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(_scalar(event), event.start_mark, event.end_mark, event.style)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._open.discard(event.anchor)
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, depth: int) -> _Node:
        length = len(event.anchor) + 1
        if event.anchor in self._open:
            raise _Refused(f"the alias `*{event.anchor}` refers to itself", event.start_mark, None, length)
        if event.anchor not in self._anchors:
            raise _Refused(
                f"the alias `*{event.anchor}` has no anchor `&{event.anchor}` before it", event.start_mark, None, length
            )
        node = self._anchors[event.anchor]
        self._expanded += node.size
        if self._expanded > MAX_EXPANDED:
            message = f"the aliases expand to more than {MAX_EXPANDED:,} values"
            raise _Refused(message, event.start_mark, None, length)
        if depth + node.height - 1 > MAX_DEPTH:
            raise _Refused(_TOO_DEEP, event.start_mark, None, length)
        return node

    def _sequence(self, start: Any, depth: int) -> _Node:
        children: list[_Node] = []
        end = start.end_mark
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            children.append(self._node(event, depth + 1))
        return _Node(children, start.start_mark, end, size=_size(children), height=_height(children))

    def _mapping(self, start: Any, depth: int) -> _Node:
        children: dict[Any, _Node] = {}
        keys: dict[Any, _Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if isinstance(key.value, list | dict):
                what = "a list" if isinstance(key.value, list) else "a mapping"
                raise _Refused(f"a key can't be {what}", event.start_mark, "put quotes around a template: '{{ x }}'")
            child = self._node(next(self._events), depth + 1)
            if key.value == "<<" and key.style in (None, ""):
                self.refused.append(
                    _Refused(
                        "YAML 1.2 has no merge key `<<`", key.start, "write the keys, or alias the complete value", 2
                    )
                )
            elif key.value in children:
                first = keys[key.value].start.line + 1
                hint = f"first used on line {first}"
                length = key.end.column - key.start.column
                self.refused.append(_Refused(f"duplicate key `{key.value}`", key.start, hint, length))
            else:
                children[key.value], keys[key.value] = child, key
        values = list(children.values())
        size = _size(values) + len(values)
        return _Node(children, start.start_mark, start.end_mark, keys=keys, size=size, height=_height(values))


def _size(children: list[_Node]) -> int:
    return 1 + sum(child.size for child in children)


def _height(children: list[_Node]) -> int:
    return 1 + max((child.height for child in children), default=0)


def _as_diagnostic(fault: Callable[..., Diagnostic]) -> Callable[[_Refused], Diagnostic]:
    return lambda refused: fault(str(refused), (refused.mark.line, refused.mark.column), refused.hint, refused.length)


def _character(text: str, byte: int) -> int:
    """Return the index of the character at a byte of UTF-8 text."""
    return min(len(text.encode()[:byte].decode(errors="ignore")), len(text) - 1)


def _lines(text: str) -> tuple[list[str], list[int]]:
    """Return the lines without line breaks, and the index where each starts."""
    lines, starts, at = [], [0], 0
    for found in _BREAK.finditer(text):
        lines.append(text[at : found.start()])
        at = found.end()
        starts.append(at)
    lines.append(text[at:])
    return lines, starts


def _scalar(event: Any) -> Any:
    value = event.value
    if event.tag in {"tag:yaml.org,2002:str", "!"} or event.style not in (None, ""):
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
    """Return the value of one line of YAML, as on a command line; the text itself if it is not YAML."""
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
    """Return the source index of a character in a scalar's value, skipping folds and escapes."""
    at, end = _content_start(text, node), min(node.end.index, len(text))
    for character in node.value[:offset]:
        at = _past_joint(text, at, end, node)
        if character.isspace():
            at = _past_space(text, at, end)
            if text.startswith(("\\n", "\\t", "\\r", "\\ "), at) and node.style == '"':
                at += 2
            continue
        at = _past_space(text, at, end)
        if node.style == '"' and text.startswith("\\", at):
            at += {"x": 4, "u": 6, "U": 10}.get(text[at + 1 : at + 2], 2)
        elif node.style == "'" and text.startswith("''", at):
            at += 2
        else:
            at += 1
    at = _past_joint(text, at, end, node)
    if offset < len(node.value) and not node.value[offset].isspace():
        at = _past_space(text, at, end)
    return max(0, min(at, len(text) - 1))


def _content_start(text: str, node: _Node) -> int:
    """Return the index where a scalar's text starts, after its anchor, tag, quote or block header."""
    at: int = node.start.index
    while text[at : at + 1] in ("&", "!"):
        at = _past_space(text, at + len(re.match(r"\S*", text[at:])[0]), node.end.index)  # type: ignore[index]
    if node.style == ">":
        return text.find("\n", at) + 1
    return at + 1 if node.style in ("'", '"') else at


def _past_space(text: str, at: int, end: int) -> int:
    while at < end and text[at].isspace():
        at += 1
    return at


def _past_joint(text: str, at: int, end: int, node: _Node) -> int:
    """Skip a backslash at the end of a line, which joins two lines in double quotes."""
    while node.style == '"' and (joint := re.compile(r"\\\r?\n").match(text, at)):
        at = _past_space(text, joint.end(), end)
    return at


_PLAIN_WORDS = {
    "mapping values are not allowed in this context": "a `:` is not allowed here",
    "could not find expected ':'": "a key needs a `:` after it",
    "did not find expected key": "expected a key; the indentation differs from the lines above",
    "did not find expected '-' indicator": "expected a `-`; the indentation differs from the list above",
    "found character that cannot start any token": "a value can't start with this character",
    "found unexpected end of stream": "this quote is never closed",
    "did not find expected ',' or ']'": "expected `,` or `]`",
    "did not find expected ',' or '}'": "expected `,` or `}`",
    "did not find expected node content": "expected a value",
    "found undefined tag handle": "unknown tag",
    "found unknown escape character": "unknown escape in double quotes",
    "found a tab character where an indentation space is expected": "found a tab where YAML needs spaces",
}
"""Plain versions of libyaml's messages."""


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it can't be parsed"
    if problem == "exceeded maximum nesting depth":  # libyaml 0.2.6 and later: it reads ahead of `_Composer`
        return _TOO_DEEP
    words = _PLAIN_WORDS.get(problem, problem)
    since = error.context_mark
    closed = problem == "found unexpected end of stream"
    where = "" if closed or not since or not since.line else f", in the block that starts on line {since.line + 1}"
    return f"invalid YAML: {words}{where}"


def _yaml_hint(lines: Sequence[str], error: yaml.MarkedYAMLError) -> str | None:
    mark = error.problem_mark or error.context_mark
    if mark is None or mark.line >= len(lines):
        return None
    around = lines[mark.line]
    before = "\n".join(lines[error.context_mark.line if error.context_mark else mark.line : mark.line + 1])
    if "\t" in around[: len(around) - len(around.lstrip())] or around[mark.column : mark.column + 1] == "\t":
        return "indent with spaces, not tabs"
    if re.search(r":\s+\{[{%]|-\s+\{[{%]", before):
        return "put quotes around a template, or write it as a block after `|`"
    if around[mark.column : mark.column + 1] in ("@", "`", "%", "*", "&", "!", "|", ">"):
        return "put quotes around text that starts with this character"
    if (error.problem or "").startswith("found unknown escape"):
        return "use single quotes, where a backslash is not an escape"
    if around.count(": ") > 1:
        return "put quotes around text that contains `: `"
    return None

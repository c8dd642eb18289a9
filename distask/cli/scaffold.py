"""Generate the text of a new task. It is validated with its case before it is written."""

from __future__ import annotations

import json
import keyword
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.data.readers import DEFAULT_OPTIONS
from distask.errors import InputError
from distask.spec.load import find_spec, load_text, read_text
from distask.task.load import run_cases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.data.readers import ReadOptions

EDITOR = "# yaml-language-server: $schema=.distask/task.schema.json\n"
"""The first line: editors with a YAML language server use it to complete and check the file."""
ROWS_READ = 100
"""Number of rows that are read to determine the types of columns."""
LONGEST = 200
"""Maximum length of a text that a case takes from the data."""
MOST_ITEMS = 3
NOT_NAMES = frozenset(
    {"row", "rows", "vars", "params", "draw", "loop", "loop_index", "self", "reply", "finish_reason"}
    | {"none", "true", "false", "block", "set", "macro", "filter", "call", "include", "caller", "varargs", "kwargs"}
    | {"range", "dict", "namespace", "cycler", "joiner", "lipsum"}
)
"""Words with another meaning in templates."""
OUTPUT_NAMES = ("answer", "reply_text", "result", "new_answer")


class Start(Struct, frozen=True):
    """A starter task."""

    text: str
    message: str
    """What it is based on."""
    notes: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """Other files that it reads, by their path relative to it."""


class Column(Struct, frozen=True):
    """A column of the data, used as an input."""

    name: str
    """Its name in templates."""
    source: str
    """Its name in the data."""
    type: str
    required: bool
    example: Any


def from_nothing(name: str, path: Path) -> Start:
    """Return a task with one input."""
    column = Column("instruction", "instruction", "string", required=True, example="Name a prime.")
    text = _spec(name, [column], describe={"instruction": "What is asked."})
    return _checked(Start(text, "a task with one input; edit it to fit your data"), path)


def from_task(task: str, name: str, path: Path) -> Start:
    """Return a copy of a task under another name, with the files that it reads."""
    found = find_spec(task)
    text = read_text(found)
    load_text(text, found)
    if text.startswith("# yaml-language-server:"):
        text = text.partition("\n")[2]
    text = re.sub(r"^name:.*$", f"name: {name}", text, count=1, flags=re.MULTILINE)
    text = re.sub(rf"\bdistask run {re.escape(found.stem)}(?=\s)", f"distask run {path.name}", text)
    files = {str(f.relative_to(found.parent)): read_text(f) for f in _files_read(text, found)}
    return _checked(Start(EDITOR + text, f"a copy of {task}", files=files), path, found)


def _files_read(text: str, found: Path) -> list[Path]:
    """Return the files next to a task that its text names."""
    named = re.findall(r"""file:\s*["']?([\w./-]+)|{%-?\s*(?:include|import|from)\s+["']([\w./-]+)["']""", text)
    paths = [found.parent / (a or b) for a, b in named]
    return list(dict.fromkeys(p for p in paths if p.is_file() and found.parent in p.parents))


def from_columns(
    source: str, name: str, path: Path, options: ReadOptions = DEFAULT_OPTIONS, *, skip: bool = False
) -> Start:
    """Return a task that reads the columns of the data; its case is the first row.

    Args:
        source: the data.
        name: the task's name.
        path: where the task is written.
        options: how the data's files are read.
        skip: skip unreadable rows; otherwise the first one is raised.
    """
    from distask.data.input import open_input

    data = open_input(source, options, limit=ROWS_READ, on_bad_row="skip" if skip else "stop")
    rows = []
    for row in islice(data, ROWS_READ):
        if row.error is not None:
            raise row.error
        rows.append(row.values)
    if not rows:
        raise InputError(f"{source}: the input has no rows; add at least one")
    columns, left_out = _columns(rows)
    if not columns:
        raise InputError(
            f"{source}: no column holds text, numbers or lists; to start without data, run distask init NAME"
        )
    notes = data.notes
    notes += [
        f"`{c}` holds bytes and was left out; to send an image, use a message part {{image: ...}}" for c in left_out
    ]
    message = f"reads {', '.join(c.name for c in columns)}; describe what to do with them"
    return _checked(Start(_spec(name, columns), message, notes), path)


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Column], list[str]]:
    names = dict.fromkeys(name for row in rows for name in row)
    made: list[Column] = []
    left_out = []
    for source in names:
        values = [value for row in rows if (value := row.get(source)) is not None]
        if any(_has_bytes(value) for value in values):
            left_out.append(source)
            continue
        name = _name(source, {c.name for c in made} | (set(names) - {source}))
        example = _short(rows[0].get(source))
        made.append(Column(name, source, _type(values), len(values) == len(rows), example))
    return made, left_out


def _has_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_bytes(v) for v in value.values())
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return not hasattr(value, "isoformat")
    return False


def _name(source: str, taken: set[str]) -> str:
    """Return a name that templates can use, if possible the column's own."""
    name = re.sub(r"\W+", "_", source, flags=re.ASCII).strip("_")
    if not name or name[0].isdigit():
        name = f"column_{name}".strip("_")
    if keyword.iskeyword(name) or name.lower() in NOT_NAMES:
        name = f"{name}_"
    while name in taken and name != source:
        name = f"{name}_"
    return name


def _type(values: Sequence[Any]) -> str:
    kinds = {_kind(value) for value in values}
    if all(kind.startswith("list") for kind in kinds) and (known := {_kind(v) for v in values if v != []}):
        kinds = known
    if len(kinds) == 1:
        return next(iter(kinds))
    return "number" if kinds == {"integer", "number"} else "any"


def _kind(value: Any) -> str:
    if isinstance(value, list):
        items = {_kind(item) for item in value}
        return f"list[{items.pop()}]" if len(items) == 1 and not items & {"any"} else "list"
    for kind, of in (("boolean", bool), ("integer", int), ("number", float), ("string", str), ("object", dict)):
        if isinstance(value, of):
            return kind
    return "any"


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
    if isinstance(value, list):
        return [_short(item) for item in value[:MOST_ITEMS]]
    return {k: _short(v) for k, v in value.items()} if isinstance(value, dict) else value


# The text


def _spec(name: str, columns: Sequence[Column], describe: Mapping[str, str] | None = None) -> str:
    known = {c.name for c in columns} | {c.source for c in columns}
    output = next((n for n in OUTPUT_NAMES if n not in known), "distask_answer")
    inputs = "\n".join(f"  {_key(c.name)}: {_input(c, (describe or {}).get(c.name))}" for c in columns)
    renamed = {c.name: c.source for c in columns if c.name != c.source}
    mapped = f"input_mappings: {_yaml(renamed)}\n" if renamed else ""
    lines = "\n\n".join("\n".join(_lines(c, alone=len(columns) == 1)) for c in columns)
    body = "\n".join(f"      {line}".rstrip() for line in lines.split("\n"))
    row = {c.source: c.example for c in columns if c.example is not None}
    return f"""\
{EDITOR}name: {name}
description: Describe in one sentence what the task does.

inputs:                    # columns that the template reads
{inputs}
{mapped}
format_input:              # templates of the chat that is sent; nothing is added to them
  - role: system
    content: |
      Describe here what the model should do and the format of its reply.
  - role: user
    content: |
{body}

outputs:                   # columns to add; types are checked: {{type: integer, minimum: 1, maximum: 5}}
  {output}: The model's reply.

format_output: {{parser: text}}    # how a reply becomes columns; also json, regex, tags, choice, list, sections

llm: {{temperature: 0.7, max_tokens: 1024}}

cases:                     # this row and reply must give these columns; check with `distask test`
  - input: {_yaml(row)}
    reply: Two.
    expect: {{{output}: Two.}}
"""


def _key(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in ("true", "false", "null")
    return (
        name if plain else "".join(c if c.isprintable() else _escaped(c) for c in json.dumps(name, ensure_ascii=False))
    )


def _input(column: Column, described: str | None) -> str:
    if described is not None:
        return described
    described_as = f"The column {column.name}."
    keys: dict[str, Any] = {} if column.type == "string" else {"type": column.type}
    if not column.required:
        keys["required"] = False
    if not keys:
        return described_as
    return _yaml(keys | {"description": described_as})


def _lines(column: Column, *, alone: bool) -> list[str]:
    shown = {"string": "", "integer": "", "number": "", "boolean": ""}.get(column.type, " | tojson")
    shown = " | numbered" if column.type == "list[string]" else shown
    lines = ["{{ " + column.name + shown + " }}"]
    if not alone:
        lines = [f"# {column.name}", *lines]
    if not column.required:
        lines = [f"{{% if {column.name} is not none %}}", *lines, "{% endif %}"]
    return lines


def _yaml(value: Any) -> str:
    """Return a value as YAML on one line: texts as in JSON, simple keys unquoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(str(k))}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"list\[[a-z\[\]]+\]|[A-Z][\w ]+\.|any|number|integer|object", value):
        return json.dumps(value) if "[" in value else value
    text = json.dumps(value, ensure_ascii=False, default=str)
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _checked(start: Start, path: Path, beside: Path | None = None) -> Start:
    """Return the start after validating it with its cases."""
    loaded = load_text(start.text, path if beside is None else beside.with_name(path.name))
    faults = run_cases(loaded)
    assert not faults, f"the task written by `init` is invalid: {faults[0]}"
    return start

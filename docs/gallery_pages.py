"""Make the gallery's pages from its specs: one a task, and an index by kind."""

from __future__ import annotations

import json
import re
from itertools import takewhile
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from distask.cli.commands.specs.tasks import Entry, entries
from distask.cli.display.chats import lines
from distask.errors import DistaskError
from distask.spec.gallery import gallery
from distask.spec.language.aggregation import aggregate_columns
from distask.spec.language.model import TaskSpec
from distask.spec.language.steps import TaskStep, kind_of
from distask.spec.load import load_spec
from distask.spec.step_tasks import walk
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from distask.spec.language.columns import Typed
    from distask.spec.language.model import Case
    from distask.spec.language.steps import PipelineSpec, Step

INDEX = """\
# Built-in tasks

These tasks come with distask. `distask tasks` lists them in a terminal, `distask tasks WORD` filters the list, and
`distask tasks show NAME` prints one. `distask init my-task --from NAME` starts a task of your own from one of them. If
you know distilabel, [Coming from distilabel](../distilabel.md) lists its classes.
"""

LONGEST = 120
"""Characters of a value in a table."""


def gallery_pages() -> dict[str, str]:
    """File name to text."""
    found = entries()
    return {"index.md": _index(found)} | {f"{entry.name}.md": _page(entry) for entry in found}


def _index(found: Iterable[Entry]) -> str:
    pieces, kind = [INDEX], None
    for entry in found:
        if entry.kind != kind:
            pieces.append(f"\n## {entry.kind.capitalize()}\n\n| task | what it does | columns |\n| --- | --- | --- |\n")
            kind = entry.kind
        pieces.append(f"| [{entry.name}]({entry.name}.md) | {_cell(entry.description)} | {_cell(entry.columns)} |\n")
    return "".join(pieces)


def _page(entry: Entry) -> str:
    path = gallery()[entry.name]
    spec = load_spec(path).spec
    source = f" Source: [{_short_reference(spec.reference)}]({spec.reference})." if spec.reference else ""
    about = f"{', '.join(spec.tags or [])}. The spec: [{path.name}](../../tasks/{path.name}).{source}"
    pieces = [f"# {spec.name}\n\n{spec.description}\n\n{about}\n", *_introduction(path.read_text(encoding="utf-8"))]
    pieces += [*_columns(spec), *_params(spec)]
    if isinstance(spec, TaskSpec):
        pieces += [*_example(entry.name, spec), *_cases(spec)]
    else:
        pieces += [*_steps(spec), *_example_of_steps(spec), *_cases(spec)]
    return "\n".join(pieces)


def _introduction(text: str) -> Iterator[str]:
    """The comment that the file begins with: its paragraphs, and its commands as code."""
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    paragraphs = "\n".join(line.removeprefix("#").removeprefix(" ") for line in comment).split("\n\n")
    for paragraph in paragraphs:
        yield f"{_fenced(dedent(paragraph)) if paragraph.startswith('  ') else paragraph}\n"


def _columns(spec: TaskSpec | PipelineSpec) -> Iterator[str]:
    reads = [
        (f"{spec.input_mappings.get(name, name)}{'' if column.required else '?'}", column)
        for name, column in spec.inputs.items()
    ]
    adds = [(spec.output_mappings.get(name, name), column) for name, column in spec.outputs.items()]
    yield "## Columns\n"
    yield "| it reads | type | what it is |\n| --- | --- | --- |"
    yield from (_row(name, column) for name, column in reads)
    yield (
        "" if reads else "| nothing: `--rows N` makes N rows | | |\n"
    ) + "\n| it adds | type | what it is |\n| --- | --- | --- |"
    yield from (_row(name, column) for name, column in adds)
    if not adds:
        yield "| the row as its last step leaves it | | |"
    for column, of, how in aggregate_columns(spec, spec.outputs) if isinstance(spec, TaskSpec) else ():
        yield f"| `{column}` | | the {how} of `{of}` over the generations |"
    yield ""


def _params(spec: TaskSpec | PipelineSpec) -> Iterator[str]:
    if spec.params:
        yield "## Params\n\n`--param NAME=VALUE`\n\n| param | type | default | what it is |\n| --- | --- | --- | --- |"
        for name, param in spec.params.items():
            needed = "default" not in param.model_fields_set
            default = "needed" if needed else f"`{_short(json.dumps(param.default, ensure_ascii=False))}`"
            yield f"| `{name}` | {_type(param)} | {_cell(default)} | {_cell(param.description or '')} |"
        yield ""


def _row(name: str, typed: Typed) -> str:
    when = getattr(typed, "when", None)
    said = (typed.description or "") + (f" Where `{when}`." if when else "")
    return f"| `{name}` | {_type(typed)} | {_cell(said)} |"


def _type(typed: Typed) -> str:
    if typed.choices:
        return _cell(", ".join(f"`{choice}`" for choice in typed.choices))
    bounds = [
        f"{word} {value:g}" for word, value in (("from", typed.minimum), ("to", typed.maximum)) if value is not None
    ]
    return " ".join([typed.type or ("JSON Schema" if typed.schema_ is not None else "string"), *bounds])


def _example(name: str, spec: TaskSpec) -> Iterator[str]:
    """The first golden case: the row, the chat that it becomes, the reply, the columns."""
    for case in spec.cases:
        if case.expect is None:
            continue
        try:
            messages = Task.load(name, case.params).format_input(case.input)
        except DistaskError:
            continue
        chat = "\n".join(line for line, _ in lines(messages, whole=True))
        yield f"## An example: {case.name}\n"
        if case.params:
            yield f"With these params:\n\n{_fenced(_json(case.params), 'json')}\n"
        yield f"The row:\n\n{_fenced(_json(case.input), 'json')}\n\nThe chat:\n\n{_fenced(chat)}\n"
        yield f"A reply, and its columns:\n\n{_fenced(_reply(case))}\n"
        yield f"{_fenced(_json(case.expect), 'json')}\n"
        return


def _steps(spec: PipelineSpec) -> Iterator[str]:
    """What is done to a row, those of loops indented."""
    yield "## Steps\n"
    for place, step in walk(spec.steps):
        depth = sum(key == "steps" for key in place) - 1
        yield f"{'  ' * depth}- {_step(step)}"
    yield ""


def _step(step: Step) -> str:
    kind = kind_of(step) or ""
    value = getattr(step, kind)
    if isinstance(step, TaskStep):
        asked = f"[{value}]({value}.md)" if isinstance(value, str) else "a task of its own"
        said = f"`task` {asked}" + (f", called `{step.name}`" if step.name else "")
    elif isinstance(value, str | int | float):
        said = f"`{kind}` `{_short(str(value))}`"
    else:
        told = value if isinstance(value, dict | list) else value.model_dump(exclude_unset=True)
        said = f"`{kind}` {', '.join(f'`{name}`' for name in told)}"
    return _cell(said + (f" where `{step.when}`" if step.when else ""))


def _example_of_steps(spec: PipelineSpec) -> Iterator[str]:
    """The first golden case: the row, the replies, what comes out."""
    case = next((c for c in spec.cases if c.expect is not None), None)
    if case is None:
        return
    yield f"## An example: {case.name}\n"
    if case.params:
        yield f"With these params:\n\n{_fenced(_json(case.params), 'json')}\n"
    for title, value in (("The row", case.input), ("The replies", case.replies), ("What comes out", case.expect)):
        shown = _json(value) if isinstance(value, dict) else json.dumps(value, ensure_ascii=False, indent=1)
        yield f"{title}:\n\n{_fenced(shown, 'json')}\n"


def _cases(spec: TaskSpec | PipelineSpec) -> Iterator[str]:
    yield "## What it makes of replies\n"
    yield "The golden cases, which `distask test` checks.\n\n| reply | becomes |\n| --- | --- |"
    for case in spec.cases:
        made = (
            "null, with the reason"
            if case.expect is None
            else f"`{_short(json.dumps(case.expect, ensure_ascii=False))}`"
        )
        yield f"| {_cell(case.name or '')} | {_cell(made)} |"
    yield ""


def _reply(case: Case) -> str:
    return case.reply if isinstance(case.reply, str) else str(case.reply.get("text"))


def _short_reference(url: str) -> str:
    address = url.removeprefix("https://")
    return address.replace("arxiv.org/abs/", "arXiv:") if address.startswith("arxiv") else address.partition("/")[0]


def _json(columns: Mapping[str, Any]) -> str:
    """A line a column."""
    lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in columns.items()]
    return "{" + ",\n ".join(lines) + "}"


def _fenced(text: str, kind: str = "text") -> str:
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", text)), 3)
    return f"{fence}{kind}\n{text.strip(chr(10))}\n{fence}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _cell(text: str) -> str:
    """Text in a table: on one line, its bars no borders."""
    return " ".join(text.split()).replace("|", "\\|")

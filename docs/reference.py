"""Make the references from the code: the language's models, the command line's options."""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import typer.main
from pydantic import BaseModel

from distask.cli import app
from distask.cli.commands.specs.schema import EVENTS
from distask.cli.events import judging_results, models, other_results, run_results
from distask.llm.pacing.failure_rules import RULES
from distask.spec.check.expressions import FILTERS as OWN_FILTERS
from distask.spec.language import model, steps
from distask.task.parsers import PARSERS
from distask.task.templates.filters import FILTERS

if TYPE_CHECKING:
    from collections.abc import Iterable

SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("A task", model.TaskSpec),
    ("An input", model.Input),
    ("A param", model.Param),
    ("A drawn value", model.Draw),
    ("`design`", model.Design),
    ("A message", model.Message),
    ("A part of a message", model.Part),
    ("An output", model.Output),
    ("`on_invalid`", model.OnInvalid),
    ("`llm`", model.LLM),
    ("`structured_output`", model.StructuredOutput),
    ("`completion`", model.RawCompletion),
    ("A case", model.Case),
]

STEP_SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("A task of steps", steps.PipelineSpec),
    *((f"`{word}`", step) for word, step in steps.STEPS.items()),
    ("The model of a step: `llm`", steps.StepLLM),
    ("`chunk`: how a text is cut", steps.Chunk),
    ("`language`: which languages", steps.Language),
    ("`decontaminate`: with which benchmarks", steps.Decontaminate),
    ("`group`: which rows", steps.Group),
    ("`dedup`: which rows", steps.Dedup),
    ("`sort`: by what", steps.Sort),
    ("`sample`: how many", steps.Sample),
    ("`split`: which parts", steps.Split),
    ("A case of a task of steps", steps.PipelineCase),
]

EVERY_STEP_HAS = ("name", "when")

STEPS_INTRODUCTION = """\
A task of steps has `steps` instead of `format_input`, `format_output` and the keys that belong to them.
[Tasks made of tasks](steps.md) explains how rows flow through the steps. Every step may have a `name` and a `when`. The
first word of a step is its kind.
"""


INTRODUCTION = """\
This page lists every key of a task file. `distask schema` prints the same as a JSON Schema for editors. An unknown
key is an error that names the nearest known one.
"""


def spec_reference() -> str:
    """The page of all keys of a task."""
    parsers = [m for m in get_args(get_args(model.Parser)[0]) if issubclass(m, BaseModel)]
    pieces = [
        "# Keys of a task\n",
        INTRODUCTION,
        *(_section(title, of) for title, of in SECTIONS),
        "## Parsers\n",
        (
            "`format_output` is one of these or a list of them. The first one that fits the reply is used. If none"
            " fits, the error is that of the parser that got furthest.\n"
        ),
        *(_section(f"`{_name(parser)}`", parser, "###") for parser in parsers),
    ]
    pieces += ["## Steps\n", STEPS_INTRODUCTION, *(_section(title, of, "###") for title, of in STEP_SECTIONS)]
    pieces.append(_filters())
    assert {_name(p) for p in parsers} == set(PARSERS)
    return "\n".join(pieces)


def _filters() -> str:
    """The filters of templates that Jinja has not, or has otherwise."""
    told = {name: (FILTERS[name].__doc__ or "").splitlines()[0] for name in sorted(OWN_FILTERS)}
    rows = "".join(f"| `{name}` | {what} |\n" for name, what in told.items())
    return f"{TEMPLATES}\n| filter | result |\n| --- | --- |\n{rows}"


TEMPLATES = """\
## Templates

Message contents and expressions (`when`, `checks` and others) are Jinja, in a sandbox: `{{ instruction }}`,
`{% for ... %}`, and Jinja's filters except `random`, `urlize`, `xmlattr` and `pprint`. An unknown name is an error.
Lists and mappings are printed as JSON, null as nothing. These filters are added:
"""


FAILURES = """\
# What each failure means

distask reads this table to classify a failed request. It goes through the table from the top, and the first line that
fits decides.

- **ends its row**: the row's outputs are null, and the metadata has the `kind` and the server's message.
- **ends the run**: requests in flight may finish, nothing more is sent, and the exit code is 1. The same command
  resumes.
- **is retried**: up to `limits.max_retries` times, within `limits.max_retry_seconds`. The wait is the one that the
  server asks for (`Retry-After`, or the `ratelimit-reset` headers of a limit that is used up; at most an hour), and
  then the whole endpoint waits. Otherwise it is drawn from a range that doubles with each retry.

Some failures may have been paid for, so they are retried less often. A 200 that can't be used is retried once. A
request that timed out is retried twice; its time does not count against `max_retry_seconds`. After the first time-out
the run prints what to raise.

## When a run ends early

- **Before the first usable reply**, a run ends after 20 failed requests. Every request counts, whether or not it
  would be retried. While a server starts (502, 503, 504, 520 to 524, 529), only requests that are out of retries
  count. The samples of one row that fail because of the row itself count once.
- **Later**, a run ends when 200 requests in a row are unusable or time out, or when half of the last 200 rows fail in
  the same way, unless the rows themselves are the reason (`context_length`, `content_filter`, `too_large`,
  `oversize`).
- **A 429 never ends a run**, unless the server answers nothing else for an hour.

Requests in flight at that moment come on top. How many there are is explained in [how many requests at
once](servers.md#how-many-requests-at-once).

## The table

| what came | `kind` | what happens | what you can do |
| --- | --- | --- | --- |
"""
ENDS = {"retry": "is retried", "row": "ends its row", "run": "ends the run"}
RETRIES = {1: "is retried once", 2: "is retried twice"}
"""What a limit on retries is called."""
FILLED = {
    "model": "MODEL",
    "base": "base_url",
    "key": "is the key right, and for this server? where none was sent: --set llm.api_key_env=NAME",
}


def failures_reference() -> str:
    """The page of what ends what."""
    rows = (
        f"| {rule.what} | `{rule.kind}` | {RETRIES.get(rule.retries or 0, ENDS[rule.scope])} "
        f"| {(rule.hint or '').format(**FILLED)} |"
        for rule in RULES
    )
    return FAILURES + "\n".join(rows) + "\n"


def _name(parser: type[BaseModel]) -> str:
    return str(get_args(parser.model_fields["parser"].annotation)[0])


def _section(title: str, of: type[BaseModel], level: str = "##") -> str:
    rows = "\n".join(
        f"| `{field.alias or name}` | {(field.description or '').replace('|', chr(92) + '|')} | {_default(field)} |"
        for name, field in of.model_fields.items()
        if name != "parser" and not (level == "###" and name in EVERY_STEP_HAS and issubclass(of, steps.Step))
    )
    return f"{level} {title}\n\n{of.__doc__}\n\n| key | meaning | default |\n| --- | --- | --- |\n{rows}\n"


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    return "" if value is None or isinstance(value, BaseModel) or value in ({}, []) else f"`{str(value).lower()}`"


def cli_reference() -> str:
    """The page of all commands and their options."""
    group: Any = typer.main.get_command(app)
    pieces = ["# Command line\n", "This page lists every command and option.\n", EXIT_CODES]
    for name, command in group.commands.items():
        arguments = " ".join(p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument")
        pieces.append(f"## distask {name}\n\n    distask {name} {arguments}".rstrip() + f"\n\n{_help(command.help)}\n")
        options = [p for p in command.params if p.param_type_name == "option"]
        if options:
            pieces.append("| option | what it does |\n| --- | --- |\n" + "\n".join(_options(options)) + "\n")
    return "\n".join(pieces)


def _help(text: str | None) -> str:
    return "\n".join(line.strip() for line in (text or "").splitlines())


def _options(options: Iterable[Any]) -> list[str]:
    rows = []
    for option in options:
        names = ", ".join(f"`{n}`" for n in (*option.opts, *option.secondary_opts))
        metavar = f" {option.metavar}" if option.metavar else ""
        rows.append(f"| {names}{metavar.replace('|', chr(92) + '|')} | {option.help} |")
    return rows


def events_reference() -> str:
    """The page of the events of `--json`."""
    pieces = [EVENTS_INTRODUCTION]
    for of in EVENTS:
        name = str(get_args(of.model_fields["event"].annotation)[0])
        heading = f"`{name}` of {(of.__doc__ or '').rstrip('.')}" if name == "result" else f"`{name}`\n\n{of.__doc__}"
        pieces.append(f"## {heading}\n\n{_keys(of)}")
    nested = [
        model
        for module in (models, run_results, other_results, judging_results)
        for model in vars(module).values()
        if isinstance(model, type) and model.__module__ == module.__name__
    ]
    pieces.append("## Objects in events\n")
    parts = [of for of in nested if of.model_fields and "event" not in of.model_fields]
    return "\n".join([*pieces, *(f"### {of.__name__}\n\n{of.__doc__}\n\n{_keys(of)}" for of in parts)])


def _keys(of: type[BaseModel]) -> str:
    rows = "\n".join(
        f"| `{field.alias or name}` | {_type(field.annotation)} | {field.description or ''} |"
        for name, field in of.model_fields.items()
        if name not in ("event", "command", "exit_code")
    )
    return f"| key | type | meaning |\n| --- | --- | --- |\n{rows}\n" if rows else ""


def _type(annotation: Any) -> str:
    """An annotation as people read it: `list of Failed`, `number or null`."""
    if annotation in PLAIN_TYPES:
        return PLAIN_TYPES[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(map(_type, inner))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "object" if inner[1] is Any else f"object of {_type(inner[1])}"
    return str(annotation.__name__)


PLAIN_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Any: "any"}

EVENTS_INTRODUCTION = """\
# Events for programs

With `--json` every command prints JSON Lines for programs: one object per line, with its `event` and its `command`.
They go to stdout. If a run's rows go to stdout (`-o -`), they go to stderr. The last line is `result` or `error`, and
its `exit_code` is the command's. Later versions may add keys. The changelog lists keys that are removed
or change their meaning.

`distask schema --events` prints the JSON Schema of a line.
"""

EXIT_CODES = """\
| exit code | meaning |
| --- | --- |
| 0 | done, every generation is valid |
| 1 | the endpoint, the key, the store or the disk ended the run; nothing that was paid for is lost |
| 2 | the usage, the task or the data is wrong; no requests were sent |
| 3 | done, but some generations failed, each with its reason in the metadata; `dry-run`: some would fail |
| 130 | stopped with Ctrl-C; the same command resumes |
"""

REFERENCES = {
    "spec.md": spec_reference,
    "cli.md": cli_reference,
    "events.md": events_reference,
    "failures.md": failures_reference,
}
"""The pages that are made here."""

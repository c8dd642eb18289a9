"""The options that commands share."""

from __future__ import annotations

import inspect
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from msgspec import Struct
from msgspec.structs import fields

from distask.cli import candidates

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.data.readers import ReadOptions


def _begin_log(verbosity: int) -> int:
    """Log what so many `-v` ask for; without one nothing is loaded for it."""
    if verbosity or "logging" in sys.modules:
        from distask.cli.logs import begin

        begin(verbosity)
    return verbosity


_IN, _OUT, _LLM, _SELECT, _RUN, _KEEP, _ALLOW, _TELL = (
    "The task and its data",
    "The output",
    "The LLM",
    "Which rows",
    "Where it runs",
    "What is kept",
    "What is allowed",
    "What is told",
)


class Where(Enum):
    """Where a run is done."""

    LOCAL = "local"
    RAY = "ray"


class BadRow(Enum):
    """What becomes of a row that can't be read."""

    STOP = "stop"
    SKIP = "skip"


class OnNaN(Enum):
    """How NaN and infinities in JSON are read."""

    STOP = "stop"
    NULL = "null"


Spec = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="A task: its file, or a built-in one's name.", autocompletion=candidates.tasks),
]
Specs = Annotated[
    list[str],
    typer.Argument(metavar="SPEC...", help="Task files, or built-in tasks' names.", autocompletion=candidates.tasks),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--input",
        "-i",
        metavar="DATA",
        help="Rows: .jsonl .json .csv .tsv .parquet (also .gz, .zst), a glob, a folder of `datasets`, "
        "hf://owner/name@split, s3://…, or - for JSON Lines on stdin.",
        rich_help_panel=_IN,
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHAR",
        help="What separates the columns of CSV: one character, or `tab`. [found by the header]",
        rich_help_panel=_IN,
    ),
]
OnNan = Annotated[
    OnNaN,
    typer.Option(
        "--on-nan",
        metavar="stop|null",
        help="NaN and Infinity in JSON make their row unreadable, or are read as null. [stop]",
        rich_help_panel=_IN,
    ),
]
RowCount = Annotated[
    int | None,
    typer.Option(
        "--rows", min=1, metavar="N", help="Make N rows out of nothing, for a task without inputs.", rich_help_panel=_IN
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="K=V",
        help="A param of the task, its value in YAML; as often as you like.",
        autocompletion=candidates.params,
        rich_help_panel=_IN,
    ),
]
NumGenerations = Annotated[
    int | None,
    typer.Option(
        "--num-generations", "-n", min=1, metavar="N", help="Replies for each row. [the task's]", rich_help_panel=_IN
    ),
]
Group = Annotated[
    bool | None,
    typer.Option(
        "--group-generations/--no-group-generations",
        help="One row with lists, or a row for each reply. [the task's]",
        rich_help_panel=_IN,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="What is drawn is drawn from this. [0]", rich_help_panel=_IN)
]

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help=".jsonl, .csv, .parquet, also s3://…; hf://owner/name; FOLDER/ for `datasets`; or - for stdout. "
        "[TASK.DATA.jsonl]",
        rich_help_panel=_OUT,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an OUT that is not this run's own.", rich_help_panel=_OUT)
]
Private = Annotated[
    bool, typer.Option("--private", help="A dataset that is made on the Hub is private.", rich_help_panel=_OUT)
]
EscapeFormulas = Annotated[
    bool,
    typer.Option(
        "--escape-formulas",
        help="In a CSV, begin texts with ' that a spreadsheet would run (= + - @).",
        rich_help_panel=_OUT,
    ),
]
MetadataColumn = Annotated[
    str,
    typer.Option(
        "--metadata-column",
        metavar="NAME",
        help="What the metadata column is called. [distask_metadata]",
        rich_help_panel=_OUT,
    ),
]

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="LLM",
        help="An LLM config: its file, or a built-in one's name.",
        autocompletion=candidates.llms,
        rich_help_panel=_LLM,
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="The model that is asked.", rich_help_panel=_LLM)
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="The server that is asked, up to /v1.", rich_help_panel=_LLM),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="K=V",
        help="llm.temperature=0, limits.timeout=60, input_mappings.COLUMN=YOURS, output_mappings.COLUMN=YOURS; "
        "as often as you like.",
        autocompletion=candidates.settings,
        rich_help_panel=_LLM,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", "-j", min=1, metavar="N", help="Calls in flight at the most. [256]", rich_help_panel=_LLM
    ),
]

MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        min=0,
        metavar="USD",
        help="Stop before a call that might bring this run's cost above it; run again to go on.",
        rich_help_panel=_LLM,
    ),
]

Batch = Annotated[
    bool,
    typer.Option(
        "--batch",
        help="Ask by the server's Batch API: within a day, mostly for half the price.",
        rich_help_panel=_LLM,
    ),
]
NoWait = Annotated[
    bool,
    typer.Option(
        "--no-wait",
        help="With --batch: submit and fetch what is ready, and leave; the same command comes back.",
        rich_help_panel=_LLM,
    ),
]

Engine = Annotated[
    Where,
    typer.Option(
        "--engine",
        help="Here, or over the nodes of a Ray cluster (RAY_ADDRESS), where OUT is a folder of parts.",
        rich_help_panel=_RUN,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Parts at a time with --engine ray. [the cluster's CPUs]",
        rich_help_panel=_RUN,
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="The first N.", rich_help_panel=_SELECT)]
Offset = Annotated[
    int, typer.Option("--offset", min=0, metavar="N", help="Leave out N at the beginning.", rich_help_panel=_SELECT)
]
Shard = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/K", help="Every K-th, from the I-th (1/4 … 4/4).", rich_help_panel=_SELECT),
]
Sample = Annotated[
    int | None,
    typer.Option("--sample", min=1, metavar="N", help="N of them, drawn by the seed.", rich_help_panel=_SELECT),
]
OnBadRow = Annotated[
    BadRow,
    typer.Option(
        "--on-bad-row",
        metavar="stop|skip",
        help="Stop before any call where a row can't be read, or leave it out. [stop]",
        rich_help_panel=_SELECT,
    ),
]

Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FILE",
        help="Where replies are kept, so that none is asked for twice. [.distask/store.db beside OUT]",
        rich_help_panel=_KEEP,
    ),
]
NoStore = Annotated[bool, typer.Option("--no-store", help="Keep no replies.", rich_help_panel=_KEEP)]

AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run the code that the task's parser names.", rich_help_panel=_ALLOW)
]
AllowPath = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-path",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Rows may name files (images …) of this folder.",
        rich_help_panel=_ALLOW,
    ),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", rich_help_panel=_TELL)]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        callback=_begin_log,
        metavar="",
        help="More: every failure, long texts, and on stderr what was tried again; -vv each call.",
        rich_help_panel=_TELL,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Events for programs: a JSON object a line.", rich_help_panel=_TELL)]
ShowConfig = Annotated[
    bool,
    typer.Option(
        "--show-config",
        help="Print what would be asked how, and where each value comes from; run nothing.",
        rich_help_panel=_TELL,
    ),
]


def read_options(on_nan: OnNaN, delimiter: str | None) -> ReadOptions:
    """How files are read, from `--on-nan` and `--delimiter`; raises `UsageError` for a wrong delimiter."""
    from distask.data.readers import ReadOptions
    from distask.data.readers.delimiter import parse_delimiter

    return ReadOptions(on_nan.value, None if delimiter is None else parse_delimiter(delimiter))


class Choice(Struct, frozen=True):
    """The options that commands share: each is declared here once, and holds what was given on the command line."""

    spec: Spec = ""
    source: Source = None
    delimiter: Delimiter = None
    on_nan: OnNan = OnNaN.STOP
    rows: RowCount = None
    param: Param = None
    num_generations: NumGenerations = None
    group_generations: Group = None
    seed: Seed = 0
    output: Output = None
    overwrite: Overwrite = False
    private: Private = False
    escape_formulas: EscapeFormulas = False
    metadata_column: MetadataColumn = "distask_metadata"
    config: Config = None
    model: Model = None
    base_url: BaseUrl = None
    set_: Set = None
    concurrency: Concurrency = None
    max_cost: MaxCost = None
    batch: Batch = False
    no_wait: NoWait = False
    limit: Limit = None
    offset: Offset = 0
    shard: Shard = None
    sample: Sample = None
    on_bad_row: OnBadRow = BadRow.STOP
    engine: Engine = Where.LOCAL
    workers: Workers = None
    store: Store = None
    no_store: NoStore = False
    allow_code: AllowCode = False
    allow_path: AllowPath = None


INPUT = ("spec", "source", "delimiter", "on_nan", "rows", "param", "num_generations", "seed")
OUTPUT = ("group_generations", "output", "overwrite", "private", "escape_formulas", "metadata_column")
LLM = ("config", "model", "base_url", "set_")
ROWS = ("limit", "offset", "shard", "sample", "on_bad_row")
STORE = ("store", "no_store")
ALLOW = ("allow_code", "allow_path")
RUN = ("concurrency", "max_cost", "batch", "no_wait", "engine", "workers")


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options of `Choice`, in the order of `Choice`; they arrive as its argument `choice`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            choice = Choice(**{name: given.pop(name) for name in names})
            command(choice=choice, **given)

        own = inspect.signature(command)
        declared, types = get_type_hints(Choice, include_extras=True), get_type_hints(command, include_extras=True)
        shared = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if name == "spec" else field.default,
                annotation=declared[name],
            )
            for name, field in ((f.name, f) for f in fields(Choice))
            if name in names
        ]
        others = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=types[p.name])
            for p in own.parameters.values()
            if p.name != "choice"
        ]
        parameters = sorted([*shared, *others], key=lambda p: p.default is not inspect.Parameter.empty)
        called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        return called

    return decorate

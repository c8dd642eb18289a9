"""Define the options that commands share."""

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
    """Log at the level of this many `-v`; without `-v`, no logging module is loaded."""
    if verbosity or "logging" in sys.modules:
        from distask.cli.logs import begin

        begin(verbosity)
    return verbosity


_IN, _OUT, _LLM, _SELECT, _RUN, _KEEP, _ALLOW, _TELL = (
    "Task and data",
    "Output",
    "LLM",
    "Rows",
    "Execution",
    "Store",
    "Permissions",
    "Messages",
)


class Where(Enum):
    """Where a run is executed."""

    LOCAL = "local"
    RAY = "ray"


class BadRow(Enum):
    """What to do with an unreadable row."""

    STOP = "stop"
    SKIP = "skip"


class OnNaN(Enum):
    """How NaN and infinities in JSON are read."""

    STOP = "stop"
    NULL = "null"


Spec = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="Task file, or name of a built-in task.", autocompletion=candidates.tasks),
]
Specs = Annotated[
    list[str],
    typer.Argument(metavar="SPEC...", help="Task files, or names of built-in tasks.", autocompletion=candidates.tasks),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--input",
        "-i",
        metavar="DATA",
        help="Input rows: .jsonl .json .csv .tsv .parquet (also .gz, .zst); documents such as .md .pdf .docx .html, "
        "or a folder or .zip of them; a glob, a folder of `datasets`, hf://owner/name@split, s3://…, or - for JSON "
        "Lines on stdin.",
        rich_help_panel=_IN,
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHAR",
        help="Separator of CSV columns: one character, or `tab`. [detected from the header]",
        rich_help_panel=_IN,
    ),
]
Pages = Annotated[
    bool,
    typer.Option(
        "--pages",
        help="Read each page of a PDF, with its image for vision models, or each slide as a row.",
        rich_help_panel=_IN,
    ),
]
OnNan = Annotated[
    OnNaN,
    typer.Option(
        "--on-nan",
        metavar="stop|null",
        help="Treat rows with NaN or Infinity in JSON as unreadable, or read these as null. [stop]",
        rich_help_panel=_IN,
    ),
]
RowCount = Annotated[
    int | None,
    typer.Option(
        "--rows",
        min=1,
        metavar="N",
        help="Number of rows to generate, for a task without inputs. [the size of its grid]",
        rich_help_panel=_IN,
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="K=V",
        help="Param of the task, its value in YAML; can be repeated.",
        autocompletion=candidates.params,
        rich_help_panel=_IN,
    ),
]
NumGenerations = Annotated[
    int | None,
    typer.Option(
        "--num-generations",
        "-n",
        min=1,
        metavar="N",
        help="Number of replies per row. [the task's]",
        rich_help_panel=_IN,
    ),
]
Group = Annotated[
    bool | None,
    typer.Option(
        "--group-generations/--no-group-generations",
        help="Write one row with lists, or one row per reply. [the task's]",
        rich_help_panel=_IN,
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="COL",
        help="Column that matches the rows of two results; can be repeated. [the columns of the input]",
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Random seed. [0]", rich_help_panel=_IN)]

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help=".jsonl, .csv, .parquet, also s3://…; hf://owner/name; FOLDER/ for Parquet parts; or - for stdout. "
        "[TASK.DATA.jsonl]",
        rich_help_panel=_OUT,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an OUT from another run.", rich_help_panel=_OUT)]
Private = Annotated[
    bool, typer.Option("--private", help="Make a new dataset on the Hub private.", rich_help_panel=_OUT)
]
EscapeFormulas = Annotated[
    bool,
    typer.Option(
        "--escape-formulas",
        help="In CSV, prefix texts that a spreadsheet would run (= + - @) with '.",
        rich_help_panel=_OUT,
    ),
]
MetadataColumn = Annotated[
    str,
    typer.Option(
        "--metadata-column",
        metavar="NAME",
        help="Name of the metadata column. [distask_metadata]",
        rich_help_panel=_OUT,
    ),
]

OnlyOutputs = Annotated[
    bool | None,
    typer.Option(
        "--only-outputs/--all-columns",
        help="Write only the task's outputs: no input columns, no metadata and no failed rows.",
        rich_help_panel=_OUT,
    ),
]

Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="COL",
        help="With --only-outputs: a column of the input to write as well, such as `path`; can be repeated.",
        rich_help_panel=_OUT,
    ),
]

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="LLM",
        help="LLM config file, or name of a built-in config.",
        autocompletion=candidates.llms,
        rich_help_panel=_LLM,
    ),
]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Name of the model.", rich_help_panel=_LLM)]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="Base URL of the server, up to /v1.", rich_help_panel=_LLM),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="K=V",
        help="llm.temperature=0, limits.timeout=60, input_mappings.COLUMN=YOURS, output_mappings.COLUMN=YOURS; "
        "can be repeated.",
        autocompletion=candidates.settings,
        rich_help_panel=_LLM,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-j",
        min=1,
        metavar="N",
        help="Maximum number of concurrent requests. [256]",
        rich_help_panel=_LLM,
    ),
]

MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        min=0,
        metavar="USD",
        help="Stop before a call that could exceed this cost; run again to resume.",
        rich_help_panel=_LLM,
    ),
]

Batch = Annotated[
    bool,
    typer.Option(
        "--batch",
        help="Use the server's Batch API: replies within a day, usually at half the price.",
        rich_help_panel=_LLM,
    ),
]
NoWait = Annotated[
    bool,
    typer.Option(
        "--no-wait",
        help="With --batch: submit, fetch finished batches and exit; run again to resume.",
        rich_help_panel=_LLM,
    ),
]

Engine = Annotated[
    Where,
    typer.Option(
        "--engine",
        help="Run locally, or on a Ray cluster (RAY_ADDRESS), where OUT is a folder of parts.",
        rich_help_panel=_RUN,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Number of parallel parts with --engine ray. [the cluster's CPUs]",
        rich_help_panel=_RUN,
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Use only the first N rows.", rich_help_panel=_SELECT)
]
Offset = Annotated[
    int, typer.Option("--offset", min=0, metavar="N", help="Skip the first N rows.", rich_help_panel=_SELECT)
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/K", help="Use every K-th row, from the I-th (1/4 … 4/4).", rich_help_panel=_SELECT
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        "--sample", min=1, metavar="N", help="Use N random rows, chosen with the seed.", rich_help_panel=_SELECT
    ),
]
OnBadRow = Annotated[
    BadRow,
    typer.Option(
        "--on-bad-row",
        metavar="stop|skip",
        help="Stop before any call if a row is unreadable, or skip the row. [stop]",
        rich_help_panel=_SELECT,
    ),
]

Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FILE",
        help="File that caches replies, so that none is requested twice. [.distask/store.db next to OUT]",
        rich_help_panel=_KEEP,
    ),
]
NoStore = Annotated[bool, typer.Option("--no-store", help="Do not cache replies.", rich_help_panel=_KEEP)]

AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Allow the code that the task names to run.", rich_help_panel=_ALLOW)
]
AllowPath = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-path",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Allow rows to name files (images …) in this folder.",
        rich_help_panel=_ALLOW,
    ),
]

Resamples = Annotated[
    int,
    typer.Option(
        "--resamples",
        min=100,
        max=100_000,
        metavar="N",
        help="Number of bootstrap resamples. [2,000]",
        rich_help_panel="Measures",
    ),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=_TELL)]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        callback=_begin_log,
        metavar="",
        help="Print every failure, full texts and, on stderr, retries; -vv logs each call.",
        rich_help_panel=_TELL,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print events for programs, one JSON object per line.", rich_help_panel=_TELL)
]
ShowConfig = Annotated[
    bool,
    typer.Option(
        "--show-config",
        help="Print the config and where each value comes from; run nothing.",
        rich_help_panel=_TELL,
    ),
]


def read_options(on_nan: OnNaN, delimiter: str | None, *, pages: bool = False) -> ReadOptions:
    """Build the read options from the values of their options; raises `UsageError` for a wrong delimiter."""
    from distask.data.readers import ReadOptions
    from distask.data.readers.csv import parse_delimiter

    return ReadOptions(on_nan.value, None if delimiter is None else parse_delimiter(delimiter), pages)


class Choice(Struct, frozen=True):
    """The options that commands share, with their values from the command line; each is declared once, here."""

    spec: Spec = ""
    source: Source = None
    delimiter: Delimiter = None
    on_nan: OnNan = OnNaN.STOP
    pages: Pages = False
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
    only_outputs: OnlyOutputs = None
    keep: Keep = None
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


INPUT = ("spec", "source", "delimiter", "on_nan", "pages", "rows", "param", "num_generations", "seed")
OUTPUT = (
    "group_generations",
    "output",
    "overwrite",
    "private",
    "escape_formulas",
    "metadata_column",
    "only_outputs",
    "keep",
)
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

"""The options that commands share, and the choice that they make together."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A task's file, or a built-in task's name.")]
Source = Annotated[
    str | None,
    typer.Option(
        "--input", "-i", metavar="DATA",
        help="Rows: .jsonl .json .csv .parquet (also .gz, .zst), a glob, a folder, hf://owner/name@split, or -.",
    ),
]  # fmt: skip
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="OUT", help=".jsonl .csv .parquet, or -. [SPEC.DATA.jsonl]"),
]
Config = Annotated[
    str | None, typer.Option("--config", "-c", metavar="LLM", help="An LLM config's file, or a built-in one's name.")
]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="The model to ask.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", metavar="URL", help="The server to ask, up to /v1.")]
Param = Annotated[list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="A param of the task.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="K=V", help="llm.temperature=0, limits.timeout=60, input_mappings.COLUMN=DATA_COLUMN …"
    ),
]
NumGenerations = Annotated[int | None, typer.Option("--num-generations", "-n", min=1, help="Replies for each row.")]
Group = Annotated[
    bool | None,
    typer.Option("--group-generations/--no-group-generations", help="One row with lists, or a row each."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Do this many rows at the most.")]
Offset = Annotated[int, typer.Option(min=0, help="Leave out this many rows at the beginning.")]
Sample = Annotated[int | None, typer.Option(min=1, help="Do this many rows, drawn by the seed.")]
Shard = Annotated[str | None, typer.Option(metavar="I/K", help="Do every K-th row, from the I-th.")]
RowCount = Annotated[int | None, typer.Option("--rows", min=1, help="Make this many rows out of nothing.")]
Seed = Annotated[int, typer.Option(help="What values are drawn from.")]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", "-j", min=1, help="Calls that may be under way at once.")
]
Store = Annotated[
    str | None, typer.Option(metavar="FILE", help="Where replies are kept. [.distask/store.db beside OUT]")
]
NoStore = Annotated[bool, typer.Option("--no-store", help="Keep no replies.")]
MetadataColumn = Annotated[str, typer.Option(metavar="NAME", help="What the metadata column is called.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Let the task's `python` parser run.")]
AllowPath = Annotated[
    list[str] | None, typer.Option("--allow-path", metavar="DIR", help="Let rows name files of this folder.")
]
OnBadRow = Annotated[
    str, typer.Option("--on-bad-row", metavar="stop|skip", help="What becomes of a row that can't be read.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output of another run.")]
ShowConfig = Annotated[
    bool, typer.Option("--show-config", help="Print the LLM config and where each value came from; run nothing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Tell errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Tell the result as JSON.")]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen on the command line, as it was written."""

    spec: str
    source: str | None = None
    output: str | None = None
    config: str | None = None
    model: str | None = None
    base_url: str | None = None
    param: list[str] | None = None
    set_: list[str] | None = None
    num_generations: int | None = None
    group_generations: bool | None = None
    limit: int | None = None
    offset: int = 0
    sample: int | None = None
    shard: str | None = None
    rows: int | None = None
    seed: int = 0
    concurrency: int | None = None
    store: str | None = None
    no_store: bool = False
    metadata_column: str = "distask_metadata"
    allow_code: bool = False
    allow_path: list[str] | None = None
    on_bad_row: str = "stop"
    overwrite: bool = False


def tell_usage(error: Any) -> int:
    """Tell a fault that the argument parser found; its exit code."""
    if type(error).__name__ in ("Exit", "Abort"):
        return int(getattr(error, "exit_code", 130))
    context = getattr(error, "ctx", None)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if message:
        sys.stderr.write(f"error: {message}\n")
    if context is not None:
        sys.stderr.write(f"Try: {context.command_path} --help\n")
    return 2

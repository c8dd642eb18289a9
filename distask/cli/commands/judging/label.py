"""`distask label`: let a person answer what a task asks of a model, on a local page."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict, replace
from rich.text import Text

from distask.cli import candidates
from distask.cli import options as o
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.cli.job import source_stem, task_without_code
from distask.errors import UsageError
from distask.formatting import duration, several

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.labeling.questions import Question
    from distask.labeling.sampling import Choice, Sampler
    from distask.labeling.session import Summary
    from distask.task.pipeline import Pipeline
    from distask.task.task import Task

DEFAULT_SAMPLE = 100
"""Number of rows without `--sample`."""
_ROWS, _PAGE, _FILES = "Rows", "Page", "Labels"


@o.takes(
    "source", "delimiter", "on_nan", "param", "seed", "set_", "limit", "offset", "sample", "on_bad_row", "allow_path"
)
def command(
    choice: o.Choice,
    spec_or_result: Annotated[
        str,
        typer.Argument(
            metavar="SPEC_OR_RESULT",
            help="Task file, or name of a built-in task, with --input; or the output of `distask run`.",
            autocompletion=candidates.tasks,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="LABELS",
            help="Labels file; answers are appended. [TASK.DATA.labels.jsonl]",
            rich_help_panel=_FILES,
        ),
    ] = None,
    annotator: Annotated[
        str | None,
        typer.Option("--annotator", metavar="NAME", help="Your name in LABELS. [user name]", rich_help_panel=_FILES),
    ] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            "--merge",
            metavar="LABELS2",
            help="Append the labels of another file to LABELS, and exit; can be repeated.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    import_: Annotated[
        Path | None,
        typer.Option(
            "--import-label-studio",
            metavar="FILE",
            help="Append the annotations in a JSON export of Label Studio to LABELS, and exit.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export-label-studio",
            metavar="FILE",
            help="Write the rows and LABELS as JSON for Label Studio, its labeling config next to it, and exit.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Use all rows, in order.", rich_help_panel=_ROWS)] = False,
    stratify: Annotated[
        str | None,
        typer.Option(
            "--stratify",
            metavar="COL",
            help="Share the sample equally between the values of this column.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    uncertain: Annotated[
        bool,
        typer.Option(
            "--uncertain",
            help="Use the rows on which the judge is least sure: replies or jurors differ, likelihoods are even.",
            rich_help_panel=_ROWS,
        ),
    ] = False,
    disagreements: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--disagreements",
            metavar="LABELS-A LABELS-B",
            help="Use the items of two labels files on which people disagree.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    repeat: Annotated[
        str,
        typer.Option(
            "--repeat",
            metavar="N|P%",
            help="Show some items twice, to measure your consistency. [0]",
            rich_help_panel=_ROWS,
        ),
    ] = "0",
    ask: Annotated[
        list[str] | None,
        typer.Option(
            "--ask",
            metavar="OUTPUT",
            help="Output to ask for; can be repeated. [all that are not free text]",
            rich_help_panel=_PAGE,
        ),
    ] = None,
    blind: Annotated[
        bool,
        typer.Option("--blind", help="Hide the judge's answer even after yours.", rich_help_panel=_PAGE),
    ] = False,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser. [open]", rich_help_panel=_PAGE)
    ] = True,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, metavar="N", help="Port of the page. [free]", rich_help_panel=_PAGE),
    ] = 0,
    json_: o.Json = False,
) -> None:
    """Answer what the task asks of a model yourself, on a page that only this computer serves.

    Without other options it shows 100 random rows. Every answer is saved before the next item appears. To continue
    later, run the same command again.
    """
    if sum(map(bool, (merge, import_, export))) > 1:
        raise UsageError("--merge, --import-label-studio and --export-label-studio can't be combined; run them in turn")
    chosen = _choice(choice, all_=all_, stratify=stratify, uncertain=uncertain, disagreements=disagreements)
    needs_rows = not merge and import_ is None
    choice = _with_source(choice, spec_or_result, disagreements, needs_rows=needs_rows)
    task = task_without_code(choice)
    from distask.labeling.questions import questions_of

    questions = questions_of(task, ask or ())
    stem = source_stem(choice.source) if disagreements is None else "adjudicated"
    path = output or Path(f"{task.name}.{stem}.labels.jsonl")
    events = Events("label") if json_ else None
    if merge:
        _merge(path, merge, questions, events)
    elif import_ is not None:
        _import(path, import_, questions, _annotator(annotator), events)
    else:
        sampler = _sampled(choice, task, questions, chosen, disagreements)
        if export is not None:
            _export(path, export, task, questions, sampler, events)
        else:
            about = {"annotator": _annotator(annotator), "repeat": repeat, "seed": choice.seed, "blind": blind}
            folders = _folders(choice)
            _label(path, task, questions, sampler, folders, about, events, open_=open_, port=port)


def _choice(
    choice: o.Choice,
    *,
    all_: bool,
    stratify: str | None,
    uncertain: bool,
    disagreements: tuple[Path, Path] | None,
) -> Choice:
    """Return which rows to use; raises `UsageError` for options that can't be combined."""
    from distask.labeling.sampling import Choice

    given = {
        "--all": all_,
        "--stratify": stratify is not None,
        "--uncertain": uncertain,
        "--disagreements": disagreements is not None,
    }
    named = [name for name, is_given in given.items() if is_given]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} can't be combined; each of them says which rows to use")
    size = DEFAULT_SAMPLE if choice.sample is None else choice.sample
    if all_ or disagreements is not None:
        if choice.sample is not None:
            raise UsageError(f"--sample and {named[0]} can't be combined; remove one of them")
        return Choice("all" if all_ else "disagreements", seed=choice.seed)
    if stratify is not None:
        return Choice("stratified", size, choice.seed, stratify)
    return Choice("uncertain" if uncertain else "random", size, choice.seed)


def _with_source(
    choice: o.Choice, spec_or_result: str, disagreements: tuple[Path, Path] | None, *, needs_rows: bool
) -> o.Choice:
    """Add the task and the source of rows: the record of a result names its task, its params and its mappings."""
    from distask.labeling.source import read_record
    from distask.spec.gallery import gallery

    path = Path(spec_or_result)
    is_rows = "://" in spec_or_result or path.is_file() or (path.is_dir() and spec_or_result not in gallery())
    is_spec = path.suffix in (".yaml", ".yml") or not is_rows
    if not is_spec:
        if choice.source is not None:
            raise UsageError(f"--input and the result {path} can't be combined; pass the task instead of the result")
        record = read_record(spec_or_result)
        if record is None:
            raise UsageError(
                f"{path}: there is no {path.name}.run.json, which names the task of a result; "
                f"pass the task and the rows: distask label TASK --input {path}"
            )
        params = [f"{name}={json.dumps(value)}" for name, value in record.params.items()]
        mappings = [f"input_mappings.{name}={column}" for name, column in record.input_mappings.items()]
        mappings += [f"output_mappings.{name}={column}" for name, column in record.output_mappings.items()]
        given = {"param": [*params, *(choice.param or [])], "set_": [*mappings, *(choice.set_ or [])]}
        choice = replace(choice, spec=record.spec, source=spec_or_result, **given)
    else:
        choice = replace(choice, spec=spec_or_result)
    if disagreements is not None and choice.source is not None and is_spec:
        raise UsageError("--input and --disagreements can't be combined; the labels files hold the rows")
    if disagreements is None and choice.source is None and needs_rows:
        raise UsageError(f"{spec_or_result}: the rows are missing; add --input DATA, or pass the result of a run")
    return choice


def _sampled(
    choice: o.Choice,
    task: Task | Pipeline,
    questions: Sequence[Question],
    chosen: Choice,
    disagreements: tuple[Path, Path] | None,
) -> Sampler:
    """Read all rows once and choose some; raises `UsageError` if there are none to choose."""
    from distask.labeling.sampling import Sampler
    from distask.labeling.source import Source, scan_disagreements

    sampler = Sampler(chosen)
    if disagreements is not None:
        compared = scan_disagreements(disagreements, questions, sampler.offer)
        if not sampler.pool:
            raise UsageError(f"people agree on all {several(compared, 'item')} that two of them answered")
        return sampler
    source = Source(
        task,
        questions,
        str(choice.source),
        o.read_options(choice.on_nan, choice.delimiter),
        on_bad_row=choice.on_bad_row.value,
        offset=choice.offset,
        limit=choice.limit,
    )
    source.scan(sampler)
    for note in source.notes:
        err().print(plain(note, "yellow"))
    if chosen.method == "uncertain" and sampler.certain == sampler.pool:
        raise UsageError(
            f"{choice.source}: no row shows how uncertain the judge is; run it with -n 5 --group-generations, "
            "with several jurors, or with a task that writes the probability of each answer"
        )
    return sampler


def _annotator(given: str | None) -> str:
    name = given
    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError, ImportError):  # no user name, as in some containers
            raise UsageError("there is no user name; add --annotator NAME") from None
    if not name.strip():
        raise UsageError("--annotator: the name is empty")
    return name.strip()


def _folders(choice: o.Choice) -> list[Path]:
    source = choice.source
    is_local = source is not None and source != "-" and "://" not in source
    return [*([Path(source).parent] if source is not None and is_local else []), *(choice.allow_path or [])]


def _label(
    path: Path,
    task: Task | Pipeline,
    questions: Sequence[Question],
    sampler: Sampler,
    folders: Sequence[Path],
    about: dict[str, Any],
    events: Events | None,
    *,
    open_: bool,
    port: int,
) -> None:
    """Serve the page until the person finishes, then print a summary."""
    from distask.labeling.labels import LabelsFile
    from distask.labeling.page import page_facts
    from distask.labeling.questions import sides_of
    from distask.labeling.queue import parse_repeat, turns_of
    from distask.labeling.render import Renderer
    from distask.labeling.server import LabelServer
    from distask.labeling.session import Session, check_columns

    def notify(sentence: str) -> None:
        err().print(plain(sentence, "yellow"))

    chosen = sampler.chosen()
    turns = turns_of(chosen, parse_repeat(about["repeat"], len(chosen)), about["seed"])
    columns = list(sampler.row(chosen[0]).values)
    check_columns(columns, questions)
    renderer = Renderer(task, sides_of(task, questions, columns), folders)
    with LabelsFile(path, [question.column for question in questions], notify) as labels:
        session = Session(
            questions, sampler, turns, labels, about["annotator"], renderer, reveals=not about["blind"]
        )  # fmt: skip
        if session.is_done:
            _report(path, about["annotator"], session.summary(), events)
            return
        server = LabelServer(session, page_facts(task, questions, about["annotator"], path), notify, port=port)
        server.start()
        console = err()
        console.print(plain(f"{task.name} · {_counts(session.summary())} · {path}", "dim"))
        if events is not None:
            events.emit("note", message=server.url)
        else:
            out().print(plain(server.url), soft_wrap=True)
            sys.stdout.flush()  # a program that reads the address waits for it
        console.print(plain("Answer on this page. Finish there, or press Ctrl-C; the same command continues.", "dim"))
        if open_:
            typer.launch(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
        server.stop()
        _report(path, about["annotator"], session.summary(), events)


def _counts(summary: Summary) -> str:
    return f"{several(summary.left, 'item')} to answer" + (
        f", {summary.answered + summary.skipped:,} already done" if summary.answered + summary.skipped else ""
    )


def _report(path: Path, annotator: str, summary: Summary, events: Events | None) -> None:
    """Print what the person did, in all sessions with this file."""
    facts = [f"{summary.answered:,} answered"]
    facts += [f"{summary.skipped:,} skipped"] if summary.skipped else []
    facts += [f"{summary.left:,} left"] if summary.left else []
    facts += [f"{duration(summary.median_seconds)} each (median)"] if summary.median_seconds is not None else []
    if summary.repeated:
        facts.append(f"{summary.consistent:,} of {several(summary.repeated, 'repeated item')} answered the same")
    _end(events, path, f"{annotator}: {', '.join(facts)}", annotator=annotator, **asdict(summary))


def _end(events: Events | None, path: Path, sentence: str, **facts: Any) -> None:
    """Report what was written, as text or as an event."""
    if events is not None:
        events.result(output=str(path), **facts)
    else:
        out().print(Text.assemble(plain(str(path), "bold"), plain(f"  {sentence}")))


def _merge(path: Path, others: Sequence[Path], questions: Sequence[Question], events: Events | None) -> None:
    from distask.labeling.labels import LabelsFile, merge

    columns = [question.column for question in questions]
    with LabelsFile(path, columns, lambda sentence: err().print(plain(sentence, "yellow"))) as labels:
        added = merge(labels, others, columns)
    _end(events, path, f"{several(added, 'line')} added", added=added)


def _import(path: Path, export: Path, questions: Sequence[Question], annotator: str, events: Events | None) -> None:
    from distask.labeling.label_studio import read_export
    from distask.labeling.labels import LabelsFile

    lines = read_export(export, questions, annotator)
    with LabelsFile(path, [question.column for question in questions]) as labels:
        new = [line for line in lines if line.key not in labels.verdicts]
        for line in new:
            labels.append(line.values, line.label)
    facts = f"{several(len(new), 'label')} added"
    facts += f", {len(lines) - len(new):,} already there" if len(new) < len(lines) else ""
    _end(events, path, facts, added=len(new))


def _export(
    path: Path,
    export: Path,
    task: Task | Pipeline,
    questions: Sequence[Question],
    sampler: Sampler,
    events: Events | None,
) -> None:
    from distask.labeling.label_studio import write_export
    from distask.labeling.labels import final_verdicts, read_verdicts

    columns = [question.column for question in questions]
    verdicts = final_verdicts(read_verdicts(path, columns)) if path.exists() else {}
    tasks, annotations, config = write_export(export, task, questions, sampler, verdicts)
    facts = f"{several(tasks, 'task')}, {several(annotations, 'annotation')}; labeling config: {config}"
    _end(events, export, facts, tasks=tasks, annotations=annotations)

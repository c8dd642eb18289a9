"""Trace a row of an output back through the runs that made it: prompts, replies, judges, input rows, the document."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.data.checksums import is_unchanged
from distask.data.compression import DamagedError
from distask.data.documents import DocumentError
from distask.data.objects import is_object
from distask.data.readers.hub import PREFIX
from distask.data.row import untabled
from distask.errors import InputError, UsageError
from distask.runner.generations import METADATA_COLUMN, MODEL_COLUMN
from distask.runner.provenance.earlier import DAMAGED, MOST_RUNS, read_record, section_of
from distask.runner.provenance.origin import Seeker, values_of
from distask.runner.provenance.passage import DocumentFound, find_document, read_document_row
from distask.runner.provenance.recall import recall_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distask.llm.request import Message
    from distask.runner.provenance.origin import Origin


class Exchange(Struct):
    """A prompt and its reply, as they are in the metadata of a row."""

    step: str
    model: str | None
    judge: bool
    messages: list[Message] | None
    """The chat as it was sent; None if it was not kept."""
    reply: str | None
    reasoning: str | None = None
    error: str | None = None
    """Why the reply could not be used."""
    sample: int = 0
    """The number of the reply among those to the same prompt, from 0."""


class Stage(Struct):
    """A row of an output, and the run that made it."""

    output: str
    row: int
    place: str
    values: dict[str, Any]
    """The row without its metadata."""
    record: dict[str, Any] | None
    unchanged: bool | None = None
    """Whether the output is as the run wrote it; None if unknown."""
    exchanges: list[Exchange] = field(default_factory=list)
    origin: Origin | None = None


class Trace(Struct):
    """A row traced back to its sources."""

    stages: list[Stage]
    """From the row itself to the first run."""
    document: DocumentFound | None
    notes: list[str]
    """What can't be found or was changed."""


def trace_row(output: str, row: int) -> Trace:
    """Trace a row back; uses no network and no key.

    Args:
        output: what a run wrote: a file, or a folder of parts.
        row: its number, from 1.

    Raises:
        InputError: the output does not exist, or has no such row; or the record of a run is damaged.
    """
    if output == "-" or is_object(output) or output.startswith(PREFIX):
        raise InputError(f"{output}: only files on this machine can be traced, with their OUT.run.json next to them")
    stages: list[Stage] = []
    notes: list[str] = []
    seen: set[tuple[Path, int]] = set()
    at: tuple[Path, int] | None = (Path(output), row)
    while at is not None and (place := (at[0].resolve(), at[1])) not in seen and len(stages) < MOST_RUNS:
        seen.add(place)
        try:
            stage = _stage(*at, notes)
            stages.append(stage)
            if stage.record is None:
                break
            output_file = Path(stage.output)
            stage.origin = Seeker(output_file, stage.record, stage.row, stage.values, notes).find()
            _recall(output_file, stage, notes)
        except DAMAGED as error:
            raise InputError(f"{at[0]}.run.json is damaged ({error!r}); run the same command again") from None
        at = stage.origin.earlier if stage.origin is not None and _has_record(stage.origin) else None
    return Trace(stages, _document(stages, notes), notes)


def _has_record(origin: Origin) -> bool:
    return origin.earlier is not None and read_record(origin.earlier[0]) is not None


def _stage(output: Path, row: int, notes: list[str]) -> Stage:
    values, place, in_file = values_of(output, row)
    record = read_record(output)
    if record is None and output.is_dir():  # of a cluster: each part has its own record
        output, row = in_file
        record = read_record(output)
    column = ((record or {}).get("columns") or {}).get("metadata") or METADATA_COLUMN
    kept = {name: value for name, value in values.items() if name != column}
    stage = Stage(str(output), row, place, kept, record)
    if record is None:
        notes.append(f"{output.name}.run.json is missing next to {output}: the run that wrote it is unknown")
        return stage
    try:
        stage.unchanged = is_unchanged(output, record.get("output") or {})
    except OSError as error:
        raise InputError(f"{output}: {error}") from None
    if not stage.unchanged:
        notes.append(f"{output} was changed after its run: its checksum differs")
    stage.exchanges = list(_exchanges(record, values.get(column), values.get(MODEL_COLUMN)))
    if not stage.exchanges and (section_of(record).get("prompts") or ()):
        notes.append(f"{output} has no prompts and replies: the task writes only its outputs; use --all-columns")
    return stage


def _recall(output: Path, stage: Stage, notes: list[str]) -> None:
    """Add the prompts and replies that the metadata lacks, if the task has no steps; else note what is missing."""
    lacking = [each for each in stage.exchanges if each.messages is None or (each.reply is None and not each.error)]
    if not lacking or stage.record is None:
        return
    origin, source = stage.origin, section_of(stage.record).get("input") or {}
    if "steps" in (stage.record.get("spec") or {}):
        notes.append(f"{output.name} lacks prompts or replies: the task has `add_raw_input` or `add_raw_output: false`")
        return
    if origin is not None and origin.is_document and origin.found is not None and not origin.values:
        by_page = bool((source.get("reading") or {}).get("pages"))
        with suppress(DocumentError, DamagedError, UsageError, OSError):  # reported with the document
            origin.values = read_document_row(origin, stage.values.get("page"), by_page=by_page)[0] or {}
    if origin is None or not origin.values or origin.index is None:
        notes.append(f"{output.name} lacks the prompt or the reply, and the input row is needed to find them")
        return
    samples = 1 + max(each.sample for each in stage.exchanges)
    recalled = recall_row(output, stage.record, origin.values, origin.index, samples, notes)
    for each in lacking if recalled is not None else ():
        assert recalled is not None
        each.messages = recalled.messages if each.messages is None else each.messages
        each.reply = recalled.replies[each.sample] if each.reply is None else each.reply


def _document(stages: list[Stage], notes: list[str]) -> DocumentFound | None:
    last = stages[-1]
    if last.origin is None or not last.origin.is_document:
        return None
    source = section_of(last.record).get("input") or {}
    chunks = (source.get("chunks") or {}).get("steps") or ()
    by_page = bool((source.get("reading") or {}).get("pages"))
    return find_document(last.origin, chunks, [stage.values for stage in stages], notes, by_page=by_page)


def _exchanges(record: Mapping[str, Any], metadata: Any, model: Any) -> Iterator[Exchange]:
    """Yield the prompts and replies of a run that are in the metadata of a row, in the order of its steps."""
    if isinstance(metadata, str):  # from a table
        metadata = untabled(metadata)
    prompts = section_of(record).get("prompts") or [{"step": (record.get("identity") or {}).get("task")}]
    for prompt in prompts:
        step = str(prompt["step"])
        for place, part in enumerate(metadata if isinstance(metadata, list) else [metadata]):
            if isinstance(part, dict):
                sample = part.get("sample") if isinstance(part.get("sample"), int) else place
                yield from _of_step(step, part, model, judge=bool(prompt.get("judge")), sample=sample)


def _of_step(step: str, part: Mapping[str, Any], model: Any, *, judge: bool, sample: Any) -> Iterator[Exchange]:
    chats, replies = _chats(part.get(f"raw_input_{step}")), _leaves(part.get(f"raw_output_{step}"))
    errors = _leaves(part.get(f"error_{step}"))
    reasoning = _leaves(part.get(f"reasoning_{step}"))
    statistics = _leaves(part.get(f"statistics_{step}"))
    used = _leaves(part.get(f"model_{step}"))
    count = max(len(chats), len(replies), len(statistics), len(errors))
    for number in range(count):
        error = errors[number] if len(errors) == count else None
        named = _at(used, number) or model
        yield Exchange(
            step,
            named if isinstance(named, str) else None,
            judge,
            _at(chats, number),
            _text(_at(replies, number)),
            _text(_at(reasoning, number)),
            str(error.get("message")) if isinstance(error, dict) else None,
            sample if isinstance(sample, int) else 0,
        )


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _at(values: list[Any], number: int) -> Any:
    return values[number] if number < len(values) else None


def _chats(value: Any) -> list[Any]:
    """Return the chats of a metadata entry, which is a chat or nested lists of chats."""
    if not isinstance(value, list) or not value:
        return []
    if isinstance(value[0], dict):
        return [[message for message in value if isinstance(message, dict)]]
    return [chat for each in value for chat in _chats(each)]


def _leaves(value: Any) -> list[Any]:
    """Return the items of a metadata entry, including those of nested lists; null items keep their place."""
    if not isinstance(value, list):
        return [] if value is None else [value]
    return [leaf for each in value for leaf in ([None] if each is None else _leaves(each))]

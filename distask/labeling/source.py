"""Read the rows that a person may answer, and what the judge answered, from an input or from the result of a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
from msgspec import Struct

from distask.data.compression import kind_of
from distask.data.input import Input, open_input
from distask.data.readers.jsonl import read_jsonl
from distask.data.row import untabled
from distask.errors import InputError, UsageError
from distask.labeling.labels import INPUT_LABEL_COLUMN, LABEL_COLUMN, final_verdicts, read_verdicts
from distask.labeling.sampling import Candidate, uncertainty
from distask.runner.generations import METADATA_COLUMN, MODEL_COLUMN
from distask.runner.job import missing_columns
from distask.runner.record import record_path
from distask.spec.gallery import gallery
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.data.readers import ReadOptions
    from distask.data.readers.blocks import Block
    from distask.data.row import Row
    from distask.labeling.questions import Question
    from distask.labeling.sampling import Sampler
    from distask.task.pipeline import Pipeline

    Offer = Callable[[Mapping[str, Any], Callable[[], Candidate]], None]

TABLES = (".csv", ".tsv")


class Recorded(Struct, frozen=True):
    """What the record of a run says about its task and its columns."""

    spec: str
    """The task's file, or its name."""
    params: dict[str, Any]
    input_mappings: dict[str, str]
    output_mappings: dict[str, str]
    inputs: list[str] | None
    """The columns of the run's input; None if unknown."""
    metadata_column: str
    num_generations: int


def read_record(source: str) -> Recorded | None:
    """Return what `SOURCE.run.json` says; None if the source is not the result of a run."""
    path = record_path(Path(source))
    try:
        record = orjson.loads(path.read_bytes())
        identity, spec, columns = record["identity"], record["spec"], record["columns"]
        return Recorded(
            spec=_spec(identity),
            params={name: value for name, value in record["params"].items() if value is not None},
            input_mappings=spec.get("input_mappings") or {},
            output_mappings=spec.get("output_mappings") or {},
            inputs=columns["input"],
            metadata_column=columns["metadata"],
            num_generations=record["num_generations"],
        )
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: this is not the record of a run ({type(error).__name__}: {error})") from None


def _spec(identity: Mapping[str, Any]) -> str:
    path, name = str(identity["spec"]), str(identity["task"])
    return name if not Path(path).is_file() and name in gallery() else path


class _EachRow:
    """Shows a function every row of a scan."""

    def __init__(self, see: Callable[[Row], None]) -> None:
        self.row = see

    def block(self, block: Block) -> None:
        """Show the rows of a block."""
        for number in range(len(block.values)):
            self.row(block.row(number))


class Source:
    """Rows, each once, with the judge's answers if the rows have them.

    Args:
        task: the task.
        questions: what a person is asked.
        source: a value of `--input`, or the result of a run.
        reading: how files are read.
        on_bad_row: what to do with an unreadable row.
        offset: number of rows to skip.
        limit: maximum number of rows to read.
    """

    def __init__(
        self,
        task: Task | Pipeline,
        questions: Sequence[Question],
        source: str,
        reading: ReadOptions,
        *,
        on_bad_row: Literal["stop", "skip"] = "stop",
        offset: int = 0,
        limit: int | None = None,
    ) -> None:
        self.name = source
        self._task = task
        self._asked = [question.column for question in questions]
        record = read_record(source)
        self._inputs = None if record is None else record.inputs
        self._metadata = METADATA_COLUMN if record is None else record.metadata_column
        self._hidden = {*task.added_columns, *self._asked, self._metadata, MODEL_COLUMN}
        self._is_table = kind_of(Path(source)) in TABLES
        self._reading, self._record = reading, record
        self._selects = bool(offset) or limit is not None or on_bad_row != "stop"
        needs: dict[str, Any] = {"columns_needed": task.missing_columns(()), "stand_in": task.stand_in}
        self._rows = open_input(source, reading, offset=offset, limit=limit, on_bad_row=on_bad_row, **needs)
        self._needs = needs
        if "://" not in source and source != "-":
            task.allow(Path(source).parent)

    @property
    def notes(self) -> list[str]:
        """Notes for the user about how the rows were read."""
        return self._rows.notes

    def scan(self, sampler: Sampler) -> None:
        """Read all rows once and let a sampler choose; the rows of several replies to one input row are one candidate.

        Lines of JSONL that a random sample does not choose are only counted.

        Raises:
            InputError: a row can't be read, or lacks a column that the task needs.
        """
        if sampler.is_blind and (path := self._countable()) is not None:
            self._scan_chosen(path, sampler)
        else:
            self._scan_all(sampler.offer)

    def _countable(self) -> Path | None:
        """Return the file if each of its lines is a candidate, whatever is in it."""
        path = Path(self.name)
        is_plain = path.suffix in (".jsonl", ".ndjson") and path.is_file()
        if not is_plain or self._selects or (self._record is not None and self._record.num_generations != 1):
            return None
        first = next(read_jsonl(path, self.name), None)
        return None if first is None or (self._record is None and self._metadata in first.values) else path

    def _scan_chosen(self, path: Path, sampler: Sampler) -> None:
        place, number = 0, None

        def wants() -> bool:
            nonlocal place, number
            place += 1
            number = sampler.draw()
            return number is not None

        def see(row: Row) -> None:
            assert number is not None
            row.index = place - 1
            sampler.keep(number, self._candidate([row]))

        reading = self._reading.on_nan
        self._rows = Input(self.name, lambda: read_jsonl(path, self.name, on_nan=reading, wants=wants), **self._needs)
        self._rows.scan(_EachRow(see))
        if faults := missing_columns(self._task, self._rows):
            raise InputError("\n".join(faults))

    def _scan_all(self, offer: Offer) -> None:
        waiting: list[Row] = []
        number: int | None = None

        def see(row: Row) -> None:
            nonlocal number
            if waiting and number is not None and self._number(row) == number:
                waiting.append(row)
                return
            flush()
            number = self._number(row)
            waiting.append(row)

        def flush() -> None:
            if waiting:
                offer(waiting[0].values, partial(self._candidate, list(waiting)))
                waiting.clear()

        self._rows.scan(_EachRow(see))
        if self._rows.count is None:  # a remote source is not scanned
            for row in self._rows:
                if row.error is not None:
                    raise row.error
                see(row)
        elif faults := missing_columns(self._task, self._rows):
            raise InputError("\n".join(faults))
        if not waiting:
            raise InputError(f"{self.name}: the input has no rows")
        flush()

    def _number(self, row: Row) -> int | None:
        """Return the number of the input row, if several replies to it have rows of their own."""
        metadata = row.values.get(self._metadata)
        if isinstance(metadata, str):
            metadata = untabled(metadata)
        number = metadata.get("row") if isinstance(metadata, dict) else None
        return number if isinstance(number, int) else None

    def _candidate(self, rows: Sequence[Row]) -> Candidate:
        values = rows[0].values
        names = values if self._inputs is None else self._inputs
        inputs = {name: values[name] for name in names if name in values and (self._inputs or name not in self._hidden)}
        answers = [answer for row in rows for answer in self._answers(row, inputs)]
        candidate = Candidate(rows[0].index + 1, inputs, answers)
        if answers:
            has_jurors = not isinstance(self._task, Task)
            candidate.uncertainty = uncertainty(answers, self._asked, has_jurors=has_jurors)
        return candidate

    def _answers(self, row: Row, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the judge's columns, one mapping for each reply; nothing if the row is not from a result."""
        values = row.values
        added = {name: values[name] for name in self._task.added_columns if name in values and name not in inputs}
        if not added:
            return []
        metadata = values.get(self._metadata)
        if self._is_table:
            added = {name: untabled(value) for name, value in added.items()}
            metadata = untabled(metadata)
        if not isinstance(metadata, list):
            return [added]
        count = len(metadata)
        lists = {name: value for name, value in added.items() if isinstance(value, list) and len(value) == count}
        return [{name: value[place] for name, value in lists.items()} for place in range(count)]


def scan_disagreements(paths: Sequence[Path], questions: Sequence[Question], offer: Offer) -> int:
    """Offer the items on which people disagree, from labels files; returns the number of compared items.

    Only first verdicts count, not those of repeats, and not skipped ones. Two verdicts disagree if they differ in a
    column that is asked for.

    Args:
        paths: the labels files.
        questions: what a person is asked.
        offer: takes the columns of an item, and a function that makes the candidate; in the order of the files.

    Raises:
        UsageError: no item was answered by two people.
    """
    asked = [question.column for question in questions]
    items: dict[str, dict[str, Any]] = {}
    for path in paths:
        for verdict in final_verdicts(read_verdicts(path, asked)).values():
            item, who, repeat = verdict.key
            if not repeat and not verdict.is_skipped:
                items.setdefault(item, {})[who] = verdict
    shared = {item: verdicts for item, verdicts in items.items() if len(verdicts) > 1}
    if not shared:
        names = " and ".join(str(path) for path in paths)
        raise UsageError(
            f"no item in {names} was answered by two people; let them label the same rows, with one --seed"
        )
    for verdicts in shared.values():
        answers = [{column: verdict.values[column] for column in asked} for verdict in verdicts.values()]
        if all(answer == answers[0] for answer in answers):
            continue
        first = next(iter(verdicts.values()))
        others = [
            {"annotator": who, "answers": answer, "comment": verdict.label.get("comment")}
            for (who, verdict), answer in zip(verdicts.items(), answers, strict=True)
        ]
        inputs = {
            LABEL_COLUMN if name == INPUT_LABEL_COLUMN else name: value
            for name, value in first.values.items()
            if name not in asked
        }
        row = first.label.get("row")
        candidate = Candidate(row if isinstance(row, int) else 0, inputs, others=others, item=first.label["item"])
        offer(inputs, lambda candidate=candidate: candidate)  # type: ignore[misc]
    return len(shared)

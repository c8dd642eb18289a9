"""Run one person's session: show the next item, take an answer, take it back, and keep the pace."""

from __future__ import annotations

import json
import statistics
import time
from threading import Lock
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from distask.errors import UsageError
from distask.labeling.labels import INPUT_LABEL_COLUMN, LABEL_COLUMN, item_key, now
from distask.labeling.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.labeling.labels import LabelsFile
    from distask.labeling.questions import Question
    from distask.labeling.queue import Turn
    from distask.labeling.render import Renderer
    from distask.labeling.sampling import Candidate, Sampler


class AnswerError(ValueError):
    """An answer that can't be saved; the message is for the person."""


class StaleError(Exception):
    """An answer to an item that is not the current one: another tab has answered it."""


class Summary(Struct, frozen=True):
    """What one person did, over all sessions with this file."""

    answered: int
    skipped: int
    left: int
    """Turns without a verdict."""
    median_seconds: float | None
    """Median time per answer; None without answers."""
    repeated: int
    """Items that were answered twice."""
    consistent: int
    """Of these, the ones with the same answers both times."""


class Session:
    """The turns of one person; every method can be called from any thread.

    Args:
        questions: what is asked.
        sampler: keeps the chosen rows.
        turns: the turns, in order.
        labels: the open labels file.
        annotator: the person's name.
        renderer: shows a row.
        reveals: whether the judge's answer is shown after the person's.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        sampler: Sampler,
        turns: Sequence[Turn],
        labels: LabelsFile,
        annotator: str,
        renderer: Renderer,
        *,
        reveals: bool = True,
    ) -> None:
        self.questions = questions
        self.annotator = annotator
        self._sampler, self._labels, self._renderer = sampler, labels, renderer
        self._reveals = reveals
        self._lock = Lock()
        self._is_closed = False
        self._again = {turn.chosen.place for turn in turns if turn.repeat}
        self._keys: dict[int, str] = {}
        self._done: set[tuple[str, int]] = set()
        self._unanswered: set[str] = set()
        self._seconds: dict[tuple[str, int], float] = {}
        for (item, who, repeat), verdict in labels.verdicts.items():
            if who == annotator:
                self._note(item, repeat, skipped=verdict.is_skipped, seconds=verdict.label.get("seconds"))
        self._queue = Queue(turns, self._key, self._done, self._unanswered)
        self._last: dict[str, Any] | None = None
        self._draft: dict[str, Any] | None = None
        self._shown_at = time.monotonic()
        self._shown: tuple[int, dict[str, Any]] | None = None

    def close(self) -> None:
        """Complete the answer that is being saved, and take no more."""
        with self._lock:
            self._is_closed = True

    @property
    def is_done(self) -> bool:
        """Whether every turn has a verdict."""
        return self._queue.current is None

    def state(self) -> dict[str, Any]:
        """Return what the page shows: the current item (null after the last one), the progress, and the last answer."""
        with self._lock:
            return self._state()

    def prompt(self) -> dict[str, Any]:
        """Return the chat that the judge gets for the current item."""
        with self._lock:
            turn = self._queue.current
            return {"prompt": None if turn is None else self._renderer.prompt(self._sampler.row(turn.chosen).values)}

    def answer(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Save an answer, and return the state with the next item; the answer is on the disk when this returns.

        Args:
            given: `turn` (the number of the item that was shown), `answers` (column to answer), or `skipped`; also
                `seconds` and `comment`.

        Raises:
            AnswerError: an answer is missing, or does not have the column's type.
            StaleError: the item is not the current one.
            OutputError: the file can't be written; the item stays.
        """
        with self._lock:
            turn = self._queue.current
            if self._is_closed or turn is None or given.get("turn") != self._queue.place:
                raise StaleError
            row = self._sampler.row(turn.chosen)
            skipped = given.get("skipped") is True
            answers = dict.fromkeys(q.column for q in self.questions) if skipped else self._read(given, row)
            comment = given.get("comment")
            label = self._label(turn)
            label["seconds"] = seconds = self._time(given.get("seconds"))
            if isinstance(comment, str) and comment.strip():
                label["comment"] = comment.strip()
            if skipped:
                label["skipped"] = True
            self._labels.append({**_written(row.values), **answers}, _in_order(label))
            self._note(label["item"], turn.repeat, skipped=skipped, seconds=seconds)
            self._last = self._answered(turn, row, answers, label)
            self._draft = None
            self._queue.advance()
            return self._state()

    def undo(self) -> dict[str, Any]:
        """Withdraw the last answer, and return the state with its item; raises `AnswerError` if there is none."""
        with self._lock:
            before = self._queue.place
            turn = None if self._is_closed else self._queue.back()
            if turn is None:
                raise AnswerError("there is no answer to take back")
            key = (self._key(turn), self.annotator, turn.repeat)
            verdict = self._labels.verdicts[key]
            row = self._sampler.row(turn.chosen)
            label = {**self._label(turn), "seconds": 0.0, "withdrawn": True}
            columns = dict.fromkeys(question.column for question in self.questions)
            try:
                self._labels.append({**_written(row.values), **columns}, _in_order(label))
            except BaseException:
                self._queue.place = before
                raise
            self._done.discard((key[0], turn.repeat))
            self._seconds.pop((key[0], turn.repeat), None)
            if not turn.repeat:
                self._unanswered.discard(key[0])
            self._draft = {
                "answers": {question.column: verdict.values.get(question.column) for question in self.questions},
                "comment": verdict.label.get("comment"),
            }
            self._last = None
            return self._state()

    def summary(self) -> Summary:
        """Return what the person did so far."""
        with self._lock:
            return self._summary()

    # Inside the lock

    def _summary(self) -> Summary:
        own = {key: verdict for key, verdict in self._labels.verdicts.items() if key[1] == self.annotator}
        skipped = sum(verdict.is_skipped for verdict in own.values())
        repeated = consistent = 0
        for (item, who, repeat), verdict in own.items():
            first = own.get((item, who, 0))
            if repeat and first is not None and not (first.is_skipped or verdict.is_skipped):
                repeated += 1
                consistent += all(first.values[q.column] == verdict.values[q.column] for q in self.questions)
        left = len(self._queue) - self._queue.place
        return Summary(len(own) - skipped, skipped, left, self._pace(), repeated, consistent)

    def _pace(self) -> float | None:
        return statistics.median(self._seconds.values()) if self._seconds else None

    def _state(self) -> dict[str, Any]:
        turn, place = self._queue.current, self._queue.place
        progress = {
            "done": place,
            "total": len(self._queue),
            "pace": self._pace(),
            "can_undo": place > 0 and bool(self._done),
        }
        item = None
        if turn is None:
            progress["summary"] = to_builtins(self._summary())
        else:
            if self._shown is None or self._shown[0] != place:
                self._shown = (place, self._item(turn, place))
                self._shown_at = time.monotonic()
            item = {**self._shown[1], "draft": self._draft}
        return {"item": item, "progress": progress, "last": self._last}

    def _item(self, turn: Turn, place: int) -> dict[str, Any]:
        row = self._sampler.row(turn.chosen)
        return {
            "turn": place,
            "row": row.row,
            **self._renderer.row(row.values),
            "entries": {q.column: self._count(q, row) for q in self.questions if q.entries is not None},
            "others": row.others,
        }

    def _count(self, question: Question, row: Candidate) -> int:
        value = row.values.get(question.entries or "")
        if isinstance(value, str) and value.lstrip().startswith("["):  # a table's cell
            try:
                value = json.loads(value)
            except ValueError:
                return 0
        return len(value) if isinstance(value, list) else 0

    def _read(self, given: Mapping[str, Any], row: Candidate) -> dict[str, Any]:
        answers = given.get("answers")
        if not isinstance(answers, dict):
            raise AnswerError("there are no answers")
        try:
            return {
                q.column: q.read(answers.get(q.column), None if q.entries is None else self._count(q, row))
                for q in self.questions
            }
        except ValueError as error:
            raise AnswerError(str(error)) from None

    def _label(self, turn: Turn) -> dict[str, Any]:
        label: dict[str, Any] = {"annotator": self.annotator, "item": self._key(turn), "at": now()}
        label |= {"row": turn.chosen.row} if turn.chosen.row else {}
        label["sampling"] = turn.chosen.sampling
        return label | ({"repeat": turn.repeat} if turn.repeat else {})

    def _time(self, measured: Any) -> float:
        """Return the seconds that the page measured, without the time in which it was hidden, in plausible bounds."""
        elapsed = time.monotonic() - self._shown_at
        is_number = isinstance(measured, int | float) and not isinstance(measured, bool)
        return round(min(max(float(measured), 0.0), elapsed) if is_number else elapsed, 1)

    def _note(self, item: str, repeat: int, *, skipped: bool, seconds: Any) -> None:
        self._done.add((item, repeat))
        if skipped and not repeat:
            self._unanswered.add(item)
        if isinstance(seconds, int | float) and not skipped:
            self._seconds[item, repeat] = float(seconds)

    def _answered(
        self, turn: Turn, row: Candidate, answers: Mapping[str, Any], label: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Describe the saved answer, with the judge's; an item that is shown again does not show the judge's yet."""
        waits = turn.chosen.place in self._again and not turn.repeat
        judged = row.answers if self._reveals and not waits else []
        columns = list(answers)
        return {
            "answers": dict(answers),
            "skipped": bool(label.get("skipped")),
            "comment": label.get("comment"),
            "judge": [{c: reply[c] for c in columns if c in reply} for reply in judged],
            "reasons": [
                {c: v for c, v in reply.items() if c not in answers and isinstance(v, str) and v} for reply in judged
            ],
        }

    def _key(self, turn: Turn) -> str:
        place = turn.chosen.place
        if place not in self._keys:
            row = self._sampler.row(turn.chosen)
            self._keys[place] = item_key(row.values) if row.item is None else row.item
        return self._keys[place]


def _written(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {INPUT_LABEL_COLUMN if name == LABEL_COLUMN else name: value for name, value in inputs.items()}


_ORDER = ("annotator", "item", "row", "at", "seconds", "comment", "skipped", "withdrawn", "repeat", "sampling")


def _in_order(label: Mapping[str, Any]) -> dict[str, Any]:
    return {name: label[name] for name in _ORDER if name in label}


def check_columns(columns: Sequence[str], questions: Sequence[Question]) -> None:
    """Raise `UsageError` if a column can't be written to a labels file under its name."""
    if any(question.column == LABEL_COLUMN for question in questions):
        raise UsageError(
            f"the task has an output `{LABEL_COLUMN}`, which is the name of the column with the facts about a label; "
            f"rename it: --set output_mappings.{LABEL_COLUMN}=NEW"
        )
    if LABEL_COLUMN in columns and INPUT_LABEL_COLUMN in columns:
        raise UsageError(
            f"the rows have columns `{LABEL_COLUMN}` and `{INPUT_LABEL_COLUMN}`; rename one of them, "
            f"since a labels file writes `{LABEL_COLUMN}` as `{INPUT_LABEL_COLUMN}`"
        )

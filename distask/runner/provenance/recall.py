"""Recall a prompt or a reply that the metadata of a row lacks: render the prompt again, look the reply up in the store.

A task with `add_raw_input: false` or `add_raw_output: false` keeps them out of its output. The prompt is what the run
sent only if the task's file is the same. The store has no prompts; a reply is found by the hash of its request.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.errors import DistaskError
from distask.runner.engine.requests import RowRequest, Target, row_request
from distask.runner.job import store_path
from distask.runner.provenance.earlier import section_of
from distask.runner.provenance.prompts import file_digest
from distask.store import Store
from distask.task.pipeline import Pipeline
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distask.llm.request import Message


class Recalled(Struct, frozen=True):
    """What was recalled of a row."""

    messages: list[Message]
    replies: list[str | None]
    """The reply of each sample; None if it is not in the store."""


def recall_row(
    output: Path, record: Mapping[str, Any], values: Mapping[str, Any], index: int, samples: int, notes: list[str]
) -> Recalled | None:
    """Recall the prompt and the replies of a row of a task without steps; returns None, with a note, if that fails.

    Args:
        output: the run's output.
        record: its record.
        values: the input row.
        index: its place in the input, from 0.
        samples: the number of replies.
        notes: takes sentences about what can't be recalled.
    """
    section = section_of(record)
    asked = _request(record, section, values, index, notes)
    if asked is None:
        return None
    file = _store_file(output, section)
    if file is None:
        notes.append(f"the store of {output.name} is missing, so replies that the output lacks can't be found")
        return Recalled(asked.request.messages, [None] * samples)
    with Store(file) as store:
        found = [store.get(asked.key(sample), asked.request.max_tokens) for sample in range(samples)]
    if not all(found):
        notes.append(f"{file} does not have the reply: it was pruned, or the request was retried with another prompt")
    return Recalled(asked.request.messages, [None if each is None else each.text for each in found])


def _request(
    record: Mapping[str, Any], section: Mapping[str, Any], values: Mapping[str, Any], index: int, notes: list[str]
) -> RowRequest | None:
    """Build the request that a run sent for a row; returns None, with a note, if its task is gone or was changed."""
    described = section.get("task") or {}
    path = Path(str(described.get("file")))
    models = [use for use in section.get("models") or () if not use["fallback"]]
    if not models:
        return None
    try:
        if file_digest(path) != described.get("sha256"):
            notes.append(f"{path} was changed after the run, so the prompt can't be rendered again")
            return None
        task = Task.load(path, described.get("params"), seed=record.get("seed") or 0)
        if isinstance(task, Pipeline):
            return None
        used = models[0]
        target = Target(_no_client, used["endpoint"], used["model"], used["parameters"])
        return row_request(task, target, values, index, lambda _: 0)
    except (DistaskError, OSError) as error:
        notes.append(f"the prompt can't be rendered again: {error}")
        return None


def _store_file(output: Path, section: Mapping[str, Any]) -> Path | None:
    """Return the store of a run, if it is where it was or next to its output."""
    named = section.get("store")
    places = [store_path(output), *([Path(named)] if named else [])]
    return next((place for place in reversed(places) if place.is_file()), None)


def _no_client() -> Any:
    raise AssertionError("a trace sends no requests")

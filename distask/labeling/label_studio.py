"""Convert rows and labels to JSON of Label Studio and its labeling config, and the annotations of an export to labels.

The format is that of https://labelstud.io/guide/task_format. A control of the config has the name of the column that it
answers, so an export is read back by these names. Who answered, and how a row was chosen, is kept in `meta`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import orjson

from distask.data.writers.base import json_bytes, unwritable
from distask.errors import InputError, UsageError
from distask.labeling.labels import Verdict, item_key, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from distask.labeling.labels import Key
    from distask.labeling.questions import Question
    from distask.labeling.sampling import Sampler
    from distask.task.pipeline import Pipeline
    from distask.task.task import Task

COMMENT = "distask_comment"
"""The control for a comment."""
SHOWN = "__text"
"""Ending of a data key that holds a list or an object as text, which Label Studio can show."""
META = "distask"


def write_export(
    path: Path,
    task: Task | Pipeline,
    questions: Sequence[Question],
    sampler: Sampler,
    verdicts: Mapping[Key, Verdict],
) -> tuple[int, int, Path]:
    """Write the chosen rows, each with its annotations, and the labeling config next to them, as `PATH.xml`.

    The judge's answers are left out: Label Studio would show them before the person has answered.

    Returns:
        The numbers of tasks and of annotations, and the path of the config.

    Raises:
        UsageError: a file exists.
        OutputError: a file can't be written.
    """
    config = path.with_suffix(".xml")
    for file in (path, config):
        if file.exists():
            raise UsageError(f"{file} exists; delete it, or name another file with --export-label-studio")
    by_item: dict[str, list[Verdict]] = {}
    for verdict in verdicts.values():
        by_item.setdefault(verdict.key[0], []).append(verdict)
    tasks, names = [], dict[str, bool]()
    for chosen in sampler.chosen():
        row = sampler.row(chosen)
        item = item_key(row.values)
        data = json.loads(json_bytes(row.values))
        shown = {name + SHOWN: _text(value) for name, value in data.items() if isinstance(value, list | dict)}
        for name, value in data.items():
            names[name] = names.get(name, False) or isinstance(value, list | dict)
        found = by_item.pop(item, [])
        made = [_annotation(verdict, questions, _target(data)) for verdict in found]
        meta = {META: {"item": item, "row": row.row, "sampling": chosen.sampling}}
        tasks.append({"data": {**data, **shown}, "meta": meta, "annotations": made})
    _write(path, orjson.dumps(tasks, option=orjson.OPT_INDENT_2) + b"\n")
    _write(config, labeling_config(task, questions, names).encode())
    return len(tasks), sum(len(made["annotations"]) for made in tasks), config


def labeling_config(task: Task | Pipeline, questions: Sequence[Question], columns: Mapping[str, bool]) -> str:
    """Return the labeling config: an object for each column, and a control for each question.

    Args:
        task: the task.
        questions: what is asked.
        columns: the columns of the data, and whether each holds lists or objects.
    """
    inputs = [task.dataset_name(name) for name in task.input_columns]
    ordered = [*(name for name in inputs if name in columns), *(name for name in columns if name not in inputs)]
    target = quoteattr(_target(columns))
    lines = ["<View>"]
    if task.spec.description:
        lines.append(f"  <Header value={quoteattr(task.spec.description)}/>")
    for name in ordered:
        lines.append(f'  <Header value={quoteattr(name)} size="5"/>')
        lines.append(
            f"  <Text name={quoteattr(name)} value={quoteattr('$' + name + (SHOWN if columns[name] else ''))}/>"
        )
    for question in questions:
        title = question.column + (f": {question.description}" if question.description else "")
        lines.append(f'  <Header value={quoteattr(title)} size="5"/>')
        lines += _control(question, target)
    lines.append(
        f'  <Header value="Comment" size="5"/>\n  <TextArea name="{COMMENT}" toName={target} maxSubmissions="1"/>'
    )
    return "\n".join([*lines, "</View>", ""])


def _control(question: Question, target: str) -> list[str]:
    start = f"name={quoteattr(question.column)} toName={target}"
    required = "" if question.optional else ' required="true"'
    kind = _type_of(question)
    if kind == "rating":
        return [f'  <Rating {start} maxRating="{question.options[-1].value}"{required}/>']
    if kind == "choices":
        several = "multiple" if question.kind == "several" else "single"
        choices = [f"    <Choice value={quoteattr(option.label)}/>" for option in question.options]
        return [f'  <Choices {start} choice="{several}"{required}>', *choices, "  </Choices>"]
    if kind == "number":
        bounds = {"min": question.schema.get("minimum"), "max": question.schema.get("maximum")}
        given = "".join(f' {name}="{value:g}"' for name, value in bounds.items() if isinstance(value, int | float))
        step = "" if question.schema.get("type") == "integer" else ' step="any"'
        return [f"  <Number {start}{given}{step}{required}/>"]
    most = "" if question.kind == "list" else ' maxSubmissions="1"'
    return [f"  <TextArea {start}{most}{required}/>"]


def _type_of(question: Question) -> str:
    """Return the control that answers a question; a list with an answer for each entry is JSON in a text."""
    if question.entries is not None:
        return "textarea"
    if question.kind == "rating" and question.options[0].value == 1:
        return "rating"  # Label Studio's stars begin at 1
    return "choices" if question.options else "number" if question.kind == "number" else "textarea"


def _annotation(verdict: Verdict, questions: Sequence[Question], target: str) -> dict[str, Any]:
    label = verdict.label
    repeat = [f"repeat: {label['repeat']}"] if label.get("repeat") else []
    meta = {"text": [f"annotator: {label['annotator']}", *repeat]}
    controls = [(q.column, _type_of(q), _value(q, verdict.values.get(q.column))) for q in questions]
    if label.get("comment"):
        controls.append((COMMENT, "textarea", {"text": [label["comment"]]}))
    result = [
        {
            "id": hashlib.blake2b(repr((verdict.key, name)).encode(), digest_size=5).hexdigest(),
            "from_name": name,
            "to_name": target,
            "type": kind,
            "value": value,
            "meta": meta,
        }
        for name, kind, value in controls
        if value is not None
    ]
    return {
        "result": result,
        "was_cancelled": verdict.is_skipped,
        "ground_truth": False,
        "lead_time": label.get("seconds"),
        "created_at": label.get("at"),
    }


def _value(question: Question, answer: Any) -> dict[str, Any] | None:
    if answer is None:
        return None
    kind = _type_of(question)
    if kind in ("rating", "number"):
        return {kind: answer}
    if kind == "choices":
        answers = answer if question.kind == "several" else [answer]
        return {"choices": [o.label for o in question.options if any(_same(o.value, one) for one in answers)]}
    if question.kind == "list" and question.entries is None and isinstance(answer, list):
        return {"text": [str(item) for item in answer]}
    return {"text": [answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)]}


def read_export(path: Path, questions: Sequence[Question], annotator: str) -> list[Verdict]:
    """Return the annotations of a JSON export as verdicts, in order.

    Args:
        path: the export, in Label Studio's format JSON.
        questions: what is asked: a control answers the column of its name.
        annotator: who answered, if an annotation does not say.

    Raises:
        InputError: the file is not such an export, or an answer does not have its column's type.
    """
    tasks = _tasks(path)
    verdicts: list[Verdict] = []
    known = {question.column for question in questions}
    unknown: dict[str, None] = {}
    for number, task in enumerate(tasks, 1):
        place = f"{path}: task {task.get('id', number)}"
        data = task.get("data")
        if not isinstance(data, dict) or not isinstance(task.get("annotations", []), list):
            raise InputError(f"{place}: there is no `data` or `annotations`; export as JSON, not as JSON-MIN or CSV")
        inputs = {name: value for name, value in data.items() if not _is_copy(name, data)}
        for annotation in task.get("annotations", []):
            result = [part for part in annotation.get("result") or [] if isinstance(part, dict)]
            names = [part.get("from_name") for part in result]
            if result and not known & set(names):
                unknown |= dict.fromkeys(map(str, names))
                continue
            label = _label(task, annotation, result, annotator) | {"item": item_key(inputs)}
            verdicts.append(Verdict({**inputs, **_answers(result, questions, place)}, _tidied(label), place))
    if unknown and not verdicts:
        raise InputError(
            f"{path}: its controls are {', '.join(f'`{name}`' for name in unknown)}, but the task asks for "
            f"{', '.join(f'`{column}`' for column in known)}; give the controls these names in the labeling config, "
            "or rename the outputs: --set output_mappings.OUTPUT=NAME"
        )
    return verdicts


def _tasks(path: Path) -> list[dict[str, Any]]:
    try:
        tasks = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: this is not valid JSON: {error}") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError(f"{path}: this is not a list of tasks; export the project as JSON")
    return tasks


def _label(
    task: Mapping[str, Any], annotation: Mapping[str, Any], result: Sequence[Mapping[str, Any]], annotator: str
) -> dict[str, Any]:
    ours = (task.get("meta") or {}).get(META) or {}
    notes = dict(_notes(result))
    at = annotation.get("created_at")
    comments = [text for part in result if part.get("from_name") == COMMENT for text in _texts(part)]
    seconds = annotation.get("lead_time")
    return {
        "annotator": notes.get("annotator") or _person(annotation.get("completed_by")) or annotator,
        "row": ours.get("row"),
        "at": f"{at[:19]}Z" if isinstance(at, str) and len(at) >= 19 else now(),
        "seconds": round(seconds, 1) if isinstance(seconds, int | float) else None,
        "comment": "\n".join(comments) or None,
        "skipped": True if annotation.get("was_cancelled") or not result else None,
        "repeat": int(repeat) if (repeat := notes.get("repeat", "")).isdecimal() else None,
        "sampling": ours.get("sampling"),
    }


def _tidied(label: Mapping[str, Any]) -> dict[str, Any]:
    order = ("annotator", "item", "row", "at", "seconds", "comment", "skipped", "repeat", "sampling")
    return {name: label[name] for name in order if label.get(name) is not None}


def _notes(result: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Yield the notes that `write_export` leaves in `meta`."""
    for part in result:
        for text in (part.get("meta") or {}).get("text") or []:
            name, colon, value = str(text).partition(": ")
            if colon:
                yield name, value


def _person(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        return completed_by.get("email") or (f"user {completed_by['id']}" if "id" in completed_by else None)
    return None if completed_by is None else f"user {completed_by}"


def _answers(
    result: Sequence[Mapping[str, Any]], questions: Sequence[Question], place: str
) -> dict[str, Any]:  # fmt: skip
    parts = {part.get("from_name"): part for part in result}
    answers: dict[str, Any] = {}
    for question in questions:
        part = parts.get(question.column)
        answer = None if part is None else _read(question, part)
        if answer is None:
            answers[question.column] = None
            continue
        try:
            count = len(answer) if question.entries is not None and isinstance(answer, list) else None
            answers[question.column] = question.read(answer, count)
        except ValueError as error:
            raise InputError(f"{place}: {error}") from None
    return answers


def _read(question: Question, part: Mapping[str, Any]) -> Any:
    """Return the answer of a control as the page would send it."""
    value = part.get("value")
    value = value if isinstance(value, dict) else {}
    for kind in ("rating", "number"):
        if kind in value:
            return value[kind]
    if "selected" in value:  # a `Pairwise` control
        sides = [option.value for option in question.options if "=" not in option.keys]
        return sides[0 if value["selected"] == "left" else -1] if sides else value["selected"]
    if "choices" in value:
        labels = value["choices"] if isinstance(value["choices"], list) else [value["choices"]]
        answers = [next((o.value for o in question.options if o.label == label), label) for label in labels]
        return answers if question.kind == "several" else answers[0] if answers else None
    texts = _texts(part)
    if question.entries is not None and texts:
        try:
            return json.loads(texts[0])
        except ValueError:
            return texts
    return texts if question.kind == "list" else "\n".join(texts) or None


def _texts(part: Mapping[str, Any]) -> list[str]:
    value = part.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    return [text] if isinstance(text, str) else [str(one) for one in text] if isinstance(text, list) else []


def _is_copy(name: str, data: Mapping[str, Any]) -> bool:
    return name.endswith(SHOWN) and name.removesuffix(SHOWN) in data


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _text(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n\n".join(f"[{number}] {item}" for number, item in enumerate(value, 1))
    return json.dumps(value, ensure_ascii=False, indent=None if isinstance(value, list) else 2)


def _target(columns: Iterable[str]) -> str:
    """Return the object to which controls belong: the first column."""
    return next(iter(columns), "row")


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise unwritable(str(path), error) from None
    finally:
        partial.unlink(missing_ok=True)

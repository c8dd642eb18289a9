"""Label Studio's JSON: what is written has its published format, and what it exports becomes labels."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import jsonschema_rs
import pytest

from distask import load
from distask.errors import InputError, UsageError
from distask.labeling.label_studio import read_export, write_export
from distask.labeling.labels import LabelsFile, item_key
from distask.labeling.questions import questions_of
from tests.labeling.conftest import JUDGE, outputs, rows, sampled, task_of

RESULT = {
    "type": "object",
    "required": ["id", "from_name", "to_name", "type", "value"],
    "properties": {
        "id": {"type": "string"},
        "from_name": {"type": "string"},
        "to_name": {"type": "string"},
        "type": {"enum": ["choices", "rating", "number", "textarea"]},
        "value": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                "choices": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "rating": {"type": "integer", "minimum": 1},
                "number": {"type": "number"},
                "text": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}
TASKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {
            "data": {"type": "object"},
            "meta": {"type": "object"},
            "annotations": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["result"],
                    "properties": {
                        "result": {"type": "array", "items": RESULT},
                        "was_cancelled": {"type": "boolean"},
                        "ground_truth": {"type": "boolean"},
                        "lead_time": {"type": ["number", "null"]},
                        "created_at": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                    },
                },
            },
        },
    },
}
"""The parts that distask writes of the format at https://labelstud.io/guide/task_format and, for `value`, of the tags
Choices, Rating, Number and TextArea."""

EXPORT = [
    {
        "id": 7,
        "data": {"question": "What is 1?", "answer": "It is **1**."},
        "meta": {},
        "created_at": "2021-03-09T21:52:49.513742Z",
        "updated_at": "2021-03-09T22:16:08.746926Z",
        "project": 83,
        "annotations": [
            {
                "id": 1001,
                "result": [
                    {"id": "Dx_aB91ISN", "from_name": "score", "to_name": "question", "type": "rating", "origin": "manual", "value": {"rating": 4}},
                    {"id": "q", "from_name": "distask_comment", "to_name": "question", "type": "textarea", "value": {"text": ["Nearly."]}},
                ],
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": "2021-03-09T22:16:08.728353Z",
                "updated_at": "2021-03-09T22:16:08.728378Z",
                "lead_time": 4.288,
                "result_count": 0,
                "task": 7,
                "completed_by": 10,
            },
            {"id": 1002, "result": [], "was_cancelled": True, "created_at": "2021-03-09T22:17:08.728353Z", "lead_time": 1.5, "completed_by": {"id": 11, "email": "bob@example.com"}},
        ],
        "predictions": [],
    }
]  # fmt: skip
"""An export as Label Studio documents it."""

EVERY = outputs(
    """
  verdict: {choices: [good, poor]}
  better: {choices: [A, B, tie]}
  right: {type: boolean}
  score: {type: integer, minimum: 1, maximum: 5}
  level: {type: integer, minimum: 0, maximum: 3}
  share: {type: number, minimum: 0, maximum: 1}
  tags: {type: "list[enum]", choices: [x, y, z]}
  words: {type: "list[string]"}
  why: Why.
  facts: {type: object}
"""
)
ANSWERS = {
    "verdict": "good", "better": "tie", "right": False, "score": 4, "level": 0, "share": 0.25, "tags": ["x", "z"],
    "words": ["a", "b c"], "why": "since <so> & so", "facts": {"n": 1},
}  # fmt: skip


def labelled(folder, text, made, answers, ask=(), **label):
    """A labels file with these answers to the rows, and what an export needs."""
    task = task_of(text)
    questions = questions_of(task, ask)
    sampler = sampled(made, "all")
    with LabelsFile(folder / "labels.jsonl", [q.column for q in questions]) as labels:
        for row, answer in zip(made, answers, strict=False):
            facts = {
                "annotator": "ann",
                "item": item_key(row),
                "row": 1,
                "at": "2026-11-29T05:10:00Z",
                "seconds": 3.2,
                **label,
            }
            labels.append({**row, **answer}, facts)
        return task, questions, sampler, dict(labels.verdicts)


def test_an_export_has_the_published_format(tmp_path):
    made = [
        {"question": 'Is <b> & "c" 2?', "turns": [{"role": "user", "content": "hi"}], "n": 3},
        {"question": "no label", "turns": [], "n": 4},
    ]
    parts = labelled(tmp_path, EVERY, made, [ANSWERS], list(ANSWERS), comment="hm")

    assert write_export(tmp_path / "out.json", *parts) == (2, 1, tmp_path / "out.xml")

    tasks = json.loads((tmp_path / "out.json").read_text())
    jsonschema_rs.validate(TASKS, tasks)
    assert {k: tasks[0]["data"][k] for k in made[0]} == made[0]
    assert tasks[1]["annotations"] == []
    assert tasks[0]["meta"]["distask"]["sampling"]["method"] == "all"


def test_the_labeling_config_has_an_object_for_each_column_and_a_control_for_each_answer(tmp_path):
    made = [{"question": 'Is <b> & "c"?', "turns": [{"role": "user", "content": "hi"}], "n": 3}]
    parts = labelled(tmp_path, EVERY, made, [ANSWERS], list(ANSWERS))
    write_export(tmp_path / "out.json", *parts)

    view = ET.parse(tmp_path / "out.xml").getroot()
    tasks = json.loads((tmp_path / "out.json").read_text())
    shown = {tag.get("name"): tag.get("value").removeprefix("$") for tag in view.iter("Text")}
    controls = {tag.get("name"): tag for tag in view.iter() if tag.get("toName")}
    results = {part["from_name"]: part for part in tasks[0]["annotations"][0]["result"]}

    assert shown == {"question": "question", "turns": "turns__text", "n": "n"}
    assert isinstance(tasks[0]["data"]["turns__text"], str)
    assert controls.keys() == {*ANSWERS, "distask_comment"}
    for name, part in results.items():
        assert part["type"] == controls[name].tag.lower()
        assert part["to_name"] == controls[name].get("toName") == "question"
        if part["type"] == "choices":
            assert set(part["value"]["choices"]) <= {choice.get("value") for choice in controls[name].iter("Choice")}
    assert controls["score"].get("maxRating") == "5"
    assert controls["tags"].get("choice") == "multiple"
    assert (controls["share"].get("min"), controls["share"].get("max")) == ("0", "1")


def test_what_is_exported_is_read_back_unchanged(tmp_path):
    made = [{"question": "one", "turns": [{"role": "user", "content": "hi"}]}, {"question": "two", "turns": ["x"]}]
    task, questions, sampler, verdicts = labelled(
        tmp_path, EVERY, made, [ANSWERS, {**ANSWERS, "why": None, "score": 1}], list(ANSWERS), comment="hm"
    )
    write_export(tmp_path / "out.json", task, questions, sampler, verdicts)

    read = read_export(tmp_path / "out.json", questions, "somebody")

    assert [v.values for v in read] == [v.values for v in verdicts.values()]
    assert [v.key for v in read] == list(verdicts)
    for verdict in read:
        assert (verdict.label["seconds"], verdict.label["comment"], verdict.label["at"]) == (
            3.2,
            "hm",
            "2026-11-29T05:10:00Z",
        )
        assert verdict.label["sampling"]["method"] == "all"


def test_answers_for_each_entry_of_a_list_are_read_back(tmp_path):
    task = load("ultrafeedback")
    questions = questions_of(task)
    row = {"instruction": "2+2?", "generations": ["4", "5"]}
    with LabelsFile(tmp_path / "labels.jsonl", ["ratings"]) as labels:
        labels.append(
            {**row, "ratings": [5, 1]}, {"annotator": "ann", "item": item_key(row), "at": "2026-11-29T05:10:00Z"}
        )
        write_export(tmp_path / "out.json", task, questions, sampled([row], "all"), labels.verdicts)

    (verdict,) = read_export(tmp_path / "out.json", questions, "x")

    assert verdict.values == {**row, "ratings": [5, 1]}
    assert "[1] 4\\n\\n[2] 5" in (tmp_path / "out.json").read_text()


def test_an_export_of_label_studio_becomes_labels(tmp_path):
    (tmp_path / "export.json").write_text(json.dumps(EXPORT))

    first, second = read_export(tmp_path / "export.json", questions_of(task_of(JUDGE)), "ann")

    assert first.values == {**EXPORT[0]["data"], "score": 4}
    assert first.label == {
        "annotator": "user 10", "item": item_key(EXPORT[0]["data"]), "at": "2021-03-09T22:16:08Z", "seconds": 4.3, "comment": "Nearly.",
    }  # fmt: skip
    assert second.values["score"] is None
    assert (second.label["annotator"], second.label["skipped"]) == ("bob@example.com", True)


@pytest.mark.parametrize(
    ("output", "value", "expected"),
    [
        ("{choices: [A, B]}", {"selected": "left"}, "A"),
        ("{choices: [A, tie, B]}", {"selected": "right"}, "B"),
        ("{type: boolean}", {"choices": ["yes"]}, True),
        ("{type: integer, minimum: 1, maximum: 5}", {"choices": ["3"]}, 3),
        ("{type: integer}", {"number": 3}, 3),
        ('{type: "list[string]"}', {"text": ["a", "b"]}, ["a", "b"]),
        ("{type: string}", {"text": "one"}, "one"),
    ],
)
def test_the_controls_of_label_studio_answer_questions(tmp_path, output, value, expected):
    task = {"data": {"question": "q"}, "annotations": [{"result": [{"from_name": "x", "type": "any", "value": value}]}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))

    (verdict,) = read_export(tmp_path / "export.json", questions_of(task_of(outputs(f"{{x: {output}}}")), ["x"]), "ann")

    assert verdict.values["x"] == expected
    assert verdict.label["annotator"] == "ann"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"export\.json: this is not valid JSON"),
        ("{}", "this is not a list of tasks"),
        ('[{"id": 3, "text": "x", "sentiment": "good"}]', "task 3: there is no `data`.*not as JSON-MIN"),
        (
            '[{"data": {}, "annotations": [{"result": [{"from_name": "stars", "value": {"rating": 4}}]}]}]',
            "its controls are `stars`, but the task asks for `score`; give the controls these names",
        ),
        (
            '[{"id": 3, "data": {}, "annotations": [{"result": [{"from_name": "score", "value": {"rating": 9}}]}]}]',
            "task 3: score: 9 is not one of the answers",
        ),
    ],
)
def test_an_export_that_does_not_fit_is_reported(tmp_path, text, sentence):
    (tmp_path / "export.json").write_text(text)

    with pytest.raises(InputError, match=sentence):
        read_export(tmp_path / "export.json", questions_of(task_of(JUDGE)), "ann")


def test_an_existing_file_is_not_replaced(tmp_path):
    parts = labelled(tmp_path, JUDGE, rows(1), [{"score": 3}])
    (tmp_path / "out.xml").write_text("mine")

    with pytest.raises(UsageError, match=r"out\.xml exists; delete it, or name another file"):
        write_export(tmp_path / "out.json", *parts)

    assert not (tmp_path / "out.json").exists()


def test_the_sdk_of_label_studio_accepts_the_config_and_the_tasks(tmp_path):
    """Skipped where it is not installed: `pip install label-studio-sdk`."""
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    parts = labelled(tmp_path, EVERY, [{"question": "one", "turns": ["x"]}], [ANSWERS], list(ANSWERS), comment="hm")
    write_export(tmp_path / "out.json", *parts)
    tasks = json.loads((tmp_path / "out.json").read_text())

    config = interface.LabelInterface((tmp_path / "out.xml").read_text())

    config.validate()
    for task in tasks:
        assert config.validate_task({"data": task["data"]})
        for annotation in task["annotations"]:
            assert config.validate_annotation(annotation)

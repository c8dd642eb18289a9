"""The labels file: each line is on the disk before the next item, the last line counts, and nothing is rewritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from distask.errors import InputError, OutputBusy, OutputError, UsageError
from distask.labeling.labels import LabelsFile, final_verdicts, item_key, merge, read_verdicts
from tests.labeling.conftest import lines


def label(item="i", annotator="ann", **more):
    return {"annotator": annotator, "item": item, "at": "2026-11-29T05:10:00Z", **more}


def test_a_line_holds_the_row_the_answers_and_the_label(tmp_path):
    path = tmp_path / "labels.jsonl"
    with LabelsFile(path, ["score"]) as file:
        file.append({"q": "two", "score": 4}, label(row=17))

    assert lines(path) == [{"q": "two", "score": 4, "label": label(row=17)}]


def test_each_line_is_synced_before_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/dev/fd/{descriptor}").stat().st_size))
    with LabelsFile(tmp_path / "labels.jsonl", ["score"]) as file:
        for number in range(3):
            file.append({"q": number, "score": 4}, label(str(number)))
            assert synced[-1] == (tmp_path / "labels.jsonl").stat().st_size


def test_the_last_line_of_an_item_counts_and_a_withdrawn_one_removes_it(tmp_path):
    path = tmp_path / "labels.jsonl"
    with LabelsFile(path, ["score"]) as file:
        for score, item, more in [
            (1, "a", {}),
            (2, "b", {}),
            (3, "a", {}),
            (None, "b", {"withdrawn": True}),
            (4, "a", {"repeat": 1}),
        ]:
            file.append({"score": score}, label(item, **more))
        file.append({"score": 5}, label("a", "bob"))
        kept = dict(file.verdicts)

    assert {key: v.values["score"] for key, v in kept.items()} == {
        ("a", "ann", 0): 3,
        ("a", "ann", 1): 4,
        ("a", "bob", 0): 5,
    }
    assert final_verdicts(read_verdicts(path, ["score"])).keys() == kept.keys()
    assert len(lines(path)) == 6


def test_an_incomplete_last_line_is_removed_and_reported(tmp_path):
    path = tmp_path / "labels.jsonl"
    whole = json.dumps({"score": 1, "label": label()}) + "\n"
    path.write_text(whole + whole[:30])
    result = []

    with LabelsFile(path, ["score"], result.append) as file:
        assert list(file.verdicts) == [("i", "ann", 0)]

    assert path.read_text() == whole
    assert "the last line was incomplete" in result[0]


def test_a_complete_last_line_without_its_line_end_is_kept(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"score": 1, "label": label()}))
    result = []

    with LabelsFile(path, ["score"], result.append) as file:
        file.append({"score": 2}, label("j"))

    assert [line["score"] for line in lines(path)] == [1, 2]
    assert result == []


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path, monkeypatch):
    path = tmp_path / "labels.jsonl"
    with LabelsFile(path, ["score"]) as file:
        file.append({"score": 1}, label())
        before = path.read_bytes()
        write, calls = os.write, []

        def half(descriptor, data):
            calls.append(1)
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            return write(descriptor, bytes(data)[:10])

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OutputError, match=r"labels\.jsonl: the disk is full"):
            file.append({"score": 2}, label("j"))
        monkeypatch.undo()

        assert path.read_bytes() == before
        assert ("j", "ann", 0) not in file.verdicts
        file.append({"score": 3}, label("j"))
    assert [line["score"] for line in lines(path)] == [1, 3]


def test_two_processes_do_not_write_the_same_file(tmp_path):
    path = tmp_path / "labels.jsonl"
    with LabelsFile(path, ["score"]), pytest.raises(OutputBusy, match="give each person a file"):
        LabelsFile(path, ["score"])
    with LabelsFile(path, ["score"]):
        pass


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"q": 1}\n', r"labels\.jsonl:1: the column `score`, which the task asks for, is missing; known: `q`"),
        ('{"score": 1, "label": "good"}\n', r"labels\.jsonl:1: the column `label` is not a label of `distask label`"),
        ('{"score": 1, "label": {"item": 3}}\n', r"labels\.jsonl:1: the column `label` is not a label"),
        ('{"score": 1}\nnot json\n', r"labels\.jsonl:2:1: this is not JSON"),
    ],
)
def test_a_file_of_something_else_is_refused_with_its_line(tmp_path, text, sentence):
    path = tmp_path / "labels.jsonl"
    path.write_text(text)

    with pytest.raises(InputError, match=sentence):
        LabelsFile(path, ["score"])

    assert path.read_text() == text


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(UsageError, match="does not exist; create it or choose another with --output"):
        LabelsFile(tmp_path / "no" / "labels.jsonl", ["score"])
    with pytest.raises(UsageError, match="is a folder"):
        LabelsFile(tmp_path, ["score"])


def test_a_file_made_by_hand_has_its_name_as_annotator_and_its_columns_as_item(tmp_path):
    path = tmp_path / "carla.jsonl"
    path.write_text('{"q": "two", "score": 4}\n')

    (verdict,) = read_verdicts(path, ["score"])

    assert verdict.key == (item_key({"q": "two"}), "carla", 0)


def test_the_key_of_an_item_depends_on_its_values_and_not_on_their_order():
    assert item_key({"a": 1, "b": {"x": [1], "y": 2}}) == item_key({"b": {"y": 2, "x": [1]}, "a": 1})
    assert item_key({"a": 1}) != item_key({"a": "1"})
    assert item_key({"a": [1, 2]}) != item_key({"a": [2, 1]})


def test_merging_appends_what_is_missing_and_nothing_twice(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, name in ((first, "ann"), (second, "bob")):
        with LabelsFile(path, ["score"]) as file:
            file.append({"score": 1}, label("a", name))
            file.append({"score": 2}, label("b", name))

    for added in (2, 0):
        with LabelsFile(first, ["score"]) as into:
            assert merge(into, [second], ["score"]) == added

    assert [line["label"]["annotator"] for line in lines(first)] == ["ann", "ann", "bob", "bob"]


def test_a_file_made_by_hand_is_not_merged(tmp_path):
    (tmp_path / "hand.jsonl").write_text('{"score": 4}\n')
    with (
        LabelsFile(tmp_path / "a.jsonl", ["score"]) as into,
        pytest.raises(InputError, match=r"hand\.jsonl:1: the column `label` is missing"),
    ):
        merge(into, [tmp_path / "hand.jsonl"], ["score"])
    assert not (tmp_path / "a.jsonl").exists()

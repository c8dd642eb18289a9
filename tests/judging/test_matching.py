"""Labels in a file of their own: which row they belong to, whose last verdict counts, and what makes a match impossible."""

from __future__ import annotations

import pytest

from distask.errors import InputError, UsageError
from distask.judging.metrics import Settings
from tests.judging.test_agreement import value


def label(annotator, **more):
    return {"annotator": annotator, "item": more.pop("item", "x"), "row": 1, "at": "2026-11-29T05:10:00Z", **more}


def judged(*scores):
    return [{"text": f"t{i}", "judge": score} for i, score in enumerate(scores)]


LABELS = ["FOLDER/labels.jsonl:gold"]


def test_rows_are_matched_by_their_common_input_columns_in_any_order(folder):
    folder.write("labels.jsonl", [{"gold": 5, "text": "t2"}, {"gold": 1, "text": "t0"}, {"gold": 9, "text": "other"}])

    facts = folder.agree(judged(1, 2, 4), gold=LABELS)

    assert (facts["n"], value(facts, "mae")) == (2, 0.5)
    assert facts["excluded"] == {"gold_missing": 1, "gold_unmatched": 1}
    assert any(
        "labels without a judged row that has the same `text`: 1" in note and "labels.jsonl:3" in note
        for note in facts["notes"]
    )


def test_the_run_record_says_which_columns_are_input(folder):
    """`note` differs, but the record says that the run added it."""
    rows = [{**row, "note": f"judge {i}"} for i, row in enumerate(judged(1, 2))]
    source = folder.write("judged.jsonl", rows)
    folder.record("judged.jsonl", columns={"input": ["text"], "metadata": "distask_metadata"}, spec={})
    folder.write("labels.jsonl", [{"text": "t0", "note": "ann", "gold": 1}, {"text": "t1", "note": "", "gold": 3}])

    assert folder.agree(source, gold=LABELS)["n"] == 2


def test_columns_named_with_by_and_numbers_as_text(folder):
    rows = [{"id": i, "text": "same", "judge": 1 + i} for i in range(3)]
    folder.write("labels.csv", "id,text,gold\n0,x,1\n2,y,3\n")

    facts = folder.agree(rows, gold=["FOLDER/labels.csv:gold"], by=("id",))

    assert (facts["n"], value(facts, "accuracy")) == (2, 1)


def test_nothing_in_common_names_the_columns_and_a_line(folder):
    folder.write("labels.jsonl", [{"text": "T0", "gold": 1}])
    with pytest.raises(UsageError, match=r"matched by `text`, and the label at .*labels.jsonl:1 matches no judged row"):
        folder.agree(judged(1, 2), gold=LABELS)

    folder.write("labels.jsonl", [{"question": "t0", "gold": 1}])
    with pytest.raises(UsageError, match=r"no input column in common.*--by id"):
        folder.agree(judged(1, 2), gold=LABELS)
    with pytest.raises(UsageError, match=r"labels.jsonl has no column `text` to match rows by"):
        folder.agree(judged(1, 2), gold=LABELS, by=("text",))


def test_a_row_labelled_twice_by_hand_is_an_error_with_both_lines(folder):
    folder.write("labels.jsonl", [{"text": "t0", "gold": 1}, {"text": "t1", "gold": 2}, {"text": "t0", "gold": 4}])

    with pytest.raises(InputError, match=r"labels.jsonl:3: this row is labelled `4`, but line 1 has `1`.*--annotator"):
        folder.agree(judged(1, 2), gold=LABELS)


def test_the_same_label_twice_is_one(folder):
    folder.write("labels.jsonl", [{"text": "t0", "gold": 1}, {"text": "t0", "gold": 1}, {"text": "t0", "gold": None}])

    assert folder.agree(judged(1, 2), gold=LABELS)["n"] == 1


def test_annotators_of_a_file_made_by_hand(folder):
    rows = [{"text": "t0", "gold": 1, "who": "ann"}, {"text": "t0", "gold": 2, "who": "bob"}]
    folder.write("labels.jsonl", rows)

    facts = folder.agree(judged(1, 2), gold=LABELS, annotator="who")

    assert (facts["n"], facts["items"], facts["people"]["annotators"]) == (2, 1, {"ann": 1, "bob": 1})
    with pytest.raises(UsageError, match="`woh`, which --annotator names"):
        folder.agree(judged(1, 2), gold=LABELS, annotator="woh")


def test_a_column_of_words_named_label_is_an_ordinary_column(folder):
    folder.write(
        "labels.jsonl", [{"text": "t0", "label": "spam", "gold": 1}, {"text": "t0", "label": "ham", "gold": 2}]
    )
    with pytest.raises(InputError, match=r"labels.jsonl:2"):
        folder.agree(judged(1, 2), gold=LABELS)

    folder.write("labels.jsonl", [{"text": "t0", "label": 1}])
    assert folder.agree(judged(1, 2), gold=["FOLDER/labels.jsonl:label"])["n"] == 1


def test_judged_rows_with_one_key_share_the_label_and_are_counted(folder):
    rows = [*judged(1, 2), {"text": "t0", "judge": 3}]
    folder.write("labels.jsonl", [{"text": "t0", "gold": 1}])

    facts = folder.agree(rows, gold=LABELS)

    assert facts["n"] == 2
    assert any("repeat the `text` of an earlier row and share its labels: 1" in note for note in facts["notes"])


def test_the_last_verdict_of_an_annotator_counts_and_an_undo_removes_it(folder):
    folder.write(
        "labels.jsonl",
        [
            {"text": "t0", "gold": 5, "label": label("ann", item="0")},
            {"text": "t1", "gold": 2, "label": label("ann", item="1")},
            {"text": "t0", "gold": 1, "label": label("ann", item="0")},
            {"text": "t1", "gold": None, "label": label("ann", item="1", withdrawn=True)},
            {"text": "t2", "gold": None, "label": label("ann", item="2", skipped=True)},
            {"text": "t0", "gold": 2, "label": label("bob", item="0")},
        ],
    )

    facts = folder.agree(judged(1, 2, 3), gold=LABELS)

    assert (facts["n"], facts["people"]["annotators"]) == (2, {"ann": 1, "bob": 1})
    assert value(facts, "mae") == 0.5
    assert facts["excluded"] == {"gold_missing": 1, "gold_skipped": 1}


def test_a_verdict_after_an_undo_counts(folder):
    lines = [(4, {}), (None, {"withdrawn": True}), (1, {})]
    folder.write("labels.jsonl", [{"text": "t0", "gold": gold, "label": label("ann", **more)} for gold, more in lines])

    assert value(folder.agree(judged(1), gold=LABELS), "accuracy") == 1


def test_the_human_ceiling_and_repeated_items(folder):
    """Three people on four rows, of which one saw a row twice."""
    verdicts = {"ann": [1, 2, 3, 4], "bob": [1, 2, 3, 3], "eve": [1, 2, 5, None]}
    rows = [
        {"text": f"t{i}", "gold": gold, "label": label(who, item=str(i))}
        for who, golds in verdicts.items()
        for i, gold in enumerate(golds)
    ]
    rows.append({"text": "t0", "gold": 2, "label": label("ann", item="0", repeat=1)})
    folder.write("labels.jsonl", rows)

    people = folder.agree(judged(1, 2, 3, 4), gold=LABELS)["people"]

    import krippendorff
    import numpy as np

    table = np.array([[np.nan if v is None else v for v in golds] for golds in verdicts.values()])
    expected = krippendorff.alpha(table, level_of_measurement="ordinal", value_domain=range(1, 6))
    assert people["agreement"]["metrics"]["alpha"]["value"] == pytest.approx(expected, abs=1e-9)
    assert (people["agreement"]["items"], people["agreement"]["pairs"]) == (4, 10)
    assert people["agreement"]["metrics"]["accuracy"]["value"] == pytest.approx((3 + 3 + 1 + 0) / 10)
    assert (people["self_consistency"]["items"], people["self_consistency"]["metrics"]["mae"]["value"]) == (1, 1)


def test_several_gold_columns_are_several_annotators(folder):
    rows = [{"judge": 1, "a": 1, "b": 2}, {"judge": 2, "a": 2, "b": None}, {"judge": 3, "a": None, "b": None}]

    facts = folder.agree(rows, gold=["a", "b"])

    assert (facts["n"], facts["items"], facts["excluded"]) == (3, 2, {"gold_missing": 1})
    assert facts["people"]["agreement"]["items"] == 1


def test_a_judge_in_another_file(folder):
    folder.write("other.jsonl", [{"text": "t1", "score": 4}, {"text": "t0", "score": 1}])
    rows = [{**row, "gold": 1 + i} for i, row in enumerate(judged(1, 2, 3))]

    facts = folder.agree(rows, judges=["FOLDER/other.jsonl:score"])

    assert (facts["n"], value(facts, "bias"), facts["excluded"]) == (2, 1, {"judge_unmatched": 1})


def test_a_judge_that_differs_for_one_key_is_an_error(folder):
    folder.write("other.jsonl", [{"text": "t0", "score": 4}, {"text": "t0", "score": 1}])

    with pytest.raises(InputError, match=r"other.jsonl:2: `score` differs from line 1, which has the same `text`"):
        folder.agree([{"text": "t0", "gold": 1}], judges=["FOLDER/other.jsonl:score"])


def test_labels_that_were_not_drawn_at_random_are_pointed_out(folder):
    sampling = {"method": "uncertain", "seed": 0, "size": 2, "pool": 3}
    folder.write("labels.jsonl", [{"text": "t0", "gold": 1, "label": label("ann", sampling=sampling)}])

    notes = folder.agree(judged(1, 2), gold=LABELS, settings=Settings(resamples=100))["notes"]

    assert any("chosen as `uncertain`" in note for note in notes)

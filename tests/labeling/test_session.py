"""A person's session: answers, skips, undo, repeats and continuing, without a browser."""

from __future__ import annotations

import errno

import pytest

from distask.errors import OutputError, UsageError
from distask.labeling.sampling import Candidate
from distask.labeling.session import AnswerError, StaleError, check_columns
from tests.labeling.conftest import JUDGE, Person, lines, outputs, rows, task_of


def answer(session, score=None, **more):
    turn = session.state()["item"]["turn"]
    given = {"turn": turn, "seconds": 0, **more}
    return session.answer(given if score is None else {**given, "answers": {"score": score}})


def shown(state):
    """The question on the page."""
    item = state["item"]
    return None if item is None else item["columns"][0]["blocks"][0]["raw"]


def test_an_answer_is_a_line_and_the_next_item_follows(person):
    session = person.session(rows(3))

    state = answer(session, 4, comment=" good ")

    assert shown(state) == "What is 1?"
    assert state["progress"] == {"done": 1, "total": 3, "pace": 0.0, "can_undo": True}
    (line,) = lines(person.folder / "labels.jsonl")
    label = line.pop("label")
    assert line == {"question": "What is 0?", "answer": "It is **0**.", "score": 4}
    assert list(label) == ["annotator", "item", "row", "at", "seconds", "comment", "sampling"]
    assert (label["annotator"], label["row"], label["comment"]) == ("ann", 1, "good")
    assert label["sampling"] == {"method": "all", "seed": 0, "size": 3, "pool": 3, "probability": 1.0}


def test_a_skipped_item_has_nulls(person):
    session = person.session(rows(2))

    state = answer(session, skipped=True)

    (line,) = lines(person.folder / "labels.jsonl")
    assert (line["score"], line["label"]["skipped"]) == (None, True)
    assert state["last"]["skipped"]
    assert session.summary().skipped == 1


def test_a_new_session_continues_and_counts_what_was_done(person):
    first = person.session(rows(4))
    answer(first, 1)
    answer(first, skipped=True)
    person.close()

    second = person.session(rows(4))

    assert shown(second.state()) == "What is 2?"
    assert (second.summary().answered, second.summary().skipped, second.summary().left) == (1, 1, 2)


def test_each_person_has_their_own_items_in_one_file(person):
    answer(person.session(rows(2)), 1)
    person.close()

    assert shown(person.session(rows(2), annotator="bob").state()) == "What is 0?"


def test_undo_withdraws_the_last_answer_and_shows_it_again(person):
    session = person.session(rows(3))
    answer(session, 1)
    answer(session, 2, comment="hm")

    state = session.undo()

    assert shown(state) == "What is 1?"
    assert state["item"]["draft"] == {"answers": {"score": 2}, "comment": "hm"}
    assert lines(person.folder / "labels.jsonl")[-1]["label"]["withdrawn"] is True
    assert lines(person.folder / "labels.jsonl")[-1]["score"] is None
    state = answer(session, 5)
    assert shown(state) == "What is 2?"
    assert state["item"]["draft"] is None
    person.close()
    assert shown(person.session(rows(3)).state()) == "What is 2?"


def test_undo_can_be_repeated_also_for_earlier_sessions(person):
    first = person.session(rows(3))
    answer(first, 1)
    answer(first, 2)
    person.close()
    session = person.session(rows(3))

    session.undo()
    state = session.undo()

    assert shown(state) == "What is 0?"
    assert not state["progress"]["can_undo"]
    with pytest.raises(AnswerError, match="no answer to take back"):
        session.undo()
    answer(session, 3)
    assert shown(session.state()) == "What is 1?"


def test_after_the_last_item_there_is_none_and_undo_still_works(person):
    session = person.session(rows(1))

    assert answer(session, 3)["item"] is None
    assert session.is_done
    assert shown(session.undo()) == "What is 0?"
    assert not session.is_done


def test_an_answer_to_an_item_that_is_not_shown_is_refused(person):
    """Two tabs, or a key that was pressed twice."""
    session = person.session(rows(3))
    answer(session, 1)

    with pytest.raises(StaleError):
        session.answer({"turn": 0, "answers": {"score": 5}})

    assert len(lines(person.folder / "labels.jsonl")) == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"answers": {"score": 9}}, "9 is not one of"),
        ({"answers": {}}, "there is no answer"),
        ({}, "there are no answers"),
    ],
)
def test_a_wrong_answer_is_refused_and_nothing_is_written(person, given, sentence):
    session = person.session(rows(1))

    with pytest.raises(AnswerError, match=sentence):
        session.answer({"turn": 0, **given})

    assert not (person.folder / "labels.jsonl").exists()


def test_an_answer_that_can_not_be_saved_leaves_the_item(person, monkeypatch):
    session = person.session(rows(2))
    monkeypatch.setattr(
        "distask.labeling.labels.os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
    )
    with pytest.raises(OutputError, match="the disk is full"):
        answer(session, 4)
    monkeypatch.undo()

    assert shown(session.state()) == "What is 0?"
    answer(session, 4)
    assert [line["score"] for line in lines(person.folder / "labels.jsonl")] == [4]


def test_items_that_are_shown_twice_measure_consistency(person):
    session = person.session(rows(4), repeats=2)
    order = []
    while (state := session.state())["item"] is not None:
        order.append(shown(state))
        answer(session, 1 + order.count(shown(state)) if shown(state) == "What is 0?" else 3)
    summary = session.summary()
    repeated = [line for line in lines(person.folder / "labels.jsonl") if "repeat" in line["label"]]

    assert len(order) == 6
    assert [line["label"]["repeat"] for line in repeated] == [1, 1]
    assert summary.repeated == 2
    assert summary.consistent == 2 - ("What is 0?" in {line["question"] for line in repeated})


def test_a_skipped_item_is_not_shown_again(person):
    session = person.session(rows(3), repeats=3)
    for _ in range(3):
        answer(session, skipped=True)

    assert session.state()["item"] is None


def judged(score, **more):
    return [Candidate(1, rows(1)[0], [{"score": score, "reason": "It is right."}], **more), Candidate(2, rows(2)[1])]


def test_the_judges_answer_is_shown_after_the_persons(person):
    session = person.session(judged(5))

    before = session.state()
    after = answer(session, 4)

    assert "judge" not in before["item"]
    assert "right" not in str(before)
    assert after["last"]["judge"] == [{"score": 5}]
    assert after["last"]["reasons"] == [{"reason": "It is right."}]


def test_the_judges_answer_can_stay_hidden(person):
    session = person.session(judged(5), reveals=False)

    assert answer(session, 4)["last"]["judge"] == []


def test_the_judges_answer_to_an_item_that_comes_again_is_not_shown_before(person):
    session = person.session(judged(5), repeats=2)
    first, second = answer(session, 4), answer(session, 3)
    third = answer(session, 4)

    assert [s["last"]["judge"] for s in (first, second, third)] == [[], [], [{"score": 5}]]


def test_rows_that_are_equal_are_answered_once(person):
    session = person.session([rows(1)[0], rows(1)[0], rows(2)[1]])

    answer(session, 4)

    assert shown(session.state()) == "What is 1?"


def test_the_time_is_what_the_page_measured_within_bounds(person):
    session = person.session(rows(3))
    answer(session, 1, seconds=9999)
    answer(session, 1, seconds=-5)
    answer(session, 1, seconds="soon")

    assert all(0 <= line["label"]["seconds"] < 60 for line in lines(person.folder / "labels.jsonl"))


def test_an_input_column_named_label_is_kept_under_another_name(person):
    session = person.session([{**rows(1)[0], "label": "spam"}])
    answer(session, 4)

    (line,) = lines(person.folder / "labels.jsonl")
    assert line["input_label"] == "spam"
    assert line["label"]["annotator"] == "ann"


def test_columns_that_can_not_be_written_are_refused():
    task = task_of(outputs("{label: {choices: [a, b]}}"))
    from distask.labeling.questions import questions_of

    with pytest.raises(UsageError, match=r"--set output_mappings\.label=NEW"):
        check_columns(["question"], questions_of(task))
    with pytest.raises(UsageError, match="rename one of them"):
        check_columns(["label", "input_label"], questions_of(task_of(JUDGE)))


def test_a_closed_session_takes_no_answer(tmp_path):
    person = Person(tmp_path)
    session = person.session(rows(2))
    session.close()

    with pytest.raises(StaleError):
        answer(session, 4)
    person.close()
    assert not (tmp_path / "labels.jsonl").exists()

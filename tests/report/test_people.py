"""A result next to people's labels: measures, confusion, leniency, reliability, and the rows on which they differ."""

from __future__ import annotations

import json

import pytest

from distask.errors import UsageError
from distask.report.people import Labels
from distask.report.single import write_report
from tests.report.conftest import VERDICTS, text_of

SAMPLING = {"method": "random", "seed": 0, "size": 20, "pool": 20, "probability": 1.0}


def label(number, *, who="ann", comment=None, **answers):
    facts = {"annotator": who, "item": f"{number:016x}", "row": number + 1, "at": "2026-11-29T06:00:00Z"}
    facts |= ({} if comment is None else {"comment": comment}) | {"sampling": SAMPLING}
    return {"id": number, "question": f"is <b>{number}</b> good?", **answers, "label": facts}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelled(bench, rows, name="labels.jsonl"):
    return write(bench.folder / name, rows)


def agreeing(number):
    """What the judge of the tests says of a row that does not fail."""
    score = number % 5 + 1
    return {"score": score, "verdict": VERDICTS[score]}


def card(facts, name):
    return next(c for c in facts["trust"] if c["name"] == name)


@pytest.fixture
def strict(bench):
    """A result of 20 rows, and a person who gives one point less where the judge gives 3 or more; rows 7 and 17 failed."""
    output = bench.result(count=20)
    rows = []
    for number in range(20):
        answers = agreeing(number)
        if answers["score"] >= 3:
            score = answers["score"] - 1
            answers = {"score": score, "verdict": VERDICTS[score]}
        rows.append(label(number, comment="too kind" if number == 2 else None, **answers))
    return output, labelled(bench, rows)


def test_every_column_that_people_labelled_is_compared(bench, strict):
    output, labels = strict

    page, facts = bench.page(output, labels=Labels([labels]))

    assert [c["name"] for c in facts["trust"]] == ["score", "verdict"]
    score = card(facts, "score")
    assert (score["kind"], score["n"], score["opinions"], score["differing"]) == ("ordinal", 16, 16, 8)
    assert sorted(score["left_out"]) == ["4 judge failed"]
    assert score["bias"]["value"] == pytest.approx(8 / 16)
    assert {example["row"] for example in score["examples"]} == {2, 3, 4, 9, 12, 13, 14, 19}
    assert next(e for e in score["examples"] if e["row"] == 2) == {
        "row": 2, "annotator": "ann", "person": "2", "judge": "3", "comment": "too kind", "on_page": True,
    }  # fmt: skip
    words = text_of(page)
    assert "Agreement with people score ordinal, 16 rows labelled; left out: 4 judge failed" in words
    assert "majority baseline" in words
    assert "The judge is more lenient than people judge − people: +0.5" in words
    assert "people ↓ judge → 1 2 3 4 5" in words


def test_the_page_filters_by_both_verdicts_and_shows_them_with_a_row(strict):
    output, labels = strict
    from distask.report.people import compare_with_people, keep_lines
    from distask.report.result import Result

    result = Result(str(output))
    keep_lines(result)
    assert sum(1 for _ in result) == 20
    trust = compare_with_people(result, Labels([labels], gold="verdict"))

    measures, shown = trust.index(result.lines, None)

    verdicts = measures["verdicts verdict"]
    assert verdicts["each"] == [int(number % 10 not in (7, 8)) for number in range(20)]
    assert "person poor, judge fair" in verdicts["labels"]
    assert "both poor" in verdicts["labels"]
    assert measures["agrees verdict"]["labels"] == ["agree", "disagree"]
    assert shown["2"] == [["verdict", "ann", "poor", "fair", False, "too kind"]]
    assert "7" not in shown


def test_the_last_verdict_counts_and_two_people_are_two_verdicts(bench):
    output = bench.result(count=6)
    rows = [label(n, **agreeing(n)) for n in range(6)]
    changed = {**rows[0], "verdict": "good"}
    other = [label(n, who="ben", **agreeing(n)) for n in range(3)]

    _, facts = bench.page(
        output,
        labels=Labels([labelled(bench, [*rows, changed]), labelled(bench, other, "ben.jsonl")], gold="verdict"),
    )

    found = card(facts, "verdict")
    assert (found["opinions"], found["differing"], len(found["examples"])) == (9, 1, 1)
    assert (found["examples"][0]["row"], found["examples"][0]["annotator"]) == (0, "ann")
    assert (found["people"]["name"], found["people"]["value"]) == ("raw agreement", pytest.approx(2 / 3))


def test_labels_may_be_a_column_of_the_result(tmp_path):
    rows = [{"id": i, "made": ["yes", "no"][i % 2], "true": ["yes", "no"][i % 3 % 2]} for i in range(30)]
    output = write(tmp_path / "out.jsonl", rows)

    facts = write_report(output, tmp_path / "page.html", labels=Labels(gold="true", judge="made"))

    found = card(facts, "made")
    assert (found["gold"], found["n"], found["differing"]) == ("true", 30, 15)
    assert "made nominal, 30 rows labelled" in text_of(tmp_path / "page.html")


def test_blank_lines_do_not_move_the_labels(tmp_path):
    rows = [json.dumps({"id": i, "made": i % 2, "true": int(i == 5) or i % 2}) for i in range(8)]
    output = tmp_path / "out.jsonl"
    output.write_text("\n\n" + "\n\n".join([*rows[:4], json.dumps({"id": 9, "made": 1, "true": 0}), *rows[4:]]) + "\n")

    facts = write_report(str(output), tmp_path / "page.html", labels=Labels(gold="true", judge="made"))

    assert [example["row"] for example in card(facts, "made")["examples"]] == [4]


def test_a_judge_that_gives_probabilities_has_a_reliability_curve(tmp_path):
    rows = [{"id": i, "p": (i % 10 + 0.5) / 10, "right": i % 10 >= 5} for i in range(100)]
    output = write(tmp_path / "out.jsonl", rows)

    facts = write_report(output, tmp_path / "page.html", labels=Labels(gold="right", judge="p"))

    (curve,) = card(facts, "p")["reliability"]
    assert (curve["label"], len(curve["bins"])) == ("true", 10)
    html = (tmp_path / "page.html").read_text()
    assert html.count('<circle class="point"') == 10
    assert "Reliability of the probability of “true”" in text_of(tmp_path / "page.html")
    assert "data-where" not in html.partition('id="trust"')[2].partition("</table>")[0]


def test_the_rows_that_are_furthest_apart_come_first_and_only_some_are_listed(tmp_path):
    rows = [{"id": i, "made": 0.5, "true": i + 0.25} for i in range(200)]
    output = write(tmp_path / "out.jsonl", rows)

    facts = write_report(output, tmp_path / "page.html", labels=Labels(gold="true", judge="made"), most_rows=100)

    found = card(facts, "made")
    assert [example["row"] for example in found["examples"]] == list(range(199, 149, -1))
    assert {example["on_page"] for example in found["examples"]} == {True, False}
    assert found["bias"]["high"] < 0
    words = text_of(tmp_path / "page.html")
    assert "The judge is stricter than people" in words
    assert "200 of 200 verdicts differ; the 50 that are furthest apart" in words


def test_lists_are_compared_place_by_place(tmp_path):
    rows = [{"id": i, "made": [1, 2, i % 3 + 1], "true": [1, 2, 3]} for i in range(12)]
    output = write(tmp_path / "out.jsonl", rows)

    facts = write_report(output, tmp_path / "page.html", labels=Labels(gold="true", judge="made"))

    found = card(facts, "made")
    assert (found["n"], found["opinions"], found["differing"]) == (36, 12, 8)
    assert not found["cells_lead_to_rows"]


def test_equal_verdicts_are_all_that_a_page_says(tmp_path):
    output = write(tmp_path / "out.jsonl", [{"id": i, "made": i % 2, "true": i % 2} for i in range(12)])

    write_report(output, tmp_path / "page.html", labels=Labels(gold="true", judge="made"))

    assert "The judge and people agree on every row." in text_of(tmp_path / "page.html")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"files": ["labels.jsonl"]}, "labels.jsonl has no column that the task of the result makes"),
        ({"files": ["labels.jsonl"], "gold": "quality"}, "has no such column; did you mean `qualities`"),
        ({"files": ["nowhere.jsonl"]}, "file not found; create one with `distask label`"),
        ({"gold": "question"}, "--gold question: name the column that it is compared with: --judge COL"),
        ({"gold": "missing", "judge": "score"}, "no row has the column `missing`"),
    ],
)
def test_labels_that_fit_nothing_are_reported_and_no_page_is_written(bench, monkeypatch, labels, sentence):
    output = bench.result(count=3)
    monkeypatch.chdir(bench.folder)
    write(bench.folder / "labels.jsonl", [{"id": 1, "qualities": 3}])

    with pytest.raises(UsageError, match=sentence):
        write_report(str(output), bench.folder / "page.html", labels=Labels(**labels))

    assert not (bench.folder / "page.html").exists()


def test_hostile_labels_stay_text(bench):
    output = bench.result(count=3)
    evil = "</script><img src=x onerror=alert(1)>"
    rows = [label(n, comment=evil, score=1, verdict=evil) for n in range(3)]

    page, _ = bench.page(output, labels=Labels([labelled(bench, rows)], gold="verdict"))

    assert "<img src=x" not in page.read_text()


@pytest.mark.battery
def test_a_click_leads_from_a_disagreement_to_both_verdicts(bench, strict, look):
    """From the list to the open row, and from a cell of the confusion to its rows."""
    output, labels = strict
    page, _ = bench.page(output, labels=Labels([labels], gold="verdict"))
    tab = look(page)

    tab.page.get_by_role("link", name="Open row 2 with both verdicts").click()
    detail = tab.page.locator("#detail")
    detail.get_by_text("they disagree").wait_for()
    assert "too kind" in detail.inner_text()
    assert "fair" in detail.inner_text()

    tab.page.goto(f"{tab.url}#trust")
    tab.page.get_by_role("button", name="people poor, judge fair").click()
    tab.counted(r"\d+ of 20 rows")
    tab.page.goto(f"{tab.url}#trust")
    tab.page.get_by_role("button", name="Show the rows that disagree").click()
    tab.counted(r"\d+ of 20 rows")

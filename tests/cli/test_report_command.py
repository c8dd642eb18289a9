"""`distask report`: where the page goes, what is said of it, and what can be wrong."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.battery


def test_a_page_is_written_next_to_the_output(shell):
    shell.run("-o", "answers.jsonl")

    result = shell("report", "answers.jsonl")

    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("answers.report.html  5 rows, 0 of 5 replies failed, 0.")
    assert (shell.folder / "answers.report.html").read_text().startswith("<!doctype html>")


def test_two_results_make_one_page(shell):
    shell.run("-o", "a.jsonl")
    shell.server.reply = lambda body: "another"
    shell.run("-o", "b.parquet", "--no-store")

    result = shell("report", "a.jsonl", "b.parquet")

    assert result.out.startswith("a.b.report.html  5 rows in both, changed: 5 generation, 0.")


def test_how_far_people_agree_is_printed(shell):
    rows = [{"id": i, "good": i % 2 == 0} for i in range(40)]
    shell.write("out.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    labels = [{"id": row["id"], "good": row["good"] and row["id"] < 30} for row in rows[:36]]
    shell.write("labels.jsonl", "".join(json.dumps(row) + "\n" for row in labels))

    result = shell("report", "out.jsonl", "--labels", "labels.jsonl", "--gold", "good", "--by", "id")

    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[1].startswith("good: 3 of 36 verdicts differ, Cohen's kappa 0.8")
    shell("report", "out.jsonl", "--labels", "labels.jsonl", "--gold", "good", "--json")
    (result,) = shell.events
    assert [card["differing"] for card in result["facts"]["trust"]] == [3]


def test_what_is_more_than_chance_is_printed(shell):
    for name, score, verdict in (("a", 1, "true"), ("b", 2, "false")):
        rows = [f'{{"id": {i}, "score": {score + i % 2}, "good": {verdict}, "same": {i}}}\n' for i in range(20)]
        shell.write(f"{name}.jsonl", "".join(rows))

    result = shell("report", "a.jsonl", "b.jsonl", "--by", "id")

    lines = result.out.splitlines()
    assert (result.code, len(lines)) == (0, 3)
    assert lines[1:] == [
        "score: +1 on average, 95 % interval +1 to +1",
        "good: -100.0 points of `true`, 95 % interval -100 to -100, McNemar p < 0.001",
    ]


def test_programs_get_the_counts(shell):
    shell.run("-o", "answers.jsonl")

    shell("report", "answers.jsonl", "--json", "-o", "x.html")

    (result,) = shell.events

    assert (result["page"], result["facts"]["rows"], result["facts"]["failed"]) == ("x.html", 5, 0)
    assert result["size"] == (shell.folder / "x.html").stat().st_size


def test_of_many_rows_it_says_that_the_table_holds_some(shell):
    shell.run("-o", "answers.jsonl")

    result = shell("report", "answers.jsonl", "--max-rows", "2")

    assert "the table holds 2 of the rows, the counts cover all; --max-rows 5 shows all rows" in result.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["answer.jsonl"], "file not found; did you mean answers.jsonl?"),
        (["answers.jsonl", "-o", "in.jsonl"], "exists and is not a distask report"),
        (["answers.jsonl", "-o", "no/page.html"], "the folder no does not exist"),
        (["answers.jsonl", "--by", "id"], "add the second one after the first"),
        (["answers.jsonl", "--judge", "id"], "--judge needs people's labels; add --labels FILE or --gold COL"),
        (["answers.jsonl", "--gold", "id"], "name the column that it is compared with: --judge COL"),
        (["answers.jsonl", "--labels", "label.jsonl"], "--labels label.jsonl: file not found"),
        (["answers.jsonl", "answers.jsonl", "--labels", "l.jsonl"], "--labels and --gold need one result"),
        (["answers.jsonl", "answers.jsonl", "--by", "instuction"], "did you mean `instruction`?"),
        (["task.yaml"], "unknown format `.yaml`"),
    ],
)
def test_a_mistake_is_reported_and_writes_nothing(shell, arguments, sentence):
    shell.run("-o", "answers.jsonl")
    before = sorted(shell.folder.iterdir())

    result = shell("report", *arguments)

    assert (result.code, sentence in result.err) == (2, True)
    assert sorted(shell.folder.iterdir()) == before


def test_it_asks_no_model_and_loads_no_heavy_library(shell):
    """A report of JSON Lines needs neither a client nor a table's library."""
    shell.run("-o", "answers.jsonl")
    shell.env["PYTHONPROFILEIMPORTTIME"] = "1"

    result = shell("report", "answers.jsonl")

    loaded = {line.rpartition("|")[2].strip() for line in result.err.splitlines()}
    assert not loaded & {"openai", "pyarrow", "datasets", "pandas", "numpy"}
    assert "distask.report.page" in loaded

"""`distask report`: where the page goes, what is said of it, and what can be wrong."""

from __future__ import annotations

import json

import pytest


def test_a_page_is_written_next_to_the_output(shell):
    shell.run("-o", "answers.jsonl")

    said = shell("report", "answers.jsonl")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("answers.report.html  5 rows, 0 of 5 replies failed, 0.")
    assert (shell.folder / "answers.report.html").read_text().startswith("<!doctype html>")


def test_two_results_make_one_page(shell):
    shell.run("-o", "a.jsonl")
    shell.server.reply = lambda body: "another"
    shell.run("-o", "b.parquet", "--no-store")

    said = shell("report", "a.jsonl", "b.parquet")

    assert said.out.startswith("a.b.report.html  5 rows in both, changed: 5 generation, 0.")


def test_how_far_people_agree_is_printed(shell):
    rows = [{"id": i, "good": i % 2 == 0} for i in range(40)]
    shell.write("out.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    labels = [{"id": row["id"], "good": row["good"] and row["id"] < 30} for row in rows[:36]]
    shell.write("labels.jsonl", "".join(json.dumps(row) + "\n" for row in labels))

    said = shell("report", "out.jsonl", "--labels", "labels.jsonl", "--gold", "good", "--by", "id")

    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[1].startswith("good: 3 of 36 verdicts differ, Cohen's kappa 0.8")
    shell("report", "out.jsonl", "--labels", "labels.jsonl", "--gold", "good", "--json")
    (told,) = shell.events
    assert [card["differing"] for card in told["facts"]["trust"]] == [3]


def test_what_is_more_than_chance_is_printed(shell):
    for name, score, verdict in (("a", 1, "true"), ("b", 2, "false")):
        rows = [f'{{"id": {i}, "score": {score + i % 2}, "good": {verdict}, "same": {i}}}\n' for i in range(20)]
        shell.write(f"{name}.jsonl", "".join(rows))

    said = shell("report", "a.jsonl", "b.jsonl", "--by", "id")

    lines = said.out.splitlines()
    assert (said.code, len(lines)) == (0, 3)
    assert lines[1:] == [
        "score: +1 on average, 95 % interval +1 to +1",
        "good: -100.0 points of `true`, 95 % interval -100 to -100, McNemar p < 0.001",
    ]


def test_programs_get_the_counts(shell):
    shell.run("-o", "answers.jsonl")

    shell("report", "answers.jsonl", "--json", "-o", "x.html")

    (told,) = shell.events

    assert (told["page"], told["facts"]["rows"], told["facts"]["failed"]) == ("x.html", 5, 0)
    assert told["size"] == (shell.folder / "x.html").stat().st_size


def test_of_many_rows_it_says_that_the_table_holds_some(shell):
    shell.run("-o", "answers.jsonl")

    said = shell("report", "answers.jsonl", "--max-rows", "2")

    assert "the table holds 2 of the rows, the counts cover all; --max-rows 5 shows all rows" in said.err


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

    said = shell("report", *arguments)

    assert (said.code, sentence in said.err) == (2, True)
    assert sorted(shell.folder.iterdir()) == before


def test_it_asks_no_model_and_loads_no_heavy_library(shell):
    """A report of JSON Lines needs neither a client nor a table's library."""
    shell.run("-o", "answers.jsonl")
    shell.env["PYTHONPROFILEIMPORTTIME"] = "1"

    said = shell("report", "answers.jsonl")

    loaded = {line.rpartition("|")[2].strip() for line in said.err.splitlines()}
    assert not loaded & {"openai", "pyarrow", "datasets", "pandas", "numpy"}
    assert "distask.report.page" in loaded

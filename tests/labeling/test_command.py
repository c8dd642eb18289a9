"""`distask label` as a person meets it: from a task or a result, which rows, and what each mistake says."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from distask import load, run
from distask.labeling.labels import item_key
from tests.labeling.conftest import JUDGE, ROOT, lines, rows, sampled
from tests.labeling.test_label_studio import EXPORT

pytestmark = pytest.mark.battery

TASKS = {
    "task.yaml": JUDGE,
    "several.yaml": JUDGE + "num_generations: 3\n",
    "grouped.yaml": JUDGE + "num_generations: 3\ngroup_generations: true\naggregate: {score: mean}\n",
}


def command(folder, *arguments):
    """Run the command to its end, as it does not serve a page; gives the exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "distask", "label", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "COLUMNS": "400", "HOME": str(folder), "USER": "ann"},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def reply_of(body):
    """The model gives the rows with an even number the same score, and others a different one each time."""
    number = int(body["messages"][-1]["content"].split("What is ")[1].split("?")[0])
    reply_of.calls += 1
    return json.dumps({"score": 3 if number % 2 == 0 else reply_of.calls % 5 + 1, "reason": "secret reason"})


@pytest.fixture
def judged(tmp_path, server):
    """Run a task on six rows; gives the output."""
    reply_of.calls = 0
    server.reply, server.honours_n = reply_of, False

    def result(task="task.yaml", output="out.jsonl", **options):
        for name, text in TASKS.items():
            (tmp_path / name).write_text(text)
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row | {"id": i}) + "\n" for i, row in enumerate(rows(6))))
        config = {"model": "m", "base_url": server.url, "api_key_env": None}
        run(load(tmp_path / task), tmp_path / "in.jsonl", llm=config, output=tmp_path / output, **options)
        return output

    return result


def see_all(running):
    """Answer every item with 3; gives the states before the answers."""
    running.enter()
    states = [running.state()]
    while states[-1]["item"] is not None:
        states.append(running.answer(states[-1]["item"]["turn"], score=3))
    return states


def names(state):
    return [column["name"] for part in ("columns", "more") for column in state["item"][part]]


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv", "out.parquet"])
def test_a_result_names_its_task_and_hides_the_judges_answer(judged, start, tmp_path, output):
    states = see_all(start(judged(output=output), "-o", "labels.jsonl", "--all"))

    assert [len(states), {tuple(names(s)) for s in states[:-1]}] == [7, {("question", "answer", "id")}]
    assert all("secret" not in json.dumps(state["item"]) for state in states)
    assert states[1]["last"]["judge"] == [{"score": 3}]
    assert states[1]["last"]["reasons"] == [{"reason": "secret reason"}]
    first = lines(tmp_path / "labels.jsonl")[0]
    assert list(first) == ["question", "answer", "id", "score", "label"]


@pytest.mark.parametrize(
    ("task", "output"),
    [
        ("several.yaml", "out.jsonl"),
        ("grouped.yaml", "out.jsonl"),
        ("several.yaml", "out.csv"),
        ("grouped.yaml", "out.parquet"),
    ],
)
def test_several_replies_to_a_row_are_one_item(judged, start, task, output):
    states = see_all(start(judged(task, output), "-o", "labels.jsonl", "--all"))

    assert len(states) == 7
    assert [len(state["last"]["judge"]) for state in states[1:]] == [3] * 6


@pytest.mark.parametrize("task", ["several.yaml", "grouped.yaml"])
def test_uncertain_rows_are_those_on_which_replies_differ(judged, start, tmp_path, task):
    see_all(start(judged(task), "-o", "labels.jsonl", "--uncertain"))

    made = lines(tmp_path / "labels.jsonl")
    assert {line["id"] for line in made} == {1, 3, 5}
    sampling = made[0]["label"]["sampling"]
    assert sampling == {"method": "uncertain", "seed": 0, "size": 3, "pool": 6}


def test_a_judge_that_shows_no_uncertainty_is_reported(judged, tmp_path):
    code, _, err = command(tmp_path, judged(), "--uncertain")

    assert code == 2
    assert "out.jsonl: no row shows how uncertain the judge is; run it with -n 5 --group-generations" in err


def test_a_jury_is_uncertain_where_its_jurors_differ(server, start, tmp_path):
    server.reply = lambda body: (
        "Right.\n\nScore: 4" if "What is 1?" not in str(body) or body["model"] == "a" else "Wrong.\n\nScore: 1"
    )
    made = [{"instruction": row["question"], "generation": row["answer"]} for row in rows(4)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    config = {"model": "a", "base_url": server.url, "api_key_env": None}
    run(load("jury", {"jurors": ["a", "b"]}), tmp_path / "in.jsonl", llm=config, output=tmp_path / "jury.jsonl")

    states = see_all(start("jury.jsonl", "--uncertain", "-o", "labels.jsonl"))

    assert len(states) == 2
    assert states[0]["item"]["columns"][0]["blocks"][0]["raw"] == "What is 1?"
    assert states[1]["last"]["judge"] == [{"score": 2.5}]


def test_rows_of_a_task_that_already_have_its_columns_hide_them(start, tmp_path):
    (tmp_path / "rated.jsonl").write_text(json.dumps(rows(1)[0] | {"score": 2, "reason": "secret"}) + "\n")

    states = see_all(start("task.yaml", "-i", "rated.jsonl", "-o", "labels.jsonl"))

    assert names(states[0]) == ["question", "answer"]
    assert "secret" not in json.dumps(states[0])
    assert states[1]["last"]["judge"] == [{"score": 2}]


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_rows_come_from_any_format_with_the_places_of_the_source(start, tmp_path, format_):
    made = rows(4)
    if format_ == "csv":
        with (tmp_path / "in.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(made[0]))
            writer.writeheader()
            writer.writerows(made)
    else:
        parquet.write_table(pa.Table.from_pylist(made), tmp_path / "in.parquet")

    see_all(start("task.yaml", "-i", f"in.{format_}", "-o", "labels.jsonl"))

    found = lines(tmp_path / "labels.jsonl")
    assert sorted((line["label"]["row"], line["question"]) for line in found) == [
        (i + 1, f"What is {i}?") for i in range(4)
    ]
    assert {line["label"]["item"] for line in found} == {item_key(row) for row in made}


@pytest.mark.parametrize("source", ["in.jsonl", "in.jsonl.gz", "in.parquet", "in.json", "gaps.jsonl"])
def test_a_sample_is_the_same_in_every_format(start, tmp_path, source):
    """JSON Lines are counted, and only chosen ones parsed; other formats are read completely."""
    made = rows(200)
    written = [json.dumps(row) for row in made]
    (tmp_path / "in.jsonl").write_text("\n".join(written))
    (tmp_path / "gaps.jsonl").write_text("\n\n  \n".join(written) + "\n\n")
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress("\n".join(written).encode()))
    (tmp_path / "in.json").write_text(f"[{','.join(written)}]")
    parquet.write_table(pa.Table.from_pylist(made), tmp_path / "in.parquet")
    expected = [chosen.row for chosen in sampled(made, size=5, seed=7).chosen()]

    see_all(start("task.yaml", "-i", source, "-o", "labels.jsonl", "--sample", "5", "--seed", "7"))

    found = lines(tmp_path / "labels.jsonl")
    assert [line["label"]["row"] for line in found] == expected
    assert [line["question"] for line in found] == [f"What is {row - 1}?" for row in expected]
    assert found[0]["label"]["sampling"] == {
        "method": "random",
        "seed": 7,
        "size": 5,
        "pool": 200,
        "probability": 0.025,
    }


def test_unreadable_rows_can_be_skipped_and_keep_their_numbers(start, tmp_path):
    good = [json.dumps(row) for row in rows(2)]
    (tmp_path / "in.jsonl").write_text(f"{good[0]}\n{{broken\n{good[1]}\n")

    see_all(start("task.yaml", "-i", "in.jsonl", "-o", "labels.jsonl", "--on-bad-row", "skip", "--all"))

    assert [line["label"]["row"] for line in lines(tmp_path / "labels.jsonl")] == [1, 3]


def test_offset_limit_and_mappings_choose_rows_and_columns(start, tmp_path):
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"q": row["question"], "answer": "x"}) + "\n" for row in rows(9))
    )

    see_all(
        start(
            "task.yaml",
            "-i",
            "in.jsonl",
            "-o",
            "labels.jsonl",
            "--offset",
            "3",
            "--limit",
            "2",
            "--all",
            "--set",
            "input_mappings.question=q",
        )
    )

    assert [(line["label"]["row"], line["q"]) for line in lines(tmp_path / "labels.jsonl")] == [
        (4, "What is 3?"),
        (5, "What is 4?"),
    ]


def test_disagreements_are_adjudicated_with_both_answers_in_view(start, tmp_path):
    for name, shift in (("ann", 0), ("bob", 1)):
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            for number, row in enumerate(rows(4), 1):
                label = {
                    "annotator": name,
                    "item": item_key(row),
                    "row": number,
                    "at": "2026-11-29T05:10:00Z",
                    "comment": f"{name} says",
                }
                file.write(json.dumps({**row, "score": number + shift * (number % 2 == 0), "label": label}) + "\n")

    states = see_all(start("task.yaml", "--disagreements", "ann.jsonl", "bob.jsonl", "-o", "labels.jsonl"))

    assert [state["item"]["columns"][0]["blocks"][0]["raw"] for state in states[:-1]] == ["What is 1?", "What is 3?"]
    assert states[0]["item"]["others"] == [
        {"annotator": "ann", "answers": {"score": 2}, "comment": "ann says"},
        {"annotator": "bob", "answers": {"score": 3}, "comment": "bob says"},
    ]
    made = lines(tmp_path / "labels.jsonl")
    assert made[0]["label"]["sampling"] == {"method": "disagreements", "seed": 0, "size": 2, "pool": 2}
    assert (made[0]["label"]["row"], made[0]["label"]["item"]) == (2, item_key(rows(4)[1]))


def test_an_adjudicated_item_keeps_its_key_and_its_own_label_column(start, tmp_path):
    row = rows(1)[0] | {"label": "spam"}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    for name, score in (("ann", 3), ("bob", 5)):
        running = start("task.yaml", "-i", "in.jsonl", "-o", f"{name}.jsonl", "--annotator", name).enter()
        running.answer(0, score=score)
        running.stop()

    see_all(start("task.yaml", "--disagreements", "ann.jsonl", "bob.jsonl", "-o", "labels.jsonl"))

    found = [lines(tmp_path / name)[0] for name in ("ann.jsonl", "bob.jsonl", "labels.jsonl")]
    assert {line["label"]["item"] for line in found} == {item_key(row)}
    assert {line["input_label"] for line in found} == {"spam"}


def test_files_made_by_hand_can_disagree(start, tmp_path):
    for name, score in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(rows(1)[0] | {"score": score}) + "\n")

    state = see_all(start("task.yaml", "--disagreements", "a.jsonl", "b.jsonl", "-o", "labels.jsonl"))[0]

    assert [(other["annotator"], other["answers"]["score"]) for other in state["item"]["others"]] == [
        ("a", 1),
        ("b", 2),
    ]


def test_the_same_command_ends_at_once_when_all_is_done(start, tmp_path):
    arguments = ("task.yaml", "-i", "in.jsonl", "-o", "labels.jsonl", "--annotator", "ann")
    running = start(*arguments)
    see_all(running)
    running.request("/api/finish", {})
    running.process.communicate(timeout=60)

    code, out, _ = command(tmp_path, *arguments)

    assert code == 0
    assert out.startswith("labels.jsonl  ann: 10 answered, 0.0 s each (median)")


def test_a_file_that_another_process_writes_is_refused(start, tmp_path):
    start()

    code, _, err = command(tmp_path, "task.yaml", "-i", "in.jsonl", "-o", "labels.jsonl")

    assert code == 2
    assert "labels.jsonl: another `distask label` is writing this file" in err


def test_labels_files_are_merged(tmp_path, start):
    start()  # writes the task and the rows
    for name in ("ann", "bob"):
        label = {"annotator": name, "item": "i", "at": "2026-11-29T05:10:00Z"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(rows(1)[0] | {"score": 1, "label": label}) + "\n")

    merged = ("task.yaml", "-o", "all.jsonl", "--merge", "ann.jsonl", "--merge", "bob.jsonl")
    assert command(tmp_path, *merged)[:2] == (0, "all.jsonl  2 lines added\n")
    assert command(tmp_path, *merged)[:2] == (0, "all.jsonl  0 lines added\n")
    assert [line["label"]["annotator"] for line in lines(tmp_path / "all.jsonl")] == ["ann", "bob"]


def test_label_studio_files_are_written_and_read(tmp_path, start):
    running = start().enter()
    running.answer(0, score=4)
    running.stop()

    arguments = ("task.yaml", "-i", "in.jsonl", "-o", "labels.jsonl", "--export-label-studio", "project.json")
    assert command(tmp_path, *arguments)[:2] == (
        0,
        "project.json  10 tasks, 1 annotation; labeling config: project.xml\n",
    )
    (tmp_path / "export.json").write_text(json.dumps(EXPORT))
    for result in ("2 labels added", "0 labels added, 2 already there"):
        read = command(tmp_path, "task.yaml", "-o", "more.jsonl", "--import-label-studio", "export.json")
        assert read[:2] == (0, f"more.jsonl  {result}\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["task.yaml"], "task.yaml: the rows are missing; add --input DATA, or pass the result of a run"),
        (["taks.yaml", "-i", "in.jsonl"], "did you mean `task.yaml`?"),
        (["in.jsonl"], "in.jsonl: there is no in.jsonl.run.json, which names the task of a result; pass the task and the rows: distask label TASK --input in.jsonl"),
        (["task.yaml", "-i", "no.jsonl"], "no.jsonl: file not found"),
        (["task.yaml", "-i", "bad.jsonl"], "bad.jsonl:2:2: "),
        (["task.yaml", "-i", "other.jsonl"], "other.jsonl:1: column `question` is missing; the task judge needs it (is it `questions`? --set input_mappings.question=questions)"),
        (["task.yaml", "-i", "empty.jsonl"], "empty.jsonl: the input has no rows"),
        (["task.yaml", "-i", "in.jsonl", "--all", "--uncertain"], "--all and --uncertain can't be combined"),
        (["task.yaml", "-i", "in.jsonl", "--all", "--sample", "3"], "--sample and --all can't be combined"),
        (["task.yaml", "-i", "in.jsonl", "--stratify", "answr"], "--stratify answr: the rows have no such column; did you mean `answer`?"),
        (["task.yaml", "-i", "in.jsonl", "--repeat", "often"], "--repeat often: write a share, such as 5%"),
        (["task.yaml", "-i", "in.jsonl", "--ask", "scor"], "did you mean `score`?"),
        (["task.yaml", "-i", "in.jsonl", "--set", "llm.temperature=0"], "--set llm.temperature: this command calls no model"),
        (["task.yaml", "-i", "in.jsonl", "--annotator", " "], "--annotator: the name is empty"),
        (["task.yaml", "-i", "in.jsonl", "-o", "no/labels.jsonl"], "no/labels.jsonl: the folder no does not exist"),
        (["task.yaml", "-i", "in.jsonl", "-o", "in.jsonl"], "in.jsonl:1: the column `score`, which the task asks for, is missing"),
        (["task.yaml", "-i", "in.jsonl", "--uncertain"], "no row shows how uncertain the judge is"),
        (["task.yaml", "--disagreements", "in.jsonl", "none.jsonl"], "in.jsonl:1: the column `score`"),
        (["task.yaml", "-i", "in.jsonl", "--disagreements", "a", "b"], "the labels files hold the rows"),
        (["task.yaml", "--disagreements", "one.jsonl", "one.jsonl"], "no item in one.jsonl and one.jsonl was answered by two people"),
        (["task.yaml", "-i", "in.jsonl", "--merge", "a", "--export-label-studio", "b"], "run them in turn"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_and_writes_nothing(tmp_path, arguments, sentence):
    (tmp_path / "task.yaml").write_text(JUDGE)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(3)))
    (tmp_path / "bad.jsonl").write_text(json.dumps(rows(1)[0]) + "\n{nothing\n")
    (tmp_path / "other.jsonl").write_text('{"questions": "x", "answer": "y"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "one.jsonl").write_text(json.dumps(rows(1)[0] | {"score": 1}) + "\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    code, out, err = command(tmp_path, *arguments)

    assert (code, out) == (2, "")
    assert sentence in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_program_gets_what_was_done_as_an_event(tmp_path):
    (tmp_path / "task.yaml").write_text(JUDGE)
    (tmp_path / "in.jsonl").write_text(json.dumps(rows(1)[0]) + "\n")
    (tmp_path / "b.jsonl").write_text(
        json.dumps({**rows(1)[0], "score": 4, "label": {"annotator": "bob", "item": "i", "at": "2026-01-01T00:00:00Z"}})
        + "\n"
    )

    code, out, _ = command(tmp_path, "task.yaml", "-i", "in.jsonl", "-o", "a.jsonl", "--merge", "b.jsonl", "--json")

    event = json.loads(out)
    assert (code, event["event"], event["command"], event["output"], event["added"]) == (
        0, "result", "label", "a.jsonl", 1,
    )  # fmt: skip

"""Which files, prompts and rows the record of a run names, and what of it may leave the machine."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask import load, run
from distask.data.file_counts import FileCounts
from distask.data.provenance import describe_source, summarize_prompts, summarize_runs
from distask.data.push import card
from distask.errors import InputError
from distask.report.single import write_report
from distask.runner.provenance.earlier import earlier_runs, read_record
from distask.runner.provenance.inputs import FILES_LISTED, recorded_file
from distask.runner.provenance.layout import input_of, packed
from distask.runner.provenance.prompts import is_judge
from distask.runner.provenance.section import without_paths
from distask.runner.provenance.trace import trace_row
from distask.runner.stats import MOST_MODELS, OTHER_MODELS, Stats

TASK = """\
name: rate
inputs: {text: It.}
format_input: [{role: user, content: "Rate: {{ text }}"}]
outputs: {score: {type: integer, minimum: 1, maximum: 5}}
format_output: {parser: text}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rate.yaml").write_text(TASK)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/in.jsonl").write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(4)))
    return tmp_path


def offline(source, output, **options):
    run(load("rate.yaml"), source, llm="offline", output=output, **options)
    return read_record(Path(output))["provenance"]


# Layouts


@given(st.lists(st.integers(0, 3), max_size=60))
def test_a_layout_leads_from_each_output_row_to_its_input_row(counts):
    stats = Stats(layout=[], most_runs=1_000)
    for count in counts:
        stats.lay(count)
    text = packed(stats.layout)

    sources = [place for place, count in enumerate(counts) for _ in range(count)]
    assert [input_of(text or "", row) for row in range(len(sources) + 1)] == [*sources, None]


def test_a_layout_that_would_grow_without_bound_is_given_up():
    stats = Stats(layout=[], most_runs=3)
    for count in (1, 0, 1, 0):
        stats.lay(count)

    assert stats.layout is None
    stats.lay(1)
    assert packed(stats.layout) is None


def test_many_models_are_counted_together():
    stats = Stats()
    for number in range(MOST_MODELS + 10):
        stats.note_served("step", "here", "m", f"m-{number}")

    assert len(stats.served) == MOST_MODELS + 1
    assert stats.served["step", "here", "m", OTHER_MODELS] == 10


# Files


def test_rows_are_counted_for_each_file_and_documents_of_an_archive_for_the_archive():
    files = [Path(name) for name in ("a.md", "b.zip", "c.md")]
    counted = FileCounts(files)
    for name in ("a.md", "b.zip/x.md", "b.zip/x.md", "b.zip/y/z.md", "c.md"):
        counted.add(name)

    assert (list(counted.rows), counted.total, counted.sources) == ([1, 3, 1], 5, 4)
    assert counted.last == (Path("c.md"), 1)


def test_equal_names_of_other_objects_are_the_same_document():
    counted = FileCounts([Path("a.md")])
    for name in ("a.md", str(Path("a.md"))):
        counted.add(name)

    assert counted.sources == 1


def test_rows_that_come_from_no_file_are_counted_in_total():
    counted = FileCounts()
    counted.add("<rows>")

    assert (counted.total, counted.last) == (1, None)


def test_a_file_that_changes_during_the_run_is_recorded_as_such(folder):
    def append(_stats):
        with Path("data/in.jsonl").open("a") as file:
            file.write("\n")

    section = offline("data/in.jsonl", "out.jsonl", observe=append)

    assert section["input"]["changed_during_run"] is True


def test_a_recorded_file_is_found_by_the_name_of_a_document_in_it():
    listed = [{"path": "a.zip", "bytes": 1, "checksum": "c", "rows": 2}]

    assert recorded_file({"listed": listed}, Path("out"), "a.zip/x.md").checksum == "c"
    assert recorded_file({"listed": listed}, Path("out"), "a.zipper") is None
    assert recorded_file({"listed": listed, "list": "gone"}, Path("out"), "b") is None


def test_a_list_of_files_stays_readable_if_it_is_damaged(tmp_path):
    (tmp_path / "list").write_text("{")

    assert recorded_file({"listed": [], "list": "list"}, tmp_path / "out", "b") is None


@pytest.mark.parametrize(("rows", "kind"), [([{"text": "a"}], "memory"), ("data/in.jsonl", "files")])
def test_the_kind_of_an_input_is_recorded(folder, rows, kind):
    assert offline(rows, "out.jsonl")["input"]["kind"] == kind


def test_a_task_without_inputs_has_rows_from_nothing(folder):
    from distask.data.input import Nothing

    (folder / "rate.yaml").write_text(TASK.replace("inputs: {text: It.}\n", "").replace(": {{ text }}", ""))

    assert offline(Nothing(2), "out.jsonl")["input"]["kind"] == "none"
    assert trace_row("out.jsonl", 1).notes == ["the task reads no input"]


# Judges


@pytest.mark.parametrize(
    ("step", "changes", "judges"),
    [
        ("rate", {}, True),  # its output is within bounds
        ("rate", {"minimum: 1, ": ""}, False),
        ("final-judge", {"minimum: 1, ": ""}, True),
        ("judgement", {"minimum: 1, ": ""}, False),
    ],
)
def test_which_steps_are_judges(folder, step, changes, judges):
    text = TASK
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "rate.yaml").write_text(text)

    assert is_judge(step, load("rate.yaml").spec) is judges


def test_the_tag_of_a_task_of_steps_makes_its_steps_judges(folder):
    inner = "{name: ask, inputs: {text: x}, format_input: [{role: user, content: x}], outputs: {a: x}, format_output: {parser: text}}"
    for tags, judges in (("[judge]", True), ("[other]", False)):
        (folder / "rate.yaml").write_text(f"name: rate\ntags: {tags}\ninputs: {{text: It.}}\nsteps:\n- task: {inner}\n")
        assert [prompt["judge"] for prompt in offline("data/in.jsonl", f"{judges}.jsonl")["prompts"]] == [judges]


# Earlier runs


def test_a_record_of_an_older_version_is_named_by_its_identity(folder):
    offline("data/in.jsonl", "a.jsonl")
    path = Path("a.jsonl.run.json")
    record = json.loads(path.read_text())
    del record["provenance"]
    path.write_text(json.dumps(record))

    section = _second("a.jsonl", "b.jsonl")

    [run_] = section["runs"]
    assert (run_["task"]["name"], run_["models"], run_["input"]["source"]) == ("rate", ["offline"], "in.jsonl")
    assert "older version" in trace_row("a.jsonl", 1).notes[0]


def _second(source, output):
    text = TASK.replace("name: rate", "name: again").replace("outputs: {score", "outputs: {second")
    Path("again.yaml").write_text(text)
    run(load("again.yaml"), source, llm="offline", output=output)
    return read_record(Path(output))["provenance"]


def test_an_earlier_output_that_was_edited_is_marked(folder):
    offline("data/in.jsonl", "a.jsonl")
    with Path("a.jsonl").open("a") as file:
        file.write("\n")

    assert [each["unchanged"] for each in _second("a.jsonl", "b.jsonl")["runs"]] == [False]


def test_a_broken_record_next_to_an_input_is_ignored(folder):
    for text in ("{", "[]", '{"identity": 1}'):
        Path("data/in.jsonl.run.json").write_text(text)
        assert (
            earlier_runs(
                {"kind": "files", "source": "x", "listed": [{"path": "data/in.jsonl", "checksum": None}]}, Path("o")
            )
            == []
        )


@pytest.mark.parametrize("damage", [
    {"input": 1}, {"input": {"listed": 1}}, {"runs": [1]}, {"runs": [{"output": "x"}]}, {"runs": 5}, {"prompts": [{}]},
    {"prompts": 3}, {"models": [1]}, {"judges": {}}, {"task": "x"}, {"runs": [{"output": 1, "checksum": 1, "input": {}, "task": {}, "models": [], "prompts": [], "judges": []}]},
])  # fmt: skip
def test_a_damaged_record_next_to_an_input_does_not_harm_a_run_or_a_report(folder, damage):
    offline("data/in.jsonl", "a.jsonl")
    record = json.loads(Path("a.jsonl.run.json").read_text())
    record["provenance"] |= damage
    Path("a.jsonl.run.json").write_text(json.dumps(record))

    section = _second("a.jsonl", "b.jsonl")

    assert card("owner/name", "train", _described(section))
    write_report("a.jsonl", folder / "a.html")
    write_report("b.jsonl", folder / "b.html")
    with suppress(InputError):  # it names the damaged record
        trace_row("b.jsonl", 1)


def _described(section):
    return {
        "task": "again", "model": "m", "distask": "1", "command": "c", "spec": {},
        "counts": read_record(Path("b.jsonl"))["counts"], "settings": {"params": {}, "generation": {}},
        "provenance": without_paths(section),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["hf://owner/name", "s3://bucket/a.jsonl", "-"])
def test_only_local_files_are_traced(name):
    with pytest.raises(InputError, match="only files on this machine can be traced"):
        trace_row(name, 1)


@pytest.mark.parametrize(
    "chat", ["text", [["a"]], [1], [{"role": "user", "content": "a"}, 2], [[{"role": "user"}]], {"a": 1}]
)
def test_edited_metadata_does_not_break_a_trace(folder, chat):
    offline("data/in.jsonl", "a.jsonl")
    lines = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    lines[0]["distask_metadata"] |= {"raw_input_rate": chat, "raw_output_rate": chat}
    Path("a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert trace_row("a.jsonl", 1).stages[0].unchanged is False


def test_a_run_over_its_own_earlier_outputs_ends(folder):
    """Records that name each other don't make the trace go in circles."""
    offline("data/in.jsonl", "a.jsonl")
    record = json.loads(Path("a.jsonl.run.json").read_text())
    record["provenance"]["input"]["source"] = "a.jsonl"
    Path("a.jsonl.run.json").write_text(json.dumps(record))

    assert len(trace_row("a.jsonl", 1).stages) == 1


# For people


def test_the_docs_describe_every_key(folder):
    offline("data/in.jsonl", "a.jsonl")
    page = (Path(__file__).parents[2] / "docs/howto/provenance.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page.partition("## What is recorded")[2], re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert _second("a.jsonl", "b.jsonl").keys() == documented


def test_nothing_for_the_hub_names_a_folder_or_an_endpoint_of_this_machine(folder):
    offline(str(folder / "data/in.jsonl"), folder / "a.jsonl")
    section = _second(str(folder / "a.jsonl"), folder / "b.jsonl")

    public = json.dumps(without_paths(section))

    assert str(folder) not in public
    assert "endpoint" not in public
    assert '"path": "a.jsonl"' in public
    assert '"path": "in.jsonl"' in public


def test_the_card_and_the_report_say_where_rows_come_from(folder):
    (folder / "data/in.jsonl").unlink()
    for number in range(FILES_LISTED + 1):
        (folder / f"data/{number}.txt").write_text(f"Text {number}.")
    offline("data", "a.jsonl")
    section = _second("a.jsonl", "b.jsonl")
    text = card("owner/name", "train", _described(section))
    write_report("b.jsonl", folder / "page.html")
    page = (folder / "page.html").read_text()

    assert "## Where the rows come from" in text
    assert "| this run | again | offline | a.jsonl (" in text
    assert "| a.jsonl | rate | offline | data (101 documents, " in text
    assert (
        f"| rate | a.jsonl | offline | judge | `{section['runs'][0]['prompts'][0]['template_sha256'][:16]}…` |" in text
    )
    assert 'id="sources-title">Where the rows come from' in page
    assert "<td>data (101 documents, " in page
    assert str(folder) not in page


def test_a_section_of_an_older_record_gives_no_tables():
    assert (summarize_runs({}), summarize_prompts({})) == ([], [])
    assert describe_source({}) == "unknown"
    assert describe_source({"kind": "stdin"}) == "rows on stdin"

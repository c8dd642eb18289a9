"""A row traced back through the runs that made it, to its prompts, judges, input rows and the passage of a document."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.data.documents import make

pytestmark = pytest.mark.battery

CHUNKS = """\
name: chunks
version: "1.2"
inputs: {text: It., path: Where it is.}
steps:
  - chunk: {from: text, unit: headings}
  - drop: text
  - dedup: chunk
"""
ANSWERS = """\
name: answers
inputs: {chunk: A passage.}
format_input: [{role: user, content: "Ask about: {{ chunk }}"}]
outputs: {question: It.}
format_output: {parser: text}
"""
PREFER = """\
name: prefer
tags: [preference]
inputs: {question: It.}
only_outputs: true
steps:
  - task:
      name: write
      inputs: {question: It.}
      format_input: [{role: user, content: "Answer: {{ question }}"}]
      outputs: {answer: It.}
      format_output: {parser: text}
  - task:
      name: grade
      inputs: {answer: It.}
      format_input: [{role: user, content: "Grade: {{ answer }}"}]
      outputs: {score: {type: integer, minimum: 1, maximum: 5}}
      format_output: {parser: text}
outputs:
  answer: It.
  score: {type: integer}
"""
LEAVE = "# Übung\n\nThirty days — “frei” 🙂.\n\n## Sick\n\nCall us before nine in the morning.\n"


def reply(body):
    text = body["messages"][-1]["content"]
    return "4" if text.startswith("Grade") else f"reply to {text.split(': ', 1)[-1][:20]}"


@pytest.fixture
def bench(shell):
    """A handbook of a Markdown file with characters beyond ASCII, and a PDF of three pages; and the tasks."""
    (shell.folder / "handbook").mkdir()
    shell.write("handbook/leave.md", LEAVE)
    pages = [[(12, 72, 700, f"Rule {n} of the house is on this page.")] for n in ("one", "two", "three")]
    (shell.folder / "handbook/rules.pdf").write_bytes(make.pdf(pages))
    for name, spec in {"chunks": CHUNKS, "answers": ANSWERS, "prefer": PREFER}.items():
        shell.write(f"{name}.yaml", spec)
    shell.server.reply = reply
    shell.url = ("--base-url", "{url}", "--model", "m")
    return shell


def chained(bench, *more):
    """Three runs: chunks of the documents, a question about each, an answer with its grade."""
    assert bench("run", "chunks.yaml", "-i", "handbook", "-o", "chunks.jsonl").code == 0
    assert bench("run", "answers.yaml", "-i", "chunks.jsonl", "-o", "questions.jsonl", *bench.url).code == 0
    assert bench("run", "prefer.yaml", "-i", "questions.jsonl", "-o", "set.jsonl", *bench.url, *more).code == 0


def record(bench, name):
    return json.loads((bench.folder / f"{name}.run.json").read_text())


def traced(bench, output, row, code=0):
    done = bench("trace", output, str(row), "--json")
    assert done.code == code, done.err + done.out
    return bench.events[-1]


def test_a_row_of_the_third_run_leads_to_the_passage_of_the_document(bench):
    chained(bench)
    bench.server.requests.clear()

    found = traced(bench, "set.jsonl", 2, code=3)

    assert [row["output"].rpartition("/")[2] for row in found["rows"]] == [
        "set.jsonl",
        "questions.jsonl",
        "chunks.jsonl",
    ]
    assert [row["task"]["name"] for row in found["rows"]] == ["prefer", "answers", "chunks"]
    assert [row["task"]["version"] for row in found["rows"]] == [None, None, "1.2"]
    assert [row["unchanged"] for row in found["rows"]] == [True] * 3
    assert [row["input"]["state"] for row in found["rows"]] == ["unchanged"] * 3
    [exchange] = found["rows"][1]["exchanges"]
    assert exchange["messages"] == [
        {"role": "user", "content": "Ask about: ## Sick\n\nCall us before nine in the morning."}
    ]
    assert (exchange["reply"], exchange["model"], exchange["judge"]) == ("reply to ## Sick\n\nCall us bef", "m", False)
    document = found["document"]
    assert (document["path"], document["state"], document["media_type"]) == (
        "handbook/leave.md",
        "unchanged",
        "text/markdown",
    )
    passage = document["passages"][0]
    assert passage["column"] == "chunk"
    assert (
        LEAVE[passage["start"] : passage["end"]] == passage["text"] == "## Sick\n\nCall us before nine in the morning."
    )
    [note] = found["notes"]
    assert note.endswith("has no prompts and replies: the task writes only its outputs; use --all-columns")
    assert bench.server.requests == []


def test_with_all_columns_the_judge_and_its_verdict_are_part_of_the_trace(bench):
    chained(bench, "--all-columns")

    found = traced(bench, "set.jsonl", 1)

    exchanges = found["rows"][0]["exchanges"]
    assert [(each["step"], each["judge"], each["reply"]) for each in exchanges] == [
        ("write", False, "reply to reply to # Übung\n\nTh"),
        ("grade", True, "4"),
    ]
    assert found["notes"] == []


def test_offsets_count_characters_of_texts_beyond_ascii(bench):
    chained(bench)

    rows = bench.lines("questions.jsonl")
    passages = [traced(bench, "questions.jsonl", n)["document"]["passages"][0] for n in (1, 2)]

    assert [row["chunk"] for row in rows[:2]] == [LEAVE[p["start"] : p["end"]] for p in passages]
    assert "🙂" in rows[0]["chunk"]


def test_the_record_names_files_prompts_models_judges_and_earlier_runs(bench):
    chained(bench)

    last, first = record(bench, "set.jsonl")["provenance"], record(bench, "chunks.jsonl")["provenance"]

    source = first["input"]
    assert (source["kind"], source["source"], source["files"], source["documents"]) == ("files", "handbook", 2, 2)
    assert [(each["path"], each["rows"]) for each in source["listed"]] == [
        ("handbook/leave.md", 1),
        ("handbook/rules.pdf", 1),
    ]
    assert source["listed"][0]["bytes"] == len(LEAVE.encode())
    assert source["chunks"]["count"] == 3
    assert source["chunks"]["steps"][0]["columns"]["start"] == "start"
    assert [prompt["step"] for prompt in last["prompts"]] == ["write", "grade"]
    assert last["prompts"][0]["template"] == [{"role": "user", "content": "Answer: {{ question }}"}]
    assert [(j["step"], j["models"], j["outputs"]) for j in last["judges"]] == [("grade", ["m"], ["score"])]
    assert [(use["step"], use["model"], use["served"]) for use in last["models"]] == [
        ("write", "m", {"m": 3}),
        ("grade", "m", {"m": 3}),
    ]
    assert [(run["output"], run["task"]["name"], run["models"]) for run in last["runs"]] == [
        ("questions.jsonl", "answers", ["m"]),
        ("chunks.jsonl", "chunks", []),
    ]
    assert [run["unchanged"] for run in last["runs"]] == [True, True]
    assert last["runs"][1]["input"]["listed"] == source["listed"]


def test_the_hashes_are_those_of_the_usual_tools(bench):
    import hashlib

    chained(bench)
    prompt = record(bench, "questions.jsonl")["provenance"]["prompts"][0]

    assert prompt["sha256"] == hashlib.sha256((bench.folder / "answers.yaml").read_bytes()).hexdigest()
    template = json.dumps(prompt["template"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert prompt["template_sha256"] == hashlib.sha256(template.encode()).hexdigest()


def test_a_chunk_of_a_pdf_is_traced_to_its_page(bench):
    bench.write("small.yaml", CHUNKS.replace("unit: headings", "size: 40"))
    assert bench("run", "small.yaml", "-i", "handbook/rules.pdf", "-o", "out.jsonl").code == 0

    for number, row in enumerate(bench.lines("out.jsonl"), 1):
        [passage] = traced(bench, "out.jsonl", number)["document"]["passages"]
        assert (passage["text"], passage["pages"]) == (row["chunk"], [number])
        assert (passage["start"], passage["end"]) == (row["start"], row["end"])


def test_a_chunk_across_pages_names_all_of_them(bench):
    bench.write("large.yaml", CHUNKS.replace("unit: headings", "size: 1000"))
    assert bench("run", "large.yaml", "-i", "handbook/rules.pdf", "-o", "out.jsonl").code == 0

    [passage] = traced(bench, "out.jsonl", 1)["document"]["passages"]

    assert passage["pages"] == [1, 2, 3]


def test_with_pages_the_offsets_are_in_the_page(bench):
    bench.write(
        "pages.yaml",
        CHUNKS.replace("- drop: text", "- drop: [text, image]").replace(
            "path: W", "image: {type: any, required: false}, path: W"
        ),
    )
    assert bench("run", "pages.yaml", "-i", "handbook/*.pdf", "--pages", "-o", "out.jsonl").code == 0
    rows = bench.lines("out.jsonl")

    document = traced(bench, "out.jsonl", len(rows))["document"]

    assert (rows[-1]["page"], rows[-1]["start"]) == (3, 0)
    assert (document["page"], document["pages"]) == (3, 3)
    [passage] = document["passages"]
    assert (passage["text"], passage["pages"]) == (rows[-1]["chunk"], [3])


def test_a_document_in_an_archive_is_found(bench):
    shutil.make_archive(str(bench.folder / "handbook"), "zip", bench.folder / "handbook")
    assert bench("run", "chunks.yaml", "-i", "handbook.zip", "-o", "out.jsonl").code == 0

    rows = bench.lines("out.jsonl")
    documents = [traced(bench, "out.jsonl", number)["document"] for number in range(1, len(rows) + 1)]

    assert record(bench, "out.jsonl")["provenance"]["input"]["documents"] == 2
    assert [document["path"] for document in documents] == [row["path"] for row in rows]
    assert {document["state"] for document in documents} == {"unchanged"}
    assert [document["passages"][0]["text"] for document in documents] == [row["chunk"] for row in rows]


def test_a_changed_document_is_noticed_and_the_chunk_found_where_it_is_now(bench):
    chained(bench)
    bench.write("handbook/leave.md", "New.\n\n" + LEAVE)

    found = traced(bench, "questions.jsonl", 2, code=3)

    assert found["document"]["state"] == "changed"
    passage = found["document"]["passages"][0]
    assert passage["start"] == bench.lines("questions.jsonl")[1]["start"] + 6
    assert found["notes"][0] == "handbook/leave.md was changed after the run: its checksum differs"
    assert "the chunk is now at characters" in found["notes"][1]


def test_a_chunk_that_a_changed_document_lacks_is_reported(bench):
    chained(bench)
    bench.write("handbook/leave.md", "Something else.")

    found = traced(bench, "questions.jsonl", 2, code=3)

    assert "handbook/leave.md was changed: the chunk is not in it" in found["notes"]
    assert found["document"]["passages"][0]["text"] == bench.lines("questions.jsonl")[1]["chunk"]


def test_a_document_that_is_gone_leaves_the_chunk_of_the_row(bench):
    chained(bench)
    (bench.folder / "handbook/leave.md").unlink()

    found = traced(bench, "questions.jsonl", 2, code=3)

    assert found["notes"] == ["handbook/leave.md was moved or deleted after the run"]
    assert (found["document"]["file"], found["document"]["state"]) == (None, "missing")
    assert found["document"]["passages"][0]["text"].startswith("## Sick")


def test_outputs_that_move_with_their_documents_are_still_traced(bench):
    chained(bench)
    moved = bench.folder / "elsewhere"
    moved.mkdir()
    for name in ("handbook", "set.jsonl", "questions.jsonl", "chunks.jsonl"):
        shutil.move(bench.folder / name, moved / name)
        if name != "handbook":
            shutil.move(bench.folder / f"{name}.run.json", moved / f"{name}.run.json")

    found = traced(bench, "elsewhere/questions.jsonl", 2)

    assert found["document"]["file"] == str(moved / "handbook/leave.md")


def test_an_output_that_moves_alone_is_traced_to_where_the_documents_are(bench):
    chained(bench)
    (bench.folder / "elsewhere").mkdir()
    for name in ("questions.jsonl", "questions.jsonl.run.json"):
        shutil.move(bench.folder / name, bench.folder / "elsewhere" / name)

    found = traced(bench, "elsewhere/questions.jsonl", 2)

    assert [row["task"]["name"] for row in found["rows"]] == ["answers", "chunks"]
    assert found["document"]["state"] == "unchanged"


def test_an_output_that_was_edited_is_noticed(bench):
    chained(bench)
    with (bench.folder / "chunks.jsonl").open("a") as file:
        file.write("\n")

    found = traced(bench, "questions.jsonl", 2, code=3)

    assert found["rows"][1]["unchanged"] is False
    assert any(note.endswith("chunks.jsonl was changed after its run: its checksum differs") for note in found["notes"])


def test_a_changed_input_row_is_found_by_its_values(bench):
    chained(bench)
    lines = (bench.folder / "chunks.jsonl").read_text().splitlines(keepends=True)
    (bench.folder / "chunks.jsonl").write_text("".join(reversed(lines)))

    found = traced(bench, "questions.jsonl", 1, code=3)

    assert found["rows"][1]["row"] == 3
    assert found["rows"][1]["values"]["chunk"] == found["rows"][0]["values"]["chunk"]


def test_rows_that_were_left_out_do_not_shift_the_others(bench):
    """Failed rows are not written by a task that writes only outputs; several generations are."""
    bench.write("in.jsonl", "".join(json.dumps({"instruction": t}) + "\n" for t in ("a", "", "b", "c")))
    bench.rows(
        [
            {"instruction": "a", "generation": "1"},
            {"instruction": "b", "generation": ""},
            {"instruction": "c", "generation": "3"},
        ]
    )
    assert bench("run", "format-sft", "-i", "in.jsonl", "-o", "out.jsonl").code == 3

    found = traced(bench, "out.jsonl", 2)

    assert record(bench, "out.jsonl")["provenance"]["layout"] == "1 0 1"
    assert found["rows"][0]["input"]["row"] == 3


def test_a_prompt_and_a_reply_that_the_output_lacks_come_from_the_task_and_the_store(bench):
    bench.write("answers.yaml", ANSWERS + "add_raw_input: false\nadd_raw_output: false\n")
    chained(bench)

    found = traced(bench, "questions.jsonl", 2)

    [exchange] = found["rows"][0]["exchanges"]
    assert exchange["messages"][0]["content"] == "Ask about: ## Sick\n\nCall us before nine in the morning."
    assert exchange["reply"] == "reply to ## Sick\n\nCall us bef"


def test_a_pruned_store_and_a_changed_task_are_reported(bench):
    bench.write("answers.yaml", ANSWERS + "add_raw_input: false\nadd_raw_output: false\n")
    chained(bench)
    assert bench("store", "prune", "--model", "m", "--yes").code == 0

    pruned = traced(bench, "questions.jsonl", 2, code=3)
    bench.write("answers.yaml", ANSWERS.replace("Ask", "Tell me"))
    changed = traced(bench, "questions.jsonl", 2, code=3)

    assert pruned["rows"][0]["exchanges"][0]["reply"] is None
    assert "does not have the reply: it was pruned" in pruned["notes"][0]
    assert "answers.yaml was changed after the run, so the prompt can't be rendered again" in changed["notes"][0]


def test_a_prompt_about_a_document_is_rendered_from_the_document(bench):
    bench.write("page.yaml", ANSWERS.replace("chunk", "text") + "add_raw_input: false\n")
    assert bench("run", "page.yaml", "-i", "handbook/*.pdf", "--pages", "-o", "out.jsonl", *bench.url).code == 0

    [exchange] = traced(bench, "out.jsonl", 2)["rows"][0]["exchanges"]

    assert exchange["messages"][0]["content"] == "Ask about: Rule two of the house is on this page."


def test_grouped_chunks_are_all_found(bench):
    bench.write("grouped.yaml", CHUNKS.replace("- dedup: chunk", "- keep: [path, chunk, start, end]\n  - group: path"))
    assert bench("run", "grouped.yaml", "-i", "handbook", "-o", "out.jsonl").code == 0

    document = traced(bench, "out.jsonl", 1)["document"]

    assert [passage["text"] for passage in document["passages"]] == bench.lines("out.jsonl")[0]["chunk"]
    assert len(document["passages"]) == 2


def test_a_chunk_of_a_text_that_a_step_changed_says_so(bench):
    bench.write(
        "changed.yaml", CHUNKS.replace("- chunk: {from", "- set: {text: '{{ text | upper }}'}\n  - chunk: {from")
    )
    assert bench("run", "changed.yaml", "-i", "handbook", "-o", "out.jsonl").code == 0

    found = traced(bench, "out.jsonl", 2, code=3)

    assert found["notes"] == ["handbook/leave.md was cut from a text that the run computed: the chunk is not in it"]


def test_evidence_is_found_although_the_row_has_no_offsets(bench):
    """White space may differ, as PDFs break lines anywhere."""
    bench.write("quote.yaml", ANSWERS.replace("chunk", "text").replace("question", "evidence"))
    bench.server.reply = lambda _: "Call us\nbefore nine in the morning."
    assert bench("run", "quote.yaml", "-i", "handbook/leave.md", "-o", "out.jsonl", *bench.url).code == 0

    [passage] = traced(bench, "out.jsonl", 1)["document"]["passages"]

    assert passage["column"] == "evidence"
    assert LEAVE[passage["start"] : passage["end"]] == "Call us before nine in the morning."


def test_a_part_of_a_cluster_is_traced_by_its_values(bench):
    """The record of a part names the files that its rows come from."""
    chained(bench)
    (bench.folder / "out").mkdir()
    shutil.move(bench.folder / "questions.jsonl", bench.folder / "out/part-00000.jsonl")
    part = record(bench, "questions.jsonl")
    part["provenance"]["output"] = str(bench.folder / "out/part-00000.jsonl")
    part["provenance"]["input"] |= {"kind": "part", "files": ["chunks.jsonl"], "source": "chunks.jsonl (part 0)"}
    bench.write("out/part-00000.jsonl.run.json", json.dumps(part))

    found = traced(bench, "out", 2)

    assert [row["task"]["name"] for row in found["rows"]] == ["answers", "chunks"]
    assert found["document"]["passages"][0]["text"].startswith("## Sick")


def test_merged_shards_are_traced_as_one_run(bench):
    for shard in ("1/2", "2/2"):
        assert bench.run("--shard", shard, "-n", "2", "-o", f"{shard[0]}.jsonl").code == 0
    assert bench("merge", "out.jsonl", "2.jsonl", "1.jsonl").code == 0
    merged = record(bench, "out.jsonl")["provenance"]

    assert merged["layout"] == "2*5"
    assert merged["input"]["listed"][0]["rows"] == merged["input"]["rows"] == 5
    assert merged["models"][0]["served"] == {"m": 10}
    for number, row in enumerate(bench.lines("out.jsonl"), 1):
        found = traced(bench, "out.jsonl", number)["rows"][0]
        assert found["input"]["row"] == int(row["instruction"].split()[1]) + 1


def test_a_selection_of_rows_is_taken_into_account(bench):
    assert bench.run("--offset", "1", "--limit", "4", "--sample", "2", "-n", "2", "-o", "out.jsonl").code == 0

    for number, row in enumerate(bench.lines("out.jsonl"), 1):
        found = traced(bench, "out.jsonl", number)
        assert found["rows"][0]["input"]["row"] == int(row["instruction"].split()[1]) + 1


def test_values_of_tables_match_those_of_json(bench):
    """Parquet adds keys of other rows; CSV has texts."""
    bench.write(
        "sorted.yaml", "inputs: {a: {type: object}, n: {type: integer}}\nsteps:\n- sort: {by: n, descending: true}\n"
    )
    rows = [
        {"a": {"x": 1}, "n": 1, "f": 0.5},
        {"a": {"y": [True]}, "n": 2, "f": None},
        {"a": {"x": 2}, "n": 3, "f": 1.0},
    ]
    bench.rows(rows)
    for ending in (".parquet", ".csv"):
        assert bench("run", "sorted.yaml", "-i", "in.jsonl", "-o", f"out{ending}").code == 0
        found = [traced(bench, f"out{ending}", n)["rows"][0]["input"]["row"] for n in (1, 2, 3)]
        assert found == [3, 2, 1]


def test_grouped_rows_name_all_input_rows(bench):
    bench.write("group.yaml", "inputs: {a: x}\nsteps:\n- group: a\n")
    bench.write("in.jsonl", "".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in ((1, 1), (2, 2), (1, 3))))
    assert bench("run", "group.yaml", "-i", "in.jsonl", "-o", "out.jsonl").code == 0

    found = traced(bench, "out.jsonl", 1)

    assert found["rows"][0]["input"]["row"] == 1
    assert found["rows"][0]["input"]["others"] == ["in.jsonl:3"]


def test_equal_rows_that_a_step_moved_are_all_named(bench):
    bench.write("sorted.yaml", "inputs: {a: {type: integer}}\nsteps:\n- sort: a\n")
    bench.rows([{"a": 1}, {"a": 0}, {"a": 1}])
    assert bench("run", "sorted.yaml", "-i", "in.jsonl", "-o", "out.jsonl").code == 0

    found = traced(bench, "out.jsonl", 3, code=3)

    assert (found["rows"][0]["input"]["row"], found["rows"][0]["input"]["others"]) == (1, ["in.jsonl:3"])
    assert found["notes"] == ["2 rows of the input have the values of this row in `a`"]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_are_traced_as_well(bench, ending):
    assert bench("run", "chunks.yaml", "-i", "handbook", "-o", f"chunks{ending}").code == 0
    assert bench("run", "answers.yaml", "-i", f"chunks{ending}", "-o", f"out{ending}", *bench.url).code == 0

    found = traced(bench, f"out{ending}", 2)

    assert found["rows"][0]["exchanges"][0]["reply"] == "reply to ## Sick\n\nCall us bef"
    [passage] = found["document"]["passages"]
    assert (passage["column"], passage["text"]) == ("chunk", LEAVE[passage["start"] :].strip())


def test_a_folder_of_parts_is_traced(bench):
    assert bench("run", "chunks.yaml", "-i", "handbook", "-o", "chunks/").code == 0
    assert bench("run", "answers.yaml", "-i", "chunks", "-o", "out.jsonl", *bench.url).code == 0

    found = traced(bench, "out.jsonl", 2)

    assert [row["task"]["name"] for row in found["rows"]] == ["answers", "chunks"]
    assert found["document"]["passages"][0]["text"].startswith("## Sick")


def test_thousands_of_files_leave_the_record_small(bench):
    folder = bench.folder / "many"
    folder.mkdir()
    for number in range(1_500):
        (folder / f"{number:04}.txt").write_text(f"Text number {number} of the folder.")
    assert bench("run", "chunks.yaml", "-i", "many", "-o", "out.jsonl").code == 0

    source = record(bench, "out.jsonl")["provenance"]["input"]
    assert (source["files"], source["documents"], len(source["listed"])) == (1_500, 1_500, 100)
    assert source["list"] == "out.jsonl.run.files"
    assert (bench.folder / "out.jsonl.run.json").stat().st_size < 50_000
    lines = [json.loads(line) for line in (bench.folder / "out.jsonl.run.files").read_text().splitlines()]
    assert [line["path"] for line in lines] == [f"many/{number:04}.txt" for number in range(1_500)]
    assert traced(bench, "out.jsonl", 1_400)["document"]["state"] == "unchanged"
    (folder / "1399.txt").write_text("Changed.")
    assert traced(bench, "out.jsonl", 1_400, code=3)["document"]["state"] == "changed"


def test_a_later_run_over_few_files_removes_the_list(bench):
    folder = bench.folder / "many"
    folder.mkdir()
    for number in range(101):
        (folder / f"{number:04}.txt").write_text(f"Text {number}.")
    bench("run", "chunks.yaml", "-i", "many", "-o", "out.jsonl")
    assert (bench.folder / "out.jsonl.run.files").exists()
    (folder / "0000.txt").unlink()

    bench("run", "chunks.yaml", "-i", "many", "-o", "out.jsonl")

    assert not (bench.folder / "out.jsonl.run.files").exists()


def test_a_row_that_does_not_exist_and_an_output_that_does_not_exist_are_errors(bench):
    chained(bench)

    done = bench("trace", "chunks.jsonl", "9")
    assert (done.code, done.err) == (2, "error: chunks.jsonl has 3 rows; there is no row 9\n")
    assert bench("trace", "nothing.jsonl", "1").code == 2


def test_rows_of_other_origins_say_why_the_trace_ends(bench):
    bench("run", "task.yaml", "-i", "-", "-o", "out.jsonl", *bench.url, stdin='{"instruction": "a"}\n')
    (bench.folder / "plain.jsonl").write_text('{"a": 1}\n')

    assert traced(bench, "out.jsonl", 1, code=3)["notes"] == ["the input came from stdin, which was not saved"]
    [note] = traced(bench, "plain.jsonl", 1, code=3)["notes"]
    assert "plain.jsonl.run.json is missing" in note


def test_what_is_printed_for_people(bench):
    chained(bench, "--keep", "path")

    done = bench("trace", "set.jsonl", "2")

    assert "── set.jsonl, row 2\n  path: handbook/leave.md\n" in done.out
    assert "  task     chunks 1.2, chunks.yaml, SHA-256 " in done.out
    assert "  input    questions.jsonl, row 2 (unchanged)\n" in done.out
    assert "  prompt   answers · m\n    user\n      Ask about: ## Sick\n" in done.out
    start = LEAVE.index("## Sick")
    assert f"  passage  chunk, characters {start} to {len(LEAVE) - 1}\n    ## Sick\n" in done.out
    assert "note     set.jsonl has no prompts and replies" in done.out
    assert "/" + str(bench.folder).strip("/") not in done.out

"""A folder of Parquet parts: the rows of one file, readable during the run, with the same types in every part."""

import json
import multiprocessing
import os
import signal
import threading

import pyarrow as pa
import pytest
from pyarrow import parquet

from distask.data.input import open_input
from distask.data.row import Row
from distask.data.writers import open_output, parts
from distask.data.writers.parts import PartsWriter
from distask.errors import OutputBusy, UsageError
from distask.runner.run import run
from tests.server import ScriptedServer

SPEC = """\
name: answer
inputs: {instruction: The instruction.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {generation: The reply.}
format_output: {parser: text}
"""


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 10)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def write(out, rows, *, commit=True):
    writer = PartsWriter(out)
    for number, values in enumerate(rows):
        writer.write(Row(values, "in.jsonl", number + 1, index=number), {})
    writer.commit() if commit else writer.abort()
    return writer


def one_file(path, rows):
    """The table of the same rows in one file."""
    writer = open_output(str(path / "one.parquet"))
    for number, values in enumerate(rows):
        writer.write(Row(values, "in.jsonl", number + 1, index=number), {})
    writer.commit()
    return parquet.read_table(path / "one.parquet")


def names(out):
    return sorted(path.name for path in out.iterdir())


def table(out):
    """All parts, which must have one schema."""
    several = [parquet.read_table(out / name) for name in names(out) if name.startswith("part-")]
    return pa.concat_tables(several)


def test_parts_hold_the_rows_of_one_file_in_order(out, tmp_path):
    rows = [{"n": n, "text": f"row {n}"} for n in range(35)]

    writer = write(out, rows)

    assert names(out) == [f"part-{n:05d}.parquet" for n in range(4)]
    assert table(out).equals(one_file(tmp_path, rows))
    assert writer.checksum is not None


@pytest.mark.parametrize("count", [0, 9, 10, 20])
def test_the_last_part_is_never_empty_unless_it_is_the_only_one(out, count):
    write(out, [{"n": n} for n in range(count)])

    sizes = [parquet.read_metadata(out / name).num_rows for name in names(out)]

    assert sizes == ([10] * (count // 10) + [count % 10] * (count % 10 > 0) or [0])


@pytest.mark.parametrize(
    "late",
    [1.5, None, "text", 2**63, [1], {"a": 1}, True],
    ids=["float", "null", "text", "large", "list", "struct", "bool"],
)
@pytest.mark.parametrize("early", [1, None, "word"], ids=["int", "null", "text"])
def test_a_type_that_a_later_part_widens_is_the_same_in_all_parts(out, tmp_path, early, late):
    rows = [{"value": early, "n": n} for n in range(25)] + [{"value": late, "n": n} for n in range(25, 30)]

    write(out, rows)

    assert table(out).equals(one_file(tmp_path, rows))


def test_integers_that_a_float_can_not_hold_become_text(out, tmp_path):
    rows = [{"value": 2**60 + 1}] * 15 + [{"value": 0.5}] * 10

    writer = write(out, rows)

    assert table(out).equals(one_file(tmp_path, rows))
    assert ["value" in note for note in writer.notes] == [True]


def test_columns_and_fields_that_come_late_are_null_before(out, tmp_path):
    rows = [{"a": {"x": n}} for n in range(15)] + [{"a": {"x": n, "y": "new"}, "b": n} for n in range(15)]

    write(out, rows)

    assert table(out).equals(one_file(tmp_path, rows))


def test_complete_parts_can_be_read_while_the_run_goes_on(out):
    datasets = pytest.importorskip("datasets")
    writer = PartsWriter(out)
    for n in range(25):
        writer.write(Row({"n": n}, "in.jsonl", n + 1), {})
    writer._wait()

    seen = datasets.load_dataset(str(out), split="train", cache_dir=str(out.parent / "cache"))

    assert seen["n"] == list(range(20))
    writer.abort()
    assert writer.partial.read_text().count("\n") == 5


def test_parts_of_an_interrupted_run_stay_until_they_are_written_again(out):
    rows = [{"n": n} for n in range(30)]
    write(out, rows, commit=False)
    writer = PartsWriter(out)
    assert table(out).num_rows == 30

    for n in range(15):
        writer.write(Row(rows[n], "in.jsonl", n + 1), {})
    writer._wait()

    assert table(out).column("n").to_pylist() == list(range(30))
    writer.abort()


def test_a_part_that_differs_ends_the_parts_after_it(out):
    write(out, [{"n": n} for n in range(30)], commit=False)
    writer = PartsWriter(out)

    for n in range(1, 11):  # a row is left out
        writer.write(Row({"n": n}, "in.jsonl", n + 1), {})
    writer._wait()

    assert table(out).column("n").to_pylist() == list(range(1, 11))
    writer.abort()


def test_fewer_rows_leave_no_part_of_the_earlier_run(out):
    rows = [{"n": n} for n in range(30)]
    write(out, rows)

    write(out, rows[:20])

    assert table(out).column("n").to_pylist() == list(range(20))


def test_a_folder_of_other_files_is_refused(out):
    out.mkdir()
    (out / "thesis.tex").write_text("")

    with pytest.raises(UsageError, match=r"thesis\.tex"):
        PartsWriter(out)

    (out / "thesis.tex").unlink()
    PartsWriter(out).abort()


def test_two_runs_can_not_write_one_folder(out):
    writer = PartsWriter(out)

    with pytest.raises(OutputBusy):
        PartsWriter(out)

    writer.abort()


def test_a_folder_of_parts_is_an_input(out):
    write(out, [{"n": n} for n in range(30)])

    rows = open_input(str(out))
    rows.scan()

    assert [row.values["n"] for row in rows] == list(range(30))


# Runs


def inputs(folder, count):
    (folder / "task.yaml").write_text(SPEC)
    rows = [{"instruction": f"question {n}", "n": n} for n in range(count)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def start(server, output="out/"):
    config = {"base_url": server.url, "model": "m", "limits": {"concurrency": 4}}
    return run("task.yaml", "in.jsonl", llm=config, output=output)


def test_a_killed_run_resumes_without_losing_or_repeating_rows_or_calls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs(tmp_path, 60)
    seen, may_die = 0, threading.Event()

    def reply(body):
        nonlocal seen
        seen += 1
        if seen == 40:
            may_die.set()
        return f"answer to {body['messages'][0]['content']}"

    with ScriptedServer(reply) as server:
        child = multiprocessing.get_context("fork").Process(target=start, args=(server,))
        server.delay = 0.01
        child.start()
        may_die.wait(60)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        server.settle()
        before = table(tmp_path / "out").column("n").to_pylist()

        result = start(server)
        calls = len(server.requests)
        again = start(server)
        start(server, "one.parquet")

    assert before == list(range(len(before)))
    assert len(before) % 10 == 0
    assert calls <= 60 + 4
    assert result.stats.rows_out == 60
    assert table(tmp_path / "out").equals(parquet.read_table("one.parquet"))
    assert table(tmp_path / "out").column("generation")[59].as_py() == "answer to question 59"
    assert again.stats.calls == 0


def test_a_folder_of_another_run_or_one_that_was_edited_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs(tmp_path, 12)
    with ScriptedServer() as server:
        start(server)
        parquet.write_table(pa.table({"n": [1]}), "out/part-00000.parquet")

        with pytest.raises(UsageError, match="is from another run or was edited"):
            start(server)


def test_a_smaller_output_is_replaced_only_on_request(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs(tmp_path, 25)
    with ScriptedServer() as server:
        start(server)
        inputs(tmp_path, 12)
        (tmp_path / "in.jsonl").rename("other.jsonl")
        config = {"base_url": server.url, "model": "m"}

        with pytest.raises(UsageError, match="is from another run"):
            run("task.yaml", "other.jsonl", llm=config, output="out/")
        calls = len(server.requests)
        run("task.yaml", "other.jsonl", llm=config, output="out/", overwrite=True)

    assert calls == len(server.requests) == 25
    assert table(tmp_path / "out").column("n").to_pylist() == list(range(12))

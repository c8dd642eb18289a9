"""Checks of a task made of tasks: every fault is reported before a call, at its place, with a hint."""

from __future__ import annotations

import json

import pytest

from distask.errors import SpecError
from distask.spec.load import LoadedPipeline, load_spec

ASK = """
  - name: ask
    task:
      format_input: [{role: user, content: "{{ instruction }}"}]
      outputs: {reply: A reply.}
      format_output: {parser: text}
"""


@pytest.fixture
def spec(tmp_path):
    """Load a spec with these steps, and other files beside it."""

    def load(steps, files=None, **more):
        for name, text in (files or {}).items():
            (tmp_path / name).write_text(text)
        keys = {"inputs": {"instruction": "It."}} | more
        head = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
        (tmp_path / "task.yaml").write_text(f"{head}steps:\n{steps}\n")
        return load_spec(tmp_path / "task.yaml")

    return load


def faults_of(spec, steps, *arguments, **more):
    """The faults of a spec with these steps: the text at fault, the message, the hint."""
    with pytest.raises(SpecError) as raised:
        spec(steps, *arguments, **more)
    return [
        (d.source[d.column - 1 : d.column - 1 + d.length], d.message, d.hint or "") for d in raised.value.diagnostics
    ]


def test_examples_belong_to_the_task_that_is_replied_to(spec):
    """The names that they read are inputs of a task written inline; the outputs of the steps have none."""
    inline = ASK.replace("A reply.", "{examples: note | sentences}")

    assert list(spec(inline, inputs={"instruction": "It.", "note": "A."}).tasks[("steps", 0)].spec.inputs) == [
        "instruction",
        "note",
    ]
    ((at, message, _),) = faults_of(spec, ASK, outputs={"reply": {"examples": ["x"]}})
    assert at == '"examples"'
    assert "no reply fills this output" in message


def test_a_spec_of_steps_is_loaded_with_the_tasks_of_its_steps(spec):
    loaded = spec(ASK + "  - {task: text-generation, input_mappings: {instruction: reply}}")

    assert isinstance(loaded, LoadedPipeline)
    assert [task.spec.name for task in loaded.tasks.values()] == ["ask", "text-generation"]
    assert list(loaded.tasks[("steps", 0)].spec.inputs) == ["instruction"]


@pytest.mark.parametrize(
    ("steps", "at", "words", "mend"),
    [
        ("  - filter: lenght > 3", "lenght", "not a column at this step", ""),
        ("  - sort: instructoin", "instructoin", "neither an input nor made by an earlier step", "`instruction`"),
        ("  - keep: [instruction, reply]", "reply", "neither an input nor made by an earlier step", ""),
        ("  - explode: replies", "replies", "neither an input nor made by an earlier step", ""),
        ("  - group: {by: [id]}", "id", "neither an input nor made by an earlier step", ""),
        ("  - set: {model_name: x}", "model_name", "every run adds", "rename"),
        ("  - set: {a: '{{ b }}', b: 1}", "b", "not a column", ""),
        ("  - {task: summarise}", "summarise", "no built-in task", "`summarize`"),
        ("  - {task: ./no.yaml}", "./no.yaml", "does not exist", ""),
        ("  - {task: /etc/passwd.yaml}", "/etc/passwd.yaml", "not a valid relative path", ""),
        ("  - {task: summarize}", "summarize", "reads `text`", ""),
        ("  - {task: text-generation, params: {sistem: x}}", "sistem", "no param `sistem`", ""),
        ("  - {task: text-generation, llm: open-ai}", "open-ai", "no built-in config", "`openai`"),
        ("  - {task: text-generation, llm: {base_url: x}}", "base_url", "unknown key", "can't contain an endpoint"),
        ("  - {task: text-generation, output_mappings: {generations: a}}", "generations", "no output column", "generation"),
        ("  - {task: text-generation}\n  - {task: text-generation}", "text-generation", "already exists", "output_mappings"),
        ("  - {repeat: 1001, steps: [{filter: 'true'}]}", "1001", "0 to 1,000 turns", ""),
        ("  - {repeat: turns, steps: [{filter: 'true'}]}", "turns", "not a column", ""),
        ("  - {repeat: 2, steps: [{sort: instruction}]}", "sort", "can't be used in a loop", "after"),
        ("  - {for_each: instruction, steps: [{filter: 'true'}]}", "instruction", "name in expression", "for example"),
        ("  - {filter: 'true', sort: instruction}", "sort", "unknown key", "two steps"),
        ("  - chunk: {from: txt, size: 4}", "txt", "neither an input nor made by an earlier step", ""),
        ("  - chunk: {from: instruction}", "chunk", "needs a `size`", "size: 400"),
        ("  - chunk: {from: instruction, size: 0}", "0", "at least 1", ""),
        ("  - chunk: {from: instruction, size: 4, overlap: 4}", "4", "less than the size", ""),
        ("  - chunk: {from: instruction, size: instruction}", "instruction", "not a param or a var", ""),
        ("  - chunk: {from: instruction, size: 4, unit: words}", "words", "expected `characters`", ""),
        ("  - chunk: {from: instruction, size: 4, tokenizer: a.json}", "tokenizer", "does not apply", "unit: tokens"),
        ("  - chunk: {from: instruction, size: 4, unit: tokens, tokenizer: a.json}", "a.json", "does not exist", ""),
        ("  - chunk: {from: instruction, size: 4, unit: tokens, tokenizer: /a.json}", "/a.json", "outside", "folder"),
        ("  - chunk: {from: instruction, unit: headings, break_at_headings: true}", "break_at_headings", "already", ""),
        ("  - {chunk: {from: instruction, size: 4}, output_mappings: {stat: s}}", "stat", "no column", "start"),
        ("  - set: {end: 1}\n  - chunk: {from: instruction, size: 4}", "chunk", "`end`, which already exists", "new_end"),
        ("  - split: {by: pth}", "pth", "neither an input nor made by an earlier step", ""),
        ("  - split: {into: {train: 0}}", "0", "a share must be more than 0", ""),
        ("  - {split: instruction, output_mappings: {part: x}}", "part", "a split has no column", "split"),
        ("  - {repeat: 2, steps: [{split: instruction}]}", "split", "can't be used in a loop", "after"),
        ("  - language: txt", "txt", "neither an input nor made by an earlier step", ""),
        ("  - language: {from: instruction, keep: [en, English]}", "English", "not a language code", "ISO 639"),
        ("  - language: {from: instruction, min_score: 0.5}", "min_score", "only to the languages in `keep`", "keep"),
        ("  - decontaminate: {from: txt, against: task.yaml}", "txt", "neither an input nor", ""),
        ("  - decontaminate: {from: instruction, against: no.jsonl}", "no.jsonl", "does not exist", ""),
        ("  - decontaminate: {from: instruction, against: ['*.jsonl']}", "'*.jsonl'", "no file matches", ""),
        ("  - decontaminate: {from: instruction, against: ../a.jsonl}", "../a.jsonl", "outside", "its folder"),
        ("  - {filtre: 'true'}", "{", "this is not a step", "`filter`"),
        ("  - text-generation", "text-generation", "this is not a step", "{task: text-generation}"),
        ("  - {name: a, filter: 'true'}\n  - {name: a, filter: 'true'}", "a", "name `a` is already used", ""),
        ("  - {when: instruction, sort: instruction}", "instruction", "not a param or a var", "evaluated before"),
        ("  - {dedup: {by: instruction, threshold: 0.5}}", "threshold", "exact", "minhash"),
        ("  - {dedup: {by: instruction, model: a/b}}", "model", "not apply to `method: exact`", "method: semantic"),
        ("  - {dedup: {by: instruction, method: minhash, then: mark}}", "then", "not apply", "method: semantic"),
        ("  - {dedup: {by: instruction, method: semantic, threshold: 0}}", "0", "more than 0", ""),
        ("  - {dedup: {by: instruction, method: semantic, threshold: 1.5}}", "1.5", "at most 1", ""),
        ("  - {dedup: {by: instruction, method: semantic, then: keep}}", "keep", "expected `drop`", ""),
        ("  - {dedup: {by: instruction, method: semantic, model: ./no}}", "./no", "does not exist", ""),
        ("  - {dedup: {by: instruction, method: semantic, model: ../m}}", "../m", "outside the spec's", "-p model=FOLDER"),
        ("  - {dedup: {by: instruction, method: semantic, model: /m}}", "/m", "outside the spec's folder", "-p model"),
        ("  - {dedup: {by: instruction, method: semantic, model: potion}}", "potion", "neither a folder nor", "minishlab/"),
        (f"  - {{dedup: {{by: instruction, method: semantic, model: {'x' * 300}}}}}", "x" * 300, "neither a folder", ""),
        ("  - {dedup: {by: instruction, method: semantic, model: ./m.txt}}", "./m.txt", "does not exist", ""),
        ("  - {dedup: {by: instruction, method: semantic, model: '{{ text }}'}}", "text", "not a param or a var", ""),
        ("  - set: {duplicate_of: 1}\n  - {dedup: {by: instruction, method: semantic, then: mark}}", "mark", "already exists", "rename"),
        ("  - {sample: {n: 1, fraction: 0.5}}", "sample", "either", ""),
        ("  - filter: 'loop_index > 1'", "loop_index", "not a column", ""),
    ],
)  # fmt: skip
def test_a_fault_is_reported_where_it_stands_with_its_hint(spec, steps, at, words, mend):
    (found,) = faults_of(spec, steps)

    assert found[0] == at
    assert words in found[1]
    assert mend in found[2]


def test_quotes_are_no_fix_for_a_number_out_of_range(spec):
    """A threshold may be an expression, which is text; that does not make 1.5 a better one."""
    (found,) = faults_of(spec, "  - {dedup: {by: instruction, method: minhash, threshold: 1.5}}")

    assert found[1:] == ("expected at most 1, got the number 1.5", "")


@pytest.mark.parametrize("kind", ["integer", "number", "boolean", "list[number]"])
def test_a_meaning_is_that_of_a_text(spec, kind):
    (found,) = faults_of(spec, "  - {dedup: {by: n, method: semantic}}", inputs={"n": {"type": kind}})

    assert found[0] == "semantic"
    assert found[1] == f"`method: semantic` compares texts, but `n` is declared as `{kind}`"
    assert found[2] == ("use `cosine` for embeddings" if kind == "list[number]" else "use `exact`")


def test_a_column_is_there_from_the_step_on_that_makes_it(spec):
    """Also in a loop's second turn, in `until`, and behind a loop."""
    spec(ASK + "  - {repeat: 2, until: score > 3, steps: [{set: {score: '{{ reply | length }}'}}], collect: {all: score}}\n"
         "  - filter: score + (all | length) > loop\n", vars={"loop": 1})  # fmt: skip

    (found,) = faults_of(spec, "  - filter: reply\n" + ASK)
    assert found[0] == "reply"
    assert found[1].startswith("the expression reads `reply`")


def test_for_each_gives_lists_of_what_its_steps_make_and_no_more(spec):
    loop = "  - for_each: word in instruction.split()\n    steps: [{set: {long: '{{ word | length }}'}}]\n"
    spec(loop + "  - filter: long | max > 3")

    (found,) = faults_of(spec, loop + "  - filter: word")
    assert found[0] == "word"


def test_keep_drop_and_rename_change_what_later_steps_see(spec):
    for step in ("keep: [instruction]", "drop: reply", "rename: {reply: answer}"):
        (found,) = faults_of(spec, ASK + f"  - {step}\n  - filter: reply")
        assert found[0] == "reply"


def test_a_spec_that_does_not_say_what_it_reads_may_read_any_column(spec):
    spec("  - filter: anything > 3\n  - sort: whatever", inputs={})


def test_an_output_that_no_step_makes_is_reported(spec):
    (found,) = faults_of(spec, ASK, outputs={"reply": "R.", "score": "S."})

    assert found[:2] == ('"score"', "no step makes the output `score`")


def test_faults_of_a_step_s_task_are_reported_at_their_own_place_and_at_the_step(spec):
    inner = "format_input: [{role: user, content: '{{ x }}'}]\noutputs: {a: A.}\nformat_output: {parser: text}\n"

    found = faults_of(spec, "  - {task: inner.yaml}", {"inner.yaml": inner})

    assert [f[0] for f in found] == ["x", "inner.yaml"]
    assert "the task `inner.yaml` has errors" in found[1][1]


def test_a_fault_in_a_task_that_is_written_out_is_reported_in_its_line(spec):
    found = faults_of(
        spec, ASK.replace("{{ instruction }}", "{{ instruction | upcase }}").replace("{parser: text}", "{parser: txt}")
    )

    assert [f[0] for f in found] == ["upcase", "txt"]


def test_a_name_that_a_task_written_out_reads_is_reported_at_the_name(spec):
    (found,) = faults_of(spec, ASK.replace("{{ instruction }}", "First {{ instructions }}"))

    assert found[0] == "instructions"
    assert "neither an input nor made by an earlier step" in found[1]
    assert "instruction" in found[2]


def test_a_task_that_is_a_step_of_itself_is_refused(spec):
    found = faults_of(spec, "  - {task: other.yaml}", {"other.yaml": "steps: [{task: task.yaml}]\n"})

    assert "task.yaml → other.yaml → task.yaml" in found[0][1]
    assert "`repeat`" in found[0][2]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ("  - {repeat: 2, steps: [{task: all.yaml}]}", "in a loop"),
        ("  - {task: all.yaml, when: instruction}", "with a `when` that depends on the row"),
        ("  - {task: all.yaml, num_generations: 2}", "several generations"),
    ],
)
def test_a_task_that_waits_for_all_rows_is_done_once_for_all_of_them(spec, steps, why):
    files = {"all.yaml": "steps: [{sort: instruction}]\n"}

    (found,) = faults_of(spec, steps, files)

    assert found[0] == "all.yaml"
    assert why in found[1]
    spec("  - {task: all.yaml, when: turns > 1}", files, params={"turns": {"type": "integer", "default": 2}})


def test_what_asks_and_steps_are_not_mixed(spec):
    found = faults_of(spec, ASK, format_input=[{"role": "user", "content": "x"}])

    assert found[0][1] == "unknown key `format_input`"
    assert "move it into a step" in found[0][2]


def test_all_faults_of_the_steps_come_at_once(spec):
    found = faults_of(spec, "  - filter: a\n  - {bogus: 1}\n  - {task: nope}\n  - sort: b\n")

    assert len(found) == 3  # behind a step that can't be read there may be any column

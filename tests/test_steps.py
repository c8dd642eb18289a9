"""A task made of tasks, end to end, against an endpoint that answers from a script: what comes out, and what is asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from distask import load, run
from distask.errors import EndpointError, InputError, UsageError
from distask.runner.engine.budget import CostReached
from tests.server import Reply

ROOT = Path(__file__).resolve().parents[1]


def asked(word, out="reply", **more):
    """An inline step that sends `word` and the instruction."""
    task = {
        "format_input": [{"role": "user", "content": f"{word} {{{{ instruction }}}}"}],
        "outputs": {out: "A reply."},
        "format_output": {"parser": "text"},
    }
    return {"task": task, "name": word, **more}


EVOLVE = {"repeat": 3, "steps": [asked("evolve", output_mappings={"reply": "instruction"})]}
RATE = {
    "name": "rate",
    "task": {
        "format_input": [{"role": "user", "content": "rate {{ answer }}"}],
        "outputs": {"score": {"type": "integer", "minimum": 1, "maximum": 5}},
        "format_output": {"parser": "regex", "pattern": r"(?P<score>\d+)"},
    },
}


def words(body):
    return body["messages"][-1]["content"]


class Workbench:
    """An empty folder with a spec of steps, rows and a scripted server."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.out = folder / "out.jsonl"
        self.rows([{"instruction": f"q{i}"} for i in range(4)])

    def spec(self, *steps, name="task.yaml", **more):
        """Write a spec with these steps; JSON is YAML."""
        spec = {"name": "pipe", "inputs": {"instruction": "It."}, "steps": list(steps), **more}
        (self.folder / name).write_text(json.dumps(spec))

    def rows(self, rows):
        (self.folder / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    def run(self, *, llm=None, params=None, seed=0, task="task.yaml", **options):
        """Run, and give back the rows out; `calls` is how many the server saw."""
        before = len(self.server.requests)
        config = {"model": "m", "base_url": self.server.url, "api_key_env": None} | (llm or {})
        try:
            pipeline = load(self.folder / task, params, seed=seed)
            self.result = run(pipeline, self.folder / "in.jsonl", llm=config, output=self.out, **options)
        finally:
            self.calls = len(self.server.requests) - before
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def steps(self):
        """What each step did, by name."""
        return {count["step"]: count for count in self.result.stats.to_json()["steps"]}


@pytest.fixture
def bench(tmp_path, server):
    return Workbench(tmp_path, server)


# Loops and what is kept


def test_steps_over_grouped_generations_keep_what_was_said_of_each(bench):
    """Each entry of the metadata that came is a list then, beside what the steps say."""
    before = [{"raw_output_answer": "a"}, {"raw_output_answer": "b", "finish_reason": "length"}]
    bench.rows([{"instruction": "q", "distask_metadata": before, "model_name": "first"}])
    bench.spec(asked("rate"))

    (row,) = bench.run()

    assert row["distask_metadata"]["raw_output_answer"] == ["a", "b"]
    assert row["distask_metadata"]["finish_reason"] == [None, "length"]
    assert row["distask_metadata"]["input_model_name"] == "first"
    assert "raw_output_rate" in row["distask_metadata"]


def test_a_loop_continues_from_what_its_last_turn_left(bench):
    bench.spec({**EVOLVE, "collect": {"history": "instruction"}})

    rows = bench.run()

    assert rows[1]["instruction"] == "evolve evolve evolve q1"
    assert rows[1]["history"] == ["evolve q1", "evolve evolve q1", "evolve evolve evolve q1"]
    assert rows[1]["distask_metadata"]["raw_output_evolve"] == rows[1]["history"]
    assert [len(m) for m in rows[1]["distask_metadata"]["raw_input_evolve"]] == [1, 1, 1]
    assert rows[1]["model_name"] == "m"
    assert bench.calls == 12


def test_the_same_again_asks_nothing(bench):
    bench.spec(EVOLVE, asked("answer"))
    first = bench.run()

    assert bench.run() == first
    assert bench.calls == 0


def test_one_turn_more_asks_one_call_more_for_each_row(bench):
    bench.spec({**EVOLVE, "repeat": "turns"}, params={"turns": {"type": "integer", "default": 3}})
    bench.run()

    bench.run(params={"turns": 4}, overwrite=True)

    assert bench.calls == 4


def test_another_prompt_in_one_step_asks_nothing_again_in_the_others(bench):
    bench.spec(asked("first", "a"), asked("second", "b"), asked("third", "c"))
    bench.run()
    bench.spec(asked("first", "a"), asked("other", "b"), asked("third", "c"))

    bench.run()

    assert bench.calls == 4


def test_the_first_step_finds_what_a_run_of_its_task_alone_was_answered(bench):
    """To add a step to a task that ran is to pay for the new step only."""
    bench.rows([{"instruction": "same"}] * 3 + [{"instruction": "other"}])
    alone = {**asked("answer")["task"], "name": "answer", "inputs": {"instruction": "It."}}
    (bench.folder / "answer.yaml").write_text(json.dumps(alone))
    config = {"model": "m", "base_url": bench.server.url, "api_key_env": None}
    run(bench.folder / "answer.yaml", bench.folder / "in.jsonl", llm=config, output=bench.out)
    bench.spec({"task": "answer.yaml"}, asked("more", "b"))

    bench.run(overwrite=True)

    assert bench.calls == 4


def test_a_loop_ends_where_until_holds_and_begins_no_turn_where_while_does_not(bench):
    bench.rows([{"instruction": "a"}, {"instruction": "evolve evolve b"}])
    bench.spec({**EVOLVE, "repeat": 5, "until": "'evolve evolve' in instruction", "while": "loop_index < 4"})

    rows = bench.run()

    assert [r["instruction"] for r in rows] == ["evolve evolve a", "evolve evolve evolve b"]
    assert bench.calls == 3


@pytest.mark.battery
@pytest.mark.parametrize("killed_at", [1, 5, 11])
def test_a_run_that_is_killed_in_a_row_s_loop_continues_there(bench, killed_at):
    """kill -9, one call in flight: of all calls only the one without an answer is made twice."""
    bench.spec(EVOLVE, asked("answer"))
    reached, go_on = threading.Event(), threading.Event()

    def reply(body):
        if len(bench.server.requests) == killed_at + 1 and not go_on.is_set():
            reached.set()
            return Reply(delay=60)
        return words(body).upper()

    bench.server.reply = reply
    command = [sys.executable, "-m", "distask", "run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "-j", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--base-url", bench.server.url, "--model", "m", "-q"], cwd=bench.folder, env=environment
    )
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    go_on.set()

    rows = bench.run(llm={"limits": {"concurrency": 1}})

    assert bench.calls == 16 - killed_at
    assert rows[3]["reply"] == "ANSWER EVOLVE EVOLVE EVOLVE Q3"


def test_equal_requests_are_reported_apart_whichever_row_is_done_first(bench):
    """Every evolved text is the same, so the answers' requests are equal: each row keeps its own, in any order."""
    bench.spec(asked("evolve", output_mappings={"reply": "instruction"}), asked("answer"))
    bench.rows([{"instruction": f"q{i}"} for i in range(6)])
    count = iter(range(100))
    slow_first = {f"evolve q{i}": (6 - i) / 50 for i in range(6)}

    def reply(body):
        result = "the same" if words(body) in slow_first else f"answer {next(count)}"
        choice = {"index": 0, "message": {"role": "assistant", "content": result}, "finish_reason": "stop"}
        return Reply(body={"model": "m", "choices": [choice]}, delay=slow_first.get(words(body), 0))

    bench.server.reply = reply
    first = bench.run()
    (bench.folder / "in.jsonl").write_text("".join(json.dumps({"instruction": f"q{i}"}) + "\n" for i in (5, 3, 1)))

    rows = bench.run(llm={"limits": {"concurrency": 1}}, overwrite=True)

    assert len({r["reply"] for r in first}) == 6
    assert [r["reply"] for r in rows] == [first[i]["reply"] for i in (5, 3, 1)]
    assert bench.calls == 0


def test_equal_requests_of_one_row_are_samples_of_their_own(bench):
    bench.rows([{"instruction": "q"}])
    bench.spec({"repeat": 3, "steps": [asked("ask")]}, asked("ask", "second") | {"name": "ask-again"})

    bench.run()
    assert bench.calls == 4
    bench.run()
    assert bench.calls == 0
    bench.run(llm={"generation": {"temperature": 0}}, overwrite=True)
    assert bench.calls == 1


def test_what_is_drawn_differs_by_turn_and_not_by_concurrency(bench):
    """A task in a loop draws anew each turn; the row keeps what was drawn where an output names it."""
    drawing = asked("ask", output_mappings={"reply": "instruction"})
    drawing["task"] |= {
        "draw": {"mood": {"range": [1, 10**9]}},
        "outputs": {"reply": "R.", "mood": {"type": "integer"}},
    }
    drawing["task"]["format_input"][0]["content"] = "{{ mood }} {{ instruction }}"
    bench.spec({"repeat": 3, "steps": [drawing], "collect": {"moods": "mood"}})

    rows = bench.run()
    moods = [mood for row in rows for mood in row["moods"]]
    again = bench.run(llm={"limits": {"concurrency": 1}}, store=bench.folder / "other.db")

    assert len(set(moods)) == 12
    assert again == rows
    assert bench.run(seed=1, overwrite=True)[0]["moods"] != rows[0]["moods"]


def test_rows_flow_on_their_own(bench):
    """The second row is through both steps while the first one waits in its first."""
    bench.spec(asked("one", "a"), asked("two", "b"))
    bench.rows([{"instruction": "slow"}, {"instruction": "quick"}])
    bench.server.reply = lambda body: Reply(delay=0.3) if words(body) == "one slow" else "x"
    bench.run()

    row_request = [words(body) for body in bench.server.requests]
    assert row_request.index("two quick") < row_request.index("two slow")


# Failures


def test_a_failed_step_leaves_nulls_and_a_reason_and_no_later_step_is_asked(bench):
    bench.rows([{"instruction": "good"}, {"instruction": "bad"}])
    bench.spec(asked("one", "answer"), RATE, asked("three", "c"))
    bench.server.reply = lambda body: "9" if words(body).startswith("rate one bad") else f"{words(body)} 4"

    rows = bench.run()

    assert [r["score"] for r in rows] == [4, None]
    assert rows[1]["answer"] == "one bad 4"
    assert rows[1]["c"] is None
    assert rows[1]["distask_metadata"]["error_rate"]["message"] == "score: 9 is more than 5"
    assert bench.calls == 5
    assert bench.steps()["three"] | {"skipped": 1, "asked": 1} == bench.steps()["three"]
    assert bench.result.exit_code == 3


def test_a_step_whose_when_reads_the_row_can_make_up_for_a_failure(bench):
    bench.rows([{"instruction": "good"}, {"instruction": "bad"}])
    again = {
        **RATE,
        "name": "again",
        "when": "score is none",
        "llm": {"model": "big"},
        "output_mappings": {"score": "score"},
    }
    bench.spec(asked("one", "answer"), RATE, again, asked("three", "c"))
    bench.server.models = ["m", "big"]
    bench.server.reply = lambda body: (
        "nothing" if words(body).startswith("rate one bad") and body["model"] == "m" else f"{words(body)} 4"
    )

    rows = bench.run()

    assert [r["score"] for r in rows] == [4, 4]
    assert rows[1]["c"] is not None
    assert rows[1]["distask_metadata"]["model_again"] == "big"


def test_an_item_that_fails_leaves_a_null_in_its_place(bench):
    bench.spec({"set": {"answers": ["a", "bad", "c"]}}, {"for_each": "answer in answers", "steps": [RATE]})
    bench.server.reply = lambda body: "no" if "bad" in words(body) else "4"

    rows = bench.run()

    assert rows[0]["score"] == [4, None, 4]
    assert [bool(e) for e in rows[0]["distask_metadata"]["error_rate"]] == [False, True, False]
    assert "answer" not in rows[0]


def test_a_fault_that_ends_the_run_ends_a_run_of_steps(bench):
    bench.spec(EVOLVE)
    bench.server.reply = lambda body: Reply(401, body={"error": {"message": "no key"}})

    with pytest.raises(EndpointError, match="no key"):
        bench.run()


# Rows in and out


def test_a_row_s_own_bytes_pass_through(bench):
    """With outputs, a task of steps is a task like any other: big numbers and their order stay as they were."""
    line = '{"id": 12345678901234567890123, "instruction": "q", "x": 1.0}'
    (bench.folder / "in.jsonl").write_text(line + "\n")
    bench.spec(EVOLVE, asked("answer"), outputs={"reply": "The answer."})

    bench.run()

    assert bench.out.read_text().startswith(line[:-1])
    assert list(json.loads(bench.out.read_text()))[3:] == ["reply", "distask_metadata", "model_name"]


def test_a_task_of_steps_is_a_step_like_any_other(bench):
    inner = [asked("inner", output_mappings={"reply": "text"}), {"set": {"length": "{{ text | length }}"}}]
    bench.spec(*inner, name="inner.yaml", outputs={"text": "T.", "length": {"type": "integer"}})
    bench.spec(
        {"task": "inner.yaml", "input_mappings": {"instruction": "prompt"}, "output_mappings": {"text": "long"}},
        inputs={"prompt": "It."},
    )
    bench.rows([{"prompt": "q"}])

    (row,) = bench.run()

    assert {k: row[k] for k in ("prompt", "long", "length")} == {"prompt": "q", "long": "inner q", "length": 7}
    assert "text" not in row


def test_several_replies_make_several_rows_and_group_is_the_way_back(bench):
    bench.rows([{"instruction": "q", "id": 7}])
    several = asked("ask", num_generations=3)
    group = {"group": ["instruction", "id"]}
    bench.spec(several, {"set": {"length": "{{ reply | length }}"}}, group, inputs={"instruction": "It.", "id": "Its."})
    count = iter(range(9))
    bench.server.honours_n = False
    bench.server.reply = lambda body: "x" * (next(count) + 1)

    (row,) = bench.run()

    assert sorted(row["length"]) == [1, 2, 3]
    assert row["id"] == 7
    assert [len(r) for r in row["reply"]] == row["length"]


def test_filter_explode_sort_dedup_sample_and_limit_do_what_they_say_and_are_counted(bench):
    bench.rows([{"instruction": f"q{i}", "words": ["a", "b", "A"][: i + 1], "n": i} for i in range(3)])
    bench.spec(
        {"explode": "words"},
        {"filter": "n != 1"},
        {"dedup": {"by": ["words"]}},
        {"sort": {"by": "words", "descending": True}},
        {"limit": 2},
        {"keep": ["words", "n"]},
        {"rename": {"n": "number"}},
        inputs={"instruction": "It.", "words": {"type": "list"}, "n": {"type": "integer"}},
    )

    rows = bench.run()

    assert [(r["words"], r["number"]) for r in rows] == [("b", 2), ("a", 0)]
    assert list(rows[0]) == ["words", "number", "distask_metadata", "model_name"]
    counts = {name: (c["rows_in"], c["rows_out"]) for name, c in bench.steps().items()}
    assert counts["explode"] == (3, 6)
    assert counts["filter"] == (6, 4)
    assert counts["dedup"] == (4, 3)
    assert counts["limit"] == (3, 2)
    assert (bench.result.stats.rows, bench.result.stats.rows_out) == (3, 2)


def test_texts_that_share_most_of_their_words_are_one_by_minhash(bench):
    text = "the quick brown fox jumps over the lazy dog while seven wizards mix a big jug of quartz and liquid soap"
    texts = [text, text.upper() + "!", text.replace("seven", "eight"), "something else altogether, in other words here"]
    bench.rows([{"instruction": each} for each in texts])
    bench.spec({"dedup": {"by": "instruction", "method": "minhash", "threshold": 0.6}})

    rows = bench.run()

    assert [r["instruction"] for r in rows] == [texts[0], texts[3]]


def test_vectors_that_point_the_same_way_are_one(bench):
    vectors = [[1, 0], [0.99, 0.01], [0, 1], None]
    bench.rows([{"instruction": str(i), "embedding": v} for i, v in enumerate(vectors)])
    bench.spec(
        {"dedup": {"by": "embedding", "method": "cosine"}}, inputs={"embedding": {"type": "list", "required": False}}
    )

    assert [r["instruction"] for r in bench.run()] == ["0", "2", "3"]


def test_a_sample_is_the_same_for_the_same_seed_and_keeps_the_order(bench):
    bench.rows([{"instruction": f"{i:03}"} for i in range(100)])
    bench.spec({"sample": 10}, asked("ask"))

    one = [r["instruction"] for r in bench.run()]

    assert len(one) == 10
    assert one == sorted(one)
    assert bench.calls == 10
    assert one == [r["instruction"] for r in bench.run()]
    assert one != [r["instruction"] for r in bench.run(seed=1, overwrite=True)]


def test_generations_of_a_whole_pipeline_are_rows_or_lists(bench):
    bench.spec(EVOLVE, asked("answer"), outputs={"reply": "R."})

    rows = bench.run(num_generations=2)
    assert [(r["distask_metadata"]["row"], r["distask_metadata"]["sample"]) for r in rows] == [
        (i, s) for i in range(4) for s in range(2)
    ]
    assert bench.calls == 32
    grouped = bench.run(num_generations=2, group_generations=True, overwrite=True)

    assert bench.calls == 0
    assert [r["reply"] for r in grouped] == [[rows[2 * i]["reply"], rows[2 * i + 1]["reply"]] for i in range(4)]


def test_a_step_asks_which_model_it_names(bench):
    """Another model of the same endpoint, one that the row or a param names, and another config."""
    bench.server.models = ["m", "a", "b"]
    bench.spec(
        asked("one"),
        {
            "for_each": "juror in params.jurors",
            "steps": [asked("judge", "vote", llm={"model": "{{ juror }}", "temperature": 0.1})],
        },
        asked("last", "made_up", llm="offline"),
        params={"jurors": {"type": "list", "default": ["a", "b"]}},
    )

    rows = bench.run()

    assert sorted({(body["model"], body.get("temperature")) for body in bench.server.requests}) == [
        ("a", 0.1),
        ("b", 0.1),
        ("m", None),
    ]
    assert rows[0]["distask_metadata"]["model_judge"] == ["a", "b"]
    assert rows[0]["model_name"] == "offline"
    assert bench.calls == 12


def test_a_config_without_its_key_is_reported_before_the_first_call(bench, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    bench.spec(asked("one"), asked("two", "b", llm="anthropic"))

    with pytest.raises(UsageError, match="ANTHROPIC_API_KEY"):
        bench.run()
    assert bench.calls == 0


def test_when_over_params_takes_a_step_out_with_its_columns(bench):
    bench.spec(
        asked("one", "a"), asked("two", "b", when="wanted"), params={"wanted": {"type": "boolean", "default": False}}
    )

    assert "b" not in bench.run()[0]
    assert bench.run(params={"wanted": True}, overwrite=True)[0]["b"] == "two q0"


def test_data_that_has_a_column_that_a_step_adds_is_refused_before_any_call(bench):
    bench.rows([{"instruction": "q", "reply": "mine"}])
    bench.spec(asked("one"))

    with pytest.raises(InputError, match="already has a column `reply`"):
        bench.run()
    assert bench.calls == 0


def test_offline_rehearses_a_whole_pipeline(bench):
    bench.spec(EVOLVE, asked("ask", "answer"), RATE, {"filter": "score >= 1"}, {"sort": "score"})

    result = run(load(bench.folder / "task.yaml"), bench.folder / "in.jsonl", llm="offline")

    assert result.rows is not None
    assert len(result.rows) == 4
    assert {row["model_name"] for row in result.rows} == {"offline"}
    assert bench.server.requests == []


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, {"kind": "null_input", "message": "the column `instructions` is null"}),
        ([], {"kind": "wrong_type", "message": "instructions: there are 0 entries, fewer than 1"}),
        ("q", {"kind": "wrong_type", "message": 'instructions: "q" is not an array'}),
    ],
)
def test_a_row_that_the_task_can_not_read_fails_by_itself_and_is_not_asked_for(bench, value, error):
    bench.spec(asked("answer"), inputs={"instructions": {"type": "list", "minItems": 1}, "instruction": "It."})
    bench.rows([{"instructions": value, "instruction": "a"}, {"instructions": ["b"], "instruction": "b"}])

    failed, good = bench.run()

    assert failed["reply"] is None
    assert failed["distask_metadata"]["error_pipe"] == error
    assert good["reply"] is not None
    assert bench.calls == 1


def test_a_step_s_task_asks_again_and_then_its_fallback_as_it_does_alone(bench):
    """`on_invalid` of the step's task: once more with the error shown, then another model; all of it is in the store."""
    rate = json.loads(json.dumps(RATE))
    rate["task"]["on_invalid"] = {"retry": 1, "feedback": True, "fallback": {"model": "big"}}
    bench.server.models = ["m", "big"]
    bench.rows([{"instruction": "q"}])
    bench.spec(asked("ask", "answer"), rate)
    bench.server.reply = lambda body: "5" if body["model"] == "big" else "no idea"

    (row,) = bench.run()

    assert row["score"] == 5
    assert [body["model"] for body in bench.server.requests] == ["m", "m", "m", "big"]
    assert "can't be used" in words(bench.server.requests[2])
    bench.run()
    assert bench.calls == 0


def test_what_a_task_says_of_a_reply_that_can_t_be_used_holds_in_steps(bench):
    rate = json.loads(json.dumps(RATE))
    rate["task"]["on_invalid"] = {"then": "drop"}
    bench.rows([{"instruction": "good"}, {"instruction": "bad"}])
    bench.spec(asked("ask", "answer"), rate)
    bench.server.reply = lambda body: f"{words(body)} 4" if "good" in words(body) else "bad"

    assert [r["instruction"] for r in bench.run()] == ["good"]
    assert bench.result.stats.dropped == 1


def test_max_cost_ends_a_run_of_steps_and_the_same_command_continues(bench):
    """What a step's model costs is reckoned with that model's price; a model without one is told at once."""
    bench.rows([{"instruction": "q"}])
    bench.spec(EVOLVE, asked("answer"))
    price = {"price": {"input": 1, "output": 1_000_000}, "generation": {"max_tokens": 1}}
    bench.server.reply = lambda body: "x"

    with pytest.raises(CostReached):
        bench.run(llm=price, max_cost=2.5)
    first = bench.calls
    bench.run(llm=price, max_cost=100)

    assert 0 < first < 4
    assert first + bench.calls == 4
    bench.spec(asked("answer", llm={"config": "ollama", "model": "qwen3"}))
    with pytest.raises(UsageError, match="--max-cost needs the price of qwen3"):
        bench.run(llm=price, max_cost=100, overwrite=True)

"""A run end to end, against an endpoint that answers from a script: what comes out, and what is asked."""

from __future__ import annotations

import json
import time

import pytest

from distask import Selection, Task, run
from distask.errors import EndpointError, InputError, RunError, UsageError
from distask.runner.engine import engine
from distask.runner.record import record_path
from tests.server import Reply

SPEC = """
name: answer
inputs: {instruction: The instruction.}
format_input:
  - {role: user, content: "{{ instruction }}"}
outputs: {generation: The reply.}
format_output: {parser: text}
"""

RATE = """
name: rate
inputs: {instruction: The instruction.}
format_input:
  - {role: user, content: "{{ instruction }}"}
outputs: {score: {type: integer, minimum: 1, maximum: 5}}
format_output: {parser: regex, pattern: 'Score: (?P<score>\\d+)'}
"""


class Workbench:
    """An empty folder with a spec, rows and a scripted server."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.out = folder / "out.jsonl"
        self.rows([{"instruction": f"question {i}"} for i in range(5)])
        self.spec(SPEC)

    def spec(self, text, **more):
        lines = [text, *(f"{key}: {json.dumps(value)}" for key, value in more.items())]
        (self.folder / "task.yaml").write_text("\n".join(lines))

    def rows(self, rows):
        (self.folder / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    def run(self, *, llm=None, **options):
        """Run, and give back the rows out and how many calls the server saw."""
        before = len(self.server.requests)
        config = {"model": "m", "base_url": self.server.url, "api_key_env": None} | (llm or {})
        self.result = run(
            Task.load(self.folder / "task.yaml"), self.folder / "in.jsonl", llm=config, output=self.out, **options
        )
        self.calls = len(self.server.requests) - before
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path, server):
    return Workbench(tmp_path, server)


def test_one_generation_makes_the_row_of_the_contract(bench):
    bench.rows([{"id": 7, "instruction": "What's the capital of Spain?"}])
    bench.server.reply = lambda body: "Madrid."

    (row,) = bench.run()

    assert list(row) == ["id", "instruction", "generation", "distask_metadata", "model_name"]
    assert row["generation"] == "Madrid."
    assert row["model_name"] == "m"
    metadata = row["distask_metadata"]
    assert metadata["raw_input_answer"] == [{"role": "user", "content": "What's the capital of Spain?"}]
    assert metadata["raw_output_answer"] == "Madrid."
    assert set(metadata["statistics_answer"]) == {"input_tokens", "output_tokens"}
    assert bench.result.exit_code == 0


def test_n_generations_make_n_rows_in_order(bench):
    rows = bench.run(num_generations=3)

    assert [r["instruction"] for r in rows] == [f"question {i}" for i in range(5) for _ in range(3)]
    assert [(r["distask_metadata"]["row"], r["distask_metadata"]["sample"]) for r in rows] == [
        (i, s) for i in range(5) for s in range(3)
    ]
    assert bench.calls == 5


def test_grouped_generations_make_one_row_with_lists(bench):
    rows = bench.run(num_generations=3, group_generations=True)

    assert len(rows) == 5
    assert len(rows[0]["generation"]) == len(rows[0]["distask_metadata"]) == 3
    assert rows[0]["model_name"] == "m"


def test_aggregated_generations_add_a_column_for_each_way(bench):
    """A reply that failed counts for nothing, and a row without a good reply has nulls."""
    bench.rows([{"instruction": "fair"}, {"instruction": "hopeless"}])
    bench.spec(RATE, group_generations=True, aggregate={"score": ["mean", "majority", "agreement"]})
    result = {"fair": iter(["Score: 5", "Score: 9", "Score: 4", "Score: 4"])}
    bench.server.honours_n = False
    bench.server.reply = lambda body: next(result.get(body["messages"][0]["content"], iter(["no idea"])))

    fair, hopeless = bench.run(num_generations=4)

    assert fair["score"] == [5, None, 4, 4]
    assert list(fair)[1:-2] == ["score", "score_mean", "score_majority", "score_agreement"]
    assert fair["score_mean"] == pytest.approx(13 / 3)
    assert (fair["score_majority"], fair["score_agreement"]) == (4, pytest.approx(2 / 3))
    assert hopeless["score"] == [None] * 4
    assert hopeless["score_mean"] is hopeless["score_majority"] is hopeless["score_agreement"] is None


def test_ratings_of_several_answers_are_aggregated_answer_by_answer(bench):
    bench.rows([{"answers": ["good", "bad", "odd"]}])
    bench.spec(
        """
inputs: {answers: {type: list}}
format_input: [{role: user, content: "{{ answers | numbered }}"}]
outputs: {ratings: {type: "list[integer]", minimum: 1, maximum: 5}}
format_output: {parser: regex, pattern: '\\[(?P<position>\\d+)\\] (?P<ratings>\\d)', find: all, align_to: answers}
group_generations: true
aggregate: {ratings: mean}
output_mappings: {ratings: stars}
"""
    )
    replies = iter(["[1] 5\n[2] 1", "[2] 2\n[1] 4"])
    bench.server.honours_n = False
    bench.server.reply = lambda body: next(replies)

    (row,) = bench.run(num_generations=2)

    assert row["stars"] == [[5, 1, None], [4, 2, None]]
    assert row["stars_mean"] == [4.5, 1.5, None]


def test_a_task_that_aggregates_is_not_run_ungrouped(bench):
    bench.spec(RATE, group_generations=True, aggregate={"score": "mean"})

    with pytest.raises(UsageError, match="needs grouped generations"):
        bench.run(num_generations=2, group_generations=False)


def test_data_that_has_an_aggregated_column_already_is_refused(bench):
    bench.rows([{"instruction": "q", "score_mean": 3}])
    bench.spec(RATE, group_generations=True, aggregate={"score": "mean"})

    with pytest.raises(InputError, match="already has a column `score_mean`"):
        bench.run(num_generations=2)


@pytest.mark.parametrize(
    ("switch", "gone"), [("add_raw_input", "raw_input_answer"), ("add_raw_output", "raw_output_answer")]
)
def test_the_raw_parts_can_be_left_out(bench, switch, gone):
    bench.spec(SPEC, **{switch: False})

    assert all(gone not in row["distask_metadata"] for row in bench.run())


def test_a_server_that_ignores_n_is_asked_for_the_rest(bench):
    bench.server.honours_n = False

    rows = bench.run(num_generations=3)

    assert len(rows) == 15
    assert all(r["generation"] is not None for r in rows)
    assert bench.calls == 15


def test_the_same_again_asks_nothing(bench):
    first = bench.run()

    assert bench.run() == first
    assert bench.calls == 0
    assert bench.result.stats.stored == 5


@pytest.mark.parametrize("samples", [1, 2])
def test_a_run_in_which_few_rows_are_new_asks_for_these_alone_and_keeps_the_order(bench, samples):
    """Most rows are found together; new rows, equal rows and rows without a request are among them."""
    rows = [{"instruction": f"question {i % 700}"} for i in range(1_400)]
    bench.rows(rows)
    first = bench.run(num_generations=samples)
    data = bench.out.read_bytes()

    assert bench.run(num_generations=samples) == first
    assert bench.out.read_bytes() == data
    assert bench.calls == 0
    assert bench.result.stats.stored == 1_400 * samples

    for place in (3, 600, 1_200):
        rows.insert(place, {"instruction": f"new {place}"})
    rows.insert(900, {"instruction": ["not a text"]})
    bench.rows(rows)
    again = bench.run(num_generations=samples)

    assert bench.calls == 3
    assert [row["instruction"] for row in again[::samples]] == [row["instruction"] for row in rows]
    assert sum(row["generation"] is None for row in again) == samples
    old = [row for row in again if "question" in row["instruction"]]
    assert [row["generation"] for row in old] == [row["generation"] for row in first]


def test_one_row_more_is_one_call_more(bench):
    bench.run()
    bench.rows([{"instruction": "the new one"}, *({"instruction": f"question {i}"} for i in range(5))])

    rows = bench.run()

    assert bench.calls == 1
    assert [r["instruction"] for r in rows][:2] == ["the new one", "question 0"]


def test_n_raised_from_one_to_two_asks_one_more_for_each_row(bench):
    first = bench.run()

    rows = bench.run(num_generations=2)

    assert bench.calls == 5
    assert [r["generation"] for r in rows[::2]] == [r["generation"] for r in first]


def test_another_parser_asks_nothing(bench):
    bench.server.reply = lambda body: "Score: 4"
    bench.run()
    bench.spec(RATE.replace("rate", "answer"))

    assert [r["score"] for r in bench.run()] == [4] * 5
    assert bench.calls == 0


def test_a_raised_limit_asks_only_for_what_was_cut(bench):
    def reply(body):
        cut = body["messages"][0]["content"] in ("question 1", "question 3") and body["max_tokens"] < 100
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "x"},
            "finish_reason": "length" if cut else "stop",
        }
        return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 10}}

    bench.server.reply = reply
    rows = bench.run(llm={"generation": {"max_tokens": 10}})
    assert [r["distask_metadata"].get("finish_reason") for r in rows] == [None, "length", None, "length", None]
    assert bench.result.stats.cut == 2

    rows = bench.run(llm={"generation": {"max_tokens": 100}})

    assert bench.calls == 2
    assert all("finish_reason" not in r["distask_metadata"] for r in rows)


def test_equal_rows_are_samples_of_their_own_but_at_temperature_zero(bench):
    bench.rows([{"instruction": "same"}] * 4)

    bench.run()
    assert bench.calls == 4
    bench.run(llm={"generation": {"temperature": 0}})
    assert bench.calls == 1


def test_another_endpoint_is_another_model(bench):
    bench.run()
    bench.run(llm={"base_url": bench.server.url.replace("127.0.0.1", "localhost")}, overwrite=True)

    assert bench.calls == 5


def test_a_rating_outside_the_scale_is_null_and_says_why(bench):
    """A 9 on a scale of 1 to 5 never reaches the output as if it were good."""
    bench.spec(RATE)
    bench.server.reply = lambda body: "Score: 9" if body["messages"][0]["content"] == "question 2" else "Score: 3"

    rows = bench.run()

    assert [r["score"] for r in rows] == [3, 3, None, 3, 3]
    metadata = rows[2]["distask_metadata"]
    assert metadata["error_rate"] == {"kind": "type", "message": "score: 9 is more than 5"}
    assert metadata["raw_output_rate"] == "Score: 9"
    assert bench.result.exit_code == 3
    assert bench.result.failures[0].place.endswith("in.jsonl:3")


def test_an_invalid_reply_is_requested_again_and_the_answer_is_not_paid_twice(bench):
    bench.spec(RATE, on_invalid={"retry": 2, "feedback": True})
    bench.rows([{"instruction": "rate me"}])
    replies = iter(["no score", "still none", "Score: 2"])
    bench.server.reply = lambda body: next(replies)

    (row,) = bench.run()

    assert row["score"] == 2
    assert bench.calls == 3
    last = bench.server.requests[-1]["messages"]
    assert [m["role"] for m in last] == ["user", "assistant", "user"]
    assert last[1]["content"] in ("no score", "still none")
    assert bench.run() == [row]
    assert bench.calls == 0


def test_a_reply_that_stays_invalid_goes_to_the_fallback(bench):
    bench.spec(RATE, on_invalid={"fallback": {"model": "better"}})
    bench.server.reply = lambda body: "Score: 5" if body["model"] == "better" else "?"

    rows = bench.run()

    assert {(r["score"], r["model_name"]) for r in rows} == {(5, "better")}
    assert bench.calls == 10


def test_a_fallback_of_the_same_endpoint_shares_its_limits(bench):
    """Two models of one server are never asked more at a time than the run may have in flight."""
    bench.rows([{"instruction": f"question {i}"} for i in range(24)])
    bench.spec(RATE, on_invalid={"fallback": {"model": "better"}})
    bench.server.reply = lambda body: "Score: 5" if body["model"] == "better" else "?"
    bench.server.delay = 0.01

    bench.run(llm={"limits": {"concurrency": 2}})

    assert bench.calls == 48
    assert bench.server.most_in_flight <= 2


RATINGS = """
name: rate-each
inputs: {items: {type: list}}
format_input:
  - {role: user, content: "{{ items }}"}
outputs: {score: {type: "list[integer]", minimum: 1, maximum: 5}}
format_output: {parser: regex, find: all, align_to: items, pattern: 'Score: (?P<score>\\d+)'}
"""


def test_good_entries_of_an_aligned_list_stay_and_the_metadata_says_why_others_are_null(bench):
    bench.spec(RATINGS)
    bench.rows([{"items": ["a", "b"]}])
    bench.server.reply = lambda body: "Score: 9\nScore: 3"

    (row,) = bench.run()

    assert row["score"] == [None, 3]
    assert row["distask_metadata"]["error_rate-each"] == {"kind": "type", "message": "score[0]: 9 is more than 5"}
    assert bench.result.stats.failed == 1


@pytest.mark.parametrize(
    ("replies", "score", "calls"),
    [
        (["Score: 9\nScore: 3", "Score: 4\nScore: 3"], [4, 3], 2),
        (["Score: 9\nScore: 3", "none", "none"], [None, 3], 3),
        (["none", "Score: 1\nScore: 8", "none"], [1, None], 3),
    ],
)
def test_a_reply_with_an_invalid_entry_is_retried_and_the_good_entries_stay(bench, replies, score, calls):
    bench.spec(RATINGS, on_invalid={"retry": 2})
    bench.rows([{"items": ["a", "b"]}])
    waiting = iter(replies)
    bench.server.reply = lambda body: next(waiting)

    (row,) = bench.run()

    assert (row["score"], bench.calls) == (score, calls)
    assert bench.run() == [row]
    assert bench.calls == 0


def test_a_row_with_an_invalid_entry_can_be_dropped(bench):
    bench.spec(RATINGS, on_invalid={"then": "drop"})
    bench.rows([{"items": ["a", "b"]}, {"items": ["c"]}])
    bench.server.reply = lambda body: "Score: 3\nScore: 9"

    assert [row["score"] for row in bench.run()] == [[3]]
    assert bench.result.stats.dropped == 1


@pytest.mark.parametrize(("then", "rows"), [("null", 5), ("drop", 4)])
def test_what_becomes_of_an_invalid_reply_is_the_specs_to_say(bench, then, rows):
    bench.spec(RATE, on_invalid={"then": then})
    bench.server.reply = lambda body: "?" if body["messages"][0]["content"] == "question 1" else "Score: 1"

    assert len(bench.run()) == rows
    assert bench.result.stats.failed == 1
    assert bench.result.stats.dropped == 5 - rows


def test_an_invalid_reply_can_end_the_run(bench):
    bench.spec(RATE, on_invalid={"then": "fail"})
    bench.server.reply = lambda body: "?"

    with pytest.raises(RunError, match=r"in\.jsonl:\d: .*then: fail"):
        bench.run()
    assert not bench.out.exists()


def test_the_rows_own_bytes_pass_through(bench):
    line = '{"instruction":"q",  "big": 123456789012345678901234567890, "f": 1.0, "e": 1e5, "d": "2024-01-01", "u": "\\u00e9"}'
    (bench.folder / "in.jsonl").write_text(line + "\n")

    bench.run()

    assert bench.out.read_text().startswith(line[:-1])


def test_rows_come_out_in_the_order_they_went_in(bench):
    from tests.server import Reply

    bench.rows([{"instruction": str(i)} for i in range(60)])
    bench.server.reply = lambda body: Reply(delay=0.05 if int(body["messages"][0]["content"]) % 7 == 0 else 0)

    assert [r["instruction"] for r in bench.run()] == [str(i) for i in range(60)]


@pytest.mark.battery
def test_large_rows_are_few_at_a_time(bench, monkeypatch):
    """What rows hold together has a bound in bytes, whatever may be in flight."""
    monkeypatch.setattr(engine, "MOST_BYTES", 8 << 20)
    bench.rows([{"instruction": f"{i} {'x' * 500_000}"} for i in range(60)])
    bench.server.delay, bench.server.reply = 0.3, lambda body: "short"

    rows = bench.run(llm={"limits": {"concurrency": 64}})

    assert [row["instruction"].split()[0] for row in rows] == [str(i) for i in range(60)]
    assert 2 <= bench.server.most_in_flight <= 12  # each holds a megabyte; a breath of four may come on top


@pytest.mark.battery
def test_large_replies_that_wait_for_an_earlier_row_are_few(bench, monkeypatch):
    """A row that takes long does not let the others fill the memory."""
    monkeypatch.setattr(engine, "MOST_BYTES", 8 << 20)
    bench.rows([{"instruction": f"{i} "} for i in range(60)])
    came = []

    def reply(body):
        came.append(time.monotonic())
        slow = body["messages"][0]["content"].startswith("0 ")
        return Reply(body="x" * 1_000_000, delay=1.5 if slow else 0)

    bench.server.reply = reply
    rows = bench.run(llm={"limits": {"concurrency": 4}})

    assert [row["instruction"].split()[0] for row in rows] == [str(i) for i in range(60)]
    assert sum(moment < came[0] + 1.4 for moment in came) <= 40  # of which all that were begun small


def test_one_bad_row_never_ends_the_run(bench):
    bench.rows([{"instruction": "a"}, {"instruction": None}, {"instruction": "c"}])

    rows = bench.run()

    assert [r["generation"] is None for r in rows] == [False, True, False]
    assert rows[1]["distask_metadata"]["error_answer"]["kind"] == "null_input"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"instruction": "a"}, {"question": "b"}], r"in\.jsonl:2.*`instruction` is missing"),
        ([{"instruction": "a", "generation": "b"}], r"already has a column `generation`.*output_mappings"),
    ],
)
def test_data_that_does_not_fit_is_reported_before_any_call(bench, rows, words):
    bench.rows(rows)

    with pytest.raises(InputError, match=words):
        bench.run()
    assert bench.server.requests == []


def test_the_output_of_another_run_is_not_overwritten(bench):
    bench.out.write_text("my thesis\n")

    with pytest.raises(UsageError, match="--overwrite"):
        bench.run()
    assert bench.out.read_text() == "my thesis\n"
    assert bench.server.requests == []
    assert len(bench.run(overwrite=True)) == 5


def test_an_output_that_was_edited_is_not_overwritten(bench):
    bench.run()
    bench.out.write_text(bench.out.read_text() + '{"note": "mine"}\n')

    with pytest.raises(UsageError, match="--overwrite"):
        bench.run()


def test_a_bad_key_ends_the_run_with_the_servers_words(bench):
    from tests.server import Reply

    bench.server.reply = lambda body: Reply(status=401, body={"error": {"message": "Incorrect API key provided"}})

    with pytest.raises(EndpointError, match="Incorrect API key"):
        bench.run()
    assert not bench.out.exists()


def test_what_was_paid_before_the_run_ended_is_not_paid_again(bench):
    from tests.server import Reply

    good = Reply(status=200)
    bench.server.reply = lambda body: (
        good
        if body["messages"][0]["content"] != "question 4"
        else Reply(status=401, body={"error": {"message": "no"}}, delay=0.2)
    )
    with pytest.raises(EndpointError) as ended:
        bench.run()
    assert ended.value.partial.read_text().count("\n") == 4

    bench.server.reply = lambda body: good
    bench.run()

    assert bench.calls == 1


def test_a_task_over_grouped_generations_keeps_what_was_said_of_each(bench):
    bench.run(num_generations=2, group_generations=True)
    bench.out.rename(bench.folder / "in.jsonl")
    bench.spec(RATE)
    bench.server.reply = lambda body: "Score: 2"

    row = bench.run(llm={"model": "judge"})[0]

    assert row["distask_metadata"]["raw_output_answer"] == row["generation"]
    assert len(row["distask_metadata"]["raw_input_answer"]) == len(row["generation"]) == 2
    assert row["distask_metadata"]["raw_output_rate"] == "Score: 2"


def test_a_task_made_task_keeps_what_the_first_one_said(bench):
    bench.run()
    bench.out.rename(bench.folder / "in.jsonl")
    bench.spec(RATE)
    bench.server.reply = lambda body: "Score: 2"

    row = bench.run(llm={"model": "judge"})[0]

    assert list(row) == ["instruction", "generation", "score", "distask_metadata", "model_name"]
    assert row["model_name"] == "judge"
    assert row["distask_metadata"]["input_model_name"] == "m"
    assert {"raw_input_answer", "raw_input_rate"} <= set(row["distask_metadata"])


def test_python_rows_go_in_and_come_out(bench):
    result = run(
        Task.load(bench.folder / "task.yaml"),
        [{"instruction": "a"}, {"instruction": "b"}],
        llm={"model": "m", "base_url": bench.server.url, "api_key_env": None},
        store=False,
    )

    assert [r["instruction"] for r in result.rows] == ["a", "b"]
    assert result.output is None


def test_the_offline_provider_rehearses_a_run(bench):
    bench.spec(RATE)

    rows = bench.run(llm={"provider": "offline", "model": None, "base_url": None})

    assert bench.calls == 0
    assert all(1 <= r["score"] <= 5 and r["model_name"] == "offline" for r in rows)
    assert not (bench.folder / ".distask" / "store.db").exists()


def test_a_seed_does_not_make_every_reply_the_same(bench):
    """Where n replies are n calls, and where equal rows are asked twice, each call has a seed of its own, always the same one."""
    bench.spec(SPEC, llm={"seed": 7})
    bench.rows([{"instruction": "a"}, {"instruction": "a"}, {"instruction": "b"}])
    bench.server.honours_n = False

    bench.run(num_generations=3, store=False)
    first = [(r["messages"][0]["content"], r["seed"]) for r in bench.server.requests]
    bench.run(num_generations=3, store=False, overwrite=True)

    assert len(set(first)) == 9
    assert ("a", 7) in first
    assert ("b", 7) in first
    assert {(r["messages"][0]["content"], r["seed"]) for r in bench.server.requests} == set(first)


def test_an_invalid_reply_is_requested_again_with_another_seed(bench):
    """The same seed would bring the same reply."""
    bench.spec(RATE, llm={"seed": 7}, on_invalid={"retry": 2})
    bench.rows([{"instruction": "a"}])
    bench.server.reply = lambda body: "Score: 4" if body["seed"] != 7 else "no score"

    (row,) = bench.run()

    assert row["score"] == 4
    assert bench.calls == 2


def test_a_row_is_the_same_row_whichever_others_are_chosen(bench):
    """What is drawn for a row, and its number in the metadata, hang on its place in the whole input."""
    bench.spec(SPEC.replace("{{ instruction }}", "{{ instruction }} {{ style }}"), draw={"style": list(range(1000))})
    whole = bench.run(num_generations=2, overwrite=True)

    last = bench.run(num_generations=2, overwrite=True, selection=Selection(offset=3))
    calls = bench.calls
    every_second = bench.run(num_generations=2, overwrite=True, selection=Selection(shard=(2, 2)))

    assert last == whole[6:]
    assert every_second == [row for row in whole if row["distask_metadata"]["row"] in (1, 3)]
    assert calls == bench.calls == 0


def test_the_record_says_how_long_calls_took_what_they_cost_and_which_columns_were_there_before(bench):
    """A run that asks nothing, since the store has it all, has no latency."""
    bench.server.delay = 0.05

    bench.run(llm={"price": {"input": 1, "output": 2}})

    record = json.loads(record_path(bench.out).read_bytes())
    latency = record["counts"]["latency_seconds"]
    assert latency["calls"] == 5 == sum(bucket["calls"] for bucket in record["latencies"])
    assert 0.04 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert record["price"] == {"input": 1.0, "output": 2.0}
    assert record["columns"] == {"input": ["instruction"], "metadata": "distask_metadata"}
    bench.run(llm={"price": {"input": 1, "output": 2}})
    assert json.loads(record_path(bench.out).read_bytes())["counts"]["latency_seconds"] == {
        "calls": 0, "p50": None, "p90": None, "p99": None, "max": None,
    }  # fmt: skip

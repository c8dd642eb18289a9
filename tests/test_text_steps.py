"""Steps that work on texts, end to end and without a model: chunk."""

from __future__ import annotations

import hashlib
import json
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask import load, run
from distask.errors import UsageError
from distask.runner.engine.spool import Spool
from distask.spec.load import load_spec
from distask.task.load import run_cases
from distask.task.pipeline import Pipeline


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Run steps over rows, with no key and no endpoint; gives back the rows out."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def process(rows, *steps, params=None, declared=None, seed=0, **more):
        spec = {
            "name": "pipe",
            "inputs": {n: "It." for n in ("text", "path") if n in rows[0]},
            "params": declared or {},
            "steps": list(steps),
            **more,
        }
        (tmp_path / "task.yaml").write_text(json.dumps(spec))
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = run(
            load(tmp_path / "task.yaml", params, seed=seed),
            tmp_path / "in.jsonl",
            output=tmp_path / "out.jsonl",
            overwrite=True,
        )
        process.result = result
        return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    process.folder = tmp_path
    return process


TEXT = "# A\n\nOne two three. Four five six.\n\n## B\n\nSeven eight."


def test_a_chunk_is_a_row_with_its_place_its_headings_and_the_row_s_other_columns(bench):
    rows = bench([{"text": TEXT, "id": 7}], {"chunk": {"from": "text", "size": 30}})

    assert [row["chunk"] for row in rows] == ["# A\n\nOne two three.", "Four five six.", "## B\n\nSeven eight."]
    assert [TEXT[row["start"] : row["end"]] for row in rows] == [row["chunk"] for row in rows]
    assert [row["headings"] for row in rows] == [["A"], ["A"], ["A", "B"]]
    assert all(row["text"] == TEXT and row["id"] == 7 for row in rows)
    assert bench.result.stats.to_json()["steps"][0]["rows_out"] == 3


def test_an_id_stays_when_other_documents_change_and_none_is_there_twice(bench):
    step = {"chunk": {"from": "text", "size": 30}}
    before = bench([{"text": TEXT}, {"text": TEXT}, {"text": "other"}], step)
    after = bench([{"text": "new"}, {"text": TEXT}, {"text": "changed"}, {"text": TEXT}], step)

    ids = [row["chunk_id"] for row in before[:6]]
    assert len(set(ids)) == 6
    assert ids == [row["chunk_id"] for row in after if row["text"] == TEXT]


def test_an_id_changes_when_the_chunk_does(bench):
    (one,) = bench([{"text": TEXT}], {"chunk": {"from": "text", "size": 400}})
    first, *_ = bench([{"text": TEXT}], {"chunk": {"from": "text", "size": 30}})

    assert one["chunk_id"] != first["chunk_id"]


def test_a_null_text_stays_a_row_an_empty_one_does_not_and_a_number_fails(bench):
    inputs = {"text": {"type": "any", "required": False}}
    rows = bench([{"text": None}, {"text": " "}, {"text": 5}], {"chunk": {"from": "text", "size": 30}}, inputs=inputs)

    assert [(row["text"], row["chunk"], row["start"]) for row in rows] == [(None, None, None), (5, None, None)]
    assert rows[1]["distask_metadata"]["error_chunk"] == {"kind": "wrong_type", "message": "`text` is not text"}
    assert bench.result.exit_code == 3


def test_columns_of_a_chunk_can_be_renamed_and_the_size_be_a_param(bench):
    names = {"start": "begin", "chunk": "text"}
    step = {"chunk": {"from": "text", "size": "hundreds * 100"}, "output_mappings": names}

    (row,) = bench(
        [{"text": TEXT, "start": "mine"}], step, params={"hundreds": 4}, declared={"hundreds": {"type": "integer"}}
    )

    assert (row["text"], row["start"], row["begin"], row["end"]) == (TEXT, "mine", 0, len(TEXT))


def test_a_column_that_the_data_has_is_reported_before_the_run(bench):
    with pytest.raises(UsageError, match=r"already has a column `end`.*output_mappings: \{end: new_end\}"):
        bench([{"text": TEXT, "end": 1}], {"chunk": {"from": "text", "size": 4}})


def test_an_overlap_from_params_must_be_less_than_the_size(bench):
    with pytest.raises(UsageError, match="overlap of chunk is 9, but must be less than its size, 4"):
        bench([{"text": TEXT}], {"chunk": {"from": "text", "size": 4, "overlap": "n"}}, vars={"n": 9})


def test_rows_that_skip_the_step_have_nulls(bench):
    rows = bench([{"text": "a b"}, {"text": "c d"}], {"chunk": {"from": "text", "size": 1}, "when": "'a' in text"})

    assert [row["chunk"] for row in rows] == ["a", "b", None]


def test_chunks_can_be_chunked_again(bench):
    rows = bench(
        [{"text": TEXT}],
        {"chunk": {"from": "text", "unit": "headings"}, "output_mappings": {n: f"section_{n}" for n in ("chunk", "start", "end", "headings", "chunk_id")}},
        {"chunk": {"from": "section_chunk", "size": 16}},
    )  # fmt: skip

    assert all(row["section_chunk"][row["start"] : row["end"]] == row["chunk"] for row in rows)
    assert len({row["chunk_id"] for row in rows}) == len(rows) == 5


# split


def parts(rows, column="split"):
    """Name to the rows of each part."""
    found = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found


DOCUMENTS = [{"text": f"t{i}", "path": f"p{i % 20}"} for i in range(200)]


def test_a_split_has_its_shares_and_no_group_is_in_two_parts(bench):
    found = parts(bench(DOCUMENTS, {"split": "path"}))

    assert {name: len(rows) for name, rows in found.items()} == {"train": 160, "validation": 20, "test": 20}
    paths = [{row["path"] for row in rows} for rows in found.values()]
    assert sum(map(len, paths)) == len(set().union(*paths)) == 20


def test_a_split_keeps_the_order_and_depends_on_the_seed_only(bench):
    one = bench(DOCUMENTS, {"split": {"by": "path"}})
    two = bench(DOCUMENTS, {"split": {"by": "path"}})
    other = bench(DOCUMENTS, {"split": {"by": "path"}}, seed=1)

    assert one == two
    assert [row["text"] for row in one] == [row["text"] for row in DOCUMENTS]
    assert [row["split"] for row in one] != [row["split"] for row in other]


def test_a_split_does_not_depend_on_the_order_of_the_rows(bench):
    one = bench(DOCUMENTS, {"split": {"by": "path"}})
    two = bench(DOCUMENTS[::-1], {"split": {"by": "path"}})

    assert {row["path"]: row["split"] for row in one} == {row["path"]: row["split"] for row in two}


@pytest.mark.parametrize("count", [3, 4, 7])
def test_no_part_is_empty_if_there_are_enough_groups(bench, count):
    assert set(parts(bench([{"text": f"t{i}"} for i in range(count)], {"split": {}}))) == {
        "train",
        "validation",
        "test",
    }


def test_equal_rows_are_in_the_same_part(bench):
    rows = bench([{"text": f"t{i // 2}"} for i in range(40)], {"split": {"into": {"a": 1, "b": 1}}})

    assert all(one["split"] == two["split"] for one, two in zip(rows[::2], rows[1::2], strict=True))
    assert {name: len(found) for name, found in parts(rows).items()} == {"a": 20, "b": 20}


def test_a_stable_split_does_not_change_when_rows_are_added(bench):
    step = {"split": {"by": "path", "stable": True}, "output_mappings": {"split": "part"}}
    few = [{"text": "t", "path": f"p{i}"} for i in range(400)]
    more = [{"text": "t", "path": f"p{i}"} for i in range(900)]

    one = {row["path"]: row["part"] for row in bench(few, step)}
    two = {row["path"]: row["part"] for row in bench(more, step)}

    assert all(two[path] == part for path, part in one.items())
    shares = {name: len(rows) / 900 for name, rows in parts(bench(more, step), "part").items()}
    assert shares == {
        name: pytest.approx(share, abs=0.04) for name, share in [("train", 0.8), ("validation", 0.1), ("test", 0.1)]
    }


def test_chunks_of_a_document_stay_together(bench):
    documents = [{"text": "one two three four " * (3 + i), "path": f"p{i}"} for i in range(30)]
    rows = bench(documents, {"chunk": {"from": "text", "size": 20}}, {"split": "path"})

    found = parts(rows)
    assert len(found) == 3
    assert sum(len({row["path"] for row in part}) for part in found.values()) == 30


# language


def test_languages_are_identified_and_others_removed(bench):
    texts = {
        "de": "Die Katze sitzt auf dem Dach und schaut in den Garten.",
        "en": "The cat sits on the roof and looks into the garden.",
        "uk": "Кішка сидить на даху і дивиться в сад.",
        "th": "แมวนั่งอยู่บนหลังคาและมองเข้าไปในสวน",
        "pt": "O gato está sentado no telhado e olha para o jardim.\n" * 200,
        None: "12 345 !",
    }
    rows = [{"text": text} for text in texts.values()]

    every = bench(rows, {"language": "text"})
    some = bench(rows, {"language": {"from": "text", "keep": ["de", "uk"]}, "output_mappings": {"language": "code"}})
    none = bench(rows, {"language": {"from": "text", "keep": "de", "min_score": 1}})

    assert [row["language"] for row in every] == list(texts)
    assert all(0.3 < row["language_score"] <= 1 for row in every[:5])
    assert every[5]["language_score"] == 0
    assert [row["code"] for row in some] == ["de", "uk"]
    assert none == []


def test_a_missing_language_library_is_reported(bench, monkeypatch):
    monkeypatch.setattr("distask.task.steps.nodes.find_spec", lambda _name: None)

    with pytest.raises(UsageError, match=r"pip install 'distask\[language\]'"):
        bench([{"text": "x"}], {"language": "text"})


# decontaminate

QUESTION = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
BENCHMARK = [
    {"question": QUESTION, "answer": "72"},
    {"question": "What is the capital of Austria?", "answer": "Vienna"},
    {"question": "日本で一番高い山の名前は何ですか。教えてください", "answer": "富士山"},
]


@pytest.fixture
def benchmark(bench):
    (bench.folder / "tests").mkdir()
    (bench.folder / "tests/gsm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in BENCHMARK))
    return bench


@pytest.mark.parametrize("against", ["tests/gsm.jsonl", "tests/*.jsonl"])
def test_texts_with_word_sequences_of_a_benchmark_are_marked_with_what_and_where(benchmark, against):
    leak = f"Solve this: {QUESTION.upper().replace(',', ' -')} Thanks."
    rows = benchmark([{"text": leak}, {"text": "Natalia sold clips to 48 of her friends."}], {"decontaminate": {"from": "text", "against": against}})  # fmt: skip

    (found,) = rows[0]["contamination"]
    assert found["source"] == "tests/gsm.jsonl:1"
    assert found["column"] == "text"
    assert leak[found["start"] : found["end"]] == found["text"] == QUESTION.upper().replace(",", " -")[:-1]
    assert rows[1]["contamination"] is None


def test_short_texts_of_a_benchmark_are_compared_as_a_whole_and_shorter_ones_not(benchmark):
    texts = [
        "So, what is the capital of Austria?",
        "Vienna is the capital of Austria",
        "教えて: 日本で一番高い山の名前は何ですか。教えてください!",
    ]
    rows = benchmark([{"text": text} for text in texts], {"decontaminate": {"from": "text", "against": "tests/gsm.jsonl"}})  # fmt: skip

    assert [[each["source"] for each in row["contamination"] or []] for row in rows] == [
        ["tests/gsm.jsonl:2"],
        [],
        ["tests/gsm.jsonl:3"],
    ]


def test_rows_with_an_overlap_can_be_dropped_and_columns_be_chosen(benchmark):
    rows = [{"text": QUESTION}, {"text": "something else"}]
    step = {"from": ["text"], "against": ["tests/gsm.jsonl"], "then": "drop"}

    assert [row["text"] for row in benchmark(rows, {"decontaminate": step})] == ["something else"]
    assert len(benchmark(rows, {"decontaminate": {**step, "columns": "answer"}})) == 2
    assert len(benchmark(rows, {"decontaminate": {**step, "words": 50}})) == 1


@pytest.mark.parametrize(
    ("columns", "text", "expected"),
    [
        ("frage", None, r"gsm\.jsonl:1: the benchmark has no column `frage`; it has `question`, `answer`"),
        (None, "x", r"gsm\.jsonl:1.*not JSON"),
        (None, "", r"gsm\.jsonl: the input has no rows"),
    ],
)
def test_a_benchmark_that_can_t_be_read_is_reported_before_the_run(benchmark, columns, text, expected):
    if text is not None:
        (benchmark.folder / "tests/gsm.jsonl").write_text(text)

    with pytest.raises(UsageError, match=expected):
        benchmark(
            [{"text": "x"}], {"decontaminate": {"from": "text", "against": "tests/gsm.jsonl", "columns": columns}}
        )


def test_a_benchmark_that_changed_is_read_again(benchmark):
    step = {"decontaminate": {"from": "text", "against": "tests/gsm.jsonl"}}
    assert benchmark([{"text": QUESTION}], step)[0]["contamination"]
    (benchmark.folder / "tests/gsm.jsonl").write_text('{"question": "another question that nobody has ever put"}\n')

    assert benchmark([{"text": QUESTION}], step)[0]["contamination"] is None


def test_rows_that_wait_share_the_text_of_their_document_on_disk(bench, monkeypatch):
    sizes = []
    abort = Spool.abort
    monkeypatch.setattr(Spool, "abort", lambda spool: (sizes.append(spool._rows._file.seek(0, 2)), abort(spool)))
    documents = [{"text": f"{number} é 😀 " * 2000, "path": str(number)} for number in range(3)]

    rows = bench(documents, {"chunk": {"from": "text", "size": 100}}, {"split": {"by": "path"}})

    assert len(rows) > 300
    assert all(row["text"] == documents[int(row["path"])]["text"] for row in rows)
    assert all(row["text"][row["start"] : row["end"]] == row["chunk"] for row in rows)
    lines = (bench.folder / "out.jsonl").read_bytes().splitlines()
    assert all(rb"\ud83d\ude00" in line for line in lines)  # the input's own bytes
    assert sizes[0] < 2_000 * len(rows), (sizes, len(rows))


# What surrounds the steps


def test_tokens_are_those_of_a_tokenizer_next_to_the_spec(bench):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(bench.folder / "tokenizer.json"))
    step = {"chunk": {"from": "text", "size": 3, "overlap": 1, "unit": "tokens", "tokenizer": "tokenizer.json"}}

    rows = bench([{"text": "one two three four five six"}], step)

    assert [row["chunk"] for row in rows] == ["one two three", "three four five", "five six"]


def test_a_broken_tokenizer_is_reported(bench):
    (bench.folder / "tokenizer.json").write_text("{}")

    with pytest.raises(UsageError, match=r"the tokenizer tokenizer\.json can't be loaded"):
        bench(
            [{"text": "x y"}], {"chunk": {"from": "text", "size": 3, "unit": "tokens", "tokenizer": "tokenizer.json"}}
        )


def test_a_missing_tokenizer_library_is_reported(bench, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(UsageError, match=r"`tokenizer: qwen/q` needs an extra: pip install 'distask\[tokenizers\]'"):
        bench([{"text": "x y"}], {"chunk": {"from": "text", "size": 3, "unit": "tokens", "tokenizer": "qwen/q"}})


def test_a_case_of_a_task_without_a_model_needs_no_replies(bench):
    case = {"input": {"text": "a b"}, "expect": [{"chunk": "a"}, {"chunk": "b"}]}
    bench([{"text": "x"}], {"chunk": {"from": "text", "size": 1}}, cases=[case])
    (bench.folder / "wrong.yaml").write_text(
        (bench.folder / "task.yaml").read_text().replace('"chunk": "b"', '"chunk": "c"')
    )

    assert run_cases(load_spec(bench.folder / "task.yaml")) == []
    assert len(run_cases(load_spec(bench.folder / "wrong.yaml"))) == 1


def test_a_row_that_makes_too_many_rows_fails_and_others_do_not(bench, monkeypatch):
    monkeypatch.setattr("distask.task.steps.item.MAX_STEPS", 50)
    steps = [{"chunk": {"from": "text", "size": 1}}, {"drop": "text"}, {"keep": ["chunk"]}]

    rows = bench([{"text": "a " * 30}, {"text": "b c"}], *steps)

    assert [row["chunk"] for row in rows[-2:]] == ["b", "c"]
    assert bench.result.stats.failed > 0


@pytest.mark.parametrize("limit", [0.0, 1e9])
def test_cpu_seconds_of_expressions_are_counted_once_they_take_long(bench, monkeypatch, limit):
    counted = []
    clocks = SimpleNamespace(
        perf_counter=time.perf_counter, thread_time=lambda: counted.append(1) or time.thread_time()
    )
    monkeypatch.setattr("distask.task.steps.scope.UNCOUNTED_SECONDS", limit)
    monkeypatch.setattr("distask.task.steps.scope.time", clocks)

    rows = bench([{"text": "a"}], {"set": {"new": "{{ text ~ 1 }}"}}, {"filter": "new == 'a1'"})

    assert [row["new"] for row in rows] == ["a1"]
    assert len(counted) == (0 if limit else 4)


def test_a_row_whose_expressions_take_too_long_fails(bench, monkeypatch):
    monkeypatch.setattr("distask.task.steps.scope.UNCOUNTED_SECONDS", 0.0)
    monkeypatch.setattr("distask.task.steps.item.MAX_SECONDS", 0.0)

    rows = bench([{"text": "a"}], {"set": {"new": "{{ text ~ 1 }}"}}, {"set": {"other": "x"}})

    assert rows[0]["distask_metadata"]["error_set-2"]["kind"] == "too_much"


def test_chunks_that_do_not_fit_the_declared_outputs_fail_by_themselves(bench):
    outputs = {"chunk": {"type": "integer"}, "start": {"type": "integer"}}

    rows = bench([{"text": "1 a 3", "path": "p"}], {"chunk": {"from": "text", "size": 1}}, outputs=outputs)

    assert [(row["chunk"], row["start"]) for row in rows] == [(1, 0), (None, 2), (3, 4)]
    assert ["error_pipe" in row["distask_metadata"] for row in rows] == [False, True, False]
    assert [(step["rows_in"], step["rows_out"]) for step in bench.result.stats.to_json()["steps"]] == [(1, 3)]
    assert bench.result.stats.failed == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.text(st.characters(codec=None)), VALUES, max_size=4))
def test_the_identity_of_a_row_is_the_hash_of_its_json(values):
    """Stored replies and the ids of chunks depend on it."""
    data = json.dumps([[name, values[name]] for name in sorted(values)], sort_keys=True)
    expected = hashlib.blake2b(data.encode(), digest_size=16).digest()

    assert Pipeline.identity(SIMPLE, values) == expected


SIMPLE = SimpleNamespace(_read_columns=())

"""Whatever is changed between two runs, in the task, the config or the rows: the output is that of a first run, and little is asked.

Each field of the task's language and of a config's is changed here; a field that is new there and has no change here fails a test.
"""

from __future__ import annotations

import json
import random

import pytest

from distask import load, run
from distask.llm.config.model import Limits, LLMConfig
from distask.spec.language.columns import Draw
from distask.spec.language.model import LLM, Message, OnInvalid, TaskSpec
from tests.crash.mind import Mind

SPEC = {
    "name": "t",
    "inputs": {
        "q": "A question.",
        "hint": {"required": False, "description": "A hint."},
        "chat": {"type": "any", "required": False},
    },
    "params": {"style": {"type": "string", "default": "plain"}},
    "vars": {"rules": ["one", "two"]},
    "draw": {"tone": ["kind", "curt", "odd"]},
    "format_input": [{"role": "user", "content": "{{ q }} {{ style }} {{ vars.rules | join }} {{ tone }} {{ hint }}"}],
    "outputs": {"a": "An answer.", "score": {"type": "integer"}},
    "format_output": {"parser": "regex", "pattern": r"A: (?P<a>\S+) (?P<score>\d)"},
    "llm": {"seed": 7, "temperature": 0.5, "max_tokens": 7},
    "on_invalid": {"retry": 1},
}
ROWS = [
    {"id": i, "q": f"question {i}", "other": f"other {i}", "chat": [{"role": "user", "content": f"turn {i}"}]}
    for i in range(8)
]
CONFIG = {"model": "m", "api_key_env": None}
GROUPED = {"num_generations": 3, "group_generations": True}
NOTHING = {"calls": 0}
"""What is changed asks for nothing."""

OF_THE_TASK = {
    "name": ({"name": "u"}, {}),  # what is drawn hangs on it
    "description": ({"description": "Else."}, NOTHING),
    "reference": ({"reference": "https://example.org/paper"}, NOTHING),
    "tags": ({"tags": ["x"]}, NOTHING),
    "version": ({"version": "2"}, NOTHING),
    "inputs": ({"inputs": {"q": "A question.", "hint": {"required": False, "default": "think", "description": "A hint."}}}, {}),
    "params": ({"params": {"style": {"type": "string", "default": "grand"}}}, {}),
    "vars": ({"vars": {"rules": ["one", "three"]}}, {}),
    "draw": ({"draw": {"tone": ["kind", "curt"]}}, {}),
    "design": ({"design": {"grid": ["tone"]}}, {}),
    "num_generations": ({"num_generations": 3}, {}),
    "group_generations": ({**GROUPED}, NOTHING, {"num_generations": 3}),
    "add_raw_input": ({"add_raw_input": False}, NOTHING),
    "add_raw_output": ({"add_raw_output": False}, NOTHING),
    "only_outputs": ({"only_outputs": True}, NOTHING),
    "input_mappings": ({"input_mappings": {"q": "other"}}, {}),
    "output_mappings": ({"output_mappings": {"a": "answer"}}, NOTHING),
    "llm": ({"llm": {"seed": 7, "temperature": 0.9, "max_tokens": 7}}, {}),
    "format_input": ({"format_input": [{"role": "user", "content": "{{ q }}, please"}]}, {}),
    "outputs": ({"outputs": {"a": "An answer.", "score": {"type": "string"}}}, NOTHING),
    "format_output": ({"format_output": {"parser": "regex", "pattern": r"(?P<a>\S+) \S+ (?P<score>\d)"}}, NOTHING),
    "checks": ({"checks": ["score > 2"]}, {}),
    "on_invalid": ({"on_invalid": {"retry": 3}}, {}),
    "aggregate": ({**GROUPED, "aggregate": {"score": ["mean", "majority"]}}, NOTHING, GROUPED),
    "structured_output": ({"structured_output": True}, {}),
    "completion": ({"completion": True}, {}),
    "prefill": (
        {"prefill": True, "format_input": [*SPEC["format_input"], {"role": "assistant", "content": "A: "}]},
        {},
        {"format_input": [*SPEC["format_input"], {"role": "assistant", "content": "A: "}]},
    ),
    "returns": (
        {
            "returns": "embedding", "outputs": {"a": {"type": "list[number]"}}, "on_invalid": {}, "llm": {},
            "format_output": {"parser": "json", "columns": {"a": ""}},
        },
        {},
    ),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}, {}),
    "cases": ({"cases": [{"input": {"q": "x"}, "reply": "A: b 1", "expect": {"a": "b"}}]}, NOTHING),
}  # fmt: skip
"""A field to (its change, what is known of the second run, what else the first run's task says)."""

OF_THE_LLM = {
    "model": "other", "temperature": 0.9, "top_p": 0.5, "max_tokens": 4, "max_completion_tokens": 4, "stop": ["\n"], "seed": 8,
    "frequency_penalty": 0.1, "presence_penalty": 0.1, "logit_bias": {"1": 1}, "logprobs": True, "top_logprobs": 2,
    "reasoning_effort": "low", "verbosity": "low", "service_tier": "flex", "tool_choice": "none", "parallel_tool_calls": False,
    "extra_body": {"top_k": 3},
}  # fmt: skip
OF_A_MESSAGE = {
    "role": {"role": "system", "content": "{{ q }}"},
    "content": {"role": "user", "content": "Now: {{ q }}"},
    "name": {"role": "user", "content": "{{ q }}", "name": "ann"},
    "when": {"role": "user", "content": "{{ q }}", "when": "q != 'question 3'"},
    "for_each": {"role": "user", "content": "{{ q }} {{ shot }}", "for_each": "shot in vars.rules"},
    "splice": {"splice": "chat"},
}
OF_WHAT_IS_INVALID = {
    "retry": {"retry": 2}, "feedback": {"retry": 1, "feedback": True}, "fallback": {"retry": 1, "fallback": {"model": "other"}},
    "then": {"retry": 1, "then": "drop"},
}  # fmt: skip
OF_WHAT_IS_DRAWN = {
    "options": {"options": ["kind", "new"]}, "weights": {"options": ["kind", "curt", "odd"], "weights": [9, 1, 1]},
    "range": {"range": [1, 9]}, "sampling": {"options": ["kind", "curt", "odd"], "sampling": "balanced"},
}  # fmt: skip
OF_THE_CONFIG = {
    "model": {"model": "n"}, "base_url": {}, "generation": {"generation": {"top_p": 0.3}}, "limits": {"limits": {"concurrency": 1}},
    "price": {"price": {"input": 1, "output": 1}}, "headers": {}, "api_key_env": {"api_key_env": "SOME_KEY"},
    "provider": {"provider": "offline", "model": None, "base_url": None}, "api_version": {"api_version": "2024-10-21"},
    "llamacpp": {"llamacpp": {"slots": 2}}, "schema_dialect": {"schema_dialect": "vllm"},
}  # fmt: skip
OF_LIMITS = {
    "concurrency": 2, "requests_per_minute": 1e6, "tokens_per_minute": 1e9, "timeout": 30, "max_retries": 0, "max_retry_seconds": 1,
    "batch_requests": 10, "batch_megabytes": 1, "batch_poll": 30, "prompt_characters": 1_000_000,
}  # fmt: skip


def _chats(message):
    return {"format_input": [message] if message.get("role") != "system" else [message, *SPEC["format_input"]]}


CHANGES = [
    *[(f"task.{field}", change, {}, *more) for field, (change, *more) in OF_THE_TASK.items()],
    *[(f"llm.{field}", {"llm": SPEC["llm"] | {field: value}}, {}, {}) for field, value in OF_THE_LLM.items()],
    *[(f"message.{field}", _chats(message), {}, {}) for field, message in OF_A_MESSAGE.items()],
    *[(f"on_invalid.{field}", {"on_invalid": policy}, {}, {}) for field, policy in OF_WHAT_IS_INVALID.items()],
    *[(f"draw.{field}", {"draw": {"tone": drawn}}, {}, {}) for field, drawn in OF_WHAT_IS_DRAWN.items()],
    *[(f"config.{field}", {}, change, {}) for field, change in OF_THE_CONFIG.items()],
    *[(f"limits.{field}", {}, {"limits": {field: value}}, NOTHING) for field, value in OF_LIMITS.items()],
]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (TaskSpec, OF_THE_TASK), (LLM, OF_THE_LLM), (Message, OF_A_MESSAGE), (OnInvalid, OF_WHAT_IS_INVALID), (Draw, OF_WHAT_IS_DRAWN),
        (LLMConfig, OF_THE_CONFIG), (Limits, OF_LIMITS),
    ],
)  # fmt: skip
def test_each_field_has_its_change_here(model, changes):
    """Who adds a field to the language says here what its change does."""
    assert set(changes) == set(model.model_fields)


@pytest.fixture(scope="module")
def mind():
    mind = Mind()
    with mind.server:
        yield mind


class Bench:
    """A folder whose store is kept, and others that are new."""

    def __init__(self, folder, mind):
        self.folder, self.mind = folder, mind
        mind.given.clear()
        mind.twice.clear()

    def run(self, spec, config, rows, folder="kept"):
        """The output, and the calls."""
        place = self.folder / folder
        place.mkdir(exist_ok=True)
        (place / "t.yaml").write_text(json.dumps(SPEC | spec))
        (place / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        before = self.mind.calls
        llm = CONFIG | {"base_url": self.mind.server.url} | config
        run(load(place / "t.yaml"), place / "in.jsonl", llm=llm, output=place / "out.jsonl", overwrite=True)
        return (place / "out.jsonl").read_text(), self.mind.calls - before

    def compare(self, spec, config, rows):
        """Run with the store, and then without: what the first asked for."""
        got, calls = self.run(spec, config, rows)
        assert self.mind.twice == []  # no reply was asked for again
        expected, all_calls = self.run(spec, config, rows, folder="new")
        assert got == expected
        assert calls <= all_calls
        self.mind.twice.clear()
        return calls


@pytest.fixture
def bench(tmp_path, mind, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-something")
    return Bench(tmp_path, mind)


@pytest.mark.parametrize(
    ("change", "config", "known", "first"),
    [(*c[1:], {})[:4] for c in CHANGES],
    ids=[c[0] for c in CHANGES],
)
def test_a_run_after_a_change_gives_what_a_first_run_would(bench, change, config, known, first):
    """Nothing stale, nothing mixed, nothing asked for twice."""
    bench.run(first, {}, ROWS)

    calls = bench.compare(change, config, ROWS)

    assert known.get("calls", calls) == calls


def edited(kind):
    rows = [dict(row) for row in ROWS]
    if kind == "edit":
        rows[3]["q"] = "another question"
    if kind == "a column that is not read":
        rows[3]["id"] = 99
    if kind == "insert":
        rows.insert(2, {"id": 100, "q": "new"})
    if kind == "delete":
        del rows[2]
    if kind == "append":
        rows.append({"id": 100, "q": "new"})
    if kind == "reorder":
        random.Random(1).shuffle(rows)
    if kind == "double":
        rows += rows[:3]
    if kind == "a column's name":
        rows = [{**row, "hint": "h"} for row in rows]
    return rows


@pytest.mark.parametrize(
    ("kind", "most"),
    [("edit", 2), ("a column that is not read", 0), ("insert", 2), ("delete", 0), ("append", 2), ("reorder", 0), ("double", 6), ("a column's name", 16)],
)  # fmt: skip
def test_a_run_after_a_change_of_the_rows_asks_only_for_what_is_new(bench, kind, most):
    """What is drawn for a row hangs on its place, so it is left out here."""
    spec = {"draw": {}, "format_input": [{"role": "user", "content": "{{ q }} {{ hint }}"}]}
    bench.run(spec, {}, ROWS)

    assert bench.compare(spec, {}, edited(kind)) <= most

"""Spans for OpenTelemetry: one a request, by the conventions for generative AI, without what was said unless it is asked for."""

from __future__ import annotations

import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from distask import Task, run
from tests.server import Reply

SPEC = """\
name: answer
inputs: {question: Q.}
format_input: [{role: system, content: Be brief.}, {role: user, content: "{{ question }}"}]
outputs: {reply: R.}
format_output: {parser: text}
llm: {temperature: 0.5, max_tokens: 20, stop: END}
"""


@pytest.fixture
def exporter(monkeypatch):
    """A process that has OpenTelemetry set up."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return kept


@pytest.fixture
def ask(tmp_path, server):
    (tmp_path / "answer.yaml").write_text(SPEC)

    def asked(questions=("a secret question",), **options):
        rows = [{"question": question} for question in questions]
        llm = {"base_url": server.url, "model": "m", "limits": {"max_retries": 2}}
        return run(Task.load(tmp_path / "answer.yaml"), rows, llm=llm, store=False, **options)

    return asked


def test_a_request_is_a_span_below_that_of_the_run(exporter, ask, server):
    server.reply = lambda body: "a secret reply"

    ask()

    call, whole = exporter.get_finished_spans()
    assert (whole.name, call.name, call.kind.name) == ("distask run answer", "chat m", "CLIENT")
    assert call.parent.span_id == whole.context.span_id
    assert dict(call.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": "m",
        "gen_ai.response.id": call.attributes.get("gen_ai.response.id"),
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }


def test_a_span_has_the_parts_of_the_usage(exporter, ask, server):
    usage = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
    parts = {"prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 3}}
    choices = [{"message": {"content": "x"}, "finish_reason": "stop"}]
    server.reply = lambda body: {"choices": choices, "usage": usage | parts}

    ask()

    call = exporter.get_finished_spans()[0]
    found = {name: value for name, value in call.attributes.items() if name.startswith("gen_ai.usage.")}
    assert found == {
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 3,
    }


def test_several_replies_are_one_span_with_their_number(exporter, ask):
    ask(num_generations=3)

    call = exporter.get_finished_spans()[0]
    assert call.attributes["gen_ai.request.choice.count"] == 3
    assert call.attributes["gen_ai.response.finish_reasons"] == ("stop",) * 3


def test_a_span_covers_all_tries(exporter, ask, server):
    answers = iter([Reply(503, body={"error": {"message": "busy"}}), "fine"])
    server.reply = lambda body: next(answers)

    ask()

    assert [span.name for span in exporter.get_finished_spans()] == ["chat m", "distask run answer"]
    assert len(server.requests) == 2


def test_a_failure_is_reported_with_its_kind(exporter, ask, server):
    server.reply = lambda body: Reply(400, body={"error": {"message": "too long", "code": "context_length_exceeded"}})

    ask()

    call = exporter.get_finished_spans()[0]
    assert call.attributes["error.type"] == "context_length"
    assert (call.status.status_code.name, call.events) == ("ERROR", ())


def test_what_was_said_is_recorded_only_where_it_is_asked_for(exporter, ask, server, monkeypatch):
    server.reply = lambda body: "a secret reply"

    ask()
    assert "secret" not in "".join(span.to_json() for span in exporter.get_finished_spans())

    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    ask(["another"])
    result = exporter.get_finished_spans()[2].attributes
    assert json.loads(result["gen_ai.input.messages"])[1] == {
        "role": "user",
        "parts": [{"type": "text", "content": "another"}],
    }
    assert json.loads(result["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "a secret reply"}], "finish_reason": "stop"}
    ]

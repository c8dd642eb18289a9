"""What the user reads where a model refuses a parameter: the run's line, the error with the flag, `check`, the report."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import SPEC
from tests.test_adaptation import gemma, gpt_5, refusal

JUDGE = SPEC.replace("format_input:", "llm: {temperature: 0, max_tokens: 50}\nformat_input:")


def test_a_run_says_once_what_it_changed(shell):
    shell.write("task.yaml", JUDGE)
    shell.server.reply = gpt_5

    result = shell.run("-o", "out.jsonl")

    assert result.code == 0
    assert result.err.count("m refuses `max_tokens`: it is sent as `max_completion_tokens`") == 1
    assert result.err.count("m refuses `temperature`, a default of the task: it is not sent") == 1


def test_a_value_from_a_flag_is_an_error_that_names_the_flag(shell):
    shell.write("task.yaml", JUDGE)
    shell.server.reply = gpt_5

    result = shell.run("-o", "out.jsonl", "-j", "1", "--set", "llm.temperature=0.3")

    assert result.code == 1
    assert "m refuses `temperature`: HTTP 400" in " ".join(result.err.split())
    assert "remove --set llm.temperature, or change it" in " ".join(result.err.split())
    assert len(shell.server.requests) == 2


def test_a_value_from_a_config_is_an_error_that_names_the_file(shell):
    shell.write("my.yaml", f"base_url: {shell.server.url}\nmodel: m\ngeneration: {{temperature: 0.3}}\n")
    shell.server.reply = gpt_5

    result = shell("run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "--config", "my.yaml", "-j", "1")

    assert result.code == 1
    assert "remove `generation.temperature` from my.yaml" in " ".join(result.err.split())
    assert len(shell.server.requests) == 1


@pytest.mark.parametrize("name", ["temperature", "max_tokens", "stop", "reasoning_effort"])
def test_null_in_a_flag_removes_a_default_of_the_task(shell, name):
    defaults = "{temperature: 0, max_tokens: 50, stop: x, reasoning_effort: low}"
    shell.write("task.yaml", SPEC.replace("format_input:", f"llm: {defaults}\nformat_input:"))

    assert shell.run("-o", "out.jsonl", "--set", f"llm.{name}=null").code == 0

    sent = {"temperature", "max_tokens", "stop", "reasoning_effort"} & shell.server.requests[0].keys()
    assert sent == {"temperature", "max_tokens", "stop", "reasoning_effort"} - {name}


def test_the_report_says_what_was_changed(shell):
    shell.write("task.yaml", JUDGE)
    shell.server.reply = gpt_5
    shell.run("-o", "out.jsonl")
    shell.run("-o", "out.jsonl")  # all from the store

    assert shell("report", "out.jsonl", "-o", "page.html").code == 0
    assert "m refuses `temperature`" in (shell.folder / "page.html").read_text()


def test_check_reports_what_a_run_would_change(shell):
    shell.write("task.yaml", JUDGE.replace("format_input:\n", "format_input:\n  - {role: system, content: S}\n"))
    shell.server.reply = lambda body: gemma(body) if gemma(body) != "fine" else gpt_5(body)

    result = shell("check", "task.yaml", "--base-url", "{url}", "--model", "m", "--json")

    assert result.code == 0
    found = {
        (check["name"], check["state"]): check["message"] for check in json.loads(result.out.splitlines()[-1])["checks"]
    }
    assert "system text" in found["system", "warning"]
    assert "`temperature`" in found["parameters", "warning"]


def test_check_names_the_flag_that_the_model_refuses(shell):
    shell.server.reply = gpt_5

    result = shell("check", "--base-url", "{url}", "--model", "m", "--set", "llm.temperature=0.3")

    assert result.code == 1
    assert "remove --set llm.temperature" in result.out


def test_requests_of_a_batch_file_leave_out_what_is_known_to_be_refused(shell):
    shell.write("task.yaml", JUDGE)
    shell.server.reply = gpt_5
    shell.run("-o", "out.jsonl")
    shell.rows([{"instruction": "another"}])

    result = shell(
        "export-batch", "task.yaml", "-i", "in.jsonl", "-o", "requests.jsonl", "--base-url", "{url}", "--model", "m",
    )  # fmt: skip

    assert result.code == 0, result.err
    (line,) = shell.lines("requests.jsonl")
    assert line["body"].keys() == {"model", "messages", "max_completion_tokens"}


def test_a_refusal_that_needs_the_users_decision_is_one_error_and_no_traceback(shell):
    shell.server.reply = lambda body: refusal("property 'seed' is unsupported, did you mean 'stop'?", None)

    result = shell.run("-o", "out.jsonl", "-j", "1", "--set", "llm.seed=3", "--set", "llm.stop=x")

    assert result.code == 1
    assert "`seed`" in result.err
    assert "Traceback" not in result.err

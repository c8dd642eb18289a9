"""`distask test`: a spec's cases, told as pytest tells tests."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

CASES = """\
cases:
  - {input: {instruction: x}, reply: hello, expect: {generation: hello}}
  - {name: two lines, input: {instruction: x}, reply: "one\\nthree", expect: {generation: "one\\ntwo"}}
  - {input: {instruction: x}, reply: "", error: empty}
"""


@pytest.fixture
def spec(shell):
    (shell.folder / "task.yaml").write_text((shell.folder / "task.yaml").read_text() + CASES)
    return shell


def test_a_dot_for_each_case_and_a_difference_for_one_that_fails(spec):
    result = spec("test", "task.yaml")

    assert result.code == 3
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0] == "task.yaml .F."
    assert lines[2].startswith("task.yaml:9:")
    assert "case `two lines`: `generation`: expected" in lines[2]
    assert "    one\n  - two\n  + three\n" in result.out
    assert lines[-1].startswith("1 failed, 2 passed in ")


def test_cases_that_hold_end_with_0_and_ask_nobody(shell):
    result = shell("test", "text-generation", "ultrafeedback")

    assert result.code == 0
    assert "failed" not in result.out
    assert shell.server.requests == []


def test_a_spec_that_is_wrong_is_reported_next_to_the_others_and_ends_with_2(spec):
    spec.write("bad.yaml", "inputs: {a: A}\n")

    result = spec("test", "bad.yaml", "task.yaml")

    assert result.code == 2
    assert result.out.splitlines()[:2] == ["bad.yaml E", "task.yaml .F."]
    assert "1 failed, 1 spec with errors, 2 passed" in result.out
    assert "bad.yaml:1:1: error: " in result.out


def test_verbose_names_each_case_and_quiet_only_those_that_fail(spec):
    assert "task.yaml case `two lines` failed\n" in spec("test", "task.yaml", "-v").out

    quiet = spec("test", "task.yaml", "-q").out
    assert quiet.lstrip().startswith("task.yaml:9:")
    assert "passed" not in quiet


def test_a_spec_without_cases_says_what_a_case_is(shell):
    result = shell("test", "task.yaml")

    assert result.code == 0
    assert result.out.startswith("task.yaml no cases\n")
    assert "add `cases:`" in result.out


def test_code_of_the_spec_does_not_run_and_its_cases_are_skipped(shell):
    shell.write("hook.py", "raise SystemExit('it ran')\n")
    code = "inputs: {q: Q}\nformat_input: [{role: user, content: x}]\noutputs: {a: A}\n"
    code += "format_output: {parser: python, function: 'hook:read'}\n"
    shell.write("code.yaml", code + "cases: [{input: {q: x}, reply: y, expect: {a: y}}]\n")

    result = shell("test", "code.yaml")

    assert (result.code, result.out.splitlines()[0]) == (0, "code.yaml s")
    assert "--allow-code" in result.out


def test_programs_get_every_case(spec):
    made = json.loads(spec("test", "task.yaml", "--json").out)

    assert (made["ok"], made["passed"], made["failed"]) == (False, 2, 1)
    case = made["specs"][0]["cases"][1]
    assert (case["status"], case["expected"], case["got"]) == ("failed", "one\ntwo", "one\nthree")
    assert case["diagnostic"]["line"] == 9


def test_a_ci_gets_a_junit_file(spec):
    spec.write("bad.yaml", "inputs: {a: A}\n")

    spec("test", "task.yaml", "bad.yaml", "--junit", "out/cases.xml")

    good, bad = ET.parse(spec.folder / "out" / "cases.xml").getroot()
    assert (good.get("tests"), good.get("failures"), bad.get("errors")) == ("3", "1", bad.get("tests"))
    assert "+ three" in good.findall("testcase")[1].find("failure").text


def test_a_report_holds_no_character_that_xml_refuses(shell):
    case = 'cases: [{input: {instruction: x}, reply: "a\\x1b[1m\\0", expect: {generation: b}}]\n'
    (shell.folder / "task.yaml").write_text((shell.folder / "task.yaml").read_text() + case)

    shell("test", "task.yaml", "--junit", "j.xml")

    assert "\\x1b[1m" in ET.parse(shell.folder / "j.xml").getroot().find(".//failure").text


def test_live_asks_the_model_for_cases_that_expect_columns(spec):
    spec.server.reply = lambda body: "hello"

    result = spec("test", "task.yaml", "--live", "--base-url", "{url}", "--model", "m")

    assert result.code == 3
    assert result.out.splitlines()[0] == "task.yaml .Fs"
    assert "task.yaml: 1 of 2 cases pass with m, 2 replies parsed" in result.out
    assert len(spec.server.requests) == 2
    spec("test", "task.yaml", "--live", "--base-url", "{url}", "--model", "m")
    assert len(spec.server.requests) == 2  # the replies are in the store


def test_live_shows_a_reply_that_could_not_be_read(shell):
    shell.write(
        "score.yaml",
        "inputs: {q: Q}\nformat_input: [{role: user, content: x}]\noutputs: {s: {type: integer}}\n"
        "format_output: {parser: regex, pattern: 'Score: (?P<s>\\d+)'}\n"
        "cases: [{input: {q: x}, reply: 'Score: 3', expect: {s: 3}}]\n",
    )
    shell.server.reply = lambda body: "I would rather not."

    result = shell("test", "score.yaml", "--live", "--base-url", "{url}", "--model", "m", "--no-store")

    assert 'the model replied "I would rather not."' in result.out
    assert "0 of 1 case pass with m, 0 replies parsed" in result.out


def test_an_endpoint_that_refuses_ends_with_1(spec):
    result = spec("test", "task.yaml", "--live", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")

    assert result.code == 1
    assert "check that the server is running" in result.err


def test_a_model_without_live_is_a_mistake(shell):
    result = shell("test", "task.yaml", "--model", "m")

    assert result.code == 2
    assert "--model selects a model, but without --live no model is called" in result.err

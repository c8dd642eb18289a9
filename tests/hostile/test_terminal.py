"""Nothing that a row, a reply, a server, a spec or a file's name holds drives the terminal, in any command that prints it."""

from __future__ import annotations

import json
import re

import pytest

from tests.hostile.mutants import cage_without
from tests.server import Reply

PAYLOADS = {
    "a colour": "\x1b[31mred",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;file:///etc/passwd\x1b\\here\x1b]8;;\x1b\\",
    "a clipboard": "\x1b]52;c;ZWNobyBvd25lZA==\x07",
    "a device control": "\x1bP+q544e\x1b\\",
    "an 8-bit control": "\x9b31m\x9d0;owned\x9c\x85",
    "a line's begin": "fine\rerror: none",
    "backspaces": "rm\x08\x08ok",
    "a bell and NUL": "\x07\x00\x7f",
    "another direction": "\u202egnp.exe\u202c \u2066x\u2069 \u200e\u200f",
    "line separators": "a\u2028b\u2029c\x0b\x0cd",
    "markup": "[/b] [bold red]x[/] [link=file:///etc/passwd]y[/link] [@click=app.quit]z",
    "an emoji's name": ":bomb: \ufeff\u200b\ufff9",
    "tags": "\U000e0041\U000e0042",
}
ALL = " ".join(PAYLOADS.values())
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\u200b]")
"""What may move a cursor, colour, link, hide or turn around; line ends stay, and tabs in files that are printed as they are."""


def assert_tame(said):
    """No character that is obeyed came out, the markup is text, and the payload was there at all."""
    text = said.text
    assert b"Traceback" not in said.err, text[-400:]
    found = FORBIDDEN.search(text)
    assert found is None, f"{found[0]!r} in …{text[max(0, found.start() - 60) : found.end() + 20]!r}"
    assert "\t" not in text


SPEC = """\
name: t
inputs: {q: x}
format_input: [{role: user, content: "{{ q }}"}]
outputs: {score: {type: integer}}
format_output: {parser: text}
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "t.yaml").write_text(SPEC)
    (tmp_path / "in.jsonl").write_text(json.dumps({"q": ALL}) + "\n" + json.dumps({"q": None, ALL: ALL}) + "\n")
    return tmp_path


def model(server):
    return ["--base-url", server.url, "--model", "m"]


COMMANDS = {
    "run": ["run", "t.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "-v"],
    "run as JSON": ["run", "t.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "--json"],
    "dry-run": ["dry-run", "t.yaml", "-i", "in.jsonl"],
    "dry-run as JSON": ["dry-run", "t.yaml", "-i", "in.jsonl", "--json"],
    "dry-run whole": ["dry-run", "t.yaml", "-i", "in.jsonl", "-v"],
    "preview": ["preview", "t.yaml", "-i", "in.jsonl", "-o", "out.jsonl"],
    "preview as JSON": ["preview", "t.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "--json"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_rows_and_replies_drive_nothing(cage, place, server, command):
    """The reply is refused, so that its words are in every message."""
    server.reply = lambda _: ALL

    result = cage(*COMMANDS[command], *model(server), cwd=place)

    assert result.code in (0, 3), result.text
    assert_tame(result)
    assert "[/b]" in result.text or command.startswith("run")


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
def test_a_servers_words_drive_nothing(cage, place, server, status):
    """Neither an error's text, nor its type and code, nor the name that the model is given."""
    error = {"message": ALL, "type": ALL, "code": ALL, "param": ALL}
    server.reply = lambda _: Reply(status, {"retry-after": "0"}, {"error": error})

    result = cage(*COMMANDS["run"], *model(server), "--set", "limits.max_retries=0", cwd=place)

    assert result.code in (1, 3), result.text
    assert_tame(result)


@pytest.mark.parametrize("body", [ALL.encode(), b"<html>" + ALL.encode(), b'{"choices": 5, "x": "' + b"\x9b" * 9])
def test_a_body_that_is_no_answer_drives_nothing(cage, place, server, body):
    server.reply = lambda _: Reply(200, body=body)

    result = cage(*COMMANDS["run"], *model(server), "--set", "limits.max_retries=0", cwd=place)

    assert result.code in (1, 3), result.text
    assert_tame(result)


def test_a_servers_own_model_names_drive_nothing(cage, place, server):
    server.models = [ALL]
    server.reply = lambda body: {**server.completion(body, "4"), "model": ALL}

    for arguments in (["check"], ["check", "--json"], COMMANDS["run"]):
        result = cage(*arguments, "--base-url", server.url, cwd=place)
        assert result.code in (0, 1, 3), result.text
        assert_tame(result)


def test_a_specs_words_drive_nothing(cage, place):
    """Names, descriptions, params, cases: where they are right, and where they are wrong."""
    wrong = {
        "name": ALL,
        ALL: ALL,
        "format_input": [{"role": ALL, "content": "{{ " + ALL}],
        "outputs": {ALL: {"type": ALL}},
    }
    result = {
        "name": "t",
        "description": ALL,
        "inputs": {"q": ALL},
        "params": {"p": {"description": ALL, "default": ALL}},
        "format_input": [{"role": "user", "content": ALL + "{{ q }}{{ p }}"}],
        "outputs": {ALL: ALL},
        "format_output": {"parser": "text"},
        "cases": [{"name": ALL, "input": {"q": ALL}, "reply": "b", "expect": {ALL: "c"}}],
    }
    for spec in (wrong, result):
        (place / "t.yaml").write_text(json.dumps(spec))
        for arguments in (["validate", "t.yaml"], ["validate", "t.yaml", "--format", "json"], ["test", "t.yaml"],
                          ["validate", "t.yaml", "--format", "github"], COMMANDS["dry-run"],
                          [*COMMANDS["run"], "-c", "offline"], ["run", "t.yaml", "--show-config", "-c", "offline"]):  # fmt: skip
            assert_tame(cage(*arguments, cwd=place))


def test_names_on_the_command_line_drive_nothing(cage, place):
    """Of files, options, params, models and servers."""
    named = ALL.replace("\0", "").replace("/", "_")[:120]
    (place / f"{named}.jsonl").write_text('{"q": }\n')
    for arguments in (
        ["run", f"{named}.yaml", "-i", "in.jsonl"],
        ["dry-run", "t.yaml", "-i", f"{named}.jsonl"],
        ["dry-run", "t.yaml", "-i", f"{named}x"],
        ["dry-run", "t.yaml", "-i", "in.jsonl", "--model", named],
        ["dry-run", "t.yaml", "-i", "in.jsonl", "--base-url", f"http://{named}"],
        ["dry-run", "t.yaml", "-i", "in.jsonl", "-p", f"{named}={named}"],
        ["dry-run", "t.yaml", "-i", "in.jsonl", "--set", f"{named}={named}"],
        ["run", "t.yaml", "-i", "in.jsonl", "-c", named],
        ["run", "t.yaml", "-i", "in.jsonl", "-c", "offline", "-o", f"{named}.xlsx"],
        ["run", "t.yaml", "-i", "in.jsonl", "-c", "offline", "-o", f"no/{named}.jsonl"],
        ["run", f"--{named}"],
        [named],
        ["tasks", named],
        ["tasks", "show", named],
        ["init", named],
        ["check", "-c", named],
    ):
        assert_tame(cage(*arguments, cwd=place))


def test_bad_data_drives_nothing(cage, place):
    """The lines that are shown are data too, and so are the names of their columns."""
    (place / "in.jsonl").write_bytes(b'{"' + json.dumps(ALL)[1:-1].encode() + b'": 1}\n' + ALL.encode() + b"\n")
    for arguments in (COMMANDS["dry-run"], ["validate", "t.yaml", "--input", "in.jsonl"], [*COMMANDS["run"], "-c", "offline"],
                      [*COMMANDS["run"], "-c", "offline", "--on-bad-row", "skip"], ["init", "x", "--from", "in.jsonl"]):  # fmt: skip
        assert_tame(cage(*arguments, cwd=place))


def test_the_battery_fails_when_texts_reach_the_terminal_as_they_are(place, server):
    server.reply = lambda _: ALL

    with cage_without("texts_reach_the_terminal") as cage:
        result = cage(*COMMANDS["dry-run"], *model(server), cwd=place)
        with pytest.raises(AssertionError):
            assert_tame(result)

"""Text from outside is drawn on a terminal, and drives nothing there."""

from __future__ import annotations

import io
import json
import re
import unicodedata

import pytest
from rich.text import Text

from distask.cli.display import chats, console
from distask.cli.display.console import plain, safe
from distask.cli.display.lines import echo
from distask.diagnostics import Diagnostic
from distask.errors import EndpointError, SpecError
from distask.formatting import amount, duration, several

PAYLOADS = [
    "\x1b[2J\x1b[Hgone",
    "\x1b]0;a title\x07",
    "\x1b]8;;file:///etc/passwd\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b31mred",
    "a\x00b",
    "good\rbad \x08\x08\x08",
    "\u202etxt.exe\u202c",
    "\u2066left\u2069\u200f",
    "[/b] [bold]x[/]",
    "[link=file:///etc/passwd]click[/link] :warning:",
    "\x7f\x85\u2028\U000e0041 \ud800",
]
"""Clear the screen, set the title, hide a link, fill the clipboard, colour by C1, NUL, overwrite, turn around, markup,
and characters that no one sees."""


def terminal(width=80):
    """A terminal in colour, and what arrived there."""
    return console.Terminal(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width, markup=False, highlight=False,
        emoji=False, soft_wrap=True,
    )  # fmt: skip


def draw(messages, screen) -> None:
    for line in chats.lines(messages):
        screen.print(Text(*line))


def arrived(screen) -> str:
    """What arrived, without the colours that we set ourselves."""
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.file.getvalue())


def driving(text: str) -> list[str]:
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_text_of_anyone_moves_nothing_on_the_terminal(payload):
    screen = terminal()
    screen.print(plain(payload, "red"))

    assert driving(arrived(screen)) == []


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_chat_that_holds_controls_is_shown_with_escapes(payload):
    messages = [
        {"role": payload, "name": payload, "content": payload},
        {
            "role": "user",
            "content": [{"type": "text", "text": payload}, {"type": "image_url", "image_url": {"url": payload}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": payload}]},
        {"role": "user", "content": [{"type": payload, payload: payload}]},
    ]
    screen = terminal()
    draw(messages, screen)

    assert driving(arrived(screen)) == []


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("colour", ["", "1"])
def test_a_line_moves_nothing_in_colour_and_without(payload, colour, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", colour)
    echo((payload, "red"), (payload, ""))
    result = capsys.readouterr().out

    assert driving(re.sub(r"\x1b\[[0-9;]*m", "", result)) == []
    assert ("\x1b[31m" in result) is bool(colour)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_error_that_quotes_controls_is_shown_with_escapes(payload, monkeypatch):
    screen = terminal()
    monkeypatch.setattr(console, "err", lambda: screen)
    error = EndpointError(payload)
    error.add_note(payload)
    console.report_error(error)
    console.report_error(SpecError([Diagnostic(payload, 1, 1, payload, payload, payload)]))
    console.report_bug(ValueError(payload))

    assert driving(arrived(screen)) == []


def test_a_run_whose_data_drives_terminals_prints_none_of_it(shell):
    """Rows, replies and column names of a stranger reach the terminal only as visible characters."""
    payloads = [p.replace("\ud800", "") for p in PAYLOADS]
    shell.rows([{"instruction": p, p: None} for p in payloads] + [{"instruction": None}])
    refused = "checks: [\"generation == ''\"]\non_invalid: {then: 'null'}\n"
    shell.write("task.yaml", (shell.folder / "task.yaml").read_text() + refused)

    run = shell.run("-v")
    shown = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "--limit", "20")

    assert (run.code, shown.code) == (3, 3)
    assert "13 failed" in run.err
    assert driving(run.out + run.err + shown.out + shown.err) == []


def test_markup_in_a_text_stays_text():
    screen = terminal()
    screen.print(plain("[link=file:///x]a[/link] [/b] :smile:"))

    assert arrived(screen) == "[link=file:///x]a[/link] [/b] :smile:\n"


def test_every_script_stays_readable():
    """Chinese, Persian with its joiners and emoji made of several characters are text, not controls."""
    for text in ("日本語、한국어", "می\u200cخواهم", "👩\u200d👩\u200d👧", "é e\u0301"):
        assert safe(text) == text


def test_no_color_is_respected(shell):
    shell.env |= {"NO_COLOR": "1", "FORCE_COLOR": "1"}

    result = shell("run", "nope.yaml")

    assert "\x1b[31m" not in result.err
    assert "\x1b[1;31m" not in result.err


def test_a_media_part_is_named_instead_of_encoded():
    screen = terminal(width=200)
    draw(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}},
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                    {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAA="}},
                ],
            }
        ],
        screen,
    )

    assert arrived(screen).splitlines()[1:] == [
        "  [image image/png, 2.9 KiB]",
        "  [image https://example.org/a.png]",
        "  [audio wav, 3 bytes]",
        "  [file a.pdf application/pdf, 2 bytes]",
    ]


def test_a_long_text_is_folded_and_a_little_more_is_not():
    assert chats.folded("x" * 3234).endswith("x … 1,234 more characters")
    assert chats.folded("x" * 2100) == "x" * 2100


def test_a_text_can_not_look_like_a_heading():
    """A user's text that says "system" on a line of its own is indented, a role is not."""
    screen = terminal()
    draw([{"role": "user", "content": "hello\nsystem\nobey"}], screen)

    assert arrived(screen) == "user\n  hello\n  system\n  obey\n"


def test_counts_and_times_are_said_as_people_say_them():
    assert [amount(n) for n in (0, 9999, 12345, 3_400_000, 2_000_000_000)] == ["0", "9,999", "12.3k", "3.4M", "2.0G"]
    assert [duration(s) for s in (0.04, 59.4, 125, 7800)] == ["0.0 s", "59.4 s", "2 min 5 s", "2 h 10 min"]
    assert [several(1, "row"), several(2, "reply")] == ["1 row", "2 replies"]


def test_a_bug_is_reported_without_the_values_of_variables(monkeypatch):
    screen = terminal()
    monkeypatch.setattr(console, "err", lambda: screen)

    def fails():
        secret = "sk-" + "123"  # noqa: F841
        return json.loads("{")

    with pytest.raises(ValueError, match="Expecting") as caught:
        fails()

    assert console.report_bug(caught.value) == 1
    assert "sk-123" not in arrived(screen)
    assert "this is a bug in distask" in arrived(screen)

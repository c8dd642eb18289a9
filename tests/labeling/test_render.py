"""What a row looks like: blocks for the page, in which no text becomes markup and nothing refers to the network."""

from __future__ import annotations

import base64
import io
import re
import wave

import pytest

from distask.labeling.render import LONGEST_MARKDOWN, LONGEST_TEXT, Renderer
from tests.labeling.conftest import JUDGE, outputs, task_of

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MEDIA = """
name: t
inputs: {picture: {type: any}, sound: {type: any}}
format_input:
  - role: user
    content: [{image: "{{ picture }}"}, {audio: "{{ sound }}"}]
outputs: {score: {type: integer}}
format_output: {parser: json}
"""


def sound():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 8)
    return buffer.getvalue()


def blocks(value, text=JUDGE, name="question", **options):
    made = Renderer(task_of(text), **options).row({name: value})
    return next(column["blocks"] for part in ("columns", "more") for column in made[part] if column["name"] == name)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        '<https://a.example/"onmouseover=alert(1)>',
        "```html\n<script>alert(1)</script>\n```",
        '```"onclick=alert(1)\nx\n```',
        "[x](https://a.example \"' onclick=alert(1)\")",
        '!["><script>](https://a.example/x.png)',
        "| <b>a</b> |\n|---|\n| <i>b</i> |",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ],
)  # fmt: skip
def test_no_text_becomes_markup_that_runs_or_loads(text):
    (block,) = blocks(text)
    tags = re.findall(r"<(\w+)([^>]*)>", block["html"])

    assert {tag for tag, _ in tags} <= {
        "p",
        "a",
        "span",
        "pre",
        "code",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "br",
    }
    for tag, attributes in tags:
        names = set(re.findall(r"([\w-]+)=\"[^\"]*\"", attributes))
        assert names <= ({"href", "title", "target", "rel"} if tag == "a" else {"class"})
        assert re.sub(r"\s*[\w-]+=\"[^\"]*\"", "", attributes).strip() == ""
        assert not re.search(r"href=\"(?!https://|mailto:)", attributes)


def test_long_texts_are_shown_as_written_and_cut():
    assert blocks("*x* " * 10)[0]["kind"] == "text"
    assert blocks("*x* " * LONGEST_MARKDOWN)[0]["kind"] == "plain"
    assert blocks("x" * (LONGEST_TEXT + 7))[0]["text"].endswith("… [7 characters more]")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3.5, "plain"),
        (True, "plain"),
        (["a", "b"], "list"),
        ([{"a": 1}], "code"),
        ({"a": [1, None]}, "code"),
        ([{"role": "user", "content": "hi"}], "chat"),
        ([{"from": "human", "value": "hi"}], "chat"),
        ('[{"role": "user", "content": "hi"}]', "chat"),
        ("<|im_start|>user\nhi<|im_end|>", "chat"),
        ("[1] is a citation", "text"),
        (PIXEL, "image"),
        ({"bytes": PIXEL, "path": None}, "image"),
        ("data:image/png;base64," + base64.b64encode(PIXEL).decode(), "image"),
        (b"\0\1", "note"),
    ],
)
def test_a_value_is_shown_as_what_it_is(value, kind):
    assert blocks(value, name="other")[0]["kind"] == kind


def test_a_chat_has_roles_texts_tools_and_images():
    (chat,) = blocks(
        [
            {"role": "system", "content": "Be **brief**."},
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        ]
    )  # fmt: skip
    kinds = [(m["role"], [block["kind"] for block in m["blocks"]]) for m in chat["messages"]]

    assert kinds == [("system", ["text"]), ("user", ["text", "note"]), ("assistant", ["code"])]
    assert "not loaded from the network: https://a.example/x.png" in chat["messages"][1]["blocks"][1]["text"]


def test_images_and_sounds_that_the_task_sends_are_shown(tmp_path):
    (tmp_path / "a.png").write_bytes(PIXEL)
    made = Renderer(task_of(MEDIA), folders=[tmp_path]).row({"picture": ["a.png", "b.png"], "sound": sound()})
    picture, heard = (column["blocks"] for column in made["columns"])

    assert picture[0]["src"] == "data:image/png;base64," + base64.b64encode(PIXEL).decode()
    assert picture[1] == {"kind": "note", "text": "image: b.png: image not found"}
    assert heard[0]["src"].startswith("data:audio/wav;base64,")


def test_a_row_can_not_show_files_outside_the_allowed_folders(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.png").write_bytes(PIXEL)
    made = Renderer(task_of(MEDIA), folders=[tmp_path / "inner"]).row({"picture": "../a.png"})

    assert "allow one with --allow-path FOLDER" in made["columns"][0]["blocks"][0]["text"]


def test_the_tasks_inputs_come_first_with_their_descriptions_and_nulls_are_left_out():
    made = Renderer(task_of(JUDGE)).row({"id": 3, "answer": "a", "question": "q", "extra": None})

    assert [(c["name"], c["description"]) for c in made["columns"]] == [
        ("question", "The question."),
        ("answer", "The answer."),
    ]
    assert [c["name"] for c in made["more"]] == ["id", "extra"]


def test_lists_in_a_tables_cells_are_parsed():
    text = outputs("{x: {choices: [A, B]}}", '{question: {}, answers: {type: "list[string]"}}')
    made = Renderer(task_of(text), "answers").row({"question": "q", "answers": '["one", "two"]'})

    assert [side["blocks"][0]["raw"] for side in made["sides"]] == ["one", "two"]
    assert [column["name"] for column in made["columns"]] == ["question"]


def test_the_chat_that_the_judge_gets_can_be_shown():
    (chat,) = Renderer(task_of(JUDGE)).prompt({"question": "q", "answer": "a"})

    assert [message["role"] for message in chat["messages"]] == ["system", "user"]
    (note,) = Renderer(task_of(JUDGE)).prompt({"question": "q"})
    assert note["text"] == "The chat can't be rendered: the column `answer` is missing"

"""Rows and replies that attack who looks at them: they stay texts. Whatever they would do is looked for in a real browser."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from distask.report.compare.comparison import write_comparison
from tests.report.conftest import Bench
from tests.server import ScriptedServer

pytestmark = pytest.mark.battery

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a href='javascript:alert(1)'>x</a></svg>",
    "</script><script>alert(1)</script>",
    "<!-- --><iframe src='https://evil.example/'></iframe>",
    '"><input autofocus onfocus=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)//",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}${7*7}",
    "]]><style>@import 'https://evil.example/x.css'</style><link rel=stylesheet href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base href='https://evil.example/'><form action=//evil.example><button>x</button></form>",
    "__proto__",
    "data:text/html,<script>alert(1)</script>",
    "\u202e\u2028\x00\x1b[31m&lt;b&gt;",
]  # fmt: skip
TASK = """
name: judge
description: {payload}
reference: {payload}
inputs: {{id: {{type: integer}}, question: A question.}}
format_input: [{{role: user, content: "{{{{ id }}}} {{{{ question }}}}"}}]
outputs: {{label: {payload}, text: What was said.}}
format_output: {{parser: json}}
"""


def reply(body):
    number, _, text = body["messages"][-1]["content"].partition(" ")
    return text if int(number) % 3 == 2 else json.dumps({"label": text[:40], "text": text})


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A result whose every part is hostile: the task, columns and their names, chats, replies, failures. And its page."""
    with ScriptedServer() as server:
        bench = Bench(tmp_path_factory.mktemp("attacked"), server)
        bench.task = TASK.format(payload=json.dumps(" ".join(PAYLOADS[:3])))
        rows = [
            {
                "id": i,
                "question": payload,
                f"name {payload}": {payload: [payload]},
                "constructor": payload,
                "__proto__": payload,
            }
            for i, payload in enumerate(PAYLOADS)
        ]
        output = bench.result(rows=rows, reply=reply)
    return output, bench.page(output)[0]


def elements(tab):
    """Elements that no page of ours has, and values that a script of a stranger would have set."""
    return tab.page.evaluate(
        "[...document.querySelectorAll('img, iframe, object, embed, link, base, form[action], [onerror], [onload], "
        "[onfocus], [onmouseover], [href^=javascript], a[href^=data], meta[http-equiv=refresh]')].map(e => e.outerHTML)"
    )


def test_a_hostile_row_is_shown_and_does_nothing(attacked, look):
    """No dialog, no request, nothing that a policy had to stop (`look` holds these), no element of its making."""
    tab = look(attacked[1], "#rows?row=0")
    chat = tab.page.get_by_role("region", name="Chat")

    for number, payload in enumerate(PAYLOADS):
        tab.page.locator("#detail-title", has_text=re.compile(f"^Row {number}$")).wait_for()
        shown = chat.locator(".message .text").inner_text()
        assert visible(shown) == f"{number} {visible(payload)}"
        assert elements(tab) == []
        tab.page.keyboard.press("j")


def test_what_is_hostile_can_be_searched_for(attacked, look):
    tab = look(attacked[1], "#rows")

    for payload in PAYLOADS[::4]:
        tab.page.fill("#search", payload)
        tab.counted(r"\d+ of 15 rows?")
        assert tab.page.locator("#table tbody tr[data-row]").count() > 0
        assert elements(tab) == []


def visible(text):
    """The text without what no screen shows, its spaces as a browser draws them."""
    return " ".join(text.replace("\x00", "").replace("\x1b", "").split())


def test_the_overview_of_hostile_columns_labels_and_failures_does_nothing(attacked, look):
    tab = look(attacked[1])

    tab.page.evaluate("document.querySelectorAll('#overview details').forEach(d => { d.open = true })")
    for card in tab.page.locator(".card").all():
        card.scroll_into_view_if_needed()
    for bar in tab.page.locator("button.bar").all()[:4]:
        bar.hover()

    assert elements(tab) == []


def test_two_hostile_results_do_nothing(attacked, look, tmp_path):
    write_comparison(str(attacked[0]), str(attacked[0]), tmp_path / "page.html")
    tab = look(tmp_path / "page.html", "#rows?row=1")

    tab.page.get_by_role("region", name="Reply in B").wait_for()

    assert elements(tab) == []


ADDRESSES = [
    "#rows?where=%5B%7B%22place%22%3A%22__proto__%22%2C%22op%22%3A%22is%22%7D%5D",
    "#rows?where=not json&sort=constructor&row=<img src=x onerror=alert(1)>",
    "#rows?q=<img src=x onerror=alert(1)>&row=99999999&reply=-4",
    "#<img src=x onerror=alert(1)>",
    "#rows?where=%5B%7B%22place%22%3A%22columns%2F0%22%2C%22op%22%3A%22constructor%22%7D%5D",
    "#rows?where=%5B%7B%22place%22%3A%22columns%2F0%22%2C%22op%22%3A%22between%22%7D%2C7%2Cnull%5D",
]


def test_a_hostile_address_does_nothing(attacked, look):
    """Neither when the page is opened with it, nor when it comes later."""
    for begin, later in itertools.pairwise(ADDRESSES):
        tab = look(attacked[1], begin)
        tab.page.keyboard.press("j")
        tab.page.evaluate("address => { location.hash = address }", later)
        tab.page.keyboard.press("j")

        assert elements(tab) == []

"""Results of real runs, and a real browser that looks at the pages about them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING

import pytest

from distask import load, run
from distask.report.single import write_report

if TYPE_CHECKING:
    from pathlib import Path

JUDGE = """
name: judge
inputs: {id: {type: integer}, question: The question.}
format_input:
  - {role: system, content: You are a judge.}
  - {role: user, content: "{{ id }} {{ question }}"}
outputs:
  score: {type: integer, minimum: 1, maximum: 5}
  verdict: {choices: [good, fair, poor]}
  sure: {type: boolean}
  tags: {type: "list[string]"}
  reason: Why.
format_output: {parser: json}
"""

VERDICTS = {1: "poor", 2: "poor", 3: "fair", 4: "good", 5: "good"}
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def judged(body):
    """What the model says of a row: row 7 of ten is out of bounds, row 8 is no JSON."""
    number = int(body["messages"][-1]["content"].split()[0])
    if number % 10 == 8:
        return f"I would call answer {number} decent."
    score = 9 if number % 10 == 7 else number % 5 + 1
    verdict = VERDICTS.get(score, "good")
    return json.dumps(
        {"score": score, "verdict": verdict, "sure": score != 3, "tags": ["a", "b"][: number % 3], "reason": f"since {number}"}
    )  # fmt: skip


@dataclass
class Bench:
    """A folder in which tasks are run and pages are made."""

    folder: Path
    server: object
    task: str = JUDGE

    def result(self, name="out.jsonl", count=20, reply=judged, rows=None, **options):
        """Run the task; gives the output's path."""
        (self.folder / "judge.yaml").write_text(self.task)
        rows = rows or [{"id": i, "question": f"is <b>{i}</b> good?"} for i in range(count)]
        source = self.folder / "in.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.server.reply = reply
        config = {"model": "m", "base_url": self.server.url, "api_key_env": None, "price": {"input": 1, "output": 2}}
        output = self.folder / name
        run(
            load(self.folder / "judge.yaml"), source, llm=config, output=output,
            store=self.folder / f"{name}.db", **options,
        )  # fmt: skip
        return output

    def page(self, output, **options):
        """The page about an output: its path, and what was counted."""
        path = output.with_name(f"{output.name}.report.html")
        return path, write_report(str(output), path, **options)


@pytest.fixture
def bench(tmp_path, server):
    return Bench(tmp_path, server)


def text_of(page):
    """The words of a page, without its scripts, styles and tags."""
    html = re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", page.read_text())
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture(scope="module")
def chromium():
    """A browser without a screen; the test is skipped where the machine has none.

    While it is there, an event loop runs in this thread: it goes before any other module's tests come.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Tab:
    """A page in the browser, and all that it did which it should not."""

    def __init__(self, browser, path, part="", **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.requests, self.faults, self.dialogs = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.url = path.as_uri()
        self.open(part)

    def open(self, part=""):
        self.page.goto(self.url + part)
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def rows(self):
        """The texts of the rows that are in the table, cell by cell."""
        return [
            [cell.strip() for cell in row.locator("th, td").all_inner_texts()]
            for row in self.page.locator("#table tbody tr[data-row]").all()
        ]

    def counted(self, words):
        """Wait until the table says so of its rows."""
        self.page.locator("#counted", has_text=re.compile(f"^{words}$")).wait_for()

    def close(self):
        self.context.close()


@pytest.fixture
def look(chromium):
    """Open a page: `look(path, "#rows")`. It must have asked for nothing, and nothing may have gone wrong."""
    tabs = []

    def opened(path, part="", **options):
        tabs.append(Tab(chromium, path, part, **options))
        return tabs[-1]

    yield opened
    for tab in tabs:
        tab.close()
        assert tab.faults == []
        assert tab.dialogs == []
        assert {url.partition("#")[0].partition("?")[0] for url in tab.requests if not url.startswith("blob:")} == {
            tab.url
        }

"""The page in a real browser: labeled by keys and by clicks, read as a screen reader does, in light and dark."""

from __future__ import annotations

import json
import signal

import pytest

from tests.labeling.conftest import JUDGE, lines, outputs, rows

pytestmark = pytest.mark.battery


class Page:
    """The page of a running `distask label`, and all that it did which it should not."""

    def __init__(self, browser, running, **options):
        self.running = running
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.requests, self.faults = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.note(said.text))
        self.page.goto(running.url)
        self.at("0")

    def note(self, text):
        """Note an error on the console; an answer that the server refuses is logged there too."""
        if "Failed to load resource" not in text:
            self.faults.append(text)

    def at(self, turn):
        """Wait until the page shows this turn."""
        self.page.wait_for_selector(f'html[data-ready][data-turn="{turn}"]', state="attached")

    def press(self, *keys):
        """Press keys; each waits until the page has drawn what the one before did."""
        for key in keys:
            self.page.wait_for_selector("body:not(.saving)", state="attached")
            self.page.keyboard.press(key)

    def focused(self):
        return self.page.evaluate("document.activeElement.id || document.activeElement.textContent")


@pytest.fixture
def browse(chromium, start, tmp_path):
    """Label rows in the browser: `browse(made, text)`. Only this server was asked, and nothing went wrong."""
    pages = []

    def opened(made, text=JUDGE, *arguments, **options):
        (tmp_path / "task.yaml").write_text(text)
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
        running = start("task.yaml", "-i", "in.jsonl", "--all", "-o", "labels.jsonl", "--annotator", "ann", *arguments)
        pages.append(Page(chromium, running, **options))
        return pages[-1]

    yield opened
    for page in pages:
        page.context.close()
        assert page.faults == []
        assert {"/".join(url.split("/")[:3]) for url in page.requests if not url.startswith("data:")} == {
            page.running.base
        }


def scores(tmp_path, column="score"):
    return [line[column] for line in lines(tmp_path / "labels.jsonl") if not line["label"].get("withdrawn")]


def test_fifty_rows_are_labeled_by_keyboard_alone(browse, tmp_path):
    tab = browse(rows(50))

    for turn in range(50):
        tab.at(str(turn))
        assert f"What is {turn}?" in tab.page.locator("#item").inner_text()
        tab.press(str(turn % 5 + 1))
    tab.at("end")

    assert tab.page.get_by_role("heading", name="All 50 items are done").is_visible()
    assert scores(tmp_path) == [turn % 5 + 1 for turn in range(50)]
    tab.page.get_by_role("button", name="Finish", exact=True).last.click()
    tab.at("closed")
    out, _ = tab.running.process.communicate(timeout=60)
    assert out.startswith("labels.jsonl  ann: 50 answered")


def test_clicks_do_the_same(browse, tmp_path):
    tab = browse(rows(3))

    tab.page.get_by_role("button", name="4", exact=True).click()
    tab.at("1")
    tab.page.get_by_role("button", name="Skip").click()
    tab.at("2")
    tab.page.get_by_role("button", name="Undo").click()
    tab.at("1")
    tab.page.get_by_label("Comment").fill("Hard to say.")
    tab.page.get_by_role("button", name="2", exact=True).click()
    tab.at("2")

    made = lines(tmp_path / "labels.jsonl")
    assert scores(tmp_path) == [4, None, 2]
    assert [("skipped" in m["label"], "withdrawn" in m["label"], m["label"].get("comment")) for m in made] == [
        (False, False, None), (True, False, None), (False, True, None), (False, False, "Hard to say."),
    ]  # fmt: skip


def test_skip_undo_and_comment_have_keys(browse, tmp_path):
    tab = browse(rows(4))

    tab.press("s")
    tab.at("1")
    tab.press("c")
    tab.page.keyboard.type("3 and u are text here")
    tab.press("Enter", "3")
    tab.at("2")
    tab.press("u")
    tab.at("1")
    assert tab.page.get_by_label("Comment").input_value() == "3 and u are text here"
    assert tab.page.get_by_role("button", name="3", exact=True).get_attribute("aria-pressed") == "true"
    tab.press("5")
    tab.at("2")

    assert scores(tmp_path) == [None, 3, 5]
    assert lines(tmp_path / "labels.jsonl")[-1]["label"]["comment"] == "3 and u are text here"


def test_a_key_that_is_held_down_answers_one_item(browse, tmp_path):
    tab = browse(rows(5))

    tab.page.keyboard.down("3")
    tab.page.keyboard.down("3")  # as the system repeats it
    tab.at("1")
    for _ in range(5):
        tab.page.keyboard.down("3")
    tab.page.keyboard.up("3")
    tab.press("4")
    tab.at("2")

    assert scores(tmp_path) == [3, 4]


def test_a_pair_is_shown_side_by_side_and_answered_with_arrows(browse, tmp_path):
    text = outputs("{better: {choices: [A, B, tie]}}", '{question: The question., answers: {type: "list[string]"}}')
    tab = browse([{"question": f"q{i}", "answers": [f"left {i}", f"right {i}"]} for i in range(3)], text)
    boxes = [tab.page.get_by_role("region", name=name).bounding_box() for name in ("← A", "B →")]

    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] < boxes[1]["x"]
    for turn, key in enumerate(("ArrowLeft", "=", "ArrowRight")):
        tab.at(str(turn))
        tab.press(key)
    tab.at("end")

    assert scores(tmp_path, "better") == ["A", "tie", "B"]


def test_choices_and_yes_or_no_have_letters(browse, tmp_path):
    tab = browse(
        [{"question": f"q{i}"} for i in range(2)], outputs("{verdict: {choices: [good, poor]}, right: {type: boolean}}")
    )

    tab.press("g", "n")
    tab.at("1")
    tab.press("2", "y")
    tab.at("end")

    assert [(line["verdict"], line["right"]) for line in lines(tmp_path / "labels.jsonl")] == [
        ("good", False),
        ("poor", True),
    ]


def test_each_entry_of_a_list_is_rated(browse, tmp_path):
    text = (
        "name: t\ninputs: {question: {}, answers: {type: 'list[string]'}}\nformat_input: [{role: user, content: '{{ question }}'}]\n"
        "outputs: {ratings: {type: 'list[integer]', minimum: 1, maximum: 5}}\n"
        "format_output: {parser: list, column: ratings, align_to: answers}\n"
    )
    tab = browse([{"question": "q", "answers": ["a", "b", "c"]}, {"question": "r", "answers": ["d"]}], text)

    tab.press("5", "3", "1")
    tab.at("1")
    tab.press("2")
    tab.at("end")

    assert scores(tmp_path, "ratings") == [[5, 3, 1], [2]]


def test_texts_lists_and_numbers_are_typed_and_saved_with_enter(browse, tmp_path):
    text = outputs(
        '{share: {type: number, minimum: 0, maximum: 1}, tags: {type: "list[enum]", choices: [x, y, z]}, words: {type: "list[string]"}, why: Why.}'
    )
    asked = [word for name in ("share", "tags", "words", "why") for word in ("--ask", name)]
    tab = browse([{"question": "q"}, {"question": "r"}], text, *asked)
    fields = tab.page.get_by_role("textbox")

    fields.nth(0).fill("7")
    tab.press("Control+Enter")
    tab.page.get_by_role("alert").filter(has_text="share: 7 is greater than the maximum").wait_for()
    fields.nth(0).fill("0.5")
    tab.page.get_by_role("button", name="x").click()
    tab.page.get_by_role("button", name="z").click()
    fields.nth(1).fill("one\n\n two ")
    fields.nth(2).fill("since\nso")
    tab.press("Control+Enter")
    tab.at("1")
    tab.page.get_by_role("button", name="Save").click()
    tab.page.get_by_role("alert").filter(has_text="share: answer this first, or skip the item.").wait_for()

    (line,) = lines(tmp_path / "labels.jsonl")
    assert (line["share"], line["tags"], line["words"], line["why"]) == (0.5, ["x", "z"], ["one", "two"], "since\nso")


def test_texts_are_rendered_and_can_be_seen_as_written(browse):
    answer = "# Title\n\n- **bold** <script>alert(1)</script>\n\n```python\nprint('x')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![x](https://evil.example/x.png)"
    tab = browse([{"question": "q", "answer": answer}])
    item = tab.page.locator("#item")

    assert item.locator("strong").inner_text() == "bold"
    assert item.locator("pre .nb").inner_text() == "print"
    assert item.locator("td").all_inner_texts() == ["1", "2"]
    assert "<script>alert(1)</script>" in item.inner_text()
    assert "image, not loaded from the network: x https://evil.example/x.png" in item.inner_text()
    assert item.locator("script, img").count() == 0
    tab.press("m")
    assert answer in item.locator(".written").all_inner_texts()


def test_chats_images_and_other_columns_are_shown(browse):
    pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    chat = [{"role": "user", "content": "**hi**"}, {"role": "assistant", "content": "hello"}]
    text = """
name: t
inputs: {messages: {type: any}, picture: {}}
format_input:
  - role: user
    content: [{image: "{{ picture }}"}]
outputs: {score: {type: integer, minimum: 1, maximum: 5}}
format_output: {parser: json}
"""
    tab = browse([{"messages": chat, "picture": pixel, "source": {"book": 3}}], text)
    item = tab.page.locator("#item")

    assert item.locator(".message h3").all_inner_texts() == ["USER", "ASSISTANT"]
    assert item.locator(".message.user strong").inner_text() == "hi"
    assert item.locator("img").evaluate("image => image.complete && image.naturalWidth") == 1
    tab.page.get_by_text("Other columns (1)").click()
    assert '"book": 3' in item.inner_text()
    tab.page.get_by_text("What the model is asked").click()
    item.locator("details img").last.wait_for()


def test_a_second_tab_does_not_answer_an_item_twice(browse, tmp_path):
    tab = browse(rows(4))
    other = tab.context.new_page()
    other.goto(tab.running.base)
    other.wait_for_selector('html[data-turn="0"]', state="attached")

    tab.press("4")
    tab.at("1")
    other.keyboard.press("2")
    other.wait_for_selector('html[data-turn="1"]', state="attached")

    assert scores(tmp_path) == [4]
    assert "answered in another tab" in other.locator("#announcer").inner_text()
    tab.faults.clear()


def test_a_closed_tab_and_a_killed_process_lose_nothing(browse, chromium, start, tmp_path):
    tab = browse(rows(5))
    tab.press("4")
    tab.at("1")
    tab.page.close()
    again = tab.context.new_page()
    again.goto(tab.running.base)
    again.wait_for_selector('html[data-turn="1"]', state="attached")
    again.keyboard.press("2")
    again.wait_for_selector('html[data-turn="2"]', state="attached")
    tab.running.stop(signal.SIGKILL)
    again.keyboard.press("3")
    again.get_by_role("alert").filter(
        has_text="This item is not saved; every earlier one is, in labels.jsonl."
    ).wait_for()

    running = start("task.yaml", "-i", "in.jsonl", "--all", "-o", "labels.jsonl", "--annotator", "ann").enter()

    assert scores(tmp_path) == [4, 2]
    assert running.state()["progress"]["done"] == 2


def test_screen_readers_hear_the_item_the_groups_and_what_was_saved(browse):
    tab = browse(rows(3))

    assert tab.focused() == "item-title"
    assert tab.page.get_by_role("heading", name="Item 1 of 3").is_visible()
    assert tab.page.get_by_role("group", name="score", exact=True).last.get_by_role("button").all_inner_texts() == list(
        "12345"
    )
    assert tab.page.get_by_role("progressbar", name="Answered items").get_attribute("aria-valuenow") == "0"
    tab.press("4")
    tab.at("1")
    assert tab.page.get_by_role("status").inner_text() == "Saved. Item 2 of 3."
    assert tab.focused() == "item-title"
    unnamed = tab.page.evaluate(
        """[...document.querySelectorAll("button, input, textarea, a, summary")].filter((each) => each.offsetParent
        && !(each.textContent.trim() || each.getAttribute("aria-label") || each.labels?.length)).map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    ids = tab.page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))


def test_everything_is_reached_with_tab_and_enter_when_single_keys_are_off(browse, tmp_path):
    """Speech input types letters; WCAG 2.1.4 asks for a way to turn single keys off."""
    tab = browse(rows(2))

    tab.press("?")
    tab.page.get_by_role("dialog", name="Keyboard").get_by_label("Single keys answer").uncheck()
    tab.press("Escape", "4")
    for _ in range(40):
        tab.press("Tab")
        if tab.focused().strip() == "2":
            break
    tab.press("Enter")
    tab.at("1")

    assert scores(tmp_path) == [2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_color_schemes(browse, scheme):
    tab = browse([{"question": "q", "answer": "```python\ndef f(): # note\n    return 'x'\n```"}], color_scheme=scheme)
    tab.press("?")

    low = tab.page.evaluate(
        """() => {
          const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const rgb = (color) => { probe.clearRect(0, 0, 1, 1); probe.fillStyle = color; probe.fillRect(0, 0, 1, 1); return [...probe.getImageData(0, 0, 1, 1).data]; };
          const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const ground = (each) => { for (; each; each = each.parentElement) { const color = rgb(getComputedStyle(each).backgroundColor); if (color[3] > 250) return color; } return rgb(getComputedStyle(document.documentElement).backgroundColor); };
          return [...document.querySelectorAll("body *")].filter((each) => each.offsetParent && !each.disabled && [...each.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((each) => {
            const [a, b] = [light(rgb(getComputedStyle(each).color)), light(ground(each))].sort((x, y) => y - x);
            return [each.outerHTML.slice(0, 90), (a + 0.05) / (b + 0.05)];
          }).filter(([, ratio]) => ratio < 4.5);
        }"""
    )

    assert low == []


def test_a_narrow_window_keeps_the_answer_in_view(browse):
    tab = browse([{"question": "q " * 3000, "answer": "a"}], viewport={"width": 420, "height": 800})

    box = tab.page.get_by_role("button", name="3", exact=True).bounding_box()

    assert 0 <= box["x"] <= 420
    assert 0 <= box["y"] <= 800
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 420


def test_the_judges_answer_appears_after_the_answer_with_its_reason(browse):
    judged = [row | {"score": 5 - i, "reason": "Since **so**."} for i, row in enumerate(rows(2))]
    tab = browse(judged)

    assert "Since **so**" not in tab.page.content()
    tab.press("4")
    tab.at("1")

    last = tab.page.get_by_role("group", name="Last answer")
    assert last.locator("td").all_inner_texts() == ["", "4", "5"]
    last.get_by_text("The judge's reason").click()
    assert "Since **so**." in last.inner_text()


def test_the_last_screen_reports_consistency_and_takes_back_the_last_answer(browse):
    tab = browse(rows(2), JUDGE, "--repeat", "2")

    for turn, key in enumerate("4445"):
        tab.at(str(turn))
        tab.press(key)
    tab.at("end")

    assert "4 answered" in tab.page.locator("#end-facts").inner_text()
    assert "1 of 2 repeated items answered the same" in tab.page.locator("#end-facts").inner_text()
    tab.press("u")
    tab.at("3")
    tab.press("4")
    tab.at("end")
    assert "2 of 2 repeated items answered the same" in tab.page.locator("#end-facts").inner_text()


def test_finish_has_a_key_and_the_page_says_how_to_continue(browse):
    tab = browse(rows(3))

    tab.press("4")
    tab.at("1")
    tab.press("f")
    tab.at("closed")

    assert "The same command continues where you stopped." in tab.page.locator("#end-text").inner_text()
    assert tab.running.process.wait(60) == 0

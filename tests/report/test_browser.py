"""The page in a real browser: clicked, typed into and read, as who judges a result would."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict

import pytest

from distask.report.compare.comparison import write_comparison
from distask.report.single import write_report
from tests.report.conftest import Bench
from tests.report.test_counts import STEPS
from tests.server import ScriptedServer

pytestmark = pytest.mark.battery


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A result of 300 rows, of which 60 failed; its page. Nothing that a test does changes it."""
    with ScriptedServer() as server:
        bench = Bench(tmp_path_factory.mktemp("made"), server)
        output = bench.result(count=300)
    return output, bench.page(output)[0]


def numbers(tab):
    return [int(row[0].replace(",", "")) for row in tab.rows()]


def test_the_overview_leads_to_the_rows_that_failed(made, look):
    output, page = made
    tab = look(page)

    tab.page.get_by_role("button", name="Show all 30 in the table").first.click()

    tab.counted("30 of 300 rows")
    failed = [
        i for i, r in enumerate(lines(output)) if r["distask_metadata"].get("error_judge", {}).get("kind") == "invalid"
    ]
    assert numbers(tab) == failed[: len(tab.rows())]
    tab.page.get_by_role("button", name="Remove filter: Failure is “invalid”").click()
    tab.counted("300 rows")


def test_an_open_row_shows_chat_reply_and_columns_side_by_side(made, look):
    output, page = made
    tab = look(page, "#rows")

    tab.page.get_by_role("button", name="Open row 4", exact=True).click()

    row = lines(output)[4]
    panes = [tab.page.get_by_role("region", name=name) for name in ("Chat", "Raw reply", "Columns")]
    chat, reply, columns = (pane.inner_text() for pane in panes)
    assert "You are a judge." in chat
    assert "4 is <b>4</b> good?" in chat
    assert row["distask_metadata"]["raw_output_judge"] in reply
    assert f"score\n{row['score']}" in columns
    boxes = [pane.bounding_box() for pane in panes]
    assert boxes[0]["y"] == boxes[1]["y"] == boxes[2]["y"]
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"]
    assert tab.page.evaluate("location.hash") == "#rows?row=4"


def test_the_keyboard_alone_goes_through_the_rows(made, look):
    tab = look(made[1], "#rows")
    press = tab.page.keyboard.press
    title = tab.page.locator("#detail-title")

    press("j")
    press("j")
    press("Enter")
    title.filter(has_text="Row 2").wait_for()
    press("j")
    title.filter(has_text="Row 3").wait_for()
    press("k")
    title.filter(has_text="Row 2").wait_for()
    press("End")
    title.filter(has_text="Row 299").wait_for()
    press("Escape")
    title.wait_for(state="hidden")
    press("/")
    tab.page.keyboard.type("since 251")
    tab.counted("1 of 300 row.*")
    press("Escape")
    tab.counted("300 rows")
    press("?")
    tab.page.get_by_role("dialog", name="Keyboard").wait_for()
    press("Escape")
    press("o")
    tab.page.get_by_role("heading", name="judge", exact=True).wait_for()


def test_a_search_looks_into_chats_and_raw_replies_as_they_are_written(made, look):
    """Quotes, line ends and letters of any case; what only stands in keys is not found."""
    output, page = made
    tab = look(page, "#rows")
    rows = lines(output)

    for sought, text in [
        ("WOULD CALL", "would call"),
        ('"reason": "since 77"', '"reason": "since 77"'),
        ("raw_input", None),
    ]:
        tab.page.fill("#search", sought)
        expected = [i for i, r in enumerate(rows) if text and text in (r["distask_metadata"]["raw_output_judge"] or "")]
        tab.counted(f"{len(expected)} of 300 row.*")
        assert numbers(tab) == expected[: len(tab.rows())]
    tab.page.get_by_role("button", name="Clear all filters").click()
    tab.counted("300 rows")


def test_rows_are_sorted_by_any_column_and_the_empty_ones_come_last(made, look):
    output, page = made
    tab = look(page, "#rows")
    rows = lines(output)
    scored = [i for i, r in enumerate(rows) if r["score"] is not None]

    tab.page.locator("#table thead").get_by_role("button", name="score").click()
    tab.page.locator("th[aria-sort=ascending]", has_text="score").wait_for()
    seen = numbers(tab)
    assert seen == sorted(scored, key=lambda i: rows[i]["score"])[: len(seen)]
    tab.page.locator("#table thead").get_by_role("button", name="score").click()
    tab.page.locator("th[aria-sort=descending]", has_text="score").wait_for()
    seen = numbers(tab)
    assert seen == sorted(scored, key=lambda i: -rows[i]["score"])[: len(seen)]
    tab.page.keyboard.press("End")
    assert numbers(tab)[-1] == max(i for i, r in enumerate(rows) if r["score"] is None)


def test_texts_are_sorted_as_people_sort_them(made, look):
    tab = look(made[1], "#rows")

    tab.page.locator("#sort-by").select_option(label="reason")

    tab.page.locator("th[aria-sort=ascending]", has_text="reason").wait_for()
    assert numbers(tab)[:4] == [0, 1, 2, 3]


def test_the_form_makes_filters_of_every_kind(made, look):
    output, page = made
    tab = look(page, "#rows")
    rows = lines(output)
    menu = tab.page.locator("#add-filter")

    def add(column, fill):
        menu.locator("summary").click()
        menu.get_by_label("Column").select_option(label=column)
        fill()
        menu.get_by_role("button", name="Add filter").click()

    add("score", lambda: menu.get_by_label("at most").fill("2"))
    low = [r for r in rows if r["score"] is not None and r["score"] <= 2]
    tab.counted(f"{len(low)} of 300 rows")
    add("tags", lambda: menu.get_by_label("is").select_option(label="b"))
    tagged = [r for r in low if "b" in r["tags"]]
    tab.counted(f"{len(tagged)} of 300 rows")
    add("reason", lambda: menu.get_by_label("contains").fill("since 1"))
    tab.counted(f"{sum('since 1' in r['reason'] for r in tagged)} of 300 rows")
    tab.page.get_by_role("button", name="Clear all").click()
    tab.counted("300 rows")


def test_a_click_on_a_label_and_on_a_bin_shows_their_rows_and_the_charts_say_what_is_left(made, look):
    output, page = made
    tab = look(page)
    rows = lines(output)
    kept = Counter(r["verdict"] for r in rows)

    tab.page.get_by_role("button", name="fair").click()
    tab.counted(f"{kept['fair']} of 300 rows")
    tab.page.keyboard.press("o")
    tab.page.get_by_text(f"In color: the {kept['fair']} rows").wait_for()
    card = tab.page.get_by_role("article", name="score", exact=True)
    card.get_by_text("As a table").click()
    card.get_by_role("button", name="3", exact=True).click()
    tab.counted(f"{kept['fair']} of 300 rows")
    assert tab.page.locator("#chips .chip").count() == 2


def test_a_drag_over_a_histogram_filters_by_its_range(made, look):
    output, page = made
    tab = look(page, "#columns")
    plot = tab.page.get_by_role("article", name="score", exact=True).locator(".u-over")
    box = plot.bounding_box()

    tab.page.mouse.move(box["x"] + box["width"] * 0.65, box["y"] + 40)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + 40, steps=4)
    tab.page.mouse.up()

    tab.counted(f"{sum(r['score'] in (4, 5) for r in lines(output))} of 300 rows")


def test_what_is_shown_can_be_saved_and_a_row_copied_as_they_are_in_the_output(made, look):
    output, page = made
    tab = look(page, "#rows?q=since%202")
    tab.counted(r"\d+ of 300 rows")
    written = output.read_text().splitlines()
    wanted = [line for line in written if "since 2" in line]

    with tab.page.expect_download() as saved:
        tab.page.get_by_role("button", name="Export JSONL").click()

    assert saved.value.suggested_filename == "out.filtered.jsonl"
    assert saved.value.path().read_text().splitlines() == wanted
    tab.page.get_by_role("button", name="Open row 2", exact=True).click()
    tab.page.get_by_role("button", name="Copy JSON").click()
    tab.page.get_by_text("Copied", exact=True).first.wait_for()
    assert tab.page.evaluate("navigator.clipboard.readText()") == written[2]


def test_a_link_leads_back_to_the_same_rows_order_and_open_row(made, look):
    tab = look(made[1], "#rows")
    tab.page.fill("#search", "since")
    tab.page.locator("#sort-by").select_option(label="score")
    tab.page.get_by_role("button", name="Sort: ascending").click()
    tab.page.locator("th[aria-sort=descending]").wait_for()
    tab.page.locator("#table tbody tr[data-row]").nth(3).click()
    tab.page.locator("#detail-title").wait_for()
    before = (tab.rows()[:6], tab.page.locator("#detail-title").inner_text(), tab.page.evaluate("location.hash"))

    again = look(made[1], before[2])

    again.page.locator("#detail-title", has_text=before[1]).wait_for()
    assert again.rows()[:6] == before[0]


@pytest.mark.parametrize("grouped", [True, False])
def test_the_replies_to_a_row_are_a_key_apart(bench, look, grouped):
    samples = defaultdict(itertools.count)

    def reply(body):
        number = int(body["messages"][-1]["content"].split()[0])
        sample = next(samples[number])
        return json.dumps(
            {"score": sample + 1, "verdict": "fair", "sure": True, "tags": [], "reason": f"r{number} s{sample}"}
        )

    bench.server.honours_n = False
    output = bench.result(count=4, reply=reply, num_generations=3, group_generations=grouped)
    rows = lines(output)
    reasons = rows[1]["reason"] if grouped else [r["reason"] for r in rows[3:6]]
    tab = look(bench.page(output)[0], f"#rows?row={1 if grouped else 3}")
    columns = tab.page.get_by_role("region", name="Columns")

    for reason in reasons:
        columns.get_by_text(reason, exact=True).first.wait_for()
        tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("o")
    tab.page.get_by_role("article", name="Agreement on score").get_by_role("button", name="that disagree").click()
    tab.counted("4 rows" if grouped else "12 rows")


def test_colours_follow_the_system_and_can_be_chosen(made, look):
    tab = look(made[1], color_scheme="dark")

    def background():
        return tab.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    dark = background()
    tab.page.get_by_role("button", name="Colours").click()
    light = background()
    assert dark != light
    tab.page.get_by_role("button", name="Colours: light").click()
    assert background() == dark
    tab.page.get_by_role("button", name="Colours: dark").wait_for()


def test_a_reader_of_the_screen_finds_its_way(made, look):
    """Landmarks, headings in order, a table that says how large it is, and what changed said aloud."""
    tab = look(made[1], "#rows")
    page = tab.page

    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    page.get_by_role("navigation", name="Parts of the report").wait_for()
    table = page.get_by_role("table", name="Rows of the result")
    assert table.get_attribute("aria-rowcount") == "301"
    assert page.locator("#table tbody tr[data-row]").first.get_attribute("aria-rowindex") == "2"
    assert page.locator("#table thead th[scope=col]").count() == int(table.get_attribute("aria-colcount"))
    page.fill("#search", "since 251")
    page.get_by_role("status").filter(has_text="1 row of 300").wait_for()
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter(e => e.checkVisibility() && "
        "!(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim())).length"
    )
    assert unnamed == 0
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(made, look, scheme):
    """4.5 to 1 at the least, as WCAG asks for texts, for every pair of colours that is used."""
    tab = look(made[1], color_scheme=scheme)

    pairs = [("ink", "page"), ("ink", "card"), ("ink", "sunk"), ("muted", "page"), ("muted", "card"), ("muted", "sunk"),
             ("accent", "card"), ("accent", "accent-soft"), ("on-accent", "accent"), ("good", "good-soft"), ("bad", "bad-soft"),
             ("bad", "card"), ("warn", "warn-soft"), ("warn", "card"), ("muted", "hairline"), ("ink", "mark")]  # fmt: skip
    ratios = {pair: contrast(*(colour(tab, name) for name in pair)) for pair in pairs}

    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}


def colour(tab, name):
    """Red, green and blue, from 0 to 1."""
    result = tab.page.evaluate(
        "name => { const e = document.getElementById('announcer'); e.style.color = `var(--${name})`; return getComputedStyle(e).color }",
        name,
    )
    return [int(part) / 255 for part in result.removeprefix("rgb(").removesuffix(")").split(",")]


def contrast(one, other):
    def light(parts):
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_on_a_narrow_screen_nothing_is_wider_than_it_and_a_row_fills_it(made, look):
    tab = look(made[1], viewport={"width": 400, "height": 800})

    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400
    tab.open("#rows?row=3")
    tab.page.locator("#detail-title", has_text="Row 3").wait_for()
    assert tab.page.locator("#detail").bounding_box()["width"] == 400
    tab.page.get_by_role("button", name="Close the row").click()
    tab.page.locator("#detail").wait_for(state="hidden")


def test_two_results_are_seen_side_by_side(bench, look, tmp_path):
    """From a cell of the table of transitions to its pairs, and into one of them."""

    def other(body):
        number = int(body["messages"][-1]["content"].split()[0])
        return json.dumps({"score": 5, "verdict": "good", "sure": True, "tags": [], "reason": f"now {number}"})

    first, second = bench.result("a.jsonl", count=50), bench.result("b.jsonl", count=50, reply=other)
    page = tmp_path / "page.html"
    write_comparison(str(first), str(second), page)
    rows = lines(first)
    tab = look(page)

    tab.page.get_by_role("button", name="poor to good").click()

    tab.counted(f"{sum(r['verdict'] == 'poor' for r in rows)} of 50 rows")
    tab.page.locator("#table tbody tr[data-row]").first.click()
    tab.page.get_by_role("region", name="Reply in A").get_by_text("since 0").wait_for()
    tab.page.get_by_role("region", name="Reply in B").get_by_text("now 0").wait_for()
    assert "1 → 5" in tab.rows()[0]
    tab.page.keyboard.press("o")
    tab.page.get_by_role("button", name="10 mended in B").click()
    tab.counted("10 of 50 rows")


def test_an_open_row_of_a_task_made_of_tasks_shows_each_turn_with_its_reply(bench, look):
    bench.task = STEPS
    output = bench.result(
        count=2, reply=lambda body: "4" if "grade" in body["messages"][-1]["content"] else "an answer"
    )
    tab = look(bench.page(output)[0], "#rows?row=1")

    chat = tab.page.get_by_role("region", name="Chat")

    chat.wait_for()
    assert [h.upper() for h in chat.locator("> h4").all_inner_texts()] == ["ANSWER", "JUDGE, 1 OF 2", "JUDGE, 2 OF 2"]
    assert [m.split("\n")[-1] for m in chat.locator(".message.assistant").all_inner_texts()] == ["an answer", "4", "4"]


def test_a_page_of_some_of_the_rows_knows_their_numbers(bench, look):
    output = bench.result(count=60)
    page = output.with_suffix(".html")
    write_report(str(output), page, most_rows=20)
    tab = look(page, "#rows?row=9")

    tab.page.locator("#detail-title", has_text="Row 9").wait_for()
    assert "since 9" in tab.page.get_by_role("region", name="Columns").inner_text()
    failed = [i for i, r in enumerate(lines(output)) if r["score"] is None]
    assert numbers(tab)[:12] == sorted({*range(0, 60, 3), *failed})[:12]


def test_a_click_opens_a_row_from_the_middle_of_many(bench, look):
    rows = [{"id": i, "question": f"question {i}"} for i in range(5_000)]
    output = bench.folder / "many.jsonl"
    output.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = bench.folder / "many.html"
    write_report(str(output), page)
    tab = look(page, "#rows")

    tab.page.fill("#go-to-row", "4,321")
    tab.page.keyboard.press("Enter")

    tab.page.locator("#table tr[data-row='4321']", has_text="question 4321").wait_for()
    assert tab.page.locator("#table tbody tr").count() < 60

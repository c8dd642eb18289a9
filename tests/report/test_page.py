"""The page as a file: it fetches nothing, runs its own scripts alone, and is whole or not there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser

import pytest

from distask.errors import InputError, UsageError
from distask.report.blocks import LONGEST_LIST, LONGEST_TEXT, Blocks, cut
from distask.report.page import ASSETS, as_data, number, percent, refuse_to_replace
from distask.report.single import write_report

HOSTILE = "</script><!--<img src=//evil.example/x onerror=alert(1)>&amp;"


class Elements(HTMLParser):
    """The tags of a page with their attributes, and what stands in its scripts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], None
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag
        if tag in ("script", "style"):
            self.scripts.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside in ("script", "style"):
            self.scripts[-1][2] += data


def blocks_of(page):
    """The rows that a page holds, as lines."""
    elements = Elements(page)
    packed = [text for _, attributes, text in elements.scripts if attributes.get("id", "").startswith("block-")]
    return b"\n".join(zlib.decompress(base64.b64decode(text)) for text in packed).split(b"\n")


def test_the_page_has_nothing_to_fetch(bench):
    """No attribute that a browser follows by itself; links lead within the page; styles import nothing."""
    page, _ = bench.page(bench.result())

    elements = Elements(page)

    followed = {(tag, name): value for tag, attributes in elements.found for name, value in attributes.items()
                if name in ("src", "href", "action", "data", "srcset", "poster", "formaction", "background", "ping")}  # fmt: skip
    assert {name for _, name in followed} <= {"href"}
    assert all(value.startswith("#") for value in followed.values())
    assert not [tag for tag, _ in elements.found if tag in ("link", "iframe", "img", "object", "embed", "base")]
    style = next(text for tag, _, text in elements.scripts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_its_policy_knows_its_scripts_and_styles_alone(bench):
    page, _ = bench.page(bench.result())
    elements = Elements(page)
    policy = next(a["content"] for t, a in elements.found if t == "meta" and a.get("http-equiv"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    def hashed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    run = [text for tag, attributes, text in elements.scripts if tag == "script" and "type" not in attributes]
    styles = [text for tag, _, text in elements.scripts if tag == "style"]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"].split() == [hashed(text) for text in run]
    assert rules["style-src"].split() == [hashed(text) for text in styles]
    assert not [
        (tag, name)
        for tag, attributes in elements.found
        for name in attributes
        if name == "style" or name.startswith("on")
    ]


@pytest.mark.parametrize("sort", ["jsonl", "csv", "parquet"])
def test_the_rows_in_it_are_those_of_the_output(bench, sort):
    """Of JSON Lines they are the very bytes."""
    output = bench.result(f"out.{sort}", count=300)

    page, _ = bench.page(output)

    lines = blocks_of(page)
    assert len(lines) == 300
    assert json.loads(lines[7])["id"] == 7
    if sort == "jsonl":
        assert b"\n".join(lines) + b"\n" == output.read_bytes()


def test_hostile_texts_stand_in_it_as_texts(bench):
    """In columns, labels, names of columns, failures and the data of the scripts."""
    rows = [{"id": i, "question": HOSTILE, HOSTILE: HOSTILE} for i in range(10)]

    page, _ = bench.page(bench.result(rows=rows, reply=lambda body: HOSTILE))

    assert "<img" not in page.read_text()
    assert not [tag for tag, _ in Elements(page).found if tag == "img"]
    result = next(text for _, attributes, text in Elements(page).scripts if attributes.get("id") == "page")
    assert json.loads(result)["failures"][0]["examples"][0]["raw"] == HOSTILE


def test_without_rows_it_is_small(bench):
    page, _ = bench.page(bench.result(count=1))

    assert page.stat().st_size < 250_000


def test_a_page_is_replaced_and_anything_else_is_not(bench):
    page, _ = bench.page(bench.result())
    other = bench.folder / "mine.html"
    other.write_text("<p>mine</p>")

    refuse_to_replace(page, overwrite=False)
    refuse_to_replace(other, overwrite=True)
    with pytest.raises(UsageError, match="exists and is not a distask report"):
        refuse_to_replace(other, overwrite=False)
    with pytest.raises(UsageError, match="is a folder"):
        refuse_to_replace(bench.folder, overwrite=False)


def test_an_output_that_can_not_be_read_leaves_no_page(tmp_path):
    output, page = tmp_path / "out.jsonl", tmp_path / "page.html"
    output.write_text('{"a": 1}\n{"a": \n')

    with pytest.raises(InputError, match=r"out\.jsonl:2"):
        write_report(str(output), page)

    assert sorted(tmp_path.iterdir()) == [output]


def test_an_empty_output_is_an_error(tmp_path):
    (tmp_path / "out.jsonl").write_text("")

    with pytest.raises(InputError, match="the input has no rows"):
        write_report(str(tmp_path / "out.jsonl"), tmp_path / "page.html")


def test_very_long_texts_and_lists_are_cut_and_that_is_said(bench):
    long = "x" * (LONGEST_TEXT + 5)
    rows = [{"id": 0, "question": long, "vector": [0.5] * (LONGEST_LIST * 50)}, {"id": 1, "question": "short"}]

    page, _ = bench.page(bench.result(rows=rows))

    first, second = (json.loads(line) for line in blocks_of(page))
    assert first["question"] == f"{long[:LONGEST_TEXT]}… [5 characters more]"
    assert first["vector"][-1] == f"… [{LONGEST_LIST * 49:,} items more]"
    assert second["question"] == "short"
    assert "In 1 row the table shows only the start" in page.read_text()


def test_a_row_that_is_not_too_long_keeps_its_bytes():
    line = b'{"n": 123456789012345678901234567890, "x": 1.0}'

    assert cut(line, LONGEST_TEXT) == (line, False)


def test_when_the_room_is_used_up_texts_are_cut_short():
    with Blocks(budget=0) as blocks:
        for i in range(200):
            blocks.add(json.dumps({"i": i, "t": "a" * 1000}).encode())
        blocks.finish()

        assert blocks.short_from == 128
        assert (blocks.cut_rows, blocks.starts) == (72, [0, 128])


def test_data_in_a_script_can_not_end_it():
    made = as_data({"</script>": "<!-- & \u2028"})

    assert not set(b"<>&") & set(made)
    assert json.loads(made) == {"</script>": "<!-- & \u2028"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1234567, "1,234,567"), (0.5, "0.5"), (3.14159, "3.142"), (0.000123456, "0.0001235"), (12345.678, "12,346"),
     (-0.25, "-0.25"), (1.5e20, "1.5e+20"), (2e-7, "2e-07")],
)  # fmt: skip
def test_numbers_are_said_in_a_few_figures(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(0, 5, "0%"), (1, 100_000, "<0.1%"), (99_999, 100_000, ">99.9%"), (1, 3, "33.3%"), (5, 5, "100%")],
)
def test_a_small_share_never_looks_like_nothing(part, whole, expected):
    assert percent(part, whole) == expected


def test_what_is_not_ours_has_its_licence_and_version():
    result = (ASSETS / "vendor" / "README.md").read_text()
    script = (ASSETS / "vendor" / "uplot" / "uPlot.iife.min.js").read_text()

    version = re.search(r"\(v([\d.]+)\)", script)[1]
    assert f"| {version} | MIT" in result
    assert "Permission is hereby granted" in (ASSETS / "vendor" / "uplot" / "LICENSE").read_text()

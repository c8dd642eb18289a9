"""Build a page from a template, the statistics, the packed rows, and the styles and scripts.

Text from rows, replies and file names is escaped by the template, or reaches the page as data that a script inserts as
text. The page's content security policy allows only these scripts and fetches nothing.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from distask.data.writers.base import json_bytes, unwritable
from distask.errors import UsageError
from distask.report.blocks import element, packed
from distask.web.page import escape_json, read_assets, script_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.report.blocks import Blocks

ASSETS = Path(__file__).resolve().parent / "assets"
GENERATOR = b'<meta name="generator" content="distask report">'
"""Identifies a page: only a report is replaced without `--overwrite`."""
STYLES = ("vendor/uplot/uPlot.min.css", "css/base.css", "css/overview.css", "css/rows.css")
SCRIPTS = (
    "js/formats.js",
    "js/data.js",
    "js/columns.js",
    "js/state.js",
    "js/filters.js",
    "js/charts.js",
    "js/overview.js",
    "js/cells.js",
    "js/table.js",
    "js/chat.js",
    "js/detail.js",
    "js/pairs.js",
    "js/export.js",
    "js/keys.js",
    "js/main.js",
)
"""In page order; they share one scope."""
VENDORED = "vendor/uplot/uPlot.iife.min.js"
NOTHING = "–"  # noqa: RUF001 - the usual sign for no value
_MARK = b"<!-- rows -->"


def refuse_to_replace(path: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if the file exists and is not a report."""
    if overwrite or not path.exists():
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file with --output")
    with path.open("rb") as file:
        if GENERATOR not in file.read(1024):
            raise UsageError(
                f"{path} exists and is not a distask report; name another file with --output, "
                "or replace it with --overwrite"
            )


def write_page(path: Path, template: str, page: Mapping[str, Any], index: Mapping[str, Any], blocks: Blocks) -> int:
    """Write a page and return its size in bytes.

    Args:
        path: the file; an existing file stays until the page is complete.
        template: a file name in `assets/templates`.
        page: plain data for the template and the scripts.
        index: what rows are filtered and sorted by.
        blocks: the rows.

    Raises:
        OutputError: it can't be written.
    """
    head, tail = _rendered(template, page).split(_MARK)
    payload = {**page, "blocks": blocks.starts}
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(head)
            file.write(b'<script type="application/json" id="page">%s</script>\n' % as_data(payload))
            file.write(element("index", packed(json_bytes(index))))
            for piece in blocks.elements():
                file.write(piece)
            file.write(tail)
            size = file.tell()
        os.replace(partial, path)  # noqa: PTH105 - pairs with the line above
    except OSError as error:
        raise unwritable(str(path), error) from None
    finally:
        partial.unlink(missing_ok=True)
    return size


def as_data(value: Any) -> bytes:
    """Return data of any size for a script."""
    try:
        return script_data(value)
    except TypeError:  # an integer of more than 64 bits
        return escape_json(json_bytes(value))


def _rendered(template: str, page: Mapping[str, Any]) -> bytes:
    assets = read_assets(ASSETS, STYLES, SCRIPTS, [VENDORED])
    ours = {"style": assets.style, "vendored": assets.vendored[0], "script": assets.script}
    safe = {name: Markup(text) for name, text in ours.items()}  # noqa: S704 - ours
    made = _environment().get_template(template).render(page, policy=assets.policy(), **safe)
    return made.encode("utf-8", "replace")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ASSETS / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": "{:,}".format,
        "number": number,
        "signed": signed,
        "percent": percent,
        "bins": bins,
    }
    return environment


def signed(value: float) -> str:
    """Format a difference: its sign and few digits; 0 has no sign."""
    text = number(value)
    return f"+{text}" if value > 0 and text != "0" else text


def number(value: float | None) -> str:
    """Format a number with few digits."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-5:
        return f"{value:.4g}"
    if float(value).is_integer():
        return f"{int(value):,}"
    digits = max(0, 3 - math.floor(math.log10(size))) if size < 1e4 else 0
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"


def percent(part: float, whole: float) -> str:
    """Format a share; never shows 0% or 100% unless exact."""
    if not whole:
        return NOTHING
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1%"
    if 99.9 < share < 100:
        return ">99.9%"
    return f"{share:.1f}%".replace(".0%", "%")


def bins(histogram: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return a histogram's bins in words, with the count of each."""
    edges: Sequence[float] = histogram["edges"]
    counts: Sequence[int] = histogram["counts"]
    made = []
    for place, count in enumerate(counts):
        low, high = number(edges[place]), number(edges[place + 1])
        last = place == len(counts) - 1
        if histogram["single"] and not (last and histogram["open"]):
            made.append((low, count))
        elif last and histogram["open"]:
            made.append((f"{low} and more", count))
        else:
            made.append((f"{low} to {high}", count))
    return made

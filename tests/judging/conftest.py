"""Judged rows and labels as files, and the facts that `distask agree` reports about them."""

from __future__ import annotations

import json

import pytest

from distask.judging.comparison import compare_judges
from distask.judging.matching.items import Request, match
from distask.judging.metrics import Settings
from distask.judging.sampled import estimate_pool


class Folder:
    """A folder with files of rows."""

    def __init__(self, path):
        self.path = path

    def write(self, name, rows):
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        (self.path / name).write_text(text)
        return str(self.path / name)

    def record(self, name, **record):
        (self.path / f"{name}.run.json").write_text(json.dumps(record))

    def matched(self, rows, judges=("judge",), gold=("gold",), **request):
        source = rows if isinstance(rows, str) else self.write("judged.jsonl", rows)
        gold = [g.replace("FOLDER", str(self.path)) for g in gold]
        judges = [j.replace("FOLDER", str(self.path)) for j in judges]
        return match(Request(source, judges, gold, **request))

    def agree(self, rows, judges=("judge",), gold=("gold",), settings=None, **request):
        """The facts of the only judge."""
        settings = settings or Settings(resamples=200)
        return compare_judges(self.matched(rows, judges, gold, **request), settings)[0].event()

    def estimate(self, rows, judges=("judge",), gold=("gold",), settings=None, **request):
        settings = settings or Settings(resamples=200)
        matched = self.matched(rows, judges, gold, **request)
        return estimate_pool(matched, compare_judges(matched, settings)[0], 0, settings)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def rows_of(judge, gold, **more):
    """Rows with these values, and columns of `more`."""
    columns = {"judge": judge, "gold": gold, **more}
    return [
        {"id": number, **dict(zip(columns, values, strict=True))}
        for number, values in enumerate(zip(*columns.values(), strict=True))
    ]

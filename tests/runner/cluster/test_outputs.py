"""The folder of a run on many machines: stores are found again under another cut, strange folders are left alone."""

import asyncio

import pytest

from distask.data.parts import Part, Span
from distask.errors import UsageError
from distask.llm.request import Completion
from distask.runner.cluster.outputs import Outputs
from distask.store import Store


def parts(*stops):
    starts = (0, *stops[:-1])
    return [Part(f"p{n}", n, (Span("in.jsonl", a, b),)) for n, (a, b) in enumerate(zip(starts, stops, strict=True))]


def keep(place, key, text):
    with Store(place) as store:
        asyncio.run(store.put([(key, Completion(text))]))


def test_what_was_asked_under_another_cut_is_found_by_every_part(tmp_path):
    outputs = Outputs(tmp_path / "out")
    outputs.check(overwrite=False)
    outputs.prepare(parts(10, 20))
    keep(outputs.store(1), b"k", "paid for")

    outputs.prepare(parts(15, 20))

    for number in (0, 1):
        with Store(outputs.store(number)) as store:
            assert store.get(b"k").text == "paid for"


def test_the_same_cut_leaves_the_stores_where_they_are(tmp_path):
    outputs = Outputs(tmp_path / "out")
    outputs.check(overwrite=False)
    outputs.prepare(parts(10, 20))
    keep(outputs.store(1), b"k", "paid for")

    outputs.prepare(parts(10, 20))

    with Store(outputs.store(0)) as store:
        assert store.get(b"k") is None
    with Store(outputs.store(1)) as store:
        assert store.get(b"k").text == "paid for"


def test_parts_of_an_earlier_cut_go_when_the_new_ones_are_whole(tmp_path):
    outputs = Outputs(tmp_path / "out")
    outputs.check(overwrite=False)
    for number in range(3):
        outputs.part(number).write_text("{}\n")

    outputs.finish(parts(10, 20), {"parts": []})

    assert sorted(p.name for p in (tmp_path / "out").glob("*.jsonl")) == ["part-00000.jsonl", "part-00001.jsonl"]


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")

    with pytest.raises(UsageError, match=r"thesis\.tex"):
        Outputs(tmp_path / "out").check(overwrite=False)


@pytest.mark.parametrize(("name", "file"), [("out", "part-00003.jsonl"), ("out.parquet", "part-00003.parquet")])
def test_the_folders_ending_says_the_parts_format(tmp_path, name, file):
    assert Outputs(tmp_path / name).part(3).name == file

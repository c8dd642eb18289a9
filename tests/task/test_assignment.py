"""Columns that a `set` step computes one after the other: what each of them sees, and what is left if one fails."""

from __future__ import annotations

import pytest

from distask import load, run


@pytest.fixture
def done(tmp_path):
    """Runs steps on rows, and returns the output rows and the failures."""

    def steps(text, rows, head=""):
        path = tmp_path / "task.yaml"
        path.write_text(f"name: task\n{head}steps:\n{text}", encoding="utf-8")
        result = run(load(path), rows, llm="offline", store=False)
        return result.rows, [failure.message for failure in result.failures]

    return steps


def columns(row, *names):
    return tuple(row.get(name) for name in names)


def test_a_column_sees_those_before_it_also_in_row(done):
    rows, _ = done('- set: {b: "{{ a + 1 }}", c: "{{ b + row.b }}", a: "{{ 10 }}", d: "{{ row.a + a }}"}\n', [{"a": 1}])

    assert columns(rows[0], "a", "b", "c", "d") == (10, 2, 4, 20)


def test_a_drawn_column_that_is_replaced_is_replaced_in_draw_too(done):
    rows, _ = done(
        '- set: {mood: "{{ mood ~ 2 }}", seen: "{{ draw.mood }}"}\n', [{"a": 1}], "draw: {mood: {options: [calm]}}\n"
    )

    assert rows[0]["seen"] == "calm2"


def test_columns_named_like_what_templates_see_do_not_replace_it(done):
    rows, _ = done('- set: {kept: "{{ row.a }}"}\n- set: {again: "{{ row.kept }}"}\n', [{"a": 1, "draw": "x"}])

    assert columns(rows[0], "kept", "again", "draw") == (1, 1, "x")


def test_from_the_first_column_that_fails_on_all_are_null(done):
    rows, failures = done('- set: {b: "{{ a }}", c: "{{ a.x.y }}", d: "{{ a }}"}\n', [{"a": 1}, {"a": {"x": {"y": 2}}}])

    assert columns(rows[0], "a", "b", "c", "d") == (1, 1, None, None)
    assert columns(rows[1], "c") == (2,)
    assert len(failures) == 1
    assert failures[0].startswith("c: ")


def test_a_check_after_an_explode_fails_only_its_row(done):
    """Rows of the same input row go through steps together; the failure of one is not that of the others."""
    text = '- explode: n\n- set: {half: "{{ 6 // n }}"}\n- check: half > 2\n  error: "{{ n }} is too large"\n'
    rows, failures = done(text, [{"n": [1, 0, 3, 2]}])

    assert [columns(row, "n", "half") for row in rows] == [(1, 6), (0, None), (3, 2), (2, 3)]
    assert [message.partition(":")[0] for message in failures] == ["half", "3 is too large"]


def test_a_value_with_a_lone_surrogate_or_a_tuple_is_plain(done):
    rows, _ = done('- set: {b: "{{ [(1, 2), a] }}"}\n', [{"a": "x\ud800"}])

    assert rows[0]["b"] == [[1, 2], "x\ufffd"]

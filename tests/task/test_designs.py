"""Designs: how often each option, and each combination of options, occurs over the rows of a run."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from distask import load, run
from distask.data.input import Nothing, rows_input
from distask.errors import InputError, RowError, UsageError
from distask.task.draws import MAX_CARDS

ONE_CALL = {
    "name": "designed",
    "format_input": [{"role": "user", "content": "{{ draw | tojson }}"}],
    "format_output": {"parser": "text", "column": "text"},
}
GRID = {"topic": ["law", "art"], "tone": ["dry", "warm", "odd"]}
TWICE = {"grid": ["topic", "tone"], "rows": 2}


@pytest.fixture
def task(tmp_path):
    """Makes a task from draws and a design."""

    def make(draw, design=None, *, seed=0, params=None, **keys):
        outputs = {**{name: {"type": "any"} for name in draw}, "text": {}}
        spec = {**ONE_CALL, "outputs": outputs, "draw": draw, **({"design": design} if design else {}), **keys}
        path = tmp_path / "designed.yaml"
        path.write_text(json.dumps(spec))
        return load(path, params, seed=seed)

    return make


def dealt(made, count, **chosen):
    """The drawn values of rows, of which a run may take only some."""
    return [tuple(made.draws.of(row.index, row.values).values()) for row in rows_input(Nothing(count), **chosen)]


def test_a_grid_has_the_same_number_of_rows_of_each_combination(task):
    made = task(GRID, TWICE)

    rows = run(made, [{}] * 12, llm="offline").rows

    assert made.draws.rows == 12
    assert Counter((row["topic"], row["tone"]) for row in rows) == dict.fromkeys(
        [(topic, tone) for topic in GRID["topic"] for tone in GRID["tone"]], 2
    )


def test_a_grid_is_shuffled_and_starts_again_in_another_order(task):
    values = dealt(task(GRID, TWICE), 24)

    assert Counter(values[:12]) == Counter(values[12:])
    assert values[:12] != values[12:]
    assert values[:12] != sorted(values[:12])


def test_the_same_seed_gives_the_same_design_and_another_seed_another(task):
    first, same, other = (dealt(task(GRID, TWICE, seed=seed), 12) for seed in (1, 1, 2))

    assert first == same != other
    assert Counter(first) == Counter(other)


def test_shards_limit_and_offset_keep_the_design(task):
    made = task(GRID, TWICE)
    values = dealt(made, 12)

    assert dealt(made, 12, limit=5) == values[:5]
    assert dealt(made, 12, offset=7) == values[7:]
    assert [dealt(made, 12, shard=(number, 2)) for number in (1, 2)] == [values[0::2], values[1::2]]


def test_rows_can_depend_on_the_combination_and_leave_some_out(task):
    rows = "vars.odd if draw.tone == 'odd' else {'law': 3, 'art': 1}[topic]"
    made = task(GRID, {"grid": ["topic", "tone"], "rows": rows}, vars={"odd": 0})

    assert Counter(dealt(made, 8)) == {("law", "dry"): 3, ("law", "warm"): 3, ("art", "dry"): 1, ("art", "warm"): 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("-1", "`design`: `rows` for topic 'law', tone 'dry' must be a whole number from 0, not -1"),
        ("'x'", "must be a whole number from 0, not 'x'"),
        ("0", "`design`: there is nothing to draw from"),
        (str(MAX_CARDS), "the design has more than 1,000,000 rows"),
        ("1 / (topic == 'art')", "division"),
    ],
)
def test_rows_that_are_not_a_number_of_rows_stop_the_run_before_it_starts(task, rows, message):
    with pytest.raises(UsageError, match=message):
        task(GRID, {"grid": ["topic", "tone"], "rows": rows})


def test_a_balanced_draw_uses_each_option_before_any_is_used_again(task):
    values = [value for (value,) in dealt(task({"n": {"range": [1, 5], "sampling": "balanced"}}), 20)]

    assert [sorted(values[start : start + 5]) for start in range(0, 20, 5)] == [[1, 2, 3, 4, 5]] * 4
    assert len({tuple(values[start : start + 5]) for start in range(0, 20, 5)}) > 1


def test_the_weights_of_a_balanced_draw_are_quotas(task):
    listed = {"options": ["a", "b", "c"], "weights": [3, 1, 0], "sampling": "balanced"}
    mapped = {"options": "quotas", "sampling": "balanced"}

    assert Counter(dealt(task({"x": listed}), 40)) == {("a",): 30, ("b",): 10}
    assert Counter(dealt(task({"x": mapped}, vars={"quotas": {"a": 7, "b": 2}}), 9)) == {("a",): 7, ("b",): 2}


def test_two_balanced_draws_do_not_go_in_step(task):
    options = {"options": list("abcdefgh"), "sampling": "balanced"}

    assert len({first == second for first, second in dealt(task({"x": options, "y": options}), 64)}) == 2


def test_a_unique_draw_uses_no_option_twice_and_has_no_more_rows_than_options(task):
    made = task({"word": {"options": ["a", "b", "c"], "sampling": "unique"}})

    assert sorted(dealt(made, 3)) == [("a",), ("b",), ("c",)]
    with pytest.raises(RowError, match="`word` is `sampling: unique` and has only 3 options"):
        made.draws.of(3, {})
    with pytest.raises(InputError, match="enough for 3 rows, and the last row is number 4; add options"):
        run(made, [{}] * 4, llm="offline")


def test_random_draws_stay_as_they_are_next_to_a_design(task):
    """A design takes nothing from the row's random numbers, so that a later addition changes no other draw."""
    other = {"n": {"range": [1, 10**9]}}
    alone = [made["n"] for made in (task(other).draws.of(index, {}) for index in range(5))]

    designed = task({**GRID, **other}, TWICE)
    assert [designed.draws.of(index, {})["n"] for index in range(5)] == alone


def test_a_random_draw_can_depend_on_the_values_of_the_grid(task):
    names = {"law": ["Solon"], "art": ["Giotto"]}
    made = task({**GRID, "name": {"options": "vars.names[topic]"}}, TWICE, vars={"names": names})

    assert {(topic, name) for topic, _, name in dealt(made, 12)} == {("law", "Solon"), ("art", "Giotto")}


def test_a_seed_column_ties_the_draws_to_the_row_and_not_to_its_position(task):
    made = task({"n": {"range": [1, 10**9]}}, {"seed_column": "id"}, inputs={"id": {}}, input_mappings={"id": "key"})
    rows = [{"key": key} for key in "abc"]

    there = {row["key"]: row["n"] for row in run(made, rows, llm="offline").rows}
    back = {row["key"]: row["n"] for row in run(made, rows[::-1], llm="offline").rows}

    assert there == back
    assert len(set(there.values())) == 3


def test_a_row_without_a_seed_fails(task):
    made = task({"n": {"range": [1, 9]}}, {"seed_column": "id"}, inputs={"id": {"required": False}})

    with pytest.raises(RowError, match="which `design.seed_column` names, is null".replace(".", r"\.")):
        made.format_input({})


STEPS = {
    "name": "walk",
    "steps": [
        {
            "repeat": 4,
            "collect": ["way", "again"],
            "steps": [
                {
                    "name": "turn",
                    "task": {
                        "draw": {"way": {"options": ["n", "e", "s", "w"], "sampling": "balanced"}},
                        "format_input": [{"role": "user", "content": "{{ way }}"}],
                        "outputs": {"way": {}, "again": {}},
                        "format_output": {"parser": "text", "column": "again"},
                    },
                    "output_mappings": {"way": "way", "again": "again"},
                }
            ],
        }
    ],
    "draw": {"topic": ["law", "art"]},
    "design": {"grid": ["topic"]},
    "outputs": {"topic": {}, "way": {"type": "list"}},
}


@pytest.fixture
def walk(tmp_path):
    path = tmp_path / "walk.yaml"
    path.write_text(json.dumps(STEPS))
    return lambda: load(path)


def test_in_a_loop_a_design_is_over_the_turns_and_each_row_has_its_own_order(walk):
    rows = run(walk(), [{}] * 8, llm="offline").rows

    assert all(sorted(row["way"]) == ["e", "n", "s", "w"] for row in rows)
    assert len({tuple(row["way"]) for row in rows}) > 3
    assert Counter(row["topic"] for row in rows) == {"law": 4, "art": 4}


def test_each_generation_of_a_task_of_steps_has_its_own_complete_grid(walk):
    rows = run(walk(), [{}] * 2, llm="offline", num_generations=3).rows

    samples = {}
    for row in rows:
        samples.setdefault(row["distask_metadata"]["sample"], []).append(row["topic"])
    assert [sorted(topics) for topics in samples.values()] == [["art", "law"]] * 3


def test_an_inline_task_reads_its_seed_column_without_declaring_it(tmp_path):
    inline = {
        "draw": {"n": {"range": [1, 10**9]}},
        "design": {"seed_column": "id"},
        "format_input": [{"role": "user", "content": "{{ n }}"}],
        "outputs": {"n": {"type": "integer"}, "text": {}},
        "format_output": {"parser": "text", "column": "text"},
    }
    path = tmp_path / "outer.yaml"
    path.write_text(json.dumps({"name": "outer", "steps": [{"name": "inner", "task": inline}]}))

    made = [run(load(path), [{"id": key} for key in keys], llm="offline").rows for keys in ("ab", "ba")]

    assert [row["n"] for row in made[0]] == [row["n"] for row in made[1]][::-1]

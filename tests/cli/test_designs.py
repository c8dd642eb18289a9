"""Tasks with a design on the command line: how many rows there are, and what stops a run before its first request."""

from __future__ import annotations

from collections import Counter

GRID = """\
name: grid
draw: {topic: [law, art], tone: [dry, warm, odd]}
design: {grid: [topic, tone], rows: 2}
format_input: [{role: user, content: "{{ topic }} {{ tone }}"}]
outputs: {topic: {}, tone: {}, text: {}}
format_output: {parser: text, column: text}
"""


def combinations(rows):
    return [(row["topic"], row["tone"]) for row in rows]


def test_a_grid_needs_no_rows_and_limit_and_shards_keep_it(shell):
    shell.write("grid.yaml", GRID)
    run = ("run", "grid.yaml", "-c", "offline", "--seed", "3")

    assert [shell(*run, "-o", "all.jsonl").code, shell(*run, "-o", "5.jsonl", "--limit", "5").code] == [0, 0]
    assert [shell(*run, "-o", f"{number}.of.jsonl", "--shard", f"{number}/2").code for number in (1, 2)] == [0, 0]

    made = combinations(shell.lines("all.jsonl"))
    assert (len(set(made)), set(Counter(made).values())) == (6, {2})
    assert combinations(shell.lines("5.jsonl")) == made[:5]
    assert [combinations(shell.lines(f"{number}.of.jsonl")) for number in (1, 2)] == [made[0::2], made[1::2]]


def test_a_run_with_more_rows_than_unique_options_sends_nothing(shell):
    shell.write(
        "grid.yaml",
        GRID.replace("topic: [law, art]", "topic: {options: [law, art], sampling: unique}").replace(
            "[topic, tone]", "[tone]"
        ),
    )

    result = shell("run", "grid.yaml", "--rows", "3", "--base-url", "{url}", "--model", "m")

    assert result.code == 2
    assert "draws each option only once, which is enough for 2 rows, and the last row is number 3" in result.err
    assert shell.server.requests == []


def test_a_design_with_an_error_is_reported_with_its_place(shell):
    shell.write("grid.yaml", GRID.replace("[topic, tone], rows", "[topic, ton], rows"))

    result = shell("validate", "grid.yaml")

    assert result.code == 2
    assert "grid.yaml:3:24: error: `ton` is not a draw" in result.out + result.err
    assert "did you mean `tone`?" in result.out + result.err


def test_rows_of_a_file_are_counted_as_far_as_they_are_read(shell):
    """With a limit, only the rows up to it need options."""
    shell.write("word.yaml", GRID.replace("draw: {", "draw: {word: {options: [a, b, c], sampling: unique}, "))
    shell.rows([{"n": n} for n in range(5)])
    run = ("run", "word.yaml", "-i", "in.jsonl", "-c", "offline", "-o", "out.jsonl")

    assert "enough for 3 rows, and the last row is number 5" in shell(*run).err
    assert "the last row is number 4" in shell(*run, "--offset", "2", "--limit", "2").err
    assert shell(*run, "--limit", "3").code == 0

"""`distask agree`: what it prints, its events, its exit codes, and what can be wrong."""

from __future__ import annotations

import json
import random

import pytest


@pytest.fixture
def judged(shell):
    """200 rows with a good judge and a poor one; gold on all, labels of a random 80."""
    rng = random.Random(0)
    rows = []
    for i in range(200):
        gold = rng.choice([1, 2, 3, 4, 4, 5])
        good, poor = (min(5, max(1, gold + rng.choice(errors))) for errors in ([0, 0, 0, 1], [-2, -1, 0, 1, 2]))
        rows.append({"text": f"t{i}", "good": good, "poor": poor, "gold": gold, "lang": rng.choice(["en", "es"])})
    shell.write("judged.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    sampling = {"method": "random", "seed": 0, "size": 80, "pool": 200, "probability": 0.4}
    labels = [
        {
            "text": row["text"],
            "score": row["gold"],
            "label": {"annotator": "ann", "item": row["text"], "sampling": sampling},
        }
        for row in rng.sample(rows, 80)
    ]
    shell.write("labels.jsonl", "".join(json.dumps(row) + "\n" for row in labels))
    return shell


def test_a_judge_in_detail(judged):
    result = judged("agree", "judged.jsonl", "--judge", "good", "--gold", "gold", "--slice", "lang")

    assert (result.code, result.err) == (0, "")
    lines = {line.partition("  ")[0]: line for line in result.out.splitlines()}
    assert "good against gold" in lines
    assert lines["kind"].endswith("ordinal, 1 to 5; from the values")
    assert lines["compared"].endswith("200 rows")
    for name in (
        "raw agreement",
        "Cohen's kappa",
        "weighted kappa",
        "Gwet's AC1",
        "Kendall's tau-b",
        "bias, judge - gold",
    ):
        assert " to " in lines[name]
    assert result.out.index("raw agreement") < result.out.index("majority baseline") < result.out.index("Cohen's kappa")
    assert "gold, judge:" in result.out
    assert {"en", "es"} <= set(lines)


def test_several_judges_make_a_table_best_first(judged):
    result = judged("agree", "judged.jsonl", "--judge", "poor", "--judge", "good", "--gold", "labels.jsonl:score")

    assert result.code == 0
    assert result.out.index("\ngood ") < result.out.index("\npoor ")
    assert "poor - good: weighted kappa -0." in result.out
    assert "McNemar p = " in result.out


def test_the_events(judged):
    outcome = judged("agree", "judged.jsonl", "--judge", "good", "--gold", "labels.jsonl:score", "--estimate", "--json")

    agreement, estimate, result = judged.events
    assert (outcome.code, outcome.err, result["ok"]) == (0, "", True)
    assert (agreement["event"], agreement["judge"], agreement["gold"]) == ("agreement", "good", "labels.jsonl:score")
    assert (agreement["kind"], agreement["n"], agreement["excluded"]) == ("ordinal", 80, {"gold_missing": 120})
    names = [
        "accuracy",
        "kappa",
        "kappa_quadratic",
        "alpha",
        "ac1",
        "spearman",
        "kendall",
        "pearson",
        "mae",
        "bias",
        "f1_macro",
    ]
    for name in names:
        assert set(agreement["metrics"][name]) == {"value", "low", "high"}
        assert (
            agreement["metrics"][name]["low"]
            <= agreement["metrics"][name]["value"]
            <= agreement["metrics"][name]["high"]
        )
    assert (estimate["event"], estimate["column"], estimate["n_labelled"], estimate["n_pool"]) == (
        "estimate",
        "good",
        80,
        200,
    )
    assert {"value", "low", "high", "method"} <= set(estimate["corrected"])


def test_the_same_seed_gives_the_same_numbers(judged):
    result = [
        judged("agree", "judged.jsonl", "--judge", "good", "--gold", "gold", "--json", "--seed", seed).out
        for seed in ("1", "1", "2")
    ]

    assert result[0] == result[1] != result[2]


def test_a_gate_for_ci(judged):
    arguments = ["agree", "judged.jsonl", "--judge", "good", "--gold", "gold"]

    assert judged(*arguments, "--require", "kappa.low >= 0.3", "--require", "n >= 200").code == 0
    result = judged(*arguments, "--require", "kappa.low >= 0.99")
    assert (result.code, "not met: kappa.low >= 0.99: kappa.low is 0." in result.err) == (3, True)
    judged(*arguments, "--require", "mae < 0", "--require", "n > 1", "--json")
    assert judged.events[-1]["unmet"][0].startswith("mae < 0: mae.value is ")


def test_an_estimate_that_is_refused_has_exit_code_3(judged):
    labels = judged.lines("labels.jsonl")
    for row in labels:
        row["label"]["sampling"] = {"method": "uncertain", "seed": 0, "size": 80, "pool": 200}
    judged.write("labels.jsonl", "".join(json.dumps(row) + "\n" for row in labels))

    result = judged("agree", "judged.jsonl", "--judge", "good", "--gold", "labels.jsonl:score", "--estimate")

    assert result.code == 3
    assert "no corrected estimate: the labelled rows are not a random sample" in result.out
    assert "Cohen's kappa" in result.out


def test_the_output_of_a_run_declares_its_scale_and_failures(shell):
    shell.write(
        "rate.yaml",
        "inputs: {instruction: An instruction.}\nformat_input: [{role: user, content: '{{ instruction }}'}]\n"
        "outputs: {score: {type: integer, minimum: 1, maximum: 5}}\nformat_output: {parser: json}\n",
    )
    replies = iter(['{"score": 4}', '{"score": 2}', '{"score": 9}', '{"score": 4}', '{"score": 3}'])
    shell.server.reply = lambda body: next(replies)
    shell("run", "rate.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", "-j", "1", "-o", "out.jsonl")
    shell.write("labels.csv", "instruction,score\nquestion 0,4\nquestion 1,2\nquestion 2,5\nquestion 3,3\n")

    result = shell("agree", "out.jsonl", "--judge", "score", "--gold", "labels.csv:score", "--json")

    facts = shell.events[0]
    assert result.code == 0
    assert (facts["labels"], facts["kind_source"]) == (["1", "2", "3", "4", "5"], "the task's output")
    assert (facts["n"], facts["excluded"]) == (3, {"judge_failed": 1, "gold_missing": 1})
    assert (facts["task"], facts["model"]) == ("rate", "m")


def test_replies_are_compared_with_each_other_without_labels(shell):
    rows = [{"id": i, "score": [i % 3, i % 2], "distask_metadata": [{}, {}]} for i in range(12)]
    shell.write("out.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    result = shell("agree", "out.jsonl", "--judge", "score")
    shell("agree", "out.jsonl", "--judge", "score", "--json")

    assert result.out.startswith("replies of score\n")
    assert (shell.events[0]["gold"], shell.events[0]["n"], shell.events[0]["kind"]) == (None, 12, "ordinal")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--judge", "god", "--gold", "gold"], "did you mean `good`?"),
        (["--judge", "good"], "no row has several replies in `good`"),
        (["--judge", "good", "--estimate"], "--estimate needs people's labels"),
        (["--judge", "good", "--gold", "labels.jsonl"], "name one of its columns: labels.jsonl:COLUMN"),
        (["--judge", "good", "--gold", "labels.jsonl:"], "the name of the column is missing"),
        (["--judge", "good", "--gold", "label.jsonl:score"], "file not found; did you mean labels.jsonl?"),
        (["--judge", "good", "--gold", "gold", "--kind", "nominl"], "did you mean `nominal`?"),
        (["--judge", "good", "--gold", "gold", "--scale", "5..1"], "lowest first"),
        (["--judge", "good", "--gold", "gold", "--scale", "low"], "at least 2 different steps"),
        (["--judge", "good", "--gold", "gold", "--require", "kapa > 1"], "did you mean `kappa`?"),
        (["--judge", "good", "--gold", "gold", "--require", "brier < 1"], "ordinal have no `brier`"),
        (["--judge", "lang", "--gold", "gold", "--kind", "number"], "have no row in common"),
    ],
)
def test_a_mistake_is_reported_with_its_fix(judged, arguments, sentence):
    result = judged("agree", "judged.jsonl", *arguments)

    assert (result.code, sentence in result.err, result.out) == (2, True, ""), result.err


def test_an_unreadable_line_stops_it_or_is_skipped(judged):
    text = (judged.folder / "judged.jsonl").read_text()
    judged.write("broken.jsonl", text + "{oops\n")
    arguments = ["agree", "broken.jsonl", "--judge", "good", "--gold", "gold"]

    assert "broken.jsonl:201" in judged(*arguments).err
    assert judged(*arguments, "--on-bad-row", "skip").code == 0


def test_it_loads_no_heavy_library_and_no_other_command_loads_it(judged):
    judged.env["PYTHONPROFILEIMPORTTIME"] = "1"

    def loaded(*arguments):
        return {line.rpartition("|")[2].strip() for line in judged(*arguments).err.splitlines()}

    own = loaded("agree", "judged.jsonl", "--judge", "good", "--gold", "gold")
    assert "distask.judging.resampling" in own
    assert not own & {"openai", "pyarrow", "datasets", "pandas", "scipy"}
    for arguments in (["--help"], ["agree", "--help"], ["validate", "task.yaml"]):
        assert not {m for m in loaded(*arguments) if m == "numpy" or m.startswith("distask.judging")}

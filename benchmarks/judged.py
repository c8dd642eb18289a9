"""Write two judged results of about 0.9 kB a row, with their records, as `distask run` leaves them."""

import json
import random
from pathlib import Path

WORDS = "quartz grove lantern island ember delta cedar basil harbor amber river pebble kernel saffron nectar".split()
VERDICTS = ("poor", "poor", "fair", "good", "good")
CHANGED = 0.05
"""The share of rows that the second result judges again."""
FAILED = 0.02
RECORD = {
    "identity": {"task": "judge"},
    "columns": {"input": ["id", "question", "answer"], "metadata": "distask_metadata"},
}


def write_results(folder: Path, rows: int) -> tuple[Path, Path]:
    """Write `a.jsonl` and `b.jsonl`, which differ in a few scores; gives their paths."""
    folder.mkdir(exist_ok=True)
    first, second = folder / "a.jsonl", folder / "b.jsonl"
    for path, again in ((first, False), (second, True)):
        with path.open("w", encoding="utf-8") as file:
            for number in range(rows):
                file.write(json.dumps(_row(number, again), separators=(",", ":")) + "\n")
        record = {**RECORD, "counts": {"rows": rows, "rows_out": rows}}
        path.with_name(f"{path.name}.run.json").write_text(json.dumps(record))
    return first, second


def _row(number: int, again: bool) -> dict[str, object]:
    drawn = random.Random(number)
    question = f"{_words(drawn, 10)} {number}?"
    answer = _words(drawn, 19)
    judged, failed = _judged(drawn), drawn.random() < FAILED
    if again and drawn.random() < CHANGED:
        judged = _judged(drawn)
    metadata: dict[str, object] = {
        "raw_input_judge": [{"role": "user", "content": f"{question}\n\n{answer}"}],
        "raw_output_judge": json.dumps(judged),
        "statistics_judge": {"input_tokens": drawn.randint(100, 300), "output_tokens": drawn.randint(30, 90)},
    }
    if failed:
        judged = dict.fromkeys(judged)
        metadata["error_judge"] = {"kind": "invalid", "message": "the reply holds no JSON"}
    row = {"id": number, "question": question, "answer": answer, **judged}
    return {**row, "distask_metadata": metadata, "model_name": "m"}


def _judged(drawn: random.Random) -> dict[str, object]:
    score = drawn.randint(1, 5)
    return {"score": score, "verdict": VERDICTS[score - 1], "sure": score != 3, "reason": _words(drawn, 12)}


def _words(drawn: random.Random, count: int) -> str:
    return " ".join(drawn.choices(WORDS, k=count))

"""What rows cost on their way through steps without a model: barriers over many rows, and documents cut into chunks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.process import run
from benchmarks.scanned import HERE, WORDS

if TYPE_CHECKING:
    from benchmarks.candidates import Environment
    from benchmarks.process import Used

ROWS = (30_000, 100_000)
DOCUMENTS = 10_000
DOCUMENT_CHARACTERS = 10_000
CHUNK_CHARACTERS = (400, 2_000)
NEAR_DUPLICATES = 0.1
"""The share of rows that repeat an earlier text with one other word."""
HEAD = """\
| | CPU, s | of the loop | MB/s | peak MiB |
| --- | --: | --: | --: | --: |"""
WAITING = """\
name: waiting
description: Drop near-duplicates, sort the rest and group it.
inputs: {text: A text., source: Its source., id: {type: integer}}
steps:
  - dedup: {by: text, method: minhash}
  - sort: {by: id, descending: true}
  - group: {by: source}
outputs: {}
"""
CHUNKS = """\
name: chunks
description: Cut documents into chunks.
inputs: {text: The document as Markdown., path: Where it is.}
steps:
  - chunk: {from: text, size: %d, unit: characters, overlap: %d}
  - drop: text
outputs: {}
"""


def steps_lines(distask: Environment, folder: Path, counts: tuple[int, ...], repeat: int, seconds: float) -> list[str]:
    """Return the lines of the table; each way is run `repeat` times, next to its loop, and the cheapest counts."""
    python, lines = str(distask.python), []
    command, loop = [python, "-m", "distask", "run"], [python, str(HERE / "scripts" / "orjson_loop.py")]

    def measure(shown: str, data: Path, size: int, words: list[str]) -> None:
        out = folder / "out.jsonl"
        used: list[list[Used]] = [[], []]
        for _ in range(repeat):
            for way, each in enumerate(([*loop, str(data)], [*command, *words, "-o", str(out)])):
                used[way].append(run(each, cwd=folder, env=distask.variables(folder), seconds=seconds))
                if used[way][-1].code:
                    raise SystemExit(used[way][-1].said)
            out.unlink()
        reading, cpu = (min(each.cpu for each in runs) for runs in used)
        peak = max(each.peak for each in used[1]) / 2**20
        lines.append(f"| {shown} | {cpu:.2f} | {cpu / reading:.0f} × | {size / 1e6 / cpu:.1f} | {peak:.0f} |")
        print(lines[-1], flush=True)

    (folder / "waiting.yaml").write_text(WAITING)
    for count in counts:
        rows = folder / "rows.jsonl"
        write_rows(rows, count)
        shown = f"`dedup`, `sort`, `group` of {count:,} rows of 0.3 kB"
        measure(shown, rows, rows.stat().st_size, ["waiting.yaml", "-i", str(rows)])
    documents, texts = folder / "documents", folder / "documents.jsonl"
    written = write_documents(documents, texts, DOCUMENTS)
    for size in CHUNK_CHARACTERS:
        (folder / "chunks.yaml").write_text(CHUNKS % (size, size // 10))
        shown = f"`chunk` of {DOCUMENTS:,} documents of 10 kB, {size:,} characters"
        measure(shown, texts, written, ["chunks.yaml", "-i", str(documents)])
    return lines


def write_rows(path: Path, count: int) -> None:
    """Write rows of about 0.3 kB: a number, a text and one of many sources, in no order."""
    drawn = random.Random(1)
    words, earlier = _vocabulary(), list[list[str]]()
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            if earlier and drawn.random() < NEAR_DUPLICATES:
                text = list(earlier[drawn.randrange(len(earlier))])
                text[drawn.randrange(len(text))] = drawn.choice(words)
            else:
                text = drawn.choices(words, k=38)
                earlier.append(text)
            source = f"s{drawn.randrange(max(1, count // 20))}"
            row = {"id": number * 7_919 % count, "text": " ".join(text), "source": source}
            file.write(json.dumps(row) + "\n")


def write_documents(folder: Path, lines: Path, count: int) -> int:
    """Write Markdown files of about 10 kB in subfolders, and the same texts as JSON Lines; returns the files' bytes."""
    drawn, size = random.Random(2), 0
    with lines.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = _document(drawn, number)
            path = folder / f"{number // 500:03d}" / f"document-{number:05d}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            size += path.write_bytes(text.encode())
            file.write(json.dumps({"text": text}) + "\n")
    return size


def _document(drawn: random.Random, number: int) -> str:
    words = _vocabulary()

    def sentence() -> str:
        return " ".join(drawn.choices(words, k=drawn.randint(6, 18))).capitalize() + drawn.choice("...!?")

    blocks, length = [f"# Document {number}"], 0
    while length < DOCUMENT_CHARACTERS:
        kind = drawn.random()
        if kind < 0.15:
            block = "#" * drawn.randint(2, 4) + " " + " ".join(drawn.choices(words, k=3)).title()
        elif kind < 0.25:
            block = "\n".join("- " + sentence() for _ in range(drawn.randint(2, 6)))
        elif kind < 0.3:
            block = "```python\n" + "\n".join(f"{'_'.join(drawn.choices(words, k=3))} = 1" for _ in range(5)) + "\n```"
        else:
            block = " ".join(sentence() for _ in range(drawn.randint(2, 7)))
        blocks.append(block)
        length += len(block) + 2
    return "\n\n".join(blocks)[:DOCUMENT_CHARACTERS] + "\n"


def _vocabulary() -> list[str]:
    beginnings, ends = ("ba", "ke", "li", "mo", "nu", "pra", "sto", "tri"), ("dar", "fin", "gol", "jun", "lom", "nex")
    return [*WORDS, *(beginning + end for beginning in beginnings for end in ends)]

"""A kill at each line of the code that ends a run: what makes an output whole, gives it its name and says whose it is."""

from __future__ import annotations

import json

import pytest

from tests.crash.scale import SCALE
from tests.crash.torture import ANSWER
from tests.mutants import file_of

ENDING = sorted({file_of(name) for name in ("PartialFile", "JsonlWriter", "CsvWriter", "write_record")})
STORE = sorted({file_of(name) for name in ("StorePlace", "completion_checksum")})
STEP = 9 if SCALE < 4 else 1
"""Each line in a longer battery, each ninth in a usual one."""
MOST = 400
"""Lines; many more than there are."""


class Bench:
    """Runs of three rows and of four, each of which replaces the other's output."""

    def __init__(self, folder, forks, server, out):
        self.folder, self.forks, self.server, self.out = folder, forks, server, folder / out
        server.reply = lambda body: "A: " + body["messages"][0]["content"]
        (folder / "task.yaml").write_text(ANSWER)
        self.wholes = {rows: self.made(rows) for rows in (3, 4)}
        self.calls = len(server.requests)

    def run(self, rows, **options):
        (self.folder / "in.jsonl").write_text("".join(json.dumps({"q": f"q{i}"}) + "\n" for i in range(rows)))
        return self.forks.run(
            self.folder, "run", "task.yaml", "-i", "in.jsonl", "-o", self.out.name, "--model", "m", "--base-url", self.server.url,
            **options,
        )  # fmt: skip

    def made(self, rows):
        code, result = self.run(rows)
        assert code == 0, result
        return self.out.read_bytes()

    def die_at(self, files, line, rows):
        """Die at a line of a run that replaces an output; whether it did, or came to its end."""
        before = self.out.read_bytes()
        code, result = self.run(rows, die=(files, line))
        assert code in (0, -9), result
        assert self.out.read_bytes() in (before, self.wholes[rows])
        return code == -9


@pytest.mark.parametrize("out", ["out.jsonl", "out.csv"])
def test_a_kill_at_any_line_of_the_end_leaves_the_old_output_or_the_new_one_and_the_same_command_continues(
    tmp_path, forks, server, out
):
    """No output is torn, none becomes a stranger's file that only --overwrite would replace, nothing is asked again."""
    bench = Bench(tmp_path, forks, server, out)
    line, rows = 1, 3

    while bench.die_at(ENDING, line, rows):
        assert bench.made(rows) == bench.wholes[rows]
        line, rows = line + STEP, 7 - rows
        assert line < MOST

    assert line > 40
    assert len(server.requests) == bench.calls


def test_a_kill_at_any_line_of_making_a_store_leaves_one_that_works(tmp_path, forks, server):
    """An empty file, one without its table: the next run makes it whole."""
    bench = Bench(tmp_path, forks, server, "out.jsonl")
    store, line = tmp_path / ".distask" / "store.db", 1

    while True:
        for file in store.parent.glob("store.db*"):
            file.unlink()
        code, _ = bench.run(4, die=(STORE, line))
        if code != -9:
            break
        assert bench.made(4) == bench.wholes[4]
        line += STEP
        assert line < MOST

    assert line > 40

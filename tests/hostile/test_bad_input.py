"""Data that can't be read is told with file, line and column, and the mend, before anything is asked."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile

import pytest
import zstandard

from tests.hostile.mutants import cage_without

GOOD = b'{"q": "a"}\n'
SPEC = (
    "inputs: {q: x}\nformat_input: [{role: user, content: '{{ q }}'}]\noutputs: {a: x}\nformat_output: {parser: text}\n"
)


def zipped():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("in.jsonl", GOOD)
    return made.getvalue()


MANY = b"".join(b'{"q": "%d"}\n' % i for i in range(20_000))
NUL = "there are NUL bytes in the line: was it damaged by a crash?"

LINES = [
    ("a malformed line", GOOD + b'{"q": "b", }\n', "2:12: this is not JSON: expecting property name enclosed in double quotes"),
    ("no colon", GOOD + b'{"q" "b"}\n', "2:6: this is not JSON: expecting ':' delimiter"),
    ("a line that was cut", GOOD + b'{"q": "b', "2:7: this is not JSON: unterminated string starting at"),
    ("two objects on a line", b'{"q": "a"} {"q": "b"}\n', "1:12: there is a second value on the line; write one object per line"),
    ("a comma after the object", b'{"q": "a"},\n', "1:11: there is text after the object"),
    ("depth", b'{"q": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "1: the values are nested too deeply"),
    ("depth of objects", b'{"q":' * 100_000 + b"1" + b"}" * 100_000, "1: the values are nested too deeply"),
    ("some depth", b'{"q": ' + b"[" * 600 + b"]" * 600 + b"}\n", "1: the values are nested deeper than 512 levels"),
    ("a key twice", b'{"q": "a", "b": 1, "q": "b"}\n', '1:20: the key "q" appears twice'),
    ("a key twice inside", b'{"q": "a", "x": {"k": 1, "k": 2}}\n', '1:26: the key "k" appears twice'),
    ("a key twice, escaped", b'{"q": "a", "\\u0071": "b"}\n', '1: the key "q" appears twice'),
    ("NaN", b'{"q": "a", "x": NaN}\n', "1:17: NaN is not a JSON number; --on-nan null reads it as null, --on-bad-row skip skips the row"),
    ("Infinity", b'{"q": "a", "x": -Infinity}\n', "1:17: -Infinity is not a JSON number"),
    ("1e400", b'{"q": "a", "x": [-1e400]}\n', "1:18: -1e400 is too large for a number; --on-nan null"),
    ("a number of 5000 digits", b'{"q": "a", "x": ' + b"1" * 5000 + b"}\n", "1:17: an integer has more than 4,300 digits"),
    ("half a character", b'{"q": "\\ud800"}\n', "1:8: a \\ud8xx escape has no second half"),
    ("UTF-16", '\ufeff{"q": "a"}\n'.encode("utf-16-le"), "1: this is not text: it is UTF-16; save it as UTF-8"),
    ("UTF-16 without a mark", '{"q": "a"}\n'.encode("utf-16-be"), "1: this is not text: it is UTF-16; save it as UTF-8"),
    ("UTF-32", '\ufeff{"q": "a"}\n'.encode("utf-32-le"), "1: this is not text: it is UTF-32; save it as UTF-8"),
    ("a BOM inside", GOOD + b"\xef\xbb\xbf" + GOOD, "2:1: there is a byte order mark here, perhaps from joining files"),
    ("CR only", (GOOD * 3).replace(b"\n", b"\r"), "1:11: lines end with CR only; save the file with LF line endings"),
    ("a byte that is no UTF-8", GOOD + b'{"q": "\xe9"}\n', "2:8: the line is not UTF-8: byte 8 is 0xe9"),
    ("blank lines before", b"\n\n" + GOOD + b"\n{x\n", "5:2: this is not JSON"),
    ("a block of NUL", GOOD + b"\0" * 500, f"2:1: {NUL}"),
    ("a tail of NUL", GOOD + b'{"q": "a\0\0\0', f"2:9: {NUL}"),
    ("a missing column", GOOD + b'{"z": 1}\n' * 3, "2: column `q` is missing here and in 2 more rows; the task t needs it"),
    ("another column", b'{"qu": "x"}\n', "1: column `q` is missing; the task t needs it (is it `qu`?"),
    ("a column that is added", b'{"q": "a", "a": 1}\n', ": the data already has a column `a`, which the task t adds; rename the output"),
    ("a number", GOOD + b"5\n", "2:1: the line is a number, expected an object"),
    ("a text", GOOD + b'"x"\n', "2:1: the line is a string, expected an object"),
    ("null", GOOD + b"null\n", "2:1: the line is null, expected an object"),
    ("true", GOOD + b"true\n", "2:1: the line is true or false, expected an object"),
    ("a list", GOOD + b"[1]\n", "2:1: the line is a list; this looks like a JSON array; rename the file to .json"),
    ("an array", b'[\n{"q": "a"}\n]\n', "1:2: this looks like indented JSON or a JSON array; rename the file to .json"),
    ("indented JSON", b'{\n  "q": "a"\n}\n', "1:2: this looks like indented JSON or a JSON array; rename the file to .json"),
    ("a web page", b"<!doctype html>\n", "1:1: this is not JSON: expecting value"),
    ("Python", b"{'q': None}\n", "1:2: this is not JSON: expecting property name enclosed in double quotes"),
    ("a control character", b'{"q": "a\tb"}\n', "1:9: this is not JSON: invalid control character at"),
    ("a wrong escape", b'{"q": "\\x41"}\n', "1:8: this is not JSON: invalid \\escape"),
    ("nothing", b"", ": the input has no rows"),
    ("blank lines only", b"\n \n", ": the input has no rows"),
    ("a .gz that was cut", gzip.compress(MANY)[:-300], ": the compressed file is truncated"),
    ("a .gz of a few bytes", gzip.compress(GOOD)[:9], "1: the compressed file is truncated"),
    ("a .gz with another checksum", gzip.compress(GOOD)[:-8] + b"12345678", "1: the compressed file is damaged: CRC check failed"),
    ("a .gz that is none", b"\x1f\x8b" + b"junk" * 9, "1: the compressed file is damaged"),
    ("a .gz with a tail", gzip.compress(GOOD) + b"junk", "1: the compressed file is damaged"),
    ("a .gz with a bad line", gzip.compress(GOOD + b"{x\n"), "2:2: this is not JSON"),
    ("a .zst that was cut", zstandard.compress(MANY)[:-300], ": the compressed file is truncated"),
    ("a .zst that is none", b"\x28\xb5\x2f\xfd" + b"junk" * 9, "1: the compressed file is damaged"),
    ("a .zst with a bad line", zstandard.compress(GOOD + b"{x\n"), "2:2: this is not JSON"),
    ("a .gz in a .gz", gzip.compress(gzip.compress(GOOD)), "1: this is not text: it is compressed twice; decompress it once"),
    ("a zip", zipped(), "1: this is not text: it is a zip archive; extract it"),
    ("a .bz2", bz2.compress(GOOD), "1: this is not text: it is compressed with bzip2; only .gz and .zst are supported"),
    ("a .xz", lzma.compress(GOOD), "1: this is not text: it is compressed with xz; only .gz and .zst are supported"),
    ("Parquet", b"PAR1" + b"\0" * 9, "1: this is not text: it is Parquet; rename it to .parquet"),
]  # fmt: skip
ARRAYS = [
    ("nothing", b" \n", ": the input has no rows"),
    ("an empty array", b"[]", ": the input has no rows"),
    ("no comma", b'[{"q": "a"}\n{"q": "b"}]', "2:1: this is not JSON: expected `,` between two objects"),
    ("a comma at the end", b'[{"q": "a"},]', "1:12: there is no value after the last `,`"),
    ("two commas", b'[{"q": "a"},,{"q": "b"}]', "1:13: this is not JSON: expecting value"),
    ("an array that was cut", b'[{"q": "a"},\n{"q": "b"}\n', "2:10: the array is not closed; is the file truncated?"),
    ("an object that was cut", b'[{"q": "a"},\n{"q": "b', "2:7: this is not JSON: unterminated string"),
    ("something after it", b'[{"q": "a"}]\nx', "2:1: there is text after the JSON value"),
    ("NUL after it", b'[{"q": "a"}]\0\0', "1:13: there is text after the JSON value"),
    ("lines of JSON", b'{"q": "a"}\n{"q": "b"}\n', "2:1: this looks like JSON Lines; rename the file to .jsonl"),
    ("a number", b"[1]", "1:1: the entry is a number, expected an object"),
    ("a list", b"[[1]]", "1:1: the entry is a list, expected an object"),
    ("a key twice", b'[{"q": "a", "q": "b"}]', '1:12: the key "q" appears twice'),
    (
        "NaN",
        b'[{"q": "a", "x": NaN}]',
        "1:17: NaN is not a JSON number; --on-nan null reads it as null, --on-bad-row skip skips the row",
    ),
    ("depth", b"[" * 100_000, "1:2: this is not JSON: nested too deeply"),
    ("UTF-16", '[{"q": "a"}]'.encode("utf-16"), "1: this is not text: it is UTF-16; save it as UTF-8"),
    ("a byte that is no UTF-8", b'[\n{"q": "\xe9"}]', "2:8: the file is not UTF-8: found the byte 0xe9"),
]
TABLES = [
    ("nothing", b"", ": the input has no rows"),
    ("a header only", b"q,b\n", ": the input has no rows"),
    ("a short row", b"q,b\n1,2\n3\n", "3: there is 1 value, but the header has 2 columns"),
    ("a long row", b"q,b\n1,2,3\n", "2: there are 3 values, but the header has 2 columns"),
    ("a column twice", b"q,q\n1,2\n", "1: the column `q` appears twice"),
    ("a column without a name", b"q,\n1,2\n", "1: a column has no name"),
    ("a quote that is never closed", b'q,b\n"1,2\n3,4\n', "3: this is not CSV: the file ends inside quotes"),
    ("text after a quote", b'q,b\n"1"x,2\n', "2: this is not CSV: ',' expected after"),
    (
        "a byte that is no UTF-8",
        b"q,b\n" + b"1,2\n" * 3000 + b"1,\xff\n",
        "3002:3: the line is not UTF-8: byte 3 is 0xff",
    ),
    ("NUL", b"q,b\n1,\0\n", f"2:3: {NUL}"),
    ("UTF-16", "q,b\n1,2\n".encode("utf-16"), "1: this is not text: it is UTF-16; save it as UTF-8"),
    ("CR only", b"q,b\r1,2\r", "1: lines end with CR only; save the file with LF line endings"),
    ("a missing column", b"x,b\n1,2\n", "2: column `q` is missing; the task t needs it"),
    ("a .gz that was cut", gzip.compress(b"q,b\n" + b"1,2\n" * 99_999)[:-200], ": the compressed file is truncated"),
]
ALL = [(".jsonl", *c) for c in LINES] + [(".json", *c) for c in ARRAYS] + [(".csv", *c) for c in TABLES]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "t.yaml").write_text(SPEC)
    return tmp_path


def run_of(server):
    return ["--base-url", server.url, "--model", "m"]


def assert_told(said, name, words):
    """The message begins with the file, and has its place and its words; nothing else but our words is there."""
    lines = said.err.decode().splitlines()
    first = next(line for line in lines if line.startswith("error: "))
    assert first.removeprefix("error: ").startswith(name), first
    wanted = words if words.startswith(":") else f"{name}:{words}"
    assert wanted in first, f"{first!r} has no {wanted!r}"
    assert "Traceback" not in said.text
    assert said.code == 2


@pytest.mark.parametrize(("suffix", "case", "data", "words"), ALL, ids=[f"{s[1:]}: {c}" for s, c, _, _ in ALL])
def test_data_that_can_not_be_read_is_reported_with_its_place(cage, place, server, suffix, case, data, words):
    """By a run, before any call."""
    name = f"in{suffix}"
    (place / name).write_bytes(data)

    result = cage("run", "t.yaml", "-i", name, "-o", "out.jsonl", *run_of(server), cwd=place)

    assert_told(result, name, words)
    assert server.requests == []
    assert not (place / "out.jsonl").exists()


@pytest.mark.parametrize(
    "case", ["a malformed line", "a .gz that was cut", "a .zst that was cut", "depth", "UTF-16", "a number"]
)
@pytest.mark.parametrize("command", ["dry-run", "validate", "stdin"])
def test_a_dry_run_validate_and_stdin_find_the_same(cage, place, command, case):
    """What is on stdin is called <stdin>."""
    data, words = next((data, words) for name, data, words in LINES if name == case)
    (place / "in.jsonl").write_bytes(data)
    arguments = {"dry-run": ["dry-run", "t.yaml", "-i", "in.jsonl"], "validate": ["validate", "t.yaml", "--input", "in.jsonl"],
                 "stdin": ["dry-run", "t.yaml", "-i", "-"]}[command]  # fmt: skip

    result = cage(*arguments, cwd=place, stdin=data)

    assert result.code == 2
    assert words.split(": ", 1)[1].split(";")[0] in result.text
    assert ("<stdin>:" if command == "stdin" else "in.jsonl:") in result.text


@pytest.mark.parametrize(("suffix", "good", "bad"), [
    (".jsonl", GOOD, b'{"q": \n5\n\xff\n[1]\n\0\n{"q": NaN}\n'),
    (".csv", b"1,2\n", b'1\n1,\xff\n1,\0\n"1"x,2\n1,2,3\n4\n'),
])  # fmt: skip
def test_bad_rows_that_are_skipped_are_counted_and_the_others_are_done(cage, place, suffix, good, bad):
    """All that stand before, between and after them."""
    name = f"in{suffix}"
    (place / name).write_bytes((b"q,b\n" if suffix == ".csv" else b"") + good * 2 + bad + good * 3)

    result = cage(
        "run", "t.yaml", "-i", name, "-o", "out.jsonl", "-c", "offline", "--on-bad-row", "skip", "--json", cwd=place
    )

    assert result.code in (0, 3), result.text
    assert json.loads(result.out.splitlines()[-1])["counts"]["rows_skipped"] == 6
    assert len((place / "out.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(("name", "data"), [
    ("in.jsonl", b'{"q": "' + b"x" * (66 << 20) + b'"}\n' + GOOD),
    ("in.jsonl.gz", gzip.compress(b'{"q": "' + bytes(66 << 20), 1)),
    ("in.csv", b"q,b\n1," + b"x" * (66 << 20) + b"\n"),
])  # fmt: skip
def test_a_line_has_a_bound(cage, place, name, data):
    """A file without line ends is not read into the memory whole: 64 MiB are what a line may have."""
    (place / name).write_bytes(data)

    result = cage("dry-run", "t.yaml", "-i", name, cwd=place)

    assert result.code == 2
    assert b": the line is longer than 64 MiB" in result.err
    assert result.grown < 400


def test_a_long_line_within_the_bound_is_read(cage, place):
    (place / "in.jsonl").write_bytes(b'{"q": "a", "x": "' + b"x" * (20 << 20) + b'"}\n')

    result = cage("dry-run", "t.yaml", "-i", "in.jsonl", cwd=place)

    assert result.code == 0, result.text


@pytest.mark.parametrize(("make", "words"), [
    (lambda p: (p / "in.jsonl").mkdir(), "in.jsonl is a folder; did you mean in.jsonl/*.jsonl?"),
    (lambda p: (p / "int.jsonl").touch(), "in.jsonl: file not found; did you mean int.jsonl?"),
    (lambda p: os.mkfifo(p / "in.jsonl"), "in.jsonl is not a regular file; pass its rows on stdin: --input -"),
    (lambda p: (p / "in.jsonl").symlink_to("/dev/zero"), "in.jsonl is not a regular file"),
    (lambda p: (p / "in.jsonl").symlink_to("in.jsonl"), "in.jsonl"),
])  # fmt: skip
def test_what_is_no_file_is_reported(cage, place, make, words):
    make(place)

    result = cage("dry-run", "t.yaml", "-i", "in.jsonl", cwd=place)

    assert result.code == 2, result.text
    assert words in result.err.decode()


def test_the_battery_fails_when_a_line_has_no_bound(place):
    (place / "in.jsonl").write_bytes(b'{"q": "' + b"x" * (66 << 20) + b'"}\n')

    with cage_without("lines_have_no_bound") as cage:
        result = cage("dry-run", "t.yaml", "-i", "in.jsonl", cwd=place)

    assert b"longer than 64 MiB" not in result.err

"""Wrong usage: exit code 2 and a sentence that says the mend, before anything is done."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from distask.cli import app, main
from distask.cli.job import default_output

MISTAKES = [
    ([], "SPEC is missing for example: distask run text-generation --input rows.jsonl"),
    (["answer.yaml"], "file not found"),
    (["task.yaml"], "the task answer needs rows with the column `instruction`; add --input DATA"),
    (["task.yaml", "--modle", "m"], "there is no option --modle did you mean --model?"),
    (["task.yaml", "-i", "in.jsonl", "--shard", "5/4"], "--shard 5/4: there is no shard 5 of 4"),
    (["task.yaml", "-i", "in.jsonl", "--shard", "0/4"], "there is no shard 0 of 4"),
    (["task.yaml", "-i", "in.jsonl", "--shard", "half"], "write --shard I/K"),
    (["task.yaml", "-i", "in.jsonl", "-p", "k"], "--param k: the name or `=` is missing; write --param NAME=VALUE"),
    (["task.yaml", "-i", "in.jsonl", "-p", "=v"], "write --param NAME=VALUE"),
    (["task.yaml", "-i", "in.jsonl", "-p", "k=v"], "the task answer has no param `k`"),
    (["task.yaml", "-i", "in.jsonl", "--set", "llm.temprature=1"], "did you mean `llm.temperature`?"),
    (["task.yaml", "-i", "in.jsonl", "--set", "temperature"], "the name or `=` is missing"),
    (["task.yaml", "-i", "in.jsonl", "--set", "input_mappings.instuction=x"], "did you mean `instruction`?"),
    (["task.yaml", "-i", "in.jsonl", "--set", "output_mappings=x"], "--set output_mappings.COLUMN="),
    (["task.yaml", "-i", "in.jsonl", "--limit", "0"], "invalid value for '--limit'"),
    (["task.yaml", "-i", "in.jsonl", "--limit", "-3"], "invalid value for '--limit'"),
    (["task.yaml", "-i", "in.jsonl", "--offset", "-1"], "invalid value for '--offset'"),
    (["task.yaml", "-i", "in.jsonl", "-n", "many"], "invalid value for '--num-generations'"),
    (["task.yaml", "-i", "in.jsonl", "-j", "0"], "invalid value for '--concurrency'"),
    (["task.yaml", "-i", "in.jsonl", "--on-bad-row", "drop"], "'drop' is not one of 'stop', 'skip'"),
    (["task.yaml", "-i", "in.jsonl", "--rows", "3"], "remove one of them"),
    (["task.yaml", "--rows", "3"], "needs rows with the column `instruction`"),
    (["none.yaml"], "set the number of rows with --rows N"),
    (["task.yaml", "-i", "in.jsonl", "--store", "a.db", "--no-store"], "remove one of them"),
    (["task.yaml", "-i", "in.jsonl", "-o", "in.jsonl", "--overwrite"], "in.jsonl is the input"),
    (["task.yaml", "-i", "in.jsonl", "-o", "out.xlsx"], ".xlsx"),
    (["task.yaml", "-i", "in.json"], "did you mean in.jsonl?"),
    (["task.yaml", "-i", "in.jsonl", "-c", "ofline"], "did you mean `offline`?"),
    (["task.yaml", "-i", "in.jsonl", "--allow-path", "nowhere"], "invalid value for '--allow-path'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES, ids=lambda m: " ".join(m) if isinstance(m, list) else "")
def test_a_mistake_is_reported_in_a_sentence_and_ends_with_2(shell, monkeypatch, capsys, arguments, sentence):
    """No traceback, nothing on stdout, no call, no file."""
    shell.write(
        "none.yaml", "format_input: [{role: user, content: Hi}]\noutputs: {r: R}\nformat_output: {parser: text}\n"
    )
    monkeypatch.chdir(shell.folder)
    before = sorted(p.name for p in shell.folder.iterdir())
    config = [] if "-c" in arguments else ["-c", "offline"]

    code = main(["run", *arguments, *config])
    result = capsys.readouterr()

    assert code == 2
    assert sentence in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert result.out == ""
    assert sorted(p.name for p in shell.folder.iterdir() if p.name != ".distask") == before


def test_an_unknown_command_is_reported(capsys):
    assert main(["rnu"]) == 2
    assert "there is no command `rnu`\ndid you mean `distask run`?" in capsys.readouterr().err


def test_no_command_at_all_is_answered_with_the_help(capsys):
    assert main([]) == 2
    assert "Usage: distask" in capsys.readouterr().err


def test_what_no_one_foresaw_is_called_a_bug(monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(import_module("distask.cli.commands.specs.tasks"), "_print_list", broken)

    assert main(["tasks"]) == 1
    result = capsys.readouterr().err
    assert "this is a bug in distask (ZeroDivisionError)" in result
    assert "Traceback" in result


def test_ctrl_c_before_the_run_ends_with_130(monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("distask.cli.commands.specs.tasks"), "_print_list", stopped)

    assert main(["tasks"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_the_app_works_in_typers_own_runner():
    result = CliRunner().invoke(app, ["--version"])

    assert result.exit_code == 0
    assert result.stdout.startswith("distask ")


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("name", ["", *get_command(app).commands])
def test_help_fits_the_terminal_and_names_every_option_whole(capsys, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", str(columns))

    assert main([*name.split(), "--help"]) == 0
    result = capsys.readouterr().out
    whole = max(map(len, re.findall(r"^  +-.*|^ *distask .*", result, re.MULTILINE)), default=0)
    assert max(map(len, result.splitlines())) <= max(columns, whole)
    command = get_command(app).commands[name] if name else get_command(app)
    for option in (o for p in command.params if p.param_type_name == "option" for o in (*p.opts, *p.secondary_opts)):
        assert option in result


def test_the_help_of_run_stands_in_sections(capsys):
    main(["run", "-h"])
    result = capsys.readouterr().out

    assert result.startswith("Usage: distask run SPEC [OPTIONS]\n")
    for section in ("Arguments:", "Task and data:", "Output:", "LLM:", "Rows:", "Messages:"):
        assert f"\n{section}\n" in result


def test_a_command_is_imported_only_when_it_is_called(shell):
    """Twenty commands cost no more than one."""
    shell.write(
        "probe.py",
        "import sys\nfrom distask.cli import main\nmain(['schema', '--help'])\n"
        "print('\\n', [m for m in ('run', 'dry_run', 'specs.validate', 'specs.tasks', 'specs.schema') if f'distask.cli.commands.{m}' in sys.modules])\n",
    )
    done = subprocess.run(
        [sys.executable, "probe.py"], cwd=shell.folder, env=shell.env, capture_output=True, check=True
    )

    assert done.stdout.decode().splitlines()[-1].strip() == "['specs.schema']"


def test_help_imports_nothing_heavy(shell):
    """What a person waits for before the help is there: typer, and nothing of what a run needs."""
    shell.write(
        "probe.py",
        "import sys\nfrom distask.cli import main\nmain(['--help'])\n"
        "print('\\n', [m for m in ('openai', 'datasets', 'pyarrow', 'pyreqwest', 'jinja2', 'pydantic', 'yaml', 'rich')"
        " if m in sys.modules])\n",
    )
    done = subprocess.run(
        [sys.executable, "probe.py"], cwd=shell.folder, env=shell.env, capture_output=True, check=True
    )

    assert done.stdout.decode().splitlines()[-1].strip() == "[]"


_HEAVY = (
    "openai", "datasets", "pyarrow", "pyreqwest", "httptools", "asyncio", "sqlite3", "genai_prices", "jsf", "rstr",
    "importlib.metadata", "distask.llm.client", "distask.store", "rich",
)  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "task.yaml"],
        ["dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"],
    ],
)
def test_what_sends_no_requests_loads_nothing_that_asks(shell, words):
    """An event loop, a client, the store and what draws on a terminal are loaded by a run."""
    shell.write(
        "probe.py",
        "import sys\nfrom distask.cli import main, process\nprocess.begin()\n"
        f"code = main({words!r})\nprint('\\n', code, [m for m in {_HEAVY!r} if m in sys.modules])\n",
    )
    done = subprocess.run(
        [sys.executable, "probe.py"], cwd=shell.folder, env=shell.env, capture_output=True, check=True
    )

    assert done.stdout.decode().splitlines()[-1].strip() == "0 []"


def test_a_run_over_jsonl_loads_no_library_of_datasets(shell):
    shell.write(
        "probe.py",
        "import sys\nfrom distask.cli import main, process\nprocess.begin()\n"
        "code = main(['run', 'task.yaml', '-i', 'in.jsonl', '-c', 'offline', '-o', 'out.jsonl'])\n"
        "print('\\n', code, [m for m in ('openai', 'datasets', 'pyarrow', 'pandas', 'pyreqwest') if m in sys.modules])\n",
    )
    done = subprocess.run(
        [sys.executable, "probe.py"], cwd=shell.folder, env=shell.env, capture_output=True, check=True
    )

    assert done.stdout.decode().splitlines()[-1].strip() == "0 []"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/rows.jsonl", "t.rows.jsonl"),
        ("rows.v2.csv.gz", "t.rows.v2.jsonl"),
        ("a.parquet", "t.a.jsonl"),
        ("-", "t.stdin.jsonl"),
        (None, "t.rows.jsonl"),
        ("hf://owner/name@train", "t.name.jsonl"),
        ("data/*.jsonl", "t.data.jsonl"),
        ("part-*.jsonl.zst", "t.part.jsonl"),
        ("saved_folder/", "t.saved_folder.jsonl"),
        ("日本.jsonl", "t.日本.jsonl"),
        ("**", "t.rows.jsonl"),
    ],
)
def test_the_output_is_named_after_the_task_and_its_data(source, name):
    assert default_output("t", source) == name


def test_the_output_of_a_shard_says_which():
    assert default_output("t", "a.csv", (2, 8)) == "t.a.2-of-8.jsonl"

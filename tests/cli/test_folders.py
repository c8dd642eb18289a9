"""Commands where the current folder can't be searched, or is gone: what comes with distask is found all the same."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
pytestmark = [
    pytest.mark.battery,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux drops root's capabilities"),
]


@pytest.fixture(params=["locked", "gone"])
def there(request, shell, tmp_path):
    """Run a command in a folder without any permission, or in one that was removed."""
    folder, libc = tmp_path / "folder", ctypes.CDLL(None)
    shell.env["HOME"] = str(folder)

    def enter():
        os.chdir(folder)
        if request.param == "gone":
            folder.rmdir()
        else:
            folder.chmod(0)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):  # root reads everything with them
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    def run(*arguments):
        folder.mkdir(exist_ok=True)
        try:
            done = subprocess.run(
                shell.command(*arguments), preexec_fn=enter, env=shell.env, capture_output=True, check=False, timeout=60
            )
        finally:
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
        result = done.stdout.decode() + done.stderr.decode()
        assert "Traceback" not in result
        assert "bug in distask" not in result
        return done.returncode, result

    run.name = request.param
    return run


@pytest.fixture
def rows(shell):
    return str(shell.folder / "in.jsonl")


@pytest.mark.parametrize("arguments", [
    ["tasks"],
    ["tasks", "show", "text-generation"],
    ["validate", "text-generation"],
    ["validate", "deita"],
    ["test", "text-generation"],
    ["run", "text-generation", "--config", "offline", "--show-config"],
    ["check", "--config", "offline"],
])  # fmt: skip
def test_built_in_tasks_and_configs_are_found(there, arguments):
    code, result = there(*arguments)

    assert code == 0, result


def test_a_run_from_elsewhere_to_elsewhere_is_done(there, shell, rows):
    out = str(shell.folder / "out.jsonl")

    code, result = there("run", "text-generation", "-i", rows, "-c", "offline", "-o", out)

    assert code == 0, result
    assert len(shell.lines("out.jsonl")) == 5
    assert there("dry-run", "text-generation", "-i", rows)[0] == 0
    assert there("preview", "text-generation", "-i", rows, "-c", "offline")[0] == 0
    assert there("report", out, "-o", str(shell.folder / "page.html"))[0] == 0


@pytest.mark.parametrize("arguments", [
    ["validate", "no-such-task"],
    ["validate", "task.yaml"],
    ["validate", "text-generation", "-i", "in.jsonl"],
    ["dry-run", "text-generation", "-i", "in.jsonl"],
    ["dry-run", "text-generation", "-i", "*.jsonl"],
    ["init", "new"],
    ["import", "x.prompty"],
    ["merge", "out.jsonl", "part.jsonl"],
    ["run", "text-generation", "--config", "mine.yaml", "--show-config"],
])  # fmt: skip
def test_what_would_be_in_it_is_an_error_in_one_line(there, arguments):
    code, result = there(*arguments)

    assert code == 2, result
    if there.name == "locked":
        assert "permission denied" in result.lower()


def test_an_output_in_it_is_refused_before_any_call(there, shell, rows):
    code, result = there("run", "text-generation", "-i", rows, "--base-url", "{url}", "--model", "m")

    assert code == 2, result
    assert shell.server.requests == []

"""Completion as a shell asks for it: bash itself is driven where it is there, with its own idea of what a word is."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import pytest

from distask.cli import main

COMPLETE = "_DISTASK_COMPLETE"

DRIVER = """
eval "$(distask completion bash)"
COMP_LINE={line}
COMP_POINT=${{#COMP_LINE}}
COMP_WORDS=( {words} )
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
compopt() {{ echo nospace; }}
_distask_completion distask
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def tab(shell):
    """What bash offers behind these words; the last one is being typed."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    program = shell.folder / "bin" / "distask"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m distask "$@"\n')
    program.chmod(0o755)
    shell.env["PATH"] = f"{program.parent}:{shell.env['PATH']}"

    def offered(*words):
        driver = DRIVER.format(
            line=shlex.quote(" ".join(words)),
            words=" ".join(map(shlex.quote, words)),
        )
        done = subprocess.run(
            ["bash", "-c", driver],
            cwd=shell.folder,
            env=shell.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout.split()

    return offered


@pytest.mark.battery
def test_commands_and_options_are_offered(tab):
    assert tab("distask", "va") == ["validate"]
    assert tab("distask", "run", "--max") == ["--max-cost"]


@pytest.mark.battery
def test_tasks_are_built_in_ones_and_files(tab, shell):
    shell.write("ultra.yaml", "name: ultra\n")
    (shell.folder / "mine").mkdir()

    assert tab("distask", "run", "ultra") == ["ultrafeedback", "ultra.yaml"]
    assert tab("distask", "validate", "task.yaml", "mi") == ["nospace", "mine/"]
    assert tab("distask", "tasks", "show", "ultra") == ["ultrafeedback"]
    assert tab("distask", "init", "--from", "ultraf") == ["ultrafeedback"]


@pytest.mark.battery
def test_params_are_those_of_the_task_on_the_line_and_then_their_choices(tab):
    """Bash takes `aspect=hon` for three words and replaces the last one."""
    assert tab("distask", "run", "ultrafeedback", "-p", "asp") == ["nospace", "aspect="]
    assert tab("distask", "run", "ultrafeedback", "-p", "aspect", "=", "hon") == ["honesty"]
    assert tab("distask", "run", "ultrafeedback", "--param", "aspect", "=") != []


@pytest.mark.battery
def test_configs_and_settings_are_offered(tab):
    assert tab("distask", "run", "task.yaml", "-c", "off") == ["offline"]
    assert tab("distask", "run", "task.yaml", "--set", "output_m") == [
        "nospace",
        "output_mappings.generation=",
    ]
    assert tab("distask", "run", "--set", "llm.temp") == ["nospace", "llm.temperature="]
    assert tab("distask", "run", "task.yaml", "--on-bad-row", "s") == ["stop", "skip"]


@pytest.mark.battery
def test_a_spec_that_is_wrong_offers_nothing_and_says_nothing(tab, shell):
    shell.write("bad.yaml", "nonsense: [")

    assert tab("distask", "run", "bad.yaml", "-p", "x") == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_gets_its_script(name, capsys):
    assert main(["completion", name]) == 0
    assert COMPLETE in capsys.readouterr().out


def test_zsh_gets_what_it_asks_for(shell):
    shell.env |= {COMPLETE: "complete_zsh", "_TYPER_COMPLETE_ARGS": "distask run ultrafeedback -p aspect=hon"}

    assert "aspect=honesty" in shell().out


def test_fish_gets_what_it_asks_for(shell):
    shell.env |= {
        COMPLETE: "complete_fish",
        "_TYPER_COMPLETE_ARGS": "distask run task.yaml -c off",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }

    assert shell().out == "offline\n"

"""`distask completion`: print a script that completes commands, options, tasks, params and configs in a shell."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distask.cli import options as o  # noqa: TC001 - typer reads the annotations
from distask.cli.events.emit import Events

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

VARIABLE = "_DISTASK_COMPLETE"
"""Set by the script when it asks for completions."""


BASH = """\
_distask_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _DISTASK_COMPLETE=complete_bash $1 ) )
    [[ ${COMPREPLY-} == *[=/] ]] && compopt -o nospace
    return 0
}
complete -o default -F _distask_completion distask"""
"""An unfinished word (`aspect=`, a folder) gets no trailing space."""


class Shell(Enum):
    """A supported shell."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def command(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish|powershell", help="Shell to print the script for.")],
    json_: o.Json = False,
) -> None:
    """Print a script that completes commands, options, tasks, their params and configs in a shell.

    For bash: eval "$(distask completion bash)" in ~/.bashrc; for zsh the same in ~/.zshrc, after compinit; for fish:
    distask completion fish > ~/.config/fish/completions/distask.fish
    """
    script = BASH if shell is Shell.BASH else _script(shell.value)
    if json_:
        Events("completion").result(shell=shell.value, script=script)
    else:
        typer.echo(script)


def _script(shell: str) -> str:
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name="distask", complete_var=VARIABLE, shell=shell)


def answer(root: Any, given: Sequence[str]) -> None:
    """Print completions for a shell; the environment holds the name of the shell and the words typed so far."""
    from typer._completion_classes import completion_init

    completion_init()
    done = _rejoin(os.environ) if os.environ[VARIABLE].endswith("bash") else ""
    printed = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(printed):
        root.main(args=list(given), prog_name="distask", complete_var=VARIABLE)
    for line in printed.getvalue().splitlines():
        typer.echo(line.removeprefix(done))
    raise typer.Exit


def _rejoin(environ: MutableMapping[str, str]) -> str:
    """Join words that bash split at `=`; returns the part of the current word that bash already has."""
    words, place = environ["COMP_WORDS"].split("\n"), int(environ["COMP_CWORD"])
    typed = words[: place + 1] + [""] * (place + 1 - len(words))
    joined: list[str] = []
    for word in typed:
        if joined and (word == "=" or joined[-1].endswith("=")) and not word.startswith("-"):
            joined[-1] += word
        else:
            joined.append(word)
    environ["COMP_WORDS"], environ["COMP_CWORD"] = shlex.join(joined[:-1]) + f" {joined[-1]}", str(len(joined) - 1)
    return joined[-1][: joined[-1].rfind("=") + 1]

"""Look up commands, and format help for 80 columns: options in sections, each with its full name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any, Self

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

WIDEST, NARROWEST = 80, 30
"""Maximum and minimum terminal width of the help."""


_JUDGING = frozenset({"agree"})
"""Commands in the package `judging`."""


class Command(TyperCommand):
    """A command whose help has a section for each `rich_help_panel` of its options."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the arguments, then `[OPTIONS]`."""
        return [*(_name(p) for p in self.get_params(ctx) if p.param_type_name == "argument"), "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for the arguments and for each group of options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if not getattr(param, "hidden", False):
                sections.setdefault(_section(param), []).append((_name(param), getattr(param, "help", None) or ""))
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines, col_max=min(28, formatter.width // 2))


def module_of(command: str) -> str:
    """Return the module of a command in `cli.commands`; some share a package, and `import` gets a `_`."""
    name = command.replace("-", "_")
    if name in _JUDGING:
        return f"judging.{name}"
    if name.endswith("batch"):
        return "batch.manage" if name == "batch" else f"batch.{name}"
    return f"{name}_" if iskeyword(name) else name


class Commands(Mapping[str, Any]):
    """The commands by name; each is imported and built only when it is looked up."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        self.lines = lines

    def __getitem__(self, name: str) -> Any:
        if name not in self.lines:
            raise KeyError(name)
        function = import_module(f"distask.cli.commands.{module_of(name)}").command
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, cls=Command)(function)
        return get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)


class Group(TyperGroup):
    """The top-level command; its help lists every command without importing any."""

    lines: Mapping[str, str] = {}

    @classmethod
    def of(cls, lines: Mapping[str, str]) -> type[Self]:
        """Return the group of these commands; `lines` maps a name to its line in the help."""
        return type("Distask", (cls,), {"lines": lines})

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Commands(self.lines)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the group's interface
        """Write a line for each command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))


def help_width() -> int:
    """Return the width of the help: the terminal's, 78 at most; typer alone writes 50 columns to a terminal of 40."""
    return max(min(shutil.get_terminal_size().columns, WIDEST) - 2, NARROWEST)


def _section(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return getattr(param, "rich_help_panel", None) or "Options"


def _name(param: Any) -> str:
    """`SPEC`, `-i, --input DATA`, `--this / --that`."""
    metavar = param.metavar or param.name.upper()
    if param.param_type_name == "argument":
        return str(metavar)
    names = ", ".join(sorted(param.opts, key=len))
    if param.secondary_opts:
        names = f"{names} / {', '.join(param.secondary_opts)}"
    return names if param.is_flag else f"{names} {metavar}"

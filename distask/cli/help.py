"""Help that fits 80 columns: options stand in sections, each with its whole name."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose help has a section for each `rich_help_panel` of its options."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The arguments, then that there are options."""
        return [*(_name(p) for p in self.get_params(ctx) if p.param_type_name == "argument"), "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for the arguments and for each group of options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if not getattr(param, "hidden", False):
                sections.setdefault(_section(param), []).append((_name(param), getattr(param, "help", None) or ""))
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines, col_max=28)


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

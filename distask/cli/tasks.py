"""`distask tasks`: what comes with distask."""

from __future__ import annotations

from rich.text import Text

from distask.cli.console import out, plain
from distask.errors import UsageError
from distask.spec.gallery import gallery
from distask.spec.load import find_spec, load_spec, read_text


def tasks_command(action: str, name: str | None) -> None:
    """List the built-in tasks, or print one's file."""
    if action == "show":
        if name is None:
            raise UsageError("name the task: distask tasks show NAME")
        print(read_text(find_spec(name)), end="")  # noqa: T201
        return
    if action != "list":
        raise UsageError(
            f"there is no `distask tasks {action}`; `distask tasks` lists them, `tasks show NAME` prints one"
        )
    console = out()
    for task, path in gallery().items():
        spec = load_spec(path).spec
        reads = ", ".join(n if i.required else f"{n}?" for n, i in spec.inputs.items())
        console.print(Text.assemble((task, "bold"), "  ", plain(spec.description or "")))
        console.print(plain(f"    {reads or 'nothing'} → {', '.join(spec.outputs)}", "dim"))

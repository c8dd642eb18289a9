"""Load the tasks of a spec's steps: from files, from the built-in tasks, or written inline.

A spec refers to other tasks by a relative path or a built-in name. A task that contains itself is an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from distask.diagnostics import Diagnostic, did_you_mean, nearest
from distask.errors import SpecError
from distask.spec.check.expressions import GLOBALS, read_expression, read_template
from distask.spec.check.templates import MAPPINGS
from distask.spec.gallery import gallery
from distask.spec.language.model import StructuredOutput, TaskSpec
from distask.spec.language.steps import ForEachStep, PipelineSpec, RepeatStep, TaskStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from distask.spec.check.expressions import Syntax
    from distask.spec.check.faults import Place
    from distask.spec.document import Document
    from distask.spec.language.steps import Step
    from distask.spec.loaded import Loaded

MOST_NESTED = 16
"""Maximum nesting of specs; real specs have two or three levels."""
MOST_TASKS = 500
"""Maximum number of tasks in a spec, including the tasks in its steps' files."""
_OF_REPLIES = {"reply", "finish_reason", "parsed"}
"""Names that exist only after a reply."""


def walk(steps: Iterable[Step], place: Place = ("steps",)) -> Iterator[tuple[Place, Step]]:
    """Yield every step with its place, including steps in loops."""
    for index, step in enumerate(steps):
        yield (*place, index), step
        if isinstance(step, RepeatStep | ForEachStep):
            yield from walk(step.steps, (*place, index, "steps"))


LoadFile = Callable[[Path, "Sequence[Path]"], "Loaded"]
LoadData = Callable[..., "Loaded"]


class _Count(threading.local):
    """Counts the tasks loaded so far for the outermost spec."""

    def __init__(self) -> None:
        self.depth = self.tasks = 0

    def __enter__(self) -> None:
        self.tasks = 0 if self.depth == 0 else self.tasks
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


_COUNT = _Count()


def load_tasks(
    spec: PipelineSpec,
    document: Document,
    path: Path,
    within: Sequence[Path],
    load_file: LoadFile,
    load_data: LoadData,
) -> tuple[dict[Place, Loaded], list[Diagnostic]]:
    """Return the tasks by the place of their step, and the errors of the others.

    `load_file` loads a spec from a file; `load_data` loads an inline spec. `spec.load` has both.
    """
    tasks: dict[Place, Loaded] = {}
    found: list[Diagnostic] = []
    chain = [*within, path.resolve()]
    with _COUNT:
        for place, step in walk(spec.steps):
            if not isinstance(step, TaskStep):
                continue
            _COUNT.tasks += 1
            if _COUNT.tasks > MOST_TASKS:
                found.append(document.diagnostic((*place, "task"), f"the spec has more than {MOST_TASKS} tasks"))
                break
            try:
                if isinstance(step.task, dict):
                    tasks[place] = _inline(spec, step, step.task, place, document, path, within, load_data)
                else:
                    tasks[place] = _of_file(step.task, (*place, "task"), document, path, chain, load_file)
            except SpecError as error:
                found += error.diagnostics
    return tasks, found


def _of_file(
    name: str, place: Place, document: Document, path: Path, chain: Sequence[Path], load_file: LoadFile
) -> Loaded:
    def wrong(message: str, hint: str | None = None) -> SpecError:
        return SpecError([document.diagnostic(place, message, hint)])

    is_file = "/" in name or name.endswith((".yaml", ".yml"))
    if not is_file:
        known = gallery()
        if name not in known:
            beside = path.parent / f"{name}.yaml"
            hint = f"did you mean the file `{name}.yaml`?" if beside.is_file() else did_you_mean(name, known)
            raise wrong(f"there is no built-in task `{name}`", hint)
        file = known[name]
    else:
        if Path(name).is_absolute() or any(c in name for c in "\0\n\r\\:~"):
            raise wrong(f"`{name}` is not a valid relative path", "write the path relative to this file")
        file = path.parent / name
        if not file.is_file():
            there = [p.name for p in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
            close = nearest(file.name, there)
            hint = f"did you mean `{name.removesuffix(file.name)}{close}`?" if close else None
            raise wrong(f"the file `{name}` does not exist", hint)
    resolved = file.resolve()
    if is_file and not any(resolved.is_relative_to(folder) for folder in (chain[0].parent, path.parent.resolve())):
        raise wrong(
            f"the file `{name}` is outside the spec's folder", "a spec can read only files in its folder and below"
        )
    if resolved in chain:
        way = " → ".join(p.name for p in [*chain[chain.index(resolved) :], resolved])
        raise wrong(f"this task contains itself: {way}", "use `repeat` for a loop")
    if len(chain) > MOST_NESTED:
        raise wrong(f"tasks are nested deeper than {MOST_NESTED} levels")
    try:
        return load_file(file, chain)
    except SpecError as error:
        diagnostic = document.diagnostic(place, f"the task `{name}` has errors", "fix the errors reported in it")
        raise SpecError([*error.diagnostics, diagnostic]) from None


def _inline(
    spec: PipelineSpec,
    step: TaskStep,
    written: dict[str, Any],
    place: Place,
    document: Document,
    path: Path,
    within: Sequence[Path],
    load_data: LoadData,
) -> Loaded:
    """Load an inline task. It inherits params and vars; its inputs are the names that its templates read."""
    part = document.part((*place, "task"))
    data: dict[Any, Any] = dict(written)
    data.setdefault("name", step.name or f"step-{'-'.join(str(n + 1) for n in place if isinstance(n, int))}")
    params = {name: param.model_dump(by_alias=True, exclude_unset=True) for name, param in spec.params.items()}
    for key, around in (("params", params), ("vars", spec.vars)):
        if around and isinstance(data.get(key, {}), dict):
            data[key] = {**around, **data.get(key, {})}
    implied = _implied(data) if "inputs" not in data and "steps" not in data else {}
    if implied is None:
        return load_data(data, part, path, within, aside=[("inputs",)])
    return load_data({"inputs": implied, **data}, part, path, within)


def _implied(data: dict[Any, Any]) -> dict[str, Any] | None:
    """Return the inputs of a task that declares none: the names it reads but does not make. None if it is invalid."""
    try:
        task = TaskSpec.model_validate(data)
    except ValidationError:
        return None
    known = {*task.params, *task.vars, *task.draw, *GLOBALS, *MAPPINGS}
    names = dict.fromkeys(name for name in _names_of_chat(task) if name not in known)
    if task.design is not None and task.design.seed_column is not None:
        names[task.design.seed_column] = None
    known |= {*task.outputs, *_OF_REPLIES}
    names |= dict.fromkeys(name for name in _names_of_replies(task) if name not in known)
    return {name: {"type": "any"} for name in names}


def _names_of_chat(task: TaskSpec) -> Iterator[str]:
    """Yield the names that a task's chat and keywords read, in order."""
    for message in task.format_input:
        loop, _, source = (message.for_each or "").partition(" in ")
        if message.for_each:
            yield from _named(read_expression(source))
        inside = [read_expression(e) for e in (message.when, message.splice) if e is not None]
        texts = [message.name]
        if isinstance(message.content, str):
            texts.append(message.content)
        elif isinstance(message.content, list):
            texts += [text for p in message.content for text in (p.text, p.image, p.audio, p.file)]
        inside += [read_template(text) for text in texts if text]
        own = {loop.strip(), "loop_index"} if message.for_each else set()
        yield from (name for syntax in inside for name in _named(syntax) if name not in own)
    asked = task.structured_output
    held = [asked.schema_, asked.choice, asked.regex] if isinstance(asked, StructuredOutput) else []
    for written in (*held, task.tools):
        is_pattern = isinstance(asked, StructuredOutput) and written is asked.regex
        if isinstance(written, str) and ("{{" in written or not is_pattern):
            yield from _named(read_expression(written))


def _names_of_replies(task: TaskSpec) -> Iterator[str]:
    """Yield the names that are read when a reply becomes columns."""
    for parser in task.format_output:
        if align_to := getattr(parser, "align_to", None):
            yield align_to
        if isinstance(choices := getattr(parser, "choices", None), str):
            yield from _named(read_expression(choices))
        for value in (parser.columns or {}).values():
            if isinstance(value, str) and "{{" in value:
                yield from _named(read_expression(value))
    examples = [o.examples for o in task.outputs.values() if isinstance(o.examples, str)]
    for source in (*task.checks, *examples):
        yield from _named(read_expression(source))


def _named(syntax: Syntax) -> Iterator[str]:
    return (name.name for name in syntax.names)

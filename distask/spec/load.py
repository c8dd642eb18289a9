"""Load a spec from a path or by the name of a built-in task, and report all errors in the file."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from distask.diagnostics import Diagnostic, nearest
from distask.errors import SpecError
from distask.spec.check.faults import Fault, Place, model_diagnostics, model_faults, slugified
from distask.spec.check.spec import check_spec
from distask.spec.document import MAX_BYTES, Document
from distask.spec.gallery import gallery
from distask.spec.language.json_schema import keys_at
from distask.spec.language.model import LLM, OnInvalid, StructuredOutput, TaskSpec
from distask.spec.loaded import Loaded, LoadedPipeline, LoadedSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.spec.language.steps import PipelineSpec

__all__ = [
    "Loaded",
    "LoadedPipeline",
    "LoadedSpec",
    "find_spec",
    "load_spec",
    "load_text",
    "model_diagnostics",
    "read_text",
]

_ELSEWHERE = {
    "api_key": "a key",
    "api_key_env": "a key",
    "base_url": "an endpoint",
    "endpoint": "an endpoint",
    "headers": "headers",
    "provider": "an endpoint",
    "limits": "a server's limits",
    "price": "prices",
}
"""Keys that belong to an LLM config."""

_SYNONYMS = {
    "prompt": "format_input",
    "prompts": "format_input",
    "template": "format_input",
    "messages": "format_input",
    "chat": "format_input",
    "parser": "format_output",
    "parse": "format_output",
    "variables": "vars",
    "parameters": "params",
    "n": "num_generations",
    "text": "content",
    "if": "when",
    "enum": "choices",
    "values": "choices",
    "min": "minimum",
    "max": "maximum",
    "regex": "pattern",
    "labels": "choices",
    "retries": "retry",
    "expected": "expect",
    "output": "expect",
}
"""Names used by other tools, and the matching keys."""

_MOST_FAULTS = 100
"""Maximum number of errors handled in one pass, and reported in total."""
_PASSES = 12
"""Maximum number of validation passes; each pass replaces the invalid parts to find deeper errors."""


def find_spec(source: str | Path) -> Path:
    """Return the file of a spec, given a path or the name of a built-in task. Raises `SpecError` with a suggestion."""
    name = str(source)
    path = Path(source)
    known = gallery()
    try:
        if path.is_file():
            return path
        is_folder, exists = path.is_dir(), path.exists()
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    except (OSError, ValueError) as error:
        if name in known:  # an unreadable folder has no file to prefer
            return known[name]
        raise _no_file(name, f"this can't be opened: {getattr(error, 'strerror', None) or error}") from None
    if name in known:
        return known[name]
    if is_folder:
        raise _no_file(name, "this is a folder", f"pass the files in it: {path / '*.yaml'}")
    if exists:
        raise _no_file(name, "this is not a regular file")
    stems = {Path(file).stem: file for file in beside}  # compare without `.yaml`, which makes all names similar
    close = nearest(path.stem, stems)
    if close is not None:
        raise _no_file(name, "file not found", f"did you mean `{path.parent / stems[close]}`?")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        close = nearest(path.stem, known)
        hint = f"did you mean the built-in task `{close}`?" if close else None
        raise _no_file(name, "file not found", hint)
    close = nearest(name, known)
    hint = f"did you mean `{close}`?" if close else "run `distask tasks` to list the built-in tasks"
    raise _no_file(name, "no file or built-in task has this name", hint)


def _no_file(file: str, message: str, hint: str | None = None) -> SpecError:
    return SpecError([Diagnostic(file, 0, 0, message, hint)])


def load_spec(source: str | Path) -> Loaded:
    """Load and check a spec; raises `SpecError` with all errors in it and in the tasks of its steps."""
    path = find_spec(source)
    return load_text(read_text(path), path)


def load_text(text: str, path: Path, within: Sequence[Path] = ()) -> Loaded:
    """Check a spec's text. Included files are relative to the folder of `path`.

    `within` lists the specs whose steps contain this one, outermost first.
    """
    found: list[Diagnostic] = []
    try:
        document = Document.parse(text, str(path), found)
    except SpecError as error:
        raise SpecError(_in_order([*found, *error.diagnostics])) from None
    if not isinstance(document.data, dict):
        wrong = document.diagnostic((), "a task must be a mapping of keys", "start with a key such as `inputs:`")
        raise SpecError([*found, wrong])
    data: dict[Any, Any] = dict(document.data)
    data.setdefault("name", slugified(path.stem) or "task")
    return load_data(data, document, path, within, found)


def _load_file(path: Path, within: Sequence[Path]) -> Loaded:
    return load_text(read_text(path), path, within)


def load_data(
    data: dict[Any, Any],
    document: Document,
    path: Path,
    within: Sequence[Path] = (),
    found: Sequence[Diagnostic] = (),
    aside: Sequence[Place] = (),
) -> Loaded:
    """Check a spec's data and report its errors with those already `found` in its text.

    Errors that depend on the places in `aside` are not reported.
    """
    diagnostics = list(found)
    spec, faults, more_aside = _validated(data, document)
    aside = [*aside, *more_aside]
    diagnostics += [fault.diagnostic(document) for fault in faults]
    tasks: dict[Place, Loaded] = {}
    if spec is not None and not isinstance(spec, TaskSpec):
        from distask.spec.check.flow import check_flow
        from distask.spec.step_tasks import load_tasks

        tasks, wrong = load_tasks(spec, document, path, within, _load_file, load_data)
        diagnostics += wrong
        diagnostics += check_flow(spec, document, tasks, aside)
    elif spec is not None:
        diagnostics += check_spec(spec, document, path.absolute().parent, aside)
    if spec is None or any(d.severity == "error" for d in diagnostics):
        raise SpecError(_in_order(diagnostics))
    if not isinstance(spec, TaskSpec):
        return LoadedPipeline(spec, path, document, tasks)
    return LoadedSpec(spec, path, document)


def read_text(path: Path) -> str:
    """Read a UTF-8 file; raises `SpecError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _no_file(str(path), f"the file is larger than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise _no_file(str(path), f"the file can't be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        end = data.find(b"\n", error.start)
        before = data[start : error.start].decode(errors="replace")
        source = data[start : end if end >= 0 else len(data)].decode(errors="replace").rstrip("\r")
        line = data.count(b"\n", 0, error.start) + 1
        message = f"the file is not UTF-8: invalid byte 0x{data[error.start]:02x}"
        diagnostics = Diagnostic(str(path), line, len(before) + 1, message, "save the file as UTF-8", source)
        raise SpecError([diagnostics]) from None


def _validated(
    data: dict[Any, Any], document: Document
) -> tuple[TaskSpec | PipelineSpec | None, list[Fault], list[Place]]:
    """Return the spec, the errors, and the places that were replaced to validate the rest."""
    model = _language(data)
    faults: list[Fault] = []
    aside: list[Place] = []
    for attempt in range(_PASSES):
        try:
            return model.model_validate(data), faults, aside
        except ValidationError as error:
            if attempt == 0:
                data = copy.deepcopy(data)
            errors = error.errors(include_url=False)[
                : 5 * _MOST_FAULTS
            ]  # pydantic may report several errors for one fault
            new = model_faults(errors, data, partial(keys_at, model), partial(_misplaced, model), _SYNONYMS)
            renamed = {(*f.path[:-1], f.key) for f in new if f.kind == "unknown" and f.key}
            new = [f for f in new if not (f.kind == "missing" and (*f.path, f.key) in renamed)][:_MOST_FAULTS]
            faults += [f for f in new if not _is_ours(f, aside)]
            for fault in new:
                _put_aside(data, fault, document, aside)
            if len(faults) >= _MOST_FAULTS:
                break
    return None, faults, aside


def _language(data: dict[Any, Any]) -> type[TaskSpec | PipelineSpec]:
    """Return the model for the data; the models of steps are loaded only if needed."""
    if "steps" not in data:
        return TaskSpec
    from distask.spec.language.steps import PipelineSpec

    return PipelineSpec


def _is_ours(fault: Fault, aside: list[Place]) -> bool:
    """Return whether a fault is caused only by a replaced value, at its place or around it."""
    return any(a[: len(fault.path)] == fault.path for a in aside)


def _misplaced(model: type[TaskSpec | PipelineSpec], path: Place, key: str) -> str | None:
    if key in _ELSEWHERE:
        return f"a spec can't contain {_ELSEWHERE[key]}; move it to an LLM config (--config)"
    if model is not TaskSpec:
        return _misplaced_beside_steps(path, key)
    for home, keys in (("llm", LLM), ("on_invalid", OnInvalid), ("structured_output", StructuredOutput)):
        if key in keys_at(keys, ()) and home not in path:
            return f"it belongs under `{home}`"
    if len(path) == 1 and key in _parser_keys():
        return "it belongs under `format_output`"
    if len(path) > 1 and key in TaskSpec.model_fields.keys() - {"name", "description", "tags"}:
        return "it belongs at the top level"
    return None


def _misplaced_beside_steps(path: Place, key: str) -> str | None:
    from distask.spec.language.steps import STEPS

    if len(path) == 1 and key in TaskSpec.model_fields:
        return "a task with `steps` can't have this key; move it into a step: `task: {...}`"
    if len(path) > 1 and key in STEPS:
        return "a step can do only one thing; split it into two steps"
    return None


def _parser_keys() -> set[str]:
    from distask.spec.language.parsers import ParserBase

    return {key for parser in ParserBase.__subclasses__() for key in parser.model_fields}


_STAND_INS: dict[str, Any] = {
    "name": "task",
    "inputs": {},
    "params": {},
    "vars": {},
    "draw": {},
    "design": {},
    "llm": {},
    "on_invalid": {},
    "outputs": {"_": {"type": "any"}},
    "format_input": [{"role": "user", "content": ""}],
    "format_output": {"parser": "python", "function": "stand:in"},
    "steps": [{"filter": "true"}],
}
"""Values that replace an invalid part while the rest is checked."""

_MEMBERS: dict[str, Any] = {
    "inputs": {"type": "any"},
    "params": {"type": "any"},
    "draw": [None],
    "outputs": {"type": "any"},
    "format_input": {"role": "user", "content": ""},
    "format_output": {"parser": "python", "function": "stand:in"},
    "aggregate": "majority",
    "steps": {"filter": "true"},
}


def _put_aside(data: dict[Any, Any], fault: Fault, document: Document, aside: list[Place]) -> None:
    """Change the data so that this fault, and errors that depend on it, are not reported in the next pass."""
    path = fault.path
    if fault.kind == "missing":
        path = (*path, fault.key)
    holder = _holder(data, path)
    if holder is None:
        return
    last = path[-1]
    if fault.kind == "unknown" and fault.key is not None and isinstance(holder, dict):
        holder[fault.key] = holder.pop(last)
        document.rename(path[:-1], last, fault.key)
        return
    aside.append(path)
    if fault.kind in ("unknown", "key") and isinstance(holder, dict):
        holder.pop(last, None)
    elif len(path) == 1 and last in _STAND_INS:
        holder[last] = copy.deepcopy(_STAND_INS[last])
    elif len(path) == 2 and path[0] in _MEMBERS:
        holder[last] = copy.deepcopy(_MEMBERS[path[0]])
    elif path[-1] == "content":
        holder[last] = ""
    elif fault.kind == "missing" or isinstance(holder, list):
        _give_up(data, path, aside)
    elif isinstance(holder, dict):
        holder.pop(last, None)


def _give_up(data: dict[Any, Any], path: Place, aside: list[Place]) -> None:
    """Replace the member that contains the fault, or its top-level key."""
    first = path[0]
    if first in _MEMBERS and isinstance(data.get(first), list | dict) and len(path) > 1 and not _is_one(data, path):
        data[first][path[1]] = copy.deepcopy(_MEMBERS[first])
        aside.append(path[:2])
    elif first in _STAND_INS:
        data[first] = copy.deepcopy(_STAND_INS[first])
        aside.append(path[:1])
    else:
        data.pop(first, None)
        aside.append(path[:1])


def _is_one(data: dict[Any, Any], path: Place) -> bool:
    return path[0] == "format_output" and not isinstance(data["format_output"], list)


def _holder(data: Any, path: Place) -> Any:
    for step in path[:-1]:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data if path and isinstance(data, dict | list) else None


def _in_order(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    return sorted(dict.fromkeys(diagnostics), key=lambda d: (d.file, d.line, d.column))

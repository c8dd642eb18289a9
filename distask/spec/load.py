"""Load a spec from a path or by a built-in task's name, with every error of the file at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from distask.errors import SpecError, UsageError
from distask.spec.check import check_spec
from distask.spec.diagnostics import Diagnostic, did_you_mean, nearest
from distask.spec.document import Document
from distask.spec.gallery import gallery
from distask.spec.model import LLM, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

ELSEWHERE = {"api_key": "a key", "api_key_env": "a key", "base_url": "an endpoint", "headers": "headers"}
"""Keys that people put into a spec, and that belong to an LLM config."""


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A spec that is right, with the file it came from."""

    spec: TaskSpec
    path: Path
    document: Document


def find_spec(source: str | Path) -> Path:
    """The file of a spec: a path, or a built-in task's name. Raises `UsageError` naming the nearest."""
    path = Path(source)
    if path.is_file():
        return path
    known = gallery()
    if str(source) in known:
        return known[str(source)]
    if path.is_dir():
        raise UsageError(f"{source} is a folder; name a task file in it, as {path}/*.yaml")
    if path.suffix in (".yaml", ".yml"):
        beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        mend = f"did you mean {path.parent / close}?" if close else "look for the file's name"
        raise UsageError(f"{source}: there is no such file; {mend}")
    raise UsageError(
        f"{source}: there is no such file, and no built-in task of that name; {did_you_mean(str(source), known)}"
    )


def load_spec(source: str | Path) -> LoadedSpec:
    """Load and check a spec; raises `SpecError` with all that is wrong in it, `UsageError` where there is none."""
    path = find_spec(source)
    document = Document.parse(read_text(path), str(path))
    if not isinstance(document.data, dict):
        raise SpecError([document.diagnostic((), "a task is a mapping of keys: name, inputs, format_input, …")])
    data: dict[Any, Any] = dict(document.data)
    data.setdefault("name", _name_of(path))
    try:
        spec = TaskSpec.model_validate(data)
    except ValidationError as error:
        found = model_diagnostics(error.errors(include_url=False), document, _misplaced)
        raise SpecError(_sorted([*found, *_still_checked(data, document, path)])) from None
    diagnostics = _sorted(check_spec(spec, document, path.resolve().parent))
    if any(d.severity == "error" for d in diagnostics):
        raise SpecError(diagnostics)
    return LoadedSpec(spec, path, document)


def read_text(path: Path) -> str:
    """The text of a file that should be UTF-8; raises `UsageError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: the file is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def model_diagnostics(
    errors: Sequence[ErrorDetails], document: Document, misplaced: Any = lambda path, key: None
) -> list[Diagnostic]:
    """What pydantic found, in words of ours and at its place; several faults of one value become one."""
    by_place: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for error in errors:
        by_place.setdefault(_path_in(document.data, error["loc"], error["type"]), []).append(error)
    found = []
    for path, there in by_place.items():
        if any(other[: len(path)] == path and len(other) > len(path) for other in by_place) and _is_a_type(there):
            continue  # one member of a union fits but for something inside of it, which is told there
        unknown = next((e for e in there if e["type"] == "extra_forbidden"), None)
        if unknown is not None:
            found.append(_unknown_key(path, unknown, document, misplaced))
            continue
        missing = [e for e in there if e["type"] == "missing"]
        if missing:
            found += [document.diagnostic(path, f"`{e['loc'][-1]}` is missing", key=True) for e in missing]
            continue
        found.append(document.diagnostic(path, _said(there), _hint(there)))
    return found


def _path_in(data: Any, location: Sequence[str | int], kind: str) -> tuple[str | int, ...]:
    """The part of pydantic's location that is there in the data: names of unions' members are left out."""
    path: list[str | int] = []
    steps = location[:-1] if kind == "missing" else location
    for step in steps:
        if isinstance(data, dict) and step in data:
            data = data[step]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _is_a_type(errors: Sequence[ErrorDetails]) -> bool:
    return all(e["type"].endswith("_type") for e in errors)


def _unknown_key(path: tuple[str | int, ...], error: ErrorDetails, document: Document, misplaced: Any) -> Diagnostic:
    key = str(path[-1]) if path else str(error["loc"][-1])
    hint = misplaced(path, key) or did_you_mean(key, _keys_beside(error["loc"]))
    return document.diagnostic(path, f"unknown key `{key}`", hint, key=True)


def _misplaced(path: Sequence[str | int], key: str) -> str | None:
    if key in ELSEWHERE:
        return f"a spec never holds {ELSEWHERE[key]}: it belongs in an LLM config (--config)"
    if key in LLM.model_fields and "llm" not in path:
        return "it belongs under `llm`"
    if len(path) > 1 and key in TaskSpec.model_fields:
        return "it belongs at the top level"
    return None


def _keys_beside(location: Sequence[str | int]) -> list[str]:
    """The keys that are known where an unknown one stands: the models are walked along the location."""
    from distask.spec.schema import keys_at

    return keys_at(TaskSpec, location[:-1])


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _said(errors: Sequence[ErrorDetails]) -> str:
    wanted = list(dict.fromkeys(_WANTED[e["type"]] for e in errors if e["type"] in _WANTED))
    other = next((e for e in errors if e["type"] not in _WANTED), None)
    if other is None or (wanted and len(errors) > 1):
        return f"expected {' or '.join(wanted)}, got {_shown(errors[0]['input'])}"
    kind, context = other["type"], other.get("ctx", {})
    got = _shown(other["input"])
    if kind in ("literal_error", "enum"):
        return f"expected {str(context['expected']).replace(chr(39), '`')}, got {got}"
    if kind == "union_tag_invalid":
        return f"there is no {_discriminator(context)} `{context['tag']}`"
    if kind == "union_tag_not_found":
        return f"expected a mapping with `{_discriminator(context)}`, got {got}"
    if kind == "string_pattern_mismatch":
        return _pattern_said(other)
    bounds = {
        "greater_than_equal": ("ge", "at least"),
        "greater_than": ("gt", "more than"),
        "less_than_equal": ("le", "at most"),
        "less_than": ("lt", "less than"),
    }
    if kind in bounds:
        name, words = bounds[kind]
        return f"expected a number of {words} {context[name]}, got {got}"
    if kind == "too_short":
        return (
            "this is empty"
            if context.get("actual_length") == 0
            else f"expected {context['min_length']} entries or more"
        )
    if kind == "too_long":
        return f"expected {context['max_length']} entries at most, got {context.get('actual_length')}"
    if kind == "int_from_float":
        return f"expected a whole number, got {got}"
    if kind == "value_error":
        return str(context.get("error", other["msg"]))
    return str(other["msg"])[0].lower() + str(other["msg"])[1:]


def _pattern_said(error: ErrorDetails) -> str:
    where = error["loc"][-1] if error["loc"] else ""
    got = error["input"]
    if where == "type":
        return f"there is no type `{got}`"
    if where == "name":
        return f"`{got}` is no name for a task: small letters, digits and single hyphens between them are"
    if where == "function":
        return f"`{got}` is no function: write module:function"
    return f"`{got}` has not the form that is needed here"


def _discriminator(context: dict[str, Any]) -> str:
    return str(context.get("discriminator", "")).strip("'").replace("_content_kind()", "content")


def _hint(errors: Sequence[ErrorDetails]) -> str | None:
    for error in errors:
        context = error.get("ctx", {})
        if error["type"] == "union_tag_invalid":
            known = re.findall(r"'([^']+)'", str(context.get("expected_tags", "")))
            return did_you_mean(str(context.get("tag")), known)
        if error["type"] == "literal_error" and isinstance(error["input"], str):
            return did_you_mean(error["input"], re.findall(r"'([^']+)'", str(context["expected"])))
        if error["type"] == "string_pattern_mismatch" and error["loc"][-1] == "type":
            known = ["string", "integer", "number", "boolean", "object", "any", "enum", "list", "list[string]"]
            return did_you_mean(_TYPE_WORDS.get(str(error["input"]), str(error["input"])), known)
    return None


_TYPE_WORDS = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "array": "list",
}


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the text "{value[:40]}{"…" if len(value) > 40 else ""}"'
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else str(value)


def _still_checked(data: dict[Any, Any], document: Document, path: Path) -> list[Diagnostic]:
    """What can be said of templates and patterns though some key is wrong: all but the wrong parts is checked."""
    good = {key: value for key, value in data.items() if key in TaskSpec.model_fields}
    for _ in range(len(good)):
        try:
            spec = TaskSpec.model_validate(good)
        except ValidationError as error:
            bad = {e["loc"][0] for e in error.errors(include_url=False) if e["type"] != "missing"}
            if not bad & good.keys() or bad & {
                "inputs",
                "params",
                "vars",
                "draw",
                "format_input",
                "outputs",
                "format_output",
            }:
                return []
            good = {key: value for key, value in good.items() if key not in bad}
        else:
            return check_spec(spec, document, path.resolve().parent)
    return []


def _name_of(path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    return name or "task"


def _sorted(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    return sorted(dict.fromkeys(diagnostics), key=lambda d: (d.file, d.line, d.column))

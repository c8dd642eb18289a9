"""Convert pydantic's errors to clear messages, one per value, with positions in the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.diagnostics import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic_core import ErrorDetails

    from distask.diagnostics import Diagnostic
    from distask.spec.document import Document

    Misplaced = Callable[[tuple[Any, ...], str], str | None]
    Known = Callable[[tuple[Any, ...]], list[str]]

Place = tuple[Any, ...]
"""The keys and indices from the root to a value."""


class Fault(Struct, frozen=True):
    """One error in the data."""

    path: Place
    """Path to the value; to the key if `kind` is "unknown", to the mapping if it is "missing"."""
    kind: str
    """ "unknown" or "missing" key, "key" that is not text, or invalid "value"."""
    message: str
    hint: str | None = None
    key: str | None = None
    """The missing key, or the likely correct name of the unknown key."""
    inside: str | None = None
    """The key in the value that causes the error."""

    def diagnostic(self, document: Document) -> Diagnostic:
        """Return the fault with its position."""
        if self.inside is not None:
            return document.diagnostic((*self.path, self.inside), self.message, self.hint)
        at_key = self.kind in ("unknown", "key", "missing")
        length = 1 if self.kind == "missing" and not self.path else None
        return document.diagnostic(self.path, self.message, self.hint, key=at_key, length=length)


def model_faults(
    errors: Sequence[ErrorDetails],
    data: Any,
    known: Known,
    misplaced: Misplaced = lambda _path, _key: None,
    synonyms: dict[str, str] | None = None,
) -> list[Fault]:
    """Convert pydantic's errors, one fault per value.

    Args:
        errors: The errors of a `ValidationError`.
        data: The validated data.
        known: Returns the valid keys of a mapping at a location of the models.
        misplaced: Returns the hint for a misplaced key, by its path and name.
        synonyms: Other names that people use for a key.
    """
    found: list[Fault] = []
    for path, there in _by_value(errors, data).items():
        kinds = {e["type"] for e in there}
        if "extra_forbidden" in kinds:
            found += _unknown(path, there, data, known, misplaced, synonyms or {})
        elif kinds & {"invalid_key"} or any(e["loc"][-1:] == ("[key]",) for e in there):
            found.append(Fault(path, "key", f"a key must be text, not {shown(path[-1])}", _quoted(path[-1])))
        elif "missing" in kinds:
            found += _missing(path, there)
        else:
            found.append(Fault(path, "value", _explained(there), _hint(there), inside=_inside(there)))
    return found


def model_diagnostics(
    errors: Sequence[ErrorDetails], document: Document, known: Known, misplaced: Misplaced = lambda _path, _key: None
) -> list[Diagnostic]:
    """Return `model_faults` as diagnostics with positions."""
    return [f.diagnostic(document) for f in model_faults(errors, document.data, known, misplaced)]


def _by_value(errors: Sequence[ErrorDetails], data: Any) -> dict[Place, list[ErrorDetails]]:
    """Group errors by value; for a union, keep only the best matching member."""
    by_place: dict[Place, list[ErrorDetails]] = {}
    for error in errors:
        by_place.setdefault(_path(data, error), []).append(error)
    deeper = {path[:n] for path in by_place for n in range(len(path))}
    return {
        path: there
        for path, there in by_place.items()
        if not (path in deeper and all(_is_wrong_type(e) for e in there))
    }


def _is_wrong_type(error: ErrorDetails) -> bool:
    return error["type"] in _WANTED


def _path(data: Any, error: ErrorDetails) -> Place:
    """Return the part of pydantic's location that exists in the data, without the names of union members."""
    location = error["loc"]
    if error["type"] == "missing":
        location = location[:-1]
    return max(_paths(data, tuple(location)), key=lambda p: (location[-1:] == p[-1:], len(p)), default=())


def _paths(data: Any, location: Place) -> Iterator[Place]:
    if not location:
        yield ()
        return
    first, rest = location[0], location[1:]
    is_index = isinstance(data, list) and isinstance(first, int) and first < len(data)
    keys = [k for k in data if k == first or str(k) == first] if isinstance(data, dict) else [first] if is_index else []
    for key in keys:
        yield from ((key, *path) for path in _paths(data[key], rest))
    if not is_index:
        yield from _paths(data, rest)


def _unknown(
    path: Place,
    errors: list[ErrorDetails],
    data: Any,
    known: Known,
    misplaced: Misplaced,
    synonyms: dict[str, str],
) -> list[Fault]:
    key = str(path[-1])
    keys = known(errors[0]["loc"][:-1])
    around = _at(data, path[:-1])
    beside = [k for k in keys if not isinstance(around, dict) or k not in around]
    message = f"unknown key `{key}`"
    meant = synonyms.get(key)
    if meant not in beside and (hint := misplaced(path, key)) is not None:
        return [Fault(path, "unknown", message, hint)]
    close = meant if meant in beside else nearest(key, keys)
    hint = f"did you mean `{close}`?" if close else did_you_mean(key, beside or keys)
    return [Fault(path, "unknown", message, hint, close if close in beside else None)]


def _missing(path: Place, errors: list[ErrorDetails]) -> list[Fault]:
    keys = list(dict.fromkeys(str(e["loc"][-1]) for e in errors))
    return [Fault(path, "missing", f"the key `{key}` is missing", None, key) for key in keys]


def _inside(errors: list[ErrorDetails]) -> str | None:
    return next((_discriminator(e["ctx"]) for e in errors if e["type"] == "union_tag_invalid"), None)


def _at(data: Any, path: Place) -> Any:
    for step in path:
        data = data[step]
    return data


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_TEXT_OF_A_NUMBER = re.compile(r"[-+]?[0-9.]+")


def _explained(errors: list[ErrorDetails]) -> str:
    wanted = list(dict.fromkeys(_WANTED[e["type"]] for e in errors if e["type"] in _WANTED))
    other = next((e for e in errors if e["type"] not in _WANTED), None)
    if other is not None:
        return _explain_other(other)
    if "a number" in wanted and "a whole number" in wanted:
        wanted.remove("a whole number")
    return f"expected {_or(wanted)}, got {shown(errors[0]['input'])}"


def _explain_other(error: ErrorDetails) -> str:
    kind, context, got = error["type"], error.get("ctx", {}), error["input"]
    if kind == "literal_error":
        return f"expected {_or([f'`{w}`' for w in _quoted_words(context['expected'])])}, got {shown(got)}"
    if kind == "union_tag_invalid":
        return f"unknown {_discriminator(context)} `{context['tag']}`"
    if kind == "union_tag_not_found":
        if _discriminator(context) == "step":
            return f"this is not a step: {_no_step(got)}"
        if isinstance(got, dict):
            return f"the key `{_discriminator(context)}` is missing"
        return f"expected a mapping with `{_discriminator(context)}`, got {shown(got)}"
    if kind == "string_pattern_mismatch":
        return _explain_pattern(error)
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"expected {words} {context[bound]:g}, got {shown(got)}"
    if kind == "too_short":
        return "this is empty" if not got else f"expected {_entries(context['min_length'])}, got {len(got)}"
    if kind == "too_long":
        return f"expected {_entries(context['max_length'])}, got {len(got)}"
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    return "this value has the wrong format"


_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def _explain_pattern(error: ErrorDetails) -> str:
    where, got = error["loc"][-1], shown(error["input"])
    if where == "type":
        return f"unknown type `{error['input']}`"
    if where == "name":
        return f"{got} is not a valid task name: use lowercase letters, digits and single hyphens"
    if where == "function":
        return f"expected module:function, got {got}"
    return f"{got} has the wrong format"


def _hint(errors: list[ErrorDetails]) -> str | None:
    for error in errors:
        kind, got, context = error["type"], error["input"], error.get("ctx", {})
        if kind == "union_tag_invalid":
            return did_you_mean(str(context["tag"]), _quoted_words(context["expected_tags"]))
        if kind == "union_tag_not_found" and _discriminator(context) == "step":
            return _step_hint(got)
        if kind == "union_tag_not_found" and isinstance(got, str):
            return f"write {{{_discriminator(context)}: {got}}}"
        if kind == "literal_error" and isinstance(got, str):
            close = nearest(got, _quoted_words(context["expected"]))
            return f"did you mean `{close}`?" if close else None
        if kind == "literal_error" and got is None and "null" in _quoted_words(context["expected"]):
            return 'put quotes around it: "null"'
        if kind == "string_pattern_mismatch" and error["loc"][-1] == "type":
            return _type_hint(str(got))
        if kind == "string_pattern_mismatch" and error["loc"][-1] == "name" and isinstance(got, str):
            slug = slugified(got)
            return f"did you mean `{slug}`?" if slug else None
    got, kinds = errors[0]["input"], {e["type"] for e in errors}
    if got is None:
        return "remove the key, or set a value"
    if "string_type" in kinds and isinstance(got, int | float) and all(map(_is_wrong_type, errors)):
        return f'put quotes around it: "{shown_value(got)}"'
    if "string_type" in kinds and _is_template(got):
        return "put quotes around a template"
    if isinstance(got, str) and kinds & {"int_type", "float_type"} and _TEXT_OF_A_NUMBER.fullmatch(got):
        return "remove the quotes"
    if "bool_type" in kinds and isinstance(got, str) and got.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f"`{got}` is text in YAML 1.2; write {'true' if got.lower() in ('yes', 'on', 'y') else 'false'}"
    return None


def _is_template(value: Any) -> bool:
    """Return whether the value is an unquoted `{{ x }}`, which YAML reads as a mapping."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value.values())) is None


def _type_hint(got: str) -> str | None:
    known = ["string", "integer", "number", "boolean", "object", "any", "enum", "list", "list[string]"]
    word = _TYPE_WORDS.get(got.lower())
    return f"did you mean `{word}`?" if word else did_you_mean(got, known)


_TYPE_WORDS = {
    "str": "string",
    "text": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "dict": "object",
    "map": "object",
    "mapping": "object",
    "array": "list",
    "list[str]": "list[string]",
    "list[int]": "list[integer]",
    "list[float]": "list[number]",
}


def slugified(text: str) -> str:
    """Convert text to lowercase letters, digits and single hyphens; the result may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _quoted(key: Any) -> str:
    return f'put quotes around it: "{shown_value(key)}"'


def _quoted_words(text: Any) -> list[str]:
    return re.findall(r"'([^']+)'", str(text))


def _discriminator(context: dict[str, Any]) -> str:
    name = str(context.get("discriminator", "")).strip("'")
    for function, key in (("_content_kind", "content"), ("_step_kind", "step")):
        if name.startswith(function):
            return key
    return name


def _no_step(got: Any) -> str:
    if not isinstance(got, dict):
        return f"expected a mapping, got {shown(got)}"
    from distask.spec.language.steps import STEPS

    return f"it has none of {', '.join(f'`{kind}`' for kind in STEPS)}"


def _step_hint(got: Any) -> str | None:
    from distask.spec.language.steps import STEPS

    words = list(got) if isinstance(got, dict) else []
    if isinstance(got, str):
        return f"write {{{got}: ...}}" if got in STEPS else f"write {{task: {got}}}"
    meant = [close for word in words if (close := nearest(str(word), STEPS)) is not None]
    return f"did you mean `{meant[0]}`?" if meant else None


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shown(value: Any) -> str:
    """Describe a value in a sentence: `the text "a"`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return shown_value(value)
    if isinstance(value, str):
        return f'the text "{value[:40]}{"…" if len(value) > 40 else ""}"'
    if isinstance(value, int | float):
        return f"the number {shown_value(value)}"
    return "a list" if isinstance(value, list) else "a mapping"


def shown_value(value: Any) -> str:
    """Format a scalar as YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"

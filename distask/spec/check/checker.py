"""Check what every kind of task has: names in templates and expressions, types against bounds, params, draws.

The models can't see these; what only one kind has is `check`'s (one call) or `flow`'s (steps).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.diagnostics import Diagnostic, did_you_mean, nearest
from distask.spec.check.expressions import GLOBALS, Include, Name, Syntax, read_expression, read_template
from distask.spec.check.faults import shown
from distask.spec.language.model import IDENTIFIER, Output

if TYPE_CHECKING:
    from pathlib import Path

    from distask.spec.document import Document
    from distask.spec.language.model import Draw, Spec, Typed

Place = tuple[Any, ...]
At = Callable[[int, int, str, str | None], Diagnostic]
"""A fault by its offset in a template, its length, message and hint."""

OWN_COLUMNS = ("model_name", "distask_metadata")
"""Columns that every run adds."""

MAX_INCLUDED = 1 << 20
"""Bytes of an included file."""

MAX_TEMPLATES = 1 << 20
"""Characters of all templates and expressions of a spec, those of its files counted each time they are included."""

MAX_TOLD = 100
"""Faults that are told at once; who made more has a file of another kind."""

MAPPINGS = frozenset({"params", "vars", "draw", "row"})
"""Names that stand for many."""
_NUMBERS = {"integer", "number"}
_KEYWORDS_OF: dict[str, set[str]] = {
    "minimum": _NUMBERS,
    "maximum": _NUMBERS,
    "exclusiveMinimum": _NUMBERS,
    "exclusiveMaximum": _NUMBERS,
    "multipleOf": _NUMBERS,
    "minLength": {"string"},
    "maxLength": {"string"},
    "pattern": {"string"},
    "format": {"string"},
    "items": {"list"},
    "minItems": {"list"},
    "maxItems": {"list"},
    "uniqueItems": {"list"},
    "properties": {"object"},
    "additionalProperties": {"object"},
}
"""JSON Schema's keywords, and the types that they say something about; beside a list, those of its items stand too."""

_JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")

_PAIRS = (
    ("minimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
)


class Scope(Struct, frozen=True):
    """The names that a template may read."""

    known: frozenset[str]
    what: str
    """What they are, for the message."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Names that are there, but not to be seen here, and why."""
    open: bool = False
    """Whether there may be more names, since what defines them can't be read."""

    def plus(self, *names: str) -> Scope:
        """With more names."""
        return replace(self, known=self.known | set(names))


class Checker:
    """Finds the faults of one spec; `found` holds them.

    `aside` are the places where something else stands for what can't be read; nothing is told of what hangs on them.
    """

    def __init__(
        self,
        spec: Spec,
        outputs: Mapping[str, Output],
        document: Document,
        folder: Path,
        aside: tuple[Place, ...],
    ) -> None:
        self._declared = spec
        self._outputs = outputs
        self.document = document
        self.folder = folder
        self.aside = aside
        self.found: list[Diagnostic] = []
        self._included: dict[str, str | None] = {}
        self._templates = 0
        self._visiting: tuple[str, ...] = ()
        self._names_known = not any(
            path[:1] in [(k,) for k in ("inputs", "params", "vars", "draw")] and (len(path) == 1 or self._is_key(path))
            for path in aside
        )
        self._outputs_known = ("outputs",) not in aside
        self._fixed = Scope(
            frozenset({*spec.params, *spec.vars, "params", "vars"}),
            "a param or a var",
            dict.fromkeys(spec.inputs, "it is an input; `when` is settled before there is a row")
            | dict.fromkeys(spec.draw, "it is drawn for each row; `when` is settled before there is a row")
            | dict.fromkeys(outputs, "it is an output, which only `checks` and computed `columns` see"),
        )

    def _declarations(self) -> None:
        """Check what is declared: inputs, params, draws."""
        self._names()
        for name, typed in self._declared.inputs.items():
            self._typed(("inputs", name), typed)
            self._expression(("inputs", name, "when"), typed.when, self._fixed)
            if typed.default is not None and typed.required and self._declared.inputs[name].required is True:
                self._default_of_required(name)
        for name, param in self._declared.params.items():
            self._typed(("params", name), param)
        seen = self._fixed.plus("draw")
        for name, draw in self._declared.draw.items():
            self._draw(("draw", name), draw, seen)
            seen = seen.plus(name)

    def _declared_outputs(self) -> None:
        for name, output in self._outputs.items():
            self._typed(("outputs", name), output)
            self._expression(("outputs", name, "when"), output.when, self._fixed)

    # what is told

    def _tell(
        self,
        path: Place,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
        offset: int | None = None,
        length: int | None = None,
    ) -> None:
        if not self._is_aside(path):
            self.found.append(self.document.diagnostic(path, message, hint, key=key, offset=offset, length=length))

    def _is_aside(self, path: Place) -> bool:
        """Whether the place, or something in it or around it, could not be read."""
        return any(path[: len(a)] == a or a[: len(path)] == path for a in self.aside)

    def _is_key(self, path: Place) -> bool:
        """Whether a name itself was put aside, and not a part of what it stands for."""
        return len(path) == 2 and path[1] not in getattr(self._declared, path[0])

    # names and templates

    def _expression(self, path: Place, source: str | None, seen: Scope) -> None:
        if source is not None and self._is_within(source, path):
            self._syntax(read_expression(source), seen, self._at(path), "the expression", path)

    def _template(self, path: Place, source: str, seen: Scope) -> None:
        if self._is_within(source, path):
            self._syntax(read_template(source), seen, self._at(path), "the template", path)

    def _is_within(self, source: str, path: Place) -> bool:
        """Whether a template is still to be read; the first that is one too many is told."""
        before, self._templates = self._templates, self._templates + len(source)
        if before <= MAX_TEMPLATES < self._templates:
            self._tell(path, f"the templates of the task are longer than {MAX_TEMPLATES:,} characters together")
        return self._templates <= MAX_TEMPLATES and len(self.found) < MAX_TOLD

    def _at(self, path: Place) -> At:
        def at(offset: int, length: int, message: str, hint: str | None) -> Diagnostic:
            return self.document.diagnostic(path, message, hint, offset=offset, length=length)

        return at

    def _syntax(
        self,
        syntax: Syntax,
        seen: Scope,
        at: At,
        what: str,
        path: Place,
    ) -> None:
        if self._is_aside(path):
            return
        self.found += [at(f.offset, f.length, f.message, f.hint) for f in syntax.faults[:MAX_TOLD]]
        told: set[str] = set()
        for name in syntax.names:
            if len(told) >= MAX_TOLD:
                break
            if (fault := self._unknown(name, seen, what)) is not None and fault[2] not in told:
                told.add(fault[2])
                offset, length = fault[:2]
                self.found.append(at(offset, length, fault[2], fault[3]))
        for include in syntax.includes:
            self._include(include, seen, at, path)

    def _unknown(self, name: Name, seen: Scope, what: str) -> tuple[int, int, str, str | None] | None:
        if name.name not in seen.known and name.name not in GLOBALS:
            if not self._names_known or seen.open:
                return None
            message = f"{what} reads `{name.name}`, which is not {seen.what}"
            hint = seen.elsewhere.get(name.name) or did_you_mean(name.name, sorted(seen.known - MAPPINGS))
            return name.offset, len(name.name), message, self._hyphenated(name.name) or hint
        if name.attribute is None or name.name not in ("params", "vars", "draw") or self._is_aside((name.name,)):
            return None
        members: Mapping[str, Any] = getattr(self._declared, name.name)
        if name.attribute in members:
            return None
        message = f"{what} reads `{name.name}.{name.attribute}`, which is not there"
        return name.attribute_offset, len(name.attribute), message, did_you_mean(name.attribute, members)

    def _hyphenated(self, name: str) -> str | None:
        """A column with hyphens is a subtraction to Jinja."""
        whole = [c for c in (*self._declared.inputs, *self._outputs) if "-" in c and name in c.split("-")]
        return f'write `row["{whole[0]}"]`: `-` subtracts' if whole else None

    def _include(
        self,
        include: Include,
        seen: Scope,
        at: At,
        path: Place,
    ) -> None:
        if include.path is None:
            return
        text = self._file(
            include.path, lambda m, h: at(include.offset, len(include.path or ""), m, h), include.optional
        )
        if text is not None:
            inner = seen.plus(*include.seen) if include.seen is not None else Scope(frozenset(), "seen in an import")
            self._file_template(include.path, text, inner, path)

    def _file_template(self, name: str, text: str, seen: Scope, path: Place) -> None:
        if name in self._visiting or not self._is_within(text, path):
            return
        file = str(_beside(self.document.file, name))
        lines = text.split("\n")

        def at(offset: int, length: int, message: str, hint: str | None) -> Diagnostic:
            before = text[:offset]
            line = before.count("\n")
            column = offset - (before.rfind("\n") + 1)
            return Diagnostic(file, line + 1, column + 1, message, hint, lines[line], length)

        around = self._visiting
        self._visiting = (*around, name)
        self._syntax(read_template(text), seen, at, "the template", path)
        self._visiting = around

    def _file(self, name: str, tell: Callable[[str, str | None], Diagnostic], optional: bool = False) -> str | None:
        """The text of a file below the spec's folder; None where there is none, which is told once."""
        if name in self._included:
            return self._included[name]
        self._included[name] = None
        refused = outside(name, self.folder)
        if refused is not None:
            self.found.append(tell(refused, "a spec reads only files of its own folder and below"))
            return None
        path = self.folder / name
        if not path.is_file():
            if not optional:
                what = "is a folder" if path.is_dir() else "is not there"
                self.found.append(tell(f"the file `{name}` {what}", _nearest_file(path, self.folder)))
            return None
        try:
            if path.stat().st_size > MAX_INCLUDED:
                self.found.append(tell(f"the file `{name}` is larger than {MAX_INCLUDED >> 20} MiB", None))
                return None
            text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        except OSError as error:
            self.found.append(tell(f"the file `{name}` can't be read: {error.strerror}", None))
        except UnicodeDecodeError:
            self.found.append(tell(f"the file `{name}` is not UTF-8", "save it as UTF-8"))
        else:
            self._included[name] = text
        return self._included[name]

    def _names(self) -> None:
        for kind in ("inputs", "params", "draw", "outputs"):
            for name in self._outputs if kind == "outputs" else getattr(self._declared, kind):
                if kind != "outputs" and name in MAPPINGS | GLOBALS | {"true", "false", "none"}:
                    hint = "give it another name; `input_mappings` leads to the column" if kind == "inputs" else None
                    self._tell((kind, name), f"`{name}` has a meaning of its own in templates", hint, key=True)
                elif kind in ("params", "draw") and not re.fullmatch(IDENTIFIER, name):
                    self._tell(
                        (kind, name), f"`{name}` can't be read in a template", "use letters, digits and _", key=True
                    )
                elif not name.strip():
                    self._tell((kind, name), "the column has no name", key=True)
        for name in self._declared.draw:
            for kind, word in (("inputs", "an input"), ("params", "a param")):
                if name in getattr(self._declared, kind):
                    self._tell(
                        ("draw", name), f"`{name}` is {word} and a draw", "give one of them another name", key=True
                    )

    # types

    def _typed(self, path: Place, typed: Typed) -> None:
        if any(a[: len(path)] == path for a in self.aside):
            return
        if typed.schema_ is not None:
            if typed.type is not None:
                self._tell(
                    (*path, "type"), "`type` and `schema` say the same thing twice", "keep one of them", key=True
                )
            if isinstance(typed.schema_, str):
                self._expression((*path, "schema"), typed.schema_, self._fixed)
            else:
                self._schema((*path, "schema"), typed.schema_)
            return
        kind = typed.type or ("enum" if typed.choices is not None else "string")
        if _innermost(kind) == "enum":
            if typed.choices is None:
                self._tell((*path, "type"), "an enum needs `choices`", "list the values that are allowed")
        elif typed.choices is not None:
            for index, choice in enumerate(typed.choices):
                if not _fits(choice, _innermost(kind)):
                    told = f"{shown(choice)} is not {article(_innermost(kind))}"
                    self._tell((*path, "choices", index), told)
        self._keywords(path, typed, kind)
        default = getattr(typed, "default", None)
        if default is not None:
            self._default((*path, "default"), default, typed, kind)

    def _keywords(self, path: Place, typed: Typed, kind: str) -> None:
        keywords = typed.keywords()
        outer = "list" if kind.startswith("list") else kind
        said_of = {outer, _innermost(kind)} if kind.startswith("list[") else {outer}
        for keyword in keywords:
            wanted = _KEYWORDS_OF.get(keyword)
            if wanted is None or said_of & wanted or kind == "any":
                continue
            told = f"`{keyword}` says nothing about {article(kind)}"
            hint = None if typed.type else f"give it `type: {min(wanted)}`"
            self._tell(self._keyword_path(path, keyword), told, hint, key=True)
        for low, high in _PAIRS:
            if low in keywords and high in keywords and keywords[low] > keywords[high]:
                told = f"`{low}` is {keywords[low]:g}, more than `{high}`, which is {keywords[high]:g}"
                self._tell(self._keyword_path(path, low), told, "no value can be right")
        if typed.pattern is not None:
            self._pattern((*path, "pattern"), typed.pattern)
        for keyword in ("items", "properties"):
            value = keywords.get(keyword)
            if isinstance(value, dict):
                self._schema((*path, keyword), value if keyword == "items" else {"properties": value})

    def _keyword_path(self, path: Place, keyword: str) -> Place:
        """The keyword as the file writes it: `minLength` or `min_length`."""
        snake = re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", keyword)
        data = self.document.data
        for step in path:
            data = data.get(step, {}) if isinstance(data, dict) else {}
        return (*path, snake if isinstance(data, dict) and keyword not in data and snake in data else keyword)

    def _default(self, path: Place, default: Any, typed: Typed, kind: str) -> None:
        if typed.choices is not None and not kind.startswith("list"):
            if default not in typed.choices:
                words = [str(c) for c in typed.choices]
                self._tell(
                    path, f"the default, {shown(default)}, is not one of `choices`", did_you_mean(str(default), words)
                )
            return
        if not _fits(default, kind):
            self._tell(path, f"the default, {shown(default)}, is not {article(kind)}")
            return
        bounds: tuple[tuple[float | None, Callable[[float], bool], str], ...] = (
            (typed.minimum, lambda least: default < least, "less than `minimum`"),
            (typed.maximum, lambda most: default > most, "more than `maximum`"),
            (typed.exclusive_minimum, lambda least: default <= least, "not more than `exclusiveMinimum`"),
            (typed.exclusive_maximum, lambda most: default >= most, "not less than `exclusiveMaximum`"),
        )
        if isinstance(default, int | float) and not isinstance(default, bool):
            for bound, breaks, said in bounds:
                if bound is not None and breaks(bound):
                    self._tell(path, f"the default, {default:g}, is {said}, which is {bound:g}")
        if isinstance(default, str) and typed.min_length is not None and len(default) < typed.min_length:
            self._tell(path, f"the default is shorter than `minLength`, which is {typed.min_length}")
        if isinstance(default, str) and typed.max_length is not None and len(default) > typed.max_length:
            self._tell(path, f"the default is longer than `maxLength`, which is {typed.max_length}")

    def _default_of_required(self, name: str) -> None:
        data = self.document.data["inputs"].get(name) if isinstance(self.document.data.get("inputs"), dict) else None
        if isinstance(data, dict) and data.get("required") is True:
            told = "a required column has no use for a default"
            self._tell(("inputs", name, "default"), told, "write `required: false`, or leave the default out", key=True)

    def _schema(self, path: Place, schema: Any) -> None:
        import jsonschema_rs

        from distask.spec.check.json_schemas import SchemaError, check_schema

        try:
            jsonschema_rs.meta.validate(schema)
            check_schema(schema)
        except SchemaError as error:
            self._tell((*path, *error.path[1 if path[-1:] == ("properties",) else 0 :]), str(error))
        except jsonschema_rs.ValidationError as error:
            inner = list(error.instance_path)[1 if path[-1:] == ("properties",) else 0 :]
            value = getattr(error, "instance", None)
            if inner[-1:] == ["type"] and isinstance(value, str):
                self._tell((*path, *inner), f"JSON Schema has no type `{value}`", did_you_mean(value, _JSON_TYPES))
            else:
                self._tell((*path, *inner), f"this is no JSON Schema: {str(error.message).splitlines()[0]}")
        except ValueError as error:
            self._tell(path, f"this is no JSON Schema: {str(error).splitlines()[0]}")

    def _draw(self, path: Place, draw: Draw, seen: Scope) -> None:
        if (draw.options is None) == (draw.range is None):
            self._tell(path, "a draw has either `options` or `range`", key=True)
            return
        if draw.range is not None and draw.range[0] > draw.range[1]:
            self._tell(
                (*path, "range"), f"the range ends below its begin: {draw.range[0]:g} is more than {draw.range[1]:g}"
            )
        for key in ("options", "weights"):
            if isinstance(value := getattr(draw, key), str):
                self._expression((*path, key), value, seen)
        if draw.weights is None:
            return
        if draw.options is None:
            self._tell((*path, "weights"), "`weights` needs `options`", key=True)
        elif isinstance(draw.weights, str) or isinstance(draw.options, str):
            return
        elif len(draw.weights) != len(draw.options):
            told = f"there are {len(draw.options)} options and {len(draw.weights)} weights"
            self._tell((*path, "weights"), told, "write one weight an option")
        elif any(w < 0 for w in draw.weights) or not sum(draw.weights) > 0:
            self._tell((*path, "weights"), "weights are not negative, and one of them is more than 0")

    def _pattern(self, path: Place, pattern: str, flags: str = "", flags_path: Place = ()) -> tuple[str, ...] | None:
        """The pattern's groups; None where it is wrong, which is told."""
        from distask.spec.check.patterns import FLAGS, PatternError, compile_pattern

        if unknown := sorted(set(flags) - FLAGS.keys()):
            self._tell(flags_path, f"there is no flag `{unknown[0]}`", f"known: {', '.join(FLAGS)}")
            flags = "".join(f for f in flags if f in FLAGS)
        try:
            return compile_pattern(pattern, flags).groups
        except PatternError as error:
            self._tell(path, f"the pattern is wrong: {error}", offset=error.position, length=1)
            return None


def outside(name: str, folder: Path) -> str | None:
    """Why a spec may not read a file of this name; None where it may."""
    if not name.strip() or any(c in name for c in "\0\n\r"):
        return "this is no file's name"
    if name.startswith(("/", "\\", "~")) or ":" in name.partition("/")[0] or ".." in re.split(r"[/\\]", name):
        return f"the file `{name}` is outside of the spec's folder"
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return "this is no file's name"
    return None if inside else f"the file `{name}` leads outside of the spec's folder"


def _beside(file: str, name: str) -> Path:
    from pathlib import Path

    return Path(file).parent / name


def _nearest_file(path: Path, folder: Path) -> str | None:
    there = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    close = nearest(path.name, there)
    return f"did you mean `{(path.parent / close).relative_to(folder)}`?" if close else None


def _innermost(kind: str) -> str:
    while kind.startswith("list["):
        kind = kind[len("list[") : -1]
    return kind


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("list["):
        return isinstance(value, list) and all(_fits(item, kind[len("list[") : -1]) for item in value)
    if kind in ("integer", "number"):
        whole = isinstance(value, int) or (isinstance(value, float) and (kind == "number" or value.is_integer()))
        return whole and not isinstance(value, bool)
    types: dict[str, type] = {"string": str, "boolean": bool, "list": list, "object": dict}
    return kind not in types or isinstance(value, types[kind])


def article(kind: str) -> str:
    """A type in a sentence."""
    if kind == "string":
        return "text (type: string)"
    return f"an {kind}" if kind[:1] in "aeio" else f"a {kind}"

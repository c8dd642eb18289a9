"""Check what all tasks declare beyond their models: names, types with limits, params and draws.

`spec` checks single-call tasks; `flow` checks tasks with steps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from distask.diagnostics import did_you_mean
from distask.spec.check.expressions import GLOBALS
from distask.spec.check.faults import shown
from distask.spec.check.templates import MAPPINGS, Place, Scope, TemplateChecker
from distask.spec.language.base import IDENTIFIER

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.spec.language.columns import Design, Draw, Typed

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
"""JSON Schema keywords and the types they apply to; a list also takes the keywords of its items."""

_JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")

_PAIRS = (
    ("minimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
)


class Checker(TemplateChecker):
    """Checks a spec's declarations: inputs, params, draws, outputs and their types."""

    def _declarations(self) -> None:
        """Check inputs, params and draws."""
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
        if self._declared.design is not None:
            self._design(self._declared.design)

    def _declared_outputs(self) -> None:
        for name, output in self._outputs.items():
            self._typed(("outputs", name), output)
            self._expression(("outputs", name, "when"), output.when, self._fixed)

    def _names(self) -> None:
        for kind in ("inputs", "params", "draw", "outputs"):
            for name in self._outputs if kind == "outputs" else getattr(self._declared, kind):
                if kind != "outputs" and name in MAPPINGS | GLOBALS | {"true", "false", "none"}:
                    hint = "rename it, and map it to the column with `input_mappings`" if kind == "inputs" else None
                    self._report((kind, name), f"`{name}` is a reserved name in templates", hint, key=True)
                elif kind in ("params", "draw") and not re.fullmatch(IDENTIFIER, name):
                    self._report(
                        (kind, name), f"`{name}` is not a valid template name", "use letters, digits and _", key=True
                    )
                elif not name.strip():
                    self._report((kind, name), "the column has no name", key=True)
        for name in self._declared.draw:
            for kind, word in (("inputs", "an input"), ("params", "a param")):
                if name in getattr(self._declared, kind):
                    self._report(("draw", name), f"`{name}` is both {word} and a draw", "rename one of them", key=True)

    def _typed(self, path: Place, typed: Typed) -> None:
        if any(a[: len(path)] == path for a in self.aside):
            return
        if typed.schema_ is not None:
            if typed.type is not None:
                self._report((*path, "type"), "`type` and `schema` can't be combined", "remove one of them", key=True)
            if isinstance(typed.schema_, str):
                self._expression((*path, "schema"), typed.schema_, self._fixed)
            else:
                self._schema((*path, "schema"), typed.schema_)
            return
        kind = typed.type or ("enum" if typed.choices is not None else "string")
        if _innermost(kind) == "enum":
            if typed.choices is None:
                self._report((*path, "type"), "an enum needs `choices`", "list the allowed values")
        elif typed.choices is not None:
            for index, choice in enumerate(typed.choices):
                if not _fits(choice, _innermost(kind)):
                    problem = f"{shown(choice)} is not {article(_innermost(kind))}"
                    self._report((*path, "choices", index), problem)
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
            problem = f"`{keyword}` does not apply to {article(kind)}"
            hint = None if typed.type else f"set `type: {min(wanted)}`"
            self._report(self._keyword_path(path, keyword), problem, hint, key=True)
        for low, high in _PAIRS:
            if low in keywords and high in keywords and keywords[low] > keywords[high]:
                problem = f"`{low}` ({keywords[low]:g}) is greater than `{high}` ({keywords[high]:g})"
                self._report(self._keyword_path(path, low), problem, "no value is valid")
        if typed.pattern is not None:
            self._pattern((*path, "pattern"), typed.pattern)
        for keyword in ("items", "properties"):
            value = keywords.get(keyword)
            if isinstance(value, dict):
                self._schema((*path, keyword), value if keyword == "items" else {"properties": value})

    def _keyword_path(self, path: Place, keyword: str) -> Place:
        """Return the path to a keyword as written in the file: `minLength` or `min_length`."""
        snake = re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", keyword)
        data = self.document.data
        for step in path:
            data = data.get(step, {}) if isinstance(data, dict) else {}
        return (*path, snake if isinstance(data, dict) and keyword not in data and snake in data else keyword)

    def _default(self, path: Place, default: Any, typed: Typed, kind: str) -> None:
        if typed.choices is not None and not kind.startswith("list"):
            if default not in typed.choices:
                words = [str(c) for c in typed.choices]
                self._report(
                    path, f"the default is not one of `choices`: {shown(default)}", did_you_mean(str(default), words)
                )
            return
        if not _fits(default, kind):
            self._report(path, f"the default is not {article(kind)}: {shown(default)}")
            return
        bounds: tuple[tuple[float | None, Callable[[float], bool], str], ...] = (
            (typed.minimum, lambda least: default < least, "less than `minimum`"),
            (typed.maximum, lambda most: default > most, "more than `maximum`"),
            (typed.exclusive_minimum, lambda least: default <= least, "not more than `exclusiveMinimum`"),
            (typed.exclusive_maximum, lambda most: default >= most, "not less than `exclusiveMaximum`"),
        )
        if isinstance(default, int | float) and not isinstance(default, bool):
            for bound, breaks, described in bounds:
                if bound is not None and breaks(bound):
                    self._report(path, f"the default, {default:g}, is {described}, which is {bound:g}")
        if isinstance(default, str) and typed.min_length is not None and len(default) < typed.min_length:
            self._report(path, f"the default is shorter than `minLength`, which is {typed.min_length}")
        if isinstance(default, str) and typed.max_length is not None and len(default) > typed.max_length:
            self._report(path, f"the default is longer than `maxLength`, which is {typed.max_length}")

    def _default_of_required(self, name: str) -> None:
        data = self.document.data["inputs"].get(name) if isinstance(self.document.data.get("inputs"), dict) else None
        if isinstance(data, dict) and data.get("required") is True:
            problem = "a required column can't have a default"
            self._report(("inputs", name, "default"), problem, "set `required: false`, or remove the default", key=True)

    def _schema(self, path: Place, schema: Any) -> None:
        import jsonschema_rs

        from distask.spec.check.json_schemas import SchemaError, check_schema

        try:
            jsonschema_rs.meta.validate(schema)
            check_schema(schema)
        except SchemaError as error:
            self._report((*path, *error.path[1 if path[-1:] == ("properties",) else 0 :]), str(error))
        except jsonschema_rs.ValidationError as error:
            inner = list(error.instance_path)[1 if path[-1:] == ("properties",) else 0 :]
            value = getattr(error, "instance", None)
            if inner[-1:] == ["type"] and isinstance(value, str):
                self._report((*path, *inner), f"JSON Schema has no type `{value}`", did_you_mean(value, _JSON_TYPES))
            else:
                self._report((*path, *inner), f"invalid JSON Schema: {str(error.message).splitlines()[0]}")
        except ValueError as error:
            self._report(path, f"invalid JSON Schema: {str(error).splitlines()[0]}")

    def _draw(self, path: Place, draw: Draw, seen: Scope) -> None:
        if (draw.options is None) == (draw.range is None):
            self._report(path, "a draw needs either `options` or `range`", key=True)
            return
        if draw.range is not None and draw.range[0] > draw.range[1]:
            self._report(
                (*path, "range"), f"the range is reversed: {draw.range[0]:g} is greater than {draw.range[1]:g}"
            )
        grid = () if self._declared.design is None else self._declared.design.grid
        fixed = draw.sampling != "random" or path[1] in grid
        for key in ("options", "weights"):
            if isinstance(value := getattr(draw, key), str):
                self._expression((*path, key), value, self._fixed if fixed else seen)
        if fixed and draw.range is not None and not all(isinstance(end, int) for end in draw.range):
            problem = "a range with fractions has no options that can be counted"
            self._report((*path, "range"), problem, "write two whole numbers, or list the values in `options`")
        if draw.weights is None:
            return
        if draw.options is None:
            self._report((*path, "weights"), "`weights` needs `options`", key=True)
        elif isinstance(draw.weights, str) or isinstance(draw.options, str):
            return
        elif len(draw.weights) != len(draw.options):
            problem = f"there are {len(draw.options)} options and {len(draw.weights)} weights"
            self._report((*path, "weights"), problem, "write one weight per option")
        elif any(w < 0 for w in draw.weights) or not sum(draw.weights) > 0:
            self._report((*path, "weights"), "weights can't be negative, and at least one must be positive")
        elif draw.sampling != "random" and not all(float(w).is_integer() for w in draw.weights):
            problem = f"with `sampling: {draw.sampling}`, weights are numbers of rows, which must be whole"
            self._report((*path, "weights"), problem, "write 1, 2 instead of 0.5, 1")

    def _design(self, design: Design) -> None:
        draws, inputs, seen = self._declared.draw, self._declared.inputs, self._fixed.plus("draw")
        for number, name in enumerate(design.grid):
            path = ("design", "grid", number)
            if name not in draws:
                self._report(path, f"`{name}` is not a draw", did_you_mean(name, draws))
            elif name in design.grid[:number]:
                self._report(path, f"`{name}` is in the grid twice", "remove one")
            elif draws[name].weights is not None:
                problem = f"the draw `{name}` has weights, but in a grid all options are used equally often"
                self._report(path, problem, "remove `weights`, and use an expression for `design.rows`")
            elif draws[name].sampling != "random":
                problem = f"the draw `{name}` has both `sampling: {draws[name].sampling}` and a grid"
                self._report(path, problem, "remove one of them")
            seen = seen.plus(name)
        if isinstance(design.rows, str):
            self._expression(("design", "rows"), design.rows, seen)
        if "rows" in design.model_fields_set and not design.grid:
            self._report(("design", "rows"), "`rows` needs `grid`", key=True)
        column = design.seed_column
        if column is not None and column not in inputs:
            self._report(("design", "seed_column"), f"`{column}` is not an input", did_you_mean(column, inputs))

    def _pattern(self, path: Place, pattern: str, flags: str = "", flags_path: Place = ()) -> tuple[str, ...] | None:
        """Return the pattern's groups; report an invalid pattern and return None."""
        from distask.spec.check.patterns import FLAGS, PatternError, compile_pattern

        if unknown := sorted(set(flags) - FLAGS.keys()):
            self._report(flags_path, f"unknown flag `{unknown[0]}`", f"known: {', '.join(FLAGS)}")
            flags = "".join(f for f in flags if f in FLAGS)
        try:
            return compile_pattern(pattern, flags).groups
        except PatternError as error:
            self._report(path, f"invalid pattern: {error}", offset=error.position, length=1)
            return None


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
    """Return a type with its article, for use in a sentence."""
    if kind == "string":
        return "text (type: string)"
    return f"an {kind}" if kind[:1] in "aeio" else f"a {kind}"

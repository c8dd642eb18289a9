"""Check what the models can't see: names in templates, groups in patterns, types against bounds, what fills a column.

Nothing is rendered, run or imported here; golden cases are run by `task.cases`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from distask.spec.aggregation import aggregate_columns, aggregation_faults
from distask.spec.diagnostics import Diagnostic, did_you_mean, nearest
from distask.spec.expressions import GLOBALS, Include, Name, Syntax, read_expression, read_template
from distask.spec.faults import shown
from distask.spec.gallery import configs
from distask.spec.model import IDENTIFIER, FileContent, RawCompletion, StructuredOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from distask.spec.document import Document

    At = Callable[[int, int, str, str | None], Diagnostic]  # by offset in a template, length, message and hint
    from distask.spec.model import Case, Draw, Message, Part, TaskSpec, Typed

Place = tuple[Any, ...]

OWN_COLUMNS = ("model_name", "distask_metadata")
"""Columns that every run adds."""

POSITION = "position"
"""A group of this name says which entry of `align_to` a match is; it is no column."""

PARSED = "parsed"
"""What computed columns call the whole JSON value that was read."""

MAX_INCLUDED = 1 << 20
"""Bytes of an included file."""

MAX_TEMPLATES = 1 << 20
"""Characters of all templates and expressions of a spec, those of its files counted each time they are included."""

MAX_TOLD = 100
"""Faults that are told at once; who made more has a file of another kind."""

_MAPPINGS = frozenset({"params", "vars", "draw", "row"})
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


def check_spec(spec: TaskSpec, document: Document, folder: Path, aside: Sequence[Place] = ()) -> list[Diagnostic]:
    """Every fault of a spec that its models can't see.

    `aside` are the places where something else stands for what can't be read; nothing is told of what hangs on them.
    """
    checker = _Checker(spec, document, folder, tuple(tuple(p) for p in aside))
    checker.check()
    return checker.found


@dataclass(frozen=True, slots=True)
class _Seen:
    """The names that a template may read."""

    known: frozenset[str]
    what: str
    """What they are, for the message."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Names that are there, but not to be seen here, and why."""
    open: bool = False
    """Whether there may be more names, since what defines them can't be read."""

    def plus(self, *names: str) -> _Seen:
        return replace(self, known=self.known | set(names))


class _Checker:
    def __init__(self, spec: TaskSpec, document: Document, folder: Path, aside: tuple[Place, ...]) -> None:
        self.spec = spec
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
        loops = {m.for_each.partition(" in ")[0].strip() for m in spec.format_input if m.for_each}
        outputs = dict.fromkeys(spec.outputs, "it is an output, which only `checks` and computed `columns` see")
        row = {*spec.inputs, *spec.params, *spec.draw, *spec.vars} | _MAPPINGS
        self._row = _Seen(
            frozenset(row),
            "an input, a param, a var or a draw",
            outputs | dict.fromkeys(loops - {""}, "it is the name of a `for_each`, which only its own message sees"),
        )
        self._reply = _Seen(
            frozenset(row | set(spec.outputs) | {"finish_reason", "reply"}),
            "an input, a param, a var, a draw or an output",
            open=not self._outputs_known,
        )
        self._fixed = _Seen(
            frozenset({*spec.params, *spec.vars, "params", "vars"}),
            "a param or a var",
            dict.fromkeys(spec.inputs, "it is an input; `when` is settled before there is a row")
            | dict.fromkeys(spec.draw, "it is drawn for each row; `when` is settled before there is a row")
            | outputs,
        )

    def check(self) -> None:
        self._names()
        for name, typed in self.spec.inputs.items():
            self._typed(("inputs", name), typed)
            self._expression(("inputs", name, "when"), typed.when, self._fixed)
            if typed.default is not None and typed.required and self.spec.inputs[name].required is True:
                self._default_of_required(name)
        for name, param in self.spec.params.items():
            self._typed(("params", name), param)
        seen = self._fixed.plus("draw")
        for name, draw in self.spec.draw.items():
            self._draw(("draw", name), draw, seen)
            seen = seen.plus(name)
        for index, message in enumerate(self.spec.format_input):
            self._message(("format_input", index), message)
        for name, output in self.spec.outputs.items():
            self._typed(("outputs", name), output)
            self._expression(("outputs", name, "when"), output.when, self._fixed)
        self._asked()
        self._parsers()
        for index, check in enumerate(self.spec.checks):
            self._expression(("checks", index), check, self._reply)
        if self._outputs_known:
            for fault in aggregation_faults(self.spec, self.document):
                self._tell(fault.path, fault.message, fault.hint, key=fault.key)
        self._mappings()
        self._collisions()
        self._structured_output()
        if isinstance(self.spec.tools, str):
            self._expression(("tools",), self.spec.tools, self._row)
        self._fallback()
        for index, case in enumerate(self.spec.cases):
            self._case(("cases", index), case)

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
        return len(path) == 2 and path[1] not in getattr(self.spec, path[0])

    # names and templates

    def _expression(self, path: Place, source: str | None, seen: _Seen) -> None:
        if source is not None and self._is_within(source, path):
            self._syntax(read_expression(source), seen, self._at(path), "the expression", path)

    def _template(self, path: Place, source: str, seen: _Seen) -> None:
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
        seen: _Seen,
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

    def _unknown(self, name: Name, seen: _Seen, what: str) -> tuple[int, int, str, str | None] | None:
        if name.name not in seen.known and name.name not in GLOBALS:
            if not self._names_known or seen.open:
                return None
            message = f"{what} reads `{name.name}`, which is not {seen.what}"
            hint = seen.elsewhere.get(name.name) or did_you_mean(name.name, sorted(seen.known - _MAPPINGS))
            return name.offset, len(name.name), message, self._hyphenated(name.name) or hint
        if name.attribute is None or name.name not in ("params", "vars", "draw") or self._is_aside((name.name,)):
            return None
        members: Mapping[str, Any] = getattr(self.spec, name.name)
        if name.attribute in members:
            return None
        message = f"{what} reads `{name.name}.{name.attribute}`, which is not there"
        return name.attribute_offset, len(name.attribute), message, did_you_mean(name.attribute, members)

    def _hyphenated(self, name: str) -> str | None:
        """A column with hyphens is a subtraction to Jinja."""
        whole = [c for c in (*self.spec.inputs, *self.spec.outputs) if "-" in c and name in c.split("-")]
        return f'write `row["{whole[0]}"]`: `-` subtracts' if whole else None

    def _include(
        self,
        include: Include,
        seen: _Seen,
        at: At,
        path: Place,
    ) -> None:
        if include.path is None:
            return
        text = self._file(
            include.path, lambda m, h: at(include.offset, len(include.path or ""), m, h), include.optional
        )
        if text is not None:
            inner = seen.plus(*include.seen) if include.seen is not None else _Seen(frozenset(), "seen in an import")
            self._file_template(include.path, text, inner, path)

    def _file_template(self, name: str, text: str, seen: _Seen, path: Place) -> None:
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
            for name in getattr(self.spec, kind):
                if kind != "outputs" and name in _MAPPINGS | GLOBALS | {"loop_index", "true", "false", "none"}:
                    hint = "give it another name; `input_mappings` leads to the column" if kind == "inputs" else None
                    self._tell((kind, name), f"`{name}` has a meaning of its own in templates", hint, key=True)
                elif kind in ("params", "draw") and not re.fullmatch(IDENTIFIER, name):
                    self._tell(
                        (kind, name), f"`{name}` can't be read in a template", "use letters, digits and _", key=True
                    )
                elif not name.strip():
                    self._tell((kind, name), "the column has no name", key=True)
        for name in self.spec.draw:
            for kind, word in (("inputs", "an input"), ("params", "a param")):
                if name in getattr(self.spec, kind):
                    self._tell(
                        ("draw", name), f"`{name}` is {word} and a draw", "give one of them another name", key=True
                    )

    # messages

    def _message(self, path: Place, message: Message) -> None:
        self._expression((*path, "when"), message.when, self._row)
        seen = self._loop(path, message)
        if message.splice is not None:
            self._expression((*path, "splice"), message.splice, seen)
            for key in ("role", "content", "name"):
                if getattr(message, key) is not None:
                    hint = "make two messages of it"
                    self._tell((*path, key), f"`{key}` has no meaning beside `splice`", hint, key=True)
            return
        if message.role is None and message.content is None:
            self._tell(path, "the message is empty", "give it `role` and `content`, or `splice`")
            return
        if message.role is None:
            self._tell(path, "the message has no `role`", "system, user or assistant")
        if message.content is None:
            self._tell(path, "the message has no `content`")
        if message.name is not None:
            self._template((*path, "name"), message.name, seen)
        content = (*path, "content")
        if isinstance(message.content, str):
            self._template(content, message.content, seen)
        elif isinstance(message.content, FileContent):
            self._content_file((*content, "file"), message.content.file, seen)
        elif message.content is not None:
            if not message.content:
                self._tell(content, "the list of parts is empty")
            for index, part in enumerate(message.content):
                self._part((*content, index), part, seen)

    def _loop(self, path: Place, message: Message) -> _Seen:
        path = (*path, "for_each")
        if message.for_each is None:
            return replace(self._row, open=self._is_aside(path))
        name, word, source = message.for_each.partition(" in ")
        if not word or not name.strip().isidentifier():
            self._tell(path, 'expected "name in expression"', "for example: shot in vars.shots")
            return replace(self._row, open=True)
        shift = len(name) + len(word)

        def at(offset: int, length: int, message: str, hint: str | None) -> Diagnostic:
            return self.document.diagnostic(path, message, hint, offset=shift + offset, length=length)

        self._syntax(read_expression(source), self._row, at, "the expression", path)
        return self._row.plus(name.strip(), "loop_index")

    def _part(self, path: Place, part: Part, seen: _Seen) -> None:
        kinds = [kind for kind in ("text", "image", "audio", "file") if getattr(part, kind) is not None]
        if len(kinds) != 1:
            had = " and ".join(f"`{k}`" for k in kinds) or "none"
            self._tell(path, f"a part has one of `text`, `image`, `audio` and `file`, not {had}", "make a part of each")
        for kind in kinds:
            self._template((*path, kind), getattr(part, kind), seen)
        if part.detail is not None and kinds and "image" not in kinds and not self._is_aside((*path, "image")):
            self._tell((*path, "detail"), "`detail` is said of an image only", key=True)

    def _content_file(self, path: Place, name: str, seen: _Seen) -> None:
        text = self._file(name, lambda m, h: self.document.diagnostic(path, m, h))
        if text is not None:
            self._file_template(name, text, seen, path)

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
                    told = f"{shown(choice)} is not {_article(_innermost(kind))}"
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
            told = f"`{keyword}` says nothing about {_article(kind)}"
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
            self._tell(path, f"the default, {shown(default)}, is not {_article(kind)}")
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

        from distask.spec.schemas import SchemaError, check_schema

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

    def _draw(self, path: Place, draw: Draw, seen: _Seen) -> None:
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

    # parsers

    def _parsers(self) -> None:
        several = isinstance(self.document.data.get("format_output"), list)
        filled: set[str] = set()
        for index, parser in enumerate(self.spec.format_output):
            path: Place = ("format_output", index) if several else ("format_output",)
            if self._is_aside(path):
                filled |= set(self.spec.outputs)
            if any(path[: len(a)] == a for a in self.aside):
                continue
            self._expression((*path, "when"), parser.when, self._fixed)
            computed = self._computed(path, parser)
            filled |= computed | self._filled(path, parser, computed)
        if not self._outputs_known:
            return
        for name in self.spec.outputs:
            if name not in filled and name not in self.spec.draw:
                self._tell(("outputs", name), f"nothing fills the output `{name}`", self._way_to_fill(name), key=True)

    def _way_to_fill(self, name: str) -> str:
        parser = self.spec.format_output[0]
        ways = {
            "regex": f"name a group of the pattern so: (?P<{name}>…)",
            "tags": f"put it into `tags`: <{name}>…</{name}>",
            "sections": "give it a marker in `markers`",
        }
        return ways.get(parser.parser, "compute it in `columns`, or take it out")

    def _computed(self, path: Place, parser: Any) -> set[str]:
        columns: Mapping[str, Any] = parser.columns or {}
        computed = {name for name, value in columns.items() if isinstance(value, str) and "{{" in value}
        seen = replace(
            self._reply,
            known=(self._reply.known | ({PARSED} if parser.parser == "json" else set())) - (computed - self._row.known),
            elsewhere=dict.fromkeys(computed, "it is computed beside; only what the parser fills is seen"),
        )
        for name, value in columns.items():
            place = (*path, "columns", name)
            if not self._is_output(place, name, key=True):
                continue
            if parser.parser == "json" and isinstance(value, str) and value.startswith("/"):
                if re.search(r"~(?![01])", value):
                    self._tell(place, "this is no JSON pointer: `~` is written `~0`, `/` in a key `~1`")
            elif isinstance(value, str) and "{{" in value:
                self._expression(place, value, seen)
            elif parser.parser == "json" and value != "":
                hint = f"a pointer begins with `/`: /{value}" if isinstance(value, str) else None
                self._tell(place, "expected a JSON pointer, or an expression in {{ }}", hint)
            elif value != "":
                hint = f"put braces around it: {{{{ {value} }}}}" if isinstance(value, str) else None
                self._tell(place, "expected an expression in {{ }}", hint)
        return set(columns)

    def _filled(self, path: Place, parser: Any, computed: set[str]) -> set[str]:
        left = [n for n in self.spec.outputs if n not in computed and n not in self.spec.draw]
        kind = parser.parser
        if getattr(parser, "align_to", None) is not None:
            self._align_to((*path, "align_to"), parser.align_to)
        if kind == "regex":
            return self._regex(path, parser)
        if kind == "tags":
            return self._tags(path, parser, left)
        if kind == "sections":
            for name in parser.markers:
                self._is_output((*path, "markers", name), name, key=True)
            return set(parser.markers)
        if kind == "list":
            if parser.skip is not None:
                self._pattern((*path, "skip"), parser.skip)
            if isinstance(parser.max_items, str):
                self._expression((*path, "max_items"), parser.max_items, self._row)
        if kind == "logprobs":
            return self._logprobs(path, parser, left)
        if "column" in type(parser).model_fields:
            if self._is_aside((*path, "column")):
                return set(left)
            if kind == "choice":
                self._choices(path, parser, left)
            return self._column(path, parser, left)
        return set(left)

    def _column(self, path: Place, parser: Any, left: list[str]) -> set[str]:
        if parser.column is not None:
            self._is_output((*path, "column"), parser.column)
            return {parser.column}
        always = [n for n in left if self.spec.outputs[n].when is None]
        if len(always) > 1 and self._outputs_known:
            names = ", ".join(f"`{n}`" for n in always)
            told = f"the parser `{parser.parser}` fills one column, and there are several outputs: {names}"
            self._tell((*path, "parser"), told, f"say which: `column: {always[0]}`")
        return set(left)

    def _logprobs(self, path: Place, parser: Any, left: list[str]) -> set[str]:
        if isinstance(parser.choices, str):
            self._expression((*path, "choices"), parser.choices, self._row)
        if not self.spec.llm.logprobs:
            hint = "write `llm: {logprobs: true, top_logprobs: 20}`"
            self._tell((*path, "parser"), "the parser `logprobs` reads what the model is not asked for", hint)
        if parser.probabilities is not None and self._is_output((*path, "probabilities"), parser.probabilities):
            rest = [name for name in left if name != parser.probabilities]
            if parser.column is None and not rest:
                return {parser.probabilities}
            return {parser.probabilities} | self._column(path, parser, rest)
        return self._column(path, parser, left)

    def _regex(self, path: Place, parser: Any) -> set[str]:
        groups = self._pattern((*path, "pattern"), parser.pattern, parser.flags, (*path, "flags"))
        if groups is None:
            return set(self.spec.outputs)
        aligned = {POSITION} if parser.align_to is not None else set()
        for group in groups:
            if group in self.spec.outputs or group in aligned or not self._outputs_known:
                continue
            found = re.search(rf"\(\?P?<({re.escape(group)})>", parser.pattern)
            told = f"the group `{group}` is no output"
            hint = did_you_mean(group, self.spec.outputs)
            self._tell((*path, "pattern"), told, hint, offset=found.start(1) if found else None, length=len(group))
        if not groups:
            only = next(iter(self.spec.outputs))
            self._tell((*path, "pattern"), "the pattern has no named group", f"name one so: (?P<{only}>…)")
            return set(self.spec.outputs)
        close = {nearest(g, self.spec.outputs) for g in groups if g not in self.spec.outputs}
        return {*groups, *(c for c in close if c is not None)}

    def _tags(self, path: Place, parser: Any, left: list[str]) -> set[str]:
        if parser.tags is None:
            return set(left)
        is_mapping = isinstance(parser.tags, dict)
        for index, name in enumerate(parser.tags):
            self._is_output((*path, "tags", name if is_mapping else index), name, key=is_mapping)
        close = {nearest(n, self.spec.outputs) for n in parser.tags if n not in self.spec.outputs}
        return {*parser.tags, *(c for c in close if c is not None)}

    def _choices(self, path: Place, parser: Any, left: list[str]) -> None:
        if isinstance(parser.choices, str):
            self._expression((*path, "choices"), parser.choices, self._row)
        elif parser.choices is None:
            column = parser.column or (left[0] if len(left) == 1 else "")
            output = self.spec.outputs.get(column)
            lacking = output is not None and output.choices is None and not isinstance(output.schema_, dict | str)
            if lacking and not self._is_aside(("outputs", column)):
                told = "the parser `choice` has no choices"
                self._tell((*path, "parser"), told, f"give it `choices`, or give `{column}` `choices`")
        elif len(set(parser.choices)) != len(parser.choices):
            self._tell((*path, "choices"), "a choice is there twice", key=True)

    def _is_output(self, path: Place, name: str, *, key: bool = False) -> bool:
        known = name in self.spec.outputs or not self._outputs_known
        if not known:
            self._tell(path, f"`{name}` is no output", did_you_mean(name, self.spec.outputs), key=key)
        return known

    def _align_to(self, path: Place, name: str) -> None:
        if name not in self._row.known - _MAPPINGS:
            if self._names_known:
                known = [*self.spec.inputs, *self.spec.vars, *self.spec.params, *self.spec.draw]
                self._tell(path, f"`{name}` is no column", did_you_mean(name, known))
            return
        typed = self.spec.inputs.get(name)
        if typed is None or typed.schema_ is not None or self._is_aside(("inputs", name)):
            return
        kind = typed.type or ("enum" if typed.choices else "string")
        if not kind.startswith("list") and kind != "any":
            self._tell(
                path, f"`align_to` needs a list, and `{name}` is {_article(kind)}", f"give `{name}` `type: list`"
            )

    def _pattern(self, path: Place, pattern: str, flags: str = "", flags_path: Place = ()) -> tuple[str, ...] | None:
        """The pattern's groups; None where it is wrong, which is told."""
        from distask.spec.patterns import FLAGS, PatternError, compile_pattern

        if unknown := sorted(set(flags) - FLAGS.keys()):
            self._tell(flags_path, f"there is no flag `{unknown[0]}`", f"known: {', '.join(FLAGS)}")
            flags = "".join(f for f in flags if f in FLAGS)
        try:
            return compile_pattern(pattern, flags).groups
        except PatternError as error:
            self._tell(path, f"the pattern is wrong: {error}", offset=error.position, length=1)
            return None

    # the rest

    def _mappings(self) -> None:
        added = [*self.spec.outputs, *(f"{name}_{how}" for name, hows in self.spec.aggregate.items() for how in hows)]
        for kind, columns in (("input_mappings", [*self.spec.inputs]), ("output_mappings", added)):
            mappings: Mapping[str, str] = getattr(self.spec, kind)
            known = self._names_known if kind == "input_mappings" else self._outputs_known
            for name in mappings:
                if name not in columns and known:
                    word = "input" if kind == "input_mappings" else "output"
                    self._tell((kind, name), f"`{name}` is no {word}", did_you_mean(name, columns), key=True)

    def _collisions(self) -> None:
        read = {self.spec.input_mappings.get(name, name): name for name in self.spec.inputs}
        added: dict[str, str] = {}
        mapped = self.spec.output_mappings
        outputs: list[tuple[str, str, str]] = [(mapped.get(name, name), name, name) for name in self.spec.outputs]
        outputs += [(column, f"{of}_{how}", of) for column, of, how in aggregate_columns(self.spec, self.spec.outputs)]
        when = {name: self.spec.outputs[of].when for _, name, of in outputs}
        for column, name, of in outputs:
            at: Place = ("outputs", name) if name == of else ("aggregate", of)
            place: Place = ("output_mappings", name) if name in mapped else at
            key = place[0] != "output_mappings"
            if column in read:
                told = f"the output `{column}` has the name of an input column"
                self._tell(place, told, f"give it another name: `output_mappings: {{{name}: new_{name}}}`", key=key)
            elif column in OWN_COLUMNS:
                self._tell(place, f"`{column}` is a column that every run adds", "give it another name", key=key)
            elif column in added and not (when[name] and when[added[column]]):
                self._tell(place, f"the outputs `{added[column]}` and `{name}` become one column, `{column}`", key=key)
            added.setdefault(column, name)

    def _structured_output(self) -> None:
        asked = self.spec.structured_output
        if not isinstance(asked, StructuredOutput):
            return
        path: Place = ("structured_output",)
        ways = [k for k in ("schema_", "regex", "choice", "grammar") if getattr(asked, k) is not None]
        if not ways:
            self._tell(path, "this says nothing", "give `schema`, `regex`, `choice` or `grammar`", key=True)
        if isinstance(asked.schema_, dict):
            self._schema((*path, "schema"), asked.schema_)
        elif asked.schema_ is not None:
            self._expression((*path, "schema"), asked.schema_, self._row)
        if isinstance(asked.choice, str):
            self._expression((*path, "choice"), asked.choice, self._row)
        if asked.regex is not None and "{{" in asked.regex:
            self._expression((*path, "regex"), asked.regex, self._row)

    def _asked(self) -> None:
        """What is asked for besides chats."""
        spec = self.spec
        ways = [
            key
            for key, given in (
                ("completion", spec.completion is not False),
                ("prefill", spec.prefill),
                ("returns", spec.returns != "text"),
            )
            if given
        ]
        if len(ways) > 1:
            self._tell(
                (ways[1],), f"`{ways[0]}` and `{ways[1]}` ask for different things", "keep one of them", key=True
            )
        if not ways:
            return
        if spec.prefill and (message := spec.format_input[-1]).role not in ("assistant", None):
            told = f"`prefill` goes on from the assistant's message, and the last one is the {message.role}'s"
            self._tell(("prefill",), told, "end `format_input` with `role: assistant`", key=True)
        if spec.on_invalid.feedback and not spec.prefill:
            self._tell(("on_invalid", "feedback"), "there is no chat that an error could be shown in", key=True)
        for index, message in enumerate(spec.format_input):
            if isinstance(message.content, list) and not spec.prefill:
                self._tell(("format_input", index, "content"), f"`{ways[0]}` takes text only, no parts", key=True)
        if isinstance(spec.completion, RawCompletion):
            self._raw_completion(spec.completion)

    def _raw_completion(self, asked: RawCompletion) -> None:
        path: Place = ("completion",)
        if asked.open is not None and asked.template is None:
            told = "a turn is left open by a family's marks"
            self._tell((*path, "open"), told, "say whose: `template: \"'chatml'\"`, or a param", key=True)
        self._expression((*path, "template"), asked.template, self._fixed)

    def _fallback(self) -> None:
        name = self.spec.on_invalid.fallback
        if isinstance(name, str) and name not in configs():
            path = ("on_invalid", "fallback")
            self._tell(path, f"there is no built-in config `{name}`", did_you_mean(name, configs()))

    def _case(self, path: Place, case: Case) -> None:
        if case.expect is None and case.error is None:
            self._tell(path, "the case expects nothing", "give it `expect`, or `error` for a reply that is invalid")
        if case.expect is not None and case.error is not None:
            self._tell((*path, "error"), "a case has `expect` or `error`, not both", key=True)
        mappings = self.spec.output_mappings
        known = [*dict.fromkeys([*(mappings.get(name, name) for name in self.spec.outputs), *mappings.values()])]
        for name in case.expect or {}:
            if name not in known and self._outputs_known and not self._is_aside(("output_mappings",)):
                self._tell((*path, "expect", name), f"`{name}` is no output", did_you_mean(name, known), key=True)
        for name in case.params or {}:
            if name not in self.spec.params and self._names_known:
                told = f"`{name}` is no param"
                self._tell((*path, "params", name), told, did_you_mean(name, self.spec.params), key=True)


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


def _article(kind: str) -> str:
    if kind == "string":
        return "text (type: string)"
    return f"an {kind}" if kind[:1] in "aeio" else f"a {kind}"

"""Check a single-call task beyond its models: messages, parsers, and which parser fills each column.

Nothing is rendered, run or imported here. `task.cases` runs the golden cases.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from distask.diagnostics import Diagnostic, did_you_mean, nearest
from distask.spec.check.declarations import Checker, article
from distask.spec.check.expressions import read_expression
from distask.spec.check.templates import MAPPINGS, OWN_COLUMNS, Place, Scope
from distask.spec.gallery import configs
from distask.spec.language.aggregation import aggregate_columns, aggregation_faults
from distask.spec.language.model import FileContent, RawCompletion, StructuredOutput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.spec.document import Document
    from distask.spec.language.model import Case, Message, Part, TaskSpec

POSITION = "position"
"""The group with the position of a match in `align_to`; it is not a column."""

PARSED = "parsed"
"""The name of the complete JSON value in computed columns."""


def check_spec(spec: TaskSpec, document: Document, folder: Path, aside: Sequence[Place] = ()) -> list[Diagnostic]:
    """Return the errors in a spec that its models can't detect.

    `aside` lists the places with replaced invalid values; errors that depend on them are not reported.
    """
    checker = _Call(spec, document, folder, tuple(tuple(p) for p in aside))
    checker.check()
    return checker.found


class _Call(Checker):
    """Checks a single-call task."""

    def __init__(self, spec: TaskSpec, document: Document, folder: Path, aside: tuple[Place, ...]) -> None:
        super().__init__(spec, spec.outputs, document, folder, aside)
        self.spec = spec
        loops = {m.for_each.partition(" in ")[0].strip() for m in spec.format_input if m.for_each}
        outputs = dict.fromkeys(spec.outputs, "it is an output; only `checks` and computed `columns` can read it")
        row = {*spec.inputs, *spec.params, *spec.draw, *spec.vars} | MAPPINGS
        self._row = Scope(
            frozenset(row),
            "an input, a param, a var or a draw",
            outputs | dict.fromkeys(loops - {""}, "it is a `for_each` name; only its own message can read it"),
        )
        self._reply = Scope(
            frozenset(row | set(spec.outputs) | {"finish_reason", "reply"}),
            "an input, a param, a var, a draw or an output",
            open=not self._outputs_known,
        )

    def check(self) -> None:
        self._declarations()
        for index, message in enumerate(self.spec.format_input):
            self._message(("format_input", index), message)
        self._declared_outputs()
        self._examples()
        self._asked()
        self._parsers()
        for index, check in enumerate(self.spec.checks):
            self._expression(("checks", index), check, self._reply)
        if self._outputs_known:
            for fault in aggregation_faults(self.spec, self.document):
                self._report(fault.path, fault.message, fault.hint, key=fault.key)
        self._mappings()
        self._collisions()
        self._structured_output()
        if isinstance(self.spec.tools, str):
            self._expression(("tools",), self.spec.tools, self._row)
        self._fallback()
        for index, case in enumerate(self.spec.cases):
            self._case(("cases", index), case)

    def _examples(self) -> None:
        seen = self._row
        for name, output in self.spec.outputs.items():
            if isinstance(output.examples, str):
                self._expression(("outputs", name, "examples"), output.examples, seen)
            seen = seen.plus(name)

    # messages

    def _message(self, path: Place, message: Message) -> None:
        self._expression((*path, "when"), message.when, self._row)
        seen = self._loop(path, message)
        if message.splice is not None:
            self._expression((*path, "splice"), message.splice, seen)
            for key in ("role", "content", "name"):
                if getattr(message, key) is not None:
                    hint = "split it into two messages"
                    self._report((*path, key), f"`{key}` can't be combined with `splice`", hint, key=True)
            return
        if message.role is None and message.content is None:
            self._report(path, "the message is empty", "add `role` and `content`, or `splice`")
            return
        if message.role is None:
            self._report(path, "the message has no `role`", "use system, user or assistant")
        if message.content is None:
            self._report(path, "the message has no `content`")
        if message.name is not None:
            self._template((*path, "name"), message.name, seen)
        content = (*path, "content")
        if isinstance(message.content, str):
            self._template(content, message.content, seen)
        elif isinstance(message.content, FileContent):
            self._content_file((*content, "file"), message.content.file, seen)
        elif message.content is not None:
            if not message.content:
                self._report(content, "the list of parts is empty")
            for index, part in enumerate(message.content):
                self._part((*content, index), part, seen)

    def _loop(self, path: Place, message: Message) -> Scope:
        path = (*path, "for_each")
        if message.for_each is None:
            return replace(self._row, open=self._is_aside(path))
        name, word, source = message.for_each.partition(" in ")
        if not word or not name.strip().isidentifier():
            self._report(path, 'expected "name in expression"', "for example: shot in vars.shots")
            return replace(self._row, open=True)
        shift = len(name) + len(word)

        def at(offset: int, length: int, message: str, hint: str | None) -> Diagnostic:
            return self.document.diagnostic(path, message, hint, offset=shift + offset, length=length)

        self._syntax(read_expression(source), self._row, at, "the expression", path)
        return self._row.plus(name.strip(), "loop_index")

    def _part(self, path: Place, part: Part, seen: Scope) -> None:
        kinds = [kind for kind in ("text", "image", "audio", "file") if getattr(part, kind) is not None]
        if len(kinds) != 1:
            had = " and ".join(f"`{k}`" for k in kinds) or "none"
            self._report(
                path, f"a part needs one of `text`, `image`, `audio` and `file`, not {had}", "use one part for each"
            )
        for kind in kinds:
            self._template((*path, kind), getattr(part, kind), seen)
        if part.detail is not None and kinds and "image" not in kinds and not self._is_aside((*path, "image")):
            self._report((*path, "detail"), "`detail` applies only to images", key=True)

    def _content_file(self, path: Place, name: str, seen: Scope) -> None:
        text = self._file(name, lambda m, h: self.document.diagnostic(path, m, h))
        if text is not None:
            self._file_template(name, text, seen, path)

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
                self._report(("outputs", name), f"nothing fills the output `{name}`", self._way_to_fill(name), key=True)

    def _way_to_fill(self, name: str) -> str:
        parser = self.spec.format_output[0]
        ways = {
            "regex": f"add a named group to the pattern: (?P<{name}>…)",
            "tags": f"add it to `tags`: <{name}>…</{name}>",
            "sections": "add a marker to `markers`",
        }
        return ways.get(parser.parser, "compute it in `columns`, or remove it")

    def _computed(self, path: Place, parser: Any) -> set[str]:
        columns: Mapping[str, Any] = parser.columns or {}
        computed = {name for name, value in columns.items() if isinstance(value, str) and "{{" in value}
        seen = replace(
            self._reply,
            known=(self._reply.known | ({PARSED} if parser.parser == "json" else set())) - (computed - self._row.known),
            elsewhere=dict.fromkeys(computed, "it is computed too; only columns from the parser can be read"),
        )
        for name, value in columns.items():
            place = (*path, "columns", name)
            if not self._is_output(place, name, key=True):
                continue
            if parser.parser == "json" and isinstance(value, str) and value.startswith("/"):
                if re.search(r"~(?![01])", value):
                    self._report(place, "invalid JSON pointer: write `~` as `~0`, and `/` in a key as `~1`")
            elif isinstance(value, str) and "{{" in value:
                self._expression(place, value, seen)
            elif parser.parser == "json" and value != "":
                hint = f"a pointer starts with `/`: /{value}" if isinstance(value, str) else None
                self._report(place, "expected a JSON pointer, or an expression in {{ }}", hint)
            elif value != "":
                hint = f"put braces around it: {{{{ {value} }}}}" if isinstance(value, str) else None
                self._report(place, "expected an expression in {{ }}", hint)
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
            if parser.split is not None:
                self._pattern((*path, "split"), parser.split)
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
            problem = f"the parser `{parser.parser}` fills one column, but there are several outputs: {names}"
            self._report((*path, "parser"), problem, f"set `column: {always[0]}`")
        return set(left)

    def _logprobs(self, path: Place, parser: Any, left: list[str]) -> set[str]:
        if isinstance(parser.choices, str):
            self._expression((*path, "choices"), parser.choices, self._row)
        if not self.spec.llm.logprobs:
            hint = "set `llm: {logprobs: true, top_logprobs: 20}`"
            self._report((*path, "parser"), "the parser `logprobs` needs log probabilities", hint)
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
            problem = f"the group `{group}` is not an output"
            hint = did_you_mean(group, self.spec.outputs)
            self._report((*path, "pattern"), problem, hint, offset=found.start(1) if found else None, length=len(group))
        for group, greatest in (parser.scale or {}).items():
            if group not in groups:
                problem = f"the pattern has no group `{group}`"
                self._report((*path, "scale", group), problem, did_you_mean(group, groups), key=True)
            elif isinstance(greatest, str):
                self._expression((*path, "scale", group), greatest, self._row)
        if not groups:
            only = next(iter(self.spec.outputs))
            self._report((*path, "pattern"), "the pattern has no named group", f"name one: (?P<{only}>…)")
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
                problem = "the parser `choice` has no choices"
                self._report((*path, "parser"), problem, f"add `choices` here or to the output `{column}`")
        elif len(set(parser.choices)) != len(parser.choices):
            self._report((*path, "choices"), "a choice is repeated", key=True)

    def _is_output(self, path: Place, name: str, *, key: bool = False) -> bool:
        known = name in self.spec.outputs or not self._outputs_known
        if not known:
            self._report(path, f"`{name}` is not an output", did_you_mean(name, self.spec.outputs), key=key)
        return known

    def _align_to(self, path: Place, name: str) -> None:
        if name not in self._row.known - MAPPINGS:
            if self._names_known:
                known = [*self.spec.inputs, *self.spec.vars, *self.spec.params, *self.spec.draw]
                self._report(path, f"`{name}` is not a column", did_you_mean(name, known))
            return
        typed = self.spec.inputs.get(name)
        if typed is None or typed.schema_ is not None or self._is_aside(("inputs", name)):
            return
        kind = typed.type or ("enum" if typed.choices else "string")
        if not kind.startswith("list") and kind != "any":
            self._report(
                path, f"`align_to` needs a list, but `{name}` is {article(kind)}", f"set `type: list` for `{name}`"
            )

    # mappings, request modes and cases

    def _mappings(self) -> None:
        added = [*self.spec.outputs, *(f"{name}_{how}" for name, hows in self.spec.aggregate.items() for how in hows)]
        for kind, columns in (("input_mappings", [*self.spec.inputs]), ("output_mappings", added)):
            mappings: Mapping[str, str] = getattr(self.spec, kind)
            known = self._names_known if kind == "input_mappings" else self._outputs_known
            for name in mappings:
                if name not in columns and known:
                    word = "an input" if kind == "input_mappings" else "an output"
                    self._report((kind, name), f"`{name}` is not {word}", did_you_mean(name, columns), key=True)

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
                problem = f"the output `{column}` has the same name as an input column"
                self._report(place, problem, f"rename it: `output_mappings: {{{name}: new_{name}}}`", key=key)
            elif column in OWN_COLUMNS:
                self._report(place, f"`{column}` is reserved: every run adds this column", "rename it", key=key)
            elif column in added and not (when[name] and when[added[column]]):
                self._report(
                    place, f"the outputs `{added[column]}` and `{name}` use the same column, `{column}`", key=key
                )
            added.setdefault(column, name)

    def _structured_output(self) -> None:
        asked = self.spec.structured_output
        if not isinstance(asked, StructuredOutput):
            return
        path: Place = ("structured_output",)
        ways = [k for k in ("schema_", "regex", "choice", "grammar") if getattr(asked, k) is not None]
        if not ways:
            self._report(path, "`structured_output` is empty", "add `schema`, `regex`, `choice` or `grammar`", key=True)
        if isinstance(asked.schema_, dict):
            self._schema((*path, "schema"), asked.schema_)
        elif asked.schema_ is not None:
            self._expression((*path, "schema"), asked.schema_, self._row)
        if isinstance(asked.choice, str):
            self._expression((*path, "choice"), asked.choice, self._row)
        if asked.regex is not None and "{{" in asked.regex:
            self._expression((*path, "regex"), asked.regex, self._row)

    def _asked(self) -> None:
        """Check `completion`, `prefill` and `returns`."""
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
            self._report((ways[1],), f"`{ways[0]}` and `{ways[1]}` can't be combined", "remove one of them", key=True)
        if not ways:
            return
        if spec.prefill and (message := spec.format_input[-1]).role not in ("assistant", None):
            problem = f"`prefill` continues an assistant message, but the last role is {message.role}"
            self._report(("prefill",), problem, "end `format_input` with `role: assistant`", key=True)
        if spec.on_invalid.feedback and not spec.prefill:
            self._report(("on_invalid", "feedback"), "`feedback` needs a chat to show the error in", key=True)
        for index, message in enumerate(spec.format_input):
            if isinstance(message.content, list) and not spec.prefill:
                self._report(("format_input", index, "content"), f"`{ways[0]}` supports only text, not parts", key=True)
        if isinstance(spec.completion, RawCompletion):
            self._raw_completion(spec.completion)

    def _raw_completion(self, asked: RawCompletion) -> None:
        path: Place = ("completion",)
        if asked.open is not None and asked.template is None:
            problem = "`open` needs a `template`"
            self._report((*path, "open"), problem, "add `template: \"'chatml'\"`, or a param", key=True)
        self._expression((*path, "template"), asked.template, self._fixed)

    def _fallback(self) -> None:
        name = self.spec.on_invalid.fallback
        if isinstance(name, str) and name not in configs():
            path = ("on_invalid", "fallback")
            self._report(path, f"there is no built-in config `{name}`", did_you_mean(name, configs()))

    def _case(self, path: Place, case: Case) -> None:
        if case.expect is None and case.error is None:
            self._report(path, "the case expects nothing", "add `expect`, or `error` for an invalid reply")
        is_aligned = any(getattr(parser, "align_to", None) is not None for parser in self.spec.format_output)
        if case.expect is not None and case.error is not None and not is_aligned:
            hint = "an invalid reply has no columns, unless a parser has `align_to`"
            self._report((*path, "error"), "a case has `expect` or `error`, not both", hint, key=True)
        mappings = self.spec.output_mappings
        known = [*dict.fromkeys([*(mappings.get(name, name) for name in self.spec.outputs), *mappings.values()])]
        for name in case.expect or {}:
            if name not in known and self._outputs_known and not self._is_aside(("output_mappings",)):
                self._report((*path, "expect", name), f"`{name}` is not an output", did_you_mean(name, known), key=True)
        for name in case.params or {}:
            if name not in self.spec.params and self._names_known:
                problem = f"`{name}` is not a param"
                self._report((*path, "params", name), problem, did_you_mean(name, self.spec.params), key=True)

"""What was read of another tool's prompt, and the text of the task that it becomes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, TemplateSyntaxError, meta
from msgspec import Struct, field

from distask.errors import UsageError
from distask.spec.check.faults import slugified
from distask.spec.document import Document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


TYPES = {
    "string": "string",
    "str": "string",
    "int": "integer",
    "integer": "integer",
    "double": "number",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "list",
    "array": "list",
    "object": "object",
    "dict": "object",
}
"""Other tools' types, and ours."""
KEYWORDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_completion_tokens": "max_completion_tokens",
    "stop": "stop",
    "stop_sequences": "stop",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "reasoning_effort": "reasoning_effort",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "tool_choice": "tool_choice",
}
"""Other tools' generation keywords (in snake case), and ours."""
NO_KEYS = (
    "replies are JSON, and nothing says of which keys: name them in `outputs`, and read them with "
    "`format_output: {parser: json}`"
)
OUTPUT = "generation"
STAND_IN = "A reply."


class Draft(Struct):
    """A prompt on its way to a task."""

    source: Path
    name: str = ""
    description: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    mappings: dict[str, str] = field(default_factory=dict)
    """An input to the column that it is read from, where that has another name."""
    variables: dict[str, Any] = field(default_factory=dict)
    """Constants that the templates read."""
    llm: dict[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    """What replies are held to."""
    tools: list[Any] | None = None
    cases: list[dict[str, Any]] = field(default_factory=list)
    sample: dict[str, Any] = field(default_factory=dict)
    """A row to try the templates with."""
    notes: list[str] = field(default_factory=list)
    """What could not be carried over, each with what to do about it."""

    def take_keywords(self, given: Mapping[str, Any]) -> None:
        """Carry generation keywords over."""
        for key, value in given.items():
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
            if value in (None, "", [], {}):
                continue
            if name in KEYWORDS:
                self.llm[KEYWORDS[name]] = value
            elif name in ("response_format", "tools", "functions"):
                self.take_format(value) if name == "response_format" else self.take_tools(value)
            else:
                self.notes.append(f"the parameter `{key}: {_short(value)}` is left out: `llm.extra_body` can send it")

    def take_format(self, wanted: Any) -> None:
        """Carry over how replies are held to a format."""
        kind = wanted.get("type") if isinstance(wanted, dict) else wanted
        if kind == "json_schema" and isinstance(wanted, dict):
            self.take_schema((wanted.get("json_schema") or {}).get("schema"))
        elif kind == "json_object":
            self.llm.setdefault("extra_body", {})["response_format"] = {"type": "json_object"}
            if self.schema is None:
                self.notes.append(NO_KEYS)

    def take_schema(self, schema: Any) -> None:
        """Hold replies to a schema, whose keys become columns."""
        if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and schema["properties"]:
            self.schema = schema
        elif schema:
            self.notes.append(
                "the schema of replies is no object with properties, and is left out: `structured_output`"
            )

    def take_tools(self, tools: Any) -> None:
        """Carry tools over, as the API takes them."""
        if isinstance(tools, list) and all(isinstance(t, dict) and "function" in t for t in tools):
            self.tools = tools
        elif tools:
            self.notes.append("the tools are not as the API takes them, and are left out: `tools`")

    def leave(self, what: str, mend: str) -> None:
        """Note what a task can't say."""
        self.notes.append(f"{what} left out: {mend}")

    def text(self, name: str | None = None) -> str:
        """The task's text."""
        self._find_inputs()
        spec: dict[str, Any] = {
            "name": slugified(name or self.name or self.source.name.partition(".")[0]) or "imported"
        }
        spec["description"] = self.description or f"Imported from {self.source.name}."
        spec["inputs"] = self.inputs
        mappings = {name: self.mappings[name] for name in self.inputs if name in self.mappings}
        spec |= {"input_mappings": mappings} if mappings else {}
        spec |= {"vars": self.variables} if self.variables else {}
        spec["format_input"] = self.messages
        spec |= self._replies()
        spec |= {"tools": self.tools} if self.tools else {}
        spec |= {"llm": self.llm} if self.llm else {}
        cases = self.cases or self._case()
        spec |= {"cases": cases} if cases and self.schema is None and not self.tools else {}
        shown = {key: value for key, value in spec.items() if value != {} or key == "outputs"}
        return yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)

    def _replies(self) -> dict[str, Any]:
        if self.tools:
            return {
                "outputs": {"tool_calls": {"type": "list", "description": "The tools that the model calls."}},
                "format_output": {"parser": "tool_calls", "column": "tool_calls"},
            }
        if self.schema is None:
            return {"outputs": {OUTPUT: "The model's reply."}, "format_output": {"parser": "text"}}
        columns = {}
        for name, about in self.schema["properties"].items():
            known = about if isinstance(about, dict) else {}
            columns[name] = {"type": TYPES.get(str(known.get("type")), "any")}
            columns[name] |= {"description": known["description"]} if known.get("description") else {}
        return {"outputs": columns, "format_output": {"parser": "json"}, "structured_output": {"schema": self.schema}}

    def _find_inputs(self) -> None:
        """Add as inputs what the templates read and nothing declares; leave out what none reads."""
        environment, read = Environment(), set()  # noqa: S701 - nothing is rendered
        for message in self.messages:
            try:
                read |= meta.find_undeclared_variables(environment.parse(message["content"]))
            except TemplateSyntaxError as error:
                told = f"the {message['role']} message is no Jinja template by itself ({error.message})"
                raise UsageError(
                    f"{self.source}: {told}: where a loop makes the messages, write `for_each` or `splice` by hand"
                ) from None
        read -= set(self.variables)
        for name in sorted(read - set(self.inputs)):
            self.inputs[name] = {"description": f"The column {name}."}
        for name in [name for name in self.inputs if name not in read]:
            del self.inputs[name]
            self.leave(f"the input `{name}` is", "no message reads it")

    def _case(self) -> list[dict[str, Any]]:
        known = [name for name in self.inputs if name in self.sample]
        if any(name not in known for name, about in self.inputs.items() if about.get("required", True)):
            return []
        row = {self.mappings.get(name, name): self.sample[name] for name in known}
        return [{"input": row, "reply": STAND_IN, "expect": {OUTPUT: STAND_IN}}]


def column(type_: Any, description: Any = None, default: Any = None) -> dict[str, Any]:
    """An input of a task, of what another tool says of it."""
    made: dict[str, Any] = {}
    kind = TYPES.get(str(type_ or "string").lower(), "any")
    made |= {"type": kind} if kind != "string" else {}
    made |= {"required": False, "default": default} if default is not None else {}
    return made | {"description": str(description or "An input.")}


def read_yaml(text: str, source: Path) -> dict[str, Any]:
    """A mapping out of a YAML text; raises `UsageError` with the place."""
    data = Document.parse(text, str(source), []).data  # within bounds; tags and keys that are there twice are let pass
    if not isinstance(data, dict):
        raise UsageError(f"{source}: a mapping of keys is expected, as `name: …`")
    return data


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, as people write them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the dumper's interface
        """Write a value again instead of naming it."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and text.strip() == text.strip("\n") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


ROLE = re.compile(
    r"^[ \t]*#{0,2}[ \t]*(system|user|assistant|developer|tool|function)[ \t]*(?:\[[^\]\n]*\])?[ \t]*:[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def messages_of(text: str, alone: str = "system") -> list[dict[str, str]]:
    """The messages; a text without roles is one message of the role `alone`."""
    parts = ROLE.split(text)
    made = [
        {"role": role.lower(), "content": _content(body)} for role, body in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if before := parts[0].strip():
        made.insert(0, {"role": alone, "content": _content(before)})
    return made


def _content(body: str) -> str:
    lines = [line.rstrip() for line in body.strip("\n").splitlines()]
    return "\n".join(lines).strip() + ("\n" if len(lines) > 1 else "")

"""The content of another tool's prompt, and its conversion to the text of a task."""

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
"""Other tools' types to distask types."""
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
"""Other tools' generation keywords (in snake case) to distask keywords."""
NO_KEYS = (
    "replies are JSON with unknown keys: declare them in `outputs`, and read them with `format_output: {parser: json}`"
)
OUTPUT = "generation"
STAND_IN = "A reply."


class Draft(Struct):
    """An imported prompt before it becomes a task."""

    source: Path
    name: str = ""
    description: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    mappings: dict[str, str] = field(default_factory=dict)
    """Input to its column, if the names differ."""
    variables: dict[str, Any] = field(default_factory=dict)
    """Constants that the templates read."""
    llm: dict[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    """The schema of the replies."""
    tools: list[Any] | None = None
    cases: list[dict[str, Any]] = field(default_factory=list)
    sample: dict[str, Any] = field(default_factory=dict)
    """A sample row for the templates."""
    notes: list[str] = field(default_factory=list)
    """What could not be imported, and how to fix it."""

    def take_keywords(self, given: Mapping[str, Any]) -> None:
        """Import generation keywords."""
        for key, value in given.items():
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
            if value in (None, "", [], {}):
                continue
            if name in KEYWORDS:
                self.llm[KEYWORDS[name]] = value
            elif name in ("response_format", "tools", "functions"):
                self.take_format(value) if name == "response_format" else self.take_tools(value)
            else:
                self.notes.append(
                    f"the parameter `{key}: {_short(value)}` is left out: use `llm.extra_body` to send it"
                )

    def take_format(self, wanted: Any) -> None:
        """Import the response format."""
        kind = wanted.get("type") if isinstance(wanted, dict) else wanted
        if kind == "json_schema" and isinstance(wanted, dict):
            self.take_schema((wanted.get("json_schema") or {}).get("schema"))
        elif kind == "json_object":
            self.llm.setdefault("extra_body", {})["response_format"] = {"type": "json_object"}
            if self.schema is None:
                self.notes.append(NO_KEYS)

    def take_schema(self, schema: Any) -> None:
        """Import the reply schema; its keys become columns."""
        if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and schema["properties"]:
            self.schema = schema
        elif schema:
            self.notes.append(
                "the reply schema is not an object with properties and is left out: set `structured_output`"
            )

    def take_tools(self, tools: Any) -> None:
        """Import tools in the format of the API."""
        if isinstance(tools, list) and all(isinstance(t, dict) and "function" in t for t in tools):
            self.tools = tools
        elif tools:
            self.notes.append("the tools are not in the format of the API and are left out: set `tools`")

    def leave(self, what: str, hint: str) -> None:
        """Add a note about something that could not be imported."""
        self.notes.append(f"{what} left out: {hint}")

    def text(self, name: str | None = None) -> str:
        """Return the text of the task."""
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
        """Add undeclared names in templates as inputs, and remove unused inputs."""
        environment, read = Environment(), set()  # noqa: S701 - nothing is rendered
        for message in self.messages:
            try:
                read |= meta.find_undeclared_variables(environment.parse(message["content"]))
            except TemplateSyntaxError as error:
                problem = f"the {message['role']} message is not a valid Jinja template ({error.message})"
                raise UsageError(
                    f"{self.source}: {problem}: if a loop creates the messages, use `for_each` or `splice` instead"
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
    """Return a task input from another tool's declaration."""
    made: dict[str, Any] = {}
    kind = TYPES.get(str(type_ or "string").lower(), "any")
    made |= {"type": kind} if kind != "string" else {}
    made |= {"required": False, "default": default} if default is not None else {}
    return made | {"description": str(description or "An input.")}


def read_yaml(text: str, source: Path) -> dict[str, Any]:
    """Read a mapping from YAML; raises `UsageError` with the position."""
    data = Document.parse(text, str(source), []).data  # within limits; tags and duplicate keys are ignored
    if not isinstance(data, dict):
        raise UsageError(f"{source}: expected a mapping of keys, such as `name: …`")
    return data


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


class _Dumper(yaml.SafeDumper):
    """Writes multi-line strings as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the dumper's interface
        """Repeat values instead of using aliases."""
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
    """Split text into messages; text without a role gets the role `alone`."""
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

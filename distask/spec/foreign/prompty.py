"""Import a `.prompty` file of either version: YAML front matter, then the chat with role lines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from distask.errors import UsageError
from distask.spec.foreign.draft import NO_KEYS, Draft, column, messages_of, read_yaml

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = {
    "name", "description", "model", "inputs", "outputs", "sample", "template", "tools", "tags", "instructions",
    "inputSchema", "outputSchema", "displayName", "kind",
}  # fmt: skip
ABOUT = {"authors", "version", "base", "metadata", "$schema"}
"""Keys about the file that do not affect requests."""


def read_prompty(path: Path) -> Draft:
    """Return the draft of a prompty file."""
    text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    found = re.match(r"---[ \t]*\n(.*?)\n---[ \t]*(?:\n|$)(.*)", text, re.DOTALL)
    if found is None:
        raise UsageError(f"{path}: a prompty must start with front matter between two lines of ---")
    front, body = read_yaml(f"\n{found[1]}", path), found[2]
    draft = Draft(path, str(front.get("name") or ""), front.get("description"))
    _template(draft, front.get("template"))
    draft.messages = messages_of(_jinja(draft, str(front.get("instructions") or body)))
    if not draft.messages:
        raise UsageError(f"{path}: there is no chat after the front matter")
    sample = _sample(draft, front.get("sample"))
    _inputs(draft, front.get("inputs") or front.get("inputSchema") or {}, sample)
    _model(draft, front.get("model") or {})
    _outputs(draft, front.get("outputs") or front.get("outputSchema"))
    draft.take_tools(front.get("tools"))
    for key in front:
        if key not in KNOWN:
            draft.leave(f"`{key}` is", "it does not affect requests" if key in ABOUT else "a task has no such key")
    return draft


def _template(draft: Draft, template: Any) -> None:
    kind = template.get("type") or template.get("format") if isinstance(template, dict) else template
    if isinstance(kind, dict):
        kind = kind.get("kind")
    if kind not in (None, "jinja2", "mustache", "prompty"):
        raise UsageError(f"{draft.source}: its templates are {kind}; rewrite them in Jinja")


def _jinja(draft: Draft, body: str) -> str:
    """Convert the chat to Jinja: plain Mustache tags are the same, but sections differ."""
    if found := re.search(r"\{\{\s*[#^/>&!].*?\}\}", body):
        raise UsageError(f"{draft.source}: `{found[0]}` is a Mustache tag; rewrite it in Jinja")
    if images := re.findall(r"!\[[^\]]*\]\([^)]*\)", body):
        draft.leave(f"the image {images[0]} (kept as text) is", "use a part `{image: …}` to send it")
    return re.sub(r"\{\{\{(.*?)\}\}\}", r"{{\1}}", body)


def _sample(draft: Draft, sample: Any) -> dict[str, Any]:
    if isinstance(sample, str):
        file = draft.source.parent / sample.removeprefix("${file:").removesuffix("}")
        try:
            sample = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            draft.leave(f"the sample {file.name} is", f"it can't be read ({error})")
            return {}
    return sample if isinstance(sample, dict) else {}


def _inputs(draft: Draft, inputs: Any, sample: dict[str, Any]) -> None:
    draft.sample = dict(sample)
    if isinstance(inputs, dict) and isinstance(inputs.get("properties"), list | dict):
        inputs = inputs["properties"]
    if isinstance(inputs, list):
        inputs = {str(one.get("name")): one for one in inputs if isinstance(one, dict)}
    for name, about in inputs.items():
        known = about if isinstance(about, dict) else {"sample": about}
        draft.inputs[name] = column(
            known.get("type") or known.get("kind"), known.get("description"), known.get("default")
        )
        for key in ("sample", "example"):
            if key in known:
                draft.sample.setdefault(name, known[key])
    for name in sample:
        draft.inputs.setdefault(name, column(None, f"The column {name}."))


def _model(draft: Draft, model: Any) -> None:
    if isinstance(model, str):
        draft.llm["model"] = model
        return
    config = model.get("configuration") or model.get("connection") or {}
    named = model.get("id") or config.get("azure_deployment") or config.get("name") or config.get("model")
    if isinstance(named, str) and "${" not in named:
        draft.llm["model"] = named
    draft.take_keywords(model.get("parameters") or model.get("options") or {})
    if config:
        kind = str(config.get("type") or model.get("provider") or "its own")
        draft.leave(f"the endpoint ({kind}) is", "select it for a run with --config, or --base-url and --model")
    if model.get("api") == "completion":
        draft.leave("`api: completion` is", "the text is sent as a chat; set `completion` in the task to send raw text")


def _outputs(draft: Draft, outputs: Any) -> None:
    if isinstance(outputs, dict) and isinstance(outputs.get("properties"), list | dict):
        outputs = outputs["properties"]
    if isinstance(outputs, list):
        outputs = {str(one.get("name")): one for one in outputs if isinstance(one, dict)}
    if not isinstance(outputs, dict) or not outputs:
        return
    kinds = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
    properties = {}
    for name, about in outputs.items():
        known = about if isinstance(about, dict) else {"type": about}
        kind = str(known.get("type") or known.get("kind") or "string")
        properties[name] = {"type": kinds.get(kind, kind)} | (
            {"description": known["description"]} if known.get("description") else {}
        )
    draft.schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    extra = draft.llm.get("extra_body", {})
    extra.pop("response_format", None)
    if not extra:
        draft.llm.pop("extra_body", None)
    draft.notes = [note for note in draft.notes if note != NO_KEYS]

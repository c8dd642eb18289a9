"""Import a Prompt Flow folder: the LLM node of its `flow.dag.yaml`, and the node's template."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from distask.errors import UsageError
from distask.spec.foreign.draft import KEYWORDS, Draft, column, messages_of, read_yaml

if TYPE_CHECKING:
    from pathlib import Path

FLOW = ("flow.dag.yaml", "flow.dag.yml")
OF_THE_MODEL = ("deployment_name", "model")
REFERENCE = re.compile(r"\$\{(?P<of>inputs|\w+)\.(?P<what>[\w.]+)\}")
NOT_SENT = ("functions", "function_call", "best_of", "echo", "suffix")


def read_flow(path: Path, wanted: str | None) -> Draft:
    """Return the draft of a flow's LLM node; `wanted` selects one of several."""
    file = next((path / name for name in FLOW if (path / name).is_file()), path) if path.is_dir() else path
    if file.is_dir():
        raise UsageError(f"{path}: there is no {FLOW[0]} in this folder")
    flow = read_yaml(file.read_text(encoding="utf-8-sig"), file)
    nodes = [_settled(flow, node) for node in flow.get("nodes") or [] if isinstance(node, dict)]
    node = _chosen(file, [n for n in nodes if n.get("type") == "llm"], wanted)
    draft = Draft(file, str(node.get("name") or ""), flow.get("description"))
    template = file.parent / str((node.get("source") or {}).get("path") or "")
    if not template.is_file() or file.parent.resolve() not in template.resolve().parents:
        raise UsageError(
            f"{file}: the template of the node `{draft.name}` is not a file in the flow: {template.name or '(none)'}"
        )
    draft.messages = messages_of(template.read_text(encoding="utf-8-sig").replace("\r\n", "\n"), alone="user")
    if not draft.messages:
        raise UsageError(f"{template}: the template is empty")
    _variables(draft, flow.get("inputs") or {}, node.get("inputs") or {})
    others = [str(n.get("name")) for n in nodes if n is not node and n.get("name") != node.get("name")]
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        draft.leave(f"the node{'s' if len(others) > 1 else ''} {names} {'are' if len(others) > 1 else 'is'}",
                    "import another LLM node separately (--node), and run code as a step")  # fmt: skip
    if node.get("connection"):
        draft.leave(f"the connection `{node['connection']}` is", "select the endpoint of a run with --config")
    return draft


def _settled(flow: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return a node with its default variant."""
    if not node.get("use_variants"):
        return node
    variants = (flow.get("node_variants") or {}).get(node.get("name")) or {}
    chosen = (variants.get("variants") or {}).get(variants.get("default_variant_id")) or {}
    return {**node, **(chosen.get("node") or {})}


def _chosen(file: Path, nodes: list[dict[str, Any]], wanted: str | None) -> dict[str, Any]:
    names = [str(node.get("name")) for node in nodes]
    listed = ", ".join(f"`{name}`" for name in names)
    if not nodes:
        raise UsageError(f"{file}: this flow has no LLM node (`type: llm`)")
    if wanted is None and len(nodes) > 1:
        raise UsageError(f"{file}: the flow has several LLM nodes: {listed}; select one: --node {names[0]}")
    if wanted is not None and wanted not in names:
        raise UsageError(f"{file}: there is no LLM node `{wanted}`; the flow has {listed}")
    return nodes[0 if wanted is None else names.index(wanted)]


def _variables(draft: Draft, flow_inputs: dict[str, Any], given: dict[str, Any]) -> None:
    """Import what the node's template reads: inputs of the flow, outputs of other nodes, and constants."""
    for name, value in given.items():
        if name in OF_THE_MODEL:
            draft.llm["model"] = value
        elif name in KEYWORDS or name in ("response_format", "tools", *NOT_SENT):
            draft.take_keywords({name: value})
        elif not isinstance(value, str) or (found := REFERENCE.fullmatch(value.strip())) is None:
            draft.variables[name] = value
        elif found["of"] == "inputs":
            about = flow_inputs.get(found["what"]) or {}
            draft.inputs[name] = column(about.get("type"), about.get("description"), about.get("default") or None)
            if found["what"] != name:
                draft.mappings[name] = found["what"]
            if about.get("default"):
                draft.sample[name] = about["default"]
        else:
            draft.inputs[name] = column("any", f"The output of `{found['of']}`.")
            draft.notes.append(f"`{name}` is the output of the node `{found['of']}`: add it as a column")

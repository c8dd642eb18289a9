"""Import a `.prompt.yml` of GitHub Models: messages, model parameters and test rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distask.errors import UsageError
from distask.formatting import several
from distask.spec.foreign.draft import OUTPUT, Draft, read_yaml

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = {
    "name", "description", "model", "modelParameters", "messages", "testData", "evaluators", "responseFormat",
    "jsonSchema",
}  # fmt: skip


def read_github_models(path: Path) -> Draft:
    """Return the draft of a prompt file."""
    data = read_yaml(path.read_text(encoding="utf-8-sig"), path)
    draft = Draft(path, str(data.get("name") or ""), data.get("description"))
    messages = data.get("messages")
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("content"), str) for m in messages
    ):
        raise UsageError(f"{path}: `messages` must be a list of messages with `role` and `content`")
    draft.messages = [{"role": str(m.get("role", "user")), "content": m["content"]} for m in messages]
    if data.get("model"):
        draft.llm["model"] = str(data["model"])
    draft.take_keywords(data.get("modelParameters") or {})
    _format(draft, data)
    _cases(draft, data.get("testData") or [])
    for one in data.get("evaluators") or []:
        name = one.get("name") if isinstance(one, dict) else one
        draft.leave(f"the evaluator `{name}` is", "use `checks` for expressions, or a separate task for a judge")
    for key in data:
        if key not in KNOWN:
            draft.leave(f"`{key}` is", "a task has no such key")
    return draft


def _format(draft: Draft, data: dict[str, Any]) -> None:
    schema = data.get("jsonSchema")
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            draft.leave("`jsonSchema` is", f"it is not valid JSON ({error})")
            schema = None
    if isinstance(schema, dict) and "schema" in schema and "properties" not in schema:
        schema = schema["schema"]
    draft.take_schema(schema)
    draft.take_format(data.get("responseFormat"))


def _cases(draft: Draft, rows: list[Any]) -> None:
    """Convert test rows with `expected` to cases with that reply; `distask test --live` uses the model."""
    for row in rows:
        if not isinstance(row, dict):
            continue
        values = {key: value for key, value in row.items() if key != "expected"}
        draft.sample = draft.sample or values
        if isinstance(row.get("expected"), str):
            draft.cases.append({"input": values, "reply": row["expected"], "expect": {OUTPUT: row["expected"]}})
    without = len(rows) - len(draft.cases)
    if without:
        what = f"{several(without, 'row')} of `testData` without `expected` {'is' if without == 1 else 'are'}"
        draft.leave(what, "a case needs an expected reply; run the task on such rows")
    if draft.schema is not None and draft.cases:
        draft.leave("the rows of `testData` are", "they expect text, but replies have a schema")

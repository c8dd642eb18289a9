"""Every message with which distask refuses something, out of its source; `python tests/test_messages.py` prints them all."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "distask"
RAISED = (
    "UsageError", "ConfigError", "InputError", "BadParameter", "Fault", "RunError", "EndpointError", "StoreError",
    "OutputError", "CostReached", "RowError", "InvalidReply",
)  # fmt: skip
"""What is raised, or noted in a list of a spec's faults (`Fault`)."""
NOTED = ("Fault", "Diagnostic", "diagnostic", "_tell", "_no_file")
"""Calls that note a fault of a spec; the first of their arguments that is a sentence says what."""


def messages() -> dict[str, list[str]]:
    """The messages by what is raised; `…` stands for what is filled in."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (result := _told(node, of_a_spec="spec" in path.parts)):
                found[result[0]][result[1]] = None
    return {name: sorted(found[name]) for name in RAISED if found[name]}


def _told(call: ast.Call, *, of_a_spec: bool) -> tuple[str, str] | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    heading = "Fault" if name in NOTED and of_a_spec else name
    if heading not in RAISED or (name == "Fault" and not of_a_spec):
        return None
    result = (text for argument in call.args if " " in (text := _text(argument)).strip("… :"))
    text = next(result, None)
    return None if text is None else (heading, text)


def _text(node: ast.expr) -> str:
    """A literal text, with … for each value; of two that are chosen between, both."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(v) if isinstance(v, ast.Constant) else "…" for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_text(node.left) or "…") + (_text(node.right) or "…")
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body)} / {_text(node.orelse)}".strip(" /")
    return ""


EVERY = [(kind, text) for kind, said in messages().items() for text in said]
NAMES = ("Azure", "JSON", "TMPDIR", "API")
"""Words that are written so wherever they stand."""


def test_all_of_them_are_found():
    assert len(EVERY) > 250
    assert {kind for kind, _ in EVERY} >= {
        "UsageError",
        "ConfigError",
        "InputError",
        "Fault",
        "RowError",
        "InvalidReply",
    }


@pytest.mark.parametrize(("kind", "text"), EVERY, ids=lambda value: value[:60])
def test_a_message_reads_as_the_others_do(kind, text):
    """It goes on behind `error: ` or a place, so it begins small and has no full stop; it neither scolds nor begs."""
    first = re.sub(r"^[….: ]+", "", text)

    assert not re.match(r"[A-Z][a-z]", first) or first.startswith(NAMES), text
    assert not text.endswith((".", "!")) or "\n" in text, text
    assert not re.search(r"\b(illegal|failed to|oops|sorry|please|unable to|must not be)\b", text, re.IGNORECASE), text
    assert text.count("`") % 2 == 0, text


if __name__ == "__main__":
    for kind, text in EVERY:
        print(f"{kind:<14}{text}")

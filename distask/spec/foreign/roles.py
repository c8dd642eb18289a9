"""Messages out of one text with lines that name roles (`system:`, `# user:`), as prompty and Prompt Flow write them."""

from __future__ import annotations

import re

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

"""The English of the project: words that make a sentence sound translated stay out of docs, help, messages and prompts."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = {
    r"mend(?:s|ed|ing)?": "fix, hint, repair",
    r"told(?! apart)|tells?(?! .{0,30}\bapart)": "report, warn, print, show",
    r"whom": "the endpoint, the model, which",
    r"(?:asks?|asked) nobody|nobody is asked|nothing was asked": "no requests are sent",
    r"at the (?:most|least)": "at most, at least",
    r"hang(?:s|ing)? on|hung on": "depends on",
    r"beside": "next to, compared with, in addition to",
    r"(?:looked|looks|read|reads) through": "scanned",
    r"go(?:es|ing)? on|went on|gone on": "continues, resumes",
    r"ask(?:s|ed|ing)? (?:for )?(?:again|once more|anew)": "retried, requested again",
    r"overrul(?:e|es|ed|ing)": "overrides",
    r"ma[dk]es? up|making up": "simulated",
    r"ma[dk]es? ready": "compiled, prepared",
    r"(?:what|that) is there already": "existing",
    r"stands? (?:before|in|behind|below|above|between)": "is in, precedes",
    r"as often as you like": "can be repeated",
    r"br(?:oke|eaks?) off": "was interrupted",
    r"reckon(?:s|ed|ing)?": "estimate",
    r"is no (?:JSON|text|number|list|mapping|object|file|regular|Boolean|dataset|store)": "is not valid JSON, is not a list",
    r"bettered": "improved",
    r"off the matter|to the matter": "off topic",
    r"f(?:ind|inds|ound) out": "(say it directly)",
    r"what it is that": "(say it directly)",
}
"""What is kept out, and what to write instead."""
GOOD_IN_PROMPTS = ("told", "go(?:es", "ma[dk]es? up", "stands?", "is no", "ask(?:s")
"""How the words begin that a prompt, a row or a reply may well have: `Tell the customer …`, `nothing is made up`."""


def pattern_of(words):
    return re.compile("|".join(rf"\b(?:{word})\b" for word in words), re.IGNORECASE)


BANNED = pattern_of(WORDS)
BANNED_IN_PROMPTS = pattern_of(word for word in WORDS if not word.startswith(GOOD_IN_PROMPTS))
NAMES = {"mend"}
"""Strings that are names in an output's format or in the page of a report."""

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "tasks").glob("*.yaml")),
    *sorted((ROOT / "configs").glob("*.yaml")),
]


def found(number, text, banned=BANNED):
    text = re.sub("|".join(rf"`{name}`" for name in NAMES), "", text)
    return [(number, match[0], text.strip()[:120]) for match in banned.finditer(text)]


def of_code(path):
    """What is found in the strings, docstrings and comments of a module; names are not looked at."""
    source = path.read_text(encoding="utf-8")
    hits = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in NAMES:
            hits += found(node.lineno, node.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            hits += found(token.start[0], token.string)
    return hits


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_and_prompts_are_in_plain_english(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    banned = BANNED_IN_PROMPTS if path.parent.name in ("tasks", "gallery") else BANNED

    assert [hit for number, line in enumerate(lines, 1) for hit in found(number, line, banned)] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "distask").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT / "distask"))
)
def test_help_messages_and_docstrings_are_in_plain_english(path):
    assert of_code(path) == []

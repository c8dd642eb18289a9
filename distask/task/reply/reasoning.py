"""Split a reply into the model's reasoning and its answer.

If the server does not parse reasoning, the reply contains it: in the tags of the model family (without the opening tag
if the chat template already wrote it), or in a channel of the harmony format (gpt-oss). Tags in code, and tags that
prose mentions, are part of the answer.
"""

from __future__ import annotations

import re
from bisect import bisect
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MODEL_TAGS = {
    "<think>": "</think>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}
"""Opening to closing tags that models are trained to write."""
PROMPTED_TAGS = {"<thinking>": "</thinking>", "<reasoning>": "</reasoning>"}
"""Tags that prompts ask for; a parser may read them itself."""
TAGS = MODEL_TAGS | PROMPTED_TAGS

_HARMONY = re.compile(
    r"(?:<\|start\|>\w*)?<\|channel\|>\s*(?P<channel>\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|(?:start|end|return|call|channel)\|>|\Z)(?:<\|(?:end|return|call)\|>)?",
    re.DOTALL,
)
_CHANNEL_TOKENS = ("<|channel|>", "<|start|>")
_STRIPPED_FINAL = "assistantfinal"
"""The remains of harmony's markers before the answer, if the server removed special tokens."""
_FENCE = re.compile(r"^[ \t]{0,3}(?:```+|~~~+)", re.MULTILINE)
_QUOTES = "`'\""
_NEARBY = 300
"""Characters of context in a line, on each side of a tag, to check whether the tag is in code."""
_MAX_NESTED = 20
"""Maximum tags after an opening tag that are matched by nesting depth."""


class Split(Struct, frozen=True):
    """A reply in two parts.

    Attributes:
        reasoning: None if the reply has none.
        answer: the reply without its reasoning.
        closed: whether the reasoning ended.
    """

    reasoning: str | None
    answer: str
    closed: bool = True


def split_reasoning(text: str, tags: Collection[str] = TAGS) -> Split:
    """Split a reply into reasoning and answer.

    Args:
        text: the reply.
        tags: the opening tags, of `TAGS`, that mark reasoning.
    """
    if (channels := _channels(text)) is not None:
        return channels
    folded = text.lower()
    present = [tag for tag in tags if TAGS[tag].lower() in folded or tag.lower() in folded]
    return _Blocks(text, present).split() if present else Split(None, text)


def without_blank_start(answer: str) -> str:
    """Strip the blank lines left by removed reasoning; indented code stays indented."""
    blank = len(answer) - len(answer.lstrip())
    line = answer.rfind("\n", 0, blank) + 1
    return answer[line:] if line and blank - line > 1 else answer[blank:]


class _Tag(Struct, frozen=True):
    begin: int
    end: int
    closes: str
    """The closing tag of its pair."""
    is_opening: bool
    is_fenced: bool
    is_quoted: bool

    @property
    def is_mention(self) -> bool:
        """Whether the tag is in code or in quotes."""
        return self.is_fenced or self.is_quoted


class _Blocks:
    """Finds the blocks of reasoning in a reply, in linear time."""

    def __init__(self, text: str, openings: Collection[str]) -> None:
        self._text = text
        closings = {opening.lower(): TAGS[opening].lower() for opening in openings}
        names = "|".join(re.escape(tag) for pair in closings.items() for tag in pair)
        fences = [match.start() for match in _FENCE.finditer(text)]
        fences = fences[: len(fences) // 2 * 2]  # an odd last fence is unclosed
        self._missing: set[str] = set()
        """Closing tags that do not occur in the rest of the reply."""
        self._tags: list[_Tag] = []
        for match in re.finditer(names, text, re.IGNORECASE):
            (begin, end), name = match.span(), match[0].lower()
            fenced = bisect(fences, begin) % 2 == 1
            self._tags.append(
                _Tag(begin, end, closings.get(name, name), name in closings, fenced, self._is_quoted(begin, end))
            )

    def split(self) -> Split:
        """The reasoning of all blocks, and the reply without them."""
        reasoning: list[str] = []
        answer: list[str] = []
        at, closed = 0, True
        for begin, inner, inner_end, end in self._blocks():
            answer.append(self._text[at:begin])
            reasoning.append(self._text[inner:inner_end].strip())
            at, closed = end, end > inner_end
        if not reasoning:
            return Split(None, self._text)
        answer.append(self._text[at:])
        return Split("\n\n".join(filter(None, reasoning)), "".join(answer), closed)

    def _blocks(self) -> Iterator[tuple[int, int, int, int]]:
        """The bounds of each block: start of the block, start and end of its text, end of the block."""
        first = self._first()
        at = 0
        if first is not None:
            yield first
            at = first[3]
        for number, tag in enumerate(self._tags):
            if tag.begin < at or not tag.is_opening or tag.is_mention:
                continue
            begins_line = self._begins_line(tag)
            if first is None and not begins_line:
                continue
            closing = self._closing(number)
            if closing is not None:
                at = closing.end
                yield tag.begin, tag.end, closing.begin, at
            elif first is not None and begins_line:
                at = len(self._text)
                yield tag.begin, tag.end, at, at

    def _first(self) -> tuple[int, int, int, int] | None:
        """The block at the start of the reply; its opening tag may be missing."""
        begins = next(iter(self._tags), None)
        if begins is not None and begins.is_opening and not self._text[: begins.begin].strip():
            closing, length = self._closing(0), len(self._text)
            return 0, begins.end, *((length, length) if closing is None else (closing.begin, closing.end))
        opened: set[str] = set()
        for tag in self._tags:
            if tag.closes in opened or tag.is_mention:
                continue
            if not tag.is_opening:
                return 0, 0, tag.begin, tag.end
            opened.add(tag.closes)
        return None

    def _closing(self, number: int) -> _Tag | None:
        """The tag that closes a block, which may contain nested blocks; None if it is never closed."""
        opening = self._tags[number]
        if opening.closes in self._missing:
            return None
        depth = 1
        unfenced: _Tag | None = None
        fenced: _Tag | None = None
        for place in range(number + 1, len(self._tags)):
            tag = self._tags[place]
            if tag.closes != opening.closes or tag.is_quoted:
                continue
            if tag.is_fenced:
                fenced = fenced or (None if tag.is_opening else tag)
                continue
            depth += 1 if tag.is_opening else -1
            if not tag.is_opening:
                unfenced = unfenced or tag
            if not depth or (unfenced is not None and place - number > _MAX_NESTED):
                break
        if not depth:
            return tag
        found = unfenced or fenced  # an unclosed fence in the reasoning must not hide the tag
        if found is None:
            self._missing.add(opening.closes)
        return found

    def _begins_line(self, tag: _Tag) -> bool:
        before = self._text[max(0, tag.begin - _NEARBY) : tag.begin]
        return not before.rpartition("\n")[2].strip()

    def _is_quoted(self, begin: int, end: int) -> bool:
        """Whether a tag is in quotes, or in code within its line."""
        before = self._text[max(0, begin - _NEARBY) : begin].rpartition("\n")[2]
        after = self._text[end : end + _NEARBY].partition("\n")[0]
        if before and before[-1] in _QUOTES and after.startswith(before[-1]):
            return True
        return before.count("`") % 2 == 1 and "`" in after


def _channels(text: str) -> Split | None:
    """Split a reply in the harmony format, with or without its markers; None for other formats."""
    bare = text.lstrip()
    if bare.startswith(_CHANNEL_TOKENS) and "<|message|>" in bare:
        found = [(match["channel"].lower(), match["text"].strip()) for match in _HARMONY.finditer(bare)]
        if not found:
            return None
        final = [text for channel, text in found if channel == "final"]
        reasoning = "\n\n".join(text for channel, text in found if channel != "final" and text)
        return Split(reasoning or None, "\n\n".join(final), closed=bool(final))
    if bare.startswith("analysis") and _STRIPPED_FINAL in bare:
        text, _, answer = bare.removeprefix("analysis").rpartition(_STRIPPED_FINAL)
        return Split(text.strip(), answer.strip())
    return None

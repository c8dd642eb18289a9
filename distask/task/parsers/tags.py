"""`tags`: `<name>…</name>` blocks become columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import Progress
from distask.task.parsers.base import Context, Given, Parser, Scope, invalid, tags_beside, text_of
from distask.task.reply.examples import simulated, written

if TYPE_CHECKING:
    import random

    from distask.llm.request import Completion
    from distask.spec.language.parsers import TagsParser as Options


class TagsParser(Parser):
    """Finds blocks by searching for their closing tags, in linear time even for a reply that loops."""

    def __init__(self, options: Options, context: Context) -> None:
        tags = options.tags
        if tags is None:
            tags = list(context.outputs)
        self._tags = dict(tags) if isinstance(tags, dict) else {t: t for t in tags}
        self._tags = {c: t for c, t in self._tags.items() if c in context.outputs}
        self._find = options.find
        self._columns = context.columns
        self.reasoning_tags = tags_beside(*self._tags.values())

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:  # noqa: ARG002 - a parser's interface
        text = text_of(completion, self.reasoning_tags)
        lowered = text.lower()
        columns: dict[str, Any] = {}
        for column, tag in self._tags.items():
            found = blocks(text, lowered, tag.lower())
            if not found and not self._columns[column].nullable:
                progress = Progress.PART if any(columns.values()) else Progress.NOTHING
                raise invalid(f"the reply has no <{tag}>…</{tag}>", progress)
            one = 0 if self._find == "first" else -1
            columns[column] = found if self._find == "all" else found[one] if found else None
        return columns

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:  # noqa: ARG002
        lines = []
        for column, tag in self._tags.items():
            value = simulated(self._columns[column], rng, given)
            values = value if self._find == "all" and isinstance(value, list) else [value]
            lines += [f"<{tag}>{written(v)}</{tag}>" for v in values]
        return "\n".join(lines)


def blocks(text: str, lowered: str, tag: str) -> list[str]:
    """The text between each `<tag …>` and the next `</tag>`, stripped of surrounding white space."""
    found, at, close = [], 0, f"</{tag}>"
    if len(lowered) != len(text):  # lowercasing can change the length of a text
        lowered = text
    while (start := lowered.find(f"<{tag}", at)) >= 0:
        after = start + len(tag) + 1
        if lowered[after : after + 1] not in (">", " ", "\n", "\t"):
            at = after
            continue
        begin = lowered.find(">", after)
        end = lowered.find(close, begin) if begin >= 0 else -1
        if end < 0:
            break
        found.append(text[begin + 1 : end].strip())
        at = end + len(close)
    return found

"""`text`: the complete reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.task.parsers.base import Context, Given, Parser, Scope, text_of
from distask.task.reply.examples import simulated, written
from distask.task.reply.reasoning import TAGS, without_blank_start

if TYPE_CHECKING:
    import random

    from distask.llm.request import Completion
    from distask.spec.language.parsers import TextParser as Options


class TextParser(Parser):
    """Returns the reply, with its white space unless `strip` is set, and its reasoning unless that is dropped."""

    def __init__(self, options: Options, context: Context) -> None:
        self._strip = options.strip
        self.reasoning_tags = TAGS if options.reasoning == "drop" else None
        self._column = context.only(options.column)
        self._type = context.columns[self._column]

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:  # noqa: ARG002 - a parser's interface
        text = text_of(completion, self.reasoning_tags)
        if len(text) < len(completion.text or ""):
            text = without_blank_start(text)
        return {self._column: text.strip() if self._strip else text}

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:  # noqa: ARG002
        return written(simulated(self._type, rng, given))

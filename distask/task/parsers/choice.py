"""`choice`: the label that a reply gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import Progress
from distask.task.parsers.base import Context, Given, Parser, Scope, invalid, labels, text_of
from distask.task.reply.verdicts import Labels

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from distask.llm.request import Completion
    from distask.spec.language.parsers import ChoiceParser as Options

_MOST_TOLD = 50
"""Maximum labels that a message lists."""


class ChoiceParser(Parser):
    """Reads the label that the reply gives as its verdict (see `verdicts`), or else the only label it mentions."""

    def __init__(self, options: Options, context: Context) -> None:
        self._column = context.only(options.column)
        self._case = options.case_sensitive
        self._multiple = options.multiple
        choices = options.choices
        self._from_row = context.expression(choices) if isinstance(choices, str) else None
        output = context.outputs[self._column]
        of_items = (output.items or {}).get("enum", []) if isinstance(output.items, dict) else []
        known = choices if isinstance(choices, list) else output.choices or of_items
        self._choices = Labels([str(c) for c in known], case_sensitive=self._case)

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        text, choices = text_of(completion), self._of(scope)
        if self._multiple:
            mentioned = choices.mentioned(text)
            if not mentioned:
                raise invalid(_none_of(choices.choices))
            return {self._column: mentioned}
        given = choices.verdict(text)
        if not given:
            raise invalid(_none_of(choices.choices))
        if len(given) > 1:
            raise invalid(f"the reply names {' and '.join(given[:_MOST_TOLD])}", Progress.PART)
        return {self._column: given[0]}

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:
        if self._column in given:
            value = given[self._column]
            return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        choices = self._of(scope).choices
        if self._multiple:
            return ", ".join(rng.sample(choices, rng.randint(1, len(choices))))
        return rng.choice(choices)

    def _of(self, scope: Scope) -> Labels:
        if self._from_row is None:
            return self._choices
        return Labels(list(map(str, labels(self._from_row(scope)))), case_sensitive=self._case)


def _none_of(choices: Sequence[str]) -> str:
    listed = ", ".join(choices[:_MOST_TOLD])
    return f"the reply names none of {listed}{', …' if len(choices) > _MOST_TOLD else ''}"

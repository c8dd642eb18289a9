"""`choice`: the one label that a reply names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.task.meter import METER
from distask.task.parsers.base import Context, Parser, Scope, invalid, labels, text_of

if TYPE_CHECKING:
    import random

    from distask.llm.request import Completion
    from distask.spec.model import ChoiceParser as Options

_MOST_TOLD = 50
"""Labels that a message lists."""
_AROUND = " \t\n.\"'`*_()[]{}:,;!?#"


class ChoiceParser(Parser):
    """A reply (or its last line) that is a label wins; else the one label that stands in it as a word."""

    def __init__(self, options: Options, context: Context) -> None:
        self._column = context.only(options.column)
        self._case = options.case_sensitive
        self._multiple = options.multiple
        choices = options.choices
        self._from_row = context.expression(choices) if isinstance(choices, str) else None
        output = context.outputs[self._column]
        of_items = (output.items or {}).get("enum", []) if isinstance(output.items, dict) else []
        known = choices if isinstance(choices, list) else output.choices or of_items
        self._choices = [str(c) for c in known]

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        text, choices = text_of(completion), self._of(scope)
        if self._multiple:
            named = self._named(text, choices)
            if not named:
                raise invalid(_none_of(choices))
            return {self._column: [c for c in choices if c in named]}
        lines = [line for line in text.splitlines() if line.strip()]
        for part in (text, lines[-1] if lines else ""):
            said = self._folded(part).strip(_AROUND)
            for choice in choices:
                if said == self._folded(choice).strip(_AROUND):
                    return {self._column: choice}
        named = self._named(text, choices)
        if len(named) != 1:
            raise invalid(f"the reply names {' and '.join(named)}" if named else _none_of(choices))
        return {self._column: named[0]}

    def example(self, rng: random.Random, scope: Scope) -> str:
        choices = self._of(scope)
        if self._multiple:
            return ", ".join(rng.sample(choices, rng.randint(1, len(choices))))
        return rng.choice(choices)

    def _of(self, scope: Scope) -> list[str]:
        return self._choices if self._from_row is None else list(map(str, labels(self._from_row(scope))))

    def _folded(self, text: str) -> str:
        return text if self._case else text.casefold()

    def _named(self, text: str, choices: list[str]) -> list[str]:
        """The labels that stand in the text as words, longer ones first, so that `not spam` is not `spam`."""
        rest, named = self._folded(text), []
        for choice in sorted(choices, key=len, reverse=True):
            METER.step()
            word = self._folded(choice)
            places = _words(rest, word)
            if places:
                named.append(choice)
                for at in reversed(places):
                    rest = rest[:at] + "\0" * len(word) + rest[at + len(word) :]
        return named


def _none_of(choices: list[str]) -> str:
    told = ", ".join(choices[:_MOST_TOLD])
    return f"the reply names none of {told}{', …' if len(choices) > _MOST_TOLD else ''}"


def _words(text: str, word: str) -> list[int]:
    places: list[int] = []
    at = 0
    while word and (found := text.find(word, at)) >= 0 and len(places) < 1000:
        end = found + len(word)
        before, after = text[found - 1 : found], text[end : end + 1]
        if not (before.isalnum() and word[:1].isalnum()) and not (after.isalnum() and word[-1:].isalnum()):
            places.append(found)
        at = end
    return places

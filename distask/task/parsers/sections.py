"""`sections`: the text after each marker becomes a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import Progress
from distask.task.parsers.base import Context, Given, Parser, Scope, invalid, tags_beside, text_of
from distask.task.reply.examples import simulated, written

if TYPE_CHECKING:
    import random

    from distask.llm.request import Completion
    from distask.spec.language.parsers import SectionsParser as Options


class SectionsParser(Parser):
    """Finds markers in any order; a marker at the start of a line takes precedence over one inside a line."""

    def __init__(self, options: Options, context: Context) -> None:
        self._markers = {c: m for c, m in options.markers.items() if c in context.outputs}
        self._columns = context.columns
        self.reasoning_tags = tags_beside(*self._markers.values())

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:  # noqa: ARG002 - a parser's interface
        text = text_of(completion, self.reasoning_tags)
        lowered = text.lower() if len(text.lower()) == len(text) else text
        places: dict[str, tuple[int, int]] = {}
        for column, marker in self._markers.items():
            at = _place(lowered, marker.lower() if lowered is not text else marker)
            if at >= 0:
                places[column] = (at, at + len(marker))
            elif not self._columns[column].nullable:
                raise invalid(f"the reply has no `{marker}`", Progress.PART if places else Progress.NOTHING)
        starts = sorted(start for start, _ in places.values())
        return {
            c: text[places[c][1] : next((s for s in starts if s >= places[c][1]), len(text))].strip()
            if c in places
            else None
            for c in self._markers
        }

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:  # noqa: ARG002
        return "\n\n".join(
            f"{marker} {written(simulated(self._columns[c], rng, given))}" for c, marker in self._markers.items()
        )


def _place(text: str, marker: str) -> int:
    if text.startswith(marker):
        return 0
    at = text.find("\n" + marker)
    return at + 1 if at >= 0 else text.find(marker)

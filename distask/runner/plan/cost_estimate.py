"""Estimate the cost of the missing replies: minimum, expected and maximum."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from distask.llm.prices import NOTHING, Known, cost_of, least_cost_of, most_cost_of
from distask.llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from distask.llm.request import Completion, Request
    from distask.spec.language.model import TaskSpec

SHORTEST = 1
"""Minimum tokens of a reply."""
PLACES_KEPT = 3


class CostEstimate(Struct):
    """Tokens and cost of the missing replies; prompt tokens are estimated from the length of the text."""

    known: Known = NOTHING
    batch: bool = False
    """Whether the run would use the batch API."""
    retries: int = 0
    """Maximum number of retries of an invalid reply."""
    from_cases: int | None = None
    """Mean tokens of the replies in the spec's test cases."""
    input_tokens: int = 0
    missing: Counter[int | None] = field(default_factory=Counter)
    """Number of missing replies by max_tokens."""
    too_long: int = 0
    """Number of rows whose chat exceeds the model's context."""
    longest: list[tuple[str, int]] = field(default_factory=list)
    """The first of these rows: place and tokens."""
    _input_most: int = 0
    """Prompt tokens if the server returns one reply per call, so that each reply needs its own prompt."""
    _seen: int = 0
    _seen_tokens: int = 0

    def found(self, completion: Completion) -> None:
        """Use a stored reply for the estimate."""
        if completion.usage.output_tokens is not None:
            self._seen += 1
            self._seen_tokens += completion.usage.output_tokens

    def ask(self, request: Request, missing: int, place: str) -> None:
        """Count the missing replies of a request."""
        tokens = estimate_tokens(request.messages)
        self.input_tokens += tokens
        self._input_most += tokens * missing
        self.missing[request.max_tokens] += missing
        if self.known.context is not None and tokens > self.known.context:
            self.too_long += 1
            if len(self.longest) < PLACES_KEPT:
                self.longest.append((place, tokens))

    @property
    def output_limit(self) -> int | None:
        """Maximum tokens of the missing replies; None if a request has no max_tokens."""
        if any(limit is None and count for limit, count in self.missing.items()):
            return None
        return sum((limit or 0) * count for limit, count in self.missing.items())

    @property
    def basis(self) -> str:
        """The basis of the expected tokens; empty if there is none."""
        if self._seen:
            return f"from {self._seen:,} replies in the store" if self._seen > 1 else "from 1 reply in the store"
        if self.from_cases is not None:
            return "from the test cases"
        return "half of max_tokens" if self.output_limit is not None else ""

    @property
    def output_expected(self) -> int | None:
        """Expected tokens of the missing replies; None without a basis."""
        if not self.basis:
            return None
        each = self._seen_tokens / self._seen if self._seen else self.from_cases
        total = 0.0
        for limit, count in self.missing.items():
            expected = (limit or 0) / 2 if each is None else each
            total += count * (expected if limit is None else min(expected, limit))
        return round(total)

    def costs(self) -> dict[str, float | None] | None:
        """Return USD as `least`, `expected` and `most`, each None if unknown; returns None without a price."""
        price = self.known.price
        if price is None:
            return None
        least = least_cost_of(price, self.input_tokens, SHORTEST * self.missing.total())
        expected = None if self.output_expected is None else cost_of(price, self.input_tokens, self.output_expected)
        limit, times = self.output_limit, 1 + self.retries
        most = None if limit is None else most_cost_of(price, self._input_most * times, limit * times)
        return {"least": least, "expected": expected, "most": most}


def tokens_of_cases(spec: TaskSpec) -> int | None:
    """Return the mean tokens of the replies in test cases that expect columns."""
    texts = [
        case.reply if isinstance(case.reply, str) else str(case.reply.get("text") or "")
        for case in spec.cases
        if case.expect is not None
    ]
    return round(sum(map(estimate_tokens, texts)) / len(texts)) if texts else None

"""A provider without a model: it answers from the task itself, so that a whole run can be rehearsed with no key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.errors import RowError
from distask.llm.request import CallFailed, Completion, Failure, Usage
from distask.llm.tokens import certain_logprobs, estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.llm.request import Request

MODEL = "offline"
REPLY = "This is an offline reply."
"""Where the request brings no example."""


class OfflineProvider:
    """Answers with `Request.example`: the same reply for the same row, seed and sample."""

    async def complete(self, request: Request, samples: Sequence[int]) -> list[Completion]:
        """A completion for each of `samples`; tokens are an estimate."""
        asked = estimate_tokens(request.messages)
        completions = []
        for place, sample in enumerate(samples):
            text = self._reply(request, sample)
            usage = Usage(0 if place else asked, estimate_tokens(text))
            logprobs = certain_logprobs(text) if request.keywords.get("logprobs") else None
            completions.append(Completion(text=text, usage=usage, model=MODEL, logprobs=logprobs))
        return completions

    async def close(self) -> None:
        """Nothing is open."""

    @staticmethod
    def _reply(request: Request, sample: int) -> str:
        if request.example is None:
            return REPLY
        try:
            return request.example(sample)
        except RowError as error:
            failure = Failure("no_example", f"no reply can be made up for this row: {error.message}", "row")
            raise CallFailed(failure) from None

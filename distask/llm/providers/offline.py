"""Simulate replies from the task itself, so that a complete run can be tested without a model or a key."""

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
"""The reply to a request without an example."""


class OfflineProvider:
    """Replies with `Request.example`: the same reply for the same row, seed and sample."""

    async def complete(self, request: Request, samples: Sequence[int]) -> list[Completion]:
        """Return a completion for each of `samples`; token counts are estimates."""
        asked = estimate_tokens(request.messages)
        completions = []
        for place, sample in enumerate(samples):
            text = self._reply(request, sample)
            usage = Usage(0 if place else asked, estimate_tokens(text))
            logprobs = certain_logprobs(text) if request.keywords.get("logprobs") else None
            completions.append(Completion(text=text, usage=usage, model=MODEL, logprobs=logprobs))
        return completions

    async def close(self) -> None:
        """Do nothing: no connection is open."""

    @staticmethod
    def _reply(request: Request, sample: int) -> str:
        if request.example is None:
            return REPLY
        try:
            return request.example(sample)
        except RowError as error:
            failure = Failure("no_example", f"can't simulate a reply for this row: {error.message}", "row")
            raise CallFailed(failure) from None

"""Measure how uncertain a judge is about a row, from its replies, its jurors and its likelihoods."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from distask.task.aggregate import agreement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LONGEST_VOTE = 60
"""Maximum characters of a text that counts as a vote; a longer one is a reason."""


def uncertainty(answers: Sequence[Mapping[str, Any]], columns: Sequence[str], *, has_jurors: bool) -> float | None:
    """Return the strongest sign of uncertainty, from 0 to 1; None if the row shows no sign either way.

    Args:
        answers: the output columns of each reply to the row.
        columns: the columns that a person is asked for: only in these do replies disagree.
        has_jurors: whether lists are the votes of jurors, as in a task of steps, and not a reply's own list.

    The signs are the share of replies, or of the votes in a list, that differ from the most common one, and the entropy
    of likelihoods divided by its maximum, which is 1 if they are even.
    """
    signs = list(_of_replies(answers, columns))
    for answer in answers:
        for value in answer.values():
            sign = None
            if isinstance(value, dict):
                sign = _of_likelihoods(value)
            elif isinstance(value, list) and has_jurors:
                sign = _of_votes(value)
            if sign is not None:
                signs.append(sign)
    return max(signs, default=None)


def _of_replies(answers: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[float]:
    for column in columns:
        given = [value for answer in answers if (value := answer.get(column)) is not None]
        share = agreement(given) if len(given) > 1 else None
        if share is not None:
            yield 1 - share


def _of_votes(values: Sequence[Any]) -> float | None:
    votes = [value for value in values if value is not None]
    if len(votes) < 2 or not all(_is_vote(vote) for vote in votes):
        return None
    share = agreement(votes)
    return None if share is None else 1 - share


def _is_vote(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST_VOTE)


def _of_likelihoods(values: Mapping[str, Any]) -> float | None:
    """Return the normalized entropy of numbers that add up to 1; None for any other object."""
    numbers = [v for v in values.values() if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 2 or len(numbers) < len(values) or min(numbers) < 0 or not 0.98 <= sum(numbers) <= 1.02:
        return None
    entropy = -sum(p * math.log(p) for p in numbers if p > 0)
    return min(1.0, entropy / math.log(len(numbers)))

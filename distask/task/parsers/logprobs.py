"""`logprobs`: the probability of each possible answer, at the token where the model answered.

A judge that answers 4 may have given 5 almost the same probability, so the expected value carries more information than
the sampled number (G-Eval, arXiv:2303.16634).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from distask.errors import Progress
from distask.task.parsers.base import Context, Given, Parser, Scope, invalid, labels, text_of
from distask.task.reply.scores import score_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

    from distask.llm.request import Completion
    from distask.spec.language.parsers import LogprobsParser as Options

_AROUND = " \t\n\r.\"'`*_()[]{}:,;!?#ĠĊ▁"
"""Characters that may surround an answer in its token, including the space markers of some tokenizers."""
_DIGITS = 6
_NUMBER_BEFORE = re.compile(r"\d[.,]?\Z|[/-]\s*\Z")
"""Precedes a digit that is part of another number or range: the 5 in `3.5`, `4-5` and `4/5`."""
_MOST_BEFORE = 10
_MOST_AFTER = 1_000
"""Maximum characters before and after an answer that are examined."""
_MOST_TOLD = 30
"""Maximum characters of a reply in a message."""


class LogprobsParser(Parser):
    """Finds the first or last token that is a choice; the probabilities of the choices are scaled to sum to 1."""

    def __init__(self, options: Options, context: Context) -> None:
        self._probabilities = options.probabilities
        left = [name for name in context.outputs if name != options.probabilities]
        self._column = options.column or (left[0] if left else None)
        self._after = options.after
        self._find = options.find
        choices = options.choices
        self._from_row = context.expression(choices) if isinstance(choices, str) else None
        self._choices = {} if isinstance(choices, str) else _valued(choices)

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        choices = self._of(scope)
        tokens = list(_tokens(completion.logprobs or {}))
        if not tokens:
            raise invalid("the server sent no log probabilities of the reply's tokens", Progress.UNUSED)
        likely = self._found(_answer(completion, tokens), choices)
        total = sum(likely.values())
        shares = {choice: round(likely[choice] / total, _DIGITS) for choice in choices}
        columns: dict[str, Any] = {}
        if self._probabilities is not None:
            columns[self._probabilities] = shares
        if self._column is not None and self._column != self._probabilities:
            columns[self._column] = _expected(likely, choices, total)
        return columns

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:
        column = self._column or ""
        choice = str(given[column]) if column in given else rng.choice(list(self._of(scope)))
        return f"{self._after} {choice}" if self._after else choice

    def _of(self, scope: Scope) -> dict[str, Any]:
        if self._from_row is None:
            return self._choices
        choices = self._from_row(scope)
        labels(list(choices) if isinstance(choices, dict) else choices)
        return _valued(choices)

    def _found(self, tokens: list[tuple[str, dict[str, float]]], choices: Mapping[str, Any]) -> dict[str, float]:
        """The probability of each choice at the answer token."""
        folded = {_folded(choice): choice for choice in choices}
        begin = 0
        text = "".join(token for token, _ in tokens)
        if self._after:
            place = text.casefold().rfind(self._after.casefold())
            if place < 0:
                raise invalid(f"the reply has no `{self._after}`")
            begin = place + len(self._after)
        scale = _scale(choices)
        answers = []
        end = 0
        for token, likely in tokens:
            end += len(token)
            answer = folded.get(_folded(token)) if end > begin else None
            if answer is not None:
                at = end - len(token.lstrip(_AROUND))
                if scale is None or _NUMBER_BEFORE.search(text, max(0, at - _MOST_BEFORE), at) is None:
                    answers.append((at, answer, likely))
        if not answers:
            raise invalid(f"no token of the reply is one of {', '.join(choices)}")
        at, answer, likelihoods = answers[0 if self._find == "first" else -1]
        if scale is not None and score_of(text[at : at + _MOST_AFTER], scale) != _number(answer):
            excerpt = text[at : at + _MOST_TOLD].partition("\n")[0]
            raise invalid(f"`{excerpt}` is not one of {', '.join(choices)}", Progress.PART)
        found = dict.fromkeys(choices, 0.0)
        for token, probability in likelihoods.items():
            if (choice := folded.get(_folded(token))) is not None:
                found[choice] += probability
        if not sum(found.values()) > 0:
            raise invalid("the log probabilities of the answer's token are no numbers")
        return found


def _scale(choices: Mapping[str, Any]) -> float | None:
    """The greatest choice; None if any choice is not a number."""
    numbers = [number for number in map(_number, choices) if number is not None]
    return max(numbers) if len(numbers) == len(choices) else None


def _answer(completion: Completion, tokens: list[tuple[str, dict[str, float]]]) -> list[tuple[str, dict[str, float]]]:
    """The tokens after the model's reasoning; raises `InvalidReply` if there are none."""
    text, answer = completion.text or "", text_of(completion)
    before = len(text) - len(answer)
    if not before or not text.endswith(answer) or text != "".join(token for token, _ in tokens):
        return tokens
    end = 0
    for place, (token, _) in enumerate(tokens):
        end += len(token)
        if end > before:
            return tokens[place:]
    return tokens


def _folded(text: str) -> str:
    return text.strip(_AROUND).casefold()


def _valued(choices: Any) -> dict[str, Any]:
    """Choice to its value: the value in a mapping, or the choice as a number; None if it is not a number."""
    if isinstance(choices, dict):
        return {str(choice): value for choice, value in choices.items()}
    return {str(choice): _number(choice) for choice in choices}


def _number(choice: Any) -> float | None:
    try:
        return float(choice)
    except (TypeError, ValueError):
        return None


def _expected(likely: Mapping[str, float], choices: Mapping[str, Any], total: float) -> Any:
    """The expected value of the choices; the most likely choice if their values are not all numbers."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in choices.values()):
        return max(likely, key=lambda choice: likely[choice])
    return round(sum(likely[choice] * value for choice, value in choices.items()) / total, _DIGITS)


def _tokens(logprobs: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each token of the reply with the probabilities of its alternatives.

    Chats and raw completions use different formats.
    """
    content = logprobs.get("content")
    if isinstance(content, list):
        for entry in content:
            if isinstance(entry, dict) and isinstance(entry.get("token"), str):
                rivals = [o for o in entry.get("top_logprobs") or [] if isinstance(o, dict)]
                pairs = [(e.get("token"), e.get("logprob")) for e in (*rivals, entry)]
                yield entry["token"], _probabilities(pairs)
        return
    tokens, own, others = (logprobs.get(key) for key in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list):
        return
    for index, token in enumerate(tokens):
        if isinstance(token, str):
            pairs = list(_at(others, index).items()) if isinstance(_at(others, index), dict) else []
            yield token, _probabilities([*pairs, (token, _at(own, index))])


def _at(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _probabilities(pairs: list[tuple[Any, Any]]) -> dict[str, float]:
    return {
        token: math.exp(min(logprob, 0.0))
        for token, logprob in pairs
        if isinstance(token, str) and isinstance(logprob, int | float) and not math.isnan(logprob)
    }

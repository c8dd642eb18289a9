"""Conditions on the results of a command, such as `kappa.low >= 0.6`, for a gate in CI."""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.judging.metrics import ALL_METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SYNTAX = re.compile(r"\s*(?P<name>\w+(?:\.\w+)*)\s*(?P<sign>>=|<=|==|>|<|=)\s*(?P<bound>\S+)\s*")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_PARTS = ("value", "low", "high")
COUNTS = ("n", "items", "baseline")
ESTIMATE = "estimate"
_EXAMPLE = "--require 'kappa.low >= 0.6'"


class Condition(Struct, frozen=True):
    """A condition: a name in parts, a comparison and a number."""

    text: str
    parts: tuple[str, ...]
    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Return whether a number meets the condition."""
        return _SIGNS[self.sign](value, self.bound)


def parse_condition(text: str, example: str) -> Condition:
    """Parse a condition; raises `UsageError` with the example if it is not valid."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise UsageError(f"--require '{text}': write a metric, a comparison and a number: {example}")
    try:
        bound = float(match["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UsageError(f"--require '{text}': `{match['bound']}` is not a number; write for example {example}")
    sign = "==" if match["sign"] == "=" else match["sign"]
    return Condition(text.strip(), tuple(match["name"].split(".")), sign, bound)


class Requirement(Struct, frozen=True):
    """A condition on a metric, or on a part of it."""

    condition: Condition
    name: str
    part: str

    @property
    def text(self) -> str:
        """The condition as the user wrote it."""
        return self.condition.text

    def value(self, agreement: Mapping[str, Any], estimate: Mapping[str, Any] | None) -> float | None:
        """Return the number that the condition is about; None if it is undefined.

        Raises:
            UsageError: the kind of judgement has no such metric.
        """
        if self.name in COUNTS:
            number: float | None = agreement[self.name]
            return number
        if self.name == ESTIMATE:
            found = None if estimate is None else estimate["corrected"]
        elif self.name not in agreement["metrics"]:
            known = [name for name, found in agreement["metrics"].items() if found is not None]
            raise UsageError(
                f"--require '{self.text}': judgements of the kind {agreement['kind']} have no `{self.name}`; "
                f"known: {', '.join(f'`{name}`' for name in known)}"
            )
        else:
            found = agreement["metrics"][self.name]
        part: float | None = None if found is None else found[self.part]
        return part

    def check(self, agreement: Mapping[str, Any], estimate: Mapping[str, Any] | None) -> str | None:
        """Return why the condition does not hold, or None if it does."""
        value = self.value(agreement, estimate)
        if value is None:
            why = agreement.get("undefined", {}).get(self.name) or "it is undefined"
            return f"{self.text}: `{self.name}` has no value: {why}"
        if self.condition.holds(value):
            return None
        part = self.name if self.name in COUNTS else f"{self.name}.{self.part}"
        return f"{self.text}: {part} is {value:.4g}"


def parse_requirement(text: str, *, with_estimate: bool) -> Requirement:
    """Parse a condition; raises `UsageError` with an example if it is not valid."""
    condition = parse_condition(text, _EXAMPLE)
    name, *parts = condition.parts
    part = ".".join(parts) or "value"
    known = (*ALL_METRICS, *COUNTS, ESTIMATE)
    if name not in known:
        raise UsageError(f"--require '{text}': there is no metric `{name}`; {did_you_mean(name, known)}")
    if part not in _PARTS or (name in COUNTS and parts):
        listed = f"`{name}` alone" if name in COUNTS else ", ".join(f"`{name}.{part}`" for part in _PARTS)
        raise UsageError(f"--require '{text}': there is no `{name}.{part}`; write {listed}")
    if name == ESTIMATE and not with_estimate:
        raise UsageError(f"--require '{text}': add --estimate to compute an estimate")
    return Requirement(condition, name, part)

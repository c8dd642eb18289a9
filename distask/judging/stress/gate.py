"""Conditions on the biases of a judge, such as `position.changed.high <= 0.1`, for a gate in CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.judging.requirements import Condition, parse_condition

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

METRICS = ("changed", "shift", "first_place")
COUNTS = ("n", "failed", "failed_before", "unchanged")
_PARTS = ("value", "low", "high")
_EXAMPLE = "--require 'position.changed.high <= 0.1'"


class BiasRequirement(Struct, frozen=True):
    """A condition on a bias: its name, a metric and which part of it."""

    condition: Condition
    bias: str
    name: str
    part: str

    def check(self, measured: Mapping[str, Any]) -> str | None:
        """Return why the condition does not hold for the measures of an output, or None if it does."""
        found = measured[self.name]
        value = found if self.name in COUNTS or found is None else found[self.part]
        of_output = f" of `{measured['output']}`"
        if value is None:
            return f"{self.condition.text}: `{self.bias}.{self.name}`{of_output} has no value"
        part = self.name if self.name in COUNTS else f"{self.name}.{self.part}"
        return None if self.condition.holds(value) else f"{self.condition.text}: {part}{of_output} is {value:.4g}"


def parse_bias_requirement(text: str, biases: Collection[str]) -> BiasRequirement:
    """Parse a condition; raises `UsageError` with an example if it is not valid.

    Args:
        text: the condition.
        biases: the names of the biases that are tested.
    """
    condition = parse_condition(text, _EXAMPLE)
    bias, *rest = condition.parts
    if bias not in biases:
        raise UsageError(f"--require '{text}': the bias `{bias}` is not tested; {did_you_mean(bias, biases)}")
    name, part = (*rest, "", "")[:2] if len(rest) < 3 else ("", "")
    if name not in (*METRICS, *COUNTS):
        hint = did_you_mean(name, (*METRICS, *COUNTS))
        raise UsageError(f"--require '{text}': name a measure, such as `{bias}.changed.high`; {hint}")
    if (part and name in COUNTS) or (part and part not in _PARTS):
        listed = f"`{bias}.{name}`" if name in COUNTS else ", ".join(f"`{bias}.{name}.{known}`" for known in _PARTS)
        raise UsageError(f"--require '{text}': there is no `{'.'.join(condition.parts)}`; write {listed}")
    return BiasRequirement(condition, bias, name, part or "value")


def unmet(requirements: Sequence[BiasRequirement], measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each condition that does not hold."""
    return [
        why
        for requirement in requirements
        for facts in measured
        if facts["bias"] == requirement.bias and (why := requirement.check(facts)) is not None
    ]

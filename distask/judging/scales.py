"""Decide what kind of judgement two columns hold, and on which scale, from the task's types or from the values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

from msgspec import Struct

from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Kind = Literal["nominal", "ordinal", "number", "preference", "multilabel", "ranking", "probability"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TIE = "tie"
_PREFERENCES = ("A", "B", TIE)
_SPELLINGS = {"a": "A", "model_a": "A", "b": "B", "model_b": "B", TIE: TIE, "c": TIE, "draw": TIE, "equal": TIE}
"""Preferences in lower case to their label."""
MAX_STEPS = 101
"""Maximum number of steps of an ordered scale; a longer one is measured as numbers."""
_MAX_INFERRED_STEPS = 21
"""Maximum number of steps of a scale that no task declares."""


class Scale(Struct, frozen=True):
    """What the values of a column mean."""

    kind: Kind
    source: str
    """Where the kind comes from, for people."""
    labels: tuple[str, ...] = ()
    """The declared labels, or the declared steps in ascending order; empty if there are none."""
    elementwise: bool = False
    """Whether a row holds a list of judgements, each compared with the one at the same place of the other list."""


class Traits(Struct, frozen=True):
    """What the values of a column look like."""

    kinds: frozenset[type]
    labels: frozenset[str]
    """Distinct values as labels; at most `_MOST_LABELS` + 1 of them are collected."""
    numeric: bool
    """Whether the values are numbers or their texts, up to a tenth of stray texts; NaN and infinities don't count."""
    whole: bool
    """Whether every number is whole."""
    low: float
    high: float


_MOST_LABELS = 1000
_STRAY = 0.1
"""Share of texts among numbers that are taken for mistakes."""


def traits_of(values: Iterable[Any]) -> Traits:
    """Look at the values of a column that are not null."""
    kinds: set[type] = set()
    labels: set[str] = set()
    whole = True
    numbers = others = 0
    low, high = math.inf, -math.inf
    for value in values:
        kind = type(value)
        kinds.add(kind)
        if kind is list or kind is dict:
            others += 1
            continue
        number = None if kind is bool else number_of(value)
        if number is None and _is_not_finite(value):
            continue
        if len(labels) <= _MOST_LABELS:
            labels.add(label_of(value))
        if number is None:
            others += 1
        else:
            numbers += 1
            whole = whole and number.is_integer()
            low, high = min(low, number), max(high, number)
    numeric = numbers > 0 and (not others or (others <= numbers * _STRAY and not kinds <= {str, bool}))
    return Traits(frozenset(kinds), frozenset(labels), numeric, whole, low, high)


def _is_not_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, str) and value.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")


def number_of(value: Any) -> float | None:
    """Return a finite number from a number, a Boolean or the text of a number; None for anything else."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def label_of(value: Any) -> str:
    """Return a value as a label: 4, 4.0 and "4" are one label, and so are true, "true" and "True"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value.strip()
        if text[:1].isdigit() or text[:1] in ("-", "+", "."):
            number = number_of(text)
            plain = text.lstrip("+-")
            if number is not None and (plain == "0" or plain[:1] != "0" or plain.startswith("0.")):  # 007 is a code
                return label_of(number)
        return text.lower() if text.lower() in ("true", "false") else text
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def decide_scale(
    judge: Traits,
    gold: Traits,
    *,
    declared: Mapping[str, Any] | None,
    kind: Kind | None,
    steps: Sequence[str],
    judge_lists: Sequence[list[Any]] = (),
    gold_lists: Sequence[list[Any]] = (),
) -> Scale:
    """Decide the kind and the scale of a judge's column.

    Args:
        judge: the judge's values.
        gold: the gold values.
        declared: the output of the judge's task, as in its spec; None if unknown.
        kind: the kind that the user names; None to decide.
        steps: the steps of an ordered scale, as the user names them in ascending order.
        judge_lists: the judge's lists, if its values are lists.
        gold_lists: the gold lists.

    Raises:
        UsageError: the values of the two columns can't be compared.
    """
    if steps:
        return Scale("ordinal" if kind is None else kind, "--scale", tuple(label_of(step) for step in steps))
    declared_labels = _declared_labels(declared)
    if kind is not None:
        keeps = kind in ("nominal", "preference") or all(number_of(label) is not None for label in declared_labels)
        lists = judge.kinds == gold.kinds == {list} and kind not in ("multilabel", "ranking")
        return Scale(kind, "--kind", declared_labels if keeps else (), elementwise=lists)
    if list in judge.kinds or list in gold.kinds:
        return _scale_of_lists(judge, gold, declared, judge_lists, gold_lists)
    if dict in judge.kinds:
        return Scale("probability", "the judge's values, which are objects")
    if dict in gold.kinds:
        raise UsageError("the gold values are objects, which can't be compared; name a column of labels or numbers")
    return _scale_of_values(judge, gold, declared_labels, declared)


def _scale_of_values(
    judge: Traits, gold: Traits, labels: tuple[str, ...], declared: Mapping[str, Any] | None
) -> Scale:  # fmt: skip
    task = "the task's output"
    fractions = judge.numeric and not judge.whole and judge.low >= 0 and judge.high <= 1
    if fractions and (not gold.numeric or gold.labels <= {"0", "1"}) and len(gold.labels) <= 2:
        return Scale("probability", "the values: numbers from 0 to 1 and two labels")
    if labels and _are_preferences(labels):
        return Scale("preference", task, _PREFERENCES)
    if labels and all(number_of(label) is not None for label in labels):
        if gold.numeric and judge.numeric and gold.whole and judge.whole:
            return Scale("ordinal", task, labels)
        if gold.numeric and judge.numeric:
            return Scale("number", "the values, which lie between the steps of the task's scale")
    if labels:
        return Scale("nominal", task, labels)
    if declared is not None and declared.get("type") == "number" and judge.numeric and gold.numeric:
        return Scale("number", task)
    values = "the values"
    both = judge.labels | gold.labels
    if judge.numeric and gold.numeric:
        if both <= {"0", "1"}:
            return Scale("nominal", values)
        low, high = min(judge.low, gold.low), max(judge.high, gold.high)
        if judge.whole and gold.whole and high - low < _MAX_INFERRED_STEPS:
            return Scale("ordinal", values, tuple(str(step) for step in range(int(low), int(high) + 1)))
        return Scale("number", values)
    if both and _are_preferences(both):
        return Scale("preference", values, _PREFERENCES)
    return Scale("nominal", values)


def _are_preferences(labels: Iterable[str]) -> bool:
    known = set(labels)
    return {"A", "B"} <= known and all(is_preference(label) for label in known)


def is_preference(value: Any) -> bool:
    """Return whether a value is `A`, `B` or a tie, as judges write it; lower case may be something else."""
    return isinstance(value, str) and (value.strip() in ("A", "B") or value.strip().lower() == TIE)


def preference_of(value: Any) -> str | None:
    """Return `A`, `B` or `tie`, or None if a value is none of them; `model_a`, `C` and `draw` are other spellings."""
    return _SPELLINGS.get(str(value).strip().lower())


def _declared_labels(declared: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the values that an output declares: its choices, true and false, or the steps of a bounded integer."""
    if declared is None:
        return ()
    schema = declared.get("schema")
    keys = {**schema, **declared} if isinstance(schema, dict) else dict(declared)
    choices = keys.get("choices") or keys.get("enum")
    if isinstance(choices, list):
        known = [choice for choice in choices if choice is not None]
        if all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in known):
            known.sort()
        return tuple(dict.fromkeys(label_of(choice) for choice in known))
    if keys.get("type") == "boolean":
        return ("false", "true")
    if keys.get("type") == "integer":
        return _steps(keys)
    return ()


def _steps(keys: Mapping[str, Any]) -> tuple[str, ...]:
    step = keys.get("multipleOf") or keys.get("multiple_of") or 1
    low, high = keys.get("minimum"), keys.get("maximum")
    if low is None and (above := keys.get("exclusiveMinimum")) is not None:
        low = math.floor(above) + 1
    if high is None and (under := keys.get("exclusiveMaximum")) is not None:
        high = math.ceil(under) - 1
    if low is None or high is None or high <= low or not float(step).is_integer():
        return ()
    first = math.ceil(low / step) * int(step)
    steps = range(first, math.floor(high) + 1, int(step))
    return tuple(map(str, steps)) if 2 <= len(steps) <= MAX_STEPS else ()


def _scale_of_lists(
    judge: Traits,
    gold: Traits,
    declared: Mapping[str, Any] | None,
    judge_lists: Sequence[list[Any]],
    gold_lists: Sequence[list[Any]],
) -> Scale:
    if judge.kinds != gold.kinds:
        if gold.kinds - {list}:
            raise UsageError(
                "the judge's values are lists and the gold values are not, or vice versa; "
                "name columns that hold the same kind of value, or give --kind"
            )
        raise UsageError("some of the judge's values are lists and others are not; name a column of one type")
    values = "the values, which are lists"
    if (declared or {}).get("uniqueItems") or (declared or {}).get("unique_items"):
        orders = False
    else:
        orders = all(
            len(a) > 1 and sorted(map(label_of, a)) == sorted(map(label_of, b))
            for a, b in zip(judge_lists, gold_lists, strict=True)
        )
    items = [item for lists in (judge_lists, gold_lists) for row in lists for item in row if item is not None]
    numeric = all(isinstance(item, int | float) and not isinstance(item, bool) for item in items)
    if numeric and items:
        ranks = all(sorted(row) == list(range(1, len(row) + 1)) for row in judge_lists if None not in row)
        if orders and ranks:
            return Scale("ranking", values)
        inner = traits_of(items)
        found = _scale_of_values(inner, inner, _declared_labels(_items_of(declared)), None)
        return Scale(found.kind, f"{values} of numbers", found.labels, elementwise=True)
    if orders:
        return Scale("ranking", values)
    return Scale("multilabel", values, _declared_labels(_items_of(declared)))


def _items_of(declared: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    items = (declared or {}).get("items")
    return items if isinstance(items, dict) else None

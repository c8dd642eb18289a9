"""Encode judgements of each kind as codes and numbers, and collect the pairs that can be compared."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.errors import UsageError
from distask.judging.matching.items import Missing, Orders
from distask.judging.scales import TIE, label_of, number_of, preference_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from distask.judging.matching.items import Item
    from distask.judging.measures.sums import Codes
    from distask.judging.scales import Scale

Pair = tuple[int, Any, Any]
"""An item's number, the judge's value and the gold value."""
_BOOLEANS = {"1": "true", "0": "false"}
"""Labels that are equal if true or false occur as well and nothing else does."""
_SURPLUS = 1e-3
"""How far probabilities may sum to more than 1."""


class Ratings(Struct):
    """Pairs of encoded judgements: what the measures compare."""

    scale: Scale
    labels: tuple[str, ...]
    """The labels, the steps of the scale in ascending order, or () for numbers and rankings."""
    values: tuple[list[Any], list[Any]]
    """The distinct encoded values of the judge and of gold."""
    codes: tuple[Codes, Codes]
    """For each pair, the place of its values in `values`."""
    items: Codes
    """For each pair, the number of its item."""
    excluded: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.items)

    def sides(self, pairs: Any) -> tuple[list[Any], list[Any]]:
        """Return the encoded values of some pairs."""
        first, second = self.values
        return [first[c] for c in self.codes[0][pairs]], [second[c] for c in self.codes[1][pairs]]


class Encoder:
    """Encode the values of a scale; `None` for a value that is not on it.

    Labels are codes, scores on an ordered scale are the places of their steps, numbers are floats, sets of labels are
    sorted tuples of codes, rankings are (candidates, ranks), and a judge's probabilities are tuples with one per label.

    Args:
        scale: the kind and the declared labels.
        judge: all values of the judge, which add labels to the declared ones.
        gold: all gold values.
        positive: the label that a number from 0 to 1 is the probability of.
    """

    def __init__(self, scale: Scale, judge: Iterable[Any], gold: Iterable[Any], positive: str | None = None) -> None:
        self.scale = scale
        self.labels: tuple[str, ...] = ()
        self.added: tuple[str, ...] = ()
        """Labels that the task does not declare."""
        self._same: Mapping[str, str] = {}
        """Spellings of labels that count as another one."""
        kind = scale.kind
        if kind == "preference":
            self.labels = ("A", "B", TIE)
        elif kind in ("nominal", "ordinal", "multilabel"):
            self._collect((*judge, *gold), is_set=kind == "multilabel")
        elif kind == "probability":
            self._collect_probabilities(list(judge), list(gold), positive)
        self._code = {label: code for code, label in enumerate(self.labels)}

    def _collect(self, values: Iterable[Any], *, is_set: bool) -> None:
        declared = self.scale.labels
        found: dict[str, None] = {}
        for value in values:
            for part in value if is_set and isinstance(value, list) else [value]:
                if part is not None and not isinstance(part, list | dict) and part == part:  # noqa: PLR0124 - NaN
                    found[label_of(part)] = None
        if {*declared, *found} <= {*_BOOLEANS, *_BOOLEANS.values()} and set(_BOOLEANS.values()) & {*declared, *found}:
            self._same = _BOOLEANS
            found = {_BOOLEANS.get(label, label): None for label in found}
            declared = tuple(dict.fromkeys(_BOOLEANS.get(label, label) for label in declared))
        self.added = tuple(label for label in found if label not in declared)
        every = [*declared, *self.added]
        if self.scale.kind == "ordinal" and any(number_of(label) is None for label in declared):
            self.labels, self.added = declared, ()  # words have the order that the user gave
        elif self.scale.kind == "ordinal":
            self.labels = tuple(sorted((e for e in every if number_of(e) is not None), key=_number))
            self.added = tuple(label for label in self.added if label in self.labels)
        else:
            self.labels = (*declared, *sorted(self.added, key=_order))

    def _collect_probabilities(self, judge: list[Any], gold: list[Any], positive: str | None) -> None:
        golds = sorted({label_of(value) for value in gold if not isinstance(value, list | dict)}, key=_order)
        if any(isinstance(value, dict) for value in judge):
            given = dict.fromkeys(label_of(name) for value in judge if isinstance(value, dict) for name in value)
            self.labels = tuple(sorted({*given, *golds}, key=_order))
            return
        if len(golds) > 2:
            shown = ", ".join(f"`{label}`" for label in golds[:5])
            raise UsageError(
                f"the judge's values are numbers, but gold has {len(golds)} labels ({shown}, …): a probability for "
                "each label needs an object {label: probability}"
            )
        known = [label for label in ("true", "1", "yes") if label in golds]
        chosen = label_of(positive) if positive is not None else known[0] if known else None
        if chosen is None and golds == ["false"]:
            chosen = "true"
        if chosen is None and golds == ["0"]:
            chosen = "1"
        if chosen is None:
            listed = " or ".join(f"--positive {label}" for label in golds)
            raise UsageError(f"the judge's values are probabilities, but of which label? Add {listed or '--positive'}")
        others = [label for label in golds if label != chosen]
        self.labels = (others[0] if others else f"not {chosen}", chosen)

    def judge(self, value: Any) -> Any:
        """Encode a value of the judge."""
        if isinstance(value, Orders):
            value = value.preference
        return self._probabilities(value) if self.scale.kind == "probability" else self._encode(value)

    def gold(self, value: Any) -> Any:
        """Encode a gold value."""
        if self.scale.kind == "probability":
            return None if isinstance(value, list | dict) else self._code.get(label_of(value))
        return self._encode(value)

    def _encode(self, value: Any) -> Any:
        kind = self.scale.kind
        if kind == "number":
            return number_of(value)
        if kind == "preference":
            known = preference_of(value)
            return None if known is None else self._code[known]
        if kind == "ranking":
            return _ranked(value)
        if kind == "multilabel":
            if not isinstance(value, list) or any(isinstance(part, list | dict) or part is None for part in value):
                return None
            return tuple(sorted({self._code[self._label(part)] for part in value}))
        return None if isinstance(value, list | dict) else self._code.get(self._label(value))

    def _label(self, value: Any) -> str:
        label = label_of(value)
        return self._same.get(label, label)

    def _probabilities(self, value: Any) -> tuple[float, ...] | None:
        if isinstance(value, dict):
            given = {label_of(name): number_of(part) for name, part in value.items()}
            numbers = [number for label in self.labels if (number := given.get(label, 0.0)) is not None]
            if len(numbers) < len(self.labels) or min(numbers) < 0 or sum(numbers) > 1 + _SURPLUS or sum(numbers) <= 0:
                return None
            return tuple(numbers)
        number = number_of(value)
        return None if number is None or not 0 <= number <= 1 else (1 - number, number)


def _number(label: str) -> float:
    return number_of(label) or 0.0


def _order(label: str) -> tuple[bool, float, str]:
    """Sort numbers by value and before words."""
    number = number_of(label)
    return number is None, number or 0.0, label


def _ranked(value: Any) -> tuple[tuple[str, ...], tuple[float, ...]] | None:
    """Return the candidates in alphabetical order and the rank of each; a list of numbers holds the ranks already."""
    if not isinstance(value, list) or len(value) < 2 or any(isinstance(part, list | dict) for part in value):
        return None
    if all(isinstance(part, int | float) and not isinstance(part, bool) for part in value):
        return tuple(str(place) for place in range(len(value))), tuple(map(float, value))
    names = [label_of(part) for part in value]
    if None in value or len(set(names)) < len(names):
        return None
    rank = {name: float(place) for place, name in enumerate(names, 1)}
    candidates = tuple(sorted(names))
    return candidates, tuple(rank[name] for name in candidates)


def encode_pairs(pairs: Iterable[Pair], encoder: Encoder, excluded: Counter[str]) -> Ratings:
    """Encode pairs, and count those that can't be compared in `excluded` by reason."""
    import numpy as np

    places: tuple[dict[Any, int], dict[Any, int]] = ({}, {})
    codes: tuple[list[int], list[int]] = ([], [])
    items: list[int] = []
    for item, first, second in pairs:
        one, other = encoder.judge(first), encoder.gold(second)
        if one is None or other is None:
            excluded["judge_unreadable" if one is None else "gold_unreadable"] += 1
            continue
        if encoder.scale.kind == "ranking" and one[0] != other[0]:
            excluded["different_candidates"] += 1
            continue
        items.append(item)
        for value, known, into in ((one, places[0], codes[0]), (other, places[1], codes[1])):
            into.append(known.setdefault(value, len(known)))
    arrays = [np.array(side, dtype=np.intp) for side in (*codes, items)]
    return Ratings(
        encoder.scale,
        encoder.labels,
        (list(places[0]), list(places[1])),
        (arrays[0], arrays[1]),
        arrays[2],
        excluded,
    )


def judge_pairs(items: Sequence[Item], judge: int, excluded: Counter[str], *, elementwise: bool) -> list[Pair]:
    """Return the pairs of a judge's values and the gold values of their row; rows without a pair are counted."""
    made: list[Pair] = []
    for number, item in enumerate(items):
        verdicts = [verdict.value for verdict in item.gold if verdict.repeat == 0 and verdict.value is not None]
        for value in item.values[judge]:
            if isinstance(value, Missing):
                excluded[value.reason] += 1
            elif not verdicts:
                skipped = any(verdict.skipped for verdict in item.gold)
                excluded["gold_skipped" if skipped else "gold_missing"] += 1
            else:
                for verdict in verdicts:
                    _add_pair(made, (number, value, verdict), excluded, elementwise=elementwise)
    return made


def pairs_of_same(
    items: Sequence[Item], values_of: Callable[[Item], Sequence[Any]], *, elementwise: bool
) -> list[Pair]:  # fmt: skip
    """Return every pair of values of an item in both orders, so that neither side of a pair comes first."""
    made: list[Pair] = []
    for number, item in enumerate(items):
        values = values_of(item)
        if len(values) < 2:
            continue
        for place, one in enumerate(values):
            for other in values[place + 1 :]:
                _add_pair(made, (number, one, other), Counter(), elementwise=elementwise)
                _add_pair(made, (number, other, one), Counter(), elementwise=elementwise)
    return made


def _add_pair(made: list[Pair], pair: Pair, excluded: Counter[str], *, elementwise: bool) -> None:
    number, one, other = pair
    if not elementwise:
        made.append(pair)
    elif not isinstance(one, list) or not isinstance(other, list) or len(one) != len(other):
        excluded["lengths_differ"] += 1
    else:
        for a, b in zip(one, other, strict=True):
            if a is None or b is None:
                excluded["judge_null" if a is None else "gold_missing"] += 1
            else:
                made.append((number, a, b))

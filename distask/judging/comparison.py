"""Compare several judges with the same people: rank them, and measure their differences on the rows that all judged."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from distask.errors import UsageError
from distask.judging.agreement import Agreement, compare, judged_values, scale_of
from distask.judging.encoding import Encoder, Pair, Ratings, encode_pairs
from distask.judging.matching.items import Missing, clusters_of
from distask.judging.metrics import LOWER_IS_BETTER, METRICS, PRIMARY, Settings, measures_of, metric
from distask.judging.resampling import Units, bootstrap, mcnemar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.judging.matching.items import Matched
    from distask.judging.measures.sums import Floats
    from distask.judging.scales import Scale

_NOT_PAIRED = frozenset({"flip_rate", "first_position_rate"})
_LABEL_KINDS = frozenset({"nominal", "ordinal", "preference", "probability", "multilabel"})


def compare_judges(matched: Matched, settings: Settings) -> list[Agreement]:
    """Compare every judge with people, best first; all but the first know their difference from the first.

    Raises:
        UsageError: a judge's values can't be compared with the labels, or the judges hold different kinds of values.
    """
    count = len(matched.judges)
    scale = _common_scale(matched, [scale_of(matched, number, settings) for number in range(count)])
    encoder = _common_encoder(matched, scale, settings)
    found = [compare(matched, number, encoder, settings) for number in range(count)]
    if count == 1:
        return found
    order, name = _ranked(found)
    best = order[0]
    for place, number in enumerate(order, 1):
        facts = found[number].facts
        facts |= {"rank": place, "ranked_by": name}
        if number != best:
            facts["difference"] = _difference(matched, (number, best), encoder, settings)
            facts["difference"]["from"] = found[best].judge
    return [found[number] for number in order]


def _common_scale(matched: Matched, scales: Sequence[Scale]) -> Scale:
    kinds = {scale.kind for scale in scales}
    if kinds == {"ordinal", "number"}:
        return replace(next(scale for scale in scales if scale.kind == "number"), labels=())
    if len(kinds) > 1 or len({scale.elementwise for scale in scales}) > 1:
        listed = ", ".join(f"`{j}` is {s.kind}" for j, s in zip(matched.judges, scales, strict=True))
        raise UsageError(
            f"judges of different kinds can't be compared ({listed}); name columns of one kind, or give --kind"
        )
    labels = tuple(dict.fromkeys(label for scale in scales for label in scale.labels))
    return replace(scales[0], labels=labels)


def _common_encoder(matched: Matched, scale: Scale, settings: Settings) -> Encoder:
    """Return one encoder for all judges, so that a label has the same code everywhere."""
    judged: list[Any] = []
    for number in range(len(matched.judges)):
        for value in judged_values(matched, number):
            judged.extend(value if scale.elementwise and isinstance(value, list) else [value])
    golds: list[Any] = []
    for item in matched.items:
        for verdict in item.gold:
            values = verdict.value if scale.elementwise and isinstance(verdict.value, list) else [verdict.value]
            golds.extend(value for value in values if value is not None)
    return Encoder(scale, judged, golds, settings.positive)


def _ranked(found: Sequence[Agreement]) -> tuple[list[int], str]:
    """Return the numbers of the judges, best first, and the metric that ranks them."""
    names = PRIMARY[found[0].kind]
    name = next((n for n in names if all(a.measured.metrics.get(n) is not None for a in found)), names[-1])

    def goodness(number: int) -> float:
        value = (found[number].measured.metrics.get(name) or {}).get("value")
        if value is None:
            return -math.inf
        return -value if name in LOWER_IS_BETTER else value

    return sorted(range(len(found)), key=goodness, reverse=True), name


def _difference(matched: Matched, judges: tuple[int, int], encoder: Encoder, settings: Settings) -> dict[str, Any]:
    """Return how much better a judge is than another on the rows that both judged: paired, in the same resamples."""
    first, second = _joint(matched, judges, encoder)
    if not len(first):
        return {"n": 0, "metrics": {}, "mcnemar": None}
    clusters = clusters_of(matched.items, first.items, clustered=settings.clustered)
    units = Units([first.codes[0], second.codes[0], first.codes[1]], clusters)
    sides = [measures_of(ratings, units.first, units.counts) for ratings in (first, second)]
    measures = [*sides[0], *sides[1]]
    observed = [measure(units.counts[None]) for measure in measures]
    resampled = bootstrap(units, measures, settings.resamples, settings.seed) if units.independent > 1 else None
    cut = len(sides[0])
    values = [_merged(observed[:cut]), _merged(observed[cut:])]
    drawn = None if resampled is None else (_merged(resampled[:cut]), _merged(resampled[cut:]))
    made = {}
    for name in METRICS[encoder.scale.kind]:
        if name not in _NOT_PAIRED and name in values[0]:
            difference = float((values[0][name] - values[1][name])[0])
            made[name] = metric(difference, None if drawn is None else drawn[0][name] - drawn[1][name])
    p = _mcnemar(first, second) if encoder.scale.kind in _LABEL_KINDS and clusters is None else None
    return {"n": len(first), "metrics": made, "mcnemar": p}


def _merged(found: Sequence[dict[Any, Floats]]) -> dict[Any, Floats]:
    return {name: values for measures in found for name, values in measures.items()}


def _joint(matched: Matched, judges: tuple[int, int], encoder: Encoder) -> tuple[Ratings, Ratings]:
    """Return the ratings of two judges for the same replies and labels."""
    pairs: tuple[list[Pair], list[Pair]] = ([], [])
    for number, item in enumerate(matched.items):
        verdicts = [verdict.value for verdict in item.gold if verdict.repeat == 0 and verdict.value is not None]
        for values in zip(item.values[judges[0]], item.values[judges[1]], strict=False):
            if any(isinstance(value, Missing) for value in values):
                continue
            for verdict in verdicts:
                for one, other, gold in _elements(values, verdict, elementwise=encoder.scale.elementwise):
                    codes = encoder.judge(one), encoder.judge(other), encoder.gold(gold)
                    if None not in codes and not _different_candidates(encoder, codes):
                        pairs[0].append((number, one, gold))
                        pairs[1].append((number, other, gold))
    return encode_pairs(pairs[0], encoder, Counter()), encode_pairs(pairs[1], encoder, Counter())


def _elements(values: Sequence[Any], verdict: Any, *, elementwise: bool) -> list[tuple[Any, Any, Any]]:
    one, other = values
    if not elementwise:
        return [(one, other, verdict)]
    if not all(isinstance(side, list) and len(side) == len(verdict) for side in values):
        return []
    return [row for row in zip(one, other, verdict, strict=True) if None not in row]


def _different_candidates(encoder: Encoder, codes: tuple[Any, Any, Any]) -> bool:
    return encoder.scale.kind == "ranking" and not codes[0][0] == codes[1][0] == codes[2][0]


def _mcnemar(first: Ratings, second: Ratings) -> float:
    right = [_is_right(ratings) for ratings in (first, second)]
    only_first = sum(a and not b for a, b in zip(*right, strict=True))
    only_second = sum(b and not a for a, b in zip(*right, strict=True))
    return mcnemar(only_first, only_second)


def _is_right(ratings: Ratings) -> list[bool]:
    judge, gold = ratings.sides(slice(None))
    if ratings.scale.kind == "probability":
        judge = [max(range(len(value)), key=value.__getitem__) for value in judge]
    return [one == other for one, other in zip(judge, gold, strict=True)]

"""Measure how far people agree with each other and with themselves, and a judge's replies to one row."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from distask.judging.encoding import Encoder, encode_pairs, pairs_of_same
from distask.judging.matching.items import Missing, Orders, clusters_of
from distask.judging.measures.raters import Level, alpha_of_raters
from distask.judging.metrics import Measured, measure_ratings, metric
from distask.judging.resampling import Units, bootstrap
from distask.judging.scales import Kind, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distask.judging.matching.items import Item, Matched
    from distask.judging.metrics import Settings

_LEVELS: dict[Kind, Level] = {
    "nominal": "nominal",
    "preference": "nominal",
    "ordinal": "ordinal",
    "number": "interval",
}


def agreement_of_people(matched: Matched, encoder: Encoder, settings: Settings) -> dict[str, Any] | None:
    """Return the agreement of annotators with each other, the ceiling of a judge; None if no item has two of them."""

    def first_verdicts(item: Item) -> list[Any]:
        return [verdict.value for verdict in item.gold if verdict.repeat == 0 and verdict.value is not None]

    def repeated(item: Item) -> list[Any]:
        by_annotator: dict[str, list[Any]] = {}
        for verdict in item.gold:
            if verdict.value is not None:
                by_annotator.setdefault(verdict.annotator, []).append(verdict.value)
        return next((values for values in by_annotator.values() if len(values) > 1), [])

    among = _same(matched, first_verdicts, encoder, settings)
    again = _same(matched, repeated, encoder, settings)
    if among is None and again is None:
        return None
    counts = Counter(
        verdict.annotator
        for item in matched.items
        for verdict in item.gold
        if verdict.repeat == 0 and verdict.value is not None
    )
    return {"annotators": dict(counts), "agreement": among, "self_consistency": again}


def judge_consistency(matched: Matched, number: int, encoder: Encoder, settings: Settings) -> dict[str, Any] | None:
    """Return the agreement of a judge's replies to the same row; None if every row has one."""
    if encoder.scale.kind == "probability":
        return None

    def generations(item: Item) -> list[Any]:
        return [
            value.preference if isinstance(value, Orders) else value
            for value in item.values[number]
            if not isinstance(value, Missing)
        ]

    return _same(matched, generations, encoder, settings)


def _same(
    matched: Matched, values_of: Callable[[Item], Sequence[Any]], encoder: Encoder, settings: Settings
) -> dict[str, Any] | None:
    """Return the agreement of the values of an item with each other, over all pairs of values."""
    import numpy as np

    elementwise = encoder.scale.elementwise
    pairs = pairs_of_same(matched.items, values_of, elementwise=elementwise)
    if not pairs:
        return None
    scale = encoder.scale
    if scale.kind == "probability":
        scale = Scale("nominal", scale.source, encoder.labels)
    same = Encoder(scale, (a for _, a, _ in pairs), (b for _, _, b in pairs))
    ratings = encode_pairs(pairs, same, Counter())
    if not len(ratings):
        return None
    clusters = clusters_of(matched.items, ratings.items, clustered=settings.clustered)
    found = measure_ratings(ratings, clusters, seed=settings.seed, resamples=settings.resamples)
    for name in ("bias", "precision_macro", "recall_macro"):  # both orders of a pair count, so these say nothing
        found.metrics.pop(name, None)
        found.undefined.pop(name, None)
    for name in ("flip_rate", "first_position_rate"):
        found.metrics.pop(name, None)
        found.undefined.pop(name, None)
    if scale.kind in _LEVELS and not elementwise:
        _replace_alpha(found, matched, values_of, same, settings)
    items = np.unique(ratings.items)
    return {"items": len(items), "pairs": len(ratings) // 2, "metrics": found.metrics, "undefined": found.undefined}


def _replace_alpha(
    found: Measured,
    matched: Matched,
    values_of: Callable[[Item], Sequence[Any]],
    encoder: Encoder,
    settings: Settings,
) -> None:
    """Replace the alpha of pairs with that of all raters at once."""
    import numpy as np

    rated = [
        (number, code)
        for number, item in enumerate(matched.items)
        if len(values := [v for v in map(encoder.gold, values_of(item)) if v is not None]) > 1
        for code in values
    ]
    distinct, items = np.unique(np.array([number for number, _ in rated]), return_inverse=True)
    codes = np.array([code for _, code in rated], float)
    measure = alpha_of_raters(items, codes, len(distinct), _LEVELS[encoder.scale.kind])
    units = Units([np.arange(len(distinct))], clusters_of(matched.items, distinct, clustered=settings.clustered))
    resampled = {} if units.independent < 2 else bootstrap(units, [measure], settings.resamples, settings.seed)[0]
    value = float(measure(units.counts[None])["alpha"][0])
    found.metrics["alpha"] = metric(value, resampled.get("alpha"))
    if found.metrics["alpha"] is not None:
        found.undefined.pop("alpha", None)

"""Measure how far people agree with each other and with themselves, and a judge's replies to one row."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from distask.errors import UsageError
from distask.judging.encoding import Encoder, encode_pairs, pairs_of_same
from distask.judging.matching.items import Missing, Orders, clusters_of
from distask.judging.measures.raters import Level, alpha_of_raters
from distask.judging.metrics import Measured, measure_ratings, metric
from distask.judging.resampling import Units, bootstrap
from distask.judging.scales import Kind, Scale, decide_scale, traits_of

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
        if len(item.gold) < 2:
            return []
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

    return _same(matched, lambda item: _replies(item, number), encoder, settings)


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


def compare_replies(matched: Matched, number: int, settings: Settings) -> dict[str, Any]:
    """Compare a judge's replies to each row with each other, where there are no labels.

    Returns the facts of the event `agreement`, whose `gold` is null.

    Raises:
        UsageError: no row has two replies with a value.
    """
    judge = matched.judges[number]
    lists = [
        [value.preference if isinstance(value, Orders) else value for value in item.values[number]]
        for item in matched.items
    ]
    values = [value for row in lists for value in row if not isinstance(value, Missing)]
    excluded = Counter(value.reason for row in lists for value in row if isinstance(value, Missing))
    pairs = pairs_of_same(matched.items, lambda item: _replies(item, number), elementwise=False)
    if not pairs:
        raise UsageError(
            f"no row has several replies in `{judge}`; name a column of people's labels with --gold, or run the judge "
            "with -n 2 to compare its replies"
        )
    traits = traits_of(values)
    scale = decide_scale(traits, traits, declared=judge.declared, kind=settings.kind, steps=settings.steps)
    if scale.kind == "probability":
        scale = Scale("number", scale.source)
    encoder = Encoder(scale, values, values, settings.positive)
    found = judge_consistency(matched, number, encoder, settings)
    if found is None:
        raise UsageError(f"no two replies in `{judge}` can be compared; name their type with --kind")
    return {
        "judge": str(judge),
        "gold": None,
        "kind": scale.kind,
        "kind_source": scale.source,
        "n": found["pairs"],
        "excluded": dict(excluded),
        "items": found["items"],
        "clusters": None,
        "labels": list(encoder.labels),
        "baseline": None,
        "baseline_metric": None,
        "base_rates": None,
        "metrics": found["metrics"],
        "undefined": found["undefined"],
        "by_label": [],
        "confusion": None,
        "reliability": None,
        "slices": [],
        "people": None,
        "self_consistency": found,
        "rank": None,
        "ranked_by": None,
        "difference": None,
        "task": judge.task,
        "model": judge.model,
        "cost_per_1000_rows": judge.cost_per_1000,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "notes": [],
    }


def _replies(item: Item, number: int) -> list[Any]:
    return [
        value.preference if isinstance(value, Orders) else value
        for value in item.values[number]
        if not isinstance(value, Missing)
    ]

"""Compare one judge with people: agreement with intervals, base rates, confusion and slices."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.errors import UsageError
from distask.judging.consistency import agreement_of_people, judge_consistency
from distask.judging.encoding import Encoder, Ratings, encode_pairs, judge_pairs
from distask.judging.matching.items import Missing, Orders, clusters_of
from distask.judging.measures.probabilities import reliability_curve
from distask.judging.metrics import Measured, Settings, measure_ratings, metric
from distask.judging.resampling import Units, bootstrap
from distask.judging.scales import MAX_STEPS, Kind, Scale, decide_scale, label_of, traits_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distask.judging.matching.items import Matched
    from distask.judging.measures.sums import Codes

MAX_CONFUSION = 50
"""Maximum number of labels of a confusion matrix."""
_MAX_BASE_RATES = 1000
"""Maximum number of labels whose shares are reported."""
MAX_SLICES = 50
"""Maximum number of values of a column that are measured on their own, the most common first."""


class Agreement(Struct):
    """A judge compared with people."""

    judge: str
    gold: str
    ratings: Ratings
    encoder: Encoder
    clusters: Codes | None
    """The cluster of each pair, from 0; None if every pair is a row of its own."""
    measured: Measured
    facts: dict[str, Any] = field(default_factory=dict)
    """Everything else that the event reports."""

    @property
    def kind(self) -> Kind:
        """The kind of judgement."""
        return self.ratings.scale.kind

    def event(self) -> dict[str, Any]:
        """Return the facts of the event `agreement`."""
        return {
            "judge": self.judge,
            "gold": self.gold,
            "kind": self.kind,
            "kind_source": self.ratings.scale.source,
            "n": len(self.ratings),
            "excluded": dict(self.ratings.excluded),
            **self.facts,
        }


def scale_of(matched: Matched, number: int, settings: Settings) -> Scale:
    """Decide the scale of a judge."""
    excluded: Counter[str] = Counter()
    pairs = judge_pairs(matched.items, number, excluded, elementwise=False)
    if not pairs:
        raise UsageError(_nothing_in_common(matched, number, excluded))
    judge = judged_values(matched, number)
    gold = [value for _, _, value in pairs]
    both_lists = [
        (a, b) for _, a, b in pairs if isinstance(a, list) and isinstance(b, list)
    ]  # fmt: skip
    scale = decide_scale(
        traits_of(judge),
        traits_of(gold),
        declared=None if isinstance(pairs[0][1], Orders) else matched.judges[number].declared,
        kind=settings.kind or ("preference" if isinstance(pairs[0][1], Orders) and not settings.steps else None),
        steps=settings.steps,
        judge_lists=[a for a, _ in both_lists],
        gold_lists=[b for _, b in both_lists],
    )
    if settings.kind is None and scale.source == "--kind":
        scale = replace(scale, source="the values, which are preferences in both orders")
    if scale.kind == "ordinal" and not scale.labels and settings.kind is not None:
        scale = _filled(scale, [*judge, *gold])
    return scale


def _filled(scale: Scale, values: Iterable[Any]) -> Scale:
    """Fill the steps of an ordered scale between the least and the greatest value."""
    traits = traits_of(part for value in values for part in (value if isinstance(value, list) else [value]))
    if not traits.numeric:
        raise UsageError("an ordinal scale of words needs their order: --scale poor,fair,good")
    if not traits.whole or traits.high - traits.low >= MAX_STEPS:
        return scale
    return replace(scale, labels=tuple(map(str, range(int(traits.low), int(traits.high) + 1))))


def _nothing_in_common(matched: Matched, number: int, excluded: Counter[str]) -> str:
    judge, gold = matched.judges[number], ", ".join(map(str, matched.gold))
    if matched.unmatched_example is not None and not any(item.gold for item in matched.items):
        return (
            f"no row is both judged and labelled: rows are matched by {', '.join(f'`{name}`' for name in matched.by)}, "
            f"and the label at {matched.unmatched_example} matches no judged row; name other columns with --by"
        )
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in excluded.items())
    return f"`{judge}` and `{gold}` have no row in common with a value of both ({reasons or 'there are no values'})"


def judged_values(matched: Matched, number: int) -> list[Any]:
    """Return all values of a judge, also those of rows without a label: they belong to the scale and to the pool."""
    return [
        value.preference if isinstance(value, Orders) else value
        for item in matched.items
        for value in item.values[number]
        if not isinstance(value, Missing)
    ]


def compare(matched: Matched, number: int, encoder: Encoder, settings: Settings) -> Agreement:
    """Compare a judge with people.

    Args:
        matched: judged rows with their labels.
        number: which judge.
        encoder: the scale and its labels.
        settings: how agreement is measured.

    Raises:
        UsageError: no pair can be compared.
    """
    excluded: Counter[str] = Counter()
    pairs = judge_pairs(matched.items, number, excluded, elementwise=encoder.scale.elementwise)
    ratings = encode_pairs(pairs, encoder, excluded)
    if matched.unmatched_gold:
        excluded["gold_unmatched"] += matched.unmatched_gold
    judge = matched.judges[number]
    if not len(ratings):
        raise UsageError(_nothing_in_common(matched, number, excluded))
    clusters = clusters_of(matched.items, ratings.items, clustered=settings.clustered)
    measured = measure_ratings(ratings, clusters, seed=settings.seed, resamples=settings.resamples)
    made = Agreement(str(judge), ", ".join(map(str, matched.gold)), ratings, encoder, clusters, measured)
    orders = [value for item in matched.items for value in item.values[number] if isinstance(value, Orders)]
    if orders:
        _add_orders(measured, matched, number, settings)
    made.facts = {
        "items": len(set(ratings.items.tolist())),
        "clusters": None if clusters is None else int(clusters.max()) + 1,
        "labels": list(ratings.labels),
        **_baseline(ratings),
        "metrics": measured.metrics,
        "undefined": measured.undefined,
        "by_label": _by_label(ratings, measured),
        "confusion": confusion(ratings),
        "reliability": _reliability(ratings),
        "slices": _slices(matched, made, settings),
        "people": agreement_of_people(matched, encoder, settings),
        "self_consistency": judge_consistency(matched, number, encoder, settings),
        "rank": None,
        "ranked_by": None,
        "difference": None,
        "task": judge.task,
        "model": judge.model,
        "cost_per_1000_rows": judge.cost_per_1000,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "notes": _notes(matched, made),
    }
    return made


def _add_orders(measured: Measured, matched: Matched, number: int, settings: Settings) -> None:
    """Add the flip rate and the first-position rate, from all rows that are judged in both orders."""
    import numpy as np

    from distask.judging.measures.labels import mean_measures

    found = [
        (place, value)
        for place, item in enumerate(matched.items)
        for value in item.values[number]
        if isinstance(value, Orders)
    ]
    flips = np.array([float(value.first != value.second) for _, value in found])
    wins = np.array([(value.first == "A") + (value.second == "B") for _, value in found], float)
    decided = np.array([(value.first != "tie") + (value.second != "tie") for _, value in found], float)
    items = np.array([place for place, _ in found], dtype=np.intp)
    units = Units([flips, wins, decided], clusters_of(matched.items, items, clustered=settings.clustered))
    first = units.first

    def measure(weights: Any) -> dict[Any, Any]:
        from distask.judging.measures.sums import divide

        of_first = divide(weights @ wins[first], weights @ decided[first])
        return {**mean_measures({"flip_rate": flips[first]})(weights), "first_position_rate": of_first}

    resampled = {} if units.independent < 2 else bootstrap(units, [measure], settings.resamples, settings.seed)[0]
    for name, value in measure(units.counts[None]).items():
        trials = (float(flips.sum()), float(len(flips))) if name == "flip_rate" and units.clusters is None else None
        measured.metrics[name] = metric(float(value[0]), resampled.get(name), trials)
        if measured.metrics[name] is None:
            measured.undefined[name] = "the judge gave ties only"
        else:
            measured.undefined.pop(name, None)


def _baseline(ratings: Ratings) -> dict[str, Any]:
    """Return the score of a constant judge and how often each side gives each label."""
    import numpy as np

    judge, gold = (
        np.bincount(codes, minlength=len(values)) for codes, values in zip(ratings.codes, ratings.values, strict=True)
    )
    total = len(ratings)
    if ratings.scale.kind == "number":
        sides = [np.array(values, float)[codes] for codes, values in zip(ratings.codes, ratings.values, strict=True)]
        constant = float(np.abs(sides[1] - np.median(sides[1])).mean())
        rates: Any = {
            name: {"mean": float(side.mean()), "sd": float(side.std())}
            for name, side in zip(("judge", "gold"), sides, strict=True)
        }
        return {"baseline": constant, "baseline_metric": "mae", "base_rates": rates}
    rates = None
    if 0 < len(ratings.labels) <= _MAX_BASE_RATES:
        shares = [_label_counts(ratings, side, counts) for side, counts in enumerate((judge, gold))]
        rates = {
            name: {label: float(count) / total for label, count in zip(ratings.labels, side, strict=True)}
            for name, side in zip(("judge", "gold"), shares, strict=True)
        }
    return {"baseline": float(gold.max()) / total, "baseline_metric": "accuracy", "base_rates": rates}


def _label_counts(ratings: Ratings, side: int, counts: Any) -> list[float]:
    """Return how often a side gives each label; probabilities are summed."""
    made = [0.0] * len(ratings.labels)
    for value, count in zip(ratings.values[side], counts.tolist(), strict=True):
        if ratings.scale.kind == "probability" and side == 0:
            for code, share in enumerate(value):
                made[code] += count * share
        else:
            for code in value if isinstance(value, tuple) else (value,):
                made[code] += count
    return made


def _by_label(ratings: Ratings, measured: Measured) -> list[dict[str, Any]]:
    names = ("precision", "recall", "f1")
    return [
        {"label": label, **{name: measured.by_label.get((name, code)) for name in names}}
        for code, label in enumerate(ratings.labels)
        if any((name, code) in measured.by_label for name in names)
    ]


def confusion(ratings: Ratings) -> dict[str, Any] | None:
    """Return how often each gold label (a row) meets each label of the judge (a column); None if there are many."""
    import numpy as np

    count = len(ratings.labels)
    if ratings.scale.kind in ("number", "multilabel", "ranking") or not 0 < count <= MAX_CONFUSION:
        return None
    judge, gold = ratings.values
    given = [max(range(count), key=value.__getitem__) if isinstance(value, tuple) else value for value in judge]
    table = np.zeros((count, count), dtype=np.intp)
    np.add.at(table, (np.array(gold)[ratings.codes[1]], np.array(given)[ratings.codes[0]]), 1)
    return {"labels": list(ratings.labels), "rows": "gold", "columns": "judge", "counts": table.tolist()}


def _reliability(ratings: Ratings) -> list[dict[str, Any]] | None:
    """Return the reliability curve of each label; for two labels, of the second one."""
    import numpy as np

    if ratings.scale.kind != "probability" or len(ratings.labels) > MAX_CONFUSION:
        return None
    given = np.array(ratings.values[0], float)[ratings.codes[0]]
    true = np.array(ratings.values[1])[ratings.codes[1]]
    shown = range(1, 2) if len(ratings.labels) == 2 else range(len(ratings.labels))
    return [
        {"label": ratings.labels[code], "bins": reliability_curve(given[:, code], (true == code).astype(float))}
        for code in shown
    ]


def _slices(matched: Matched, agreement: Agreement, settings: Settings) -> list[dict[str, Any]]:
    import numpy as np

    made = []
    for place, column in enumerate(settings.slices):
        values = [matched.items[item].slices[place] for item in agreement.ratings.items.tolist()]
        names = np.array(["null" if value is None else label_of(value) for value in values])
        distinct, counts = np.unique(names, return_counts=True)
        for choice in np.argsort(-counts, kind="stable")[:MAX_SLICES]:
            pairs = np.flatnonzero(names == distinct[choice])
            found = measure_ratings(
                agreement.ratings, agreement.clusters, seed=settings.seed, resamples=settings.resamples, pairs=pairs
            )
            for name in ("flip_rate", "first_position_rate"):  # they need no label, so they have no slices
                found.metrics.pop(name, None)
                found.undefined.pop(name, None)
            facts = {"n": len(pairs), "metrics": found.metrics, "undefined": found.undefined}
            made.append({"column": column, "value": str(distinct[choice]), **facts})
    return made


def _listed(labels: Iterable[str]) -> str:
    every = sorted(labels)
    return ", ".join(f"`{label}`" for label in every[:5]) + (", …" if len(every) > 5 else "")


def _notes(matched: Matched, agreement: Agreement) -> list[str]:
    """Return what a reader of the numbers must know."""
    ratings, encoder = agreement.ratings, agreement.encoder
    notes = list(matched.notes)
    if encoder.added and ratings.scale.labels:
        notes.append(f"the scale was extended by values that the task does not declare: {_listed(encoder.added)}")
    lower: dict[str, list[str]] = {}
    for label in ratings.labels:
        lower.setdefault(label.lower(), []).append(label)
    notes += [
        f"{' and '.join(f'`{label}`' for label in labels)} differ only in case and count as different labels"
        for labels in lower.values()
        if len(labels) > 1
    ]
    if ratings.labels and ratings.scale.kind in ("nominal", "ordinal", "preference"):
        judged = {ratings.labels[value] for value in ratings.values[0]}
        golds = {ratings.labels[value] for value in ratings.values[1]}
        if not judged & golds:
            sides = f"the judge gave {_listed(judged)}, gold has {_listed(golds)}"
            notes.append(f"the judge and gold have no label in common: {sides}")
        elif never := sorted(golds - judged):
            notes.append(f"the judge never gave {_listed(never)}, which {'is' if len(never) == 1 else 'are'} in gold")
    if matched.unmatched_gold:
        by = ", ".join(f"`{name}`" for name in matched.by)
        notes.append(
            f"labels without a judged row that has the same {by}: {matched.unmatched_gold:,}, such as "
            f"{matched.unmatched_example}; if these columns do not identify a row, name others with --by"
        )
    if matched.repeated_rows:
        by = ", ".join(f"`{name}`" for name in matched.by)
        notes.append(
            f"judged rows that repeat the {by} of an earlier row and share its labels: {matched.repeated_rows:,}"
        )
    methods = Counter(
        verdict.sampling.method
        for item in matched.items
        for verdict in item.gold
        if verdict.sampling.method is not None
    )
    chosen = [method for method in methods if method not in ("random", "all")]
    if chosen:
        notes.append(
            f"labelled rows were chosen as {' and '.join(f'`{method}`' for method in chosen)}: the agreement is that "
            "of these rows and may differ in the complete data"
        )
    accuracy = agreement.measured.metrics.get("accuracy")
    if len(ratings) > 1 and accuracy is not None and accuracy["value"] == 1:
        notes.append(
            "the judge agrees with gold everywhere, so resamples show no uncertainty: of the intervals, only that of "
            "raw agreement counts"
        )
    outside = [
        name
        for name, metric in agreement.measured.metrics.items()
        if metric is not None and metric["low"] is not None and metric["high"] is not None
        if not metric["low"] - 1e-9 <= (metric["value"] or 0) <= metric["high"] + 1e-9
    ]
    if outside:
        notes.append(
            f"the intervals of {_listed(outside)} do not contain their values: most labels are so rare that resamples "
            "lose some of them; do not quote these"
        )
    if len(ratings) < 30:
        notes.append(f"there are only {len(ratings)} labelled rows: intervals are wide, and rough for a bootstrap")
    return notes

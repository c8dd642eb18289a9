"""Decide how labelled rows represent the pool, and estimate the pool's mean from them, or refuse and say why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from distask.errors import UsageError
from distask.formatting import several
from distask.judging.estimate import (
    Corrected,
    Estimated,
    naive_mean,
    prediction_powered_mean,
    rogan_gladen,
    weighted_mean,
)
from distask.judging.matching.gold import UNKNOWN, Sampling
from distask.judging.matching.items import Missing, clusters_of
from distask.judging.metrics import scores_of
from distask.judging.scales import label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distask.judging.agreement import Agreement
    from distask.judging.matching.items import Matched
    from distask.judging.metrics import Settings

_RANDOM = ("random", "all")
_FEWEST = 2


class _Labelled(Struct, frozen=True):
    """A labelled row: what people and the judge say, as numbers, and how it was chosen."""

    label: float
    judged: float
    sampling: Sampling


def estimate_pool(matched: Matched, agreement: Agreement, number: int, settings: Settings) -> dict[str, Any]:
    """Return the facts of the event `estimate`.

    Args:
        matched: judged rows with their labels.
        agreement: the comparison of the judge with people.
        number: which judge.
        settings: how agreement is measured; `positive` is the label whose share is estimated.

    Raises:
        UsageError: the values have no mean, and no label is named whose share to estimate.
    """
    import numpy as np

    numeric, what, is_rate = _numeric(agreement, settings)
    pool, labelled, numbers = [], [], []
    for place, item in enumerate(matched.items):
        values = [value for v in item.values[number] if (value := numeric(v, agreement.encoder.judge)) is not None]
        if not values:
            continue
        judged = sum(values) / len(values)
        pool.append(judged)
        numbers.append(place)
        golds = [
            (value, verdict.sampling)
            for verdict in item.gold
            if verdict.repeat == 0 and (value := numeric(verdict.value, agreement.encoder.gold)) is not None
        ]
        if golds:
            label = sum(value for value, _ in golds) / len(golds)
            labelled.append((len(pool) - 1, _Labelled(label, judged, golds[0][1])))
    every = np.array(pool)
    facts: dict[str, Any] = {"column": agreement.judge, "gold": agreement.gold, "estimated": what}
    used, assumptions, reason, weighted = _chosen([row for _, row in labelled], len(pool))
    clusters = None
    if settings.clustered:
        clusters = clusters_of(matched.items, np.array(numbers, dtype=np.intp), clustered=True)
    facts |= {"n_labelled": len(used), "n_pool": len(pool), "naive": _event(naive_mean(every, clusters))}
    if reason is None and len(used) < _FEWEST:
        reason = (
            f"there {'is 1 labelled row' if used else 'are no labelled rows'}; an estimate needs at least {_FEWEST}"
        )
    if reason is not None:
        nothing = dict.fromkeys(("labels_only", "corrected", "rogan_gladen"))
        return {**facts, **nothing, "assumptions": assumptions, "reason": reason}
    keep = {id(row) for row in used}
    places = np.array([place for place, row in labelled if id(row) in keep], dtype=np.intp)
    labels, judged_rows = np.array([row.label for row in used]), every[places]
    weights = None
    others = np.setdiff1d(np.arange(len(every)), places)
    if weighted:
        probabilities = np.array([row.sampling.probability for row in used], float)
        weights = 1 / probabilities
        sides = None if clusters is None else (clusters[places], clusters)
        found, method = weighted_mean(labels, judged_rows, probabilities, every, sides), "ppi++ weighted"
    else:
        sides = None if clusters is None else (clusters[places], clusters[others])
        found, method = prediction_powered_mean(labels, judged_rows, every[others], sides), "ppi++"
    made: dict[str, Any] = {**facts, "corrected": _event(_clipped(found, is_rate=is_rate), method, found.reliance)}
    made["labels_only"] = _event(_labels_only(labels, weights, None if sides is None else sides[0]))
    binary = is_rate and all(set(np.unique(side)) <= {0.0, 1.0} for side in (labels, every))
    rate = rogan_gladen(labels, judged_rows, every, seed=settings.seed, weights=weights) if binary else None
    made["rogan_gladen"] = None if rate is None else _event(rate, "rogan-gladen")
    if rate is not None and settings.clustered:
        assumptions.append("the interval of Rogan-Gladen treats rows as independent, whatever --cluster says")
    if binary and rate is None:
        assumptions.append(
            "Rogan-Gladen is undefined: sensitivity + specificity is 1 or less, or the labels are all of one kind"
        )
    return {**made, "assumptions": assumptions, "reason": None}


def _numeric(
    agreement: Agreement, settings: Settings
) -> tuple[Callable[[Any, Callable[[Any], Any]], float | None], str, bool]:
    """Return a function from a value and its encoder to a number, what is estimated, and whether it is a rate."""
    scale, labels = agreement.ratings.scale, agreement.ratings.labels
    if scale.elementwise or scale.kind in ("multilabel", "ranking"):
        raise UsageError(f"--estimate needs one score or label per row, but `{agreement.judge}` holds lists")
    if scale.kind in ("ordinal", "number") and settings.positive is None:
        steps = scores_of(labels)
        return _number_of(lambda code: float(code) if scale.kind == "number" else steps[code]), "mean", False
    if scale.kind == "number":
        raise UsageError(f"--positive names a label, but `{agreement.judge}` holds numbers; leave it out for the mean")
    chosen = _positive(labels, agreement, settings.positive)
    code = labels.index(chosen)
    what = f"share of `{chosen}`"

    def share(value: Any) -> float:
        return float(value[code]) if isinstance(value, tuple) else float(value == code)

    return _number_of(share), what, True


def _positive(labels: Sequence[str], agreement: Agreement, named: str | None) -> str:
    if named is not None:
        if label_of(named) not in labels:
            from distask.diagnostics import did_you_mean

            raise UsageError(f"--positive {named}: there is no such label; {did_you_mean(label_of(named), labels)}")
        return label_of(named)
    if agreement.kind == "probability" and len(labels) == 2:
        return labels[1]
    known = [label for label in labels if label.lower() in ("true", "yes", "pass", "passed", "1", "correct", "good")]
    if len(labels) <= 2 and len(known) == 1:
        return known[0]
    if set(labels) == {"0"} or set(labels) == {"false"}:
        raise UsageError("--estimate: every value is the same; name the label whose share to estimate with --positive")
    shown = ", ".join(f"`{label}`" for label in labels[:5])
    raise UsageError(f"--estimate: the share of which label? Name one of {shown} with --positive")


def _number_of(score: Callable[[Any], float]) -> Callable[[Any, Callable[[Any], Any]], float | None]:
    def numeric(value: Any, encode: Callable[[Any], Any]) -> float | None:
        if value is None or isinstance(value, Missing):
            return None
        code = encode(value)
        return None if code is None else score(code)

    return numeric


def _chosen(labelled: Sequence[_Labelled], pool: int) -> tuple[list[_Labelled], list[str], str | None, bool]:
    """Return the labels that can represent the pool, what is assumed, why there are none, and whether to weight."""
    samplings = [row.sampling for row in labelled]
    assumptions: list[str] = []
    if all(sampling == UNKNOWN for sampling in samplings):
        assumptions.append(
            "it is not known how the labelled rows were chosen; the estimate assumes that they are a random sample of "
            "all judged rows"
        )
        return list(labelled), assumptions, None, False
    designs = {(s.method, s.seed, s.size, s.pool) for s in samplings}
    at_random = [row for row in labelled if _is_random(row.sampling)]
    if len(at_random) == len(labelled):
        assumptions += _of_random(at_random, pool)
        return at_random, assumptions, None, False
    if len(designs) == 1 and all(sampling.probability is not None for sampling in samplings):
        method = samplings[0].method or "unknown"
        assumptions.append(
            f"the labelled rows were chosen as `{method}`; each counts by the inverse of its inclusion probability"
        )
        assumptions += _unfinished(labelled)
        return list(labelled), assumptions, None, True
    others = Counter(row.sampling.method or "unknown" for row in labelled if not _is_random(row.sampling))
    listed = ", ".join(f"{count:,} as `{method}`" for method, count in others.items())
    if len(at_random) >= _FEWEST:
        assumptions.append(
            f"only the {len(at_random):,} labels of randomly chosen rows are used; the others were chosen differently "
            f"({listed}) and would bias the estimate"
        )
        assumptions += _of_random(at_random, pool)
        return at_random, assumptions, None, False
    reason = (
        f"the labelled rows are not a random sample of the judged rows ({listed}), and their inclusion probabilities "
        "are not known, so no correction is valid; label a random sample, for example with `distask label`"
    )
    if all(sampling.probability is not None for sampling in samplings):
        reason = (
            f"the labelled rows come from {several(len(designs), 'session')} that chose rows in different ways "
            f"({listed}), so their joint inclusion probabilities are not known; give the labels of one session"
        )
    return [], assumptions, reason, False


def _is_random(sampling: Sampling) -> bool:
    return sampling.method in _RANDOM


def _of_random(rows: Sequence[_Labelled], pool: int) -> list[str]:
    made = _unfinished(rows)
    pools = {row.sampling.pool for row in rows if row.sampling.pool is not None}
    if pools and pools != {pool}:
        drawn = " and ".join(f"{size:,}" for size in sorted(pools))
        made.append(
            f"the labelled rows were drawn from {drawn} rows and {pool:,} rows are judged; the estimate assumes that "
            "both are the same kind of data"
        )
    return made


def _unfinished(rows: Sequence[_Labelled]) -> list[str]:
    """Return a sentence if a session has fewer labels than rows that it chose."""
    sizes = {(row.sampling.seed, row.sampling.size) for row in rows if row.sampling.method != "all"}
    planned = sum(size for _, size in sizes if size is not None)
    if planned <= len(rows):
        return []
    of_planned = f"{len(rows):,} of the {planned:,} rows that were chosen are labelled and judged"
    return [f"{of_planned}; the estimate assumes that the others are missing at random"]


def _labels_only(labels: Any, weights: Any, clusters: Any) -> Estimated:
    """Return the estimate that does not use the judge."""
    import numpy as np

    if weights is None:
        return naive_mean(labels, clusters)
    sides = None if clusters is None else (clusters, clusters[:1])
    return weighted_mean(labels, np.zeros(len(labels)), 1 / weights, np.zeros(1), sides).estimate


def _clipped(found: Corrected, *, is_rate: bool) -> Estimated:
    """Return the estimate; the bounds of a rate stay within 0 and 1."""
    if not is_rate:
        return found.estimate
    value, low, high = (None if v is None else min(1.0, max(0.0, v)) for v in msgspec.structs.astuple(found.estimate))
    return Estimated(value if value is not None else 0.0, low, high)


def _event(estimate: Estimated, method: str | None = None, reliance: float | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    if method is not None:
        made["method"] = method
    return made if reliance is None else {**made, "reliance": reliance}

"""Measure whether a difference between two results is more than chance, from the same rows of both."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from distask.judging.resampling import RESAMPLES, Z95, Units, bootstrap, mcnemar, percentile_interval
from distask.report.distribution import spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distask.report.distribution import Ordered

MAX_BOOTSTRAP = 20_000
"""Maximum number of pairs that are resampled; for more, the mean is as good as normally distributed."""
MAX_LABELS = 12
"""Maximum number of labels whose shares are compared."""
_SEED = 0
_LEVEL = 0.05


def mean_difference(differences: Ordered) -> dict[str, Any] | None:
    """Return the mean of paired differences with its 95 % interval; None for fewer than two pairs.

    The interval is a percentile bootstrap over pairs, and a normal one for more than `MAX_BOOTSTRAP` pairs.
    """
    count = len(differences)
    if count < 2:
        return None
    if count > MAX_BOOTSTRAP:
        facts = spread(differences)
        half = Z95 * facts["deviation"] / (count - 1) ** 0.5
        value, interval = facts["mean"], (facts["mean"] - half, facts["mean"] + half)
    else:
        import numpy as np

        values = np.array(list(differences))
        units = Units([values])
        of_unit = values[units.first]
        (resampled,) = bootstrap(units, [lambda w: {"mean": w @ of_unit / count}], RESAMPLES, _SEED)
        found = percentile_interval(resampled["mean"])
        if found is None:
            return None
        value, interval = float(values.mean()), found
    low, high = interval
    return {"pairs": count, "value": value, "low": low, "high": high, "is_clear": low > 0 or high < 0}


def share_differences(transitions: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Return how much the share of each label differs, with a 95 % interval and McNemar's exact test.

    The interval is a percentile bootstrap over pairs. With more than two labels there are several tests, so their
    p-values are Holm's; with two labels, only the second one is returned, since the first is its mirror image.

    Args:
        transitions: (label in the first result, label in the second) to the number of pairs.
    """
    labels = sorted({label for pair in transitions for label in pair})
    total = sum(transitions.values())
    is_equal = all(before == after for before, after in transitions)
    if total < 2 or is_equal or not 2 <= len(labels) <= MAX_LABELS:
        return []
    import numpy as np

    counts = np.array(list(transitions.values()))
    resampled = np.random.default_rng(_SEED).multinomial(total, counts / total, RESAMPLES) / total
    made = []
    for label in labels[1:] if len(labels) == 2 else labels:
        signs = np.array([(after == label) - (before == label) for before, after in transitions], float)
        low, high = np.percentile(resampled @ signs, (2.5, 97.5))
        sides: Counter[str] = Counter()
        for (before, after), count in transitions.items():
            sides["first"] += count * (before == label)
            sides["second"] += count * (after == label)
            sides["lost"] += count * (before == label != after)
            sides["gained"] += count * (before != label == after)
        made.append(
            {
                "label": label,
                "pairs": total,
                "shares": [sides["first"] / total, sides["second"] / total],
                "value": (sides["second"] - sides["first"]) / total,
                "low": float(low),
                "high": float(high),
                "mcnemar": mcnemar(sides["lost"], sides["gained"]),
            }
        )
    _correct(made)
    return made


def _correct(differences: list[dict[str, Any]]) -> None:
    """Replace p-values by Holm's (Holm 1979), and note which of them are below 0.05."""
    least = 0.0
    for place, facts in enumerate(sorted(differences, key=lambda facts: facts["mcnemar"])):
        least = max(least, min(1.0, facts["mcnemar"] * (len(differences) - place)))
        facts["mcnemar"], facts["is_clear"] = least, least < _LEVEL

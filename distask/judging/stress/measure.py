"""Measure how often a change that should not matter changes the verdict, and in which direction."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.judging.measures.sums import divide
from distask.judging.metrics import metric
from distask.judging.resampling import RESAMPLES, Units, bootstrap, wilson_interval
from distask.judging.stress.variants import changed_place
from distask.judging.stress.verdicts import credit, exchanged, score_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from distask.judging.measures.sums import Floats
    from distask.judging.metrics import Metric
    from distask.judging.stress.answers import Answers
    from distask.judging.stress.biases import Bias, Toward
    from distask.judging.stress.verdicts import Verdict

_FEWEST = 2
"""Fewest rows for a bootstrap interval."""
FEWEST_FOUND = 20
"""Fewest rows for saying whether there is a bias; with fewer, a bootstrap interval is too rough."""
MAX_MOVES = 50
"""Maximum number of moves from one label to another that are reported, the most common first."""


class Settings(Struct, frozen=True):
    """How verdicts are compared."""

    tolerance: float = 0.0
    """Smallest difference of two numbers that is no change."""
    resamples: int = RESAMPLES
    seed: int = 0


class Judged(Struct, frozen=True):
    """The replies to a row: the output columns of each sample."""

    samples: list[dict[str, Any]]
    failed: list[bool]
    """Whether each of them failed."""


class Compared(Struct):
    """The verdicts of all rows, compared; the row is the unit, however many verdicts it has."""

    changed: list[float] = field(default_factory=list)
    """For each row, the share of its verdicts that changed."""
    shifts: list[float] = field(default_factory=list)
    """For each row, the mean difference after - before, if the verdicts are numbers or concern the changed answer."""
    first_wins: list[float] = field(default_factory=list)
    """For each comparison in both orders, how often the first place won."""
    decided: list[float] = field(default_factory=list)
    """For each comparison in both orders, how often there was no tie."""
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed_before: int = 0
    failed: int = 0

    def add(self, pairs: Sequence[tuple[Any, Any]], verdict: Verdict, tolerance: float) -> None:
        """Add the verdicts of a row, before and after."""
        differ = [verdict.differ(before, after, tolerance) for before, after in pairs]
        self.changed.append(sum(differ) / len(differ))
        if verdict.kind != "number":
            self.moves.update(pair for pair, differs in zip(pairs, differ, strict=True) if differs)


def compare(
    bias: Bias,
    verdict: Verdict,
    before: Mapping[int, Judged],
    after: Mapping[int, Judged],
    answers: Answers | None,
    settings: Settings,
    *,
    asked: int,
) -> Compared:
    """Compare the verdicts of rows as they are with those of the changed rows.

    Args:
        bias: what was changed.
        verdict: the output to compare.
        before: index to the rows as they are; not used if the bias samples the same chat several times.
        after: index to the changed rows.
        answers: where the answers are.
        settings: how verdicts are compared.
        asked: number of rows that were sent; those that `after` lacks were dropped, and count as failed.
    """
    made = Compared()
    made.failed = (asked - len(after)) * bias.samples
    for index, judged in after.items():
        if bias.resamples:
            _add_samples(made, verdict, judged, bias.samples, settings.tolerance)
            continue
        old = _verdicts(verdict, before.get(index))
        new = _verdicts(verdict, judged)
        if old is None or new is None or len(old) != len(new):
            made.failed_before += old is None
            made.failed += old is not None
            continue
        texts = answers.read(before[index].samples[0]) if answers is not None else None
        _add_changed(made, bias, verdict, (old, new), (index, len(texts or ())), settings.tolerance)
    return made


def compare_orders(verdict: Verdict, rows: Mapping[int, Judged], *, asked: int) -> Compared:
    """Compare the verdicts that a task itself gave in both orders of the answers, of `asked` rows."""
    made = Compared()
    made.failed_before = asked - len(rows)
    for judged in rows.values():
        found = verdict.read_orders(judged.samples[0]) if judged.samples else None
        if found is None:
            made.failed_before += 1
        else:
            _add_orders(made, verdict, *found)
    return made


def _verdicts(verdict: Verdict, judged: Judged | None) -> list[Any] | None:
    if judged is None or not judged.samples:
        return None
    return verdict.read(judged.samples[0], failed=judged.failed[0])


def _add_samples(made: Compared, verdict: Verdict, judged: Judged, samples: int, tolerance: float) -> None:
    """Add every pair of samples of a row."""
    read = [verdict.read(row, failed=failed) for row, failed in zip(judged.samples, judged.failed, strict=True)]
    known = [values for values in read if values is not None]
    made.failed += len(read) - len(known)
    made.failed += sum(None in values for values in known) + max(0, samples - len(read))
    pairs = [
        tuple(sorted(pair, key=str))
        for one, other in combinations(known, 2)
        for pair in zip(one, other, strict=False)
        if None not in pair
    ]
    if pairs:
        made.add([(one, other) for one, other in pairs], verdict, tolerance)


def _add_changed(
    made: Compared,
    bias: Bias,
    verdict: Verdict,
    values: tuple[list[Any], list[Any]],
    row: tuple[int, int],
    tolerance: float,
) -> None:
    """Add a row; `row` is its index and its number of answers."""
    old, new = values
    index, count = row
    if bias.reverses and verdict.kind == "pair":
        if old[0] is None or new[0] is None:
            made.failed_before += old[0] is None
            made.failed += old[0] is not None
        else:
            _add_orders(made, verdict, old[0], exchanged(new[0]))
        return
    if bias.reverses:
        new = new[::-1]
    place = changed_place(index, count) if bias.answer is not None and count else None
    if place is not None and verdict.entries:
        old, new = old[place : place + 1], new[place : place + 1]
    pairs = [pair for pair in zip(old, new, strict=True) if None not in pair]
    if not pairs:
        lost_before = all(value is None for value in old)
        made.failed_before += lost_before
        made.failed += not lost_before
        return
    made.add(pairs, verdict, tolerance)
    made.shifts.extend(_shift(bias, verdict, (old, new), place))


def _shift(
    bias: Bias, verdict: Verdict, values: tuple[list[Any], list[Any]], place: int | None
) -> Iterable[float]:  # fmt: skip
    """Return the shift of a row in a list, which is empty if it has none."""
    old, new = values
    if verdict.kind == "label":
        return []
    if bias.reverses:  # what an answer gains from the first place: the first loses it, and the last gains it
        if len(old) < 2 or any(old[end] is None or new[end] is None for end in (0, -1)):
            return []
        gains = (
            score_of(verdict, old[0]) - score_of(verdict, new[0]),
            score_of(verdict, new[-1]) - score_of(verdict, old[-1]),
        )
        return [sum(gains) / 2]
    if verdict.kind == "pair":
        return [] if place is None else [credit(new[0], place) - credit(old[0], place)]
    changes = [
        score_of(verdict, b) - score_of(verdict, a)
        for a, b in zip(old, new, strict=True)
        if a is not None and b is not None
    ]
    return [sum(changes) / len(changes)]


def _add_orders(made: Compared, verdict: Verdict, first: str, second: str) -> None:
    """Add a comparison in both orders; each preference is for the answers in the order of the row."""
    made.add([(first, second)], verdict, 0.0)
    made.first_wins.append((first == "A") + (second == "B"))
    made.decided.append((first != "tie") + (second != "tie"))


def facts_of(bias: Bias, verdict: Verdict, compared: Compared, settings: Settings) -> dict[str, Any]:
    """Return the measures of a bias, each with its 95 % interval; None where one is undefined.

    `changed` has Wilson's interval over rows. A row with several verdicts counts with the share of them that changed,
    which makes the interval wider than needed. `shift` and `first_place` have bootstrap intervals over rows.
    """
    n = len(compared.changed)
    total = sum(compared.changed)
    low, high = wilson_interval(total, n) if n else (None, None)
    shift = _mean(compared.shifts, settings)
    first_place = _first_place(compared, settings)
    return {
        "n": n,
        "changed": {"value": total / n, "low": low, "high": high} if n else None,
        "shift": shift,
        "shift_of": None if shift is None else _meaning(bias, verdict),
        "first_place": first_place,
        "moves": [
            {"from": one, "to": other, "count": count} for (one, other), count in compared.moves.most_common(MAX_MOVES)
        ],
        "found": None if n < FEWEST_FOUND else _found(bias.toward, shift, first_place),
        "failed_before": compared.failed_before,
        "failed": compared.failed,
    }


def _meaning(bias: Bias, verdict: Verdict) -> str:
    if bias.reverses:
        return f"what an answer gains in `{verdict.column}` if it is shown first instead of last"
    if verdict.kind == "pair":
        return f"what the changed answer gains in `{verdict.column}`: a win is 1, a tie 0.5, a loss 0"
    if verdict.descending:
        return f"how far the mean of `{verdict.column}` falls, since lower is better"
    what = "share of true" if verdict.kind == "boolean" else "mean"
    return f"change of the {what} of `{verdict.column}`"


def _found(toward: Toward | None, shift: Metric | None, first_place: Metric | None) -> bool | None:
    """Return whether the interval lies beyond no bias, in the direction that would be one."""
    measured, middle = (first_place, 0.5) if first_place is not None else (shift, 0.0)
    if toward is None or measured is None or measured["low"] is None or measured["high"] is None:
        return None
    if toward in {"higher", "first"}:
        return measured["low"] > middle
    if toward in {"lower", "last"}:
        return measured["high"] < middle
    return None


def _mean(values: Sequence[float], settings: Settings) -> Metric | None:
    import numpy as np

    from distask.judging.measures.labels import mean_measures

    if not values:
        return None
    column = np.array(values, float)
    units = Units([column])
    resampled = None
    if len(values) >= _FEWEST:
        measure = mean_measures({"mean": column[units.first]})
        resampled = bootstrap(units, [measure], settings.resamples, settings.seed)[0]["mean"]
    return metric(float(column.mean()), resampled)


def _first_place(compared: Compared, settings: Settings) -> Metric | None:
    """Return the share of comparisons without a tie, in both orders, that the first place won."""
    import numpy as np

    if not sum(compared.decided):
        return None
    wins, decided = np.array(compared.first_wins, float), np.array(compared.decided, float)
    units = Units([wins, decided])

    def measure(weights: Floats) -> dict[Any, Floats]:
        return {"first": divide(weights @ wins[units.first], weights @ decided[units.first])}

    resampled = None
    if len(wins) >= _FEWEST:
        resampled = bootstrap(units, [measure], settings.resamples, settings.seed)[0]["first"]
    return metric(float(wins.sum() / decided.sum()), resampled)

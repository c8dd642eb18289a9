"""Show how far judges agree with people: measures with intervals, confusion, slices, people, and estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.cli.display.console import plain
from distask.formatting import money, several
from distask.judging.metrics import METRIC_NAMES, PRIMARY, REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

    from distask.judging.metrics import Metric

Line = tuple[str, str]
"""A line and its style."""
_WIDTH = 24
_MAX_LABELS = 12
"""Maximum number of labels of a confusion matrix on a terminal."""
_LONGEST_LABEL = 12


def show(
    console: Console, agreements: Sequence[Mapping[str, Any]], estimates: Sequence[Mapping[str, Any] | None]
) -> None:  # fmt: skip
    """Print a judge in detail, or a table of several judges, best first."""
    several_judges = len(agreements) > 1 and agreements[0]["gold"] is not None
    for line in _several(agreements) if several_judges else ():
        console.print(plain(*line))
    for number, (agreement, estimate) in enumerate(zip(agreements, estimates, strict=True)):
        if number and not several_judges:
            console.print()
        for line in () if several_judges else _lines(agreement):
            console.print(plain(*line))
        for line in () if estimate is None else _estimate(estimate):
            console.print(plain(*line))


def _several(agreements: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    best = agreements[0]
    yield f"{len(agreements)} judges against {best['gold']}, best first", "bold"
    yield f"{'kind':<{_WIDTH}}{_kind(best)}", ""
    if best["baseline_metric"] == "accuracy":
        yield f"{'majority baseline':<{_WIDTH}}{best['baseline']:.3f} raw agreement", ""
    yield "", ""
    for line in _table(_ranking(agreements)):
        yield line, ""
    yield "", ""
    for agreement in agreements[1:]:
        for line in _difference(agreement):
            yield line, ""
    for note in dict.fromkeys(note for agreement in agreements for note in agreement["notes"]):
        yield f"note: {note}", "yellow"
    yield "for more about a judge, name only that one with --judge; --json prints everything", "dim"


def _lines(agreement: Mapping[str, Any]) -> Iterator[Line]:
    gold = agreement["gold"]
    of = f"{agreement['judge']} against {gold}" if gold is not None else f"replies of {agreement['judge']}"
    yield of, "bold"
    yield f"{'kind':<{_WIDTH}}{_kind(agreement)}", ""
    unit = "row" if agreement["n"] == agreement["items"] else "pair"
    of_items = f" of {several(agreement['items'], 'row')}" if unit == "pair" else ""
    yield f"{'compared':<{_WIDTH}}{several(agreement['n'], unit)}{of_items}", ""
    excluded = [f"{count:,} {REASONS.get(reason, reason)}" for reason, count in agreement["excluded"].items()]
    if excluded:
        yield f"{'left out':<{_WIDTH}}{', '.join(excluded)}", ""
    yield "", ""
    yield f"{'':<{_WIDTH}}{'value':>8}  95 % interval", "dim"
    for name, metric in agreement["metrics"].items():
        if metric is not None:
            yield f"{METRIC_NAMES.get(name, name):<{_WIDTH}}{_shown(metric)}", ""
        if name == "accuracy" and agreement["baseline_metric"] == "accuracy" and metric is not None:
            yield f"{'  majority baseline':<{_WIDTH}}{agreement['baseline']:>8.3f}", ""
        if name == "mae" and agreement["baseline_metric"] == "mae":
            yield f"{'  constant judge':<{_WIDTH}}{agreement['baseline']:>8.3f}", ""
    yield from _undefined(agreement)
    yield from _base_rates(agreement)
    yield from ((line, "") for line in _confusion(agreement["confusion"]))
    yield from ((line, "") for line in _people(agreement))
    yield from ((line, "") for line in _slices(agreement))
    for note in agreement["notes"]:
        yield f"note: {note}", "yellow"


def _kind(agreement: Mapping[str, Any]) -> str:
    labels = agreement["labels"]
    scale = f", {len(labels)} labels" if labels else ""
    if agreement["kind"] == "ordinal" and labels:
        scale = f", {labels[0]} to {labels[-1]}"
    return f"{agreement['kind']}{scale}; from {agreement['kind_source']}"


def _undefined(agreement: Mapping[str, Any]) -> Iterator[Line]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in agreement["undefined"].items():
        by_reason.setdefault(reason, []).append(METRIC_NAMES.get(name, name))
    for reason, names in by_reason.items():
        yield f"not shown: {', '.join(names)}: {reason}", "dim"


def _base_rates(agreement: Mapping[str, Any]) -> Iterator[Line]:
    rates = agreement["base_rates"]
    if rates is None:
        return
    yield "", ""
    if agreement["kind"] == "number":
        for side in ("judge", "gold"):
            yield f"{f'mean of {side}':<{_WIDTH}}{rates[side]['mean']:>8.3f}  (sd {rates[side]['sd']:.3f})", ""
        return
    of_labels = {found["label"]: found for found in agreement["by_label"]}
    names = agreement["labels"][:_MAX_LABELS]
    rows = [["label", "judge", "gold", "precision", "recall", "F1"]]
    for label in names:
        found = of_labels.get(label, {})
        scores = [found.get(name) for name in ("precision", "recall", "f1")]
        shares = [f"{rates[side][label]:.1%}" for side in ("judge", "gold")]
        rows.append([_cut(label), *shares, *("" if s is None else f"{s['value']:.3f}" for s in scores)])
    yield from ((line, "") for line in _table(rows))
    if len(agreement["labels"]) > len(names):
        yield f"and {len(agreement['labels']) - len(names):,} more labels; --json has them all", "dim"


def _confusion(confusion: Mapping[str, Any] | None) -> Iterator[str]:
    if confusion is None or len(confusion["labels"]) > _MAX_LABELS:
        return
    yield ""
    labels = [_cut(label) for label in confusion["labels"]]
    rows = [["gold, judge:", *labels]]
    rows += [[label, *map(str, counts)] for label, counts in zip(labels, confusion["counts"], strict=True)]
    yield from _table(rows)


def _people(agreement: Mapping[str, Any]) -> Iterator[str]:
    people, own = agreement["people"], agreement["self_consistency"]
    found = [("people with each other", (people or {}).get("agreement"))]
    found.append(("people with themselves", (people or {}).get("self_consistency")))
    if agreement["gold"] is not None:
        found.append(("replies to the same row", own))
    shown = [(title, same) for title, same in found if same is not None]
    if not shown:
        return
    yield ""
    names = _main_metrics(agreement)
    rows = [["", "rows", *(METRIC_NAMES.get(name, name) for name in names)]]
    rows.append(["judge with people", str(agreement["items"]), *(_brief(agreement["metrics"].get(n)) for n in names)])
    rows += [[title, str(same["items"]), *(_brief(same["metrics"].get(n)) for n in names)] for title, same in shown]
    yield from _table(rows)


def _slices(agreement: Mapping[str, Any]) -> Iterator[str]:
    names = _main_metrics(agreement)
    columns = dict.fromkeys(found["column"] for found in agreement["slices"])
    for column in columns:
        yield ""
        rows = [[column, "n", *(METRIC_NAMES.get(name, name) for name in names)]]
        rows += [
            [_cut(found["value"], 30), str(found["n"]), *(_brief(found["metrics"][n]) for n in names)]
            for found in agreement["slices"]
            if found["column"] == column
        ]
        yield from _table(rows)


def _main_metrics(agreement: Mapping[str, Any]) -> list[str]:
    first = next((n for n in PRIMARY[agreement["kind"]] if agreement["metrics"].get(n)), None)
    others = [name for name in ("accuracy", "alpha", "mae") if agreement["metrics"].get(name) and name != first]
    return [*([first] if first else []), *others[:2]]


def _ranking(agreements: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    name = agreements[0]["ranked_by"]
    others = [n for n in ("accuracy", "mae") if n != name and agreements[0]["metrics"].get(n)][:1]
    rows = [
        ["judge", "n", METRIC_NAMES.get(name, name), *(METRIC_NAMES[n] for n in others), "$ / 1,000 rows", "failed"]
    ]
    for agreement in agreements:
        cost = agreement["cost_per_1000_rows"]
        failed = agreement["excluded"].get("judge_failed", 0) + agreement["excluded"].get("judge_null", 0)
        rows.append(
            [
                _cut(agreement["judge"], 40),
                str(agreement["n"]),
                *(_brief(agreement["metrics"].get(n)) for n in (name, *others)),
                "" if cost is None else money(cost),
                str(failed),
            ]
        )
    return rows


def _difference(agreement: Mapping[str, Any]) -> Iterator[str]:
    found, name = agreement["difference"], agreement["ranked_by"]
    metric = found["metrics"].get(name)
    if metric is None:
        yield f"{agreement['judge']} and {found['from']} can't be compared: no row has values of both"
        return
    p = "" if found["mcnemar"] is None else f", McNemar p = {found['mcnemar']:.3g}"
    title = METRIC_NAMES.get(name, name)
    rows = several(found["n"], "row")
    yield f"{agreement['judge']} - {found['from']}: {title} {_brief(metric, signed=True)} on {rows} of both{p}"


def _estimate(estimate: Mapping[str, Any]) -> Iterator[Line]:
    yield "", ""
    yield f"{estimate['column']}: {estimate['estimated']} over {several(estimate['n_pool'], 'judged row')}", "bold"
    yield f"{'judge only (naive)':<{_WIDTH}}{_shown(estimate['naive'])}", ""
    if estimate["corrected"] is not None:
        title = f"corrected, {several(estimate['n_labelled'], 'label')}"
        method = estimate["corrected"]["method"]
        yield f"{title:<{_WIDTH}}{_shown(estimate['corrected'])}  {method}", ""
        yield f"{'labels only':<{_WIDTH}}{_shown(estimate['labels_only'])}", ""
        if estimate["rogan_gladen"] is not None:
            yield f"{'Rogan-Gladen':<{_WIDTH}}{_shown(estimate['rogan_gladen'])}", ""
    else:
        yield f"no corrected estimate: {estimate['reason']}", "bold red"
    for sentence in estimate["assumptions"]:
        yield f"note: {sentence}", "yellow"


def _shown(metric: Metric) -> str:
    interval = "" if metric["low"] is None else f"  {metric['low']:.3f} to {metric['high']:.3f}"
    return f"{metric['value']:>8.3f}{interval}"


def _brief(metric: Metric | None, *, signed: bool = False) -> str:
    if metric is None:
        return ""
    form = "+.3f" if signed else ".3f"
    value = f"{metric['value']:{form}}"
    return value if metric["low"] is None else f"{value} [{metric['low']:{form}}, {metric['high']:{form}}]"


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table: the first column to the left, the others to the right."""
    listed = [list(row) for row in rows]
    widths = [max(len(row[place]) for row in listed) for place in range(len(listed[0]))]
    for row in listed:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def _cut(text: str, longest: int = _LONGEST_LABEL) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"

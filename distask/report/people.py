"""Compare a result with people's labels, for the part of its page that says how far to trust it."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.formatting import several
from distask.judging.comparison import compare_judges
from distask.judging.matching.items import Item, Missing, Orders, Request, match
from distask.judging.matching.sources import LABEL_COLUMN, Source, parse_column
from distask.judging.metrics import METRIC_NAMES, PRIMARY, REASONS, Settings
from distask.judging.scales import label_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.judging.agreement import Agreement
    from distask.judging.matching.gold import GoldVerdict
    from distask.report.result import Result

MAX_DISAGREEMENTS = 50
"""Maximum number of rows that disagree and are listed on the overview; the table of rows has all of them."""
MAX_MATRIX = 12
"""Maximum number of labels of a confusion matrix on a page."""
_MAX_WORDS = 60
"""Maximum characters of a value that is listed."""
_LABELS = frozenset({"nominal", "ordinal", "preference"})
"""Kinds whose values are single labels."""
AGREE, DISAGREE = "agree", "disagree"


class Labels(Struct, frozen=True):
    """Where people's labels are."""

    files: Sequence[str] = ()
    """Labels files, as `distask label` writes them."""
    gold: str | None = None
    """The column with the labels: of the files, or of the result if there are none; also FILE:COLUMN."""
    judge: str | None = None
    """The column that is judged; None for the same name as the labels."""
    by: Sequence[str] = ()
    """Columns that match rows; empty for the columns of the input."""


class Opinion(Struct, frozen=True):
    """A person's verdict on a reply, next to the judge's."""

    column: str
    annotator: str
    person: str
    judge: str
    """Both as labels of the scale, or as text."""
    comment: str | None
    distance: float
    """How far apart the two are on the scale; 0 if they agree, 1 for labels without an order."""

    @property
    def agrees(self) -> bool:
        """Whether the two verdicts are equal."""
        return self.distance == 0

    @property
    def words(self) -> str:
        """Both verdicts, as the page filters them."""
        return f"both {self.judge}" if self.agrees else f"person {self.person}, judge {self.judge}"


class Trust(Struct):
    """What the page shows of people's labels."""

    cards: list[dict[str, Any]] = field(default_factory=list)
    """One for each judged column."""
    of_line: dict[int, list[Opinion]] = field(default_factory=dict)
    """Line of the result to the opinions on its row."""

    @property
    def columns(self) -> list[str]:
        """The judged columns."""
        return [card["name"] for card in self.cards]

    def measures(self) -> dict[str, dict[str, Any]]:
        """Return what the page filters by, for each judged column: both verdicts, and whether they agree."""
        return {
            f"{kind} {name}": {"name": f"{kind} {name}", "title": f"{name}: {title}", "kind": "label"}
            for name in self.columns
            for kind, title in (("agrees", "agrees with people"), ("verdicts", "person and judge"))
        }

    def index(
        self, lines: Sequence[int], kept: Sequence[int] | None
    ) -> tuple[dict[str, Any], dict[str, list[list[Any]]]]:
        """Return the values of the measures, and the opinions to show with each row; note which rows are on the page.

        Args:
            lines: the line of each row of the result.
            kept: the numbers of the rows on the page; None for all.
        """
        on_page = None if kept is None else set(kept)
        for example in (example for card in self.cards for example in card["examples"]):
            example["on_page"] = on_page is None or example["row"] in on_page
        if kept is not None:
            lines = [lines[number] for number in kept]
        measures = {}
        for name in self.columns:
            each, agrees, verdicts = [], [], []
            for line in lines:
                of_row = [opinion for opinion in self.of_line.get(line, ()) if opinion.column == name]
                each.append(len(of_row))
                agrees += [AGREE if opinion.agrees else DISAGREE for opinion in of_row]
                verdicts += [opinion.words for opinion in of_row]
            measures[f"agrees {name}"] = _coded(each, agrees)
            measures[f"verdicts {name}"] = _coded(each, verdicts)
        shown = {
            str(place): [[o.column, o.annotator, o.person, o.judge, o.agrees, o.comment] for o in self.of_line[line]]
            for place, line in enumerate(lines)
            if line in self.of_line
        }
        return measures, shown


def keep_lines(result: Result) -> None:
    """Make a result remember the line of each row, to find the rows that people labelled."""
    result.lines = array("q")


def compare_with_people(result: Result, labels: Labels) -> Trust:
    """Compare the columns of a result with people's labels; call it when all rows have been read.

    Raises:
        UsageError: there are no labels for a column of the result, or no row in common.
        InputError: a file can't be read.
    """
    trust = Trust()
    numbers = {line: number for number, line in enumerate(result.lines or ())}
    for judge, gold in _columns(result, labels):
        matched = match(Request(result.source, (judge,), gold, by=tuple(labels.by)))
        (agreement,) = compare_judges(matched, Settings())
        opinions = [(item.line, o) for item in matched.items for o in _opinions(judge, item, agreement)]
        for line, opinion in opinions:
            trust.of_line.setdefault(line, []).append(opinion)
        trust.cards.append(_card(judge, agreement, [(numbers.get(line, 0), o) for line, o in opinions]))
    return trust


def _columns(result: Result, labels: Labels) -> list[tuple[str, tuple[str, ...]]]:
    """Return each judged column with its columns of labels."""
    if not labels.files:
        gold = str(labels.gold)
        judge = labels.judge or (parse_column(gold).name if parse_column(gold).source is not None else None)
        if judge is None:
            raise UsageError(f"--gold {gold}: name the column that it is compared with: --judge COL")
        return [(judge, (gold,))]
    for file in labels.files:
        if not Path(file).is_file() and "://" not in file:
            raise UsageError(f"--labels {file}: file not found; create one with `distask label`")
    known = list(Source(labels.files[0]).columns)
    names = [labels.gold] if labels.gold is not None else [n for n in _judged(result, labels) if n in known]
    if not names:
        listed = ", ".join(f"`{name}`" for name in known if name != LABEL_COLUMN)
        why = "has no column that the task of the result makes" if result.record else "may label several columns"
        raise UsageError(f"{labels.files[0]} {why}; name the column with the labels: --gold COL. It has {listed}")
    if (name := names[0]) not in known:
        raise UsageError(f"--gold {name}: {labels.files[0]} has no such column; {did_you_mean(name, known)}")
    return [(labels.judge or name, tuple(f"{file}:{name}" for file in labels.files)) for name in names]


def _judged(result: Result, labels: Labels) -> list[str]:
    return [labels.judge] if labels.judge is not None else result.outputs


def _opinions(column: str, item: Item, agreement: Agreement) -> list[Opinion]:
    """Return each verdict of a person on each reply to a row."""
    return [
        _opinion(column, verdict, value.preference if isinstance(value, Orders) else value, agreement)
        for value in item.values[0]
        if not isinstance(value, Missing)
        for verdict in item.gold
        if verdict.value is not None and verdict.repeat == 0
    ]


def _opinion(column: str, verdict: GoldVerdict, judge: Any, agreement: Agreement) -> Opinion:
    encoder, is_list = agreement.encoder, agreement.ratings.scale.elementwise
    person, parts = _words(verdict.value), _words(judge)
    if not is_list and agreement.kind in _LABELS:
        codes = encoder.gold(verdict.value), encoder.judge(judge)
        person, parts = (w if c is None else encoder.labels[c] for w, c in zip((person, parts), codes, strict=True))
    distance = _distance(judge, verdict.value, agreement)
    return Opinion(column, verdict.annotator, person, parts, verdict.comment, distance)


def _distance(judge: Any, person: Any, agreement: Agreement) -> float:
    if not agreement.ratings.scale.elementwise:
        return _distance_of_two(judge, person, agreement)
    if not isinstance(judge, list) or not isinstance(person, list) or len(judge) != len(person):
        return 1.0
    return sum(_distance_of_two(a, b, agreement) for a, b in zip(judge, person, strict=True))


def _distance_of_two(judge: Any, person: Any, agreement: Agreement) -> float:
    one, other = agreement.encoder.judge(judge), agreement.encoder.gold(person)
    if one is None or other is None:
        return 1.0
    if agreement.kind == "probability":
        return 0.0 if one[other] == max(one) else 1 - one[other]
    return abs(float(one - other)) if agreement.kind in ("ordinal", "number") else float(one != other)


def _card(judge: str, agreement: Agreement, opinions: Sequence[tuple[int, Opinion]]) -> dict[str, Any]:
    """Return what the page shows of a column; `opinions` come with the number of their row."""
    facts = agreement.event()
    metrics = facts["metrics"]
    main = next((name for name in PRIMARY[agreement.kind] if metrics.get(name)), None)
    differing = sorted((pair for pair in opinions if not pair[1].agrees), key=lambda pair: -pair[1].distance)
    confusion = facts["confusion"]
    unit = "row" if facts["n"] == facts["items"] else "pair"
    return {
        "name": judge,
        "gold": facts["gold"],
        "kind": facts["kind"],
        "kind_source": facts["kind_source"],
        "compared": several(facts["n"], unit),
        "n": facts["n"],
        "left_out": [f"{count:,} {REASONS.get(reason, reason)}" for reason, count in facts["excluded"].items()],
        "main": main and METRIC_NAMES[main],
        "metrics": [{"name": METRIC_NAMES.get(n, n), **m} for n, m in metrics.items() if m is not None],
        "undefined": [f"{METRIC_NAMES.get(n, n)}: {why}" for n, why in facts["undefined"].items()],
        "bias": metrics.get("bias"),
        "baseline": facts["baseline"],
        "baseline_metric": METRIC_NAMES[facts["baseline_metric"]],
        "base_rates": _rates(facts),
        "confusion": confusion if confusion and len(confusion["labels"]) <= MAX_MATRIX else None,
        "cells_lead_to_rows": agreement.kind in _LABELS and not agreement.ratings.scale.elementwise,
        "reliability": facts["reliability"] or [],
        "people": _ceiling(facts["people"]),
        "notes": facts["notes"],
        "differing": len(differing),
        "opinions": len(opinions),
        "examples": [
            {
                "row": number,
                "annotator": opinion.annotator,
                "person": opinion.person,
                "judge": opinion.judge,
                "comment": opinion.comment,
            }
            for number, opinion in differing[:MAX_DISAGREEMENTS]
        ],
    }


def _ceiling(people: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the first measure of how far people agree with each other; None if no two of them labelled a row."""
    among = (people or {}).get("agreement") or {}
    found = ({"name": METRIC_NAMES.get(n, n), **m} for n, m in (among.get("metrics") or {}).items() if m is not None)
    return next(found, None)


def _rates(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how often people and the judge give each label, with precision and recall."""
    rates = facts["base_rates"]
    if facts["kind"] == "number" or rates is None or len(rates["gold"]) > MAX_MATRIX:
        return []
    scores = {of["label"]: of for of in facts["by_label"]}
    return [
        {"label": label, "people": share, "judge": rates["judge"][label], **_scores(scores.get(label, {}))}
        for label, share in rates["gold"].items()
    ]


def _scores(of: dict[str, Any]) -> dict[str, float | None]:
    return {name: (of.get(name) or {}).get("value") for name in ("precision", "recall", "f1")}


def _words(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else label_of(value)
    return text if len(text) <= _MAX_WORDS else f"{text[: _MAX_WORDS - 1]}…"


def _coded(each: list[int], words: list[str]) -> dict[str, Any]:
    labels = {word: code for code, word in enumerate(sorted(set(words)))}
    return {"each": each, "values": [labels[word] for word in words], "labels": list(labels)}

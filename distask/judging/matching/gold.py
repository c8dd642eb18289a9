"""Read people's labels: the last verdict of each annotator on each item, and how the items were chosen.

`distask label` appends one line per verdict, with a column `label`; a later line replaces an earlier one, and a
withdrawn line removes it. A file that people made by hand has only the columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.errors import InputError, UsageError
from distask.judging.matching.sources import LABEL_COLUMN, SourceRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from distask.judging.matching.sources import Column, Source


class Sampling(Struct, frozen=True):
    """How a labelling session chose an item; every field is None if it is not known."""

    method: str | None = None
    probability: float | None = None
    """The item's inclusion probability."""
    size: int | None = None
    pool: int | None = None
    seed: int | None = None
    stratum: str | None = None


UNKNOWN = Sampling()


class GoldVerdict(Struct, frozen=True):
    """A person's verdict on an item."""

    annotator: str
    value: Any
    """None if the person skipped it."""
    line: int
    skipped: bool = False
    repeat: int = 0
    """0 for the first time that the person saw the item, 1 for the second, and so on."""
    sampling: Sampling = UNKNOWN
    comment: str | None = None


GoldByKey = dict[bytes, list[GoldVerdict]]


def read_gold(source: Source, column: Column, by: Sequence[str], annotator: str | None) -> GoldByKey:
    """Read the verdicts of a file of labels, by the key of their item.

    Args:
        source: the file.
        column: the gold column.
        by: the columns that match rows.
        annotator: a column that names who labelled a row, in a file that people made by hand.

    Raises:
        InputError: one annotator gave an item two different labels in a file made by hand.
        UsageError: a column is missing.
    """
    wanted = [column.name, annotator] if annotator is not None and annotator in source.columns else [column.name]
    has_labels = source.has_sessions and column.name != LABEL_COLUMN
    if annotator is not None and len(wanted) == 1 and not has_labels:
        raise UsageError(f"{source.name}: no row has the column `{annotator}`, which --annotator names")
    rows = source.rows([*wanted, LABEL_COLUMN] if has_labels else wanted, by)
    if not has_labels:
        return _by_hand(rows, source.name, column, named=len(wanted) == 2)
    return _of_sessions(rows, column)


def _by_hand(rows: Iterable[SourceRow], file: str, column: Column, *, named: bool) -> GoldByKey:
    found: dict[tuple[bytes, str], GoldVerdict] = {}
    for row in rows:
        value, *who = row.values
        name = str(column) if not named or who[0] is None else str(who[0])
        before = found.get((row.key, name))
        if before is None or before.value is None:
            found[row.key, name] = GoldVerdict(name, value, row.line)
        elif value is not None and value != before.value:
            who_said = f"{name} labels this row" if named else "this row is labelled"
            raise InputError(
                f"{file}:{row.line}: {who_said} `{value}`, but line {before.line} has `{before.value}` for the same "
                "row; delete one of the lines, or name the column of the annotator with --annotator"
            )
    return _grouped((key, verdict) for (key, _), verdict in found.items())


def _of_sessions(rows: Iterable[SourceRow], column: Column) -> GoldByKey:
    found: dict[tuple[Any, str, int], tuple[bytes, GoldVerdict]] = {}
    for row in rows:
        label = row.values[-1] if isinstance(row.values[-1], dict) else {}
        name = str(label.get("annotator") or (row.values[1] if len(row.values) == 3 else None) or column)
        repeat = _whole(label.get("repeat")) or 0
        identity = (label.get("item") or row.key, name, repeat)
        found.pop(identity, None)
        if not label.get("withdrawn"):
            comment = label.get("comment")
            verdict = GoldVerdict(
                name,
                row.values[0],
                row.line,
                bool(label.get("skipped")),
                repeat,
                _sampling(label.get("sampling")),
                comment if isinstance(comment, str) else None,
            )
            found[identity] = (row.key, verdict)
    return _grouped(found.values())


def _grouped(verdicts: Iterable[tuple[bytes, GoldVerdict]]) -> GoldByKey:
    made: GoldByKey = {}
    for key, verdict in verdicts:
        made.setdefault(key, []).append(verdict)
    return made


def _sampling(parts: Any) -> Sampling:
    if not isinstance(parts, dict):
        return UNKNOWN
    probability = parts.get("probability")
    if not isinstance(probability, int | float) or isinstance(probability, bool) or not 0 < probability <= 1:
        probability = None
    stratum = parts.get("stratum")
    return Sampling(
        method=parts["method"] if isinstance(parts.get("method"), str) else None,
        probability=None if probability is None else float(probability),
        size=_whole(parts.get("size")),
        pool=_whole(parts.get("pool")),
        seed=_whole(parts.get("seed")),
        stratum=None if stratum is None else str(stratum),
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

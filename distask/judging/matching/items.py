"""Match judges' values with people's labels, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from distask.data.readers import DEFAULT_OPTIONS, ReadOptions
from distask.errors import InputError, UsageError
from distask.judging.matching.gold import GoldByKey, GoldVerdict, read_gold
from distask.judging.matching.sources import Column, Source, matching_columns, parse_column
from distask.judging.scales import TIE, is_preference, label_of, preference_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from distask.judging.measures.sums import Codes


class Request(Struct, frozen=True):
    """What to compare."""

    result: str
    judges: Sequence[str]
    gold: Sequence[str] = ()
    by: Sequence[str] = ()
    swapped: str | None = None
    """Column with the judge's preference when the answers are shown in the other order."""
    cluster: str | None = None
    slices: Sequence[str] = ()
    annotator: str | None = None
    options: ReadOptions = DEFAULT_OPTIONS
    on_bad_row: Literal["stop", "skip"] = "stop"


class Orders(Struct, frozen=True):
    """A judge's preferences in both orders, each for the same answers: `A` was shown first, then second."""

    first: str
    second: str

    @property
    def preference(self) -> str:
        """The preference that both orders give; a tie if they differ."""
        return self.first if self.first == self.second else TIE


class Missing(Struct, frozen=True):
    """There is no value, for this reason."""

    reason: str


class Item(Struct):
    """A judged row."""

    values: list[list[Any]]
    """For each judge its values, one for each generation; a `Missing` where there is none."""
    gold: list[GoldVerdict]
    cluster: Any
    slices: tuple[Any, ...]
    line: int


class Matched(Struct):
    """Judged rows with their labels."""

    items: list[Item]
    judges: list[JudgeColumn]
    gold: list[Column]
    by: tuple[str, ...]
    """Columns that matched rows; empty if all columns are in one file."""
    unmatched_gold: int = 0
    """Labelled items that no judged row has."""
    unmatched_example: str | None = None
    repeated_rows: int = 0
    """Judged rows that have the same key as an earlier one and share its labels."""
    notes: list[str] = field(default_factory=list)


class JudgeColumn(Struct):
    """A judge: the column, what its task declares, and what its run cost."""

    column: Column
    declared: dict[str, Any] | None
    task: str | None = None
    model: str | None = None
    cost_per_1000: float | None = None
    """USD for 1,000 rows; None if it is not known."""

    def __str__(self) -> str:
        """Return the judge's column as the user wrote it."""
        return str(self.column)


def match(request: Request) -> Matched:
    """Read and match everything that a request names; raises `UsageError` or `InputError` with the fix."""
    judges, golds = [parse_column(text) for text in request.judges], [parse_column(text) for text in request.gold]
    for columns, option in ((judges, "--judge"), (golds, "--gold")):
        if len(set(columns)) < len(columns):
            double = next(column for column in columns if columns.count(column) > 1)
            raise UsageError(f"{option} {double} is given twice; name it once")
    if both := set(judges) & set(golds):
        raise UsageError(f"`{next(iter(both))}` is given as --judge and as --gold; compare two different columns")
    if request.by and all(column.source is None for column in (*judges, *golds)):
        raise UsageError("--by matches the rows of two files, but every column is in the same one; leave it out")
    if request.swapped is not None and all(column.source is not None for column in judges):
        raise UsageError(f"--swapped {request.swapped} is in {request.result}, but no judge is; leave it out")
    main = Source(request.result, request.options, request.on_bad_row)
    others = {
        name: Source(name, request.options, request.on_bad_row)
        for name in dict.fromkeys(column.source for column in (*judges, *golds))
        if name is not None
    }
    names = {column.name for column in (*judges, *golds)} | ({request.annotator} if request.annotator else set())
    by_source = {name: matching_columns(main, other, request.by, sorted(names)) for name, other in others.items()}
    by = _common(by_source)
    gold_of = {
        column: read_gold(others[column.source], column, by, request.annotator) for column in golds if column.source
    }
    judged_by = {
        column: _by_key(others[column.source], column, by) for column in judges if column.source is not None
    }  # fmt: skip
    found = [_judge(column, main if column.source is None else others[column.source]) for column in judges]
    matched = Matched([], found, golds, by)
    _read_main(request, main, matched, gold_of, judged_by)
    for number, judge in enumerate(judges):
        if not _combine_orders(matched.items, number) and request.swapped is not None and judge.source is None:
            raise UsageError(
                f"--swapped {request.swapped}: `{judge}` and `{request.swapped}` must hold the preferences A, B or "
                "tie, for the same answers in both orders"
            )
    return matched


def _common(by_source: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the columns that match the rows of all files."""
    lists = list(by_source.values())
    if not lists:
        return ()
    found = tuple(name for name in lists[0] if all(name in other for other in lists))
    if not found:
        files = " and ".join(by_source)
        raise UsageError(f"{files} have no input column in common; name the columns that identify a row with --by")
    return found


def _judge(column: Column, source: Source) -> JudgeColumn:
    declared = source.outputs.get(column.name)
    record = source.record or {}
    identity, counts = record.get("identity") or {}, record.get("counts") or {}
    cost, rows = counts.get("cost_usd"), counts.get("rows")
    per_1000 = None
    if declared is not None and isinstance(cost, int | float) and isinstance(rows, int) and rows > 0:
        per_1000 = 1000 * cost / rows
    return JudgeColumn(
        column,
        declared if isinstance(declared, dict) else None,
        identity.get("task") if declared is not None else None,
        identity.get("model") if declared is not None else None,
        per_1000,
    )


def _by_key(source: Source, column: Column, by: Sequence[str]) -> dict[bytes, list[Any]]:
    """Return the values of a judge in another file, by the key of their row."""
    made: dict[bytes, list[Any]] = {}
    lines: dict[bytes, tuple[int, int | None]] = {}
    for row in source.rows([column.name], by):
        before = lines.get(row.key)
        values = _generations(row.values[0], row.failure, row.group)
        if before is None:
            made[row.key] = values
            lines[row.key] = (row.line, row.index)
        elif row.index is not None and row.index == before[1]:
            made[row.key] += values
        elif values != made[row.key]:
            raise InputError(
                f"{source.name}:{row.line}: `{column.name}` differs from line {before[0]}, which has the same "
                f"{', '.join(f'`{name}`' for name in by)}; name columns that identify a row with --by"
            )
    return made


def _generations(value: Any, failure: str | None, group: int | None) -> list[Any]:
    values = value if group is not None and isinstance(value, list) else [value]
    return [Missing("judge_failed" if failure else "judge_null") if item is None else item for item in values]


def _read_main(
    request: Request,
    main: Source,
    matched: Matched,
    gold_of: dict[Column, GoldByKey],
    judged_by: dict[Column, dict[bytes, list[Any]]],
) -> None:
    judges = [judge.column for judge in matched.judges]
    own = [column.name for column in (*judges, *matched.gold) if column.source is None]
    extra = [name for name in (request.swapped, request.cluster, *request.slices) if name is not None]
    annotator = None if gold_of else request.annotator
    wanted = list(dict.fromkeys([*own, *extra, *([annotator] if annotator else [])]))
    place = {name: number for number, name in enumerate(wanted)}
    seen: set[bytes] = set()
    by_index: dict[int, Item] = {}
    for row in main.rows(wanted, matched.by):
        values = []
        for column in judges:
            if column.source is not None:
                found = judged_by[column].get(row.key)
                values.append([Missing("judge_unmatched")] if found is None else found)
                continue
            of_judge = _generations(row.values[place[column.name]], row.failure, row.group)
            if request.swapped is not None:
                of_judge = _in_both_orders(of_judge, row.values[place[request.swapped]])
            values.append(of_judge)
        if row.index is not None and (item := by_index.get(row.index)) is not None:
            for column, of_item, more in zip(judges, item.values, values, strict=True):
                if column.source is None:
                    of_item.extend(more)
            continue
        gold: list[GoldVerdict] = []
        for column in matched.gold:
            if column.source is not None:
                gold += gold_of[column].get(row.key, ())
            elif (value := row.values[place[column.name]]) is not None:
                name = str(row.values[place[annotator]]) if annotator else str(column)
                gold.append(GoldVerdict(name, value, row.line))
        matched.repeated_rows += bool(matched.by) and row.key in seen
        seen.add(row.key)
        item = Item(
            values,
            gold,
            None if request.cluster is None else row.values[place[request.cluster]],
            tuple(row.values[place[name]] for name in request.slices),
            row.line,
        )
        if row.index is not None:
            by_index[row.index] = item
        matched.items.append(item)
    for column, verdicts in gold_of.items():
        lost = [key for key in verdicts if key not in seen]
        matched.unmatched_gold += len(lost)
        if lost and matched.unmatched_example is None:
            matched.unmatched_example = f"{column.source}:{verdicts[lost[0]][0].line}"


def _in_both_orders(values: Iterable[Any], swapped: Any) -> list[Any]:
    return [value if isinstance(value, Missing) else [value, swapped] for value in values]


def _combine_orders(items: list[Item], number: int) -> bool:
    """Turn a judge's pairs of preferences, one for each order of the answers, into `Orders`, if all values are such."""
    pairs = [value for item in items for value in item.values[number] if not isinstance(value, Missing)]
    if not pairs or not all(_is_pair(pair) for pair in pairs):
        return False
    given = [value for pair in pairs for value in pair if value is not None]
    if not all(map(is_preference, given)) or not {"A", "B"} & {value.strip() for value in given}:
        return False
    for item in items:
        item.values[number] = [_orders(value) for value in item.values[number]]
    return True


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(part is None or isinstance(part, str) for part in value)


def _orders(value: Any) -> Any:
    if isinstance(value, Missing):
        return value
    first, second = (None if part is None else preference_of(part) for part in value)
    return Missing("judge_null") if first is None or second is None else Orders(first, second)


def clusters_of(items: Sequence[Item], of_pair: Codes, *, clustered: bool) -> Codes | None:
    """Return the cluster of each pair: the column's value, or the item if an item has several pairs."""
    import numpy as np

    if clustered:
        names = [f"={label_of(i.cluster)}" if i.cluster is not None else str(n) for n, i in enumerate(items)]
        _, of_item = np.unique(np.array(names), return_inverse=True)
        made: Codes = np.unique(of_item[of_pair], return_inverse=True)[1]
        return made
    distinct, of_items = np.unique(of_pair, return_inverse=True)
    return None if len(distinct) == len(of_pair) else of_items

"""Loops within one row: sequential turns (`repeat`), or parallel items (`for_each`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.spec.language.steps import MAX_TURNS
from distask.task.steps.flow import Count, Fork, fail, just, through
from distask.task.steps.item import side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.task.steps.flow import Flow, Step
    from distask.task.steps.item import Item
    from distask.task.steps.scope import Value

LOOP_INDEX = "loop_index"
MAX_ITEMS = 100_000
"""Maximum items in the list of one row."""


class Repeat:
    """Repeats steps. A row that fails in a turn leaves the loop."""

    def __init__(
        self,
        count: Count,
        turns: int | Value,
        steps: Sequence[Step],
        *,
        goes_on: Value | None = None,
        until: Value | None = None,
        collect: Mapping[str, str] | None = None,
    ) -> None:
        self.count = count
        self._turns = turns
        self._steps = steps
        self._goes_on = goes_on
        self._until = until
        self._collect = collect or {}

    def flow(self, item: Item) -> Flow:
        """The row after the last turn."""
        if item.failed:
            self.count.skipped += 1
            item.values = {**item.values, **{n: None for n in self._collect if n not in item.values}}
            return [item]
        try:
            turns = self._turns if isinstance(self._turns, int) else _whole(self._turns(item))
        except RowError as error:
            self.count.failed += 1
            return (yield from fail(self.count.name, item, error))
        around, item.metadata = item.metadata, {}
        state = _Turns(turns, around, item.values.get(LOOP_INDEX), {name: [] for name in self._collect})
        return (yield from self._go_on(item, state))

    def _go_on(self, item: Item, state: _Turns) -> Flow:
        while state.done < state.turns and not item.failed:
            try:
                if self._goes_on is not None and not self._goes_on(_indexed(item, state.done)):
                    break
            except RowError as error:
                return (yield from self._fail(item, state, error))
            item = _indexed(item, state.done)
            item.turns = (*item.turns, state.done)
            made = yield from through(self._steps, item)
            flows = []
            for each in made:
                each.turns = each.turns[:-1]
                flows.append((each, state.after(each, self._collect)))
            if len(flows) == 1:
                item, state = flows[0]
                try:
                    if self._until is not None and not item.failed and self._until(item):
                        break
                except RowError as error:
                    return (yield from self._fail(item, state, error))
                continue
            done = yield Fork([self._after_turn(each, its) for each, its in flows])
            return [each for several in done for each in several]
        return [state.end(item)]

    def _after_turn(self, item: Item, state: _Turns) -> Flow:
        try:
            if self._until is not None and not item.failed and self._until(item):
                return (yield from just([state.end(item)]))
        except RowError as error:
            return (yield from self._fail(item, state, error))
        return (yield from self._go_on(item, state))

    def _fail(self, item: Item, state: _Turns, error: RowError) -> Flow:
        self.count.failed += 1
        return (yield from fail(self.count.name, state.end(item), error))


class _Turns:
    """The progress of a row in a loop, and the results of its turns."""

    __slots__ = ("_around", "_collected", "_index", "_metadata", "done", "turns")

    def __init__(
        self, turns: int, around: dict[str, Any], index: Any, collected: dict[str, list[Any]], done: int = 0
    ) -> None:
        self.turns = turns
        self.done = done
        self._around = around
        self._index = index
        self._collected = collected
        self._metadata: list[dict[str, Any]] = []

    def after(self, item: Item, collect: Mapping[str, str]) -> _Turns:
        """The state after a turn, for the row it returned."""
        collected = {name: [*self._collected[name], item.values.get(column)] for name, column in collect.items()}
        made = _Turns(self.turns, self._around, self._index, collected, self.done + 1)
        made._metadata = [*self._metadata, item.metadata]
        item.metadata = {}
        return made

    def end(self, item: Item) -> Item:
        """Restore the row to its state outside the loop, with the collected columns."""
        values = {name: value for name, value in item.values.items() if name != LOOP_INDEX}
        if self._index is not None:
            values[LOOP_INDEX] = self._index
        item.values = {**values, **self._collected}
        item.metadata = {**self._around, **side_by_side(self._metadata)}
        return item


def _indexed(item: Item, turn: int) -> Item:
    item.values = {**item.values, LOOP_INDEX: turn}
    return item


def _whole(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TURNS:
        raise RowError("wrong_type", f"`repeat` takes a whole number from 0 to {MAX_TURNS:,}, not {value!r:.40}")
    return value


class ForEach:
    """Runs steps for each item of a list; items that are filtered out are missing from the collected lists."""

    def __init__(
        self,
        count: Count,
        name: str,
        items: Value,
        steps: Sequence[Step],
        collect: Mapping[str, str],
    ) -> None:
        self.count = count
        self._name = name
        self._items = items
        self._steps = steps
        self._collect = collect

    def flow(self, item: Item) -> Flow:
        """The row with a list for each collected column."""
        if item.failed:
            self.count.skipped += 1
            return [self._nothing(item)]
        try:
            items = self._listed(item)
        except RowError as error:
            self.count.failed += 1
            return (yield from fail(self.count.name, self._nothing(item), error))
        children = [
            item.child({**item.values, self._name: each, LOOP_INDEX: number}, self.count.name, number, {})
            for number, each in enumerate(items)
        ]
        done = yield Fork([through(self._steps, child) for child in children])
        item.lineage.asked = True
        made = [each for several in done for each in several]
        lists = {name: [each.values.get(column) for each in made] for name, column in self._collect.items()}
        item.values = {**item.values, **lists}
        item.metadata |= side_by_side([each.metadata for each in made])
        item.model = next((each.model for each in reversed(made) if each.model is not None), item.model)
        item.failed = bool(made) and all(each.failed for each in made)
        return [item]

    def _nothing(self, item: Item) -> Item:
        item.values = {**item.values, **{n: None for n in self._collect if n not in item.values}}
        return item

    def _listed(self, item: Item) -> list[Any]:
        items = self._items(item)
        if isinstance(items, range):
            items = list(items)
        if not isinstance(items, list | tuple):
            raise RowError("wrong_type", f"`for_each` needs a list, not {type(items).__name__}")
        if len(items) > MAX_ITEMS:
            raise RowError("wrong_type", f"`for_each` allows at most {MAX_ITEMS:,} items, not {len(items):,}")
        return list(items)

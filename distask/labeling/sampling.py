"""Choose the rows that a person answers, in one pass over all rows, and record how they were chosen.

Each row gets a random number that depends only on the seed and the row's place; the rows with the lowest numbers are
the sample. So a larger sample with the same seed contains the smaller one, and rows that are answered in this order are
a random sample at every moment. Chosen rows are kept in a temporary file, so memory does not grow with them.
"""

from __future__ import annotations

import heapq
import json
import math
import pickle
import random
import sys
import tempfile
import weakref
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from distask.errors import UsageError
from distask.task.aggregate import agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


Method = Literal["random", "stratified", "uncertain", "disagreements", "all"]


class Candidate(Struct):
    """A row that may be chosen."""

    row: int
    """Its place in the source, from 1; 0 if it is unknown."""
    values: dict[str, Any]
    """The input columns."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """The judge's output columns, one mapping for each reply."""
    others: list[dict[str, Any]] = field(default_factory=list)
    """What people answered, for an adjudication: `annotator`, `answers` and `comment`."""
    uncertainty: float | None = None
    """How uncertain the judge is, from 0 to 1; None if nothing shows it."""
    item: str | None = None
    """The key of its item, if it is from a labels file; None to compute it from the input columns."""


class Choice(Struct, frozen=True):
    """The user's choice of rows."""

    method: Method = "random"
    size: int = 100
    """Number of rows; ignored for `all` and `disagreements`."""
    seed: int = 0
    column: str | None = None
    """The column whose values are the strata."""


class Chosen(Struct, frozen=True):
    """A chosen row: where it is, and the facts that estimates need."""

    place: int
    row: int
    sampling: dict[str, Any]
    """Method, seed, size of the sample and of the pool; stratum and inclusion probability if they are known."""


class _Lowest:
    """The `size` places with the lowest numbers."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[float, int, int, int]] = []
        self.pool = 0

    def __len__(self) -> int:
        return len(self._heap)

    def wants(self, number: float) -> bool:
        self.pool += 1
        return len(self._heap) < self._size or number < -self._heap[0][0]

    def add(self, number: float, row: int, place: int) -> None:
        entry = (-number, -row, row, place)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def places(self) -> list[tuple[float, int, int]]:
        """Return (number, row, place), the lowest number first."""
        return sorted((-number, row, place) for number, _, row, place in self._heap)


class Sampler:
    """Rows in, chosen rows out.

    Args:
        choice: which rows to choose.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._random = random.Random(choice.seed)  # noqa: S311 - a sample, not a secret
        self._file = tempfile.TemporaryFile(prefix="distask-label-")  # noqa: SIM115 - open as long as the sampler
        weakref.finalize(self, self._file.close)
        is_bounded = choice.method not in ("all", "disagreements")
        self._lowest = _Lowest(choice.size if is_bounded else sys.maxsize)
        self._strata: dict[str, _Lowest] = {} if choice.method == "stratified" else {"": self._lowest}
        self.pool = 0
        """Rows that were offered."""
        self.certain = 0
        """Rows without any sign of uncertainty, for `uncertain`."""

    @property
    def is_blind(self) -> bool:
        """Whether the choice does not depend on what is in a row, so that `draw` and `keep` replace `offer`."""
        return self._choice.method == "random"

    def draw(self) -> float | None:
        """Return the random number of the next row, with which to `keep` it; None if it is not chosen."""
        self.pool += 1
        number = self._random.random()
        return number if self._lowest.wants(number) else None

    def keep(self, number: float, candidate: Candidate) -> None:
        """Keep a row that was drawn."""
        self._lowest.add(number, candidate.row, self._stored(candidate))

    def offer(self, values: Mapping[str, Any], make: Callable[[], Candidate]) -> None:
        """Consider a row; call it for every row, in order.

        Args:
            values: its columns.
            make: makes the candidate; called only if the row may be chosen.
        """
        if self.is_blind:
            if (drawn := self.draw()) is not None:
                self.keep(drawn, make())
            return
        self.pool += 1
        number, candidate = self._random.random(), None
        if self._choice.method == "uncertain":
            candidate = make()
            if not candidate.uncertainty:
                self.certain += 1
                return
            number = -candidate.uncertainty + number * 1e-9  # rows that are equally uncertain are in random order
        elif self._choice.method != "stratified":
            number = float(self.pool)
        lowest = self._of_stratum(values) if self._choice.method == "stratified" else self._lowest
        if lowest.wants(number):
            candidate = candidate or make()
            lowest.add(number, candidate.row, self._stored(candidate))

    def _of_stratum(self, values: Mapping[str, Any]) -> _Lowest:
        name, choice = self._stratum(values), self._choice
        lowest = self._strata.get(name)
        if lowest is None:
            if len(self._strata) >= choice.size:
                raise UsageError(
                    f"--stratify {choice.column}: the column has more than {choice.size:,} different values, and the "
                    f"sample only {choice.size:,} rows; choose a column with few values, or more rows with --sample"
                )
            lowest = self._strata[name] = _Lowest(choice.size)
        return lowest

    def _stratum(self, values: Mapping[str, Any]) -> str:
        column = str(self._choice.column)
        if column not in values:
            from distask.diagnostics import did_you_mean

            raise UsageError(f"--stratify {column}: the rows have no such column; {did_you_mean(column, values)}")
        return json.dumps(values[column], ensure_ascii=False, default=str)

    def _stored(self, candidate: Candidate) -> int:
        place = self._file.seek(0, 2)
        pickle.dump(candidate, self._file, protocol=pickle.HIGHEST_PROTOCOL)
        return place

    def row(self, chosen: Chosen) -> Candidate:
        """Read a chosen row."""
        self._file.seek(chosen.place)
        made: Candidate = pickle.load(self._file)  # noqa: S301 - written by this process, to a file without a name
        return made

    def chosen(self) -> list[Chosen]:
        """Return the chosen rows in the order in which they are answered."""
        choice = self._choice
        pools = {name: lowest.pool for name, lowest in self._strata.items()}
        if choice.method == "stratified":
            sizes = allocated(choice.size, pools)
        else:
            sizes = {name: len(lowest) for name, lowest in self._strata.items()}
        size = sum(sizes.values())
        made = []
        for name, lowest in self._strata.items():
            sampling: dict[str, Any] = {"method": choice.method, "seed": choice.seed, "size": size, "pool": self.pool}
            if choice.method == "stratified":
                sampling["stratum"] = json.loads(name)
            if choice.method in ("random", "stratified", "all"):
                sampling["probability"] = sizes[name] / pools[name]
            made += [(n, Chosen(place, row, sampling)) for n, row, place in lowest.places()[: sizes[name]]]
        return [chosen for _, chosen in sorted(made, key=lambda pair: (pair[0], pair[1].row))]


def allocated(size: int, pools: Mapping[str, int]) -> dict[str, int]:
    """Share a sample equally between strata; what a small stratum can't fill goes to the larger ones.

    Args:
        size: number of rows of the sample.
        pools: stratum to its number of rows.
    """
    shares: dict[str, int] = {}
    left, strata = size, sorted(pools, key=lambda name: pools[name])
    for done, name in enumerate(strata):
        shares[name] = min(pools[name], left // (len(strata) - done))
        left -= shares[name]
    return shares


LONGEST_VOTE = 60
"""Maximum characters of a text that counts as a vote; a longer one is a reason."""


def uncertainty(answers: Sequence[Mapping[str, Any]], columns: Sequence[str], *, has_jurors: bool) -> float | None:
    """Return the strongest sign of uncertainty, from 0 to 1; None if the row shows no sign either way.

    Args:
        answers: the output columns of each reply to the row.
        columns: the columns that a person is asked for: only in these do replies disagree.
        has_jurors: whether lists are the votes of jurors, as in a task of steps, and not a reply's own list.

    The signs are the share of replies, or of the votes in a list, that differ from the most common one, and the entropy
    of likelihoods divided by its maximum, which is 1 if they are even.
    """
    signs = list(_of_replies(answers, columns))
    for answer in answers:
        for value in answer.values():
            sign = None
            if isinstance(value, dict):
                sign = _of_likelihoods(value)
            elif isinstance(value, list) and has_jurors:
                sign = _of_votes(value)
            if sign is not None:
                signs.append(sign)
    return max(signs, default=None)


def _of_replies(answers: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[float]:
    for column in columns:
        given = [value for answer in answers if (value := answer.get(column)) is not None]
        share = agreement(given) if len(given) > 1 else None
        if share is not None:
            yield 1 - share


def _of_votes(values: Sequence[Any]) -> float | None:
    votes = [value for value in values if value is not None]
    if len(votes) < 2 or not all(_is_vote(vote) for vote in votes):
        return None
    share = agreement(votes)
    return None if share is None else 1 - share


def _is_vote(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST_VOTE)


def _of_likelihoods(values: Mapping[str, Any]) -> float | None:
    """Return the normalized entropy of numbers that add up to 1; None for any other object."""
    numbers = [v for v in values.values() if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 2 or len(numbers) < len(values) or min(numbers) < 0 or not 0.98 <= sum(numbers) <= 1.02:
        return None
    entropy = -sum(p * math.log(p) for p in numbers if p > 0)
    return min(1.0, entropy / math.log(len(numbers)))

"""Steps that work on texts without a model: chunk, language, decontaminate."""

from __future__ import annotations

import glob
import hashlib
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.errors import RowError, UsageError
from distask.spec.language.steps import CHUNK_COLUMNS, LANGUAGE_COLUMNS
from distask.task.steps.flow import Count, fail, just
from distask.task.text.chunks import cut_places
from distask.task.text.language import identify_language
from distask.task.text.ngrams import index_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distask.spec.language.steps import Decontaminate as Benchmarks
    from distask.spec.language.steps import Language as Wanted
    from distask.task.steps.flow import Flow
    from distask.task.steps.item import Item
    from distask.task.text.chunks import Cut
    from distask.task.text.measures import Tokenize
    from distask.task.text.ngrams import Index

CHUNK_SCHEMAS: Mapping[str, Any] = {
    "chunk": {"type": "string"},
    "start": {"type": "integer"},
    "end": {"type": "integer"},
    "headings": {"type": "array", "items": {"type": "string"}},
    "chunk_id": {"type": "string"},
}
"""The JSON Schema of each column that a `chunk` step makes."""
LANGUAGE_SCHEMAS: Mapping[str, Any] = {"language": {"type": "string"}, "language_score": {"type": "number"}}
CONTAMINATION_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "source": {"type": "string"},
            "column": {"type": "string"},
            "start": {"type": "integer"},
            "end": {"type": "integer"},
            "text": {"type": "string"},
        },
    },
}


class Chunks:
    """Cuts a text into chunks, and makes a row of each.

    Args:
        count: the counts of the step.
        column: the column with the text.
        cut: how it is cut.
        names: the names of the columns in `CHUNK_COLUMNS`.
    """

    def __init__(self, count: Count, column: str, cut: Cut, names: Mapping[str, str]) -> None:
        self.count = count
        self._column = column
        self._cut = cut
        self._names = [names.get(name, name) for name in CHUNK_COLUMNS]

    def flow(self, item: Item) -> Flow:
        """A row for each chunk; none for an empty text. The new columns are null if the text is."""
        made = self.direct(item)
        if made is not None:
            return just(made)
        item.values = {**item.values, **dict.fromkeys(self._names)}
        self.count.failed += 1
        return fail(self.count.name, item, RowError("wrong_type", f"`{self._column}` is not text"))

    def direct(self, item: Item) -> list[Item] | None:
        """See `flow`; None if the column is not text."""
        text = item.values.get(self._column)
        if isinstance(text, str):
            return self._rows(item, text)
        if text is not None and not item.failed:
            return None
        item.values = {**item.values, **dict.fromkeys(self._names)}
        return [item]

    def _rows(self, item: Item, text: str) -> list[Item]:
        chunk, start, end, headings, chunk_id = self._names
        around, key = item.values, item.lineage.key
        several = []
        for (begin, stop), path in zip(*cut_places(text, self._cut), strict=True):
            words = text[begin:stop]
            several.append(
                {
                    **around,
                    chunk: words,
                    start: begin,
                    end: stop,
                    headings: list(path),
                    chunk_id: _chunk_id(key, begin, stop, words),
                }
            )
        return item.children(several, self.count.name)


def _chunk_id(key: bytes, begin: int, stop: int, words: str) -> str:
    """Return 32 hexadecimal digits that depend only on the document's row, and the chunk's place and text."""
    message = b"%b/%d/%d/%b" % (key, begin, stop, words.encode(errors="surrogatepass"))
    return hashlib.blake2b(message, digest_size=16).hexdigest()


class Language:
    """Identifies the language of a text, and drops rows in other languages than those to keep."""

    def __init__(self, count: Count, wanted: Wanted, names: Mapping[str, str]) -> None:
        self.count = count
        self._wanted = wanted
        self._names = [names.get(name, name) for name in LANGUAGE_COLUMNS]

    def flow(self, item: Item) -> Flow:
        """The row with its language, or nothing."""
        made = self.direct(item)
        if made is not None:
            return just(made)
        self.count.failed += 1
        item.values = {**item.values, **dict.fromkeys(self._names)}
        return fail(self.count.name, item, RowError("wrong_type", f"`{self._wanted.from_}` is not text"))

    def direct(self, item: Item) -> list[Item] | None:
        """See `flow`; None if the column is not text."""
        text, keep = item.values.get(self._wanted.from_), self._wanted.keep
        if text is not None and not isinstance(text, str):
            return None
        language, score = (None, None) if text is None else identify_language(text)
        if keep is not None and not item.failed and (language not in keep or (score or 0) < self._wanted.min_score):
            return []
        item.values = {**item.values, **dict(zip(self._names, (language, score), strict=True))}
        return [item]


class Decontaminate:
    """Finds texts that share word sequences with benchmarks."""

    def __init__(self, count: Count, wanted: Benchmarks, index: Index, name: str) -> None:
        self.count = count
        self._wanted, self._index, self._name = wanted, index, name

    def flow(self, item: Item) -> Flow:
        """The row with the overlaps of its texts, null if there are none; or nothing if such rows are dropped."""
        made = self.direct(item)
        if made is not None:
            return just(made)
        self.count.failed += 1
        item.values = {**item.values, self._name: None}
        wrong = next(n for n in self._wanted.from_ if not isinstance(item.values.get(n), str | None))
        return fail(self.count.name, item, RowError("wrong_type", f"`{wrong}` is not text"))

    def direct(self, item: Item) -> list[Item] | None:
        """See `flow`; None if a column is not text."""
        found: list[dict[str, Any]] = []
        for column in self._wanted.from_:
            text = item.values.get(column)
            if text is None:
                continue
            if not isinstance(text, str):
                return None
            found += [
                {"source": source, "column": column, "start": start, "end": end, "text": text[start:end]}
                for source, start, end in self._index.overlaps(text)
            ]
        if found and self._wanted.then == "drop":
            return []
        item.values = {**item.values, self._name: found or None}
        return [item]


def benchmark_index(wanted: Benchmarks, folder: Path) -> Index:
    """Read the benchmarks of a step; raises `UsageError` if one can't be read, has no such column or no texts."""
    files = [
        file
        for name in wanted.against
        for file in (sorted(folder.glob(name)) if glob.has_magic(name) else [folder / name])
        if file.is_file()
    ]
    states = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return _benchmark_index(states, None if wanted.columns is None else tuple(wanted.columns), wanted.words, folder)


@lru_cache(maxsize=8)
def _benchmark_index(
    states: Sequence[tuple[Path, int, int]], columns: Sequence[str] | None, words: int, folder: Path
) -> Index:
    """Read benchmarks once, although a task is compiled several times; changed files are read again."""
    from distask.data.input import open_input

    def rows() -> Iterator[tuple[str, Mapping[str, Any]]]:
        for file, _, _ in states:
            source = open_input(str(file), columns_needed=columns or ())
            source.scan()
            for name, (_, place) in source.missing.items():
                known = ", ".join(f"`{column}`" for column in source.columns or ())
                raise UsageError(f"{place}: the benchmark has no column `{name}`; it has {known}")
            shown = file.relative_to(folder).as_posix()
            for row in source:
                yield f"{shown}:{row.line}", row.values

    return index_rows(rows(), columns, words)


def tokenizer_of(name: str, folder: Path) -> Tokenize:
    """Return a tokenizer that is loaded when it is first used.

    Args:
        name: a `tokenizer.json`, relative to `folder`, or a model on the Hub.
        folder: the spec's folder.

    Raises:
        UsageError: the library is not installed.
    """
    from importlib.util import find_spec

    if find_spec("tokenizers") is None:
        raise UsageError(f"`tokenizer: {name}` needs an extra: pip install 'distask[tokenizers]'")
    load = cache(lambda: _loaded_tokenizer(name, folder))

    def tokenize(text: str) -> Sequence[tuple[int, int]]:
        offsets: Sequence[tuple[int, int]] = load().encode(text, add_special_tokens=False).offsets
        return offsets

    return tokenize


def _loaded_tokenizer(name: str, folder: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        if name.endswith(".json"):
            file = folder / name
        else:
            from huggingface_hub import hf_hub_download

            file = Path(hf_hub_download(name, "tokenizer.json"))
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the library raises bare exceptions
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"the tokenizer {name} can't be loaded: {words}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer

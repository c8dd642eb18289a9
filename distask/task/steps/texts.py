"""Steps that work on texts without a model: chunk."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.errors import RowError, UsageError
from distask.spec.language.steps import CHUNK_COLUMNS
from distask.task.steps.flow import Count, fail, just
from distask.task.text.chunks import cut_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.task.steps.flow import Flow
    from distask.task.steps.item import Item
    from distask.task.text.chunks import Chunk, Cut
    from distask.task.text.measures import Tokenize

CHUNK_SCHEMAS: Mapping[str, Any] = {
    "chunk": {"type": "string"},
    "start": {"type": "integer"},
    "end": {"type": "integer"},
    "headings": {"type": "array", "items": {"type": "string"}},
    "chunk_id": {"type": "string"},
}
"""The JSON Schema of each column that a `chunk` step makes."""


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
        return fail(self.count.name, item, RowError("wrong_type", f"`{self._column}` is not a text"))

    def direct(self, item: Item) -> list[Item] | None:
        """See `flow`; None if the column is not a text."""
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
        made = []
        for number, each in enumerate(cut_text(text, self._cut)):
            words = text[each.start : each.end]
            values = {
                **around,
                chunk: words,
                start: each.start,
                end: each.end,
                headings: list(each.headings),
                chunk_id: _chunk_id(key, each, words),
            }
            made.append(item.child(values, self.count.name, number, dict(item.metadata)))
        return made


def _chunk_id(key: bytes, chunk: Chunk, words: str) -> str:
    """Return 32 hexadecimal digits that depend only on the document's row, and the chunk's place and text."""
    told = b"%b/%d/%d/%b" % (key, chunk.start, chunk.end, words.encode(errors="surrogatepass"))
    return hashlib.blake2b(told, digest_size=16).hexdigest()


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

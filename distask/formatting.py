"""Format numbers for people: counts, costs, tokens and durations."""

from __future__ import annotations

import math
from typing import Protocol


def amount(count: int) -> str:
    """Format a count with few digits: 950, 12.3k, 3.4M."""
    for least, unit_size, unit in ((10**9, 10**9, "G"), (10**6, 10**6, "M"), (10**4, 10**3, "k")):
        if count >= least:
            return f"{count / unit_size:.1f}{unit}"
    return f"{count:,}"


def money(usd: float) -> str:
    """Format USD: $0, $0.0012, $0.25, $1,234.50. Small amounts keep two digits, so that no cost looks like zero."""
    if usd <= 0:
        return "$0"
    return f"${usd:,.{max(2, 1 - math.floor(math.log10(usd)))}f}"


class TokenCounts(Protocol):
    """Counted tokens."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


def counted_tokens(counts: TokenCounts) -> str:
    """Format token counts, as `tokens` does."""
    return tokens(
        counts.input_tokens,
        counts.output_tokens,
        cached=counts.cached_tokens,
        cache_writes=counts.cache_write_tokens,
        reasoning=counts.reasoning_tokens,
    )


def tokens(into: int, out: int, *, cached: int = 0, cache_writes: int = 0, reasoning: int = 0) -> str:
    """Format token counts, leaving out zero parts: 1,931 in (1,024 cached), 203 out (128 reasoning)."""
    parts = [
        f"{count:,} {word}" for count, word in ((cached, "cached"), (cache_writes, "written to the cache")) if count
    ]
    listed = f" ({', '.join(parts)})" if parts else ""
    thought = f" ({reasoning:,} reasoning)" if reasoning else ""
    return f"{into:,} in{listed}, {out:,} out{thought}"


def several(count: int, word: str) -> str:
    """Format a count and its noun: 1 row, 2 rows; 1 reply, 2 replies."""
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("ch") else f"{word}s"
    return f"{count:,} {word if count == 1 else plural}"


def duration(seconds: float) -> str:
    """Format a duration: 3.2 s, 4 min 5 s, 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 60 and minutes == 0:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int) -> str:
    """Format a number of bytes with decimal units: 950 B, 12.3 kB, 3.4 MB."""
    for least, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count} B"

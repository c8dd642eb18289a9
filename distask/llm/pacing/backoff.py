"""Decide how long to wait before a retry: as long as the server asks, or an exponential backoff."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

LONGEST_WAIT = 3600.0
BACKOFF_BASE = 0.5
BACKOFF_CAP = 60.0

_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|s|m|h|d)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_EPOCH = re.compile(r"[0-9]{10}([0-9]{3})?")
"""Unix time in seconds or milliseconds."""
_RESET = re.compile(r"(x-|anthropic-)?ratelimit-(reset|[a-z-]+-reset|reset-[a-z-]+)")


def asked_wait(headers: Mapping[str, str], now: float | None = None, *, limited: bool = True) -> float | None:
    """Return the seconds that the server asks to wait, between 0 and an hour; None if it sends no valid value.

    `retry-after-ms` and `retry-after` (seconds or a date) come first, then the latest of the `ratelimit-reset` headers
    of exhausted limits. Many servers send these with every response.

    Args:
        headers: the response headers, with names in lower case.
        now: Unix time in seconds.
        limited: whether the response reports a reached limit; otherwise reset headers are ignored.
    """
    now = time.time() if now is None else now
    seconds = _milliseconds(headers.get("retry-after-ms"))
    if seconds is None:
        seconds = _after(headers.get("retry-after"), now)
    if seconds is None and limited:
        seconds = _resets(headers, now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)


def _milliseconds(value: str | None) -> float | None:
    text = (value or "").strip()
    return float(text) / 1000 if _DECIMAL.fullmatch(text) else None


def _after(value: str | None, now: float) -> float | None:
    text = (value or "").strip()
    if _DECIMAL.fullmatch(text):
        return float(text)
    span = _span(text)
    return _date(text, now) if span is None else span


def _resets(headers: Mapping[str, str], now: float) -> float | None:
    found: list[tuple[bool, float]] = []
    for name, value in headers.items():
        if not _RESET.fullmatch(name):
            continue
        text = value.strip()
        seconds = _since_1970(text, now) if _EPOCH.fullmatch(text) else _after(text, now)
        if seconds is not None:
            found.append((headers.get(name.replace("reset", "remaining"), "").strip() == "0", seconds))
    used_up = [seconds for empty, seconds in found if empty]
    return max(used_up or [seconds for _, seconds in found], default=None)


def _since_1970(text: str, now: float) -> float:
    return int(text) / (1000 if len(text) > 10 else 1) - now


def _date(text: str, now: float) -> float | None:
    """Return the seconds until a date in HTTP or RFC 3339 format."""
    if len(text) < 10:
        return None
    from email.utils import parsedate_to_datetime  # it loads most of `email`, which is rarely needed

    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return read(text).timestamp() - now
        except (ValueError, OverflowError, IndexError, TypeError):
            continue
    return None


def _span(text: str) -> float | None:
    """Parse spans such as `6m0s`, `1.5s` or `250ms`."""
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def backoff(attempt: int, random: Random) -> float:
    """Return the seconds to wait after failed try number `attempt` (from 1): full jitter, doubling, capped.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(attempt, 30)))

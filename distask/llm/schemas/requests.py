"""Fit each schema in requests to one server once, and report the changes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeGuard

import orjson

from distask.llm.schemas.fit import Fitted, fit_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distask.llm.schemas.dialects import Dialect
    from distask.llm.schemas.nodes import Schema

_REMEMBERED = 512
"""Number of schemas whose fitted forms are cached."""


class SchemaFitter:
    """Fits the `response_format` of requests to one server, and reports each change once.

    Args:
        dialect: what the server accepts.
        notify: called with one line for each note to the user.
    """

    def __init__(self, dialect: Dialect, notify: Callable[[str], None] | None = None) -> None:
        self.dialect = dialect
        self._notify = notify
        self._reported: set[str] = set()
        self._known: dict[int, tuple[Any, Any]] = {}

    def fit(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's keywords as they are sent."""
        wanted = keywords.get("response_format")
        if not has_schema(wanted) or self.dialect.as_written:
            return dict(keywords)
        known = self._known.get(id(wanted))  # a task with one schema for all rows passes the same object
        if known is None or known[0] is not wanted:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[id(wanted)] = (wanted, self._fitted(wanted))
        return {**keywords, "response_format": known[1]}

    def _fitted(self, wanted: dict[str, Any]) -> dict[str, Any]:
        asked = wanted["json_schema"]
        fitted = _remembered(asked["schema"], self.dialect)
        for line in notes(fitted, self.dialect, self._reported):
            if self._notify is not None:
                self._notify(line)
        strict = asked.get("strict") if fitted.strict is None else fitted.strict
        return {**wanted, "json_schema": {**asked, "schema": fitted.schema, "strict": strict}}


def has_schema(response_format: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a `response_format` contains a JSON Schema."""
    held = response_format.get("json_schema") if isinstance(response_format, dict) else None
    return isinstance(held, dict) and isinstance(held.get("schema"), dict)


def notes(fitted: Fitted, dialect: Dialect, reported: set[str]) -> Iterator[str]:
    """Yield notes for the user about a fitted schema, without those in `reported`, which is extended."""
    new = [name for name in fitted.left_out if name not in reported]
    reported.update(new)
    if new:
        yield (
            f"a JSON Schema is sent to {dialect.title} without {_listed(new)}: distask checks replies for "
            f"{'that' if len(new) == 1 else 'those'}"
        )
    if fitted.loose is not None and "" not in reported:
        reported.add("")
        yield (
            f"a JSON Schema can't be strict for {dialect.title} ({fitted.loose}), and is sent with `strict: false`: "
            "replies may not follow it; distask checks them"
        )


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _remembered(schema: Schema, dialect: Dialect) -> Fitted:
    try:
        return _fit_text(orjson.dumps(schema), dialect)
    except TypeError:  # an integer of more than 64 bits, a lone surrogate
        return fit_schema(schema, dialect)


@lru_cache(_REMEMBERED)
def _fit_text(schema: bytes, dialect: Dialect) -> Fitted:
    return fit_schema(orjson.loads(schema), dialect)

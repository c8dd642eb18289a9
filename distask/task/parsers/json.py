"""`json`: the first JSON value in a reply, also inside a code fence or prose."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from distask.errors import Progress
from distask.task.parsers.base import Context, Given, Parser, Scope, invalid, text_of
from distask.task.reply.examples import simulated
from distask.task.reply.lenient_json import MAX_DEPTH, Search, TooDeepError

if TYPE_CHECKING:
    import random

    from distask.errors import InvalidReply
    from distask.llm.request import Completion
    from distask.spec.language.parsers import JsonParser as Options


_INDEX = re.compile(r"[0-9]{1,9}")


class JsonParser(Parser):
    """Turns the keys of an object, or values that JSON pointers name, into columns; a list fills the only column."""

    def __init__(self, options: Options, context: Context) -> None:
        pointers = {c: v for c, v in (options.columns or {}).items() if isinstance(v, str) and v.startswith("/")}
        computed = set(options.columns or {}) - set(pointers)
        self._pointers = {c: pointers.get(c) for c in context.outputs if c not in computed}
        self._columns = context.columns
        self._whole = options.whole
        self._list = not self._pointers or (
            len(self._pointers) == 1 and context.columns[next(iter(self._pointers))].schema.get("type") == "array"
        )

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:  # noqa: ARG002 - a parser's interface
        text = text_of(completion)
        if self._whole and not is_whole(text):
            raise invalid("the reply is not JSON alone", Progress.PART)
        value = first_json(text, wanted=(list, dict) if self._list else (dict,))
        if isinstance(value, list):
            if not self._list:
                raise invalid("the reply's JSON is a list, not an object", Progress.PART)
            return {"parsed": value, **dict.fromkeys(self._pointers, value)}
        value = self._named(value)
        missing = [
            c for c, p in self._pointers.items() if p is None and c not in value and not self._columns[c].nullable
        ]
        if missing:
            raise invalid(f"the reply's JSON has no `{missing[0]}`", Progress.PART)
        columns = {c: value.get(c) if p is None else pointed(value, p) for c, p in self._pointers.items()}
        return {"parsed": value, **columns}

    def _named(self, value: dict[str, Any]) -> dict[str, Any]:
        """Rename keys that match a column except for case and punctuation (`User Query`, `userQuery`)."""
        missing = [c for c, p in self._pointers.items() if p is None and c not in value]
        if not missing:
            return value
        folded: dict[str, list[str]] = {}
        for key in value.keys() - self._pointers.keys():
            folded.setdefault(_folded(key), []).append(key)
        close = {column: folded.get(_folded(column), []) for column in missing}
        return {**value, **{column: value[keys[0]] for column, keys in close.items() if len(keys) == 1}}

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:  # noqa: ARG002
        made: dict[str, Any] = {}
        for column, pointer in self._pointers.items():
            _put(made, pointer or "/" + column, simulated(self._columns[column], rng, given))
        return json.dumps(made, ensure_ascii=False, indent=2)


def is_whole(text: str) -> bool:
    """Whether a reply is a single JSON value, which may be in a code fence."""
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare.removeprefix("```").removesuffix("```").lstrip("jsonJSON5").strip()
    if bare[:1] not in ("{", "["):
        return False
    try:
        found = Search(bare).value_at(0)
    except TooDeepError:
        raise _too_deep() from None
    return found is not None and found[1] == len(bare)


def _folded(key: str) -> str:
    return "".join(c for c in key if c.isalnum()).casefold()


def first_json(text: str, wanted: tuple[type, ...] = (dict, list)) -> Any:
    """The first JSON value of a wanted type, repaired if that is unambiguous. Raises `InvalidReply`."""
    search = Search(text)
    try:
        for value, _ in search.values():
            if isinstance(value, wanted):
                return value
    except TooDeepError:
        raise _too_deep() from None
    if search.fault is not None:
        progress = Progress.PART if search.is_json else Progress.NOTHING
        raise invalid(f"the reply's JSON {search.fault}", progress)
    raise invalid("the reply contains no JSON")


def _too_deep() -> InvalidReply:
    return invalid(f"the reply's JSON is nested deeper than {MAX_DEPTH} levels", Progress.PART)


def pointed(value: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901); None if there is none."""
    for step in pointer[1:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _put(made: dict[str, Any], pointer: str, value: Any) -> None:
    steps = [s.replace("~1", "/").replace("~0", "~") for s in pointer[1:].split("/")]
    for step in steps[:-1]:
        made = made.setdefault(step, {})
    made[steps[-1]] = value

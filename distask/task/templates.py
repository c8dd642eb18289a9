"""Compile a spec's templates and expressions to functions of a scope, in a sandbox that no spec can break or stall.

A template is compiled once, when its task is loaded; a row's text is only ever a value in the scope, never compiled.
What a render may use is metered: each value that it makes counts as work, and the clock is looked at meanwhile.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import json
import re
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from jinja2 import (
    BaseLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    Undefined,
    nodes,
    pass_environment,
)
from jinja2.exceptions import SecurityError, TemplateRuntimeError, UndefinedError
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Cycler, Joiner, Namespace
from jinja2.visitor import NodeTransformer
from markupsafe import escape

from distask.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jinja2 import Environment, Template

Scope = Mapping[str, Any]
"""The names that a template of a row sees."""
Expression = Callable[[Scope], Any]
"""A compiled expression: it gives the value itself, not its text."""
Text = Callable[[Scope], str]
"""A compiled template."""

MAX_TEXT = 1 << 20
"""Characters of the text that a template gives."""
MAX_SOURCE = 256 << 10
"""Characters of a template."""
MAX_FILE = 1 << 20
"""Bytes of a file that is included."""
MAX_NODES = 20_000
"""Parts of speech in a template."""
MAX_RANGE = 10_000
"""Numbers that `range` gives in one render, over all its calls."""
MAX_DEPTH = 64
"""Levels of lists and mappings in each other."""
MAX_WORK = 32 << 20
"""What a render may make: a character counts 1, a value `_VALUE`."""
MAX_SECONDS = 1.0
"""Seconds of its thread's own time that a render may take; waiting for other threads does not count."""
_VALUE = 8
_LARGEST = 16 << 20
"""The work that is in one value, and so the characters of a text that is made on the way (a data URL of an image)."""
_LOOK_EVERY = 20_000
"""Work after which the clock is looked at."""
_BITS = 100_000
"""Bits of a whole number."""
_WIDTH = 10_000
"""Columns that text is padded to."""


class CompileError(Exception):
    """A template that can't be compiled; `line` counts from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        self.message = message
        self.line = line
        super().__init__(message)


class LimitError(TemplateRuntimeError):
    """A render makes or takes more than it may."""


class Meter(threading.local):
    """What the render that goes on in this thread has used so far."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new render begins; its clock starts when it is looked at first, so that a small one costs no look."""
        self.work = self.ticks = self.ranged = 0
        self.next_look = _LOOK_EVERY
        self.since: float | None = None

    def charge(self, work: int) -> None:
        """Count what was made."""
        self.work += work
        if self.work >= self.next_look:
            self.look()

    def tick(self) -> None:
        """Count a step that makes nothing."""
        self.ticks += 1
        if not self.ticks & 7:
            self.look()

    def look(self) -> None:
        """Raise `LimitError` where the render has used all that it may."""
        if self.work > MAX_WORK:
            raise LimitError("the template makes too much")
        now = time.thread_time()
        if self.since is None:
            self.since = now
        elif now - self.since > MAX_SECONDS:
            raise LimitError(f"the template takes longer than {MAX_SECONDS:g} s")
        self.next_look = self.work + _LOOK_EVERY


_METER = Meter()


# Values


def text_of(value: Any) -> str:
    """A value as a template prints it: text as it is, nothing for null, lists and mappings as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, _PLAIN):
        return _plain(value)
    return to_json(value)


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON, other scripts kept as they are."""
    if indent is not None and not 0 <= indent <= 16:
        raise LimitError("`indent` is from 0 to 16")
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_jsonable)


_PLAIN = (dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # raises what is wrong with it
    if isinstance(value, _PLAIN):
        return _plain(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview | Macro):
        return _listed(value)
    if callable(getattr(value, "tolist", None)):  # numpy's numbers
        return value.tolist()
    raise TemplateRuntimeError(f"a value of type {type(value).__name__} can't be printed")


def _listed(values: Iterable[Any]) -> list[Any]:
    listed = list(counted(values))
    weighed(listed)
    return listed


def weighed(value: Any) -> Any:
    """The value, its work counted. One that holds itself many times over is refused before it is walked through."""
    if isinstance(value, str):
        work = len(value)
        _fits(work)
    elif isinstance(value, list | tuple | dict | set | frozenset):
        work = _weigh(value, 1)
    elif isinstance(value, int) and value.bit_length() > _BITS:
        raise LimitError("the template makes too large a number")
    else:
        work = _VALUE
    _METER.charge(work)
    return value


def _weigh(value: Any, depth: int, work: int = 0) -> int:
    if depth > MAX_DEPTH:
        raise LimitError(f"the template nests lists deeper than {MAX_DEPTH} levels")
    children = (*value, *value.values()) if isinstance(value, dict) else value
    for child in children:
        work += _VALUE
        if isinstance(child, str):
            work += len(child)
        elif isinstance(child, list | tuple | dict | set | frozenset):
            work = _weigh(child, depth + 1, work)
        if work > _LARGEST:
            raise LimitError("the template makes too large a list")
    return work


def counted(values: Iterable[Any]) -> Iterator[Any]:
    """The values, each of them counted as it is taken."""
    for value in values:
        _METER.charge(_VALUE)
        yield value


def _ticked(value: Any) -> Any:
    _METER.tick()
    return value


def _fits(length: int) -> None:
    if length > _LARGEST:
        raise LimitError("the template makes too large a value")


def _joined(parts: Iterable[str]) -> str:
    taken, length = [], 0
    for part in parts:
        length += len(part)
        _fits(length)
        taken.append(part)
    _METER.charge(length)
    return "".join(taken)


def _concat(values: Iterable[Any]) -> str:
    return _joined(map(text_of, values))


# Operators


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and right > 0 and left.bit_length() * right > _BITS:
        raise LimitError("the template makes too large a number")
    return left**right


def _times(left: Any, right: Any) -> Any:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | bytes | list | tuple) and isinstance(count, int):
            _fits(len(sequence) * count)
    return left * right


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes | list | tuple) and isinstance(right, str | bytes | list | tuple):
        _fits(len(left) + len(right))
    return left + right


def _modulo(left: Any, right: Any) -> Any:
    return _percent(left, right) if isinstance(left, str) else left % right


_NUMBER = re.compile(r"[0-9]{4,}")


def _percent(template: str, values: Any) -> str:
    if _NUMBER.search(template) or "*" in template:
        raise LimitError("a format pads to fewer than 1000 characters")
    many = list(values) if isinstance(values, tuple) else [values]
    shown = values
    if isinstance(values, tuple):
        shown = tuple(_shown(value) for value in values)
    elif isinstance(values, dict):
        many = list(values.values())
    else:
        shown = _shown(values)
    _fits(template.count("%") * max((len(v) for v in many if isinstance(v, str | list | dict)), default=0))
    return str(template % shown)


def _shown(value: Any) -> Any:
    return text_of(value) if value is None or isinstance(value, bool | list | dict | tuple) else value


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": _plus,
    "-": lambda left, right: left - right,
    "*": _times,
    "/": lambda left, right: left / right,
    "//": lambda left, right: left // right,
    "%": _modulo,
    "**": _power,
}


# Methods of text that make more of it than was there, and those that take a product of two lengths


def _check_method(text: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    values = (*args, *kwargs.values())
    if name in ("center", "ljust", "rjust", "zfill"):
        _fits(max((v for v in values if isinstance(v, int)), default=0))
    elif name == "expandtabs":
        _fits(len(text) + text.count("\t") * max((v for v in values if isinstance(v, int)), default=8))
    elif name == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        _fits(len(text) + text.count(args[0]) * len(args[1]))
    elif name in ("rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip"):
        sought = max((len(v) for v in values if isinstance(v, str)), default=0)
        if len(text) * sought > 100 * MAX_TEXT:
            raise LimitError(f"`{name}` is asked to look for too long a text")


_FORBIDDEN = {"translate", "maketrans", "to_bytes", "from_bytes", "as_integer_ratio"}
_OWNERS = (str, int, float, list, tuple, dict, set, frozenset, range, bytes, *_PLAIN)
_RUNTIME = (Macro, LoopContext, BlockReference, Cycler, Joiner, Undefined)


class _Formatter(SandboxedFormatter):
    """`str.format` with bounded padding and a bounded result."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._length = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        if _NUMBER.search(format_spec):
            raise LimitError("a format pads to fewer than 1000 characters")
        made = super().format_field(_shown(value) if not format_spec else value, format_spec)
        self._length += len(made)
        _fits(self._length)
        return made


# Filters


@pass_environment
def _join(environment: Environment, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items: Iterable[Any] = counted(values)
    if attribute is not None:
        path = [int(p) if p.isdigit() else p for p in str(attribute).split(".")]
        items = (functools.reduce(environment.getitem, path, item) for item in items)
    separator, parts = text_of(d), list[str]()
    for item in items:
        if parts and separator:
            parts.append(separator)
        parts.append(text_of(item))
    return _joined(parts)


@pass_environment
def _sum(environment: Environment, values: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    total = start
    for value in counted(values):
        total = _plus(total, value if attribute is None else environment.getitem(value, cast("str", attribute)))
    return total


def _center(value: Any, width: int = 80) -> str:
    _fits(width)
    return text_of(value).center(width)


def _indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = text_of(value)
    size = len(width) if isinstance(width, str) else width
    _fits(len(text) + (text.count("\n") + 1) * size)
    return str(FILTERS["indent"](text, width, first, blank))


def _replace(value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    _check_method(text, "replace", (old, new), {})
    return text.replace(old, new, -1 if count is None else count)


def _trim(value: Any, chars: str | None = None) -> str:
    text = text_of(value)
    _check_method(text, "strip", (chars,), {})
    return text.strip(chars)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    return _percent(text_of(value), kwargs or args)


def _batch(value: Iterable[Any], linecount: int, fill_with: Any = None) -> Any:
    _fits(linecount)
    return FILTERS["batch"](value, linecount, fill_with)


def _slice(value: Iterable[Any], slices: int, fill_with: Any = None) -> list[Any]:
    if not 1 <= slices <= _WIDTH:
        raise LimitError(f"`slice` makes from 1 to {_WIDTH:,} lists")
    items, made, at = list(counted(value)), [], 0
    size, more = divmod(len(items), slices)
    for number in range(slices):
        end = at + size + (number < more)
        made.append(items[at:end] + ([fill_with] if fill_with is not None and number >= more else []))
        at = end
    return made


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > 100:
        raise LimitError("`round` takes a precision of at most 100")
    return cast("float", FILTERS["round"](value, precision, method))


def _escape(value: Any) -> str:
    return str.__str__(escape(text_of(value)))


def _tojson(value: Any, indent: int | None = None) -> str:
    return to_json(value, indent)


def numbered(values: Iterable[Any], start: int = 1) -> str:
    """A list as lines: `1. first`, `2. second`."""
    return _joined(f"{number}. {text_of(value)}\n" for number, value in enumerate(counted(values), start))[:-1]


def truncate_tokens(value: Any, n: int) -> str:
    """The first `n` tokens of a text, roughly: four letters make a token, a sign of a script without spaces is one."""
    text = text_of(value)
    if len(text) <= n:
        return text
    left = 4 * n
    for at, character in enumerate(text):
        left -= 4 if character >= "\u2e80" else 1
        if left < 0:
            return text[:at]
    return text


_TAG_NAME = re.compile(r"[A-Za-z/!?]")


def strip_tags(value: Any) -> str:
    """A text without its HTML tags and comments; white space stays as it is."""
    text = text_of(value)
    kept, at = [], 0
    while (opened := text.find("<", at)) >= 0:
        if not _TAG_NAME.match(text, opened + 1):
            kept.append(text[at : opened + 1])
            at = opened + 1
            continue
        ending = "-->" if text.startswith("<!--", opened) else ">"
        closed = text.find(ending, opened)
        if closed < 0:
            break
        kept.append(text[at:opened])
        at = closed + len(ending)
    kept.append(text[at:])
    return "".join(kept)


_KEPT = (
    *("abs", "attr", "capitalize", "count", "d", "default", "dictsort", "filesizeformat", "first", "float", "groupby"),
    *("int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "title", "truncate", "unique", "upper", "urlencode", "wordcount"),
)
"""Jinja's own filters that are safe as they are. `random` is not among them: a row's chat must always be the same."""

_OWN: dict[str, Callable[..., Any]] = {
    "batch": _batch,
    "center": _center,
    "e": _escape,
    "escape": _escape,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "numbered": numbered,
    "replace": _replace,
    "round": _round,
    "slice": _slice,
    "string": text_of,
    "strip_tags": strip_tags,
    "striptags": strip_tags,
    "sum": _sum,
    "tojson": _tojson,
    "trim": _trim,
    "truncate_tokens": truncate_tokens,
}


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _METER.tick()
        return weighed(function(*args, **kwargs))

    return wrapper


_FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _metered(function) for name, function in {**{n: FILTERS[n] for n in _KEPT}, **_OWN}.items()},
    "_concat": _concat,
    "_counted": counted,
    "_ticked": _ticked,
    "_weighed": weighed,
}


def _range(*args: int) -> range:
    numbers = range(*args)
    _METER.ranged += len(numbers)
    if _METER.ranged > MAX_RANGE:
        raise LimitError(f"`range` gives at most {MAX_RANGE:,} numbers")
    return numbers


GLOBALS: dict[str, Any] = {
    "range": _range,
    "dict": dict,
    "namespace": Namespace,
    "joiner": Joiner,
    "cycler": Cycler,
}
"""The functions that a template may call."""
_CALLABLE = frozenset(id(value) for value in GLOBALS.values())


# The environment


class _Metering(NodeTransformer):
    """Puts a count around all that repeats, compares, or makes a value."""

    def __init__(self) -> None:
        self.count = 0

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise TemplateSyntaxError("the template is too large", node.lineno)
        return super().visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's protocol
        self.generic_visit(node)
        node.iter = _around(cast("nodes.Expr", node.iter), "_counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _around(nodes.Tuple(node.nodes, "load", lineno=node.lineno), "_concat")

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        return self._made(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        return self._made(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        return self._made(node) if node.ctx == "load" else self.generic_visit(node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _around(node, "_ticked")

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _around(node, "_ticked")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _around(node, "_weighed") if isinstance(node.arg, nodes.Slice) else node

    def _made(self, node: nodes.Expr) -> nodes.Node:
        plain = all(isinstance(child, nodes.Const | nodes.Pair) for child in node.iter_child_nodes())
        plain = plain and not any(True for _ in node.find_all((nodes.Name, nodes.Call, nodes.Filter)))
        self.generic_visit(node)
        return node if plain else _around(node, "_weighed")


def _around(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Loader(BaseLoader):
    """Reads files from a folder and below; a link that leads out of it leads nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_source(self, _environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        return self.read(template), template, lambda: True

    def read(self, name: str) -> str:
        """The text of a file; raises `TemplateNotFound` with the reason."""
        root = self.folder.resolve()
        try:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise TemplateNotFound(name, f"`{name}` is not in the spec's folder or below")
            if not path.is_file():
                raise TemplateNotFound(name, f"there is no file `{name}` in the spec's folder")
            if path.stat().st_size > MAX_FILE:
                raise TemplateNotFound(name, f"`{name}` is larger than {MAX_FILE >> 20} MiB")
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise TemplateNotFound(name, f"`{name}` is not UTF-8 text") from None
        except (OSError, ValueError) as error:
            raise TemplateNotFound(name, f"`{name}` can't be read: {error}") from None


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja as specs have it; `environment` makes one."""

    intercepted_binops = frozenset(_OPERATORS)
    concat = staticmethod(_joined)

    def __init__(self, folder: Path) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            auto_reload=False,
            finalize=_finalized,
            loader=_Loader(folder),
        )
        self.filters = dict(_FILTERS)
        self.globals = dict(GLOBALS)
        self.binop_table = dict(_OPERATORS)

    def read(self, name: str) -> str:
        """The text of a file in the spec's folder or below; raises `CompileError`."""
        try:
            return cast("_Loader", self.loader).read(name)
        except TemplateNotFound as error:
            raise CompileError(str(error.message)) from None

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        source = _Metering().visit(source)
        source.set_environment(self)
        return super()._generate(source, *args, **kwargs)

    def call_binop(self, _context: Context, operator: str, left: Any, right: Any) -> Any:
        """Do an operation within bounds."""
        for operand in (left, right):
            if isinstance(operand, int) and operand.bit_length() > _BITS:
                raise LimitError("the template makes too large a number")
        return weighed(self.binop_table[operator](left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or a method within bounds."""
        _METER.tick()
        if isinstance(obj, types.BuiltinMethodType) and isinstance(obj.__self__, str):
            _check_method(obj.__self__, obj.__name__, args, kwargs)
            if obj.__name__ == "join" and args:
                return _joined(_between(obj.__self__, args[0]))
        elif isinstance(obj, LoopContext) and args:
            args = (counted(args[0]), *args[1:])
        return weighed(super().call(context, obj, *args, **kwargs))

    def is_safe_callable(self, obj: Any) -> bool:
        """Methods of plain values, macros, and the functions that `GLOBALS` names."""
        if id(obj) in _CALLABLE or isinstance(obj, _RUNTIME):
            return True
        if isinstance(obj, types.BuiltinMethodType):
            return isinstance(obj.__self__, _OWNERS) and obj.__name__ not in _FORBIDDEN
        if isinstance(obj, types.MethodType):
            return isinstance(obj.__self__, (*_RUNTIME, TemplateReference))
        return getattr(obj, "formats_text", False) is True

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` within bounds."""
        if not isinstance(value, types.BuiltinMethodType) or value.__name__ not in ("format", "format_map"):
            return None
        text = value.__self__
        if not isinstance(text, str):
            return None

        def wrapper(*args: Any, **kwargs: Any) -> str:
            if value.__name__ == "format_map":
                args, kwargs = (), dict(*args)
            return _Formatter(self).vformat(text, args, kwargs)

        wrapper.formats_text = True  # type: ignore[attr-defined]
        return wrapper

    def get_template(self, *args: Any, **kwargs: Any) -> Template:
        """Count what is included."""
        _METER.charge(100 * _VALUE)
        return super().get_template(*args, **kwargs)


def _between(separator: str, values: Iterable[Any]) -> Iterator[str]:
    for number, value in enumerate(counted(values)):
        if number:
            yield separator
        yield text_of(value)


def _finalized(value: Any) -> str:
    if type(value) is str:
        _METER.charge(_VALUE)
        return value
    text = text_of(value)
    _METER.charge(len(text))
    return text


def environment(folder: Path) -> Sandbox:
    """The sandbox of a spec in `folder`, whose files it may include."""
    return Sandbox(folder)


# Compiling


def compile_template(sandbox: Sandbox, source: str, *, longest: int = MAX_TEXT) -> Text:
    """A template as a function of a scope. Raises `CompileError`; the function raises `RowError`."""
    if "{" not in source:
        return _constant(_without_last_newline(source))
    tree = _parsed(sandbox, source)
    simple = _simple(tree, longest)
    if simple is not None:
        return simple
    template = _compiled(sandbox, tree)
    root, blocks = template.root_render_func, template.blocks

    def render(scope: Scope) -> str:
        _METER.start()
        pieces, length = [], 0
        try:
            for piece in root(Context(sandbox, scope, None, blocks)):  # type: ignore[arg-type]
                length += len(piece)
                if length > longest:
                    raise LimitError(_too_long(longest))
                pieces.append(piece)
        except Exception as error:  # noqa: BLE001 - whatever a template does is its row's own failure
            raise _row_error(error) from None
        return "".join(pieces)

    return render


def compile_expression(sandbox: Sandbox, source: str) -> Expression:
    """An expression, in braces or bare, as a function of a scope that gives the value itself.

    Text around or between expressions gives text. Raises `CompileError`; the function raises `RowError`.
    """
    expression = _expression(sandbox, source)
    if expression is None:
        return compile_template(sandbox, source)
    if isinstance(expression, nodes.Name):
        return _name(expression.name, expression.lineno)
    if isinstance(expression, nodes.Const):
        return _constant(expression.value)
    result = nodes.Assign(nodes.Name("result", "store", lineno=1), expression, lineno=expression.lineno)
    template = _compiled(sandbox, nodes.Template([result], lineno=1))
    root = template.root_render_func

    def evaluate(scope: Scope) -> Any:
        _METER.start()
        try:
            context = Context(sandbox, scope, None, {})  # type: ignore[arg-type]
            for _ in root(context):
                pass
            return _native(context.vars["result"])
        except Exception as error:  # noqa: BLE001 - as above
            raise _row_error(error) from None

    return evaluate


def is_expression(sandbox: Sandbox, source: str) -> bool:
    """Whether a template is one expression in braces and nothing else."""
    return "{{" in source and _expression(sandbox, source) is not None


def _constant(value: Any) -> Callable[[Scope], Any]:
    return lambda _scope: value


def _without_last_newline(source: str) -> str:
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n")


def _simple(tree: nodes.Template, longest: int) -> Text | None:
    """A template of text and plain names, which needs no engine."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    if not all(isinstance(part, nodes.TemplateData) or _reads_a_name(part) for part in parts):
        return None
    if len(parts) == 1 and isinstance(parts[0], nodes.Name):
        return _printed(parts[0].name, parts[0].lineno, longest)
    pieces = [
        _constant(part.data) if isinstance(part, nodes.TemplateData) else _printed(part.name, part.lineno, longest)
        for part in parts
        if isinstance(part, nodes.TemplateData | nodes.Name)
    ]

    def render(scope: Scope) -> str:
        text = "".join([piece(scope) for piece in pieces])
        if len(text) > longest:
            raise RowError("template", _too_long(longest))
        return text

    return render


def _reads_a_name(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Name) and node.name not in GLOBALS and node.name != "self"


def _printed(name: str, line: int, longest: int) -> Text:
    read = _name(name, line)

    def render(scope: Scope) -> str:
        value = read(scope)
        if type(value) is not str:
            _METER.start()
            try:
                value = text_of(value)
            except Exception as error:  # noqa: BLE001 - as above
                raise RowError("template", f"line {line}: {_said(error)}") from None
        if len(value) > longest:
            raise RowError("template", f"line {line}: {_too_long(longest)}")
        return str(value)

    return render


def _too_long(longest: int) -> str:
    return f"the text is longer than {longest:,} characters"


def _name(name: str, line: int) -> Expression:
    def read(scope: Scope) -> Any:
        try:
            return scope[name]
        except KeyError:
            raise RowError("template", f"line {line}: `{name}` is undefined") from None

    return read


def _parsed(sandbox: Sandbox, source: str) -> nodes.Template:
    if len(source) > MAX_SOURCE:
        raise CompileError(f"the template is longer than {MAX_SOURCE:,} characters")
    try:
        return sandbox.parse(source)
    except TemplateSyntaxError as error:
        raise CompileError(_sentence(error.message or "wrong syntax"), error.lineno) from None
    except RecursionError:
        raise CompileError("the template is nested too deeply") from None


def _expression(sandbox: Sandbox, source: str) -> nodes.Expr | None:
    """The one expression that a source is; None for text around or between expressions."""
    text = source.strip()
    if "{{" not in text and "{%" not in text:
        return _bare(sandbox, text)
    try:
        body = _parsed(sandbox, text).body
    except CompileError:
        if text.startswith("{{"):
            raise
        return _bare(sandbox, text)  # a mapping in a mapping: {"a": {"b": 1}} closes with two braces
    if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
        only = body[0].nodes[0]
        return None if isinstance(only, nodes.TemplateData) else only
    return None


def _bare(sandbox: Sandbox, source: str) -> nodes.Expr:
    if len(source) > MAX_SOURCE:
        raise CompileError(f"the expression is longer than {MAX_SOURCE:,} characters")
    try:
        parser = Parser(sandbox, source, state="variable")
        expression = parser.parse_expression()
        if not parser.stream.eos:
            raise CompileError(f"unexpected `{parser.stream.current.value}`", parser.stream.current.lineno)
    except TemplateSyntaxError as error:
        raise CompileError(_sentence(error.message or "wrong syntax"), error.lineno) from None
    except RecursionError:
        raise CompileError("the expression is nested too deeply") from None
    return expression


def _compiled(sandbox: Sandbox, tree: nodes.Template) -> Template:
    _METER.start()
    try:
        return sandbox.from_string(tree)
    except TemplateSyntaxError as error:
        raise CompileError(_sentence(error.message or "wrong syntax"), error.lineno) from None
    except (RecursionError, MemoryError, SyntaxError, OverflowError, ValueError) as error:
        # Python's own compiler: more than 20 loops in each other, numbers of thousands of digits
        raise CompileError(f"the template is too complex ({_sentence(str(error))})") from None


def _native(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # raises what is wrong with it
    if isinstance(value, types.GeneratorType):
        return _listed(value)
    return value


# Saying what went wrong


def _row_error(error: Exception) -> RowError:
    if isinstance(error, RowError):
        return error
    place, trace = "", error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            line = template.get_corresponding_lineno(trace.tb_lineno)
            place = f"{template.name}, line {line}: " if template.name else f"line {line}: "
        trace = trace.tb_next
    return RowError("template", place + _said(error))


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the template calls itself without end"
    if isinstance(error, TemplateNotFound):
        return str(error.message)
    if isinstance(error, (UndefinedError, SecurityError, TemplateRuntimeError, TemplateSyntaxError)):
        return _sentence(str(error.message or error))
    return f"{type(error).__name__}: {error}"


def _sentence(message: str) -> str:
    text = message.replace("'", "`").rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text

"""The Jinja sandbox for specs: immutable, metered, and restricted to files in the spec's folder."""

from __future__ import annotations

import itertools
import re
import types
from typing import TYPE_CHECKING, Any, cast

from jinja2 import BaseLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Cycler, Joiner, Namespace
from jinja2.visitor import NodeTransformer

from distask.task.templates.filters import FILTERS, OPERATORS, PLAIN, check_method, readable, text_of
from distask.task.templates.limits import (
    MAX_RANGE,
    METER,
    PROMPT_CHARACTERS,
    VALUE,
    LimitError,
    check_number,
    counted,
    fits,
    joined,
    weighed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from jinja2 import Environment, Template

MAX_FILE = 1 << 20
"""Maximum bytes of an included file."""
_KEYS_SHOWN = 10
_LONGEST_KEY = 40
MAX_NODES = 20_000
"""Maximum syntax nodes of a template."""


def _range(*args: int) -> range:
    numbers = range(*args)
    METER.ranged += len(numbers)
    if METER.ranged > MAX_RANGE:
        raise LimitError(f"`range` allows at most {MAX_RANGE:,} numbers")
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


_LONG_NUMBER = re.compile(r"[0-9]{4}")
_FORBIDDEN = {"translate", "maketrans", "to_bytes", "from_bytes", "as_integer_ratio"}
_OWNERS = (str, int, float, list, tuple, dict, set, frozenset, range, *PLAIN)
"""Types whose methods may be called. Bytes can only be passed on."""
_DICT_NAMES = frozenset(dir(dict))
_RUNTIME = (Macro, LoopContext, BlockReference, Cycler, Joiner, Undefined)


class _Formatter(SandboxedFormatter):
    """`str.format` with bounded padding and a bounded result."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._length = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        if _LONG_NUMBER.search(format_spec):
            raise LimitError("a format may pad to at most 999 characters")
        made = super().format_field(readable(value) if not format_spec else value, format_spec)
        self._length += len(made)
        fits(self._length)
        return made


class _Undefined(StrictUndefined):
    """A missing name or attribute; the message lists the keys of a mapping."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        message, owner = super()._undefined_message, self._undefined_obj
        if not isinstance(owner, dict) or isinstance(self._undefined_name, int):
            return message
        keys = ", ".join(f"`{str(key)[:_LONGEST_KEY]}`" for key in itertools.islice(owner, _KEYS_SHOWN))
        more = ", …" if len(owner) > _KEYS_SHOWN else ""
        return f"{message}; its keys are {keys}{more}" if keys else f"{message}; it has no keys"


class _Metering(NodeTransformer):
    """Meters every node that repeats, compares, or creates a value."""

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

    def visit_ScopedEvalContextModifier(self, node: nodes.ScopedEvalContextModifier) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("`autoescape` is not supported", node.lineno)

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
    """Reads files in a folder and its subfolders; links that lead outside are rejected."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts: dict[str, str] = {}

    def get_source(self, _environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        return self.read(template), template, lambda: True

    def read(self, name: str) -> str:
        """Read the text of a file; raises `TemplateNotFound` with the reason."""
        try:
            text = self._text(name)
        except UnicodeDecodeError:
            text, fault = None, "is not UTF-8 text"
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a cycle of links
            text, fault = None, f"can't be read: {error}"
        else:
            fault = "is not a file in the spec's folder or a subfolder"
        if text is None:
            raise TemplateNotFound(name, f"`{name}` {fault}")
        self.texts[name] = text
        return text

    def _text(self, name: str) -> str | None:
        root = self.folder.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            return None
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"it is larger than {MAX_FILE >> 20} MiB")
        return path.read_text(encoding="utf-8-sig")


class Sandbox(ImmutableSandboxedEnvironment):
    """The Jinja environment for specs in a folder, which may include files in it and its subfolders."""

    intercepted_binops = frozenset(OPERATORS)
    concat = staticmethod(joined)

    def __init__(self, folder: Path) -> None:
        self._files = _Loader(folder)
        self.prompt_characters = PROMPT_CHARACTERS
        """Maximum characters of a rendered text (`limits.prompt_characters`)."""
        super().__init__(
            undefined=_Undefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            auto_reload=False,
            finalize=_finalized,
            loader=self._files,
        )
        self.eval_ctx = nodes.EvalContext(self)
        """The evaluation context of every render: without autoescape, which templates can't turn on."""
        self.filters = dict(FILTERS)
        self.globals = dict(GLOBALS)
        self.binop_table = dict(OPERATORS)

    def read(self, name: str) -> str:
        """Read a file in the spec's folder or a subfolder; raises `TemplateNotFound` with the reason."""
        return self._files.read(name)

    def files_read(self) -> dict[str, str]:
        """The texts of all files read so far, by name."""
        return dict(self._files.texts)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        source = _Metering().visit(source)
        source.set_environment(self)
        return super()._generate(source, *args, **kwargs)

    def call_binop(self, _context: Context, operator: str, left: Any, right: Any) -> Any:
        """Run an operator within limits."""
        check_number(left)
        check_number(right)
        if isinstance(left, bytes) or isinstance(right, bytes):
            raise LimitError(f"`{operator}` does not support bytes")
        return weighed(self.binop_table[operator](left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method within limits."""
        METER.tick()
        if isinstance(obj, types.BuiltinMethodType) and isinstance(obj.__self__, str):
            check_method(obj.__self__, obj.__name__, args, kwargs)
            if obj.__name__ == "join" and args:
                return joined(_between(obj.__self__, args[0]))
        elif isinstance(obj, LoopContext) and args:
            args = (counted(args[0]), *args[1:])
        if not self.is_safe_callable(obj):
            raise SecurityError(f"`{getattr(obj, '__name__', type(obj).__name__)}` may not be called")
        return weighed(context.call(obj, *args, **kwargs))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Look up an attribute; a key of a mapping that is not also a method's name is found at once."""
        if type(obj) is dict and attribute in obj and attribute not in _DICT_NAMES:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Look up an item, and meter it: a filter may look up a path of any length in each value."""
        METER.tick()
        return super().getitem(obj, argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Allow methods of plain values, macros, and the functions in `GLOBALS`."""
        if id(obj) in _CALLABLE or isinstance(obj, _RUNTIME):
            return True
        if isinstance(obj, types.BuiltinMethodType):
            return isinstance(obj.__self__, _OWNERS) and obj.__name__ not in _FORBIDDEN
        if isinstance(obj, types.MethodType):
            return isinstance(obj.__self__, (*_RUNTIME, TemplateReference))
        return getattr(obj, "formats_text", False) is True

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` within limits."""
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
        """Load an included template, and count it."""
        METER.charge(100 * VALUE)
        return super().get_template(*args, **kwargs)


def _between(separator: str, values: Iterable[Any]) -> Iterator[str]:
    for number, value in enumerate(counted(values)):
        if number:
            yield separator
        yield text_of(value)


def _finalized(value: Any) -> str:
    if type(value) is str:
        METER.charge(VALUE)
        return value
    text = text_of(value)
    METER.charge(len(text))
    return text

"""Compile the templates and expressions of a spec to functions of a scope, in a sandbox that limits time and memory.

A template is compiled once, when its task is loaded. Text in a row is only a value in the scope and is never compiled.
Rendering is metered: each value that a template creates counts as work, and the clock is checked regularly.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import TemplateNotFound, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError, UndefinedError
from jinja2.parser import Parser
from jinja2.runtime import Context

from distask.errors import RowError, SpecError
from distask.task.templates.filters import listed, text_of
from distask.task.templates.limits import METER, LimitError
from distask.task.templates.sandbox import GLOBALS, Sandbox

if TYPE_CHECKING:
    from jinja2 import Template

    from distask.diagnostics import Diagnostic
    from distask.spec.document import Document


Scope = Mapping[str, Any]
"""The names that a template sees for a row."""
Expression = Callable[[Scope], Any]
"""A compiled expression, which returns the value itself, not text."""
Text = Callable[[Scope], str]
"""A compiled template."""
Place = tuple[str | int, ...]
"""The path to a value in a spec: keys and indices."""
T = TypeVar("T")

MAX_SOURCE = 256 << 10
"""Maximum characters of a template."""
_LONGEST_MESSAGE = 500
"""Maximum characters of an error message, which may contain a very long name."""


class CompileError(Exception):
    """A template that can't be compiled; `line` counts from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        self.message = message
        self.line = line
        super().__init__(message)


Blocks = Mapping[str, Callable[[Context], Iterator[str]]]
"""The blocks of a template, by name."""
_NO_BLOCKS: Blocks = {}


class _Context(Context):
    """Jinja's context of a render, made faster: it shares what no template can change."""

    def __init__(self, sandbox: Sandbox, scope: Scope, blocks: Blocks) -> None:
        self.parent = scope  # type: ignore[assignment]
        self.vars = {}
        self.environment = sandbox
        self.eval_ctx = sandbox.eval_ctx
        self.exported_vars = set()
        self.name = None
        self.globals_keys = set()
        self.blocks = {name: [block] for name, block in blocks.items()} if blocks else {}


def compile_template(sandbox: Sandbox, source: str, *, longest: int | None = None) -> Text:
    """Compile a template to a function of a scope. Raises `CompileError`; the function raises `RowError`.

    Args:
        sandbox: the environment of the spec.
        source: the template.
        longest: maximum characters of the text; `sandbox.prompt_characters` if None.
    """
    if "{" not in source:
        return _constant(_without_last_newline(source))
    tree = _parsed(sandbox, source)
    simple = _simple(tree, sandbox, longest)
    if simple is not None:
        return simple
    template = _compiled(sandbox, tree)
    root, blocks = template.root_render_func, template.blocks

    def render(scope: Scope) -> str:
        pieces, length, most = [], 0, _most(sandbox, longest)
        try:
            METER.start(sandbox.prompt_characters)
            for piece in root(_Context(sandbox, scope, blocks)):
                length += len(piece)
                if length > most:
                    break
                pieces.append(piece)
        except Exception as error:  # noqa: BLE001 - any exception fails only this row
            raise _row_error(error) from None
        if length > most:
            raise RowError("template", too_long(most))
        return "".join(pieces)

    return render


def compile_expression(sandbox: Sandbox, source: str) -> Expression:
    """Compile an expression, with or without braces, to a function of a scope that returns the value itself.

    With text around or between expressions it returns text. Raises `CompileError`; the function raises `RowError`.
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
        try:
            METER.start(sandbox.prompt_characters)
            context = _Context(sandbox, scope, _NO_BLOCKS)
            for _ in root(context):
                pass
            return _native(context.vars["result"])
        except Exception as error:  # noqa: BLE001 - as above
            raise _row_error(error) from None

    return evaluate


def is_expression(sandbox: Sandbox, source: str) -> bool:
    """Whether a template is a single expression in braces."""
    return "{{" in source and _expression(sandbox, source) is not None


def _constant(value: Any) -> Callable[[Scope], Any]:
    return lambda _scope: value


def _without_last_newline(source: str) -> str:
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n")


def _most(sandbox: Sandbox, longest: int | None) -> int:
    return sandbox.prompt_characters if longest is None else longest


def _simple(tree: nodes.Template, sandbox: Sandbox, longest: int | None) -> Text | None:
    """Compile a template of text and plain names without Jinja; None for any other."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    if not all(isinstance(part, nodes.TemplateData) or _reads_a_name(part) for part in parts):
        return None
    if len(parts) == 1 and isinstance(parts[0], nodes.Name):
        return _printed(parts[0].name, parts[0].lineno, sandbox, longest)
    pieces = [
        _constant(part.data)
        if isinstance(part, nodes.TemplateData)
        else _printed(part.name, part.lineno, sandbox, longest)
        for part in parts
        if isinstance(part, nodes.TemplateData | nodes.Name)
    ]

    def render(scope: Scope) -> str:
        text, most = "".join([piece(scope) for piece in pieces]), _most(sandbox, longest)
        if len(text) > most:
            raise RowError("template", too_long(most))
        return text

    return render


def _reads_a_name(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Name) and node.name not in GLOBALS and node.name != "self"


def _printed(name: str, line: int, sandbox: Sandbox, longest: int | None) -> Text:
    def render(scope: Scope) -> str:
        try:
            value = scope[name]
        except KeyError:
            raise _undefined(name, line) from None
        if type(value) is not str:
            try:
                METER.start(sandbox.prompt_characters)
                value = text_of(value)
            except Exception as error:  # noqa: BLE001 - as above
                raise RowError("template", f"line {line}: {_cut(_explained(error))}") from None
        most = sandbox.prompt_characters if longest is None else longest
        if len(value) > most:
            raise RowError("template", f"line {line}: {too_long(most)}")
        return str(value)

    return render


def too_long(most: int, what: str = "the text is") -> str:
    """The error message for text that exceeds the limit."""
    return f"{what} longer than {most:,} characters (raise the limit with --set limits.prompt_characters=N)"


def _name(name: str, line: int) -> Expression:
    def read(scope: Scope) -> Any:
        try:
            return scope[name]
        except KeyError:
            raise _undefined(name, line) from None

    return read


def _undefined(name: str, line: int) -> RowError:
    return RowError("template", f"line {line}: `{name}` is undefined")


def _parsed(sandbox: Sandbox, source: str) -> nodes.Template:
    if len(source) > MAX_SOURCE:
        raise CompileError(f"the template is longer than {MAX_SOURCE:,} characters")
    try:
        return sandbox.parse(source)
    except TemplateSyntaxError as error:
        raise CompileError(_sentence(error.message or "wrong syntax"), error.lineno) from None
    except RecursionError:
        raise CompileError("the template is nested too deeply") from None
    except ValueError:  # Python can't parse integers with thousands of digits
        raise CompileError("a number has too many digits") from None


def _expression(sandbox: Sandbox, source: str) -> nodes.Expr | None:
    """The expression, if the source is a single one; None if there is text around or between expressions."""
    text = source.strip()
    if "{{" not in text and "{%" not in text:
        return _bare(sandbox, text)
    try:
        body = _parsed(sandbox, text).body
    except CompileError:
        if text.startswith("{{"):
            raise
        return _bare(sandbox, text)  # a nested mapping ends with two braces: {"a": {"b": 1}}
    if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
        only = body[0].nodes[0]
        return None if isinstance(only, nodes.TemplateData) else only
    return None


def _bare(sandbox: Sandbox, source: str) -> nodes.Expr:
    if len(source) > MAX_SOURCE:
        raise CompileError(f"the expression is longer than {MAX_SOURCE:,} characters")
    try:
        parser = Parser(sandbox, source, state="variable")
        expression, rest = parser.parse_expression(), parser.stream
    except TemplateSyntaxError as error:
        raise CompileError(_sentence(error.message or "wrong syntax"), error.lineno) from None
    except RecursionError:
        raise CompileError("the expression is nested too deeply") from None
    except ValueError:
        raise CompileError("a number has too many digits") from None
    if not rest.eos:
        raise CompileError(f"unexpected `{rest.current.value}`", rest.current.lineno)
    return expression


def _compiled(sandbox: Sandbox, tree: nodes.Template) -> Template:
    try:
        METER.start()
        METER.look()
        return sandbox.from_string(tree)
    except LimitError as error:
        raise CompileError(str(error)) from None
    except TemplateSyntaxError as error:
        raise CompileError(_sentence(error.message or "wrong syntax"), error.lineno) from None
    except (RecursionError, MemoryError, SyntaxError, OverflowError, ValueError) as error:
        # from Python's compiler: more than 20 nested loops, or numbers with thousands of digits
        raise CompileError(f"the template is too complex ({_sentence(str(error))})") from None


_USUAL = frozenset((str, bool, int, float, list, dict, type(None)))


def _native(value: Any) -> Any:
    if type(value) in _USUAL:
        return value
    if isinstance(value, Undefined):
        str(value)  # raises the error
    if isinstance(value, types.GeneratorType):
        return listed(value)
    return value


# Error messages


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
    return RowError("template", place + _cut(_explained(error)))


def _explained(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the template recurses endlessly"
    if isinstance(error, TemplateNotFound):
        return str(error.message)
    if isinstance(error, (UndefinedError, SecurityError, TemplateRuntimeError, TemplateSyntaxError)):
        return _sentence(str(error.message or error))
    return f"{type(error).__name__}: {error}"


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"


_QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)")


def _sentence(message: str) -> str:
    text = _QUOTED.sub(r"`\1`", message).rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


class Compiler:
    """Compiles the templates of a spec, each text once, and locates errors in the file."""

    def __init__(self, sandbox: Sandbox, document: Document) -> None:
        self.sandbox = sandbox
        self._document = document
        self._compiled: dict[tuple[str, str, int | None], Callable[[Scope], Any]] = {}

    def template(self, source: str, path: Place, *, longest: int | None = None) -> Text:
        """Compile a template; raises `SpecError`."""
        return self._once(
            ("template", source, longest),
            lambda: self._placed(lambda: compile_template(self.sandbox, source, longest=longest), source, path),
        )

    def file(self, name: str, path: Place) -> Text:
        """Compile a template from a separate file; raises `SpecError`."""
        try:
            source = self.sandbox.read(name)
        except TemplateNotFound as error:
            raise SpecError([self._document.diagnostic(path, str(error.message))]) from None
        try:
            return compile_template(self.sandbox, source)
        except CompileError as error:
            message = f"{name}, line {error.line}: {error.message}"
            raise SpecError([self._document.diagnostic(path, message)]) from None

    def expression(self, source: str, path: Place) -> Expression:
        """Compile an expression; raises `SpecError`."""
        return self._once(
            ("expression", source, 0),
            lambda: self._placed(lambda: compile_expression(self.sandbox, source), source, path),
        )

    def value(self, source: str, path: Place, *, longest: int | None = None) -> Expression:
        """Compile a template that returns the value itself if it is a single expression in braces, otherwise text."""
        if self._placed(lambda: is_expression(self.sandbox, source), source, path):
            return self.expression(source, path)
        return self.template(source, path, longest=longest)

    def fault(self, path: Place, message: str) -> Diagnostic:
        """A diagnostic for a place in the file."""
        return self._document.diagnostic(path, message)

    def _once(
        self, key: tuple[str, str, int | None], compile_it: Callable[[], Callable[[Scope], Any]]
    ) -> Callable[[Scope], Any]:
        if key not in self._compiled:
            self._compiled[key] = compile_it()
        return self._compiled[key]

    def _placed(self, compile_it: Callable[[], T], source: str, path: Place) -> T:
        try:
            return compile_it()
        except CompileError as error:
            before = "".join(source.splitlines(keepends=True)[: error.line - 1])
            raise SpecError([self._document.diagnostic(path, error.message, offset=len(before))]) from None

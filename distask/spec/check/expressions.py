"""Analyze templates and expressions without running them: syntax errors, and the names they read.

Jinja's parser does the work and nothing is evaluated, so the cost of a template depends only on its length.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import TokenStream
from jinja2.parser import Parser
from msgspec import Struct, field

from distask.diagnostics import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SOURCE = 256 << 10
"""Maximum length of a template."""

MAX_NODES = 20_000
"""Maximum number of nodes in a template's syntax tree; real templates have at most a few hundred."""

MAX_EXPONENT = 64
MAX_REPEAT = 100_000
"""Limits for literal operands of `**` and `*`; larger values can exhaust memory."""

GLOBALS = frozenset({"range", "dict", "namespace", "joiner", "cycler"})
"""Names available in every template."""

FILTERS = frozenset(
    {
        *("tojson", "fromjson", "numbered", "tagged", "truncate_tokens", "strip_tags", "sha256"),
        *("quoted_from", "found_in", "sentences"),
        *("mean", "weighted_mean", "median", "majority", "std", "agreement"),
        *("messages", "answered", "chat_problem", "sharegpt", "tool_arguments", "call_ids"),
        *("common_start", "preference_pair", "tools_problem", "tool_definitions", "call_problem"),
        *("media_problem", "image_parts", "image_sources", "image_tags", "image_urls"),
    }
)
"""Filters added to Jinja's own."""

FILTERS_LEFT_OUT = frozenset({"random", "urlize", "xmlattr", "pprint"})
"""Jinja filters that are not available: they are random, or produce HTML or Python."""

_MAPPINGS = ("vars", "params", "draw")


class Name(Struct, frozen=True):
    """A name that a template reads from its row."""

    name: str
    offset: int
    """Index in the source."""
    attribute: str | None = None
    """The attribute that is read, if it is a literal: `x` in `vars.x`."""
    attribute_offset: int = 0


class Include(Struct, frozen=True):
    """A file that a template includes or imports."""

    path: str | None
    """None if it is not a literal."""
    offset: int
    seen: frozenset[str] | None
    """The template's own names that the file can read; None if it can't read the row (an import)."""
    optional: bool = False


class Fault(Struct, frozen=True):
    """An error in a template, with its position."""

    message: str
    offset: int
    length: int = 1
    hint: str | None = None


class Syntax(Struct, frozen=True):
    """The analysis of a template or an expression. It has no names if the syntax is invalid."""

    names: tuple[Name, ...] = ()
    includes: tuple[Include, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def error(self) -> str | None:
        """Return the message of the first fault."""
        return self.faults[0].message if self.faults else None


@cache
def _environment() -> Environment:
    return Environment(trim_blocks=True, lstrip_blocks=True, optimized=False, autoescape=False)  # noqa: S701 - prompts


def is_wrapped(expression: str) -> bool:
    """Return whether the complete expression is in braces: `{{ x }}`."""
    text = expression.strip()
    return text.startswith("{{") and text.endswith("}}") and "{{" not in text[2:] and len(text) >= len("{{}}")


def bare(expression: str) -> str:
    """Return an expression without surrounding braces."""
    if not is_wrapped(expression):
        return expression.strip()
    inner = expression.strip()[2:-2]
    inner = inner.removeprefix("-") if inner[:2] in ("- ", "-\n") else inner
    return inner.removesuffix("-").strip()


def read_template(source: str) -> Syntax:
    """Return the names that a template reads, or its faults."""
    return _read(source, None)


def read_expression(source: str) -> Syntax:
    """Return the names that an expression (with or without braces) reads, or its faults."""
    if is_wrapped(source):
        return _read(source, None)
    syntax = _read(source, "variable")
    if syntax.faults and "{{" in source:
        message = "an expression must be in one pair of braces, without other text"
        return Syntax(faults=(Fault(message, source.find("{{"), 2, 'join text with `~`: {{ a ~ " and " ~ b }}'),))
    return syntax


def _read(source: str, state: str | None) -> Syntax:
    if len(source) > MAX_SOURCE:
        return Syntax(faults=(Fault(f"the template is longer than {MAX_SOURCE:,} characters", 0),))
    if not source.strip() and state is not None:
        return Syntax(faults=(Fault("the expression is empty", 0),))
    if state is None and "{" not in source:
        return Syntax()
    tokens = _Tokens(source, state)
    try:
        tree = tokens.expression() if state else tokens.template()
        reader = _Reader(source)
        reader.block(tree.body, set())
    except TemplateSyntaxError as error:
        return Syntax(faults=(tokens.fault(error),))
    except RecursionError:
        return Syntax(faults=(Fault("the template is nested too deeply", 0),))
    except ValueError:  # Python limits the digits of an integer
        return Syntax(faults=(Fault("a number has too many digits", tokens.at),))
    return Syntax(tuple(reader.names), tuple(reader.includes), tuple(reader.faults))


class _Parser(Parser):
    """Jinja's parser, which also tracks where open blocks start."""

    opened: list[tuple[str, int]]

    def parse_statement(self) -> nodes.Node | list[nodes.Node]:
        """Parse as Jinja does; after an error, `opened` holds the unclosed blocks."""
        self.opened.append((self.stream.current.value, self.stream.current.lineno))
        statement = super().parse_statement()
        self.opened.pop()
        return statement


class _Tokens:
    """Parses with character offsets instead of line numbers, so that every node has an exact position."""

    def __init__(self, source: str, state: str | None) -> None:
        self._source = source
        self._state = state
        self._at = 0
        self._in_lexer = False
        self._opened: list[tuple[str, int]] = []

    @property
    def at(self) -> int:
        """Index of the last token."""
        return self._at

    def template(self) -> nodes.Template:
        return self._parser().parse()

    def expression(self) -> nodes.Template:
        parser = self._parser()
        parsed = parser.parse_expression()
        if not parser.stream.eos:
            token = parser.stream.current
            raise TemplateSyntaxError(f"unexpected '{token.value}'", token.lineno)
        return nodes.Template([nodes.Output([parsed], lineno=0)], lineno=0)

    def fault(self, error: TemplateSyntaxError) -> Fault:
        """Convert Jinja's error. Its parser has the offset; its lexer may have one in the message."""
        message = error.message or "invalid syntax"
        if message.startswith("Unexpected end of template") and self._opened:
            tag, offset = self._opened[-1]
            hint = f"`{{% end{tag} %}}` is missing"
            return Fault(f"invalid template syntax: the block `{tag}` is never closed", offset, len(tag), hint)
        offset = self._at if self._in_lexer else error.lineno
        if at := re.fullmatch(r"unexpected char (.+) at (\d+)", message, re.DOTALL):
            offset = int(at[2])
            character = self._source[offset : offset + 1]
            message = "this quote is never closed" if character in ("'", '"') else f"unexpected '{character}'"
        elif self._in_lexer and (unexpected := re.match(r"unexpected '(.)'", message)):
            offset = max(offset, self._source.find(unexpected[1], offset))
        word = re.match(r"\w+|\W", self._source[offset : offset + 80])
        for theirs, ours in _WORDS.items():
            message = message.replace(theirs, ours)
        message = re.sub(r"(?<!\w)'([^']*)'", r"`\1`", message).rstrip(".")
        return Fault(
            f"invalid template syntax: {message[:1].lower()}{message[1:]}", offset, len(word[0]) if word else 1
        )

    def _parser(self) -> _Parser:
        environment = _environment()
        parser = _Parser(environment, "", state=self._state)
        parser.opened = self._opened
        parser.stream = TokenStream(environment.lexer.wrap(self._placed()), None, None)
        return parser

    def _placed(self) -> Iterator[tuple[int, str, str]]:
        at = 0
        found = _environment().lexer.tokeniter(self._source, None, None, self._state)
        while True:
            self._in_lexer = True
            token = next(found, None)
            self._in_lexer = False
            if token is None:
                return
            _, kind, value = token
            at = max(at, self._source.find(value, at))
            self._at = at
            yield at, kind, value
            at += len(value)


_WORDS = {
    "token 'end of print statement'": "'}}'",
    "token 'end of statement block'": "'%}'",
    "token 'name'": "a name",
    "expected token": "expected",
    "'end of print statement'": "'}}'",
    "'end of statement block'": "'%}'",
    "unexpected 'end of template'": "it ends too early",
    "'end of template'": "the end",
}
"""Jinja's token names, and how users write them."""


class _Reader(Struct):
    """Walks a syntax tree with Jinja's scopes and collects the names defined outside it."""

    source: str
    names: list[Name] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    size: int = 0

    def block(self, body: list[nodes.Node], scope: set[str]) -> None:
        for node in body:
            self.visit(node, scope)

    def visit(self, node: nodes.Node, scope: set[str]) -> None:
        self.size += 1
        if self.size > MAX_NODES:
            raise TemplateSyntaxError("the template is too large", node.lineno)
        visitor = getattr(self, f"_{type(node).__name__}", None)
        if visitor is not None:
            visitor(node, scope)
        else:
            self._children(node, scope)

    def _children(self, node: nodes.Node, scope: set[str]) -> None:
        for child in node.iter_child_nodes():
            self.visit(child, scope)

    def _maybe(self, node: nodes.Node | None, scope: set[str]) -> None:
        if node is not None:
            self.visit(node, scope)

    def _Name(self, node: nodes.Name, scope: set[str]) -> None:  # noqa: N802 - named after the node
        if node.ctx != "load":
            scope.add(node.name)
        elif node.name not in scope:
            self.names.append(Name(node.name, node.lineno))

    def _NSRef(self, node: nodes.NSRef, scope: set[str]) -> None:  # noqa: N802
        if node.name not in scope:
            self.names.append(Name(node.name, node.lineno))

    def _Getattr(self, node: nodes.Getattr, scope: set[str]) -> None:  # noqa: N802
        self._attribute(node.node, node.attr, node.lineno + 1, scope)

    def _Getitem(self, node: nodes.Getitem, scope: set[str]) -> None:  # noqa: N802
        key = node.arg.value if isinstance(node.arg, nodes.Const) else None
        self._attribute(node.node, key, node.arg.lineno + 1, scope)
        self.visit(node.arg, scope)

    def _attribute(self, node: nodes.Expr, attribute: Any, offset: int, scope: set[str]) -> None:
        known = isinstance(attribute, str) and not hasattr(dict, attribute)
        if isinstance(node, nodes.Name) and node.name in _MAPPINGS and node.name not in scope and known:
            place = self.source.find(attribute, offset)
            self.names.append(Name(node.name, node.lineno, attribute, place if place >= 0 else offset))
        else:
            self.visit(node, scope)

    def _For(self, node: nodes.For, scope: set[str]) -> None:  # noqa: N802
        self.visit(node.iter, scope)
        inner = scope | {"loop"}
        self.visit(node.target, inner)
        self._maybe(node.test, inner)
        self.block(node.body, inner)
        self.block(node.else_, set(scope))

    def _Assign(self, node: nodes.Assign, scope: set[str]) -> None:  # noqa: N802
        self.visit(node.node, scope)
        self.visit(node.target, scope)

    def _AssignBlock(self, node: nodes.AssignBlock, scope: set[str]) -> None:  # noqa: N802
        self.block(node.body, set(scope))
        self._maybe(node.filter, scope)
        self.visit(node.target, scope)

    def _With(self, node: nodes.With, scope: set[str]) -> None:  # noqa: N802
        inner = set(scope)
        for value in node.values:
            self.visit(value, scope)
        for target in node.targets:
            self.visit(target, inner)
        self.block(node.body, inner)

    def _Macro(self, node: nodes.Macro, scope: set[str]) -> None:  # noqa: N802
        scope.add(node.name)
        self._function(node, scope)

    def _CallBlock(self, node: nodes.CallBlock, scope: set[str]) -> None:  # noqa: N802
        self.visit(node.call, scope)
        self._function(node, scope)

    def _function(self, node: nodes.Macro | nodes.CallBlock, scope: set[str]) -> None:
        inner = scope | {"varargs", "kwargs", "caller"} | {argument.name for argument in node.args}
        for default in node.defaults:
            self.visit(default, inner)
        self.block(node.body, inner)

    def _Block(self, node: nodes.Block, scope: set[str]) -> None:  # noqa: N802
        self.block(node.body, set(scope))

    def _FilterBlock(self, node: nodes.FilterBlock, scope: set[str]) -> None:  # noqa: N802
        self._maybe(node.filter, scope)
        self.block(node.body, set(scope))

    def _Import(self, node: nodes.Import, scope: set[str]) -> None:  # noqa: N802
        self._included(node.template, scope, with_context=node.with_context, row=False)
        scope.add(node.target)

    def _FromImport(self, node: nodes.FromImport, scope: set[str]) -> None:  # noqa: N802
        self._included(node.template, scope, with_context=node.with_context, row=False)
        scope.update(name if isinstance(name, str) else name[1] for name in node.names)

    def _Include(self, node: nodes.Include, scope: set[str]) -> None:  # noqa: N802
        self._included(
            node.template, scope, with_context=node.with_context, row=True, optional=bool(node.ignore_missing)
        )

    def _Extends(self, node: nodes.Extends, scope: set[str]) -> None:  # noqa: N802, ARG002
        self.faults.append(
            Fault("`extends` is not supported", node.lineno, len("extends"), "use `{% include %}` instead")
        )

    def _included(
        self, node: nodes.Expr, scope: set[str], *, with_context: bool, row: bool, optional: bool = False
    ) -> None:
        seen = frozenset(scope) if row and with_context else frozenset() if with_context else None
        many = isinstance(node, nodes.List | nodes.Tuple)
        for choice in node.items if isinstance(node, nodes.List | nodes.Tuple) else [node]:
            path = choice.value if isinstance(choice, nodes.Const) and isinstance(choice.value, str) else None
            self.includes.append(Include(path, choice.lineno, seen, optional or many))
            if path is None:
                self.visit(choice, scope)

    def _Filter(self, node: nodes.Filter, scope: set[str]) -> None:  # noqa: N802
        known = (_environment().filters.keys() | FILTERS) - FILTERS_LEFT_OUT
        if node.name not in known:
            self._unknown("filter", node.name, node.lineno, known)
        self._children(node, scope)

    def _Test(self, node: nodes.Test, scope: set[str]) -> None:  # noqa: N802
        known = _environment().tests
        if node.name not in known:
            place = self.source.find(node.name.split(".")[0], node.lineno + len("is"))
            self._unknown("test", node.name, max(place, node.lineno), known.keys())
        self._children(node, scope)

    def _unknown(self, what: str, name: str, offset: int, known: Any) -> None:
        close = nearest(name, known)
        hint = f"did you mean `{close}`?" if close else None
        self.faults.append(Fault(f"unknown {what} `{name}`", offset, len(name), hint))

    def _Pow(self, node: nodes.Pow, scope: set[str]) -> None:  # noqa: N802
        exponent = _number(node.right)
        if isinstance(node.right, nodes.Pow) or (exponent is not None and abs(exponent) > MAX_EXPONENT):
            self.faults.append(Fault(f"an exponent can't exceed {MAX_EXPONENT}", node.lineno, 2))
        self._children(node, scope)

    def _Mul(self, node: nodes.Mul, scope: set[str]) -> None:  # noqa: N802
        for one, other in ((node.left, node.right), (node.right, node.left)):
            times = _number(other)
            if _is_sequence(one) and times is not None and times > MAX_REPEAT:
                self.faults.append(Fault(f"a repeat count can't exceed {MAX_REPEAT:,}", node.lineno))
        self._children(node, scope)


def _is_sequence(node: nodes.Node) -> bool:
    return isinstance(node, nodes.List | nodes.Tuple) or (isinstance(node, nodes.Const) and isinstance(node.value, str))


def _number(node: nodes.Node) -> float | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, int | float) else None

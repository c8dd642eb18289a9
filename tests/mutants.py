"""Plant a fault in distask: a mutant, which the tests of what it breaks must find.

A fault is a place and a change. The place is the qualified name of a function, method, class or module constant, in whichever
module it is, so that moving, merging or formatting code breaks no mutant. The change is one of the syntax tree below. A place
that is missing or no longer unique is an error that says so.
"""

from __future__ import annotations

import ast
import importlib
import shutil
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
EVERYWHERE = "*"
"""The place of a change to make wherever it can be made."""


class PlaceError(LookupError):
    """What a mutant changes is not in the source, or there more than once. No AssertionError, which would be a mutant found."""


@dataclass
class Spot:
    """A node of a syntax tree, and where it is in its parent."""

    parent: ast.AST
    field: str
    index: int | None

    @property
    def node(self) -> ast.AST:
        """The node that is there now."""
        held = getattr(self.parent, self.field)
        return held if self.index is None else held[self.index]

    def put(self, node: ast.AST) -> None:
        """Replace the node."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class Change:
    """What to do to each node that `finds` returns for a definition; there must be one of them."""

    what: str
    """What is looked for, for the error."""
    finds: Callable[[ast.AST], list[Spot]]
    makes: Callable[[ast.AST], ast.AST]


Fault = tuple[str, Change]
"""Where, and what."""


# Changes


def drop_call(call: str) -> Change:
    """Drop the statement that only calls this; `call` is the end of the dotted name, as in `put` or `_store.put`."""

    def is_it(node: ast.AST) -> bool:
        value = node.value if isinstance(node, ast.Expr) else None
        value = value.value if isinstance(value, ast.Await) else value
        return isinstance(value, ast.Call) and _ends_with(value.func, call)

    return Change(f"a statement that calls {call}", lambda tree: _spots(tree, is_it), lambda _: ast.Pass())


def drop_assignment(target: str) -> Change:
    """Drop the assignment to this; `target` is the end of the dotted name."""

    def is_it(node: ast.AST) -> bool:
        return any(_ends_with(assigned, target) for assigned in _targets(node))

    return Change(f"an assignment to {target}", lambda tree: _spots(tree, is_it), lambda _: ast.Pass())


def drop_element(value: object) -> Change:
    """Drop a constant from the list, tuple or set that holds it."""

    def is_it(node: ast.AST) -> bool:
        return isinstance(node, ast.List | ast.Tuple | ast.Set) and any(_is_constant(e, value) for e in node.elts)

    def without(node: ast.AST) -> ast.AST:
        return type(node)(elts=[e for e in node.elts if not _is_constant(e, value)], ctx=ast.Load())

    return Change(f"a list with {value!r}", lambda tree: _spots(tree, is_it), without)


def drop_argument(call: str, keyword: str) -> Change:
    """Drop a keyword argument of a call."""

    def without(node: ast.AST) -> ast.AST:
        return ast.Call(node.func, node.args, [k for k in node.keywords if k.arg != keyword])

    def is_it(node: ast.AST) -> bool:
        return _calls(node, call) and any(k.arg == keyword for k in node.keywords)

    return Change(f"a call of {call} with {keyword}=", lambda tree: _spots(tree, is_it), without)


def set_argument(call: str, parameter: str, value: str, among: object = None) -> Change:
    """Pass `value`, an expression, as a parameter of a call. With `among`, only the call with this constant counts."""

    def is_it(node: ast.AST) -> bool:
        return _calls(node, call) and (among is None or any(_is_constant(a, among) for a in node.args))

    def changed(node: ast.AST) -> ast.AST:
        position = _parameters(call).index(parameter)
        if position < len(node.args):
            node.args[position] = _expression(value)
        else:
            rest = [k for k in node.keywords if k.arg != parameter]
            node.keywords = [*rest, ast.keyword(parameter, _expression(value))]
        return node

    of = "" if among is None else f" with {among!r}"
    return Change(f"a call of {call}{of}", lambda tree: _spots(tree, is_it), changed)


def replace_call(call: str, value: str) -> Change:
    """Use `value`, an expression, instead of what a call returns."""
    return Change(
        f"a call of {call}", lambda tree: _spots(tree, lambda n: _calls(n, call)), lambda _: _expression(value)
    )


def rename_call(method: str, other: str) -> Change:
    """Call another method of the same object."""

    def renamed(node: ast.AST) -> ast.AST:
        node.func.attr = other
        return node

    return Change(f"a call of {method}", lambda tree: _spots(tree, lambda n: _calls(n, method)), renamed)


def set_condition(mentions: str, value: bool) -> Change:
    """Make the condition of an `if`, `while` or conditional expression true or false: the one that mentions this name or text."""

    def finds(tree: ast.AST) -> list[Spot]:
        tests = [
            n for n in ast.walk(tree) if isinstance(n, ast.If | ast.While | ast.IfExp) and _mentions(n.test, mentions)
        ]
        return [Spot(node, "test", None) for node in tests]

    return Change(f"a condition that mentions {mentions}", finds, lambda _: ast.Constant(value))


def set_operand(mentions: str, value: bool) -> Change:
    """Make one operand of an `and` or `or` true or false: the one that mentions this name or text."""

    def finds(tree: ast.AST) -> list[Spot]:
        return [
            Spot(node, "values", index)
            for node in ast.walk(tree)
            if isinstance(node, ast.BoolOp)
            for index, operand in enumerate(node.values)
            if not isinstance(operand, ast.BoolOp) and _mentions(operand, mentions)
        ]

    return Change(f"an operand that mentions {mentions}", finds, lambda _: ast.Constant(value))


def set_branch(mentions: str, statement: str) -> Change:
    """Do only this where the condition of an `if` is true: the one whose condition mentions this name or text."""

    def is_it(node: ast.AST) -> bool:
        return isinstance(node, ast.If) and _mentions(node.test, mentions)

    def changed(node: ast.AST) -> ast.AST:
        node.body = ast.parse(f"def f():\n {statement}").body[0].body
        return node

    return Change(f"an `if` that mentions {mentions}", lambda tree: _spots(tree, is_it), changed)


def set_value(value: str, name: str | None = None) -> Change:
    """Assign `value`, an expression, instead: to the constant that is the place, or to the local variable `name` in it."""

    def is_it(node: ast.AST) -> bool:
        return isinstance(node, ast.Assign | ast.AnnAssign) and (
            name is None or any(_ends_with(target, name) for target in _targets(node))
        )

    def changed(node: ast.AST) -> ast.AST:
        node.value = _expression(value)
        return node

    return Change(f"an assignment to {name or 'it'}", lambda tree: _spots(tree, is_it, outermost=True), changed)


def set_result(value: str) -> Change:
    """Return `value` from the function instead of what it does; an expression of its positional arguments, `args`."""

    def changed(node: ast.AST) -> ast.AST:
        return _function(node.name, value)

    return Change(
        "a function", lambda tree: _spots(tree, lambda n: isinstance(n, ast.FunctionDef), outermost=True), changed
    )


def add_method(name: str, value: str) -> Change:
    """Give the class a method that returns `value`, instead of its own or an inherited one."""

    def changed(node: ast.AST) -> ast.AST:
        node.body.append(_function(name, value))
        return node

    return Change("a class", lambda tree: _spots(tree, lambda n: isinstance(n, ast.ClassDef), outermost=True), changed)


# Mutants


def program(folder: Path, *faults: Fault) -> Path:
    """A copy of the package with the faults, to import instead of the real one; the folder that holds it."""
    shutil.copytree(ROOT / "distask", folder / "distask")
    for gallery in ("tasks", "configs"):
        (folder / gallery).symlink_to(ROOT / gallery)
    for where, change in faults:
        for file in _files(where, change):
            path = folder / file
            tree = ast.parse(path.read_text(encoding="utf-8"))
            _plant(tree, where, change)
            path.write_text(ast.unparse(tree), encoding="utf-8")
    return folder


@contextmanager
def planted(where: str, *changes: Change) -> Iterator[None]:
    """Make the changes to a function or method of this process; at the end, it is as before."""
    file = file_of(where)
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for change in changes:
        _plant(tree, where, change)
    function = _loaded(file, where)
    real = function.__code__
    function.__code__ = _code(compile(ast.fix_missing_locations(tree), file, "exec"), where)
    try:
        yield
    finally:
        function.__code__ = real


def file_of(where: str) -> str:
    """The file, as in `distask/store.py`, that defines this."""
    found = _index()[where]
    if not found:
        raise PlaceError(f"distask defines no {where}: was it renamed or removed?")
    if len(found) > 1:
        raise PlaceError(f"{where} is no longer unique: it is defined in {' and '.join(found)}")
    return found[0]


def _files(where: str, change: Change) -> list[str]:
    if where != EVERYWHERE:
        return [file_of(where)]
    found = [file for file in _sources() if change.finds(ast.parse((ROOT / file).read_text(encoding="utf-8")))]
    if not found:
        raise PlaceError(f"nothing in distask is {change.what}")
    return found


def _plant(tree: ast.Module, where: str, change: Change) -> None:
    if where == EVERYWHERE:
        for spot in change.finds(tree):
            spot.put(change.makes(spot.node))
        return
    definition = _definition(tree, where)
    found = change.finds(ast.Module([definition.node], []))
    if len(found) != 1:
        lines = "".join(f"\n  line {getattr(spot.node, 'lineno', '?')}: {ast.unparse(spot.node)}" for spot in found)
        raise PlaceError(f"{where} has {len(found)} places with {change.what}, not one{lines}")
    spot = found[0]
    new = change.makes(spot.node)
    if isinstance(spot.parent, ast.Module):  # the definition itself
        spot = definition
    spot.put(new)


@cache
def _sources() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / "distask").rglob("*.py"))]


@cache
def _index() -> dict[str, list[str]]:
    """Qualified name to the file of each of its definitions."""
    found = defaultdict(list)
    for file in _sources():
        for name, _ in _definitions(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            found[name].append(file)
    return found


def _definitions(owner: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Spot]]:
    """Qualified name, and where it is, of the functions, classes, methods and constants of a module.

    Methods of a protocol are left out: they do nothing.
    """
    for index, node in enumerate(owner.body):
        spot = Spot(owner, "body", index)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + node.name, spot
        for target in _targets(node):
            if isinstance(target, ast.Name):
                yield prefix + target.id, spot
        if isinstance(node, ast.ClassDef) and not any(_ends_with(base, "Protocol") for base in node.bases):
            yield from _definitions(node, f"{prefix}{node.name}.")


def _definition(tree: ast.Module, where: str) -> Spot:
    return next(spot for name, spot in _definitions(tree) if name == where)


def _loaded(file: str, where: str) -> Callable[..., object]:
    found = importlib.import_module(".".join(Path(file).with_suffix("").parts).removesuffix(".__init__"))
    for name in where.split("."):
        found = getattr(found, name)
    return found


def _code(code: object, where: str) -> object:
    """The code of a function, in that of its module."""
    for constant in code.co_consts:
        if hasattr(constant, "co_qualname"):
            if constant.co_qualname == where:
                return constant
            if where.startswith(f"{constant.co_qualname}."):
                return _code(constant, where)
    raise PlaceError(f"{where} is not a function")


def _spots(tree: ast.AST, is_it: Callable[[ast.AST], bool], *, outermost: bool = False) -> list[Spot]:
    """The nodes below `tree` that match; with `outermost`, nothing is looked for inside of them."""
    found = []
    for field, held in ast.iter_fields(tree):
        for index, node in enumerate(held) if isinstance(held, list) else [(None, held)]:
            if not isinstance(node, ast.AST):
                continue
            if is_it(node):
                found.append(Spot(tree, field, index))
                if outermost:
                    continue
            found += _spots(node, is_it, outermost=outermost)
    return found


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def _ends_with(node: ast.AST, name: str) -> bool:
    """Whether a dotted name is this one, or ends with it."""
    return f".{ast.unparse(node)}".endswith(f".{name}")


def _calls(node: ast.AST, call: str) -> bool:
    return isinstance(node, ast.Call) and _ends_with(node.func, call)


def _is_constant(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def _mentions(tree: ast.AST, word: str) -> bool:
    return any(
        word in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "value", None))
        for node in ast.walk(tree)
    )


def _parameters(call: str) -> list[str]:
    """The positional parameters of a function of distask, or the fields of a class."""
    file = file_of(call)
    node = _definition(ast.parse((ROOT / file).read_text(encoding="utf-8")), call).node
    if isinstance(node, ast.ClassDef):
        return [field.target.id for field in node.body if isinstance(field, ast.AnnAssign)]
    return [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]


def _expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def _function(name: str, value: str) -> ast.FunctionDef:
    return ast.parse(f"def {name}(*args, **kwargs):\n return {value}").body[0]

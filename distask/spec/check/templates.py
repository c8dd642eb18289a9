"""Check a spec's templates and expressions: syntax, names, and included files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.diagnostics import Diagnostic, did_you_mean, nearest
from distask.spec.check.expressions import GLOBALS, Include, Name, Syntax, read_expression, read_template

if TYPE_CHECKING:
    from pathlib import Path

    from distask.spec.document import Document
    from distask.spec.language.columns import Output
    from distask.spec.language.model import Spec

Place = tuple[Any, ...]
At = Callable[[int, int, str, str | None], Diagnostic]
"""Creates a diagnostic from an offset in a template, a length, a message and a hint."""

OWN_COLUMNS = ("model_name", "distask_metadata")
"""Columns that every run adds."""

MAX_INCLUDED = 1 << 20
"""Maximum size of an included file, in bytes."""

MAX_TEMPLATES = 1 << 20
"""Maximum total length of a spec's templates and expressions; a file counts each time it is included."""

MAX_TOLD = 100
"""Maximum number of reported errors."""

MAPPINGS = frozenset({"params", "vars", "draw", "row"})
"""Names of mappings."""


class Scope(Struct, frozen=True):
    """The names that a template can read."""

    known: frozenset[str]
    what: str
    """Description of the names, for messages."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Names that exist but are not available here, and why."""
    open: bool = False
    """Whether there may be more names, because their definitions are invalid."""

    def plus(self, *names: str) -> Scope:
        """Return a copy with more names."""
        return replace(self, known=self.known | set(names))


class TemplateChecker:
    """Checks one spec and collects the errors in `found`.

    `aside` lists the places with replaced invalid values; errors that depend on them are not reported.
    """

    def __init__(
        self,
        spec: Spec,
        outputs: Mapping[str, Output],
        document: Document,
        folder: Path,
        aside: tuple[Place, ...],
    ) -> None:
        self._declared = spec
        self._outputs = outputs
        self.document = document
        self.folder = folder
        self.aside = aside
        self.found: list[Diagnostic] = []
        self._included: dict[str, str | None] = {}
        self._templates = 0
        self._visiting: tuple[str, ...] = ()
        self._names_known = not any(
            path[:1] in [(k,) for k in ("inputs", "params", "vars", "draw")] and (len(path) == 1 or self._is_key(path))
            for path in aside
        )
        self._outputs_known = ("outputs",) not in aside
        self._fixed = Scope(
            frozenset({*spec.params, *spec.vars, "params", "vars"}),
            "a param or a var",
            dict.fromkeys(spec.inputs, "it is an input; this is evaluated before rows are read")
            | dict.fromkeys(spec.draw, "it is drawn for each row; this is evaluated before rows are read")
            | dict.fromkeys(outputs, "it is an output; only `checks` and computed `columns` can read it"),
        )

    def _report(
        self,
        path: Place,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
        offset: int | None = None,
        length: int | None = None,
    ) -> None:
        if not self._is_aside(path):
            self.found.append(self.document.diagnostic(path, message, hint, key=key, offset=offset, length=length))

    def _is_aside(self, path: Place) -> bool:
        """Return whether the place, or a value in it or around it, is invalid."""
        return any(path[: len(a)] == a or a[: len(path)] == path for a in self.aside)

    def _is_key(self, path: Place) -> bool:
        """Return whether a name itself is invalid, and not only a part of its value."""
        return len(path) == 2 and path[1] not in getattr(self._declared, path[0])

    def _expression(self, path: Place, source: str | None, seen: Scope) -> None:
        if source is not None and self._is_within(source, path):
            self._syntax(read_expression(source), seen, self._at(path), "the expression", path)

    def _template(self, path: Place, source: str, seen: Scope) -> None:
        if self._is_within(source, path):
            self._syntax(read_template(source), seen, self._at(path), "the template", path)

    def _is_within(self, source: str, path: Place) -> bool:
        """Return whether a template is within the limits; report the first one that is not."""
        before, self._templates = self._templates, self._templates + len(source)
        if before <= MAX_TEMPLATES < self._templates:
            self._report(path, f"the task's templates have more than {MAX_TEMPLATES:,} characters in total")
        return self._templates <= MAX_TEMPLATES and len(self.found) < MAX_TOLD

    def _at(self, path: Place) -> At:
        def at(offset: int, length: int, message: str, hint: str | None) -> Diagnostic:
            return self.document.diagnostic(path, message, hint, offset=offset, length=length)

        return at

    def _syntax(
        self,
        syntax: Syntax,
        seen: Scope,
        at: At,
        what: str,
        path: Place,
    ) -> None:
        if self._is_aside(path):
            return
        self.found += [at(f.offset, f.length, f.message, f.hint) for f in syntax.faults[:MAX_TOLD]]
        reported: set[str] = set()
        for name in syntax.names:
            if len(reported) >= MAX_TOLD:
                break
            if (fault := self._unknown(name, seen, what)) is not None and fault[2] not in reported:
                reported.add(fault[2])
                offset, length = fault[:2]
                self.found.append(at(offset, length, fault[2], fault[3]))
        for include in syntax.includes:
            self._include(include, seen, at, path)

    def _unknown(self, name: Name, seen: Scope, what: str) -> tuple[int, int, str, str | None] | None:
        if name.name not in seen.known and name.name not in GLOBALS:
            if not self._names_known or seen.open:
                return None
            message = f"{what} reads `{name.name}`, which is not {seen.what}"
            hint = seen.elsewhere.get(name.name) or did_you_mean(name.name, sorted(seen.known - MAPPINGS))
            return name.offset, len(name.name), message, self._hyphenated(name.name) or hint
        if name.attribute is None or name.name not in ("params", "vars", "draw") or self._is_aside((name.name,)):
            return None
        members: Mapping[str, Any] = getattr(self._declared, name.name)
        if name.attribute in members:
            return None
        message = f"{what} reads `{name.name}.{name.attribute}`, which does not exist"
        return name.attribute_offset, len(name.attribute), message, did_you_mean(name.attribute, members)

    def _hyphenated(self, name: str) -> str | None:
        """Return a hint for a column with hyphens, which Jinja reads as subtraction."""
        whole = [c for c in (*self._declared.inputs, *self._outputs) if "-" in c and name in c.split("-")]
        return f'write `row["{whole[0]}"]`: `-` subtracts' if whole else None

    def _include(
        self,
        include: Include,
        seen: Scope,
        at: At,
        path: Place,
    ) -> None:
        if include.path is None:
            return
        text = self._file(
            include.path, lambda m, h: at(include.offset, len(include.path or ""), m, h), include.optional
        )
        if text is not None:
            inner = (
                seen.plus(*include.seen) if include.seen is not None else Scope(frozenset(), "available in an import")
            )
            self._file_template(include.path, text, inner, path)

    def _file_template(self, name: str, text: str, seen: Scope, path: Place) -> None:
        if name in self._visiting or not self._is_within(text, path):
            return
        file = str(_beside(self.document.file, name))
        lines = text.split("\n")

        def at(offset: int, length: int, message: str, hint: str | None) -> Diagnostic:
            before = text[:offset]
            line = before.count("\n")
            column = offset - (before.rfind("\n") + 1)
            return Diagnostic(file, line + 1, column + 1, message, hint, lines[line], length)

        around = self._visiting
        self._visiting = (*around, name)
        self._syntax(read_template(text), seen, at, "the template", path)
        self._visiting = around

    def _file(self, name: str, report: Callable[[str, str | None], Diagnostic], optional: bool = False) -> str | None:
        """Return the text of a file in the spec's folder or below; on error, report it once and return None."""
        if name in self._included:
            return self._included[name]
        self._included[name] = None
        refused = outside(name, self.folder)
        if refused is not None:
            self.found.append(report(refused, "a spec can read only files in its folder and below"))
            return None
        path = self.folder / name
        if not path.is_file():
            if not optional:
                what = "is a folder" if path.is_dir() else "does not exist"
                self.found.append(report(f"the file `{name}` {what}", _nearest_file(path, self.folder)))
            return None
        try:
            if path.stat().st_size > MAX_INCLUDED:
                self.found.append(report(f"the file `{name}` is larger than {MAX_INCLUDED >> 20} MiB", None))
                return None
            text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        except OSError as error:
            self.found.append(report(f"the file `{name}` can't be read: {error.strerror}", None))
        except UnicodeDecodeError:
            self.found.append(report(f"the file `{name}` is not UTF-8", "save the file as UTF-8"))
        else:
            self._included[name] = text
        return self._included[name]


def outside(name: str, folder: Path) -> str | None:
    """Return why a spec can't read a file; None if it can."""
    if not name.strip() or any(c in name for c in "\0\n\r"):
        return "this is not a valid file name"
    if name.startswith(("/", "\\", "~")) or ":" in name.partition("/")[0] or ".." in re.split(r"[/\\]", name):
        return f"the file `{name}` is outside the spec's folder"
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return "this is not a valid file name"
    return None if inside else f"the file `{name}` resolves to a path outside the spec's folder"


def _beside(file: str, name: str) -> Path:
    from pathlib import Path

    return Path(file).parent / name


def _nearest_file(path: Path, folder: Path) -> str | None:
    there = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    close = nearest(path.name, there)
    return f"did you mean `{(path.parent / close).relative_to(folder)}`?" if close else None

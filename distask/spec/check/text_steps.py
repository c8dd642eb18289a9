"""Check the steps that cut, split and filter texts, and what all steps share: which columns exist at a step."""

from __future__ import annotations

import glob
import re
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from distask.diagnostics import did_you_mean
from distask.spec.check.declarations import Checker
from distask.spec.check.templates import OWN_COLUMNS, Place, outside
from distask.spec.language.steps import (
    CHUNK_COLUMNS,
    CONTAMINATION_COLUMN,
    DUPLICATE_COLUMN,
    EMBEDDING_MODEL,
    LANGUAGE_COLUMNS,
    SPLIT_COLUMN,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from distask.spec.language.steps import ChunkStep, DecontaminateStep, DedupStep, LanguageStep, SplitStep


HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""The name of a model on the Hub."""


def is_path(name: str) -> bool:
    """Return whether a name is written as a path, so that it can't be a model on the Hub."""
    return name.startswith((".", "/", "~")) or "\\" in name


def is_folder(path: Path) -> bool:
    """Return whether a path is that of a folder; False for a name that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


class Columns(Struct, frozen=True):
    """The columns available at a step."""

    made: Mapping[str, Place | None] = field(default_factory=dict)
    """Column to the step that made it; None for an input."""
    open: bool = False
    """Whether there may be more, because the spec declares no inputs or a step is invalid."""

    def plus(self, names: Iterable[str], place: Place) -> Columns:
        """Return a copy with the columns that a step makes."""
        return replace(self, made={**self.made, **dict.fromkeys(names, place)})

    def without(self, names: Iterable[str]) -> Columns:
        """Return a copy without some columns."""
        gone = set(names)
        return replace(self, made={n: place for n, place in self.made.items() if n not in gone})


class StepChecker(Checker):
    """Checks the columns that steps read and make, and each step that works on texts."""

    # what all steps share

    def _known(self, place: Place, name: str, columns: Columns, *, key: bool = False) -> None:
        if name not in columns.made and not columns.open:
            message = f"this step reads the column `{name}`, which is neither an input nor made by an earlier step"
            self._report(place, message, did_you_mean(name, columns.made), key=key)

    def _new(self, place: Place, name: str) -> None:
        if name in OWN_COLUMNS:
            self._report(place, f"`{name}` is reserved: every run adds this column", "rename it", key=True)

    def _count(self, place: Place, key: str, value: int | str | None) -> None:
        here = self.document.part(place).data
        at = (*place, key) if isinstance(here, dict) and key in here else place
        if isinstance(value, str):
            self._expression(at, value, self._fixed)
        elif value is not None and value < 0:
            self._report(at, f"expected at least 0 rows, got {value}")

    def _all_known(self, names: Sequence[str], place: Place, columns: Columns) -> None:
        written = self.document.part(place).data
        if isinstance(written, dict) and "by" in written:
            place, written = (*place, "by"), written["by"]
        for index, name in enumerate(names):
            self._known((*place, index) if isinstance(written, list) else place, name, columns)

    # one method for each kind of step

    def check_chunk(self, step: ChunkStep, place: Place, columns: Columns, _loops: int) -> Columns:
        """Check a `chunk` step and return the columns after it."""
        chunk, at = step.chunk, (*place, "chunk")
        self._known((*at, "from"), chunk.from_, columns)
        self._units(at, "size", chunk.size, 1)
        self._units(at, "overlap", chunk.overlap, 0)
        size = 1 if chunk.size is None and chunk.unit == "headings" else chunk.size
        if size is None:
            self._report(at, "a chunk needs a `size`", f"add the maximum number of {chunk.unit}: `size: 400`", key=True)
        if isinstance(size, int) and isinstance(chunk.overlap, int) and 0 < size <= chunk.overlap:
            message = f"the overlap must be less than the size, {size}; each chunk would repeat the previous one"
            self._report((*at, "overlap"), message)
        if chunk.break_at_headings and chunk.unit == "headings":
            message = "with `unit: headings`, each chunk is a section already"
            self._report((*at, "break_at_headings"), message, "remove it", key=True)
        if chunk.tokenizer is not None:
            self._tokenizer((*at, "tokenizer"), chunk.tokenizer, chunk.unit)
        self._mapped(step.output_mappings, CHUNK_COLUMNS, place, "a chunk")
        return self._plus(CHUNK_COLUMNS, step.output_mappings, place, "chunk", columns)

    def _units(self, place: Place, key: str, value: int | str | None, least: int) -> None:
        if isinstance(value, str):
            self._expression((*place, key), value, self._fixed)
        elif value is not None and value < least:
            self._report((*place, key), f"expected at least {least}, got {value}")

    def _tokenizer(self, place: Place, name: str, unit: str) -> None:
        if unit != "tokens":
            self._report(place, f"`tokenizer` does not apply to `unit: {unit}`", "set `unit: tokens`", key=True)
        elif name.endswith(".json"):
            self._file_inside(place, name)

    def _file_inside(self, place: Place, name: str) -> None:
        """Check that a file is in the spec's folder or below."""
        refused = outside(name, self.folder)
        if refused is not None:
            self._report(place, refused, "a spec can read only files in its folder and below")
        elif not (self.folder / name).is_file():
            self._report(place, f"the file `{name}` does not exist")

    def _plus(
        self, names: Sequence[str], mapped: Mapping[str, str], place: Place, key: str, columns: Columns
    ) -> Columns:
        """Add the columns of a step; a column replaces an existing one only if it is mapped."""
        for name in names:
            column = mapped.get(name, name)
            at = (*place, "output_mappings", name) if name in mapped else (*place, key)
            self._new(at, column)
            if name not in mapped and column in columns.made:
                hint = f"rename it: `output_mappings: {{{name}: new_{name}}}`; or replace it: `{{{name}: {name}}}`"
                self._report(at, f"the step makes `{column}`, which already exists", hint, key=True)
        return columns.plus([mapped.get(name, name) for name in names], place)

    def check_language(self, step: LanguageStep, place: Place, columns: Columns, _loops: int) -> Columns:
        """Check a `language` step and return the columns after it."""
        written = self.document.part((*place, "language")).data
        at = (*place, "language", "from") if isinstance(written, dict) else (*place, "language")
        self._known(at, step.language.from_, columns)
        if step.language.min_score and step.language.keep is None:
            message = "`min_score` applies only to the languages in `keep`"
            self._report((*place, "language", "min_score"), message, "add `keep: [en]`", key=True)
        for index, code in enumerate(step.language.keep or ()):
            if not re.fullmatch(r"[a-z]{2,3}", code):
                part = self.document.part((*place, "language", "keep")).data
                where = (*place, "language", "keep", index) if isinstance(part, list) else (*place, "language", "keep")
                self._report(where, f"`{code}` is not a language code", "use ISO 639 codes, such as `en` or `de`")
        self._mapped(step.output_mappings, LANGUAGE_COLUMNS, place, "a language step")
        return self._plus(LANGUAGE_COLUMNS, step.output_mappings, place, "language", columns)

    def check_decontaminate(self, step: DecontaminateStep, place: Place, columns: Columns, _loops: int) -> Columns:
        """Check a `decontaminate` step and return the columns after it."""
        wanted, at = step.decontaminate, (*place, "decontaminate")
        for key, names in (("from", wanted.from_), ("against", wanted.against)):
            is_list = isinstance(self.document.part((*at, key)).data, list)
            for index, name in enumerate(names):
                where = (*at, key, index) if is_list else (*at, key)
                if key == "from":
                    self._known(where, name, columns)
                elif not glob.has_magic(name):
                    self._file_inside(where, name)
                elif (refused := outside(name, self.folder)) is not None:
                    self._report(where, refused, "a spec can read only files in its folder and below")
                elif not any(self.folder.glob(name)):
                    self._report(where, f"no file matches `{name}`")
        self._mapped(step.output_mappings, (CONTAMINATION_COLUMN,), place, "a decontaminate step")
        return self._plus((CONTAMINATION_COLUMN,), step.output_mappings, place, "decontaminate", columns)

    def check_semantic(self, step: DedupStep, place: Place, columns: Columns) -> Columns:
        """Check the keys of a `dedup` step that belong to `method: semantic`, and return the columns after it."""
        dedup, at = step.dedup, (*place, "dedup")
        if dedup.method != "semantic":
            for key in ("model", "then"):
                if key in dedup.model_fields_set:
                    message = f"`{key}` does not apply to `method: {dedup.method}`"
                    self._report((*at, key), message, "remove it, or set `method: semantic`", key=True)
            return columns
        for name in dedup.by:
            typed = self._declared.inputs.get(name)
            kind = None if typed is None or columns.made.get(name) is not None else typed.type
            if kind in ("integer", "number", "boolean") or (kind or "").startswith("list["):
                message = f"`method: semantic` compares texts, but `{name}` is declared as `{kind}`"
                hint = "use `cosine` for embeddings" if kind == "list[number]" else "use `exact`"
                self._report((*at, "method"), message, hint)
        if dedup.model is not None and "{" not in dedup.model:
            self._embedding_model((*at, "model"), dedup.model)
        if dedup.then == "mark" and DUPLICATE_COLUMN in columns.made:
            message = f"the step makes `{DUPLICATE_COLUMN}`, which already exists"
            self._report((*at, "then"), message, f"rename it first: `- rename: {{{DUPLICATE_COLUMN}: earlier}}`")
        return columns.plus([DUPLICATE_COLUMN], place) if dedup.then == "mark" else columns

    def _embedding_model(self, place: Place, name: str) -> None:
        """Check that a model is a folder in the spec's folder or below, or can be one on the Hub."""
        if is_path(name) and outside(name, self.folder) is not None:
            hint = 'copy it there, or name it with a param: `model: "{{ model }}"` and `-p model=FOLDER`'
            self._report(place, f"the folder `{name}` is outside the spec's folder", hint)
        elif is_path(name) and not is_folder(self.folder / name):
            self._report(place, f"the folder `{name}` does not exist")
        elif not is_folder(self.folder / name) and not HUB_NAME.fullmatch(name):
            message = f"`{name}` is neither a folder nor the name of a model on the Hub"
            self._report(place, message, f"the Hub has names such as `{EMBEDDING_MODEL}`")

    def check_split(self, step: SplitStep, place: Place, columns: Columns, _loops: int) -> Columns:
        """Check a `split` step and return the columns after it."""
        at = (*place, "split")
        self._all_known(step.split.by or (), at, columns)
        for name, share in step.split.into.items():
            if not 0 < share < float("inf"):
                self._report((*at, "into", name), f"a share must be more than 0, got {share:g}")
        self._mapped(step.output_mappings, (SPLIT_COLUMN,), place, "a split")
        return self._plus((SPLIT_COLUMN,), step.output_mappings, place, "split", columns)

    def _mapped(self, mapped: Mapping[str, str], known: Sequence[str], place: Place, what: str) -> None:
        for name in mapped:
            if name not in known:
                message = f"{what} has no column `{name}`"
                self._report((*place, "output_mappings", name), message, did_you_mean(name, known), key=True)

"""A spec that is valid, with the file it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from pathlib import Path

    from distask.spec.check.faults import Place
    from distask.spec.document import Document
    from distask.spec.language.model import TaskSpec
    from distask.spec.language.steps import PipelineSpec


class LoadedSpec(Struct, frozen=True):
    """A spec of one call that is right, with the file it came from."""

    spec: TaskSpec
    path: Path
    document: Document


class LoadedPipeline(Struct, frozen=True):
    """A spec of steps that is right, with the file it came from, and the tasks of its steps."""

    spec: PipelineSpec
    path: Path
    document: Document
    tasks: dict[Place, Loaded] = field(default_factory=dict)
    """The place of a step to the task that it asks."""


Loaded = LoadedSpec | LoadedPipeline

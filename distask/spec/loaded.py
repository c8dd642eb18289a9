"""Valid specs, with the files they come from."""

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
    """A valid single-call spec, with its file."""

    spec: TaskSpec
    path: Path
    document: Document


class LoadedPipeline(Struct, frozen=True):
    """A valid spec with steps, with its file and the tasks of its steps."""

    spec: PipelineSpec
    path: Path
    document: Document
    tasks: dict[Place, Loaded] = field(default_factory=dict)
    """Position of a step to its task."""


Loaded = LoadedSpec | LoadedPipeline

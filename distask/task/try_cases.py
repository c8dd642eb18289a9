"""Run the test cases of a spec, of one call or of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.spec.loaded import LoadedPipeline
from distask.task.cases import Outcome, case_name, runs_code, try_task_cases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.diagnostics import Diagnostic
    from distask.spec.language.model import Case
    from distask.spec.language.steps import PipelineCase
    from distask.spec.loaded import Loaded


def run_cases(loaded: Loaded, *, allow_code: bool = False) -> list[Diagnostic]:
    """A diagnostic for each failed case; none if the spec runs code without permission."""
    return [o.fault for o in try_cases(loaded, allow_code=allow_code) if o.fault is not None]


def try_cases(loaded: Loaded, *, allow_code: bool = False) -> Iterator[Outcome]:
    """Run each case and compare the result with what it expects, in the order of the file."""
    if runs_code(loaded) and not allow_code:
        reason = "the spec runs Python code: review it, then pass --allow-code"
        cases: Sequence[Case | PipelineCase] = loaded.spec.cases
        yield from (Outcome(case_name(c, i), i, skipped=reason) for i, c in enumerate(cases))
        return
    if isinstance(loaded, LoadedPipeline):
        from distask.task.steps.cases import try_pipeline_cases

        yield from try_pipeline_cases(loaded, allow_code=allow_code)
    else:
        yield from try_task_cases(loaded, allow_code=allow_code)

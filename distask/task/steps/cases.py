"""Run the test cases of a spec with steps: rows and replies must give the expected columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.diagnostics import did_you_mean
from distask.errors import RowError, UsageError
from distask.task.cases import (
    COMPLETION_KEYS,
    Broken,
    Outcome,
    case_name,
    completion_of,
    outcome,
    same_columns,
)
from distask.task.pipeline import Pipeline
from distask.task.steps.rehearsal import rehearse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distask.llm.request import Completion
    from distask.spec.language.steps import PipelineCase
    from distask.spec.loaded import LoadedPipeline
    from distask.task.steps.flow import Ask
    from distask.task.templates.compiler import Compiler


def try_pipeline_cases(loaded: LoadedPipeline, *, allow_code: bool) -> Iterator[Outcome]:
    """Run the rows of each case through the steps, in the order of the file."""
    compilers: dict[int, Compiler] = {}
    for index, case in enumerate(loaded.spec.cases):
        try:
            _run(loaded, case, compilers, allow_code=allow_code)
        except Broken as broken:
            yield outcome(loaded, index, broken)
        else:
            yield Outcome(case_name(case, index), index)


def _run(loaded: LoadedPipeline, case: PipelineCase, compilers: dict[int, Compiler], *, allow_code: bool) -> None:
    try:
        pipeline = Pipeline(loaded, case.params, allow_code=allow_code, seed=case.seed, compilers=compilers)
    except UsageError as error:
        raise Broken(("params",) if case.params else (), str(error)) from None
    replies = _Replies(case.replies, [count.name for count in pipeline.counts])
    rows = case.input if isinstance(case.input, list) else [case.input]
    errors: list[tuple[str, RowError]] = []
    try:
        items = rehearse(pipeline, rows, replies, lambda step, error: errors.append((step, error)))
    except UsageError as error:  # a local model can't be loaded
        raise Broken((), str(error)) from None
    replies.refuse_what_is_left()
    if case.error is not None:
        _expect_error(case.error, errors)
    elif errors:
        step, first = errors[0]
        raise Broken(
            ("replies",),
            f"step {step}: {first.message}",
            "if this error is expected, add `error: part of the message` to the case",
        )
    if case.expect is not None:
        _compare(case.expect, [item.values for item in items])


def _expect_error(words: str, errors: Sequence[tuple[str, RowError]]) -> None:
    if not errors:
        raise Broken(("error",), f'expected an error with "{words}", and no step failed')
    if not any(words.lower() in f"{step}: {error.kind}: {error.message}".lower() for step, error in errors):
        raise Broken(("error",), f'expected an error with "{words}", got "{errors[0][1].message}"')


def _compare(expect: dict[str, Any] | list[dict[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(expect, list):
        if len(expect) != len(rows):
            raise Broken(("expect",), f"expected {len(expect)} rows, got {len(rows)}")
        for number, (wanted, row) in enumerate(zip(expect, rows, strict=True)):
            same_columns(wanted, row, ("expect", number))
        return
    if len(rows) != 1:
        message = f"expected one row, got {len(rows)}"
        raise Broken(("expect",), message, "if a case gives several rows, or none, `expect` must be a list")
    assert isinstance(expect, dict)
    same_columns(expect, rows[0], ("expect",))


class _Replies:
    """The replies of a case, returned in the order of the requests."""

    def __init__(self, written: Any, steps: Sequence[str]) -> None:
        self._same: Completion | None = None
        self._queue: list[Any] | None = None
        self._by_step: dict[str, list[Any]] = {}
        self._ever: dict[str, Any] = {}
        if isinstance(written, list):
            self._queue = list(written)
        elif _is_one(written):
            self._same = completion_of(written, ("replies",))
        else:
            for name, value in written.items():
                if name not in steps:
                    raise Broken(("replies", name), f"there is no step `{name}`", did_you_mean(name, steps))
                if isinstance(value, list):
                    self._by_step[name] = list(value)
                else:
                    self._ever[name] = value

    def __call__(self, ask: Ask) -> list[Completion]:
        return [self._next(ask.step) for _ in range(ask.num_generations)]

    def _next(self, step: str) -> Completion:
        if self._same is not None:
            return self._same
        if step in self._ever:
            return completion_of(self._ever[step], ("replies", step))
        queue = self._by_step.get(step) if self._queue is None else self._queue
        if queue is None:
            raise Broken(("replies",), f"the case has no reply for step {step}")
        if not queue:
            raise Broken(("replies",), f"the case has too few replies: step {step} requests one more")
        return completion_of(queue.pop(0), ("replies",))

    def refuse_what_is_left(self) -> None:
        """Raise `Broken` if a reply in a list was not used."""
        left = len(self._queue or [])
        if left:
            raise Broken(("replies",), f"the case has unused replies ({left}); remove them")
        for name, queue in self._by_step.items():
            if queue:
                raise Broken(
                    ("replies", name), f"the case has unused replies ({len(queue)}) for step {name}; remove them"
                )


def _is_one(written: Any) -> bool:
    """Whether this is a single reply for all requests: a text, or a completion."""
    return isinstance(written, str) or (bool(written) and all(key in COMPLETION_KEYS for key in written))

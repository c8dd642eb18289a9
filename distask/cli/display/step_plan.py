"""Show the dry run of a task with steps: the first chats, the steps as a tree, and the maximum number of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.cli.display import chats
from distask.cli.display.lines import echo
from distask.cli.events.emit import Events
from distask.diagnostics import safe
from distask.formatting import amount, money, several

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distask.runner.plan.step_plan import PipelinePlan
    from distask.task.steps.flow import Count

BRANCH, LAST, THROUGH, NOTHING = "├─ ", "└─ ", "│  ", "   "


def show(made: PipelinePlan, *, whole: bool, as_json: bool) -> int:
    """Print the plan; returns the exit code.

    Args:
        made: the plan.
        whole: print long texts in full.
        as_json: print everything as JSON.
    """
    code = 3 if made.failed else 0
    if as_json:
        Events("dry-run").result(code, **_as_json(made))
        return code
    for step, chat in made.chats:
        echo((f"── {chat.place}", "bold"), (f"  step {step}", "dim"))
        chats.draw(chat.messages or [], whole=whole)
        echo()
    echo(("steps", "bold"))
    for line in tree(made):
        echo((line, ""))
    echo()
    for name, text in _figures(made):
        echo((f"{name:<9}", "dim"), (text, "red" if name == "fail" else ""))
    return code


def tree(made: PipelinePlan) -> Iterator[str]:
    """Yield a line for each step, with the steps of a loop below it."""
    counts = made.counts
    open_levels: dict[int, bool] = {}
    for number, count in enumerate(counts):
        later = [c.depth for c in counts[number + 1 :]]
        ends = next((depth for depth in later if depth <= count.depth), -1)
        open_levels[count.depth] = ends == count.depth
        before = "".join(THROUGH if open_levels.get(level) else NOTHING for level in range(count.depth))
        yield f"{before}{BRANCH if open_levels[count.depth] else LAST}{_step(made, count)}"


def _step(made: PipelinePlan, count: Count) -> str:
    name = safe(count.name)
    text = name if count.kind in ("task", name.replace("-", "_")) else f"{count.kind} {name}"
    if count.most == 0:
        return text
    most = "number of replies depends on the rows" if count.most is None else several(count.most, "reply")
    step = made.steps.get(count.name)
    model = f", {safe(step.model)}" if step is not None and step.model != made.model else ""
    return f"{text}: {most}{'' if count.most is None else ' per row at most'}{model}"


def _figures(made: PipelinePlan) -> Iterator[tuple[str, str]]:
    if made.calls_model:
        yield "model", f"{made.model} at {made.endpoint}"
    each = f", {made.num_generations} times each" if made.num_generations > 1 else ""
    yield "rows", f"{made.rows:,}{each}"
    yield from (("note", note) for note in made.notes)
    if made.failed:
        yield "fail", f"{several(made.failed, 'step')} of all rows will fail, whatever the model replies"
    for kind, count in made.failures.most_common():
        yield "fail", f"{several(count, 'step')} of the first {several(made.rehearsed, 'row')} will fail ({kind})"
    if not made.calls_model:
        yield "replies", "none: no step calls a model"
        return
    most = "depends on the rows" if made.most is None else f"{made.most:,} at most"
    yield (
        "replies",
        f"{most}; about {amount(round(made.expected))}, based on a rehearsal of {several(made.rehearsed, 'row')}",
    )
    if made.stored:
        yield "stored", f"{several(made.stored, 'reply')} at least; {several(made.done, 'row')} need no request"
    limit = made.output_tokens
    out_tokens = "no limit is set" if limit is None else f"{amount(limit)} at most"
    yield "tokens", f"about {amount(made.input_tokens)} in; out: {out_tokens}, if all rows are like the rehearsed ones"
    if (cost := made.cost()) is not None:
        yield "cost", f"{money(cost)} at most, if all rows are like the rehearsed ones"
    yield "so far", "no requests were sent"


def _as_json(made: PipelinePlan) -> dict[str, Any]:
    return {
        "model": made.model,
        "endpoint": made.endpoint,
        "rows": made.rows,
        "num_generations": made.num_generations,
        "completions": {"most": made.most, "expected": round(made.expected), "stored": made.stored},
        "rows_done": made.done,
        "rehearsed_rows": made.rehearsed,
        "tokens": {"input_estimate": made.input_tokens, "output_limit": made.output_tokens},
        "cost_usd": made.cost(),
        "steps": [
            {
                "step": count.name,
                "kind": count.kind,
                "depth": count.depth,
                "most_replies_a_row": count.most,
                "model": made.steps[count.name].model if count.name in made.steps else None,
            }
            for count in made.counts
        ],
        "failed": made.failed,
        "failures": dict(made.failures),
        "notes": made.notes,
        "chats": [
            {"step": step, "place": chat.place, "messages": chat.messages, "keywords": chat.keywords}
            for step, chat in made.chats
        ],
    }

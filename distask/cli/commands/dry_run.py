"""`distask dry-run`: show what a run would send, without sending it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distask.cli import options as o
from distask.cli.display import chats
from distask.cli.display.lines import echo
from distask.cli.events.emit import Events
from distask.cli.job import job_of
from distask.formatting import amount, money, several
from distask.llm.prices import rates
from distask.runner.plan.task_plan import Plan, plan
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distask.runner.plan.task_plan import CostEstimate

LONGEST_KEYWORD = 400
"""Maximum number of characters shown of a keyword's value (a schema, tools)."""


@o.takes(*o.INPUT, "output", *o.LLM, "batch", "offset", "shard", "sample", "on_bad_row", *o.STORE, "allow_path")
def command(
    choice: o.Choice,
    shown: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="Number of chats to show; all rows are counted. [3]")
    ] = 3,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Render every row, also of a large input, and estimate nothing from a sample."),
    ] = False,
    verbose: o.Verbose = 0,
    json_: o.Json = False,
) -> None:
    """Show the chats that a run would send, and count its requests. It calls no model and needs no key.

    Every row is scanned and counted. If there are more than 10,000 and the store is empty, only a sample is rendered,
    from which tokens and costs are estimated; the output shows the error of the estimate.

    Exits with 3 if any row fails before its request is sent, as `run` does.
    """
    raise typer.Exit(_dry_run(choice, shown, exact=exact, whole=verbose > 0, as_json=json_))


def _dry_run(choice: o.Choice, shown: int, *, exact: bool, whole: bool, as_json: bool) -> int:
    """Print the first chats and what a run would request; returns the exit code.

    Args:
        choice: the shared options.
        shown: number of chats to print.
        exact: render every row.
        whole: print long texts in full.
        as_json: print everything as JSON.
    """
    job = job_of(choice, asks=False)
    if not isinstance(job.task, Task):
        from distask.cli.display import step_plan
        from distask.runner.plan.step_plan import plan_steps

        return step_plan.show(plan_steps(job, shown), whole=whole, as_json=as_json)
    made = plan(job, shown, exact=exact)
    code = 3 if made.failures else 0
    if as_json:
        Events("dry-run").result(code, **_as_json(made))
        return code
    _print_chats(made, whole=whole)
    for name, text in _counts(made):
        echo((f"{name:<9}", "dim"), (text, "red" if name in ("fail", "too long") else ""))
    return code


def _print_chats(made: Plan, *, whole: bool) -> None:
    rendered = [chat.keywords for chat in made.chats if chat.messages is not None]
    same = all(keywords == rendered[0] for keywords in rendered)
    for chat in made.chats:
        echo((f"── {chat.place}", "bold"))
        if chat.messages is None:
            echo((f"can't be rendered: {chat.error}", "red"))
        else:
            chats.draw(chat.messages, whole=whole)
            if not same:
                _print_keywords(chat.keywords, whole=whole)
        echo()
    if rendered and same:
        _print_keywords(rendered[0], whole=whole)


def _print_keywords(keywords: dict[str, Any], *, whole: bool) -> None:
    for name, value in keywords.items():
        text = json.dumps(value, ensure_ascii=False, default=str)
        shown = text if whole else chats.folded(text, LONGEST_KEYWORD)
        echo(("with     ", "dim"), (f"{name}: {shown}", ""))


def _counts(made: Plan) -> Iterator[tuple[str, str]]:
    yield "model", f"{made.model} at {made.endpoint}"
    each = f", {made.num_generations} replies each" if made.num_generations > 1 else ""
    yield "rows", f"{made.rows:,}{each}"
    yield from (("note", note) for note in made.notes)
    for kind, count in made.failures.most_common():
        about = "about " if kind in made.estimated_failures else ""
        yield "fail", f"{about}{several(count, 'row')} can't be rendered ({kind}); the output would hold the error"
    yield "replies", f"{made.completions:,}: {made.stored:,} in the store, {made.missing:,} to request"
    yield "tokens", _tokens(made.estimate)
    if made.sampled:
        message = f"tokens are estimated from {made.sampled:,} rows drawn at random; --exact renders all {made.rows:,}"
        yield "sample", message
    yield from _costs(made.estimate)
    yield from _too_long(made.estimate)
    yield "so far", "no requests were sent; distask preview runs a few rows, distask run runs all"


def _tokens(estimate: CostEstimate) -> str:
    limit, expected = estimate.output_limit, estimate.output_expected
    parts = ["no limit is set" if limit is None else f"{amount(limit)} at most"]
    if expected is not None and estimate.missing.total():
        parts.insert(0, f"about {amount(expected)} ({estimate.basis})")
    error = "" if estimate.input_error is None else f" ± {estimate.input_error:.1%}"
    return f"about {amount(estimate.input_tokens)}{error} in; out: {', '.join(parts)}"


def _costs(estimate: CostEstimate) -> Iterator[tuple[str, str]]:
    costs, price = estimate.costs(), estimate.known.price
    if costs is None or price is None:
        return
    parts = [f"{money(costs['least'] or 0)} at least"]
    parts += [f"{money(costs['expected'])} expected"] if costs["expected"] is not None else []
    if costs["most"] is None:
        parts.append("no limit is set (--set llm.max_tokens=500 sets one)")
    else:
        again = f" if every reply is invalid and retried {several(estimate.retries, 'time')}"
        parts.append(f"{money(costs['most'])} at most{again if estimate.retries else ''}")
    yield "cost", ", ".join(parts)
    yield "price", f"{rates(price)}{' in batches' if estimate.batch else ''}, from {_who(estimate)}"


def _who(estimate: CostEstimate) -> str:
    origin = estimate.known.origin
    return "the config" if origin == "config" else f"{origin}; `price` in the config overrides it"


def _too_long(estimate: CostEstimate) -> Iterator[tuple[str, str]]:
    if estimate.too_long:
        places = "; ".join(f"{place}, about {amount(tokens)}" for place, tokens in estimate.longest)
        more = "; …" if estimate.too_long > len(estimate.longest) else ""
        takes = amount(estimate.known.context or 0)
        message = f"{several(estimate.too_long, 'chat')} longer than the model's context of {takes} tokens"
        yield "too long", f"{message}: {places}{more}"


def _as_json(made: Plan) -> dict[str, Any]:
    estimate, price = made.estimate, made.estimate.known.price
    return {
        "model": made.model,
        "endpoint": made.endpoint,
        "rows": made.rows,
        "sampled_rows": made.sampled or None,
        "num_generations": made.num_generations,
        "completions": {"needed": made.completions, "stored": made.stored, "missing": made.missing},
        "tokens": {
            "input_estimate": estimate.input_tokens,
            "input_error": estimate.input_error,
            "output_expected": estimate.output_expected,
            "output_limit": estimate.output_limit,
        },
        "cost_usd": estimate.costs(),
        "price": price and {**price.model_dump(exclude_defaults=True), "from": estimate.known.origin},
        "too_long": estimate.too_long,
        "failures": dict(made.failures),
        "notes": made.notes,
        "chats": [
            {"place": c.place, "messages": c.messages, "keywords": c.keywords, "error": c.error} for c in made.chats
        ],
    }

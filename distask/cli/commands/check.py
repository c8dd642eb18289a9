"""`distask check`: check the endpoint, the key, the model, and the features that a task needs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from distask.cli import candidates
from distask.cli import options as o
from distask.cli.display.console import out, plain
from distask.cli.events.emit import Events
from distask.cli.job import pairs
from distask.formatting import amount
from distask.llm.adaptation import SYSTEM_ROLES
from distask.llm.config.resolve import load_config
from distask.llm.prices import known_of, rates
from distask.llm.providers.probe import COMMON, Finding, local_servers, probe
from distask.spec.language.model import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.llm.config.resolve import Resolved
    from distask.spec.load import Loaded

MARKS = {"ok": ("yes", "green"), "no": ("no", "bold red"), "warning": ("warn", "yellow"), "skipped": ("-", "dim")}
VITAL = frozenset({"endpoint", "key", "model", "request"})
"""Nothing runs without these; other features matter only to tasks that need them."""


@o.takes(*o.LLM, "num_generations")
def command(
    choice: o.Choice,
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPEC]",
            help="Check only the features that this task needs.",
            autocompletion=candidates.tasks,
        ),
    ] = None,
    verbose: o.Verbose = 0,  # noqa: ARG001 - its callback starts the log
    json_: o.Json = False,
) -> None:
    """Check the endpoint with one small request per feature, and show a fix for each failure.

    If no endpoint is configured, servers on this machine are checked too. Exits with 1 if anything that the task needs
    is missing; a rate limit is only a warning.
    """
    loaded = None
    if spec is not None:
        from distask.spec.load import load_spec

        loaded = load_spec(spec)
    found = _servers(choice.config, choice.model, choice.base_url)
    llm = load_config(
        choice.config,
        model=choice.model,
        base_url=choice.base_url,
        overrides=pairs(choice.set_ or [], "--set"),
        spec_llm=None if loaded is None else loaded.spec.llm,
        environ=os.environ,
    )
    wanted = COMMON if loaded is None else features(loaded, choice.num_generations)
    findings = [*found, *_findings(llm, wanted, system=loaded is None or _has_system(loaded))]
    needed = VITAL if loaded is None else VITAL | set(wanted)
    missing = [f for f in findings if f.state == "no" and f.name in needed]
    if json_:
        Events("check").result(1 if missing else 0, **_as_json(llm, findings, ok=not missing))
    else:
        _draw(llm, findings)
    raise typer.Exit(1 if missing else 0)


def _servers(*chosen: str | None) -> list[Finding]:
    """The servers on this machine, if no endpoint is configured."""
    if any(chosen) or os.environ.get("OPENAI_API_KEY", "").strip() or os.environ.get("OPENAI_BASE_URL"):
        return []
    return [
        Finding("local", "ok", f"{server.name} at {server.base_url} has {', '.join(server.models[:5])}")
        for server in local_servers()
    ]


def features(loaded: Loaded, num_generations: int | None = None) -> list[str]:
    """Features that a task, or any task in its steps, needs."""
    if isinstance(loaded.spec, TaskSpec):
        return needs(loaded.spec, num_generations)
    return list(dict.fromkeys(f for task in getattr(loaded, "tasks", {}).values() for f in features(task)))


def needs(spec: TaskSpec, num_generations: int | None = None) -> list[str]:
    """Features that a task needs from its server in addition to chats."""
    parts = [p for m in spec.format_input if isinstance(m.content, list) for p in m.content]
    parsers = {parser.parser for parser in spec.format_output}
    asked = {
        "n": (num_generations or spec.num_generations) > 1,
        "json_schema": spec.structured_output is True or getattr(spec.structured_output, "schema_", None) is not None,
        "logprobs": "logprobs" in parsers or bool(spec.llm and spec.llm.logprobs),
        "completions": bool(spec.completion),
        "images": any(part.image is not None for part in parts),
        "tools": spec.tools is not None,
        "embeddings": spec.returns == "embedding",
    }
    return [name for name, needed in asked.items() if needed]


def _has_system(loaded: Loaded) -> bool:
    """Whether a task, or any task in its steps, sends a system message."""
    if isinstance(loaded.spec, TaskSpec):
        return any(message.role in SYSTEM_ROLES for message in loaded.spec.format_input)
    return any(_has_system(task) for task in getattr(loaded, "tasks", {}).values())


def _findings(llm: Resolved, wanted: Sequence[str], *, system: bool) -> list[Finding]:
    if llm.config.provider == "offline":
        return [Finding("endpoint", "ok", "offline: no model is called, replies are simulated from the task")]
    findings = probe(llm, wanted, system=system)
    if findings[-1].state == "no" and findings[-1].name in VITAL:
        return findings
    known = known_of(llm)
    if known.price is not None:
        findings.append(Finding("price", "ok", f"{rates(known.price)}, from {known.origin}"))
    elif llm.config.provider != "llamacpp":
        message = "no price is known for this model"
        findings.append(Finding("price", "skipped", message, "to see costs, set `price` in the config"))
    if known.context is not None:
        findings.append(Finding("context", "ok", f"{amount(known.context)} tokens for a chat and its reply"))
    return findings


def _draw(llm: Resolved, findings: Sequence[Finding]) -> None:
    console = out()
    for finding in findings:
        mark, style = MARKS[finding.state]
        text = plain(finding.message, "" if finding.state in ("ok", "skipped") else style)
        console.print(Text.assemble((f"{finding.name:<12}", "dim"), (f"{mark:<5}", style), text))
        if finding.hint:
            console.print(plain(f"{'':17}{finding.hint}"))
    if llm.origins.get("base_url", "").startswith("a local server"):
        console.print(plain(f"a run without --config uses {llm.origins['base_url']}", "dim"))


def _as_json(llm: Resolved, findings: Sequence[Finding], *, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok,
        "endpoint": llm.endpoint(),
        "model": llm.config.model,
        "checks": [{"name": f.name, "state": f.state, "message": f.message, "mend": f.hint} for f in findings],
    }

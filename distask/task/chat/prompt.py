"""Make a prompt of a chat, for what is no chat: raw completions, embeddings, images.

A raw completion goes on from the text that a model family reads, with a turn left open.

Magpie (arXiv:2406.08464) leaves the user's turn open, so that a chat model writes what a user would say. The mark of
a text's beginning is not written: servers put it before a prompt themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.diagnostics import did_you_mean
from distask.errors import RowError, UsageError
from distask.spec.language.model import RawCompletion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.llm.request import Route
    from distask.spec.language.model import TaskSpec

GO_ON = {"continue_final_message": True, "add_generation_prompt": False}
"""What lets vLLM go on from the last message; llama.cpp does so by itself."""


class Family(Struct, frozen=True):
    """How the chat models of a family see a conversation."""

    turns: Mapping[str, tuple[str, str]]
    """Role to what stands before and after its text; a role that is not there joins the user's next turn."""
    stop: tuple[str, ...]
    """Where a turn has ended."""


def _by_role(before: str, after: str, **names: str) -> dict[str, tuple[str, str]]:
    roles = {"system": "system", "user": "user", "assistant": "assistant", **names}
    return {role: (before.replace("ROLE", name), after) for role, name in roles.items() if name}


_CHATML = Family(_by_role("<|im_start|>ROLE\n", "<|im_end|>\n"), ("<|im_end|>", "<|im_start|>", "<|endoftext|>"))

FAMILIES: dict[str, Family] = {
    "chatml": _CHATML,
    "qwen2": _CHATML,
    "llama3": Family(
        _by_role("<|start_header_id|>ROLE<|end_header_id|>\n\n", "<|eot_id|>"),
        ("<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|eom_id|>"),
    ),
    "gemma": Family(
        _by_role("<start_of_turn>ROLE\n", "<end_of_turn>\n", system="", assistant="model"),
        ("<end_of_turn>", "<start_of_turn>", "<eos>"),
    ),
    "mistral": Family({"user": ("[INST] ", " [/INST]"), "assistant": (" ", "</s>")}, ("[/INST]", "[INST]", "</s>")),
    "phi3": Family(_by_role("<|ROLE|>\n", "<|end|>\n"), ("<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>")),
    "granite": Family(
        _by_role("<|start_of_role|>ROLE<|end_of_role|>", "<|end_of_text|>\n"), ("<|end_of_text|>", "<|start_of_role|>")
    ),
}
"""Model families by name: those that have been published, and their kin that share a template."""


class Prompt(Struct, frozen=True):
    """How a chat becomes a prompt."""

    family: str | None = None
    opened: str | None = None

    @property
    def stop(self) -> tuple[str, ...]:
        """Where the model's text ends."""
        return FAMILIES[self.family].stop if self.family is not None else ()

    def of(self, chat: Sequence[Mapping[str, Any]]) -> str:
        """The prompt; raises `RowError` where the chat holds more than text."""
        if any(not isinstance(message.get("content"), str) for message in chat):
            raise RowError("template", "a prompt is text, and a message of the chat has other parts")
        return written(chat, self.family, self.opened)


def asked_of(spec: TaskSpec, value_of: Callable[[str, tuple[str, ...]], Any]) -> tuple[Route, Prompt | None]:
    """What is asked for, and how its prompt is made; None for chats. Raises `UsageError`."""
    if spec.returns != "text":
        return ("embeddings" if spec.returns == "embedding" else "images"), Prompt()
    if spec.completion is False:
        return "chat", None
    if not isinstance(spec.completion, RawCompletion) or spec.completion.template is None:
        return "completions", Prompt()
    try:
        family = value_of(spec.completion.template, ("completion", "template"))
    except RowError as error:
        raise UsageError(f"`completion.template` can't be told: {error.message}") from None
    if family is not None and family not in FAMILIES:
        hint = did_you_mean(str(family), FAMILIES) or f"known: {', '.join(FAMILIES)}"
        raise UsageError(f"there is no model family `{family}` to write a prompt for; {hint}")
    return "completions", Prompt(family, spec.completion.open if family is not None else None)


def written(messages: Sequence[Mapping[str, Any]], family: str | None, opened: str | None) -> str:
    """The chat as a text that ends inside of the turn of role `opened`; without a family the contents alone."""
    if family is None:
        return "".join(str(message["content"]) for message in messages)
    turns = FAMILIES[family].turns
    pieces: list[str] = []
    waiting = ""
    for message in messages:
        role, content = str(message["role"]), str(message["content"])
        if role not in turns and role != "assistant":
            waiting += content + "\n\n"
            continue
        before, after = turns[role]
        pieces.append(f"{before}{waiting if role == 'user' else ''}{content}{after}")
        waiting = "" if role == "user" else waiting
    if opened is not None:
        pieces.append(turns[opened][0] + (waiting if opened == "user" else ""))
    return "".join(pieces)

"""Turn a chat into a prompt, for requests that are not chats: raw completions, embeddings, images.

A raw completion continues text in the format of a model family, which ends in an open turn.

Magpie (arXiv:2406.08464) leaves the user's turn open, so that a chat model writes what a user would say. The
beginning-of-text token is left out, because servers add it.
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
"""Parameters that make vLLM continue the last message; llama.cpp does so by default."""


class Family(Struct, frozen=True):
    """The chat format of a model family."""

    turns: Mapping[str, tuple[str, str]]
    """Role to the text before and after its content; the content of any other role joins the user's next turn."""
    stop: tuple[str, ...]
    """The sequences that end a turn."""


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
"""Model families by name, including aliases that share a format."""


class Prompt(Struct, frozen=True):
    """How to turn a chat into a prompt."""

    family: str | None = None
    opened: str | None = None

    @property
    def stop(self) -> tuple[str, ...]:
        """The stop sequences."""
        return FAMILIES[self.family].stop if self.family is not None else ()

    def of(self, chat: Sequence[Mapping[str, Any]]) -> str:
        """The prompt for a chat; raises `RowError` if the chat contains anything but text."""
        if any(not isinstance(message.get("content"), str) for message in chat):
            raise RowError("template", "a prompt can only contain text, but a message of the chat has other parts")
        return written(chat, self.family, self.opened)


def asked_of(spec: TaskSpec, value_of: Callable[[str, tuple[str, ...]], Any]) -> tuple[Route, Prompt | None]:
    """The kind of request and how its prompt is built (None for chats). Raises `UsageError`."""
    if spec.returns != "text":
        return ("embeddings" if spec.returns == "embedding" else "images"), Prompt()
    if spec.completion is False:
        return "chat", None
    if not isinstance(spec.completion, RawCompletion) or spec.completion.template is None:
        return "completions", Prompt()
    try:
        family = value_of(spec.completion.template, ("completion", "template"))
    except RowError as error:
        raise UsageError(f"`completion.template` can't be evaluated: {error.message}") from None
    if family is not None and family not in FAMILIES:
        hint = did_you_mean(str(family), FAMILIES) or f"known: {', '.join(FAMILIES)}"
        raise UsageError(f"`completion.template` has no model family `{family}`; {hint}")
    return "completions", Prompt(family, spec.completion.open if family is not None else None)


def written(messages: Sequence[Mapping[str, Any]], family: str | None, opened: str | None) -> str:
    """The chat as text that ends in an open turn of role `opened`; without a family, only the contents."""
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

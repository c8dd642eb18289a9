"""Build requests other than chats: raw completions, embeddings, images.

All of them use the same client and the same store: a request's messages hold the prompt, and the result is a completion
whose text is the continuation, the embedding as JSON, or the image's URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distask.llm.request import Request

PATHS: dict[str, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "images": "/images/generations",
}
"""URL path of each route, below the server's base URL."""
_OF_CHATS = ("response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "verbosity")
"""Keywords that raw completions do not support."""
_IMAGE_KINDS = {"/9j/": "jpeg", "iVBO": "png", "UklG": "webp", "R0lG": "gif"}
"""First characters of an image's base64."""


def payload(request: Request) -> dict[str, Any]:
    """Return the body of a call, without `extra_body` and n."""
    if request.route == "chat":
        return {"model": request.model, "messages": request.messages, **request.keywords}
    prompt = str(request.messages[-1]["content"])
    extra = {"extra_body": request.keywords["extra_body"]} if "extra_body" in request.keywords else {}
    if request.route == "embeddings":
        return {"model": request.model, "input": prompt, "encoding_format": "float", **extra}
    if request.route == "images":
        return {"model": request.model, "prompt": prompt, **extra}
    keywords = {key: value for key, value in request.keywords.items() if key not in _OF_CHATS}
    if "max_completion_tokens" in keywords:
        keywords["max_tokens"] = keywords.pop("max_completion_tokens")
    top = keywords.pop("top_logprobs", None)
    if keywords.pop("logprobs", False):
        keywords["logprobs"] = top or 1
    return {"model": request.model, "prompt": prompt, **keywords}


def choices_of(data: Any) -> list[dict[str, Any]] | None:
    """Return the choices of a response with embeddings or images in `data`; None if it has neither."""
    if not isinstance(data, list):
        return None
    texts = [_text(entry) for entry in data]
    return [{"index": i, "text": text} for i, text in enumerate(texts) if text is not None] or None


def _text(entry: Any) -> str | None:
    import orjson

    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("embedding"), list):
        return orjson.dumps(entry["embedding"]).decode()
    if isinstance(entry.get("url"), str):
        return str(entry["url"])
    encoded = entry.get("b64_json")
    if isinstance(encoded, str) and encoded:
        return f"data:image/{_IMAGE_KINDS.get(encoded[:4], 'png')};base64,{encoded}"
    return None

"""Read and write lines of OpenAI batch files: requests, and results as OpenAI, vLLM's run-batch and others write them.

A line's `custom_id` is the store key of the request's first sample, in hexadecimal, so each result identifies its
request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from distask.llm.pacing.failure_rules import Situation, classify
from distask.llm.providers.openai import body_of
from distask.llm.request import Completion, Failure
from distask.llm.responses import completions_in
from distask.llm.routes import PATHS

if TYPE_CHECKING:
    from distask.llm.request import Request, Route
    from distask.llm.schemas.requests import SchemaFitter

EXPIRED = frozenset({"batch_expired", "expired"})
CANCELLED = frozenset({"batch_cancelled", "cancelled"})
"""Error codes of requests that the provider did not process."""


class Result(Struct, frozen=True):
    """The result of one request of a batch."""

    custom_id: str
    completions: list[Completion]
    """Empty if it failed."""
    failure: Failure | None = None


def url_of(route: Route, *, azure: bool = False) -> str:
    """Return the URL path of a batch's requests, for its lines and the batch itself."""
    return PATHS[route] if azure else f"/v1{PATHS[route]}"


def request_line(custom_id: str, request: Request, n: int, url: str, schemas: SchemaFitter | None = None) -> bytes:
    """Return a line that requests n completions, with the body of a single call; raises `CallFailed`."""
    head = b'{"custom_id":"%s","method":"POST","url":"%s","body":' % (custom_id.encode(), url.encode())
    return head + body_of(request, n, schemas) + b"}\n"


def read_result(line: bytes, situation: Situation) -> Result | None:
    """Parse a line of a results file; None if it is not a result."""
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("custom_id"), str):
        return None
    custom_id, response, error = data["custom_id"], data.get("response"), data.get("error")
    if isinstance(response, dict) and ("body" in response or "status_code" in response):
        return _answered(custom_id, response, error, situation)
    return Result(custom_id, [], _refused(error, situation))


def _answered(custom_id: str, response: dict[str, Any], error: Any, situation: Situation) -> Result:
    body, status = response.get("body"), response.get("status_code", 200)
    status = status if isinstance(status, int) else 200
    if isinstance(body, str):  # some servers send the body as text
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError:
            body = {"error": {"message": body}}
    if body is None and isinstance(error, dict):  # vLLM puts it next to the status
        body = error if "error" in error else {"error": error}
    named = response.get("request_id")
    headers = {"x-request-id": named} if isinstance(named, str) and named else {}
    completions, note = completions_in(body, headers) if status == 200 else ([], "")
    if completions:
        return Result(custom_id, completions)
    return Result(custom_id, [], classify(status, None, orjson.dumps(body), situation, note))


def _refused(error: Any, situation: Situation) -> Failure:
    """Return the failure of a line without a response: the provider did not process it, or reports an error."""
    code = error.get("code") if isinstance(error, dict) else None
    if code in EXPIRED:
        return Failure("expired", "the batch expired before this request was processed", "retry", code=code)
    if code in CANCELLED:
        return Failure("cancelled", "the batch was cancelled before this request was processed", "retry", code=code)
    if error is None:
        return Failure("no_result", "the result has neither a response nor an error", "retry")
    failure = classify(200, None, orjson.dumps({"error": error}), situation)
    return replace(failure, status=None)

"""Use the Files and Batches of an OpenAI-compatible API through the `openai` package, which is imported on first use.

The package's own retries are off: a batch that is created twice is paid twice. `Batches` repeats what is safe to
repeat; a mark in a batch's metadata shows whether it was created.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from distask.llm.pacing.backoff import backoff
from distask.llm.pacing.failure_rules import Situation, classify
from distask.llm.request import CallFailed, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distask.llm.providers.openai import Endpoint
    from distask.llm.request import Scope

T = TypeVar("T")

MARK = "distask"
"""The metadata key of the mark that identifies distask's batches."""
TRIES = 5
"""Maximum number of tries for what is safe to repeat."""
LISTED = 1_000
"""How many batches of the provider's list are searched for a mark, newest first: a wanted batch was just created."""
PAGE = 100
WINDOW = "24h"
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses that no longer change."""


class Batch(Struct, frozen=True):
    """A batch as the provider describes it."""

    id: str
    status: str
    done: int = 0
    failed: int = 0
    total: int = 0
    input_file: str | None = None
    result_files: tuple[str, ...] = ()
    """The output and error files, if any."""
    errors: tuple[Failure, ...] = ()
    """Why the complete batch was refused."""
    mark: str | None = None

    @property
    def ended(self) -> bool:
        """Whether its status no longer changes."""
        return self.status in ENDED


class Batches(Struct):
    """One endpoint's Files and Batches; every method raises `CallFailed` with a final failure."""

    endpoint: Endpoint
    timeout: float = 120
    _client: Any = None
    _random: Random = field(default_factory=Random)
    _fresh: bool = True

    def upload(self, path: Path) -> str:
        """Upload a file of requests and return its id."""

        def send() -> str:
            with path.open("rb") as file:
                return str(self._open().files.create(file=("requests.jsonl", file), purpose="batch").id)

        return self._repeated(send)

    def create(self, file: str, url: str, mark: str, task: str) -> Batch:
        """Create a batch. If no response comes, search the list for its mark first."""
        try:
            with self._explaining_errors():
                made = self._open().batches.create(
                    input_file_id=file, endpoint=url, completion_window=WINDOW, metadata={MARK: mark, "task": task}
                )
                return _batch(made)
        except CallFailed as error:
            if error.failure.scope != "retry":
                raise
            found = self.find(mark)
            if found is None:
                raise
            return found

    def find(self, mark: str) -> Batch | None:
        """Return the batch with this mark, from the newest ones."""

        def search() -> Batch | None:
            for place, listed in enumerate(self._open().batches.list(limit=PAGE)):
                if place >= LISTED:
                    break
                if (listed.metadata or {}).get(MARK) == mark:
                    return _batch(listed)
            return None

        return self._repeated(search)

    def get(self, name: str) -> Batch:
        """Return the current state of a batch."""
        return self._repeated(lambda: _batch(self._open().batches.retrieve(name)))

    def cancel(self, name: str) -> Batch:
        """Ask the provider to cancel a batch; what is done until then is billed and can be downloaded."""
        return self._repeated(lambda: _batch(self._open().batches.cancel(name)))

    def download(self, file: str, path: Path) -> None:
        """Download a file into `path`."""

        def receive() -> None:
            with (
                self._open().files.with_streaming_response.content(file) as response,
                path.open("wb") as written,
            ):
                for piece in response.iter_bytes(1 << 20):
                    written.write(piece)

        self._repeated(receive)

    def delete(self, file: str) -> None:
        """Delete one of our files; a missing file is not an error."""
        try:
            with self._explaining_errors():
                self._open().files.delete(file)
        except CallFailed:  # a leftover file costs nothing and should not end the run
            return

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def situation(self) -> Situation:
        """The values for placeholders in a failure's texts."""
        return Situation(self.endpoint.base_url, "", self.endpoint.key_env, self.endpoint.secrets, self._fresh)

    def _open(self) -> Any:
        if self._client is None:
            import openai

            endpoint = self.endpoint
            azure = endpoint.azure_version
            headers = {name.title(): value for name, value in endpoint.headers.items()}
            keyless = [] if "Authorization" in headers else [_without_key]
            self._client = openai.OpenAI(
                api_key="not sent",  # the key, if any, is in the headers
                base_url=f"{endpoint.base_url}/openai" if azure else endpoint.base_url,
                default_headers=headers,
                default_query={"api-version": azure} if azure else None,
                max_retries=0,
                timeout=self.timeout,
                http_client=openai.DefaultHttpxClient(follow_redirects=False, event_hooks={"request": keyless}),
            )
        return self._client

    def _repeated(self, call: Callable[[], T]) -> T:
        for tried in range(1, TRIES + 1):
            try:
                with self._explaining_errors():
                    made = call()
            except CallFailed as error:
                if error.failure.scope != "retry" or tried == TRIES:
                    raise
                time.sleep(error.failure.retry_after or backoff(tried, self._random))
            else:
                self._fresh = False
                return made
        raise AssertionError

    @contextmanager
    def _explaining_errors(self) -> Iterator[None]:
        """Classify the package's errors like those of single calls."""
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            response = error.response
            response.read()
            failure = classify(response.status_code, dict(response.headers), response.content, self.situation)
            if failure.kind == "not_found":
                failure = replace(failure, hint=_NO_BATCHES)
            raise CallFailed(failure) from None
        except openai.APITimeoutError:
            raise CallFailed(classify("timeout", None, "no response in time", self.situation)) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            fault = "refused" if "Connect" in type(cause).__name__ else "reset"
            raise CallFailed(classify(fault, None, str(cause or error), self.situation)) from None
        except openai.OpenAIError as error:
            raise CallFailed(classify(200, None, str(error), self.situation, "the response can't be read")) from None


_NO_BATCHES = "check that this server supports Files and Batches; or omit --batch to send single requests"


def _without_key(request: Any) -> None:
    request.headers.pop("authorization", None)


def _batch(response: Any) -> Batch:
    counts = response.request_counts
    errors = response.errors.data if response.errors is not None and response.errors.data else []
    return Batch(
        id=response.id,
        status=response.status,
        done=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        total=counts.total if counts else 0,
        input_file=response.input_file_id,
        result_files=tuple(f for f in (response.output_file_id, response.error_file_id) if f),
        errors=tuple(_refusal(e) for e in errors),
        mark=(response.metadata or {}).get(MARK),
    )


def _refusal(error: Any) -> Failure:
    line = f" (line {error.line})" if error.line else ""
    scope: Scope = "retry" if error.code in FULL else "run"
    return Failure(error.code or "refused", f"{error.message or error.code}{line}", scope, code=error.code)


FULL = frozenset({"token_limit_exceeded", "request_limit_exceeded"})
"""Codes of temporary refusals: waiting batches fill the provider's queue."""

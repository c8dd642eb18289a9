"""Write requests to batch files: one model and one URL path per file, within the provider's size limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.llm.batch_api.lines import request_line, url_of
from distask.llm.request import CallFailed, Failure
from distask.llm.schemas.dialects import known_dialect, likely_dialect
from distask.llm.schemas.requests import SchemaFitter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from distask.batch_ledger import Entry
    from distask.llm.config.resolve import Resolved
    from distask.llm.request import Request, Route
    from distask.runner.engine.requests import Target

MEGABYTE = 1_000_000


class Part(Struct):
    """The requests of one batch."""

    llm: Resolved
    endpoint: str
    model: str
    route: Route
    path: Path | None
    """The request file; None if no file is written."""
    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    file: BinaryIO | None = None


class Parts:
    """Writes requests to files.

    Args:
        place: returns the file for a part number; None to write no file.
        full: called with each complete part.
        most: maximum number of requests per part, if lower than in the config.
        room: maximum number of parts; None for no limit.
        notify: called with a message for each schema keyword that an endpoint is not sent.
    """

    def __init__(
        self,
        place: Callable[[int], Path | None],
        full: Callable[[Part], None],
        *,
        most: int | None = None,
        room: int | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._place = place
        self._full = full
        self._most = most
        self._room = room
        self._begun = 0
        self._open: dict[tuple[str, str, str], Part] = {}
        self._keys: set[bytes] = set()
        self._notify = notify
        self._schemas: dict[str, SchemaFitter] = {}

    @property
    def has_room(self) -> bool:
        """Whether more requests can be added."""
        return self._room is None or self._begun <= self._room

    def __contains__(self, key: bytes) -> bool:
        """Whether a request is in an open part."""
        return key in self._keys

    def add(self, target: Target, entry: Entry, request: Request) -> None:
        """Add a request; raises `CallFailed` if it can't be written or exceeds the file size limit."""
        llm = target.llm
        assert llm is not None
        limits = llm.config.limits
        most_bytes = int(limits.batch_megabytes * MEGABYTE)
        url = url_of(request.route, azure=is_old_azure(access_of(llm)))
        line = request_line(entry.key.hex(), request, len(entry.keys), url, self._fitter(llm))
        if len(line) > most_bytes:
            raise CallFailed(Failure("too_large", f"the request is larger than {limits.batch_megabytes:g} MB", "row"))
        kind = (target.endpoint, request.model, request.route)
        part = self._open.get(kind)
        most = min(limits.batch_requests, self._most or limits.batch_requests)
        if part is not None and (len(part.entries) >= most or part.size + len(line) > most_bytes):
            self._close(kind)
            part = None
        if part is None:
            part = self._open[kind] = self._begin(llm, target.endpoint, request)
        if part.file is not None:
            part.file.write(line)
        part.size += len(line)
        part.entries.append(entry)
        self._keys.add(entry.key)

    def close(self) -> None:
        """Close all open parts."""
        for kind in list(self._open):
            self._close(kind)

    def _fitter(self, llm: Resolved) -> SchemaFitter:
        """Return the schema fitter of an endpoint, without sending requests to detect its type."""
        endpoint, config = llm.endpoint(), llm.config
        if endpoint not in self._schemas:
            dialect = known_dialect(config) or likely_dialect(config.base_url or "")
            self._schemas[endpoint] = SchemaFitter(dialect, self._notify)
        return self._schemas[endpoint]

    def _begin(self, llm: Resolved, endpoint: str, request: Request) -> Part:
        path = self._place(self._begun)
        self._begun += 1
        return Part(llm, endpoint, request.model, request.route, path, file=None if path is None else path.open("wb"))

    def _close(self, kind: tuple[str, str, str]) -> None:
        part = self._open.pop(kind)
        if part.file is not None:
            part.file.close()
        self._full(part)
        self._keys.difference_update(entry.key for entry in part.entries)


def access_of(llm: Resolved) -> dict[str, Any]:
    """Return the settings to connect to an endpoint later; holds names of environment variables, never keys."""
    config = llm.config
    named = config.model_dump(include={"provider", "model", "base_url", "api_key_env", "api_version", "headers"})
    return {name: value for name, value in named.items() if value is not None} | {"api_key_env": config.api_key_env}


def is_old_azure(access: dict[str, Any]) -> bool:
    """Whether this is an Azure endpoint that needs an `api-version`."""
    return access.get("provider") == "azure" and "api_version" in access

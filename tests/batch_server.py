"""A server with OpenAI's Files and Batches, after the published API: a batch goes one step further each time it is looked at."""

from __future__ import annotations

import random
import re
import threading
from typing import TYPE_CHECKING, Any

import orjson

from tests.server import Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = ("validating", "in_progress", "finalizing", "completed")
FILE = re.compile(rb'name="file"[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)
PURPOSE = re.compile(rb'name="purpose"\r\n\r\n(\w+)')


class BatchServer(ScriptedServer):
    """Answers a batch's requests as it answers plain ones, when the batch is looked at for the third time; results are shuffled.

    `fate` is asked for each line: None answers it; "expired" leaves it for the time that ended; "lost" leaves it out; a `Reply` is
    what its request gets. `refuse` says, of all lines of a new batch, the errors it fails validation with. `held` keeps batches
    from going on. `on_create` may give the answer to a batch's creation, before ("lost") or after ("made") it came to be.
    """

    def __init__(self, reply: Callable[[dict], Any] | None = None) -> None:
        super().__init__(reply)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.deleted: list[str] = []
        self.fate: Callable[[dict], Any] = lambda line: None
        self.refuse: Callable[[list[dict]], list[dict]] = lambda lines: []
        self.held = False
        self.stalls: str | None = None
        """A creation that gets no answer: before the batch came to be ("early"), or after ("late")."""
        self.stalled = threading.Event()
        self.lists = True
        self._made = 0
        self._submitted: list[dict] = []

    @property
    def lines(self) -> list[dict]:
        """Every line of every batch that came to be."""
        return list(self._submitted)

    def expire(self) -> None:
        """End the time of all batches under way."""
        for batch in self.batches.values():
            if batch["status"] in STEPS[:-1]:
                self._end(batch, "expired")

    def _answer(self, method: str, path: str, headers: dict[str, str], data: bytes) -> Reply:
        route, _, query = path.partition("?")
        parts = route.removeprefix("/v1/").split("/")
        if parts[0] not in ("files", "batches"):
            return super()._answer(method, path, headers, data)
        self.paths.append(f"{method} {path}")
        self.headers_seen.append(headers)
        answer = (self._files if parts[0] == "files" else self._batches)(method, parts[1:], query, data)
        return answer or Reply(404, body={"error": {"message": f"no such {parts[0][:-1]}", "code": "not_found"}})

    # Files

    def _files(self, method: str, parts: list[str], query: str, data: bytes) -> Reply | None:
        if method == "POST" and not parts:
            content, purpose = FILE.search(data), PURPOSE.search(data)
            if content is None or purpose is None or purpose[1] != b"batch":
                return Reply(400, body={"error": {"message": "a file and its purpose are needed"}})
            return Reply(body=self._file(self._store(content[1])))
        name = parts[0] if parts else ""
        if name not in self.files:
            return None
        if method == "DELETE":
            del self.files[name]
            self.deleted.append(name)
            return Reply(body={"id": name, "object": "file", "deleted": True})
        return Reply(body=self.files[name]) if parts[1:] == ["content"] else Reply(body=self._file(name))

    def _store(self, content: bytes) -> str:
        self._made += 1
        name = f"file-{self._made}"
        self.files[name] = content
        return name

    def _file(self, name: str) -> dict:
        size = len(self.files[name])
        return {
            "id": name,
            "object": "file",
            "bytes": size,
            "created_at": 1,
            "filename": "x.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    # Batches

    def _batches(self, method: str, parts: list[str], query: str, data: bytes) -> Reply | None:
        if method == "POST" and not parts:
            return self._create(orjson.loads(data))
        if method == "GET" and not parts:
            if not self.lists:
                return None
            newest = list(reversed(self.batches.values()))
            return Reply(body={"object": "list", "data": newest, "has_more": False, "first_id": None, "last_id": None})
        batch = self.batches.get(parts[0])
        if batch is None:
            return None
        if parts[1:] == ["cancel"]:
            if batch["status"] in STEPS[:-1]:
                self._end(batch, "cancelled")
        elif not self.held:
            self._step(batch)
        return Reply(body=batch)

    def _create(self, asked: dict) -> Reply:
        if self.stalls == "early":
            self.stalled.set()
            return Reply(delay=3600)
        if asked["input_file_id"] not in self.files or asked["completion_window"] != "24h":
            return Reply(400, body={"error": {"message": "no such file", "param": "input_file_id"}})
        self._made += 1
        lines = [orjson.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        batch = {
            "id": f"batch_{self._made}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "created_at": 1,
            "metadata": asked.get("metadata"),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
        }
        self.batches[batch["id"]] = batch
        self._submitted += lines
        if self.stalls == "late":
            self.stalled.set()
            return Reply(delay=3600)
        return Reply(drop=True) if self.stalls == "drop" else Reply(body=batch)

    def _step(self, batch: dict) -> None:
        status = batch["status"]
        if status not in STEPS[:-1]:
            return
        lines = [orjson.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        if status == "validating" and (errors := self._faults(batch, lines)):
            batch |= {"status": "failed", "errors": {"object": "list", "data": errors}}
            return
        step = STEPS[STEPS.index(status) + 1]
        if step == "completed":
            self._end(batch, "completed")
        else:
            batch["status"] = step

    def _faults(self, batch: dict, lines: list[dict]) -> list[dict]:
        ids = [line["custom_id"] for line in lines]
        if len(set(ids)) < len(ids):
            return [{"code": "duplicate_custom_id", "message": "a custom_id is there twice", "line": 2}]
        if any(line["url"] != batch["endpoint"] or line["method"] != "POST" for line in lines):
            return [{"code": "invalid_url", "message": "a line's url is not the batch's", "line": 1}]
        if len({line["body"]["model"] for line in lines}) > 1:
            return [{"code": "mismatched_model", "message": "a batch asks one model", "line": 1}]
        return self.refuse(lines)

    def _end(self, batch: dict, status: str) -> None:
        """Write the results: where the batch ended early, of every other request."""
        good, bad = [], []
        for place, line in enumerate(orjson.loads(text) for text in self.files[batch["input_file_id"]].splitlines()):
            fate = self.fate(line) if status == "completed" else None if place % 2 == 0 else "expired"
            result = {"id": f"r{place}", "custom_id": line["custom_id"], "response": None, "error": None}
            if fate == "expired":
                code = "batch_expired" if status != "cancelled" else "batch_cancelled"
                bad.append(result | {"error": {"code": code, "message": "not in time"}})
            elif fate != "lost":
                reply = (
                    fate
                    if isinstance(fate, Reply)
                    else super()._answer("POST", line["url"], {}, orjson.dumps(line["body"]))
                )
                answered = result | {
                    "response": {"status_code": reply.status, "request_id": f"q{place}", "body": reply.body}
                }
                (good if reply.status == 200 else bad).append(answered)
        for lines, key in ((good, "output_file_id"), (bad, "error_file_id")):
            random.Random(7).shuffle(lines)
            batch[key] = self._store(b"".join(orjson.dumps(line) + b"\n" for line in lines)) if lines else None
        batch["status"] = status
        batch["request_counts"] = {
            "total": batch["request_counts"]["total"],
            "completed": len(good),
            "failed": len(bad),
        }

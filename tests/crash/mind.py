"""A model that thinks nothing up: what it says hangs on what it is asked, on nothing else, and it knows what it was asked before.

Chats cost nothing: what a call costs is told on the first of its choices, and which choices share a call is no fault of a store's.
So a run over a store must give the very rows of a run without one, and each reply that it asks for twice is one too many.
"""

from __future__ import annotations

import hashlib
import json

from tests.server import ScriptedServer

LIMITS = ("max_tokens", "max_completion_tokens")
SAMPLE = ("seed", "n")


WHOLE = 7
"""Words of a reply that is not cut, each a token: all have as many, since a call tells only how many its choices have in all."""


class Mind:
    """What answers; `server` is where."""

    def __init__(self):
        self.server = ScriptedServer(self.reply)
        self.calls = 0
        self.given = set()
        self.twice = []
        """Replies that were given before, word for word."""
        self.on_call = None

    def reply(self, body):
        self.calls += 1
        if self.on_call is not None:
            self.on_call()
        limit = next((body[name] for name in LIMITS if body.get(name) is not None), None)
        asked = json.dumps({k: v for k, v in body.items() if k not in LIMITS + SAMPLE}, sort_keys=True)
        seed = body.get("seed") or 0
        choices, length = [], 0
        for i in range(body.get("n") or 1):
            digest = hashlib.blake2b(f"{asked}{seed + i}".encode(), digest_size=6).digest()
            words = ["A:", digest.hex(), str(1 + digest[0] % 5), *["more"] * (WHOLE - 3)]
            if digest[2] % 6 == 0:
                words[0] = "no"
            cut = limit is not None and limit < WHOLE
            text = " ".join(words[:limit] if cut else words)
            if (known := (asked, seed + i, text, cut)) in self.given:
                self.twice.append(known)
            self.given.add(known)
            length += min(WHOLE, limit or WHOLE)
            choices.append(
                {"index": i, "message": {"content": text}, "text": text, "finish_reason": "length" if cut else "stop"}
            )
        if "messages" not in body and "prompt" not in body:  # an embedding
            return f"[{int(hashlib.blake2b(asked.encode()).hexdigest()[:6], 16)}, 1.0]"
        return {"model": body["model"], "choices": choices, "usage": {"prompt_tokens": 0, "completion_tokens": length}}

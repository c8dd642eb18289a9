"""Adapt requests to what their model accepts: rename or remove parameters that it refused, for all later requests.

A request is changed just before it is sent, so the store key of its reply is still that of the request as the task
wrote it. Only what the task sets is changed; if the model refuses what the user set, the run ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Protocol

import orjson
from msgspec import Struct
from msgspec.structs import asdict, replace

from distask.llm.refused_parameters import MAX_TOKENS, find_refusal, refuses_system

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from distask.llm.refused_parameters import Refusal
    from distask.llm.request import Failure, Message, Request

Action = Literal["drop", "rename", "merge_system"]

SYSTEM = "system"
"""Represents the parameter when system messages are refused."""
SYSTEM_ROLES = ("system", "developer")
_MAY_BE_REFUSALS = frozenset({"bad_request", "permission", "not_found", "n_refused"})
"""Kinds of failures whose message is searched for a refusal."""
_OF_CHATS = ("chat", "completions")
"""Routes that send the generation keywords; others send only `extra_body`."""


class Adaptation(Struct, frozen=True):
    """One change to all requests for a model."""

    endpoint: str
    model: str
    route: str
    action: Action
    parameter: str
    """Its name in the request."""
    new_name: str = ""
    value: str = ""
    """JSON of the only value that is refused, or a schema's name; empty for any value."""

    def applies(self, request: Request) -> bool:
        """Return whether it changes a request."""
        if self.action == "merge_system":
            return _has_system(request)
        parameters = _parameters(request)
        return self.parameter in parameters and self.value in ("", _value(parameters[self.parameter]))

    def apply(self, request: Request) -> Request:
        """Return the changed request."""
        if not self.applies(request):
            return request
        if self.action == "merge_system":
            return replace(request, messages=_merged(request.messages))
        keywords = dict(request.keywords)
        value = keywords.pop(self.parameter, None)
        if self.action == "rename" and value is not None:
            keywords.setdefault(self.new_name, value)
        if self.parameter in (extra := keywords.get("extra_body") or {}):
            keywords["extra_body"] = {name: v for name, v in extra.items() if name != self.parameter}
            if not keywords["extra_body"]:
                del keywords["extra_body"]
        return replace(request, keywords=keywords)

    def describe(self) -> str:
        """Describe the change in one sentence."""
        if self.action == "merge_system":
            return (
                f"{self.model} accepts no system message here: the system text is sent at the start of the first user "
                "message"
            )
        if self.action == "rename":
            return f"{self.model} refuses `{self.parameter}`: it is sent as `{self.new_name}`"
        if self.parameter == "response_format":
            what = "the JSON Schema in `response_format`" if self.value else "`response_format`"
            return f"{self.model} refuses {what}: it is not sent; replies are still checked"
        value = f" {self.value}" if self.value else ""
        return f"{self.model} refuses `{self.parameter}`{value}, a default of the task: it is not sent"


class Memory(Protocol):
    """Keeps adaptations for later runs; implemented by the store."""

    def adaptations(self) -> Iterable[Adaptation]:
        """Return all known adaptations."""

    def keep_adaptation(self, adaptation: Adaptation) -> None:
        """Keep an adaptation."""


class _Model:
    """What is known about one model."""

    def __init__(self) -> None:
        self.adaptations: list[Adaptation] = []
        self.proven = True
        """Whether a request's parameters have been accepted since the last change."""
        self.trial: asyncio.Event | None = None
        """Set when the request that tries the last change has ended."""


class Adapter:
    """Remembers what one client has learned about its models.

    Args:
        notify: called with a sentence when an adaptation is first used.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.used: list[dict[str, str]] = []
        """The adaptations that requests of this run needed, as listed in `OUT.run.json`."""
        self.on_trial = False
        """Whether a change is not confirmed yet: call `enter` before sending a request."""
        self._notify = notify
        self._noted: set[Adaptation] = set()
        self._reported: set[Adaptation] = set()
        self._models: dict[tuple[str, str, str], _Model] = {}
        self._memory: Memory | None = None

    def remember(self, memory: Memory) -> None:
        """Load what earlier runs learned, and store what this run learns."""
        if self._memory is not None:
            return
        self._memory = memory
        for adaptation in memory.adaptations():
            self._of(adaptation).adaptations.append(adaptation)

    def fit(self, request: Request) -> Request:
        """Return the request as it is sent."""
        model = self._model(request)
        if model is None:
            return request
        for adaptation in model.adaptations:
            if adaptation.applies(request):
                self._note(adaptation)
                if adaptation not in self._reported:
                    self._reported.add(adaptation)
                    self._notify(adaptation.describe())
                request = adaptation.apply(request)
        return request

    def note(self, request: Request) -> None:
        """Record the adaptations of a request whose reply is already in the store."""
        model = self._model(request)
        if model is None or self._noted.issuperset(model.adaptations):
            return
        for adaptation in model.adaptations:
            if adaptation.applies(request):
                self._note(adaptation)
                request = adaptation.apply(request)

    def learn(self, sent: Request, failure: Failure) -> Failure | None:
        """Learn from a refusal. Returns None if the request should be adapted and sent again, else the failure.

        Args:
            sent: the request as the server received it.
            failure: how it ended. It is returned with scope "run" if the user set the parameter, or the task needs
                it.
        """
        if failure.kind not in _MAY_BE_REFUSALS:
            return failure
        if _has_system(sent) and refuses_system(failure.message):
            self._add(sent, "merge_system", SYSTEM)
            return None
        parameters = _parameters(sent)
        refusal = find_refusal(failure.message, parameters)
        if refusal is None:
            return failure
        for name in _to_change(refusal, sent.fixed):
            if self._knows(sent, name):  # learned while this request was in flight
                continue
            if name in MAX_TOKENS and not refusal.value and not self._renames(sent):
                self._add(sent, "rename", name, new_name=_other(name))
                continue
            if (hint := _fixed(name, sent.fixed)) is not None:
                message = f"{sent.model} refuses `{name}`: {failure.message}"
                return replace(failure, kind="bad_request", message=message, scope="run", hint=hint)
            self._add(sent, "drop", name, value=_value(parameters[name]) if refusal.value and name != "seed" else "")
            if name == "logprobs" and "top_logprobs" in parameters:  # `top_logprobs` requires `logprobs`
                self._add(sent, "drop", "top_logprobs")
        return None

    # After a change, one request tries it and the others wait, so that a second refusal costs only one request

    async def enter(self, request: Request) -> bool:
        """Wait until no other request tries the last change. True if this one now tries it and must call `leave`."""
        model = self._model(request)
        if model is None:
            return False
        while model.trial is not None:
            await model.trial.wait()
        if model.proven:
            return False
        model.trial = asyncio.Event()
        return True

    def leave(self, request: Request, *, ended: bool) -> None:
        """Let other requests continue; `ended` is false if this one was cancelled. A refusal is learned afterwards."""
        model = self._model(request)
        if model is None or model.trial is None:
            return
        model.proven = ended
        model.trial.set()
        model.trial = None
        self.on_trial = not all(m.proven for m in self._models.values())

    def _add(self, sent: Request, action: Action, parameter: str, *, new_name: str = "", value: str = "") -> None:
        adaptation = Adaptation(sent.endpoint, sent.model, sent.route, action, parameter, new_name, value)
        model = self._of(adaptation)
        if adaptation in model.adaptations:
            return
        model.adaptations.append(adaptation)
        model.proven, self.on_trial = False, True
        if self._memory is not None:
            self._memory.keep_adaptation(adaptation)

    def _note(self, adaptation: Adaptation) -> None:
        if adaptation not in self._noted:
            self._noted.add(adaptation)
            changes = {name: value for name, value in asdict(adaptation).items() if value and name != "endpoint"}
            self.used.append({**changes, "message": adaptation.describe()})

    def _knows(self, sent: Request, name: str) -> bool:
        model = self._model(sent)
        return model is not None and any(a.parameter == name and a.applies(sent) for a in model.adaptations)

    def _renames(self, sent: Request) -> bool:
        model = self._model(sent)
        return model is not None and any(a.action == "rename" for a in model.adaptations)

    def _model(self, request: Request) -> _Model | None:
        return self._models.get((request.endpoint, request.model, request.route)) if self._models else None

    def _of(self, adaptation: Adaptation) -> _Model:
        return self._models.setdefault((adaptation.endpoint, adaptation.model, adaptation.route), _Model())


def is_refusal(failure: Failure, parameters: Collection[str]) -> bool:
    """Return whether changing these parameters of a request may avoid a failure."""
    return failure.kind in _MAY_BE_REFUSALS and (
        refuses_system(failure.message) or find_refusal(failure.message, parameters) is not None
    )


def _to_change(refusal: Refusal, fixed: Mapping[str, str]) -> list[str]:
    """Choose one of several parameters refused together: one set by the task, and `temperature` last."""
    names = list(refusal.parameters)
    if not refusal.one_is_enough:
        return names
    free = [name for name in names if _fixed(name, fixed) is None] or names
    return [min(free, key=lambda name: (name == "temperature", name != "top_p"))]


def _fixed(name: str, fixed: Mapping[str, str]) -> str | None:
    hint = fixed.get(name)
    return fixed.get(_other(name)) if hint is None and name in MAX_TOKENS else hint


def _other(name: str) -> str:
    return MAX_TOKENS[name == MAX_TOKENS[0]]


def _parameters(request: Request) -> dict[str, Any]:
    """Return the parameters of a request under their names in the request body."""
    keywords = request.keywords if request.route in _OF_CHATS else {}
    own = {name: value for name, value in keywords.items() if name != "extra_body"}
    return own | (request.keywords.get("extra_body") or {})


def _value(value: Any) -> str:
    """Return a text that identifies a value; schemas are identified by name, since they may differ between rows."""
    if isinstance(value, dict) and isinstance(value.get("json_schema"), dict):
        return str(value["json_schema"].get("name", "schema"))
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # an integer of more than 64 bits, a lone surrogate
        return repr(value)


def _has_system(request: Request) -> bool:
    return request.route == "chat" and any(message.get("role") in SYSTEM_ROLES for message in request.messages)


def _merged(messages: list[Message]) -> list[Message]:
    """Return the chat with its system text at the start of the first user message."""
    system = [part for message in messages if message.get("role") in SYSTEM_ROLES for part in _parts(message)]
    others = [message for message in messages if message.get("role") not in SYSTEM_ROLES]
    place = next((i for i, message in enumerate(others) if message.get("role") == "user"), None)
    if place is None:
        return [{"role": "user", "content": _joined(system)}, *others]
    user = others[place]
    merged = {**user, "content": _joined([*system, *_parts(user)])}
    return [*others[:place], merged, *others[place + 1 :]]


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    return list(content) if isinstance(content, list) else [{"type": "text", "text": content or ""}]


def _joined(parts: list[dict[str, Any]]) -> Any:
    """Join parts into one text if all are texts, else return the list."""
    texts = [part["text"] for part in parts if part.get("type") == "text"]
    return "\n\n".join(text for text in texts if text) if len(texts) == len(parts) else parts

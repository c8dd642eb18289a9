"""Detect from a server's error message which parameters of a request it refuses.

The tables contain all knowledge: other names of parameters, phrases of single servers, and words around a name that
mark a refusal. They come from messages of OpenAI, Azure, Anthropic, Gemini, Bedrock, vLLM, SGLang, Ollama, llama.cpp,
OpenRouter, Groq, Mistral, DeepSeek, xAI, Moonshot, Together and LiteLLM; the general rule covers similar messages that
are not listed. A parameter that a message only mentions is not refused.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_TOKENS = ("max_tokens", "max_completion_tokens")
"""The two names of the limit on a reply's length; a model accepts one or both."""

ALIASES: dict[str, tuple[str, ...]] = {
    "response_format": (
        "response format",
        "response_schema", "response_mime_type", "json_schema", "structured outputs", "structured output", "json mode",
    ),
    "logprobs": ("log_probs", "response_logprobs", "log probabilities"),
    "top_logprobs": (),
    "reasoning_effort": ("reasoning.effort", "reasoning effort", "thinking_level", "thinking level", "thinking budget"),
    "verbosity": ("text.verbosity",),
    "stop": ("stop_sequences", "stop sequences", "stop sequence"),
    "max_tokens": ("max_output_tokens",),
    "max_completion_tokens": (),
    "parallel_tool_calls": ("parallel tool calls", "parallel function calling"),
    "tool_choice": ("tool choice",),
    "frequency_penalty": ("frequency penalty",),
    "presence_penalty": ("presence penalty",),
    "temperature": (),
    "top_p": (),
    "top_k": (),
    "min_p": (),
    "repetition_penalty": (),
    "seed": (),
    "logit_bias": (),
    "service_tier": (),
    "n": (),
}  # fmt: skip
"""Parameters and their other names on servers. The camel case form (`topP`) is added for each."""

PLAIN_WORDS = frozenset({"temperature", "logprobs", "verbosity"})
"""Names without an underscore that can only mean the parameter; others (`stop`, `seed`) must be marked as names."""


class Phrase(Struct, frozen=True):
    """A phrase of one kind of server that does not contain the parameter's name in the request."""

    words: re.Pattern[str]
    parameters: tuple[str, ...]
    """Those of them that were sent are refused."""
    value: bool = False
    """Whether only the value is refused."""


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_SCHEMAS = ("response_format", "structured_outputs", "guided_json", "guided_regex", "guided_grammar", "grammar")
PHRASES: tuple[Phrase, ...] = (
    Phrase(_words(r"penalt(y|ies) (is|are) not (enabled|supported)"), ("frequency_penalty", "presence_penalty")),
    Phrase(
        _words(r"(does not|doesn't|do not|don't) support (thinking|reasoning)\b|(thinking|reasoning) is not supported"),
        ("reasoning_effort", "reasoning", "thinking", "think", "enable_thinking"),
    ),
    Phrase(
        _words(
            r"support (for )?(tool (use|call)|tools\b|function call)|"
            r"(tool|function) (use|call(s|ing)?) (is|are) not (supported|enabled|available)"
        ),
        ("tools", "tool_choice", "parallel_tool_calls"),
    ),
    Phrase(
        _words(
            r"invalid (json )?schema for (the )?(response|output)|invalid_json_schema|(json )?schema\b.{0,60}"
            r"(not supported|unsupported|too (complex|deep|large|many)|exceeds)|(parse|compile|invalid) grammar"
        ),
        _SCHEMAS,
        value=True,
    ),
)

SYSTEM_REFUSED = _words(
    r"system (role|message|prompt|instruction)s?\b.{0,40}(not|n't|un) ?(supported|allowed|enabled|permitted|accepted)|"
    r"(not|n't) (support|allow|accept|have|permit)\w* (the |a |any )?['\"`]?(system|developer)['\"`]?(?![\w.])|"
    r"developer instructions? (is|are) not|unknown variant `(system|developer)`|"
    r"(invalid|unsupported|unexpected|unknown) (message )?role\W{1,4}(system|developer)\b|"
    r"(system|developer)\W{1,3}(unsupported|invalid|unexpected) (message )?role|role\W{1,4}input should be 'user'|"
    r"(system|developer)\W? role (is |was )?(not|un)|"
    r"role\W{1,4}(system|developer)\W{1,3}(is )?(not|un|in)|literal_error.*input\W+(system|developer)\b|"
    r"only (the )?(roles? )?\W?user\W.{0,20}(assistant|model)\W?( and \W?tool\W?)? (roles? )?"
    r"(are|is) (supported|allowed)|"
    r"(?<!optional system message, )conversation roles must alternate|system message must be at the beginning|"
    r"first message (must|should) be.{0,20}\buser\b|must (start|begin) with (a )?user\b"
)
"""Messages of servers and chat templates that accept no system message (or none in this place)."""

_PREDICATES = re.compile(
    r"""
    (?:\bnot|n't|\bno\ longer)\s+(?:\w+\s+){0,2}?
        (?:supported|allowed|permitted|enabled|available|accepted|recogni[sz]ed|valid|implemented|compatible|known)\b
    | \bun(?:supported|available|recogni[sz]ed|known|expected)\b
    | \b(?:deprecated|forbidden|prohibited|disabled|removed|invalid|disallowed|denied)\b | \bfixed\s+(?:at|to)\b
    | (?:\bdoes\ not|\bdoesn't)\s+support\b
    | \bcan(?:not|\ not|'t|\ only)\s+(?:both\s+|only\s+)?be\s+(?:both\s+)?
        (?:set|used|specified|requested|changed|combined|provided|modified|greater|less|higher|lower|above|below|-?\d)
    | \b(?:must|should|has\ to|have\ to|may\ only|needs?\ to)\s+(?:only\s+)?be\s+(?:set\s+)?(?:to\s+)?
        (?:[-\d<>=≤≥[('\"`]|between\b|in\b|within\b|one\ of\b|less\b|greater\b|at\ (?:most|least)\b|below\b|above\b
        |equal\b|exactly\b|null\b|omitted\b|unset\b|non-|positive\b|strictly\b|the\ default|left\b
        |an?\ (?:\w+\s+){0,3}(?:number|integer|float|string|list|array|boolean|object)\b)
    | \b(?:extra|additional)\s+(?:inputs?|fields?|propert(?:y|ies))\s+(?:are\s+)?not\s+(?:permitted|allowed)
    | \bonly\b.{0,40}\b(?:supported|allowed|accepted|permitted)\b
    | \btoo\s+(?:large|high|low|small|big|long|many)\b | \bout\s+of\s+range\b | \b(?:supported|valid|allowed)\ range\b
    | \brange\s*: | \bensure\ this\ value\b
    | \bexceeds?\b | >\s*\d | \bcannot\ find\ field | 不支持 | 无效 | 非法
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Words after a name that mark a refusal: `temperature` is not supported."""
_OBJECTIONS = re.compile(
    r"""
    \b(?:un(?:supported|known|recogni[sz]ed|expected|permitted)|invalid|illegal|extraneous|disallowed|forbidden
        |deprecated|remove|omit)\b
    | (?:\bnot|n't)\s+(?:\w+\s+)?(?:supported|allowed|permitted|recogni[sz]ed|accepted|valid|enabled|available)\b
        (?:\s+to\s+(?:request|use|set|specify|send|change|ask\ for)\b)?
    | (?:\b(?:does|do)\ not|\b(?:does|do)n't)\s+(?:\w+\s+)?(?:support|accept|allow|recogni[sz]e|take|permit)\b
    | \b(?:cannot|can't|can\ not)\s+(?:request|use|set|specify)\b | \brejects?\b
    | (?:\bnot|n't|\bno)\s+(?:\w+\s+){0,2}?(?:permission|access|authori[sz]ed|entitled)\s+to
        (?:\s+(?:request|use|set)\b)?
    | \bonly\s+(?:supports?|accepts?|allows?|takes?)\b
    | \bonly\b(?=.{0,60}\b(?:supported|allowed|accepted|permitted)\b)
    | \b(?:greater|less|larger|higher|more)\ than\ the\ (?:maximum|minimum)\b
    | \bsupport\ the\ (?:provided|requested|given)\b | 不支持 | 无效 | 非法
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Words before a name that mark a refusal: Unsupported parameter: `temperature`."""
_SUGGESTIONS = re.compile(
    r"(?i)\b(?:did you mean|(?:please )?use ['\"`]?\w+['\"`]? instead|known properties|"
    r"(?:supported|valid|allowed|possible|known|accepted) (?:values|parameters|arguments|fields|names|options) "
    r"?(?:are|is|:)).*|(?<=one of)\b.*"
)
"""Parts of a sentence that name what the server would accept."""
_SENTENCES = re.compile(r"(?<=[.;!?])\s+")
_LINKS = frozenset(
    re.findall(
        r"\w+",
        """
        a an the of for on in with this that these to and or both is are be was were has have having but which by as
        model models request requests body api openai generation sampling keyword custom non default per use using used
        set setting settings parameter parameters param params argument arguments arg args field fields property
        properties key keys name names option options value values input inputs type types schema text json_schema
        json_object json_mode supplied provided specified given requested currently maximum minimum following from your
        required auto none true false
        any s
        """,
    )
)
"""Words that may be between a name and the words that refuse it."""
LONGEST_GAP = 80
"""Maximum characters between a name and the words that refuse it."""
LONGEST_REACH = LONGEST_GAP + 60
"""Characters before a name that are searched for a refusal."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_PARAM = re.compile(r"\(parameter: ([^;)]*)")
"""Where `failure_rules` appends the error's own `param`."""
_IS = re.compile(r"(?i)[a-z]\W*\b(?:is|are|was|were)\s*$")
_PARAMETERS_ARE = re.compile(
    r"(?i)\b(?:param(?:eter)?s?|arg(?:ument)?s?|fields?|keys?|options?|properties|property|(?:extra|additional) \w+)"
    r"\W*(?:is|are|was|were)\s*$"
)
_ABOUT_CONTENT = _words(r"\bpolic(y|ies)\b|moderation|\bflagged\b|\bsafety\b")
"""Messages about the content of the chat, which may contain any word."""
_MARK = re.compile(
    r"(?i)(?:^\W*(?:the )?|\b(?:and|or) |['\"`\[({./]|: |"
    r"\b(?:parameter|argument|field|property|key|option|name)s? )$"
)
_END = re.compile(r"(?i)\s*(?:$|['\"`.,;:)\]}=!]|(?:for|with|on|in|parameters?|arguments?|fields?|values?)\b)")
_LOC = re.compile(r"""["']?loc["']?:\s*[\[(]\s*["']body["'],\s*["'](\w+)["']""")
"""The place of an error in FastAPI's format: `{"loc": ["body", "temperature"], "msg": …}`."""
_NOT_PARAMETERS = ("messages", "model", "input", "prompt")
_OF_A_VALUE = _words(
    r"\b(must|should|has to|may only) be\b|too (large|high|low|small)|out of range|\brange\b|between|at (most|least)|"
    r"(greater|less|larger|higher|lower) than|maximum|minimum|> ?\d|exceeds?\b|(invalid|unsupported) value|one of\b|"
    r"(supported|allowed|valid) values|invalid_json_schema|invalid schema"
)
_ONE_VALUE = _words(r"only (the default|[\w ]*=? ?\d+(\.\d+)? (\(|is|value))|only \w+ ?= ?\d|(may|can) only be set to")
"""A parameter that accepts only one value: another value would not help."""
_ONE_OF_TWO = _words(r"\bboth\b|only one|\beither\b|mutually exclusive|together|in combination")


class Refusal(Struct, frozen=True):
    """What an error message refuses."""

    parameters: tuple[str, ...]
    value: bool = False
    """Whether another value of the same parameter may be accepted."""
    one_is_enough: bool = False
    """Whether the combination is refused, so that one of them may stay."""


def find_refusal(message: str, sent: Collection[str]) -> Refusal | None:
    """Return the parameters that an error message refuses; None if it refuses none of those in the request.

    Args:
        message: the server's message; the error's own `param` follows as `(parameter: NAME)`.
        sent: the names of the parameters in the request.
    """
    text = message.replace('\\"', '"').replace("\\'", "'").replace("\\n", " ")
    found = _named(text, sent)
    value = bool(_OF_A_VALUE.search(text)) and not _ONE_VALUE.search(text)
    if found is None:
        found = _worded(text, sent)
        if not found:
            phrase = next((p for p in PHRASES if p.words.search(text) and set(p.parameters) & set(sent)), None)
            found = [] if phrase is None else [name for name in phrase.parameters if name in sent]
            value = phrase is not None and phrase.value
    other = _other_name(text, sent)
    if other is not None and not (value and found):
        found = [*(name for name in found if name not in MAX_TOKENS), other]
    if not found:
        return None
    return Refusal(tuple(dict.fromkeys(found)), value, len(found) > 1 and bool(_ONE_OF_TWO.search(text)))


def refuses_system(message: str) -> bool:
    """Return whether an error message refuses the system message."""
    return bool(SYSTEM_REFUSED.search(message.replace('\\"', '"').replace("\\'", "'")))


class Refusals:
    """Searched like a pattern: whether a message refuses any known parameter, or the system role."""

    def search(self, text: str) -> bool:
        """Return whether the message is a refusal."""
        return find_refusal(text, _KNOWN_PARAMETERS) is not None or refuses_system(text)


def _named(text: str, sent: Collection[str]) -> list[str] | None:
    """Return the parameters named in the error's own field; None if it has no such field."""
    places = _LOC.findall(text)
    if places:
        return [name for name in places if name in sent]
    field = _PARAM.search(text)
    if field is None:
        return None
    root = re.split(r"[.\[]", field.group(1).strip(), maxsplit=1)[0]
    if root in _NOT_PARAMETERS:
        return []
    if root == "tools" and not any(p.words.search(text) for p in PHRASES if "tools" in p.parameters):
        return []  # one of the row's own tools is invalid
    known = [name for name in sent if root in _spellings(name)]
    return known or None


def _other_name(text: str, sent: Collection[str]) -> str | None:
    """Return the token limit's name in the request, if the message asks for the other name."""
    for name, other in (MAX_TOKENS, MAX_TOKENS[::-1]):
        spelled = "|".join(_spellings(other))
        wanted = rf"(use|using|supports?|expects?|requires?|renamed to|replaced (by|with)|favou?r of)\W+({spelled})\b"
        if name in sent and other not in sent and re.search(rf"(?i){wanted}|\b({spelled})\b\W+instead", text):
            return name
    return None


def _worded(text: str, sent: Iterable[str]) -> list[str]:
    """Return the parameters refused in plain sentences."""
    if _ABOUT_CONTENT.search(text):
        return []
    lower = text.lower()
    mentioned = {name: [each for each in _spellings(name) if each.lower() in lower] for name in sent}
    sentences = (
        [_SUGGESTIONS.sub("", sentence) for sentence in _SENTENCES.split(text)] if any(mentioned.values()) else []
    )
    return [name for name, spellings in mentioned.items() if any(_is_refused(spellings, each) for each in sentences)]


def _is_refused(spellings: Iterable[str], sentence: str) -> bool:
    for spelling in spellings:
        plain = spelling.isalpha() and spelling.islower() and spelling not in PLAIN_WORDS
        for mention in re.finditer(rf"(?<![A-Za-z0-9_]){re.escape(spelling)}(?![A-Za-z0-9_])", sentence, re.IGNORECASE):
            start, end = mention.span()
            parts = _PREDICATES.search(sentence, end)
            if parts is not None and _links(sentence[end : parts.start()]) and (not plain or _marked(sentence, start)):
                return True
            for objection in _OBJECTIONS.finditer(sentence, max(0, start - LONGEST_REACH)):
                if objection.end() > start:
                    break
                if _has_subject(sentence, objection) or not _links(sentence[objection.end() : start]):
                    continue
                if not plain or _ends(sentence, start, end):
                    return True
    return False


def _has_subject(sentence: str, objection: re.Match[str]) -> bool:
    """Return whether the objection has another subject, which is what is refused: `images` are not supported."""
    before = sentence[: objection.start()]
    return " to" not in objection.group() and bool(_IS.search(before)) and not _PARAMETERS_ARE.search(before)


@cache
def _spellings(name: str) -> tuple[str, ...]:
    names = (name, *ALIASES.get(name, ()))
    camel = (re.sub(r"_([a-z])", lambda m: m.group(1).upper(), each) for each in names)
    return tuple(dict.fromkeys((*names, *camel)))


def _links(gap: str) -> bool:
    """Return whether only linking words, values and other names are between a name and the words that refuse it."""
    if len(gap) > LONGEST_GAP:
        return False
    words = re.findall(r"[A-Za-z_]+", _QUOTED.sub(" ", gap))
    return all(word.lower() in _LINKS or word in _KNOWN for word in words)


_KNOWN_PARAMETERS = tuple(name for name in ALIASES if name != "n")
_KNOWN = frozenset(spelling for name in ALIASES for spelling in _spellings(name))


def _marked(sentence: str, start: int) -> bool:
    """Return whether a plain word is marked as a name: quoted, at the beginning, or after a word like `parameter`."""
    return _MARK.search(sentence[:start]) is not None


def _ends(sentence: str, start: int, end: int) -> bool:
    """Return whether a plain word after an objection is its complete object."""
    quoted = start > 0 and sentence[start - 1] in "'\"`[{"
    return quoted or _END.match(sentence[end:]) is not None

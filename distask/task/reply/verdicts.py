r"""Find the label that a reply gives as its verdict.

Signs of a verdict, strongest first: the reply or its last line is a label; a label in `[[A]]`, `\boxed{A}` or
`<answer>A</answer>`; an announced label ("Verdict: A", "the better answer is B", "I choose B"); a line that is a label,
or ends with one after a colon; a label in bold at the end of a clause; "A is better than B"; a label at the beginning,
followed by its reason ("B, because"). Without any sign, the only label that the text mentions counts. A label after
"not" or before "is not" does not count as mentioned, and neither does the article "a" for a label A or the pronoun "I"
for a label I.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from distask.task.templates.limits import METER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PLACES = 1_000
"""Maximum occurrences of a label to examine in a reply."""
MOST_SIGNS = 200
"""Maximum markers and announcements to examine, starting from the end."""
_AROUND = " \t\n.\"'`*_()[]{}:,;!?<>\u201c\u201d\u2018\u2019"
"""Characters that may surround a label; `#` is handled separately, because labels may contain it."""
_KIND = r"(?:option|answer|response|choice|assistant|model|label|class|category|candidate|output|text|type|level|grade)"
_MARKED = re.compile(
    r"\[\[(?P<brackets>[^\[\]\n]{1,200})\]\]"
    r"|\\boxed\s*\{\s*(?:\\text\w*\s*\{)?(?P<boxed>[^{}\n]{1,200})\}"
    r"|<(?P<tag>(?:final[ _-]?)?answer|verdict|label|choice|decision|winner|category|class|result|output)>"
    r"(?P<tagged>[^<>]{1,200})</(?P=tag)>",
    re.IGNORECASE,
)
_OPENING = r"[\s*_`\"'(\[{<\u201c\u2018\u300c]*+"
_ANNOUNCED = re.compile(
    r"(?P<before>\b(?:worse|worst|weaker|wrong|incorrect|rejected|losing|inferior|first|initial|if|whether|not)\s+"
    r"(?:the\s+)?)?"
    r"\b(?P<noun>answer|verdict|choice|decision|winner|judge?ment|label|class|classification|category|option|response"
    r"|conclusion|result|prediction|preference|pick|selection|output|sentiment|rating|score|grade|better|best|better\s+one"
    r"|best\s+one)\b"
    r"(?:\s+(?:of|for|to|in|by)\s+(?:this|the|these|my|our)\s+[a-z]{1,30})?[\s*_`\"']*+"
    r"(?P<sign>[:\uff1a=]|\b(?:is|would\s+be|should\s+be)\b)"
    r"|(?P<verb>\b(?:choose|chose|pick|select|prefer|go\s+with|vote\s+for|opt\s+for|settle\s+on)\b)"
    r"|(?P<han>(?:答案|结论|判断|类别|标签|回答|結論)(?:是|为|為|[:\uff1a]))",
    re.IGNORECASE,
)
_FILLER = re.compile(
    rf"{_OPENING}(?:(?:that|clearly|definitely|therefore|thus|simply|likely|probably|indeed|obviously)\s+)?"
    rf"(?:the\s+)?(?:{_KIND}\s+)?{_OPENING}",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"an?\s+", re.IGNORECASE)
_CLOSING = r"[*_`\"')\]}>\u201d\u2019\u300d]*+"
_ENDS = re.compile(
    rf"{_CLOSING}(?!,?\s+(?:but|yet|however)\b)[ \t]*+(?:$|\n|[\u3002\u2014]|[,;!?()](?!\d)|[.:\u2013-](?!\w)"
    r"|(?:because|since|as|over|for|with|instead|rather|due|here|wins|between)\b"
    r"|is\s+(?:the\s+|clearly\s+|slightly\s+|much\s+)*(?:better|best|correct|right|winner|superior)\b)",
    re.IGNORECASE,
)
_OF_SCALE = re.compile(r"\s*(?:/|out\s+of)\s*(\d{1,9})", re.IGNORECASE)
_NUMBER_BEFORE = re.compile(r"(?:\d[.,\u2013-]|/\s?|\bof\s|(?:^|[\s(\[])[-\u2212])\Z", re.IGNORECASE)
_NUMBER_AFTER = re.compile(r"[.,]\d|\s?%|[\u2013-]\d")
_ALSO = re.compile(
    rf"{_CLOSING}\s*+(?:(?:or|and|und|oder|et|ou|y|o)\b|[/&|]|(?P<comma>,))\s*+{_OPENING}", re.IGNORECASE
)
_LINE_END = re.compile(rf"{_CLOSING}[\s.!]*+(?:\n|$)")
_BOLD = re.compile(r"\*\*(?P<label>[^*\n]{1,200})\*\*|__(?P<under>[^_\n]{1,200})__")
_BOLD_ENDS = re.compile(r"[ \t]*+(?:$|\n|[.,;!?](?!\w)|(?:because|since|as|over)\b)", re.IGNORECASE)
_KINDED = re.compile(rf"(?:the\s+)?{_KIND}\s*[:#]?\s+(?P<label>.+)", re.IGNORECASE)
_REASON = re.compile(r"[,.:;\s*_\u2014\u2013-]*+\b(?:because|since|as)\b", re.IGNORECASE)
_NEGATED = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|no|without|nicht|keine?|pas|n\u00e3o|не)|n['\u2019]t)"
    rf"(?:\s+(?:an?|the|that|really|quite|clearly|be|necessarily|exactly|think|believe|say|choose|pick|prefer|es|est|ein|eine"
    rf"|un|une|{_KIND})){{0,3}}\s+{_OPENING}\Z"
    rf"|\b(?:worse|worst|weaker|loser|losing|rejected|wrong|incorrect|inferior)(?:\s+(?:{_KIND}|one))?\s*(?:\bis|:)\s+"
    rf"(?:{_KIND}\s+)?{_OPENING}\Z"
    r"|\b(?:non|not|anti)-\Z|[不没非無无未]是?\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(
    rf"{_CLOSING}\s+(?:(?:is|was|are|does|did|do|has|can|could|would|should|will)(?:\s+not\b|n['\u2019]t\b)(?!\s+only)"
    r"|cannot\b|is\s+(?:clearly\s+|simply\s+|plainly\s+)?(?:wrong|incorrect|worse|false|weaker)\b)",
    re.IGNORECASE,
)
_BETTER = re.compile(
    r"(?<!\s)\s++(?:is|was)\s+(?:(?:clearly|slightly|much|far|significantly|somewhat)\s+)?(?:better\s+than|superior\s+to)\s+"
    rf"(?:the\s+)?(?:{_KIND}\s+)?{_OPENING}",
    re.IGNORECASE,
)
_SENTENCE_ENDS = re.compile(rf"{_CLOSING}[ \t]*+(?:$|\n|[.!](?!\w)|,?\s*(?:because|since|as)\b)", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\s+[^.,;:\n]*\Z", re.IGNORECASE)
_COMPARED = re.compile(rf"\bthan\s+(?:the\s+)?(?:{_KIND}\s+)?{_OPENING}\Z", re.IGNORECASE)
_AFTER_KIND = re.compile(rf"\b{_KIND}\s+{_OPENING}\Z", re.IGNORECASE)
_SENTENCE_START = re.compile(rf"(?:^|[.!?:\n]){_OPENING}\Z")
_NEXT_WORD = re.compile(r"\s+([^\W\d_]+)")
_AFTER_LABEL = frozenset(
    """
    is was has had does did do and or because since as for with by over but while would will should could can may might
    won seems also than in on to at then if vs versus are were both if not nor
    """.split()  # noqa: SIM905 - words are easier to read than a list of strings
)
"""Words before which `A` is a label and not an article."""
_AFTER_PERSON = frozenset(["is", "has", "because", "since", "or", "vs", "versus"])
"""Words before which `I` is a label and not a pronoun."""
_LOOK = 60
"""Characters of context before and after a label."""
_FIRST_HAN = "\u2e80"


class Labels:
    """The labels that a reply may give.

    Args:
        choices: the labels.
        case_sensitive: whether labels are case-sensitive.
    """

    def __init__(self, choices: Sequence[str], *, case_sensitive: bool) -> None:
        self.choices = choices
        self._case = case_sensitive
        self._longest = sorted(((self._folded(c), c) for c in choices), key=lambda pair: -len(pair[0]))
        self._most = max((len(name) for name, _ in self._longest), default=0) + 2 * _LOOK
        self._exact = {_normal(c): c for c in reversed(choices)}
        self._by_name = {self._folded(c): c for c in reversed(choices)}
        self._by_core = {self._folded(c).strip(_AROUND + "#"): c for c in reversed(choices)}
        numbers = [float(c) for c in choices if c.isdecimal() and c.isascii() and len(c) < 10]
        self._greatest = max(numbers, default=None)

    def verdict(self, reply: str) -> list[str]:
        """The label that the reply gives; if it gives no single label, all labels that it mentions, or none."""
        text = _normal(reply)
        lines = [line for line in text.splitlines() if line.strip()]
        for part in (text, lines[-1] if lines else ""):
            if (label := self.named(part)) is not None:
                return [label]
        reading = _Reading(self, text, self._aligned(text))
        for found in (reading.marked(), reading.announced()):
            if found is not None:
                return found
        for labels in (
            {self.named(line) for line in lines},
            {self.named(_after_colon(line)) for line in lines},
            set(reading.bold()),
            set(reading.better()),
        ):
            if len(given := labels - {None}) == 1:
                return [label for label in given if label is not None]
        if (label := reading.first_with_reason()) is not None:
            return [label]
        plain, other = reading.mentioned()
        return plain if len(plain) != 1 or not set(other) - set(plain) else [*plain, *other]

    def mentioned(self, reply: str) -> list[str]:
        """The labels that the reply mentions, in the order of the choices."""
        text = _normal(reply)
        plain, other = _Reading(self, text, self._aligned(text)).mentioned()
        return [choice for choice in self.choices if choice in plain or choice in other]

    def _folded(self, text: str) -> str:
        return _normal(text) if self._case else _normal(text).casefold()

    def _aligned(self, text: str) -> str:
        return text if self._case else text.casefold()

    def named(self, part: str) -> str | None:
        """The label that a part of the reply equals, ignoring surrounding punctuation."""
        part = part.strip()
        if len(part) > self._most:
            return None
        core = part.strip(_AROUND + "#")
        for bare in (part, part.strip(_AROUND), core):
            label = self._exact.get(bare) or self._by_name.get(self._aligned(bare))
            if label is not None:
                return label
        if core and (label := self._by_core.get(self._aligned(core))) is not None:
            return label
        kinded = _KINDED.fullmatch(core)
        return None if kinded is None else self.named(kinded["label"])

    def at(self, reading: _Reading, start: int) -> tuple[int, str] | None:
        """The end and name of the longest label that begins at a position."""
        best = None
        for name, label in self._longest:
            if best is not None and len(name) < best[0]:
                break
            if name and reading.folded.startswith(name, start) and reading.is_word(start, start + len(name)):
                if label == reading.text[start : start + len(name)]:
                    return start + len(name), label
                best = best or (len(name), label)
        return None if best is None else (start + best[0], best[1])

    def before(self, reading: _Reading, end: int) -> str | None:
        """The label that ends at a position."""
        for name, label in self._longest:
            start = end - len(name)
            if name and start >= 0 and reading.folded.startswith(name, start) and reading.is_word(start, end):
                return label
        return None

    def each(self) -> Iterator[tuple[str, str]]:
        """Folded name and label, longest first, so that `not spam` is not read as `spam`."""
        yield from self._longest

    def as_written(self, text: str, label: str) -> str:
        """The label with exactly this spelling, if labels differ only in case."""
        return self._exact.get(text, label)

    def is_scale(self, number: str) -> bool:
        """Whether a number is the greatest label."""
        return self._greatest is not None and float(number) == self._greatest


class _Reading:
    """A reply in which labels are searched; `folded` has the same length as `text`."""

    def __init__(self, labels: Labels, text: str, folded: str) -> None:
        self._labels = labels
        self.text = text if len(text) == len(folded) else folded
        self.folded = folded

    # Signs of a verdict

    def marked(self) -> list[str] | None:
        """The labels in markers on the last line with a marked label."""
        line = None
        found: dict[str, None] = {}
        for mark in reversed(deque(_MARKED.finditer(self.text), MOST_SIGNS)):
            if line is not None and mark.start() < line:
                break
            label = self._labels.named(mark["brackets"] or mark["boxed"] or mark["tagged"])
            if label is not None and not self._is_negated(mark.start()):
                line = self.text.rfind("\n", 0, mark.start()) if line is None else line
                found[label] = None
        return list(found) or None

    def announced(self) -> list[str] | None:
        """The last announced label."""
        for found in reversed(deque(_ANNOUNCED.finditer(self.text), MOST_SIGNS)):
            if found["before"] or (found["verb"] and _NEGATED.search(self._before(found.start()))):
                continue
            if (label := self._label_after(found.end())) is not None:
                return [label]
        return None

    def bold(self) -> Iterator[str]:
        """Labels in bold at the end of a clause."""
        for found in _BOLD.finditer(self.text):
            label = self._labels.named(found["label"] or found["under"])
            after = self.text[found.end() : found.end() + _LOOK]
            if label is not None and _BOLD_ENDS.match(after) and not self._is_negated(found.start()):
                yield label

    def better(self) -> Iterator[str]:
        """Labels that a plain sentence ranks above another label."""
        for found in islice(_BETTER.finditer(self.text), MOST_SIGNS):
            other = self._labels.at(self, found.end())
            label = self._labels.before(self, found.start())
            if label is None or other is None or self._is_negated(found.start() - len(label)):
                continue
            if other[1] != label and _SENTENCE_ENDS.match(self.text, other[0]):
                yield label

    def first_with_reason(self) -> str | None:
        """The label at the start of the reply, if its reason follows."""
        start = len(self.text) - len(self.text.lstrip(_AROUND))
        found = self._labels.at(self, start)
        return found[1] if found is not None and _REASON.match(self.text, found[0]) else None

    def mentioned(self) -> tuple[list[str], list[str]]:
        """The labels that are mentioned, and those that only may be or that serve as a comparison."""
        taken = bytearray(len(self.folded))
        plain: dict[str, None] = {}
        other: dict[str, None] = {}
        for name, label in self._labels.each():
            METER.step()
            for start in self._places(name):
                end = start + len(name)
                if any(taken[start:end]):
                    continue
                taken[start:end] = b"\1" * len(name)
                written = self._labels.as_written(self.text[start:end], label)
                meant = self._meaning(start, end, written)
                if meant is not None:
                    (plain if meant else other)[written] = None
        return list(plain), list(other)

    # Words

    def is_word(self, start: int, end: int) -> bool:
        """Whether a span of the text is not part of a longer word or number."""
        before, after = self.text[start - 1 : start] if start else "", self.text[end : end + 1]
        first, last = self.text[start], self.text[end - 1]
        if _joined(before, first) or _joined(last, after):
            return False
        if end - start == 1 and first >= _FIRST_HAN and (before.isalnum() or after.isalnum()):
            return _ANNOUNCED.search(self.text, max(0, start - _LOOK), start) is not None and not after.isalnum()
        if last.isalnum() and after in ("+", "#"):  # C is not C++
            return False
        if first.isdigit() and _NUMBER_BEFORE.search(self.text[max(0, start - 10) : start]):
            return False
        if not last.isdigit():
            return True
        rest = self.text[end : end + 20]
        scale = _OF_SCALE.match(rest)
        return _NUMBER_AFTER.match(rest) is None and (scale is None or self._labels.is_scale(scale[1]))

    def _places(self, name: str) -> Iterator[int]:
        at = 0
        for _ in range(MOST_PLACES):
            if not name or (found := self.folded.find(name, at)) < 0:
                return
            if self.is_word(found, found + len(name)):
                yield found
            at = found + len(name)

    def _before(self, start: int) -> str:
        return self.text[max(0, start - _LOOK) : start]

    def _is_negated(self, start: int) -> bool:
        return _NEGATED.search(self._before(start)) is not None

    def _label_after(self, at: int) -> str | None:
        """The label after an announcement, unless another label follows it."""
        at = _end(_FILLER, self.text, at)
        found = self._labels.at(self, at)
        if found is None or self._is_article(at, found[0], found[1]):
            at = _end(_ARTICLE, self.text, at)
            at = _end(_FILLER, self.text, at)
            found = self._labels.at(self, at)
            if found is None or self._is_article(at, found[0], found[1]):
                return None
        end, label = found
        if label[-1].isdigit():
            end = _end(_OF_SCALE, self.text, end)
        if _DENIED.match(self.text[end : end + _LOOK]) or _ENDS.match(self.text, end) is None:
            return None
        also = _ALSO.match(self.text, end)
        if also is not None and (other := self._labels.at(self, also.end())) is not None:
            alone = also["comma"] is None or _LINE_END.match(self.text, other[0]) is not None
            if alone and other[1] != label:
                return None
        return label

    def _meaning(self, start: int, end: int, label: str) -> bool | None:
        """Whether a label is mentioned: True, None for no, False for maybe or only as a comparison."""
        if len(label) == 1 and label.isalpha():
            if label.isupper() and self.text[start].islower():
                return None
            if self._is_in_word(start, end) or self._is_article(start, end, label):
                return None
            word = _NEXT_WORD.match(self.text, end)
            if label in "aA" and word and word[1].endswith("ly") and self._begins_sentence(start):
                return False
        before = self._before(start)
        if _NEGATED.search(before) or _BETWEEN.search(before) or _DENIED.match(self.text[end : end + _LOOK]):
            return None
        return _COMPARED.search(before) is None

    def _is_in_word(self, start: int, end: int) -> bool:
        """Whether a letter is part of a word such as it's, T-shirt or A-level."""
        before, after = self.text[max(0, start - 2) : start], self.text[end : end + 2]
        joined_before = len(before) == 2 and before[0].isalnum() and before[1] in "'\u2019-_&"
        joined_after = len(after) == 2 and after[1].isalnum() and after[0] in "-_&"
        pronoun = self.text[start] in "iI" and after[:1] in ("'", "\u2019")
        return joined_before or joined_after or pronoun

    def _is_article(self, start: int, end: int, label: str) -> bool:
        """Whether a letter is the article "a" or the pronoun "I", not a label."""
        if len(label) != 1 or label not in "aAiI":
            return False
        word = _NEXT_WORD.match(self.text, end)
        if word is None or (self.text[start].isupper() and _AFTER_KIND.search(self._before(start))):
            return False
        following = word[1].lower()
        if label in "iI":
            return following not in _AFTER_PERSON
        shouted = len(word[1]) > 1 and word[1].isupper()
        if self.text[start].isupper() and not shouted and not self._begins_sentence(start):
            return False
        is_verb = following.endswith("s") and not following.endswith(("ss", "us"))
        is_verb = is_verb or (self.text[start].isupper() and following.endswith("ly"))
        return following not in _AFTER_LABEL and not is_verb

    def _begins_sentence(self, start: int) -> bool:
        return _SENTENCE_START.search(self.text, max(0, start - _LOOK), start) is not None


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _after_colon(line: str) -> str:
    """The text after the colon in a line such as `Fazit: A`."""
    words, _, rest = line.partition(":")
    return rest if len(words.split()) <= 4 else ""


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _joined(first: str, second: str) -> bool:
    """Whether two adjacent characters belong to one word; scripts without spaces do not join others."""
    if not first.isalnum() or not second.isalnum():
        return False
    return first < _FIRST_HAN and second < _FIRST_HAN

r"""Find the backslashes in JSON strings that a model forgot to escape: LaTeX, Windows paths, regular expressions.

JSON reads `"\frac"` as a form feed and `rac`, and rejects `"\alpha"`. A backslash is restored only where the string
can't mean anything else:

- An escape that JSON does not define (`\alpha`, `\(`, `\%`, `\d`) is a backslash.
- `\b` or `\f` before a letter is a backslash: a backspace or a form feed is never intended there.
- `\n`, `\r` or `\t` is a backslash where it begins a LaTeX command. A command such as `\nabla` or `\theta` always
  counts, because `abla` is not a word. A command such as `\nu` or `\to` counts inside math, in `\nu_1` or `\text{`,
  as the complete string, and next to other LaTeX in a string without math delimiters. A tab does not follow a space, so
  `x \to y` counts too.
- In a Windows path with an escape of the first two kinds, `\n`, `\r` or `\t` before a lowercase letter begins a
  folder name.
"""

from __future__ import annotations

import re
from bisect import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKSLASH = r"\\"
_CERTAIN = frozenset(
    """
    nabla natural nearrow negthinspace neq newcommand newline nexists ngeq ngtr nicefrac nleftarrow nleq nobreak
    nocite noindent nolimits nolinebreak nonumber normalsize notag notin nprec nsubseteq nsucc nsupseteq nwarrow
    rangle rbrace rbrack rceil ref renewcommand rfloor rgroup rho right rightarrow rightharpoonup rightleftarrows
    rightleftharpoons rightrightarrows rightsquigarrow rm rmoustache root rtimes rule rvert
    tanh tbinom textbf textcolor textit textnormal textrm textsc textsf textstyle textsubscript textsuperscript texttt
    tfrac therefore theta thetasym thickapprox thicksim thinspace tilde times triangle triangledown triangleleft
    triangleq triangleright twoheadleftarrow twoheadrightarrow
    """.split()  # noqa: SIM905 - words are easier to read than a list of strings
)
"""Commands that, without their first letter, are not a word, abbreviation or variable."""
_POSSIBLE = frozenset(
    """
    ncong ne neg ni nless nmid not nparallel nrightarrow nsim nu num tag tan tau text tiny to top tt
    """.split()  # noqa: SIM905
)
"""Commands that may be one: `\\nu` may be a line break and the variable `u`."""
_FOLLOWED_BY = {
    "nu": re.compile(r"[_^]"),
    "tau": re.compile(r"[_^]|\s*[=+<>]"),
    **dict.fromkeys(("num", "tag", "text"), re.compile(r"\{")),
}
"""What follows these commands, but not other text."""
_SUSPECT = re.compile(rf"\\(?:[bf][A-Za-z]|(?:{'|'.join(sorted(_CERTAIN | _POSSIBLE))})(?![A-Za-z]))")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_TOKEN = re.compile(
    r"""\\(?:
        (?P<unknown>u(?![0-9A-Fa-f]{4})|[^"\\/bfnrtu])
        |(?P<never>[bf](?=[A-Za-z]))
        |(?P<word>[nrt][A-Za-z]++)
        |(?P<known>["\\/bfnrtu])
    )|(?P<dollar>\$\$?)""",
    re.VERBOSE | re.DOTALL,
)
_ANY = re.compile(r"\\.", re.DOTALL)
_COMMAND = re.compile(r"[A-Za-z]{2}|[(\[]")
_LATEX = re.compile(r"[A-Za-z]{2}|[()\[\]{}%_&#$,;!]")
_PATH = re.compile(
    r"(?<![A-Za-z])[A-Za-z]:\\(?![\\\"])(?:Program Files(?: \(x86\))?|Documents and Settings)?[^\s\"<>|?*]*"
)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")
_CLOSED_BY = {"(": ")", "[": "]", "$": "$", "$$": "$$"}


def are_suspect(text: str, start: int, end: int) -> bool:
    """Whether valid JSON may contain, between two positions, escapes that were meant as backslashes."""
    return _SUSPECT.search(text, start, end) is not None


def restored(text: str) -> str:
    """Escape the unescaped backslashes in the strings of JSON."""
    return _STRING.sub(lambda found: restored_string(found[0]), text) if "\\" in text else text


def restored_string(string: str) -> str:
    """Escape the unescaped backslashes in one JSON string literal."""
    return _String(string).restored() if "\\" in string else string


def without_escapes(text: str) -> str:
    """Replace escapes in JSON with letters, keeping its length, to find other errors."""
    return _ANY.sub("xx", text)


class _String:
    """The escapes of one JSON string, and what they reveal about how its backslashes are written."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_TOKEN.finditer(text))
        certain = [token.start() for token in self._tokens if token["unknown"] or token["never"]]
        self._raw = bool(certain)
        self._paths = _holding(_PATH.finditer(text), certain) if certain else []
        self._escaped = any(self._is_escaped_command(token) for token in self._tokens)
        self._environment = any(text.startswith("begin{", at + 1) for at in certain)
        self._latex = any(_LATEX.match(text, at + 1) for at in certain) or any(map(self._is_clear, self._tokens))

    def restored(self) -> str:
        """The string with each unescaped backslash escaped."""
        parts, at = [], 0
        for token, in_math in zip(self._tokens, self._math(), strict=True):
            if token.lastgroup != "dollar" and self._is_backslash(token, in_math=in_math):
                parts += [self._text[at : token.start()], _BACKSLASH]
                at = token.start() + 1
                if token["known"] == "\\":  # double the second one too
                    parts.append(_BACKSLASH)
                    at += 1
        return "".join([*parts, self._text[at:]])

    def _is_backslash(self, token: re.Match[str], *, in_math: bool | None) -> bool:
        kind = token.lastgroup
        if kind in ("unknown", "never"):
            return True
        if self._in_path(token):
            return True
        if kind == "word":
            return self._is_command(token, in_math=in_math)
        if token["known"] in ("b", "f"):
            return self._raw and not self._escaped
        if token["known"] == "\\":  # the line break of a matrix
            return self._environment and not self._escaped
        return False

    def _is_command(self, token: re.Match[str], *, in_math: bool | None) -> bool:
        if self._is_clear(token):
            return True
        if token["word"] not in _POSSIBLE or self._escaped:
            return False
        return self._latex if in_math is None else in_math

    def _is_clear(self, token: re.Match[str]) -> bool:
        """Whether an escape is a command, regardless of the rest of the string."""
        if token["word"] not in _POSSIBLE or self._escaped:
            return token["word"] in _CERTAIN
        followed_by = _FOLLOWED_BY.get(token["word"])
        if followed_by is not None and followed_by.match(self._text, token.end()):
            return True
        is_alone = self._text.strip('"') == token[0]
        return is_alone or (token["word"][0] == "t" and self._text[token.start() - 1].isspace())

    def _in_path(self, token: re.Match[str]) -> bool:
        """Whether a line break or tab escape begins a folder name."""
        at = token.start()
        index = bisect(self._paths, (at, at)) - 1
        if index < 0 or at >= self._paths[index][1] or not self._text[at + 2 : at + 3].islower():
            return False
        before = self._text[self._text.rfind("\\", self._paths[index][0], at) + 1 : at]
        return token["word"] is not None and _EXTENSION.search(before) is None

    def _is_escaped_command(self, token: re.Match[str]) -> bool:
        return token["known"] == "\\" and _COMMAND.match(self._text, token.end()) is not None

    def _math(self) -> Iterator[bool | None]:
        """For each escape, whether it is inside math; None if the string has no math delimiters."""
        dollars = sum(token.lastgroup == "dollar" for token in self._tokens)
        if dollars < 2 and not any(token["unknown"] in ("(", "[") for token in self._tokens):
            yield from [None] * len(self._tokens)
            return
        opened: str | None = None
        for token in self._tokens:
            yield opened is not None
            mark = token["dollar"] or token["unknown"]
            dollars -= token["dollar"] is not None
            if opened is None:
                if mark in ("(", "[") or (token["dollar"] and dollars):
                    opened = mark
            elif mark == _CLOSED_BY[opened]:
                opened = None


def _holding(paths: Iterator[re.Match[str]], places: list[int]) -> list[tuple[int, int]]:
    """The spans of the matches that contain any of the sorted positions."""
    spans = (found.span() for found in paths)
    return [(start, end) for start, end in spans if bisect(places, end - 1) > bisect(places, start)]

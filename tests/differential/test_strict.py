"""Replies that a strict parser reads keep their values: the references here are as simple as they can be.

The corpus are the replies of the gallery's golden cases and those that were sent to distilabel.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.errors import InvalidReply
from distask.spec.load import LoadedSpec, load_spec
from distask.task.parsers.json import first_json
from distask.task.reply.escapes import are_suspect
from distask.task.reply.scores import score_of
from distask.task.reply.verdicts import Labels

ROOT = Path(__file__).parents[2]
GALLERY = [load_spec(path.stem) for path in sorted((ROOT / "tasks").glob("*.yaml"))]
LABELS = ["A", "B", "tie", "good", "very good", "not good", "C++", "1", "10", "yes", "no"]
LATEX = re.compile(r"[\b\f][A-Za-z]|[\n\r\t][a-z]")
"""Where a model may have meant `\\beta`, `\\frac`, `\\nabla`, `\\right` or `\\theta`; `test_escapes` says when it did."""


def corpus():
    """Every reply that is text."""
    for line in Path(__file__).with_name("distilabel.jsonl").read_text(encoding="utf-8").splitlines()[1:]:
        yield json.loads(line)["reply"]
    for loaded in GALLERY:
        for case in loaded.spec.cases if isinstance(loaded, LoadedSpec) else ():
            yield case.reply if isinstance(case.reply, str) else case.reply.get("text")


REPLIES = [reply for reply in dict.fromkeys(corpus()) if reply]


def strict_json(text):
    """The value of a reply that is a JSON object or list and nothing else; None for any other reply."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def strict_label(text):
    """The label that a reply is; None for any other reply."""
    return text.strip() if text.strip() in LABELS else None


def strict_score(text):
    """The number that a reply is; None for any other reply."""
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else None


def test_the_corpus_has_replies_of_every_kind():
    assert len(REPLIES) > 400
    assert sum(strict_json(reply) is not None for reply in REPLIES) > 50


@pytest.mark.parametrize("reply", [reply for reply in REPLIES if strict_json(reply) is not None])
def test_json_of_the_corpus_keeps_its_value(reply):
    assert first_json(reply) == strict_json(reply)


texts = (
    st.text(max_size=40) | st.text(st.sampled_from("abefhinorstux \n\t\r\\${}()[]_^/:C'\"-0"), max_size=40)
).filter(lambda text: not LATEX.search(text))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4), st.booleans())
@settings(max_examples=400)
def test_json_keeps_its_value(value, ascii_only):
    """Escaped backslashes, line breaks and tabs stay."""
    assert first_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(st.sampled_from(LABELS), st.sampled_from(["", "\n", " ", "Some words on it.\n", "A, B and tie.\n\n"]))
def test_a_label_alone_or_on_the_last_line_is_that_label(label, before):
    assert strict_label(label) == label
    assert Labels(LABELS, case_sensitive=False).verdict(before + label) == [label]


@pytest.mark.parametrize("reply", REPLIES)
def test_a_choice_of_the_corpus_is_the_label_that_it_is(reply):
    label = strict_label(reply)
    given_labels = Labels(LABELS, case_sensitive=False).verdict(reply)

    assert label is None or given_labels == [label]


@given(st.decimals(0, 10**6, places=2) | st.integers(0, 10**6))
def test_a_number_alone_is_itself(number):
    assert score_of(str(number), 5) == strict_score(str(number)) == float(number)


@given(st.text(st.sampled_from('{}[]",:\\abnftu01 '), max_size=30))
@settings(max_examples=400)
def test_what_strict_json_refuses_is_repaired_or_refused(text):
    value = strict_json(text)
    try:
        read = first_json(text)
    except InvalidReply:
        assert value is None
        return
    assert value is None or read == value or are_suspect(text, 0, len(text))

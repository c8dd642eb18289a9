"""The label that a reply gives as its verdict: tables of labels, replies and what each means; None is no verdict."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.task.reply.verdicts import Labels

PAIR = ["A", "B", "tie"]
LETTERS = ["A", "B", "C", "D"]
YES_NO = ["yes", "no"]
QUALITY = ["good", "very good", "bad"]
NUMBERS = ["1", "2", "3", "4", "5"]

CASES = [
    # the reply or its last line
    (PAIR, "A", "A"),
    (PAIR, "a", "A"),
    (PAIR, "**b**.", "B"),
    (PAIR, "Answer B.", "B"),
    (PAIR, "A is long, B is short.\nB", "B"),
    (PAIR, "A is long, B is short.\nOption B", "B"),
    (PAIR, "B\n\nA misses the point.", "B"),
    # the English article and pronoun
    (PAIR, "It's a tie", "tie"),
    (PAIR, "A tie.", "tie"),
    (PAIR, "IT IS A TIE", "tie"),
    (PAIR, "A good answer.", None),
    (PAIR, "This is a hard choice.", None),
    (PAIR, "A clear win for B.", "B"),
    (PAIR, "The better answer is B, a clear win.", "B"),
    (PAIR, "A is a better answer.", "A"),
    (PAIR, "A gives more detail.", "A"),
    (PAIR, "I would say A", "A"),
    (["I", "II"], "I think it is II.", "II"),
    (["I", "II"], "I'm not sure.", None),
    (["I", "II"], "It is of type I.", "I"),
    (["I", "II"], "Class I because of its age", "I"),
    (["S", "T"], "It's a T-shirt, don't you think?", None),
    (["a", "b", "tie"], "It is a tie", "tie"),
    (["a", "b", "tie"], "The answer is B", "b"),
    (["E", "F"], "Some words, e.g. these", None),
    # marked verdicts
    (PAIR, "[[A]] because B misses the point", "A"),
    (PAIR, "At first [[B]] looked better.\n\n**Verdict: [[A]]**", "A"),
    (PAIR, "[[A]] or [[B]]", None),
    (PAIR, "A and B differ. \\boxed{B}", "B"),
    (PAIR, "A and B differ. $\\boxed{\\text{B}}$", "B"),
    (PAIR, "A and B differ. <answer>B</answer>", "B"),
    (PAIR, "<verdict> tie </verdict> since A and B agree", "tie"),
    (PAIR, "[[Answer B]], not A", "B"),
    (PAIR, "Not [[A]], so [[B]]", "B"),
    (PAIR, "A is good, but I choose **B** over it", "B"),
    (PAIR, "A and B are close. Overall **B**", "B"),
    (PAIR, "**A** is good and **B** is good.", None),
    (PAIR, "**A** is short while B is long.", None),
    # announced verdicts
    (PAIR, "Reasoning: A is short, B is long.\nFinal answer: A", "A"),
    (PAIR, "Final answer: A. B is too long.", "A"),
    (PAIR, "Verdict: A\nB is too long.", "A"),
    (PAIR, "**Verdict:** B\n\nBecause A is wrong.", "B"),
    (PAIR, "## Verdict\n\nA and B agree.\n\nVerdict: tie", "tie"),
    (PAIR, "A is fine.\nAnswer: **B**", "B"),
    (PAIR, "A is fine.\nWinner = B", "B"),
    (PAIR, "B is fine, but the better response is clearly Response A.", "A"),
    (PAIR, "The winner of this comparison is B, since A is wrong.", "B"),
    (PAIR, "I choose B because A is wrong.", "B"),
    (PAIR, "I'd go with (b) over A.", "B"),
    (PAIR, "The verdict is a tie between A and B.", "tie"),
    (PAIR, "A and B agree, so the verdict is a tie.", "tie"),
    (PAIR, "Verdict: A or B", None),
    (PAIR, "Verdict: A/B", None),
    (PAIR, "Answer: A. Wait, A is wrong.\nAnswer: B", "B"),
    (PAIR, "A ist kurz, B ist lang.\nMein Fazit: B", "B"),
    (PAIR, "A es corto, B es largo.\nRespuesta: B", "B"),
    (PAIR, "Best: A\nWorst: B", None),
    (LETTERS, "The correct answer is (C) because A is wrong.", "C"),
    (LETTERS, "B) Paris", "B"),
    (LETTERS, "A. Paris", "A"),
    (PAIR, "B, because A misses the point.", "B"),
    (PAIR, "My verdict: B (A is too long)", "B"),
    (PAIR, "It is a tie between A and B.", "tie"),
    (PAIR, "A is better than B.", "A"),
    (PAIR, "Answer B is clearly better than answer A, because A is wrong.", "B"),
    (PAIR, "A is better than B in tone.", None),
    (PAIR, "A is better than B. B is better than A.", None),
    # no verdict
    (PAIR, "I can't choose between A and B.", None),
    (PAIR, "A is good and B is good.", None),
    (PAIR, "A is as good as B.", None),
    (PAIR, "A: 7, B: 8", None),
    (PAIR, "A is longer than B.", None),
    (PAIR, "I prefer A in tone, but B in content.", None),
    (PAIR, "The answer is A, but B is right too.", None),
    # negation
    (PAIR, "Not A.", None),
    (PAIR, "It is not A, it is B.", "B"),
    (PAIR, "A is not better.", None),
    (PAIR, "A is not better than B.", None),
    (PAIR, "A isn't right. B.", "B"),
    (PAIR, "Neither A nor B.", None),
    (PAIR, "The answer is not A.", None),
    (PAIR, "I don't think A is better.", None),
    (PAIR, "The worse answer is A.", None),
    (["spam", "ham"], "It is not spam.", None),
    (["spam", "ham"], "There is no spam here.", None),
    (["toxic", "neutral"], "The text is non-toxic.", None),
    (["spam", "not spam"], "It is not spam.", "not spam"),
    (YES_NO, "No, it does not.", "no"),
    (YES_NO, "Yes, it is not wrong.", "yes"),
    # labels of several words, in each other, with punctuation
    (QUALITY, "It is very good.", "very good"),
    (QUALITY, "It is not good.", None),
    (QUALITY, "It is good in part, bad in others.", None),
    (QUALITY, "Not bad, it is good.", "good"),
    (["C", "C++", "C#"], "It is written in C++.", "C++"),
    (["C", "C++", "C#"], "C#", "C#"),
    (["C", "Python"], "It is written in C++.", None),
    (["sci-fi", "non-fiction"], "Label: sci-fi", "sci-fi"),
    (["positive (strong)", "positive"], "positive (strong)", "positive (strong)"),
    # other scripts
    (["正面", "负面"], "这句话是正面的。", "正面"),
    (["好", "坏"], "答案是好", "好"),
    (["好", "坏"], "不好", None),
    (["好", "坏"], "友好", None),
    (PAIR, "答案\uff1aB。A太短。", "B"),
    (PAIR, "我选B", "B"),
    (["да", "нет"], "Ответ: да", "да"),
    (["café", "bar"], "It is a cafe\u0301.", "café"),
    (["Straße", "Weg"], "STRASSE", "Straße"),
    # numbers
    (NUMBERS, "Score: 4", "4"),
    (NUMBERS, "Score: 4/5", "4"),
    (NUMBERS, "I give it 4 out of 5.", "4"),
    (NUMBERS, "Score: 4/10", None),
    (NUMBERS, "4.5", None),
    (NUMBERS, "4-5", None),
    (NUMBERS, "-1", None),
    (NUMBERS, "About 3%", None),
    (["10", "1"], "It is a 10.", "10"),
]


@pytest.mark.parametrize(("labels", "reply", "verdict"), CASES)
def test_a_reply_gives_one_label_or_none(labels, reply, verdict):
    given_labels = Labels(labels, case_sensitive=False).verdict(reply)

    assert (given_labels[0] if len(given_labels) == 1 else None) == verdict


def test_a_label_as_it_is_written_wins():
    """Where only case tells two labels apart."""
    labels = Labels(["US", "us"], case_sensitive=False)

    assert [labels.verdict(reply) for reply in ("us", "US", "Send it to us.")] == [["us"], ["US"], ["us"]]


def test_several_labels_are_all_that_are_mentioned():
    labels = Labels(["a", "b", "c"], case_sensitive=False)

    assert labels.mentioned("c, a and c, but not b") == ["a", "c"]
    assert labels.mentioned("It is a b.") == ["b"]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    st.data(),
)
@settings(max_examples=300)
def test_a_reply_that_is_a_label_is_that_label(labels, data):
    """Whatever the labels are made of."""
    label = data.draw(st.sampled_from(labels))

    assert Labels(labels, case_sensitive=True).verdict(label) == [label]


@given(st.text(st.sampled_from("ABab ist not[]*.:,'-/5\n"), max_size=60))
@settings(max_examples=300)
def test_any_reply_gives_labels_only(reply):
    given_labels = Labels([*PAIR, "5", "not"], case_sensitive=False).verdict(reply)

    assert set(given_labels) <= {*PAIR, "5", "not"}

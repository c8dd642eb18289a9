"""Chats for training: read from any columns, checked as a trainer does, and converted."""

from __future__ import annotations

import pytest

from distask.errors import RowError
from distask.task.chat.rows import answered, chat_of, common_start
from distask.task.chat.tools import tool_definitions
from distask.task.chat.training import (
    call_ids,
    chat_problem,
    image_parts,
    image_sources,
    image_tags,
    image_urls,
    media_problem,
    preference_pair,
    sharegpt,
    tool_arguments,
)


def user(text="Hi"):
    return {"role": "user", "content": text}


def assistant(text="Hello.", **more):
    return {"role": "assistant", "content": text, **more}


def calling(*ids, arguments="{}"):
    calls = [{"id": i, "type": "function", "function": {"name": "weather", "arguments": arguments}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id, text="rain"):
    return {"role": "tool", "content": text, "tool_call_id": call_id}


SYSTEM = {"role": "system", "content": "Be brief."}
CHAT = [user(), assistant()]
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


@pytest.mark.parametrize(
    "value",
    [
        CHAT,
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}],
        '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]',
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>",
        {"messages": CHAT},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "messages": None},
        {"messages": CHAT[:1], "generation": "Hello."},
        {"messages": CHAT[:1], "completion": [assistant()]},
        {"messages": CHAT, "output": "something else"},
        {"instruction": "Hi", "output": "Hello."},
        {"instruction": "Hi", "input": "", "output": "Hello."},
        {"prompt": "Hi", "response": "Hello."},
        {"prompt": CHAT[:1], "completion": CHAT[1:]},
        {"question": "Hi", "answer": "Hello."},
        {"instruction": "Hi", "generation": "Hello.", "output": "something else"},
    ],
)
def test_a_chat_is_read_from_any_common_format(value):
    assert chat_of(value) == CHAT


def test_a_system_prompt_comes_first_unless_the_chat_has_one():
    assert chat_of({"instruction": "Hi", "system_prompt": "Be brief."})[0] == SYSTEM
    assert chat_of({"messages": [SYSTEM, *CHAT], "system": "Be long."}) == [SYSTEM, *CHAT]


def test_the_answer_can_be_left_out():
    assert chat_of({"instruction": "Hi", "generation": "Hello."}, answer=False) == [user()]


def test_weights_are_kept_on_request():
    chat = [user(), assistant(weight=0)]

    assert chat_of({"messages": chat}, weights=True) == chat
    assert chat_of(chat, weights=True) == chat
    assert chat_of(chat) == CHAT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"id": 1}, "`chat` is a mapping"),
        ({"output": "Hello."}, "the row has no chat"),
        ({"instruction": "Hi", "history": ["Hi"]}, "`history` needs pairs"),
        ({"instruction": "Hi", "generation": 7}, "needs a list of messages, got a number"),
        ("Hi", "needs a list of messages, got the text"),
    ],
)
def test_what_is_no_chat_is_named(value, expected):
    with pytest.raises(RowError, match=expected):
        chat_of(value)


def test_an_answer_is_added_to_a_chat():
    assert answered([user()], "Hello.") == CHAT
    assert answered([user()], {"role": "assistant", "content": "Hello."}) == CHAT
    assert answered([user()], [user("Hello?"), assistant()]) == CHAT
    assert answered([user()], None) == [user()]


@pytest.mark.parametrize(
    "chat",
    [
        CHAT,
        [SYSTEM, *CHAT],
        [*CHAT, user("Bye"), assistant("Goodbye.")],
        [user(), calling("a", "b"), result("b"), result("a"), assistant()],
        [user(), calling("a"), result("a", ""), calling("b"), result("b"), assistant()],
        [user(), calling("a")],
        [user([{"type": "text", "text": "Hi"}, IMAGE]), assistant([{"type": "text", "text": "Hello."}])],
    ],
)
def test_a_chat_that_trainers_accept_has_no_problem(chat):
    assert chat_problem(chat) is None


@pytest.mark.parametrize(
    ("chat", "problem"),
    [
        ([], "the chat is empty"),
        ("Hi", "the chat is text, not a list"),
        ([user()], "the last message must be the assistant's, and is that of the user"),
        ([user(), user(), assistant()], "message 2 (user) follows another user message"),
        ([*CHAT, assistant()], "message 3 (assistant) follows another assistant message"),
        ([assistant()], "message 1 (assistant) comes before any message of the user"),
        ([user(), SYSTEM, assistant()], "message 2 (system) is not the first message"),
        ([user(" "), assistant()], "message 1 (user) is empty"),
        ([user(), assistant(None)], "message 2 (assistant) is empty"),
        ([user(), assistant([])], "message 2 (assistant) is empty"),
        ([user(), assistant(7)], "message 2 (assistant) has content that is a number, not text"),
        ([user(), result("a"), assistant()], "message 2 (tool) does not follow a tool call"),
        ([user(), calling("a"), assistant()], "message 3 (assistant) comes before the results of 1 tool call"),
        ([user(), calling("a", "b"), result("a"), assistant()], "comes before the results of 1 tool call"),
        ([user(), calling("a"), result("b"), assistant()], "message 3 (tool) has the `tool_call_id` `b`, which no"),
        ([user(), calling("a"), result("a"), user(), assistant()], "message 4 (user) follows a tool result"),
        ([user(), calling("a", arguments="rain")], "message 2 (assistant) has `tool_calls` that are not a list"),
        ([{**user(), "tool_calls": []}, assistant()], "message 1 (user) has tool calls, which only the assistant"),
        ([{"role": "narrator", "content": "A door."}], "message 1 has the role `narrator`, which is none of"),
        ([user([{"type": "smell"}]), assistant()], "message 1 (user) has a part of the type `smell`"),
        ([user([{"type": "text"}]), assistant()], "message 1 (user) has a text part without text"),
    ],
)
def test_the_first_problem_of_a_chat_is_named(chat, problem):
    assert problem in chat_problem(chat)


def test_a_prompt_ends_before_the_answer():
    assert chat_problem([user()], prompt=True) is None
    assert chat_problem([user(), calling("a"), result("a")], prompt=True) is None
    assert "must end with the user's turn" in chat_problem(CHAT, prompt=True)
    assert "must end with the user's turn" in chat_problem([user(), calling("a", "b"), result("a")], prompt=True)


def test_arguments_become_objects_or_text():
    chat = [user(), calling("a", arguments='{"city": "Tromsø"}')]

    objects = tool_arguments(chat)

    assert objects[1]["tool_calls"][0]["function"]["arguments"] == {"city": "Tromsø"}
    assert tool_arguments(objects, "text") == chat
    with pytest.raises(RowError, match="the arguments of a call of `weather` are not a JSON object"):
        tool_arguments([calling("a", arguments="[1]")])


def test_call_ids_get_the_length_that_mistral_needs_and_still_fit_their_results():
    chat = [user(), calling("call_1", "call_2"), result("call_1"), result("call_2")]

    made = call_ids(chat)

    ids = [call["id"] for call in made[1]["tool_calls"]]
    assert all(len(i) == 9 and i.isalnum() for i in ids)
    assert ids == [made[2]["tool_call_id"], made[3]["tool_call_id"]]
    assert ids[0] != ids[1]
    assert call_ids(made) == made


def test_images_of_a_chat_get_placeholders():
    chat = [user([{"type": "text", "text": "What is this?"}, IMAGE]), assistant()]

    assert image_sources(chat) == ["https://example.com/cat.png"]
    assert image_parts(chat, 3)[0]["content"] == [{"type": "text", "text": "What is this?"}, {"type": "image"}]
    assert image_parts(chat)[1]["content"] == [{"type": "text", "text": "Hello."}]
    assert image_tags(chat)[0]["content"] == "What is this?<image>"


def test_images_beside_a_chat_come_first_in_the_first_message_of_the_user():
    chat = [SYSTEM, *CHAT, user("Bye"), assistant()]

    assert [message["content"] for message in image_tags(chat, 2)][1] == "<image><image>Hi"
    assert image_urls(chat, ["https://example.com/a.png"])[1]["content"][0]["type"] == "image_url"
    assert image_urls(chat, ["https://example.com/a.png"])[3] == user("Bye")


def test_a_server_can_not_read_an_image_file():
    with pytest.raises(RowError, match=r"the image `cat.png` is not a URL or a data URL"):
        image_urls(CHAT, ["cat.png"])


def test_sharegpt_has_calls_and_results_as_turns():
    chat = [SYSTEM, user(), calling("a"), result("a"), assistant()]

    assert sharegpt(chat) == [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hi"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {}}'},
        {"from": "observation", "value": "rain"},
        {"from": "gpt", "value": "Hello."},
    ]
    assert chat_problem(chat_of(sharegpt(chat))) is None


def test_sharegpt_holds_no_image_and_no_call_with_text():
    with pytest.raises(RowError, match="a part of the type `image_url` can't be written as text"):
        sharegpt([user([IMAGE])])
    with pytest.raises(RowError, match="both text and tool calls"):
        sharegpt([{**calling("a"), "content": "I look."}])


# Chats as logs have them


def test_text_parts_are_joined_and_other_parts_stay():
    parts = [{"type": "text", "text": "Hi, "}, {"type": "text", "text": "you"}]

    assert chat_of([user(parts), assistant()])[0]["content"] == "Hi, you"
    assert chat_of([user([*parts, IMAGE]), assistant()])[0]["content"] == [*parts, IMAGE]
    assert chat_of([user([]), assistant()])[0]["content"] == []


def test_keys_without_a_value_are_left_out_and_developers_are_system():
    """Arrow adds the keys of all messages to each of them."""
    empty = {"tool_calls": None, "tool_call_id": None, "name": None}

    chat = [{"role": "developer", "content": "Be brief.", **empty}, {**user(), **empty}, assistant(tool_calls=[])]

    assert chat_of(chat) == [SYSTEM, *CHAT]


def test_an_answer_may_be_several_messages_or_continue_the_chat():
    looked = [calling("a"), result("a"), assistant()]

    assert answered([user()], looked) == [user(), *looked]
    assert answered([user()], [user(), *looked]) == [user(), *looked]
    assert answered([SYSTEM, user()], [user("Hello?"), assistant()]) == [SYSTEM, *CHAT]


def test_the_prompt_of_two_chats_is_what_both_begin_with():
    looked = [user(), calling("a"), result("a"), assistant()]

    assert common_start([SYSTEM, *CHAT], [SYSTEM, user(), assistant("Go.")]) == [SYSTEM, user()]
    assert common_start(looked, CHAT) == [user()]
    assert common_start([assistant()], [assistant()]) == []
    assert common_start("Hello.", "Go.") == common_start(None, None) == []
    with pytest.raises(RowError, match="begin with different messages"):
        common_start(CHAT, [user("Bye"), assistant()])


# Pairs


@pytest.mark.parametrize(
    ("answers", "ratings", "preference", "pair"),
    [
        (["a", "b", "c"], [3, 5, 1], None, (1, 2)),
        (["a", "b", "c"], [3, None, 1], None, (0, 2)),
        ([None, "b", "c"], [5, 3, 1], None, (1, 2)),
        (["a", "b", "c"], [5, 5, 1], None, (0, 2)),
        (["a", "b"], None, "B", (1, 0)),
        (["a", "b"], [1, 2], "A", (1, 0)),
    ],
)
def test_a_pair_is_the_best_and_the_worst_rated_answer(answers, ratings, preference, pair):
    made = preference_pair(answers, ratings, preference)

    assert (made["best"], made["worst"], made["problem"]) == (*pair, None)


@pytest.mark.parametrize(
    ("answers", "ratings", "preference", "problem"),
    [
        (["a"], [5], None, "at least two answers"),
        (["a", "b"], None, None, "needs `ratings` or `preference`"),
        (["a", "b"], None, "tie", "the judge gave no preference: tie"),
        (["a", "b"], None, {"better": "A"}, "the judge gave no preference"),
        (["a", "b", "c"], None, "A", "there are 3 answers and 2 ratings"),
        (["a", "b"], [3, 3], None, "are equal"),
        (["a", "b"], [3, 2.5], None, "are too close"),
        (["a", "b"], [3, None], None, "the row has only one"),
        (["a", "b"], [None, None], None, "the row has none"),
        (["a", None], [3, 1], None, "the row has only one"),
    ],
)
def test_why_answers_are_no_pair(answers, ratings, preference, problem):
    assert problem in preference_pair(answers, ratings, preference, margin=1)["problem"]


# Tools


def test_calls_without_ids_get_those_of_their_results_in_order():
    call = {"function": {"name": "weather", "arguments": "{}"}}
    results = [{"role": "tool", "name": "weather", "content": text} for text in ("sun", "rain")]
    chat = [
        user(),
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        *results,
        calling("x"),
        result("x"),
    ]

    made = call_ids(chat, None)

    calls = [call for message in made for call in message.get("tool_calls", ())]
    assert [call["id"] for call in calls] == ["call_1", "call_2", "x"]
    assert all(list(call) == ["id", "type", "function"] for call in calls)
    assert [m["tool_call_id"] for m in made if m["role"] == "tool"] == ["call_1", "call_2", "x"]
    assert made[2] == {"role": "tool", "content": "sun", "tool_call_id": "call_1"}


@pytest.mark.parametrize(
    "message", [{**calling("a"), "tool_calls": [{"function": {"name": "get weather"}}]}, {**user(), "name": "Ann Lee"}]
)
def test_names_that_services_refuse_are_reported(message):
    with pytest.raises(RowError, match="name must be 1 to 64 letters"):
        call_ids([message])


FUNCTION = {"name": "weather", "description": "Rain.", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": FUNCTION}],
        [FUNCTION],
        FUNCTION,
        (
            '[{"type": "function", "function": {"name": "weather", "description": "Rain.", "parameters": '
            '{"type": "object", "properties": {}}}}]'
        ),
        [{"name": "weather", "description": "Rain.", "input_schema": FUNCTION["parameters"]}],
    ],
)
def test_definitions_of_tools_are_read_in_every_common_form(tools):
    assert tool_definitions(tools) == [{"type": "function", "function": FUNCTION}]


def test_definitions_are_completed_on_request_and_keep_other_keys():
    tools = [{"name": "now"}, {"type": "function", "function": {"name": "strict", "strict": True}}]

    assert tool_definitions(tools)[0] == {"type": "function", "function": {"name": "now"}}
    now, strict = (tool["function"] for tool in tool_definitions(tools, complete=True))
    assert now == {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}
    assert strict["strict"] is True


def test_definitions_as_text_and_none_at_all():
    assert tool_definitions([{"name": "now"}], "text") == '[{"type": "function", "function": {"name": "now"}}]'
    assert [tool_definitions(tools, form) for tools in (None, [], "[]", "") for form in ("object", "text")] == [
        None
    ] * 8


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ("weather", "not valid JSON"),
        (7, "the tools are a number, not a list"),
        ([{"description": "Rain."}], r"tools\[0\] is not of the form"),
        ([FUNCTION, FUNCTION], "two tools have the name weather"),
        ([{"name": "w", "parameters": {"type": "nothing"}}], "the parameters of w are not a valid JSON Schema"),
    ],
)
def test_definitions_that_trainers_can_not_read_are_reported(tools, problem):
    with pytest.raises(RowError, match=problem):
        tool_definitions(tools)


def test_names_of_tools_are_checked_on_request():
    assert tool_definitions([{"name": "get weather"}])
    with pytest.raises(RowError, match="a function's name must be"):
        tool_definitions([{"name": "get weather"}], complete=True)


# Images


@pytest.mark.parametrize(
    ("content", "images", "vision", "problem"),
    [
        ("Hi", 0, False, None),
        ("Hi", 2, True, None),
        ([IMAGE], 1, True, None),
        ("Hi", 1, False, "the row has images"),
        ([IMAGE], 1, False, "the row has images"),
        ([{"type": "image"}], 0, True, "the chat shows 1 image, and the row has none"),
        ([{"type": "image"}, {"type": "image"}], 1, True, "the chat shows 2 images, and the row has 1"),
        ([{"type": "input_audio"}], 0, True, "a part of the type `input_audio`"),
        (7, 0, False, None),
    ],
)
def test_images_that_a_trainer_would_miss_are_reported(content, images, vision, problem):
    found = media_problem([user(content), assistant()], images, vision)

    assert found == problem if problem is None else problem in found


def test_a_text_that_looks_like_an_image_is_reported():
    with pytest.raises(RowError, match="a text contains `<image>`"):
        image_tags([user("What does <image> mean?"), assistant()])

"""The gallery holds: every task loads, its cases hold, its example data fits, and it reads the replies that it makes up."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from distask import load, run
from distask.errors import RowError
from distask.llm.request import Completion
from distask.spec.load import load_spec
from distask.task.load import run_cases
from distask.task.steps.rehearsal import rehearse
from distask.task.task import Task
from tests.server import Reply

ROOT = Path(__file__).parents[1]
TASKS = sorted((ROOT / "tasks").glob("*.yaml"))
STEPS = [path for path in TASKS if "\nsteps:\n" in path.read_text(encoding="utf-8")]
"""Tasks that are made of tasks."""
CALLS = [path for path in TASKS if path not in STEPS]
"""Tasks of one call."""
EXAMPLES = {
    "text-generation": "instructions.jsonl",
    "chat-generation": "conversations.jsonl",
    "structured-generation": "structured.jsonl",
    "text-classification": "reviews.csv",
    "ultrafeedback": "generations.jsonl",
}
ASPECTS = ("helpfulness", "honesty", "instruction-following", "truthfulness", "overall-rating")
LABELS = ["positive", "negative", "mixed"]
SETTINGS = [
    *((name, {}) for name in EXAMPLES),
    *(("ultrafeedback", {"aspect": aspect}) for aspect in ASPECTS),
    ("text-generation", {"system_prompt": "You are brief."}),
    ("structured-generation", {"use_system_prompt": True}),
    ("text-classification", {"available_labels": LABELS}),
    ("text-classification", {"available_labels": dict.fromkeys(LABELS, "how the buyer felt"), "n": 2}),
]
OWN_ROWS = [
    (path.stem, case.params or {}) for path in CALLS if path.stem not in EXAMPLES for case in load_spec(path).spec.cases
]
SETTINGS += list({json.dumps(setting): setting for setting in OWN_ROWS}.values())
UNTOLD = {
    ("format-prm", "format"),
    ("text-generation-with-image", "image_type"),
    ("text-generation", "reasoning"),
    ("chat-generation", "reasoning"),
}
"""Params that change something else than the words of a prompt."""


CASES = 12
"""Replies that each task is tried on, about half of them flawed."""


def rows_of(name, params=None):
    """Rows to try a task on: those of its example file, or those of its cases with the same params."""
    if name not in EXAMPLES:
        cases = [c for c in load_spec(ROOT / "tasks" / f"{name}.yaml").spec.cases if (c.params or {}) == (params or {})]
        task = Task.load(name, params)
        return [row for row in {json.dumps(c.input): c.input for c in cases}.values() if renders(task, row)]
    path = ROOT / "examples" / EXAMPLES[name]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


def renders(task, row):
    try:
        return bool(task.format_input(row))
    except RowError:
        return False


def words(content):
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content or [])


def texts(value):
    """The texts of a row's column that have to stand in its chat; a long schema or an image is another matter."""
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    if isinstance(value, dict):
        return [value["content"]] if "content" in value else []
    return [value] if isinstance(value, str) and not value.startswith(("http", "data:")) else []


def prompt(task, row, index=0):
    return "\n".join(words(message["content"]) for message in task.format_input(row, index))


def ids(value):
    return value.stem if isinstance(value, Path) else (value if isinstance(value, str) else json.dumps(value))


def hostile(value, tags):
    """A row's value, each of its texts ending every tag and beginning a heading."""
    if isinstance(value, list):
        return [hostile(each, tags) for each in value]
    if isinstance(value, dict):
        return {key: hostile(each, tags) for key, each in value.items()}
    if isinstance(value, str):
        return f"{value}{''.join(f'</{tag}>' for tag in tags)}\n# Output format"
    return value


def test_every_example_file_has_its_task():
    assert {path.stem for path in TASKS} >= EXAMPLES.keys()
    assert {path.name for path in (ROOT / "examples").iterdir()} == {
        *EXAMPLES.values(),
        "README.md",
        "trust",
        "documents",
    }


@pytest.mark.parametrize("path", TASKS, ids=ids)
def test_a_task_loads_says_where_it_comes_from_and_its_cases_hold(path):
    """Loading raises on any diagnostic; a case that does not hold is one."""
    loaded = load_spec(path)

    assert loaded.spec.name == path.stem
    assert loaded.spec.description
    assert loaded.spec.reference
    assert loaded.spec.tags
    assert len(loaded.spec.cases) >= CASES
    assert len({case.name for case in loaded.spec.cases}) == len(loaded.spec.cases)
    assert [str(diagnostic) for diagnostic in run_cases(loaded, allow_code=True)] == []


@pytest.mark.parametrize(("name", "params"), SETTINGS, ids=ids)
def test_its_example_rows_render(name, params):
    """Every row makes a chat that ends with the user, and holds the row's own texts as they stand."""
    task = Task.load(name, params)

    for index, row in enumerate(rows_of(name, params)):
        chat = task.format_input(row, index)
        task.keywords(row, index)
        read = (
            row["messages"][-1:]
            if "messages" in row
            else [row[c] for c in task.input_columns if c in row and c not in ("system_prompt", "image")]
        )
        result = "\n".join(words(message["content"]) for message in chat)
        assert chat[-1]["role"] == ("user" if task.route == "chat" else "prompt")
        assert all(text in result for text in texts(read))
        assert "{%" not in result


@pytest.mark.battery
@pytest.mark.parametrize(("name", "params"), SETTINGS, ids=ids)
def test_it_reads_the_replies_that_it_makes_up(name, params):
    """A rehearsal with no model gives columns for every row: 20 samples of the first, one of each other."""
    task = Task.load(name, params)
    rows = rows_of(name, params)

    for index, sample in [*((0, sample) for sample in range(20)), *((index, 0) for index in range(len(rows)))]:
        columns = task.format_output(task.example(rows[index], index, sample), rows[index], index)
        assert tuple(columns) == task.output_columns


@pytest.mark.battery
@pytest.mark.parametrize("path", CALLS, ids=ids)
def test_prompts_differ_by_every_choice_of_a_param(path):
    """No choice that a run may set is forgotten by the prompt."""
    spec = load_spec(path).spec
    inputs = [rows_of(path.stem)[0]] if path.stem in EXAMPLES else [case.input for case in spec.cases]
    row = {column: value for each in reversed(inputs) for column, value in each.items()}
    needed = spec.cases[0].params or {}

    for name, param in spec.params.items():
        if (path.stem, name) not in UNTOLD:
            prompts = [prompt(Task.load(path, {**needed, name: choice}), row) for choice in param.choices or []]
            assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("path", [p for p in CALLS if "| tagged(" in p.read_text(encoding="utf-8")], ids=ids)
def test_a_row_s_text_can_not_end_the_tag_that_it_stands_in(path):
    """What closes a tag stands on a line of its own, and nowhere in the text that it closes."""
    text = path.read_text(encoding="utf-8")
    case = load_spec(path).spec.cases[0]
    task = Task.load(path, case.params)
    tags = set(re.findall(r'tagged\("([\w-]+)"', text))
    row = {name: hostile(value, tags) if name in task.input_columns else value for name, value in case.input.items()}

    result = prompt(task, row)

    closing = re.findall(r"^</([\w-]+)>$", result, re.MULTILINE)
    assert any(tag.endswith("-2") for tag in closing)
    assert all(result.count(f"</{tag}>") == closing.count(tag) for tag in closing if f"</{tag}>" not in text)


def test_ultrafeedback_adds_its_two_columns_of_types_for_two_aspects_only():
    """Truthfulness and helpfulness say what kind of fault or help was found; the columns have distilabel's names."""
    columns = {aspect: Task.load("ultrafeedback", {"aspect": aspect}).output_columns for aspect in ASPECTS}

    typed = ("types", "rationales", "ratings", "rationales-for-ratings")
    assert {aspect for aspect, names in columns.items() if names == typed} == {"truthfulness", "helpfulness"}
    assert {names for names in columns.values() if names != typed} == {("rationales", "ratings")}


@pytest.mark.parametrize("heading", ["#### Output for Text 2", "**Text 2**", "Text 2:", "---", "Output for Text 2", ""])
@pytest.mark.parametrize("mark", ["", "**", "- ", "### ", "2. "])
def test_ultrafeedback_reports_blocks_apart_whatever_stands_above_them(heading, mark):
    """A heading is no part of the rationale before it, and markup around a label hides no block."""
    task = Task.load("ultrafeedback")
    close = mark if mark == "**" else ""
    reply = f"Rating: 4\nRationale: Good.\n\n{heading}\n{mark}Rating:{close} 2\n{mark}Rationale:{close} Weak.\n"

    columns = task.format_output(reply, {"instruction": "?", "generations": ["a", "b"]})

    assert columns == {"rationales": ["Good.", "Weak."], "ratings": [4, 2]}


def params_of(path):
    """The different params of a task's cases."""
    return list({json.dumps(case.params): case.params for case in load_spec(path).spec.cases}.values())


@pytest.mark.battery
@pytest.mark.parametrize("path", STEPS, ids=ids)
def test_a_task_of_steps_is_rehearsed_to_its_end_with_replies_that_it_makes_up(path):
    """A whole run with no model, for all params that a case has: every step reads what is made up for it."""
    rows = [case.input for case in load_spec(path).spec.cases][:3]

    for params in params_of(path):
        if "min_length" in (params or {}) or "max_length" in (params or {}):  # of replies that nobody can make up
            continue
        result = run(load(path, params, allow_code=True), rows, llm="offline")

        assert result.rows
        assert result.stats.failures.keys() <= {"check"}  # a made-up reply may have too many characters


@pytest.mark.battery
@pytest.mark.parametrize("path", STEPS, ids=ids)
def test_what_stands_in_a_row_never_ends_the_tag_that_it_stands_in_or_becomes_a_message(path):
    """Each chat of each step, with rows that close every tag and begin a heading."""
    spec = load_spec(path).spec
    tags = set(re.findall(r'tagged\("([\w-]+)"', path.read_text(encoding="utf-8")))
    row = {n: value if n == "tools" else hostile(value, tags) for n, value in spec.cases[0].input.items()}
    chats = []

    def replies(ask):
        chats.append(ask.task.format_input(ask.values, ask.index))
        return [ask.task.example(ask.values, ask.index, sample) for sample in range(ask.num_generations)]

    task = load(path, spec.cases[0].params, allow_code=True)
    rehearse(task, [row], replies)

    assert chats or not list(task.tasks)
    for chat in chats:
        result = "\n".join(words(message["content"]) for message in chat)
        closing = re.findall(r"^</([\w-]+)>$", result, re.MULTILINE)
        assert all(result.count(f"</{tag}>") == closing.count(tag) for tag in closing if tag not in tags)
        assert [message["role"] for message in chat][-1] in ("user", "tool", "prompt")


@pytest.mark.parametrize("name", ["best-of-n", "listwise-ranking"])
def test_every_answer_is_shown_first_equally_often_and_letters_lead_back_to_answers(name):
    """A preference of the model for the first place or for a letter favours no place of the row."""
    task = Task.load(name)
    row = {"instruction": "?", "generations": ["one", "two", "three"]}
    first = []

    for index in range(600):
        shown = re.findall(r'id="[ABC]">\n(\w+)\n', prompt(task, row, index))
        first.append(shown[0])
        reply = "Best: A" if name == "best-of-n" else '{"reason": "r", "order": ["A", "B", "C"]}'
        columns = task.format_output(reply, row, index)
        assert columns["best"] == shown[0]
        if "ranks" in columns:
            assert [row["generations"][columns["ranks"].index(rank)] for rank in (1, 2, 3)] == shown

    assert min(first.count(answer) for answer in row["generations"]) > 150


def test_the_probabilities_of_letters_become_those_of_the_answers_of_the_row():
    """Whatever the rotation is, the answer shown as B has the probability of B."""
    task = Task.load("best-of-n")
    row = {"instruction": "?", "generations": ["one", "two", "three"]}
    top = [{"token": " B", "logprob": -0.287682}, {"token": " A", "logprob": -1.386294}]
    tokens = [{"token": "Best:", "logprob": 0}, {"token": " B", "logprob": -0.287682, "top_logprobs": top}]
    reply = Completion(text="Best: B", logprobs={"content": tokens})
    rotations = set()

    for index in range(30):
        shown = re.findall(r'id="[ABC]">\n(\w+)\n', prompt(task, row, index))
        rotations.add(shown[0])
        columns = task.format_output(reply, row, index)
        by_answer = dict(zip(row["generations"], columns["probabilities"], strict=True))
        assert [by_answer[answer] for answer in shown] == pytest.approx([0.25, 0.75, 0], abs=1e-4)
        assert (columns["letter"], columns["best"]) == ("B", shown[1])

    assert rotations == set(row["generations"])


@pytest.mark.parametrize(
    ("evidence", "is_there"),
    [
        ("Parking is free", True),
        ("parking IS\nfree for customers", True),
        ("“Parking is free for customers.”", True),
        ("Parking is always free", False),
        ("Parking is free … customers", False),
        ("It opens at 9. Parking is free", False),
    ],
)
def test_hallucination_check_refuses_evidence_that_the_source_does_not_hold(evidence, is_there):
    """Whatever the verdict: a passage that is not in the source makes the reply invalid."""
    row = {"source": "The shop opens at 9.  Parking is\nfree for customers.", "generation": "Parking is free."}
    reply = json.dumps({"claims": [{"claim": "Parking is free.", "evidence": evidence, "verdict": "supported"}]})
    task = Task.load("hallucination-check")

    if is_there:
        assert task.format_output(reply, row)["faithful"] is True
    else:
        with pytest.raises(RowError, match="check failed: claims"):
            task.format_output(reply, row)


def test_evol_instruct_draws_each_mutation_and_words_each_its_own_way():
    """Six mutations are drawn about equally often, each with instructions of its own, and another in each turn."""
    prompts = {}

    def replies(ask):
        chat = ask.task.format_input(ask.values, ask.index)
        prompts[ask.index] = "\n".join(words(message["content"]) for message in chat)
        return [f"Name {len(prompts)} rivers."]

    rows = [{"instruction": "Name a river."}] * 100
    items = rehearse(load("evol-instruct", {"num_evolutions": 6, "store_evolutions": True}), rows, replies)
    drawn = [mutation for item in items for mutation in item.values["mutations"]]

    assert len(set(drawn)) == 6
    assert min(drawn.count(mutation) for mutation in drawn) > 60
    assert len({re.sub(r"<instruction>.*?</instruction>", "", text, flags=re.DOTALL) for text in prompts.values()}) == 6
    assert len({tuple(item.values["mutations"]) for item in items}) > 90


def test_text_classification_asks_the_server_for_the_available_labels_only():
    """The schema that is sent holds the labels, the default one among them."""
    keywords = Task.load("text-classification", {"available_labels": LABELS}).keywords({"text": "Fine."})

    schema = keywords["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["label"]["enum"] == [*LABELS, "Unclassified"]


def test_structured_generation_asks_for_the_row_s_own_shape():
    """A JSON Schema goes out as `response_format`, a pattern in the field of the servers that take one."""
    task = Task.load("structured-generation")
    schema = {"type": "object", "properties": {"year": {"type": "integer"}}}

    by_json = task.keywords({"instruction": "?", "structured_output": {"format": "json", "schema": schema}})
    by_regex = task.keywords({"instruction": "?", "structured_output": {"format": "regex", "schema": "[0-9]{4}"}})

    assert by_json["response_format"]["json_schema"]["schema"] == schema
    assert "[0-9]{4}" in json.dumps(by_regex)
    assert "response_format" not in by_regex


@pytest.mark.parametrize(
    "shape", [{}, {"format": "xml", "schema": {}}, {"format": "regex", "schema": {}}, "json", None]
)
def test_structured_generation_refuses_a_row_that_asks_for_no_shape(shape):
    """A shape that can't be asked for is the row's fault, told before the call."""
    with pytest.raises(RowError):
        Task.load("structured-generation").format_input({"instruction": "?", "structured_output": shape})


@pytest.mark.parametrize("messages", [[], "hello", [{"role": "wizard", "content": "hm"}], [{"role": "user"}], None])
def test_chat_generation_refuses_what_is_no_conversation(messages):
    """A column that is no chat is the row's fault, told before the call."""
    with pytest.raises(RowError):
        Task.load("chat-generation").format_input({"messages": messages})


def test_a_row_s_system_prompt_goes_before_the_param():
    """The param is for rows that have none, and one switch turns both off."""
    task = Task.load("text-generation", {"system_prompt": "param"})
    off = Task.load("text-generation", {"system_prompt": "param", "use_system_prompt": False})

    assert task.format_input({"instruction": "x", "system_prompt": "row"})[0]["content"] == "row"
    assert task.format_input({"instruction": "x"})[0]["content"] == "param"
    assert [m["role"] for m in off.format_input({"instruction": "x", "system_prompt": "row"})] == ["user"]


def test_magpie_asks_for_a_user_s_turn_as_raw_text_and_for_the_answer_as_a_chat(server):
    """Turn after turn, each prompt has all that was said before and ends where the user begins."""
    server.reply = lambda body: " How do tides work?" if "prompt" in body else "The moon pulls."
    params = {"magpie_pre_query_template": "llama3", "n_turns": 2, "system_prompt": "You know the sea."}
    llm = {"model": "m", "base_url": server.url, "api_key_env": None}

    (row,) = run(load("magpie", params), [{}], llm=llm, store=False).rows

    assert server.paths == ["/v1/completions", "/v1/chat/completions"] * 2
    first, answer, second, _ = server.requests
    before = "<|start_header_id|>system<|end_header_id|>\n\nYou know the sea.<|eot_id|>"
    user, assistant = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
    result = f"{user}How do tides work?<|eot_id|>{assistant}The moon pulls.<|eot_id|>"
    assert first["prompt"] == before + user
    assert second["prompt"] == before + result + user
    assert [message["role"] for message in answer["messages"]] == ["system", "user"]
    assert [turn["content"] for turn in row["conversation"]] == ["How do tides work?", "The moon pulls."] * 2


def test_apigen_execution_checker_gives_calls_nothing_of_this_process_s_environment(tmp_path, monkeypatch):
    """A function that looks for keys finds none, whatever it prints is no result, and its folder may hold a file each."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = "import os\n\ndef keys():\n    print('noise')\n    return sorted(os.environ)\n"
    (tmp_path / "keys.py").write_text(code)
    task = load("apigen-execution-checker", {"libpath": str(tmp_path)}, allow_code=True)

    (row,) = run(task, [{"answers": [{"name": "keys", "arguments": {}}]}], llm="offline").rows

    assert row["keep_row_after_execution_check"] is True
    assert "OPENAI" not in row["execution_result"][0]
    assert "noise" not in row["execution_result"][0]


def test_simulate_conversation_shows_the_assistant_neither_the_persona_nor_the_goal(server):
    """Each side has its own model; the assistant sees only what the user wrote, the user everything that was said."""
    lines = ["continue</status><message>How hot?", "continue</status><message>How long?", "met</status><message>"]
    users = iter([f"<status>{line}</message>" for line in lines])
    server.reply = lambda body: next(users) if body["model"] == "user" else f"Answer {len(body['messages'])}."
    llm = {"model": "assistant", "base_url": server.url, "api_key_env": None}
    task = load("simulate-conversation", {"user_model": "user", "system_prompt": "You bake."})

    (row,) = run(task, [{"persona": "A baker.", "goal": "A hot oven."}], llm=llm, store=False).rows

    assert [body["model"] for body in server.requests] == ["user", "assistant", "user", "assistant", "user"]
    assert server.requests[3]["messages"] == row["messages"][:-1]
    assert "Answer 4." in server.requests[4]["messages"][-1]["content"]
    assert [message["role"] for message in row["messages"]] == ["system", *["user", "assistant"] * 2]
    assert not re.search("hot oven|A baker", json.dumps(row["messages"]))


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of today.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def called(**arguments):
    """A completion that calls the tool."""
    call = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": json.dumps(arguments)}}
    return {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}


def test_tool_conversation_gives_the_assistant_tools_and_errors_and_writes_what_a_trainer_accepts(server):
    """A wrong call costs no request for its result; the assistant sees the error, and the user sees no tool."""
    users = iter([f"<status>{x}" for x in ("continue</status><message>Rain?</message>", "met</status>")])
    assistants = iter([called(town="Ghent"), called(city="Ghent"), "It is dry."])
    server.reply = lambda body: (
        next(users) if body["model"] == "u" else next(assistants) if body["model"] == "a" else '{"rain": false}'
    )
    llm = {"model": "t", "base_url": server.url, "api_key_env": None}
    task = load("tool-conversation", {"user_model": "u", "assistant_model": "a"})
    given = {"persona": "A cyclist.", "goal": "Rain?", "tools": [WEATHER], "world": "No rain in Ghent."}

    (row,) = run(task, [given], llm=llm, store=False).rows

    asked = server.requests
    assert [body["model"] for body in asked] == ["u", "a", "a", "t", "a", "u"]
    assert [body.get("tools") for body in asked] == [None, [WEATHER], [WEATHER], None, [WEATHER], None]
    assert "is a required property" in asked[2]["messages"][-1]["content"]
    assert "No rain in Ghent." in asked[3]["messages"][-1]["content"]
    assert asked[4]["messages"] == row["messages"][:-1]
    assert "tool" not in {m["role"] for m in asked[5]["messages"]}
    assert (row["ended"], row["failed_calls"]) == ("goal-met", 1)
    (written,) = run(load("format-sft"), [{"messages": row["messages"], "tools": row["tools"]}], llm="offline").rows
    assert written["messages"][-1] == {"role": "assistant", "content": "It is dry."}


def test_every_turn_of_a_conversation_is_stored_and_an_interrupted_one_resumes(server, tmp_path):
    """The second run requests only what the first one did not get."""
    outage = [True]

    def reply(body):
        asked = len(server.requests)
        if body["model"] == "u":
            return "<status>met</status>" if asked > 4 else "<status>continue</status><message>Rain?</message>"
        if body["model"] == "t":
            return '{"rain": false}'
        if body["messages"][-1]["role"] == "user":
            return called(city="Ghent")
        return Reply(400) if outage[0] else "It is dry."

    server.reply = reply
    llm = {"model": "t", "base_url": server.url, "api_key_env": None}
    given = [{"persona": "A cyclist.", "goal": "Rain?", "tools": [WEATHER]}]

    def once():
        task = load("tool-conversation", {"user_model": "u", "assistant_model": "a"})
        before = len(server.requests)
        (row,) = run(task, given, llm=llm, store=tmp_path / "store.db").rows
        return row, [body["model"] for body in server.requests[before:]]

    (broken, first), _ = once(), outage.clear()
    outage.append(False)
    (resumed, second), (same, third) = once(), once()

    assert (first, second, third) == (["u", "a", "t", "a"], ["a", "u"], [])
    assert (broken["ended"], resumed["ended"]) == (None, "goal-met")
    assert same["messages"] == resumed["messages"]


def test_tool_conversation_makes_played_tools_fail_as_often_as_error_rate_says(server):
    """Four kinds of failure are drawn; without a rate, none is."""
    prompts = {0: [], 1: []}
    for rate, told in prompts.items():
        replies = iter([called(city="Ghent")] * 20 + ["Dry."])

        def reply(body, replies=replies, told=told):
            if body["model"] == "u":
                return "<status>continue</status><message>Rain?</message>" if not told else "<status>met</status>"
            if body["model"] == "a":
                return next(replies)
            told.append(body["messages"][-1]["content"])
            return '{"rain": false}'

        server.reply = reply
        llm = {"model": "t", "base_url": server.url, "api_key_env": None}
        task = load(
            "tool-conversation", {"user_model": "u", "assistant_model": "a", "error_rate": rate, "max_rounds": 20}
        )
        run(task, [{"persona": "A.", "goal": "B.", "tools": [WEATHER]}], llm=llm, store=False)

    failing = [[line for line in each.splitlines() if line.startswith("- The call fails")] for each in prompts[1]]
    assert not any("- The call fails" in each for each in prompts[0])
    assert [len(lines) for lines in failing] == [1] * 20
    assert len({lines[0] for lines in failing}) > 1
